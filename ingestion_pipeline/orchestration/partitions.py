"""The partitions every domain shares: UTC days, and weeks from Monday; the running day and week included.

Belongs here: partition definitions and the way from Dagster's keys and tags to a Window. Nothing of one domain.
"""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from ingestion_pipeline.core.tables import Partitioning
from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.settings import Settings

TimePartitions = dg.DailyPartitionsDefinition | dg.WeeklyPartitionsDefinition

FIRST_DAY = Settings.from_environment().ingestion_first_day


def monday(day: date) -> date:
    """The first day of the week that `day` is in."""
    return day - timedelta(days=day.weekday())


DAILY = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=1)
WEEKLY = dg.WeeklyPartitionsDefinition(start_date=monday(FIRST_DAY).isoformat(), day_offset=1, end_offset=1)

PARTITIONS: Mapping[Partitioning, TimePartitions | None] = {"none": None, "daily": DAILY, "weekly": WEEKLY}


def partition_length(partitions: TimePartitions) -> timedelta:
    return timedelta(days=7 if isinstance(partitions, dg.WeeklyPartitionsDefinition) else 1)


def range_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that make one run materialize the partitions `first` to `last`."""
    return {ASSET_PARTITION_RANGE_START_TAG: first.isoformat(), ASSET_PARTITION_RANGE_END_TAG: last.isoformat()}


def tagged_window(tags: Mapping[str, str], partitions: TimePartitions) -> Window | None:
    """The window that a run's tags ask for; None for a run without partitions."""
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG)
    last = tags.get(ASSET_PARTITION_RANGE_END_TAG) or tags.get(PARTITION_NAME_TAG)
    if not first or not last:
        return None
    return Window(_midnight(first), _midnight(last) + partition_length(partitions))


def partition_window(context: dg.AssetExecutionContext) -> Window:
    """The window of one partition, or of the whole range that this run materializes."""
    window = context.partition_time_window
    return Window(window.start, window.end)


def due_range(
    partitions: TimePartitions, settled: Collection[str], *, now: datetime, lookback_days: int
) -> tuple[date, date] | None:
    """First and last partition that a schedule should build now; None before the first day.

    Always the running one, and those of the lookback that are not settled. Ticks missed while the daemon was down are
    thus made up by the next.
    """
    length = partition_length(partitions)
    last = monday(now.date()) if length.days > 1 else now.date()
    first = max(last - timedelta(days=lookback_days), FIRST_DAY)
    first = max(monday(first), monday(FIRST_DAY)) if length.days > 1 else first
    days = [first + i * length for i in range((last - first) // length + 1)]
    due = [day for day in days if day.isoformat() not in settled or day == last]
    return (min(due), last) if due else None


def settled_partitions(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: TimePartitions, *, now: datetime
) -> set[str]:
    """The built partitions of an asset, without one whose last run began before it ended: that lacks the last bars."""
    built = instance.get_materialized_partitions(key)
    ended = [day for day in built if _midnight(day) + partition_length(partitions) <= now]
    if ended:
        newest = max(ended)
        filters = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[newest])
        record = instance.fetch_materializations(filters, limit=1).records[0]
        run = instance.get_run_record_by_id(record.run_id)
        began = run.start_time if run and run.start_time else record.timestamp
        if began < (_midnight(newest) + partition_length(partitions)).timestamp():
            built = built - {newest}
    return built


def _midnight(key: str) -> datetime:
    return midnight(date.fromisoformat(key))
