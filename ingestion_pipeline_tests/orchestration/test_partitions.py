"""From Dagster's keys, tags and clock to windows of UTC time, and which partitions are due."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.orchestration.partitions import (
    DAILY,
    FIRST_DAY,
    WEEKLY,
    TimePartitions,
    due_range,
    monday,
    partition_length,
    partition_window,
    range_tags,
    tagged_window,
)

SUNDAY_NOON = datetime(2025, 7, 6, 12, 5, tzinfo=UTC)
KEY = dg.AssetKey(["toy", "bars"])


def keys(first: date, last: date, *, step: int = 1) -> set[date]:
    return {first + timedelta(days=i) for i in range(0, (last - first).days + 1, step)}


def test_the_running_day_is_due_although_it_is_built() -> None:
    """Its bars are still coming."""
    settled = keys(date(2025, 6, 1), date(2025, 7, 6))
    assert (date(2025, 7, 6), date(2025, 7, 6)) == due_range(DAILY, settled, now=SUNDAY_NOON, lookback_days=30)


def test_a_missing_day_of_the_lookback_is_due() -> None:
    """One run covers it and everything after it."""
    settled = keys(date(2025, 6, 1), date(2025, 7, 6)) - {date(2025, 6, 20)}
    assert (date(2025, 6, 20), date(2025, 7, 6)) == due_range(DAILY, settled, now=SUNDAY_NOON, lookback_days=30)


def test_a_missing_day_before_the_lookback_is_not_due() -> None:
    """Older days are a matter of a backfill."""
    settled = keys(date(2025, 6, 30), date(2025, 7, 6))
    assert (date(2025, 7, 6), date(2025, 7, 6)) == due_range(DAILY, settled, now=SUNDAY_NOON, lookback_days=6)
    assert (date(2025, 6, 29), date(2025, 7, 6)) == due_range(DAILY, settled, now=SUNDAY_NOON, lookback_days=7)


def test_weeks_are_due_by_their_monday() -> None:
    """The running week, and those whose Monday lies in the weeks of the lookback."""
    this_week, weeks = date(2025, 6, 30), keys(date(2025, 6, 2), date(2025, 6, 30), step=7)
    assert (this_week, this_week) == due_range(WEEKLY, weeks, now=SUNDAY_NOON, lookback_days=28)
    missing = weeks - {date(2025, 6, 16)}
    assert (date(2025, 6, 16), this_week) == due_range(WEEKLY, missing, now=SUNDAY_NOON, lookback_days=28)


@pytest.mark.parametrize("partitions", [DAILY, WEEKLY])
def test_nothing_before_the_first_day_is_due(partitions: TimePartitions) -> None:
    """However long the lookback; a due partition is one that Dagster knows."""
    now = datetime(2025, 1, 8, 12, tzinfo=UTC)
    due = due_range(partitions, set(), now=now, lookback_days=3650)
    assert due is not None
    known = partitions.get_partition_keys(current_time=now)
    assert (str(due[0]), str(due[1])) == (known[0], known[-1])
    assert due[0] == (FIRST_DAY if partitions is DAILY else monday(FIRST_DAY))


@pytest.mark.parametrize("partitions", [DAILY, WEEKLY])
def test_before_the_first_day_nothing_is_due(partitions: TimePartitions) -> None:
    """A first day in the future is no error of the schedule."""
    long_before = datetime(2020, 1, 8, tzinfo=UTC)
    assert due_range(partitions, set(), now=long_before, lookback_days=30) is None


@pytest.mark.parametrize(
    ("tags", "partitions", "expected"),
    [
        ({"dagster/partition": "2025-03-30"}, DAILY, (date(2025, 3, 30), date(2025, 3, 30))),
        (range_tags(date(2025, 3, 1), date(2025, 3, 31)), DAILY, (date(2025, 3, 1), date(2025, 3, 31))),
        ({"dagster/partition": "2025-03-24"}, WEEKLY, (date(2025, 3, 24), date(2025, 3, 30))),
        (range_tags(date(2025, 3, 3), date(2025, 3, 24)), WEEKLY, (date(2025, 3, 3), date(2025, 3, 30))),
    ],
)
def test_tags_say_the_window_of_a_run(
    tags: dict[str, str], partitions: TimePartitions, expected: tuple[date, date]
) -> None:
    """One partition or a range, days or weeks; the end is the end of the last partition."""
    assert Window.of_days(*expected) == tagged_window(tags, partitions)


def test_a_run_without_partitions_has_no_window() -> None:
    """A check started by itself, a snapshot."""
    assert tagged_window({"dagster/schedule_name": "x"}, DAILY) is None


@pytest.mark.parametrize(
    ("partitions", "tags"),
    [
        (DAILY, {"dagster/partition": "2025-10-26"}),
        (DAILY, range_tags(date(2025, 3, 29), date(2025, 3, 31))),
        (WEEKLY, {"dagster/partition": "2025-10-20"}),
        (WEEKLY, range_tags(date(2025, 3, 24), date(2025, 4, 7))),
    ],
)
def test_an_asset_and_its_checks_see_the_same_window(partitions: TimePartitions, tags: dict[str, str]) -> None:
    """Dagster's own reading of a run's partitions is that of the tags."""
    seen = []

    @dg.asset(key=KEY, partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def bars(context: dg.AssetExecutionContext) -> None:
        seen.append(partition_window(context))

    job = dg.Definitions([bars], jobs=[dg.define_asset_job("toy", [bars])]).resolve_job_def("toy")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance, tags=tags).success
    assert [tagged_window(tags, partitions)] == seen


@pytest.mark.parametrize("day", ["2025-03-09", "2025-03-30", "2025-10-26", "2025-11-02"])
def test_days_on_which_clocks_change_have_24_hours(day: str) -> None:
    """Partitions are UTC days, whatever clocks do in America or Europe."""
    window = DAILY.time_window_for_partition_key(day)
    assert timedelta(hours=24) == window.end - window.start
    assert partition_length(DAILY) == window.end - window.start


def test_weeks_start_on_monday_and_days_begin_at_the_first_day() -> None:
    """The first partition of each; the running one is the last."""
    assert {0} == {date.fromisoformat(key).weekday() for key in WEEKLY.get_partition_keys()}
    assert (str(FIRST_DAY), str(monday(FIRST_DAY))) == (
        DAILY.get_first_partition_key(),
        WEEKLY.get_first_partition_key(),
    )
    assert "2025-07-06" == DAILY.get_partition_keys(current_time=SUNDAY_NOON)[-1]
    assert "2025-06-30" == WEEKLY.get_partition_keys(current_time=SUNDAY_NOON)[-1]
