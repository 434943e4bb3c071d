"""Donations under faults: bursts, replays, processes that are killed; the ledger ends as if nothing had happened."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from benchmarks._load import Load, drive, request
from ingestion_pipeline.domains.community.dirty_days import dirty_days
from ingestion_pipeline.domains.community.donations_ledger import apply_donations
from ingestion_pipeline.domains.community.donations_tables import DONATIONS
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import output, python, until
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.community.stripe_events import (
    SECRETS,
    WEBHOOK,
    body_of,
    charge_refunded,
    deliver,
    dispute,
    intent,
    made_of,
    rows_of,
    session,
    signed,
)
from ingestion_pipeline_tests.flows.intake_process import kill_9, kill_postgres, own_postgres
from ingestion_pipeline_tests.intake.process import REAL, Intake, running

LEDGER = (
    "select payment_intent, received, refunded, disputed, net, status, paid_at from community.donations "
    "order by payment_intent"
)
STATUSES = "select status, count(*)::int from operations.deliveries group by status"

# Applies what is due; the second argument is where it dies.
APPLIER = """
import os, signal, sys
from ingestion_pipeline.domains.community import donations_ledger
from ingestion_pipeline.storage import inbox
from ingestion_pipeline.storage.postgres import Postgres

url, fault, per_batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
inbox.DELIVERIES_PER_BATCH = per_batch
passes = []

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying(function, where):
    def called(*arguments, **options):
        done = function(*arguments, **options)
        if fault == where and len(passes) == 2:
            die()
        return done
    return called

def counted(function):
    def called(*arguments, **options):
        passes.append(1)
        return function(*arguments, **options)
    return called

donations_ledger.store_events = dying(counted(donations_ledger.store_events), "before the commit")
donations_ledger._store_facts = dying(donations_ledger._store_facts, "between facts and donations")
inbox._applied = dying(inbox._applied, "after the commit")
print(donations_ledger.apply_donations(Postgres(url), run_id="run-1").deliveries.processed)
"""


def story(pi: str) -> list[dict[str, Any]]:
    """A payment of which a part is refunded, disputed and lost."""
    return [
        session(pi=pi),
        intent(pi=pi),
        charge_refunded(1000, pi=pi),
        dispute("created", "needs_response", pi=pi),
        dispute("closed", "lost", pi=pi, at=900),
    ]


def expected(stories: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    made = sorted((made_of(*events) for events in stories), key=lambda it: it.payment_intent)
    return [
        (it.payment_intent, it.received, it.refunded, it.disputed, it.net, it.status, it.paid_at) for it in made
    ]  # fmt: skip


def statuses(postgres: Postgres) -> Counter[str]:
    return Counter(dict(rows_of(postgres, STATUSES)))


def make_due(postgres: Postgres) -> None:
    """The leases of a process that was killed are over."""
    postgres.execute("update operations.deliveries set next_attempt_at = now() where status = 'pending'")


def burst(events: Sequence[Any], port: int) -> Load:
    def requests() -> Iterator[bytes]:
        for it in events:
            body = body_of(it)
            yield request("POST", WEBHOOK, body=body, headers=signed(body))

    return asyncio.run(drive(requests(), port=port, connections=32, seconds=300))


def test_ten_thousand_in_a_burst_are_each_kept_and_applied_once(
    database_url: str, worker_url: str, postgres: Postgres, tmp_path: Path
) -> None:
    """Every tenth of them twice; two processes apply them at the same time. Sent again, all are duplicates."""
    stories = [story(f"pi_{n:04}") for n in range(1_800)]
    events = [events[place] for place in (4, 2, 0, 3, 1) for events in stories]
    sent = [*events, *events[::9]]
    assert 10_000 == len(sent)
    as_intake = database_url.replace("postgres@", "pipeline_intake@", 1)
    with running(as_intake, tmp_path, REAL, **SECRETS) as intake:
        load = burst(sent, intake.port)
        assert ({200: 10_000}, 0) == (dict(load.statuses), load.broken)
        assert Counter(pending=9_000) == statuses(postgres)
        with python(APPLIER, worker_url, "none", "500") as one, python(APPLIER, worker_url, "none", "500") as other:
            counts = [int(output(child).split()[-1]) for child in (one, other)]
        assert 9_000 == sum(counts)
        assert expected(stories) == rows_of(postgres, LEDGER)
        assert {200: 900} == dict(burst(events[::10], intake.port).statuses)
    assert Counter(processed=9_000) == statuses(postgres)


@pytest.mark.parametrize(
    ("fault", "done"), [("between facts and donations", 10), ("before the commit", 10), ("after the commit", 20)]
)
def test_an_applier_that_is_killed_leaves_no_half_of_a_donation(
    worker_url: str, postgres: Postgres, fault: str, done: int
) -> None:
    """In its second batch: what it had not committed is applied by the next one, as if it had never been there."""
    stories = [story(f"pi_{n}") for n in range(6)]
    events = [events[place] for place in (3, 1, 4, 0, 2) for events in stories]
    deliver(postgres, *events)
    with python(APPLIER, worker_url, fault, "10") as child:
        child.wait(60)
        assert -signal.SIGKILL == child.returncode
    assert done == statuses(postgres)["processed"]
    facts = rows_of(postgres, "select distinct payment_intent from community.donation_facts order by 1")
    assert facts == [row[:1] for row in rows_of(postgres, LEDGER)]
    make_due(postgres)
    assert 30 - done == apply_donations(postgres, run_id="run-2").deliveries.processed
    assert expected(stories) == rows_of(postgres, LEDGER)
    audited = "select count(*)::int from operations.audit_log where details ->> 'run_id' = 'run-1'"
    assert rows_of(postgres, audited)[0][0] <= done
    assert 1 == len(dirty_days(postgres, DONATIONS))


def test_appliers_that_are_killed_at_random_end_in_the_same_ledger(worker_url: str, postgres: Postgres) -> None:
    """Two at a time on the same payments, killed wherever they are."""
    stories = [story(f"pi_{n:03}") for n in range(80)]
    events = [events[place] for place in (4, 0, 3, 1, 2) for events in stories]
    deliver(postgres, *events)
    for number in range(4):
        with python(APPLIER, worker_url, "none", "7") as one, python(APPLIER, worker_url, "none", "5") as other:
            wanted = (number + 1) * 40
            until(lambda wanted=wanted: statuses(postgres)["processed"] >= wanted)
            for child in (one, other):
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
        make_due(postgres)
    while statuses(postgres)["pending"]:
        make_due(postgres)
        apply_donations(postgres, run_id="run-2")
    assert Counter(processed=400) == statuses(postgres)
    assert expected(stories) == rows_of(postgres, LEDGER)


def test_what_was_acknowledged_survives_a_kill_of_the_intake(
    database_url: str, postgres: Postgres, tmp_path: Path
) -> None:
    """Stripe sends again what was not; the second time it may be a duplicate."""
    as_intake = database_url.replace("postgres@", "pipeline_intake@", 1)
    events = [intent(pi=f"pi_{n}") for n in range(40)]
    with running(as_intake, tmp_path, REAL, **SECRETS) as intake:
        assert {200: 20} == dict(burst(events[:20], intake.port).statuses)
        kill_9(intake)
    with running(as_intake, tmp_path, REAL, **SECRETS) as intake:
        assert {200: 40} == dict(burst(events, intake.port).statuses)
    assert 40 == apply_donations(postgres, run_id="run-1").deliveries.processed
    assert expected([[it] for it in events]) == rows_of(postgres, LEDGER)


def test_while_postgresql_is_away_stripe_is_told_to_come_back(tmp_path: Path) -> None:
    """503, which it tries again; wrong signatures are refused all the same. What was acknowledged is there."""
    acknowledged: list[str] = []

    def sent(intake: Intake) -> httpx.Response:
        body = body_of(it := intent(pi=f"pi_{len(acknowledged)}"))
        answer = intake.client.post(WEBHOOK, content=body, headers=signed(body))
        if answer.status_code == 200:
            acknowledged.append(it["id"])
        return answer

    with own_postgres() as folder:
        server = EmbeddedServer((folder / "postmaster.pid").read_text().splitlines()[4])
        with running(server.url(role="pipeline_intake"), tmp_path, REAL, **SECRETS) as intake:
            kill_postgres(folder)
            away = eventually(lambda: (answer := sent(intake)).status_code == 503 and answer)
            assert away.headers["retry-after"].isdigit()
            body = body_of(intent())
            assert 401 == intake.client.post(WEBHOOK, content=body, headers=signed(body, "whsec_x")).status_code
            embedded.start(folder)
            eventually(lambda: sent(intake).status_code == 200)
        with psycopg.connect(server.url()) as connection:
            kept = connection.execute("select idempotency_key from operations.deliveries").fetchall()
        assert set(acknowledged) <= {key for (key,) in kept}
