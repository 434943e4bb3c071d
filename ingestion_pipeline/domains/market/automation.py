"""When market data is built: the running day and week hourly, snapshots by INGESTION_CRON_EXPRESSION, and derived rows
again when the days that they were built from have changed. All on by default.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from croniter import croniter
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.market.tables import (
    COMPARISONS,
    MARKETS,
    OHLC_DAILY,
    OHLC_HOURLY,
    OHLC_WEEKLY,
    PRICE_BARS,
    ROI_STATISTICS,
    SNAPSHOTS,
)
from ingestion_pipeline.orchestration.partitions import (
    DAILY,
    WEEKLY,
    TimePartitions,
    due_range,
    lookback_partitions,
    range_tags,
)
from ingestion_pipeline.orchestration.staleness import Builds, has_ended, spans
from ingestion_pipeline.settings import Settings

SETTINGS = Settings.from_environment()
DAILY_TABLES = (PRICE_BARS, OHLC_HOURLY, OHLC_DAILY, COMPARISONS, ROI_STATISTICS)
LOOKING_BACK = (COMPARISONS, ROI_STATISTICS)
DERIVED_PER_RUN = 366
GOING_ON = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def _keys(*tables: Table) -> set[dg.AssetKey]:
    return {dg.AssetKey(list(table.asset_key)) for table in tables}


def _selection(*tables: Table) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*_keys(*tables))


market_daily_job = dg.define_asset_job(
    "market_daily_job",
    selection=_selection(MARKETS, *DAILY_TABLES),
    description="Bars, hourly and daily OHLC, comparisons and statistics of one or many UTC days.",
)
market_weekly_job = dg.define_asset_job(
    "market_weekly_job", selection=_selection(OHLC_WEEKLY), description="Weekly OHLC of one or many weeks."
)
market_snapshots_job = dg.define_asset_job(
    "market_snapshots_job", selection=_selection(MARKETS, SNAPSHOTS), description="The price of every market now."
)
market_lookback_job = dg.define_asset_job(
    "market_lookback_job",
    selection=_selection(*LOOKING_BACK),
    description="Comparisons and statistics again, for days that look back on days that changed.",
)


def _due(
    context: dg.ScheduleEvaluationContext, tables: tuple[Table, ...], partitions: TimePartitions, cron: str
) -> dg.RunRequest | dg.SkipReason:
    """One run for every partition of `tables` that is due."""
    if late := _overtaken(context, cron):
        return late
    now = context.scheduled_execution_time or utc_now()
    lookback_days = SETTINGS.ingestion_lookback_days
    days = lookback_partitions(partitions, now=now, lookback_days=lookback_days)
    builds = Builds(context.instance, _graph(context))
    due = due_range(partitions, builds.settled(_keys(*tables), days, now=now), now=now, lookback_days=lookback_days)
    if due is None:
        return dg.SkipReason(f"INGESTION_FIRST_DAY ({SETTINGS.ingestion_first_day}) is in the future")
    return dg.RunRequest(tags=range_tags(*due))


def _overtaken(context: dg.ScheduleEvaluationContext, cron: str) -> dg.SkipReason | None:
    """After downtime the daemon makes up for up to five ticks at once; each would ask for what the newest asks for."""
    scheduled = context.scheduled_execution_time
    if scheduled is None or croniter(cron, scheduled.astimezone(UTC)).get_next(datetime) > utc_now():
        return None
    return dg.SkipReason(f"the tick of {scheduled:%Y-%m-%d %H:%M} is late: a newer tick makes up for it")


def _graph(context: dg.ScheduleEvaluationContext | dg.SensorEvaluationContext) -> BaseAssetGraph:
    if context.repository_def is None:
        raise ValueError(f"{type(context).__name__} has no repository_def")
    return context.repository_def.asset_graph


HOURLY, WEEKS_HOURLY = "5 * * * *", "20 * * * *"


@dg.schedule(
    job=market_daily_job,
    cron_schedule=HOURLY,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The running day every hour, with any day of the lookback that is not settled.",
)
def market_hourly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    return _due(context, DAILY_TABLES, DAILY, HOURLY)


@dg.schedule(
    job=market_weekly_job,
    cron_schedule=WEEKS_HOURLY,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The running week every hour, with any week of the lookback that is not settled.",
)
def market_weekly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    return _due(context, (OHLC_WEEKLY,), WEEKLY, WEEKS_HOURLY)


@dg.schedule(
    job=market_snapshots_job,
    cron_schedule=SETTINGS.ingestion_cron_expression,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A snapshot of every market, by INGESTION_CRON_EXPRESSION.",
)
def market_snapshots_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    return _overtaken(context, SETTINGS.ingestion_cron_expression) or dg.RunRequest()


@dg.sensor(
    jobs=[market_lookback_job, market_weekly_job],
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Comparisons, statistics and weeks that are older than the days they were built from, by whatever run.",
)
def market_derived_sensor(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    if going_on := sum(map(_builds_bars, context.instance.get_runs(dg.RunsFilter(statuses=GOING_ON)))):
        return dg.SkipReason(f"market runs are queued or going on: {going_on}")
    builds, now = Builds(context.instance, _graph(context)), utc_now()
    requests = [
        *_derived(builds, market_lookback_job.name, LOOKING_BACK, DAILY, now=now),
        *_derived(builds, market_weekly_job.name, (OHLC_WEEKLY,), WEEKLY, now=now),
    ]
    return requests or dg.SkipReason("nothing is older than what it was built from")


def _derived(
    builds: Builds, job: str, tables: tuple[Table, ...], partitions: TimePartitions, *, now: datetime
) -> Iterator[dg.RunRequest]:
    """A run for each sequence of ended partitions that are outdated: the running one is the schedule's.

    The same builds are asked for once: a run that fails is not repeated every minute.
    """
    outdated = {day: place for day, place in builds.outdated(_keys(*tables)).items() if has_ended(partitions, day, now)}
    for first, last in spans(outdated, partitions, per_run=DERIVED_PER_RUN):
        newest = max(place for day, place in outdated.items() if first <= day <= last)
        yield dg.RunRequest(run_key=f"{job}:{first}:{last}:{newest}", job_name=job, tags=range_tags(first, last))


def _builds_bars(run: dg.DagsterRun) -> bool:
    """Does `run` build partitions of the market: one of our jobs, or what somebody started in the UI?"""
    jobs = {market_daily_job.name, market_weekly_job.name, market_lookback_job.name}
    return run.job_name in jobs or bool(_keys(OHLC_WEEKLY, *DAILY_TABLES) & (run.asset_selection or set()))


JOBS = [market_daily_job, market_weekly_job, market_snapshots_job, market_lookback_job]
SCHEDULES = [market_hourly_schedule, market_weekly_schedule, market_snapshots_schedule]
SENSORS = [market_derived_sensor]
