"""Alerts to a real receiver on loopback, from real runs and real freshness events; upkeep of a real lake."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pandas as pd
import pytest
import stamina
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.definitions.reconstruct import ReconstructableRepository
from pytest_httpserver import HTTPServer

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.market.tables import OHLC_WEEKLY, TABLES
from ingestion_pipeline.domains.operations.automation import operations_freshness_sensor, operations_run_failure_sensor
from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline_tests.command import free_port, log_lines
from ingestion_pipeline_tests.pipeline import Pipeline

CANARY = "hook-geheim42"
REPOSITORY = defs.get_repository_def()
DAILY, SNAPSHOTS = dg.AssetKey(["market", "ohlc_daily"]), dg.AssetKey(["market", "snapshots"])


@dataclass
class Receiver:
    """Takes alerts, as a chat or a pager would."""

    server: HTTPServer

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(request.get_data()) for request, _ in self.server.log]


@pytest.fixture
def receiver(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    httpserver.expect_request(f"/{CANARY}", method="POST").respond_with_data("taken")
    monkeypatch.setenv("ALERT_WEBHOOK_URL", httpserver.url_for(f"/{CANARY}"))
    return Receiver(httpserver)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An address where nothing listens."""
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{free_port()}/{CANARY}")
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
def fresh_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def failed_run(instance: dg.DagsterInstance, **tags: str) -> dg.RunFailureSensorContext:
    """What Dagster gives the sensor for a run that failed."""

    @dg.op
    def work() -> None:
        raise dg.Failure("the disk is full")

    @dg.job
    def toy_job() -> None:
        work()

    run = toy_job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    (event,) = [event for event in run.all_events if event.is_job_failure]
    return dg.build_run_status_sensor_context(
        sensor_name="operations_run_failure_sensor",
        dagster_instance=instance,
        dagster_run=instance.get_run_by_id(run.run_id),
        dagster_event=event,
    ).for_run_failure()


def test_a_failed_run_is_one_alert(receiver: Receiver, fresh_instance: dg.DagsterInstance) -> None:
    """With the job, the run and the time."""
    context = failed_run(fresh_instance)
    before = utc_now().isoformat()
    operations_run_failure_sensor(context)
    (alert,) = receiver.alerts
    assert ("error", {"run_id": context.dagster_run.run_id, "job": "toy_job"}) == (alert["severity"], alert["context"])
    assert "run of toy_job failed" in alert["message"]
    assert before <= alert["at"] <= utc_now().isoformat()


def test_a_run_that_will_be_retried_is_not_reported(receiver: Receiver, fresh_instance: dg.DagsterInstance) -> None:
    """Dagster starts it again by itself; only the last failure counts."""
    operations_run_failure_sensor(failed_run(fresh_instance, **{"dagster/will_retry": "true"}))
    assert [] == receiver.alerts
    operations_run_failure_sensor(failed_run(fresh_instance, **{"dagster/will_retry": "false"}))
    assert 1 == len(receiver.alerts)


def test_below_the_least_severity_nothing_is_sent(
    receiver: Receiver, fresh_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ALERT_MIN_SEVERITY=critical silences a failed run."""
    monkeypatch.setenv("ALERT_MIN_SEVERITY", "critical")
    operations_run_failure_sensor(failed_run(fresh_instance))
    assert [] == receiver.alerts


@pytest.mark.usefixtures("nobody")
def test_a_receiver_that_is_down_breaks_nothing_and_its_address_is_not_logged(
    fresh_instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    """The failure is in the log all the same; the address may hold a key."""
    configure_logging("debug", style="json")  # to the standard error of this test, as a process would write
    operations_run_failure_sensor(failed_run(fresh_instance))
    written = capfd.readouterr()
    lines = [line for line in log_lines(written.err) if line["logger"] == "ingestion_pipeline.providers.alerts"]
    assert ["error", "warning"] == [line["level"] for line in lines]
    assert "alert not delivered" == lines[1]["event"]
    assert "ConnectError" == lines[1]["reason"]
    assert CANARY not in written.out + written.err


def test_a_receiver_that_refuses_breaks_nothing(
    httpserver: HTTPServer, fresh_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP 500 is tried again, then given up."""
    httpserver.expect_request("/").respond_with_data("no", status=500)
    monkeypatch.setenv("ALERT_WEBHOOK_URL", httpserver.url_for("/"))
    with stamina.set_testing(True, attempts=2):
        operations_run_failure_sensor(failed_run(fresh_instance))
    assert 2 == len(httpserver.log)


def becomes(instance: dg.DagsterInstance, key: dg.AssetKey, state: FreshnessState) -> None:
    """Records the event that Dagster's freshness daemon records; test_up.py has the daemon do it."""
    instance._report_runless_asset_event(
        FreshnessStateChange(
            key=key,
            new_state=state,
            previous_state=FreshnessState.UNKNOWN,
            state_change_timestamp=utc_now().timestamp(),
        )
    )


def tick(instance: dg.DagsterInstance, cursor: str | None) -> str | None:
    """One evaluation of the sensor; the cursor for the next."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=REPOSITORY)
    assert isinstance(operations_freshness_sensor(context), dg.SkipReason)
    return context.cursor


def test_a_change_of_freshness_is_one_alert(receiver: Receiver, fresh_instance: dg.DagsterInstance) -> None:
    """Stale is a warning, broken an error; fine again is told to those who want to know; no change is silent."""
    cursor = tick(fresh_instance, None)
    becomes(fresh_instance, DAILY, FreshnessState.PASS)
    cursor = tick(fresh_instance, cursor)
    becomes(fresh_instance, DAILY, FreshnessState.WARN)
    becomes(fresh_instance, SNAPSHOTS, FreshnessState.FAIL)
    cursor = tick(fresh_instance, tick(fresh_instance, cursor))
    assert [
        ("warning", "freshness of market/ohlc_daily is WARN", {"asset": "market/ohlc_daily", "was": "PASS"}),
        ("error", "freshness of market/snapshots is FAIL", {"asset": "market/snapshots", "was": "None"}),
    ] == [(alert["severity"], alert["message"], alert["context"]) for alert in receiver.alerts]
    becomes(fresh_instance, DAILY, FreshnessState.FAIL)
    tick(fresh_instance, cursor)
    assert ("error", {"asset": "market/ohlc_daily", "was": "WARN"}) == (
        receiver.alerts[-1]["severity"],
        receiver.alerts[-1]["context"],
    )
    assert 3 == len(receiver.alerts)


def test_fine_again_is_an_alert_of_its_own_severity(
    receiver: Receiver, fresh_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`info`: below the default, sent where ALERT_MIN_SEVERITY asks for it."""
    becomes(fresh_instance, DAILY, FreshnessState.FAIL)
    cursor = tick(fresh_instance, None)
    becomes(fresh_instance, DAILY, FreshnessState.PASS)
    tick(fresh_instance, cursor)
    assert ["error"] == [alert["severity"] for alert in receiver.alerts]
    monkeypatch.setenv("ALERT_MIN_SEVERITY", "info")
    tick(fresh_instance, cursor)
    assert ["error", "info"] == [alert["severity"] for alert in receiver.alerts]


def test_the_first_sight_of_a_healthy_pipeline_is_silent(
    receiver: Receiver, fresh_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart with a lost cursor does not announce what was never broken; what never ran is no alert either."""
    monkeypatch.setenv("ALERT_MIN_SEVERITY", "info")
    becomes(fresh_instance, DAILY, FreshnessState.PASS)
    becomes(fresh_instance, SNAPSHOTS, FreshnessState.UNKNOWN)
    tick(fresh_instance, None)
    assert [] == receiver.alerts


def upkeep(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> dg.JobExecutionResult:
    """A run of the job as Dagster's launcher starts one: from the code location, with its own resources."""
    monkeypatch.setenv("INGESTION_HOME", str(pipeline.settings.ingestion_home))
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
