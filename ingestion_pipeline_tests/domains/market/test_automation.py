"""What the market schedules ask for, given what has been built."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.market.automation import (
    market_hourly_schedule,
    market_snapshots_schedule,
    market_weekly_schedule,
)
from ingestion_pipeline.orchestration.partitions import DAILY, FIRST_DAY, WEEKLY, monday, tagged_window
from ingestion_pipeline.settings import Settings

LOOKBACK_DAYS = Settings.from_environment().ingestion_lookback_days
REPOSITORY = defs.get_repository_def()
NOW = datetime.now(UTC).replace(minute=5, second=0, microsecond=0)
TODAY = NOW.date()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that schedules can refer to, in which nothing has been built."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def asked_for(schedule: Any, instance: dg.DagsterInstance, at: datetime = NOW) -> tuple[date, date]:
    """First and last day of the run that `schedule` requests."""
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=REPOSITORY)
    request = schedule(context)
    window = tagged_window(request.tags, DAILY)
    assert window is not None
    return window.first_day, window.last_day


def build(instance: dg.DagsterInstance, name: str, *days: date) -> None:
    """Records that `days` of a market table have just been built."""
    for day in days:
        instance.report_runless_asset_event(dg.AssetMaterialization(["market", name], partition=str(day)))


def test_an_empty_installation_builds_its_lookback(empty: dg.DagsterInstance) -> None:
    """In one run, from the first tick."""
    assert (TODAY - timedelta(days=LOOKBACK_DAYS), TODAY) == asked_for(market_hourly_schedule, empty)


def test_weeks_are_asked_for_by_their_mondays(empty: dg.DagsterInstance) -> None:
    """Whole weeks back to the one that the lookback begins in."""
    first, last = asked_for(market_weekly_schedule, empty)
    assert (monday(monday(TODAY) - timedelta(days=LOOKBACK_DAYS)), monday(TODAY)) == (first, last)
    assert {first.isoformat(), last.isoformat()} <= set(WEEKLY.get_partition_keys())


def test_a_day_counts_as_built_when_its_last_table_is(empty: dg.DagsterInstance) -> None:
    """Statistics come last; bars without them are not enough."""
    days = [TODAY - timedelta(days=i) for i in range(LOOKBACK_DAYS + 1)]
    build(empty, "price_bars", *days)
    build(empty, "roi_statistics", *days[3:])
    assert (days[2], TODAY) == asked_for(market_hourly_schedule, empty)


def test_the_day_that_ended_while_the_daemon_was_down_is_built_again(empty: dg.DagsterInstance) -> None:
    """Today is built, then nothing until the morning after tomorrow: today's last bars are fetched then."""
    days = [TODAY - timedelta(days=i) for i in range(LOOKBACK_DAYS + 1)]
    build(empty, "roi_statistics", *days)
    assert (TODAY, TODAY) == asked_for(market_hourly_schedule, empty)
    later = datetime.combine(TODAY, datetime.min.time(), tzinfo=UTC) + timedelta(days=2, hours=9)
    assert (TODAY, TODAY + timedelta(days=2)) == asked_for(market_hourly_schedule, empty, later)


def test_before_the_first_day_a_tick_is_skipped_with_a_reason(empty: dg.DagsterInstance) -> None:
    """INGESTION_FIRST_DAY may lie in the future; the schedule says so instead of failing."""
    before = datetime.combine(FIRST_DAY, datetime.min.time(), tzinfo=UTC) - timedelta(days=30)
    context = dg.build_schedule_context(instance=empty, scheduled_execution_time=before, repository_def=REPOSITORY)
    assert dg.SkipReason(f"INGESTION_FIRST_DAY ({FIRST_DAY}) is in the future") == market_hourly_schedule(context)


def test_snapshots_come_when_the_setting_says() -> None:
    """INGESTION_CRON_EXPRESSION, whatever has been built."""
    assert Settings.from_environment().ingestion_cron_expression == market_snapshots_schedule.cron_schedule
