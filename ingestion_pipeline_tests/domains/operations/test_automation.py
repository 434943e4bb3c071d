"""Alerts from real runs to a real receiver on loopback, runs of the sensors, and upkeep of a real lake and database."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pandas as pd
import psycopg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from pytest_httpserver import HTTPServer

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.market.tables import OHLC_WEEKLY, TABLES
from ingestion_pipeline.domains.operations.automation import (
    KEPT,
    operations_alerts_sensor,
    operations_run_failure_sensor,
    remove_old,
)
from ingestion_pipeline.settings import PROJECT_ROOT, Settings
from ingestion_pipeline.storage.alerts import QUIET_TIME, Alert, open_alerts, raise_alert, resolve_alert
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import free_port, log_lines
from ingestion_pipeline_tests.pipeline import Pipeline

CANARY = "hook-geheim42"
DAY = timedelta(days=1)


@dataclass
class Receiver:
    """Takes alerts, as a chat or a pager would."""

    server: HTTPServer

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(request.get_data()) for request, _ in self.server.log]


@pytest.fixture
def environment(worker_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What the daemon's processes have: this test's database, alerts to loopback."""
    monkeypatch.setenv("DATABASE_URL", worker_url)
    monkeypatch.setenv("ALERT_PRIVATE_TARGETS", "true")
    return monkeypatch


@pytest.fixture
def receiver(httpserver: HTTPServer, environment: pytest.MonkeyPatch) -> Receiver:
    httpserver.expect_request(f"/{CANARY}", method="POST").respond_with_data("taken")
    environment.setenv("ALERT_WEBHOOK_URL", httpserver.url_for(f"/{CANARY}"))
    return Receiver(httpserver)


@pytest.fixture
def fresh_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dg.op(config_schema={"ok": bool})
def work(context: dg.OpExecutionContext) -> None:
    if not context.op_config["ok"]:
        raise dg.Failure("the disk of 10.0.0.7 is full")


@dg.job
def toy_job() -> None:
    work()


@dg.job
def other_job() -> None:
    work()


def ran(instance: dg.DagsterInstance, job: dg.JobDefinition, *, ok: bool, **tags: str) -> dg.ExecuteInProcessResult:
    config = {"ops": {"work": {"config": {"ok": ok}}}}
    return job.execute_in_process(instance=instance, tags=tags, run_config=config, raise_on_error=False)


def failed_run(instance: dg.DagsterInstance, **tags: str) -> dg.RunFailureSensorContext:
    """What Dagster gives the sensor for a run that failed."""
    run = ran(instance, toy_job, ok=False, **tags)
    (event,) = [event for event in run.all_events if event.is_job_failure]
    return dg.build_run_status_sensor_context(
        sensor_name="operations_run_failure_sensor",
        dagster_instance=instance,
        dagster_run=instance.get_run_by_id(run.run_id),
        dagster_event=event,
    ).for_run_failure()


def tick(instance: dg.DagsterInstance, postgres: Postgres) -> str:
    """One evaluation of the sensor of alerts; what it says in the UI."""
    resources = {"settings": Settings.from_environment(), "postgres": postgres}
    skipped = operations_alerts_sensor(dg.build_sensor_context(instance=instance, resources=resources))
    assert isinstance(skipped, dg.SkipReason)
    return str(skipped.skip_message)


def test_a_failed_run_is_one_alert(receiver: Receiver, postgres: Postgres, fresh_instance: dg.DagsterInstance) -> None:
    """With the job, the run, what the step said, and no internal address; sent by the next tick, once."""
    context = failed_run(fresh_instance)
    before = utc_now().isoformat()
    operations_run_failure_sensor(context)
    assert [] == receiver.alerts
    assert "1 due, 1 message(s), 0 alert(s) not taken everywhere" == tick(fresh_instance, postgres)
    tick(fresh_instance, postgres)
    (alert,) = receiver.alerts
    assert "error" == alert["severity"]
    assert {
        "run_id": context.dagster_run.run_id,
        "job": "toy_job",
        "alert": "run:toy_job",
        "notice": "alert",
    } == alert["context"]
    assert "run of toy_job failed: work: the disk of (internal address) is full" == alert["message"]
    assert before <= alert["at"] <= utc_now().isoformat()


def test_more_failed_runs_of_a_job_are_the_same_alert(
    receiver: Receiver, postgres: Postgres, fresh_instance: dg.DagsterInstance, database_url: str
) -> None:
    """Counted, with the run of the last."""
    for _ in range(3):
        context = failed_run(fresh_instance)
        operations_run_failure_sensor(context)
        tick(fresh_instance, postgres)
    assert 1 == len(receiver.alerts)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select raised_count, context ->> 'run_id' from operations.alerts").fetchall()
    assert [(3, context.dagster_run.run_id)] == rows


def test_a_failed_run_is_over_with_the_next_that_succeeds(
    receiver: Receiver, postgres: Postgres, fresh_instance: dg.DagsterInstance
) -> None:
    """Of the same job, and after it: an earlier success and one of another job end nothing."""
    ran(fresh_instance, toy_job, ok=True)
    operations_run_failure_sensor(failed_run(fresh_instance))
    ran(fresh_instance, other_job, ok=True)
    tick(fresh_instance, postgres)
    assert ["run:toy_job"] == list(open_alerts(postgres))
    ran(fresh_instance, toy_job, ok=True)
    tick(fresh_instance, postgres)
    assert {} == open_alerts(postgres)
    assert 1 == len(receiver.alerts)


def test_a_failure_that_is_seen_after_the_next_success_is_over_at_once(
    receiver: Receiver, postgres: Postgres, fresh_instance: dg.DagsterInstance
) -> None:
    """The daemon was down meanwhile: nobody is bothered."""
    context = failed_run(fresh_instance)
    ran(fresh_instance, toy_job, ok=True)
    operations_run_failure_sensor(context)
    tick(fresh_instance, postgres)
    assert [] == receiver.alerts


def test_a_run_that_will_be_retried_is_not_reported(
    receiver: Receiver, postgres: Postgres, fresh_instance: dg.DagsterInstance
) -> None:
    """Dagster starts it again by itself; only the last failure counts."""
    operations_run_failure_sensor(failed_run(fresh_instance, **{"dagster/will_retry": "true"}))
    assert {} == open_alerts(postgres)
    operations_run_failure_sensor(failed_run(fresh_instance, **{"dagster/will_retry": "false"}))
    assert ["run:toy_job"] == list(open_alerts(postgres))


def test_without_the_database_a_failed_run_is_sent_at_once(
    receiver: Receiver, environment: pytest.MonkeyPatch, fresh_instance: dg.DagsterInstance
) -> None:
    """Nothing can be kept then, and Dagster, on another server, calls the sensor once."""
    environment.setenv("DATABASE_URL", f"postgresql://worker:{CANARY}@127.0.0.1:{free_port()}/gone")
    operations_run_failure_sensor(failed_run(fresh_instance))
    (alert,) = receiver.alerts
    assert alert["message"].startswith("run of toy_job failed: work: ")
    assert CANARY not in json.dumps(alert)
    environment.setenv("ALERT_MIN_SEVERITY", "critical")
    operations_run_failure_sensor(failed_run(fresh_instance))
    assert 1 == len(receiver.alerts)


def test_a_receiver_that_is_down_breaks_nothing_and_its_address_is_not_logged(
    environment: pytest.MonkeyPatch,
    postgres: Postgres,
    fresh_instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The failure is in the log all the same, once; the address may hold a key."""
    environment.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{free_port()}/{CANARY}")
    configure_logging("debug", style="json")  # to the standard error of this test, as a process would write
    operations_run_failure_sensor(failed_run(fresh_instance))
    assert "1 due, 1 message(s), 1 alert(s) not taken everywhere" == tick(fresh_instance, postgres)
    written = capfd.readouterr()
    lines = {line["event"]: line for line in log_lines(written.err) if line["level"] in {"error", "warning"}}
    assert "ConnectError" == lines["alert not delivered"]["reason"]
    assert "error" == lines["run of toy_job failed: work: the disk of (internal address) is full"]["level"]
    assert CANARY not in written.out + written.err


def upkeep(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> dg.JobExecutionResult:
    """A run of the job as Dagster's launcher starts one: from the code location, with its own resources."""
    monkeypatch.setenv("INGESTION_HOME", str(pipeline.settings.ingestion_home))
    monkeypatch.setenv("DATABASE_URL", pipeline.postgres.url)
    repository = ReconstructableRepository.for_module("ingestion_pipeline.definitions", "defs", str(PROJECT_ROOT))
    job = repository.get_reconstructable_job("operations_upkeep_job")
    return dg.execute_job(job, instance=pipeline.instance)


def test_upkeep_tidies_every_lake_table(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a checkpoint afterwards, and the same rows."""
    monday = date(2026, 3, 2)
    pipeline.run("market_daily_job", monday)
    pipeline.run("market_weekly_job", monday)
    lake_tables = [table for table in TABLES if table.store == "lake"]
    before = {table.name: pipeline.rows(table) for table in lake_tables}
    assert OHLC_WEEKLY in lake_tables
    assert upkeep(pipeline, monkeypatch).success
    for table in lake_tables:
        checkpoints = list((pipeline.settings.ingestion_home / "lake" / table.path / "_delta_log").glob("*checkpoint*"))
        assert checkpoints, table.path
        pd.testing.assert_frame_equal(before[table.name], pipeline.rows(table))


def test_upkeep_of_an_empty_lake_succeeds(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first night of an installation that has built nothing."""
    assert upkeep(pipeline, monkeypatch).success


def printed(folder: Path, *ages_in_days: float) -> Path:
    """A folder with a file for each age, and itself as old as the oldest."""
    for i, age in enumerate(ages_in_days):
        file = folder / "compute_logs" / f"step{i}" / "text.out"
        file.parent.mkdir(parents=True)
        file.touch()
        at = (utc_now() - timedelta(days=age)).timestamp()
        for path in (file, file.parent, file.parent.parent, folder):
            os.utime(path, (at, at))
    return folder


def test_upkeep_removes_what_runs_printed_two_weeks_ago_and_nothing_else(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's folder goes when its newest file is older than fourteen days; what is no run's folder stays."""
    folder = pipeline.settings.ingestion_home / "dagster"
    old = [printed(folder / str(uuid4()), 14.1), printed(folder / str(uuid4()), 40, 15)]
    kept = [printed(folder / str(uuid4()), 13.9), printed(folder / str(uuid4()), 1, 40)]
    others = [printed(folder / name, 40) for name in ("storage", "schedules", f"x-{uuid4()}")]
    target = printed(pipeline.settings.ingestion_home / "elsewhere", 40)
    link = folder / str(uuid4())
    link.symlink_to(target)
    assert upkeep(pipeline, monkeypatch).success
    assert [] == [path for path in old if path.exists()]
    assert [] == [path for path in (*kept, *others, target, link) if not path.exists()]


def test_upkeep_without_any_run_files_succeeds(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation whose files go elsewhere has no such folder."""
    assert not (pipeline.settings.ingestion_home / "dagster").exists()
    assert upkeep(pipeline, monkeypatch).success


def stored_rows(database_url: str, now: datetime) -> None:
    """Of each table one row that has been over for longer than it is kept, one that has not, and what is never removed."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")  # the states are not reached by the functions
        for name, (kept, _) in KEPT.items():
            for age in (kept + DAY, kept - DAY):
                at = now - age
                if name == "jobs":
                    job = "insert into operations.jobs (job_type, status, owner_id, output_data, finished_at) values "
                    connection.execute(f"{job} ('a', 'COMPLETED', 'x', '{{}}', %s)", [at])
                elif name == "deliveries":
                    for status in ("processed", "dead", "rejected"):
                        delivery(connection, status, at)
                elif name == "cron_logs":
                    connection.execute("insert into operations.cron_logs (path, started_at) values ('/', %s)", [at])
                elif name == "rejects":
                    for source in ("crawl", "events"):
                        reject = [source, f"{source} {age}", at, at]
                        connection.execute(
                            "insert into operations.rejects (source, payload_digest, first_seen_at, last_seen_at, reason, "
                            "payload) values (%s, %s, %s, %s, 'wrong', '{}')",
                            reject,
                        )
        connection.execute(
            "insert into operations.jobs (job_type, owner_id, run_at) values ('a', 'x', now() - interval '1 year')"
        )
        delivery(connection, "pending", now - 365 * DAY)


def delivery(
    connection: psycopg.Connection[Any], status: str, at: datetime, *, source: str = "a", event_type: str = "b"
) -> None:
    settled = None if status == "pending" else at
    connection.execute(
        "insert into operations.deliveries (source, idempotency_key, event_type, payload, status, reason, received_at, "
        "settled_at, scheme, signed_by) values (%s, %s, %s, '{}', %s, 'c', %s, %s, 'sha256', 'd')",
        [source, str(uuid4()), event_type, status, at, settled],
    )


def test_upkeep_removes_rows_that_have_long_been_over_and_no_others(postgres: Postgres, database_url: str) -> None:
    """Ninety days after their end, rejects a year after they last came; never what waits for somebody: pending and dead deliveries, open alerts."""
    now = utc_now()
    stored_rows(database_url, now)
    for age in (91, 89):
        at = now - age * DAY
        raise_alert(postgres, Alert("info", "over"), "over", now=at)
        resolve_alert(postgres, "over", now=at)
        with postgres.transaction() as connection:
            connection.execute("select operations.claim_notices(10, '1 minute', %s, %s)", [QUIET_TIME, at + QUIET_TIME])
    raise_alert(postgres, Alert("info", "open"), "open", now=now - 365 * DAY)
    removed = {"alerts": 1, "jobs": 1, "deliveries": 2, "cron_logs": 1, "rejects": 1, "metrics": 0}
    assert removed == remove_old(postgres, now=now)
    assert dict.fromkeys(removed, 0) == remove_old(postgres, now=now)
    with psycopg.connect(database_url) as connection:
        left = {
            table: connection.execute(f"select count(*) from operations.{table}").fetchone()[0]  # type: ignore[index]
            for table in KEPT
        }
        statuses = connection.execute(
            "select status, count(*) from operations.deliveries group by 1 order by 1"
        ).fetchall()
    assert {"alerts": 2, "jobs": 2, "deliveries": 5, "cron_logs": 1, "rejects": 3} == left
    assert [("dead", 2), ("pending", 1), ("processed", 1), ("rejected", 1)] == statuses


def test_upkeep_removes_dead_deliveries_of_stripe_after_a_year(postgres: Postgres, database_url: str) -> None:
    """They name people, whatever source they were kept under; others wait for somebody, however long."""
    now = utc_now()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for age in (366, 364):
            delivery(connection, "dead", now - age * DAY, source="stripe", event_type="stripe.event")
        for source in ("files", "webhook"):
            delivery(connection, "dead", now - 366 * DAY, source=source, event_type="stripe.event")
        delivery(connection, "dead", now - 366 * DAY)
        assert 3 == remove_old(postgres, now=now)["deliveries"]
        left = connection.execute("select source, settled_at from operations.deliveries order by source").fetchall()
    assert [("a", now - 366 * DAY), ("stripe", now - 364 * DAY)] == left


def test_upkeep_removes_old_metrics(pipeline: Pipeline, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By operations.remove_old_metrics, in the same run as the rest."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for days in (1, 3):
            connection.execute(
                "insert into operations.metric_minutes (minute, name, labels, value) "
                "values (date_trunc('minute', now()) - make_interval(days => %s), 'a', '{}', 1)",
                [days],
            )
        assert upkeep(pipeline, monkeypatch).success
        assert [(1,)] == connection.execute("select count(*) from operations.metric_minutes").fetchall()
