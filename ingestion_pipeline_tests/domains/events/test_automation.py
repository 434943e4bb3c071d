"""When events move: runs are asked for when events wait, and what a run did is seen by what is derived from it."""

import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.events.automation import events_sync_sensor
from ingestion_pipeline.domains.events.erasure import changed_days, settle_changed_days
from ingestion_pipeline.domains.events.sync import ALL_TIME, sync
from ingestion_pipeline.domains.events.tables import EVENT_AGGREGATIONS_DAILY, EVENT_HISTORY
from ingestion_pipeline.orchestration.staleness import Builds
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python
from ingestion_pipeline_tests.command import SECONDS
from ingestion_pipeline_tests.hot_log import HotLog, rows, value
from ingestion_pipeline_tests.pipeline import Pipeline

COPY = {"type": "COPY", "ruleId": "r1"}
HISTORY = dg.AssetKey(list(EVENT_HISTORY.asset_key))
DAILY_KEY = dg.AssetKey(list(EVENT_AGGREGATIONS_DAILY.asset_key))


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def own_pipeline(pipeline: Pipeline, own_instance: dg.DagsterInstance) -> Pipeline:
    """With an instance of the test's own: what is asked is what has been materialized."""
    pipeline.instance = own_instance
    return pipeline


def tick(instance: dg.DagsterInstance, postgres: Postgres) -> Any:
    return events_sync_sensor(dg.build_sensor_context(instance=instance, resources={"postgres": postgres}))


def started(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, job: str = "events_sync_job") -> None:
    instance.add_run(dg.DagsterRun(job_name=job, run_id=new_id(), status=status))


def days_materialized(instance: dg.DagsterInstance) -> dict[str, int]:
    """How often each day of the history was reported."""
    found: dict[str, int] = {}
    for record in instance.fetch_materializations(HISTORY, limit=1000).records:
        assert record.partition_key is not None
        found[record.partition_key] = found.get(record.partition_key, 0) + 1
    return found


# the sensor


def test_without_events_no_run_is_asked_for(own_instance: dg.DagsterInstance, postgres: Postgres) -> None:
    assert isinstance(tick(own_instance, postgres), dg.SkipReason)


def test_waiting_events_ask_for_a_run(
    hot_log: HotLog, own_instance: dg.DagsterInstance, postgres: Postgres, lake: Lake
) -> None:
    """Of the running day; none any more once they are in the lake."""
    hot_log.send(COPY)
    request = tick(own_instance, postgres)
    assert isinstance(request, dg.RunRequest)
    today = {(datetime.now(UTC) - timedelta(seconds=60 * n)).date().isoformat() for n in (0, 1)}
    assert {
        request.tags["dagster/asset_partition_range_start"],
        request.tags["dagster/asset_partition_range_end"],
    } <= today
    sync(postgres, lake)
    assert isinstance(tick(own_instance, postgres), dg.RunRequest)  # the days are not yet reported
    settle_changed_days(postgres, changed_days(postgres))
    assert isinstance(tick(own_instance, postgres), dg.SkipReason)


@pytest.mark.parametrize(
    ("status", "is_asked"),
    [
        (dg.DagsterRunStatus.STARTING, False),
        (dg.DagsterRunStatus.STARTED, False),
        (dg.DagsterRunStatus.SUCCESS, True),
        (dg.DagsterRunStatus.CANCELED, True),
    ],
)
def test_one_run_at_a_time_is_asked_for(
    hot_log: HotLog,
    own_instance: dg.DagsterInstance,
    postgres: Postgres,
    status: dg.DagsterRunStatus,
    *,
    is_asked: bool,
) -> None:
    """A run that is queued or going on will take what waits; one that is over will not."""
    hot_log.send(COPY)
    started(own_instance, status)
    assert is_asked == isinstance(tick(own_instance, postgres), dg.RunRequest)


def test_a_batch_that_was_begun_asks_for_a_run(
    hot_log: HotLog, own_instance: dg.DagsterInstance, postgres: Postgres
) -> None:
    """A killed sync is completed although no new event came."""
    rows(
        hot_log.url,
        "insert into events.warehouse_sync_status (warehouse_type, batch_number, status, first_transaction_id, "
        "next_transaction_id) values ('delta', 1, 'written', '0', '3')",
    )
    assert isinstance(tick(own_instance, postgres), dg.RunRequest)


def test_a_held_event_asks_for_a_run_when_it_is_due(
    hot_log: HotLog, own_instance: dg.DagsterInstance, postgres: Postgres, lake: Lake
) -> None:
    hot_log.send(COPY)
    sync(postgres, lake)
    settle_changed_days(postgres, changed_days(postgres))
    rows(
        hot_log.url,
        "insert into events.event_states (event_id, received_at, processing_status, is_held, next_attempt_at) "
        "select event_id, received_at, 'pending', true, now() + interval '1 minute' from events.event_log",
    )
    assert isinstance(tick(own_instance, postgres), dg.SkipReason)
    rows(hot_log.url, "update events.event_states set next_attempt_at = now()")
    assert isinstance(tick(own_instance, postgres), dg.RunRequest)


# the asset


def test_a_run_brings_everything_over_whatever_day_it_is_for(hot_log: HotLog, own_pipeline: Pipeline) -> None:
    """A late event goes to its own day, which is reported as built again; the run's own with its result as well."""
    now = datetime.now(UTC)
    late = now - timedelta(days=40)
    hot_log.send(COPY, {**COPY, "ts": late.isoformat()}, received_at=now)
    result = own_pipeline.run("events_sync_job", now.date())
    assert result.success, own_pipeline.problems(result)
    every = Window.of_days(date(2020, 1, 1), date(2100, 1, 1))
    assert {late.date(): 1, now.date(): 1} == own_pipeline.lake.row_counts(EVENT_HISTORY, every)
    assert {late.date().isoformat(): 1, now.date().isoformat(): 2} == days_materialized(own_pipeline.instance)


def test_a_run_says_what_it_did(hot_log: HotLog, own_pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    hot_log.send(COPY, {**COPY, "ts": (now - timedelta(days=2)).isoformat()}, received_at=now)
    result = own_pipeline.run("events_sync_job", now.date())
    (mine,) = [it for it in result.asset_materializations_for_node("events__event_history") if "batches" in it.metadata]
    said = {name: value.value for name, value in mine.metadata.items()}
    assert {"events_synced": 2, "batches": 1, "held_events": 0, "days_touched": 2}.items() <= said.items()
    assert said["bytes_synced"] > 0


def test_a_late_event_makes_what_is_derived_from_its_day_outdated(hot_log: HotLog, own_pipeline: Pipeline) -> None:
    """Only that day, and only until it is derived again."""
    now = datetime.now(UTC)
    first, second = (now.date() - timedelta(days=n) for n in (5, 4))
    graph = defs.get_repository_def().asset_graph

    def outdated() -> set[date]:
        found = set(Builds(own_pipeline.instance, graph).outdated([DAILY_KEY]))
        return {day for day in found if day < now.date()}  # every sync builds the running day again

    for day in (first, second):
        hot_log.send({**COPY, "ts": f"{day}T12:00:00Z"}, received_at=now)
    assert own_pipeline.run("events_sync_job", now.date()).success
    result = own_pipeline.run("events_daily_job", first, now.date())
    assert result.success, own_pipeline.problems(result)
    assert set() == outdated()
    hot_log.send({**COPY, "ts": f"{first}T13:00:00Z"}, received_at=now)
    assert own_pipeline.run("events_sync_job", now.date()).success
    assert {first} == outdated()
    assert own_pipeline.run("events_daily_job", first).success
    assert set() == outdated()
    counts = own_pipeline.rows(EVENT_AGGREGATIONS_DAILY, first).event_count.tolist()
    assert [2] == counts


@pytest.mark.parametrize("days", [-9000, 1])
def test_an_event_outside_the_partitions_does_not_break_the_run(
    hot_log: HotLog, own_pipeline: Pipeline, days: int
) -> None:
    """Emitted by a transaction with a date long ago, or of tomorrow, which is no partition yet: it is in the lake."""
    at = datetime.now(UTC) + timedelta(days=days) - timedelta(minutes=5)
    with psycopg.connect(hot_log.url) as connection:
        connection.execute("select events.emit_platform_event('COPY', rule_id => 'r1', occurred_at => %s)", [at])
    result = own_pipeline.run("events_sync_job", datetime.now(UTC).date())
    assert result.success, own_pipeline.problems(result)
    assert [at] == own_pipeline.lake.read(EVENT_HISTORY, ALL_TIME).to_pyarrow()["occurred_at"].to_pylist()


# Syncs, for the days that were given, and is killed as soon as what changed is settled.
SYNCER = """
import os, signal, sys
import dagster as dg
from ingestion_pipeline.domains.events import assets
from ingestion_pipeline.orchestration.partitions import range_tags
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

settle = assets.settle_changed_days

def settled(*arguments):
    settle(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

assets.settle_changed_days = settled
settings = Settings.from_environment({"DATABASE_URL": sys.argv[1], "INGESTION_HOME": sys.argv[2]})
resources = {"settings": settings, "postgres": Postgres(sys.argv[1]), "lake": Lake(settings)}
instance = dg.DagsterInstance.local_temp(sys.argv[3])
dg.materialize(assets.ASSETS, instance=instance, partition_key=sys.argv[4], resources=resources)
"""


def test_a_day_is_reported_before_it_is_settled(
    hot_log: HotLog, worker_url: str, settings: Settings, postgres: Postgres, tmp_path: Path
) -> None:
    """Also the day that the run is for: the run may end between the two, and nothing else says that it has changed."""
    now = datetime.now(UTC)
    day = now.date() - timedelta(days=1)
    hot_log.send({**COPY, "ts": f"{day}T12:00:00Z"}, received_at=now)
    with python(SYNCER, worker_url, str(settings.ingestion_home), str(tmp_path), str(day)) as child:
        said, _ = child.communicate(timeout=SECONDS)
        assert -signal.SIGKILL == child.returncode, said
    assert [] == changed_days(postgres)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert {str(day): 1} == days_materialized(instance)


def test_a_run_over_many_days_counts_each(hot_log: HotLog, own_pipeline: Pipeline) -> None:
    """A backfill of days long synced reports how many rows each has."""
    now = datetime.now(UTC)
    days = [now.date() - timedelta(days=n) for n in (3, 2, 1)]
    hot_log.send(*({**COPY, "ts": f"{day}T12:00:00Z"} for day in (days[0], days[0], days[2])), received_at=now)
    assert own_pipeline.run("events_sync_job", now.date()).success
    result = own_pipeline.run("events_sync_job", days[0], days[-1])
    found = {
        it.partition: it.metadata["dagster/partition_row_count"].value
        for it in result.asset_materializations_for_node("events__event_history")
    }
    assert {str(days[0]): 2, str(days[1]): 0, str(days[2]): 1} == found


def test_an_unusable_setting_fails_the_run_for_good(hot_log: HotLog, own_pipeline: Pipeline) -> None:
    """Retries would not help; the failure names the setting."""
    rows(hot_log.url, "create table public.people (name text); grant select on people to pipeline_worker")
    own_pipeline.settings = own_pipeline.settings.model_copy(update={"events_users_table": "public.people"})
    hot_log.send({**COPY, "userId": "u1"})
    result = own_pipeline.run("events_sync_job", datetime.now(UTC).date())
    assert not result.success
    assert "EVENTS_USERS_TABLE" in str(own_pipeline.problems(result))


# upkeep


def test_upkeep_makes_partitions_and_removes_expired_metrics(database_url: str, own_pipeline: Pipeline) -> None:
    rows(database_url, "select events.update_realtime_metric('old', 1, ttl => interval '-1 second')")
    rows(database_url, "select events.update_realtime_metric('new', 1)")
    result = own_pipeline.run("events_upkeep_job")
    assert result.success, own_pipeline.problems(result)
    assert ["new"] == [
        it["metric_name"] for it in rows(database_url, "select metric_name from events.platform_metrics_realtime")
    ]
    assert 0 == value(database_url, "select events.ensure_event_partitions()")


def test_everything_is_on_by_default() -> None:
    repository = defs.get_repository_def()
    states = {it.name: it.default_status.name for it in [*repository.sensor_defs, *repository.schedule_defs]}
    ours = {name: state for name, state in states.items() if name.startswith("events_")}
    assert (True, {"RUNNING"}) == (len(ours) >= 8, set(ours.values()))


def test_events_move_as_often_as_was_promised() -> None:
    """The sync at least every minute, aggregations hourly, metrics every 15 minutes, retention daily at 02:00."""
    assert events_sync_sensor.minimum_interval_seconds is not None
    assert events_sync_sensor.minimum_interval_seconds <= 60
    times = {it.job_name: it.cron_schedule for it in defs.get_repository_def().schedule_defs}
    assert {
        "events_daily_job": "2 * * * *",
        "events_weekly_job": "25 * * * *",
        "events_accounts_job": "40 * * * *",
        "events_upkeep_job": "*/15 * * * *",
        "events_retention_job": "0 2 * * *",
    }.items() <= times.items()
