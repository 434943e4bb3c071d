"""What the market schedules and the sensor ask for, given what has been built."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from croniter import croniter
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from ingestion_pipeline.core.windows import midnight
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.market.automation import (
    DAILY_TABLES,
    market_derived_sensor,
    market_hourly_schedule,
    market_snapshots_schedule,
    market_weekly_schedule,
)
from ingestion_pipeline.orchestration import derived, schedules
from ingestion_pipeline.orchestration.partitions import DAILY, FIRST_DAY, WEEKLY, monday, tagged_window
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.pipeline import Pipeline

LOOKBACK_DAYS = Settings.from_environment().ingestion_lookback_days
REPOSITORY = defs.get_repository_def()
NOW = datetime.now(UTC).replace(minute=5, second=0, microsecond=0)
TODAY = NOW.date()
DAILY_NAMES = [table.name for table in DAILY_TABLES]
LOOKBACK = [TODAY - timedelta(days=i) for i in range(LOOKBACK_DAYS + 1)]
MONDAY = date(2025, 3, 3)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that schedules can refer to, in which nothing has been built."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the time at which a tick is evaluated; by default shortly after NOW."""

    def set_to(now: datetime) -> None:
        for module in (schedules, derived):
            monkeypatch.setattr(module, "utc_now", lambda: now)

    set_to(NOW + timedelta(seconds=5))
    return set_to


def tick(schedule: Any, instance: dg.DagsterInstance, at: datetime = NOW) -> Any:
    """What `schedule` answers at its tick of `at`."""
    return schedule(
        dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=REPOSITORY)
    )


def asked_for(schedule: Any, instance: dg.DagsterInstance, at: datetime = NOW) -> tuple[date, date]:
    """First and last day of the run that `schedule` requests."""
    window = tagged_window(tick(schedule, instance, at).tags, DAILY)
    assert window is not None
    return window.first_day, window.last_day


def build(instance: dg.DagsterInstance, names: list[str], *days: date) -> None:
    """Records that `days` of market tables have just been built."""
    for name in names:
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


def test_a_day_counts_as_built_when_every_daily_table_is(empty: dg.DagsterInstance) -> None:
    """Bars without statistics are not enough, nor statistics that somebody built again without bars."""
    build(empty, DAILY_NAMES[:-1], *LOOKBACK)
    build(empty, DAILY_NAMES[-1:], *LOOKBACK[3:])
    assert (LOOKBACK[2], TODAY) == asked_for(market_hourly_schedule, empty)


def test_every_day_that_ended_while_the_daemon_was_down_is_built_again(
    empty: dg.DagsterInstance, clock: Callable[[datetime], None]
) -> None:
    """Today is built, then nothing until the day after tomorrow, of which the first hour is built by hand."""
    build(empty, DAILY_NAMES, *LOOKBACK)
    assert (TODAY, TODAY) == asked_for(market_hourly_schedule, empty)
    last = TODAY + timedelta(days=2)
    build(empty, DAILY_NAMES, last)
    later = midnight(last) + timedelta(hours=9, minutes=5)
    clock(later)
    assert (TODAY, last) == asked_for(market_hourly_schedule, empty, later)


def test_statistics_built_after_a_day_do_not_hide_that_its_bars_were_built_before(
    empty: dg.DagsterInstance, clock: Callable[[datetime], None]
) -> None:
    """As the sensor's run does between midnight and the next tick; the bars of the last hour are fetched all the same."""
    for day in LOOKBACK:
        build(empty, DAILY_NAMES, day)
    later = midnight(TODAY) + timedelta(days=1, minutes=5)
    clock(later)
    assert (TODAY, TODAY + timedelta(days=1)) == asked_for(market_hourly_schedule, empty, later)


def test_a_week_whose_days_were_built_again_is_due(empty: dg.DagsterInstance) -> None:
    """One older than the last, within the lookback."""
    weeks = [monday(TODAY) - timedelta(days=7 * i) for i in range(LOOKBACK_DAYS // 7 + 2)]
    build(empty, ["ohlc_daily"], *LOOKBACK)
    build(empty, ["ohlc_weekly"], *weeks)
    assert (weeks[0], weeks[0]) == asked_for(market_weekly_schedule, empty)
    build(empty, ["ohlc_daily"], weeks[2] + timedelta(days=6))
    assert (weeks[2], weeks[0]) == asked_for(market_weekly_schedule, empty)


def test_before_the_first_day_a_tick_is_skipped_with_a_reason(
    empty: dg.DagsterInstance, clock: Callable[[datetime], None]
) -> None:
    """INGESTION_FIRST_DAY may lie in the future; the schedule says so instead of failing."""
    before = midnight(FIRST_DAY) - timedelta(days=30)
    clock(before)
    expected = dg.SkipReason(f"INGESTION_FIRST_DAY ({FIRST_DAY}) is in the future")
    assert expected == tick(market_hourly_schedule, empty, before)


@pytest.mark.parametrize("schedule", [market_hourly_schedule, market_weekly_schedule, market_snapshots_schedule])
def test_of_missed_ticks_only_the_newest_asks_for_a_run(
    empty: dg.DagsterInstance, clock: Callable[[datetime], None], schedule: Any
) -> None:
    """After downtime the daemon makes up for up to five at once."""
    start = midnight(TODAY)
    context = croniter(schedule.cron_schedule, start)
    ticks = [context.get_next(datetime) for _ in range(6)]
    clock(ticks[-1] - timedelta(seconds=1))
    answers = [tick(schedule, empty, at) for at in ticks[:-1]]
    assert [dg.SkipReason] * 4 + [dg.RunRequest] == [type(answer) for answer in answers]
    assert f"the tick of {ticks[0]:%Y-%m-%d %H:%M} is late: a newer tick makes up for it" == answers[0].skip_message


def sensed(instance: dg.DagsterInstance) -> Any:
    """What the sensor answers."""
    return market_derived_sensor(dg.build_sensor_context(instance=instance, repository_def=REPOSITORY))


def wanted(requests: list[dg.RunRequest]) -> dict[str, tuple[date, date]]:
    windows = {it.job_name: tagged_window(it.tags, DAILY) for it in requests}
    return {str(name): (window.first_day, window.last_day) for name, window in windows.items() if window}


def test_what_a_rebuilt_day_leaves_behind_is_built_by_the_sensor(pipeline: Pipeline, empty: dg.DagsterInstance) -> None:
    """Whoever rebuilt it: statistics of the later days and its week, once, and then no more."""
    own = replace(pipeline, instance=empty)
    last = MONDAY + timedelta(days=9)
    assert own.run("market_daily_job", MONDAY, last).success
    weeks = wanted(sensed(empty))
    assert {"market_weekly_job": (MONDAY, MONDAY + timedelta(days=7))} == weeks
    assert own.run("market_weekly_job", *weeks["market_weekly_job"]).success
    assert dg.SkipReason("nothing is older than what it was built from") == sensed(empty)

    rebuilt = MONDAY + timedelta(days=2)
    assert own.run("market_daily_job", rebuilt).success
    requests = sensed(empty)
    later = rebuilt + timedelta(days=1)
    assert {"market_lookback_job": (later, last), "market_weekly_job": (MONDAY, MONDAY)} == wanted(requests)
    assert all(str(it.run_key).startswith(f"{it.job_name}:") for it in requests)

    for name, (first, end) in wanted(requests).items():
        assert own.run(name, first, end).success
    assert isinstance(sensed(empty), dg.SkipReason)
    assert own.run("market_daily_job", rebuilt).success
    assert {it.run_key for it in requests}.isdisjoint(it.run_key for it in sensed(empty))


def test_the_running_day_and_week_are_left_to_the_schedules(
    empty: dg.DagsterInstance, clock: Callable[[datetime], None]
) -> None:
    """Every hour they would be outdated anew."""
    clock(midnight(MONDAY) + timedelta(days=2, hours=12))
    build(empty, ["comparisons", "roi_statistics", "ohlc_daily"], *(MONDAY + timedelta(days=i) for i in range(3)))
    ended = MONDAY + timedelta(days=1)
    assert {"market_lookback_job": (MONDAY, ended)} == wanted(sensed(empty))


def test_days_that_are_not_consecutive_are_runs_of_their_own(empty: dg.DagsterInstance) -> None:
    """A run over the gap would build days that have no bars; one that fails does not hold up the other."""
    build(empty, ["ohlc_daily"], MONDAY, MONDAY + timedelta(days=1), MONDAY + timedelta(days=500))
    spans = [tagged_window(it.tags, DAILY) for it in sensed(empty) if it.job_name == "market_lookback_job"]
    assert [2, 1] == [len(span.days()) for span in spans if span]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED])
def test_the_sensor_waits_for_runs_that_build_bars(empty: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    """Of our jobs and of the UI; what they build would be outdated again. Snapshots build none."""
    build(empty, ["ohlc_daily"], MONDAY)
    chosen = dg.AssetKey(["market", "ohlc_hourly"])
    of_the_ui = REPOSITORY.get_implicit_global_asset_job_def().get_subset(asset_selection={chosen})

    def run(job: dg.JobDefinition, assets: frozenset[dg.AssetKey] | None = None) -> dg.DagsterRun:
        place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("somewhere"), "market")
        return empty.create_run_for_job(
            job,
            status=status,
            asset_selection=assets,
            remote_job_origin=place.get_job_origin(job.name),
        )

    run(REPOSITORY.get_job("market_snapshots_job"))
    assert isinstance(sensed(empty), list)
    for job, assets in ((REPOSITORY.get_job("market_daily_job"), None), (of_the_ui, frozenset([chosen]))):
        begun = run(job, assets)
        assert dg.SkipReason("runs that build what it reads are queued or going on: 1") == sensed(empty)
        empty.delete_run(begun.run_id)


def test_snapshots_come_when_the_setting_says() -> None:
    """INGESTION_CRON_EXPRESSION, whatever has been built."""
    assert Settings.from_environment().ingestion_cron_expression == market_snapshots_schedule.cron_schedule
