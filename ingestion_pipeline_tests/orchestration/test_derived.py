"""The sensor that any domain can have: what it asks for, given what Dagster has recorded."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from ingestion_pipeline.core.tables import Column, Table
from ingestion_pipeline.core.windows import midnight
from ingestion_pipeline.orchestration import derived
from ingestion_pipeline.orchestration.derived import Derived, asset_keys, derived_sensor
from ingestion_pipeline.orchestration.partitions import DAILY, WEEKLY, tagged_window

MONDAY = date(2025, 3, 3)


def table(name: str, partitioning: Any = "daily") -> Table:
    return Table(
        domain="toy",
        name=name,
        store="postgres",
        key=("day",),
        partitioning=partitioning,
        partition_column="day",
        columns=(Column("day", "date", "Day"),),
    )


RAW, DAYS, WEEKS, LAST = table("raw"), table("days"), table("weeks", "weekly"), table("last")


def asset(made: Table, partitions: Any, *deps: Table) -> dg.AssetsDefinition:
    @dg.asset(
        key=list(made.asset_key),
        deps=asset_keys(deps),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def build() -> None: ...

    return build


def job(name: str, *tables: Table) -> Any:
    return dg.define_asset_job(name, selection=dg.AssetSelection.assets(*asset_keys(tables)))


RAW_JOB, DAYS_JOB = job("raw_job", RAW), job("days_job", DAYS)
WEEKS_JOB, LAST_JOB = job("weeks_job", WEEKS), job("last_job", LAST)
SENSOR = derived_sensor(
    "toy_derived_sensor",
    [Derived(DAYS_JOB, [DAYS], DAILY), Derived(WEEKS_JOB, [WEEKS], WEEKLY)],
    waits_for=[DAYS, WEEKS],
    description="Toys.",
    pause=timedelta(minutes=10),
)
LAST_SENSOR = derived_sensor(
    "toy_last_sensor", [Derived(LAST_JOB, [LAST], DAILY)], waits_for=[LAST], description="What reads toys."
)
REPOSITORY = dg.Definitions(
    [asset(RAW, DAILY), asset(DAYS, DAILY, RAW), asset(WEEKS, WEEKLY, RAW), asset(LAST, DAILY, RAW, DAYS)],
    jobs=[RAW_JOB, DAYS_JOB, WEEKS_JOB, LAST_JOB],
    sensors=[SENSOR, LAST_SENSOR],
).get_repository_def()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def build(instance: dg.DagsterInstance, made: Table, *days: int) -> None:
    for day in days:
        partition = str(MONDAY + timedelta(days=day))
        instance.report_runless_asset_event(dg.AssetMaterialization(list(made.asset_key), partition=partition))


def sensed(instance: dg.DagsterInstance, *, cursor: str | None = None) -> Any:
    return SENSOR(dg.build_sensor_context(instance=instance, repository_def=REPOSITORY, cursor=cursor))


def wanted(instance: dg.DagsterInstance) -> list[tuple[str, int, int]]:
    """Job, first and last day of each run asked for, in days after the first."""
    windows = [(it.job_name, tagged_window(it.tags, DAILY)) for it in sensed(instance)]
    return [(name, (it.first_day - MONDAY).days, (it.last_day - MONDAY).days) for name, it in windows if it]


def test_outdated_partitions_are_asked_for_job_by_job(empty: dg.DagsterInstance) -> None:
    """A run for each sequence of days, weeks by their Mondays; nothing where all is settled."""
    build(empty, RAW, 0, 1, 9)
    assert [("days_job", 0, 1), ("days_job", 9, 9), ("weeks_job", 0, 7)] == wanted(empty)
    build(empty, DAYS, 0, 1, 9)
    build(empty, WEEKS, 0, 7)
    assert dg.SkipReason("nothing is older than what it was built from") == sensed(empty)
    build(empty, RAW, 1)
    assert [("days_job", 1, 1), ("weeks_job", 0, 0)] == wanted(empty)


def test_the_same_builds_are_asked_for_once_a_day(empty: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the key of the run; newer ones anew, and those whose run has failed are not given up."""
    now = datetime(2030, 1, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(derived, "utc_now", lambda: now)
    build(empty, RAW, 0)
    keys = {it.run_key for it in sensed(empty)}
    now += timedelta(hours=11)
    assert keys == {it.run_key for it in sensed(empty)}
    now += timedelta(hours=1)
    assert keys.isdisjoint(it.run_key for it in sensed(empty))
    build(empty, RAW, 0)
    assert keys.isdisjoint(it.run_key for it in sensed(empty))


def test_the_running_partition_is_left_to_the_schedule(
    empty: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day until midnight, a week until Sunday."""
    build(empty, RAW, 0, 1)
    now = midnight(MONDAY) + timedelta(days=1, hours=12)
    monkeypatch.setattr(derived, "utc_now", lambda: now)
    assert [("days_job", 0, 0)] == wanted(empty)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED])
def test_the_sensor_waits_for_runs_that_build_what_it_would(
    empty: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    """A job's, or some assets chosen in the UI; not for others, nor for a job that is no more."""
    build(empty, RAW, 0)
    everything = REPOSITORY.get_implicit_global_asset_job_def()
    weeks = asset_keys([WEEKS])

    def begin(chosen: dg.JobDefinition, assets: set[dg.AssetKey] | None = None) -> dg.DagsterRun:
        place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("somewhere"), "toy")
        return empty.create_run_for_job(
            chosen,
            status=status,
            asset_selection=frozenset(assets) if assets else None,
            remote_job_origin=place.get_job_origin(chosen.name),
        )

    begin(REPOSITORY.get_job("raw_job"))
    gone = dg.Definitions([asset(WEEKS, WEEKLY)], jobs=[job("gone_job", WEEKS)])
    begin(gone.resolve_job_def("gone_job"))
    assert 2 == len(wanted(empty))
    for chosen, assets in (
        (REPOSITORY.get_job("days_job"), None),
        (everything.get_subset(asset_selection=weeks), weeks),
    ):
        begun = begin(chosen, assets)
        assert dg.SkipReason("runs that build what it reads are queued or going on: 1") == sensed(empty)
        empty.delete_run(begun.run_id)


def test_the_sensor_is_on_and_as_patient_as_it_is_told(
    empty: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where late data trickles in, its day is not built every minute; it looks as often as others, and a look that finds
    nothing costs no pause.
    """
    assert (dg.DefaultSensorStatus.RUNNING, 60) == (SENSOR.default_status, SENSOR.minimum_interval_seconds)
    now = datetime(2030, 1, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(derived, "utc_now", lambda: now)
    context = dg.build_sensor_context(instance=empty, repository_def=REPOSITORY)
    assert isinstance(SENSOR(context), dg.SkipReason)
    assert context.cursor is None
    build(empty, RAW, 0)
    assert isinstance(SENSOR(context), list)
    build(empty, RAW, 0)
    now += timedelta(minutes=9)
    assert "from 12:10:00 UTC on" in str(sensed(empty, cursor=context.cursor).skip_message)
    now += timedelta(minutes=1)
    assert isinstance(sensed(empty, cursor=context.cursor), list)


def test_what_reads_an_outdated_partition_waits_for_it(empty: dg.DagsterInstance) -> None:
    """One change of RAW has LAST built once, not before and after DAYS; other days do not wait."""
    for table in (RAW, DAYS, LAST):
        build(empty, table, 0, 1)
    build(empty, RAW, 0, 1)
    build(empty, DAYS, 1)

    def asked() -> list[str]:
        found: Any = LAST_SENSOR(dg.build_sensor_context(instance=empty, repository_def=REPOSITORY))
        return [it.tags["dagster/asset_partition_range_start"] for it in found]

    assert [str(MONDAY + timedelta(days=1))] == asked()
    build(empty, DAYS, 0)
    build(empty, LAST, 1)
    assert [str(MONDAY)] == asked()
    build(empty, RAW, 0)
    waits: Any = LAST_SENSOR(dg.build_sensor_context(instance=empty, repository_def=REPOSITORY))
    assert dg.SkipReason("what 1 outdated partition(s) read is to be built first") == waits
