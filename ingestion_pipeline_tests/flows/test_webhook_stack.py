"""Webhooks through a whole `ingestion-pipeline up`: signed, kept, applied by the daemon's runs, told of by health.

One story, because a stack takes ten seconds to start. The daemon is stopped with SIGSTOP, which its supervisor does not
notice, and killed with SIGKILL, after which it is started again.
"""

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingestion_pipeline.domains.property.contracts import FUNDAMENTALS_UPSERT
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.inbox import DELIVERIES_PER_BATCH, NewDelivery, accept_all
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.operations.deliveries import WEBHOOK, signed
from ingestion_pipeline_tests.flows.test_up import LOGS, Up, up

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
DAEMON = str(Path(sys.executable).parent / "dagster-daemon")
ALL_OF = "where market_slug like %s"


@pytest.fixture
def home() -> Iterator[Path]:
    """Not below pytest's own folder: another session that begins closes that to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="up-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "a home"


def test_deliveries_reach_their_table_once_whatever_is_killed(home: Path) -> None:
    """Without a daemon they wait, with one a single run takes them all; a run killed among them loses and repeats none."""
    with up(home) as stack:
        a_webhook_becomes_a_row(stack)
        ten_thousand_wait_for_a_daemon_and_take_one_run(stack)
        metrics_count_them(stack, received=22, settled=10_021)
        a_run_killed_among_them_applies_none_twice(stack)
        health_knows_them(stack)


def a_webhook_becomes_a_row(stack: Up) -> None:
    """Signed as seed S0 says with the secret that the stack made; a wrong secret opens nothing."""
    assert 401 == webhook(stack, "dallas", secret="a-secret-that-nobody-set").status_code
    answer = webhook(stack, "dallas")
    assert (202, False) == (answer.status_code, answer.json()["duplicate"])
    assert 1 == eventually(lambda: rows(stack, "dallas"), explain=lambda: what_runs_did(stack))
    found = ask(stack, "select value, source, provenance ->> 'delivery_id' from property.fundamentals")
    assert [(400_000.0, "acme", answer.json()["delivery_id"])] == found
    assert "SUCCESS" == stack.ends(the_run(stack, "dallas"))


def ten_thousand_wait_for_a_daemon_and_take_one_run(stack: Up) -> None:
    stopped = daemon(stack)
    stopped.suspend()
    many = [f"north-{number}" for number in range(10_000)]
    accept(stack, many)
    sent = [f"north-http-{number}" for number in range(20)]
    assert {202} == {webhook(stack, market).status_code for market in sent}
    assert True is webhook(stack, sent[0]).json()["duplicate"]
    assert {"pending": 10_020} == statuses(stack, "north-%")
    assert 10_020 == metric(stack, "queue_depth", queue="deliveries")

    stopped.kill()
    eventually(lambda: daemon(stack).pid != stopped.pid, explain=stack.text)
    eventually(
        lambda: statuses(stack, "north-%") == {"processed": 10_020},
        explain=lambda: what_runs_did(stack),
    )
    assert "SUCCESS" == stack.ends(the_run(stack, "north-%"))
    are_applied_once(stack, "north-%", [*many, *sent])
    assert {1: 10_020} == attempts(stack, "north-%")


def a_run_killed_among_them_applies_none_twice(stack: Up) -> None:
    """Its first batch is committed and its second under way when run and daemon are killed."""
    markets = [f"south-{number}" for number in range(2 * DELIVERIES_PER_BATCH + 200)]
    with psycopg.connect(embedded.start(stack.home / "postgres").url()) as other:
        other.execute(
            "insert into property.fundamentals values "
            "(%s, 'median_sale_price_usd', %s, 1, 'USD', 'another', 1, now(), now(), '{}')",
            [markets[DELIVERIES_PER_BATCH + 200], YESTERDAY],
        )
        accept(stack, markets)
        eventually(lambda: is_waited_for(stack, other.info.backend_pid), explain=lambda: what_runs_did(stack))
        assert {"processed": DELIVERIES_PER_BATCH, "pending": len(markets) - DELIVERIES_PER_BATCH} == statuses(
            stack, "south-%"
        )
        killed_run, killed_daemon = the_run(stack, "south-%"), daemon(stack)
        killed_daemon.kill()
        process_of(stack, killed_run).kill()
        other.rollback()
    end_leases(stack)
    eventually(
        lambda: statuses(stack, "south-%") == {"processed": len(markets)},
        explain=lambda: what_runs_did(stack),
    )
    assert daemon(stack).pid != killed_daemon.pid
    assert "FAILURE" == stack.ends(killed_run)
    are_applied_once(stack, "south-%", markets)
    assert {1: len(markets) - DELIVERIES_PER_BATCH, 2: DELIVERIES_PER_BATCH} == attempts(stack, "south-%")


def health_knows_them(stack: Up) -> None:
    """The mirror has seen the materialization and the age of the data."""

    def fundamentals() -> dict[str, Any]:
        services = httpx.get(f"{address(stack)}/api/health/data").json()["services"]
        return dict(services["fundamentals"])

    eventually(
        lambda: fundamentals()["status"] in {"GREEN", "YELLOW"} and fundamentals()["last_row_as_of"],
        explain=fundamentals,
    )
    assert fundamentals()["last_row_as_of"].startswith(YESTERDAY)
    assert fundamentals()["last_success_at"] is not None


def metrics_count_them(stack: Up, *, received: int, settled: int) -> None:
    """What the intake and the runs, which have ended, have counted."""

    def counts() -> tuple[float, float]:
        outcomes = ("accepted", "duplicate")
        arrived = sum(metric(stack, "deliveries_received_total", outcome=outcome) for outcome in outcomes)
        return arrived, metric(stack, "deliveries_settled_total", event_type=FUNDAMENTALS_UPSERT, outcome="processed")

    eventually(lambda: counts() == (received, settled), explain=counts)
    assert 0 == metric(stack, "queue_depth", queue="deliveries")


def body(market: str) -> bytes:
    data = {"as_of": YESTERDAY, "metrics": {"median_sale_price_usd": 400_000.0}}
    it = {"event_type": FUNDAMENTALS_UPSERT, "market_slug": market, "data": data, "source": "acme"}
    return json.dumps(it).encode()


def webhook(stack: Up, market: str, *, secret: str | None = None) -> httpx.Response:
    content = body(market)
    headers = signed(content, secret or secrets(stack)["WEBHOOK_SECRET"])
    return httpx.post(f"{address(stack)}{WEBHOOK}", content=content, headers=headers, timeout=30)


def accept(stack: Up, markets: Sequence[str]) -> None:
    """As the intake keeps them, all in one transaction."""
    deliveries = [
        NewDelivery(
            source="acme",
            idempotency_key=market,
            event_type=FUNDAMENTALS_UPSERT,
            payload=body(market),
            scheme="sha256",
            signed_by="WEBHOOK_SECRET 1",
            market_slug=market,
        )
        for market in markets
    ]
    with psycopg.connect(embedded.start(stack.home / "postgres").url(role="pipeline_intake")) as connection:
        accept_all(connection, deliveries)


def are_applied_once(stack: Up, markets: str, wanted: Sequence[str]) -> None:
    """One row, one revision and one record of an ingestion for each delivery."""
    for table in ("property.fundamentals", "property.fundamentals_revisions"):
        found = ask(stack, f"select market_slug, revision from {table} {ALL_OF}", markets)
        assert Counter((market, 1) for market in wanted) == Counter(found), table
    ingested = ask(stack, f"select market_slug, status from operations.ingestion_events {ALL_OF}", markets)
    assert Counter((market, "success") for market in wanted) == Counter(ingested)


def ask(stack: Up, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(embedded.start(stack.home / "postgres").url()) as connection:
        return connection.execute(statement.encode(), values or None).fetchall()


def rows(stack: Up, markets: str) -> int:
    return int(ask(stack, f"select count(*) from property.fundamentals {ALL_OF}", markets)[0][0])


def statuses(stack: Up, markets: str) -> dict[str, int]:
    return dict(ask(stack, f"select status, count(*) from operations.deliveries {ALL_OF} group by status", markets))  # type: ignore[arg-type]


def attempts(stack: Up, markets: str) -> dict[int, int]:
    counted = f"select attempt_count, count(*) from operations.deliveries {ALL_OF} group by attempt_count"
    return dict(ask(stack, counted, markets))  # type: ignore[arg-type]


def the_run(stack: Up, markets: str) -> str:
    """The only run that has taken deliveries of `markets`."""
    taken = f"select distinct dagster_run_id from operations.deliveries {ALL_OF} and dagster_run_id is not null"
    ((run,),) = ask(stack, taken, markets)
    return str(run)


def is_waited_for(stack: Up, backend: int) -> bool:
    return bool(ask(stack, "select from pg_stat_activity where %s = any(pg_blocking_pids(pid))", backend))


def end_leases(stack: Up) -> None:
    """As a minute does."""
    with psycopg.connect(embedded.start(stack.home / "postgres").url()) as connection:
        connection.execute("update operations.deliveries set next_attempt_at = now() where status = 'pending'")


def daemon(stack: Up) -> psutil.Process:
    """The one that runs; after a kill, the next one."""
    (process,) = eventually(lambda: stack.processes(DAEMON), explain=stack.text)
    return process  # type: ignore[no-any-return]


def process_of(stack: Up, run: str) -> psutil.Process:
    def pids() -> list[str]:
        messages = [event.get("message", "") for event in stack.ask(LOGS, id=run)["logsForRun"]["events"]]
        return re.findall(r"Started process for run \(pid: (\d+)\)", "\n".join(messages))

    (pid,) = eventually(pids)
    return psutil.Process(int(pid))


def metric(stack: Up, name: str, **labels: str) -> float:
    """The value of one series; 0 when there is none yet."""
    token = {"x-app-token": secrets(stack)["INGEST_APP_TOKEN"]}
    answer = httpx.get(f"{address(stack)}/metrics", headers=token)
    assert 200 == answer.status_code, answer.text
    samples = [it for family in text_string_to_metric_families(answer.text) for it in family.samples]
    return sum(it.value for it in samples if (it.name, it.labels) == (name, labels))


def what_runs_did(stack: Up) -> str:
    """For a wait that fails: every run with its status, and what the daemon said last."""
    runs = stack.ask("{runsOrError{... on Runs{results{jobName status}}}}")["runsOrError"]["results"]
    log = (stack.home / "stack" / "logs" / "daemon.log").read_text()[-4_000:]
    return f"{statuses(stack, '%')}\n{runs}\n{log}\n{stack.text()}"


def secrets(stack: Up) -> dict[str, str]:
    lines = (stack.home / "secrets.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def address(stack: Up) -> str:
    return f"http://127.0.0.1:{stack.intake_port}"
