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


def partition_day(partitions: TimePartitions, day: date) -> date:
    """The first day of the partition that `day` is in."""
    return monday(day) if isinstance(partitions, dg.WeeklyPartitionsDefinition) else day


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
    partitions: TimePartitions, settled: Collection[date], *, now: datetime, lookback_days: int
) -> tuple[date, date] | None:
    """First and last partition that a schedule should build now; None before the first day.

    Always the running one, and those of the lookback that are not settled. Ticks missed while the daemon was down are
    thus made up by the next.
    """
    days = lookback_partitions(partitions, now=now, lookback_days=lookback_days)
    due = [day for day in days if day not in settled or day == days[-1]]
    return (due[0], days[-1]) if due else None


def lookback_partitions(partitions: TimePartitions, *, now: datetime, lookback_days: int) -> list[date]:
    """The partitions of the lookback, ascending, the running one last; none before the first day."""
    last = partition_day(partitions, now.date())
    first = partition_day(partitions, max(last - timedelta(days=lookback_days), FIRST_DAY))
    return partitions_of(partitions, first, last)


def partitions_of(partitions: TimePartitions, first: date, last: date) -> list[date]:
    """The first day of every partition that the days `first` to `last` touch, ascending."""
    length, start = partition_length(partitions), partition_day(partitions, first)
    return [start + i * length for i in range((partition_day(partitions, last) - start) // length + 1)]


def _midnight(key: str) -> datetime:
    return midnight(date.fromisoformat(key))
