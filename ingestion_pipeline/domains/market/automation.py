"""When market data is built: hourly for the running day and week, snapshots by INGESTION_CRON_EXPRESSION. All on by default."""

import dagster as dg

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
    range_tags,
    settled_partitions,
)
from ingestion_pipeline.settings import Settings

SETTINGS = Settings.from_environment()
DAILY_TABLES = (PRICE_BARS, OHLC_HOURLY, OHLC_DAILY, COMPARISONS, ROI_STATISTICS)


def _selection(*tables: Table) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(list(table.asset_key) for table in tables))


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
    selection=_selection(COMPARISONS, ROI_STATISTICS),
    description="Comparisons and statistics again, for days that look back on days that changed.",
)


def _due(
    context: dg.ScheduleEvaluationContext, table: Table, partitions: TimePartitions
) -> dg.RunRequest | dg.SkipReason:
    """One run for every partition of `table` that is due."""
    now = context.scheduled_execution_time or utc_now()
    settled = settled_partitions(context.instance, dg.AssetKey(list(table.asset_key)), partitions, now=now)
    due = due_range(partitions, settled, now=now, lookback_days=SETTINGS.ingestion_lookback_days)
    if due is None:
        return dg.SkipReason(f"INGESTION_FIRST_DAY ({SETTINGS.ingestion_first_day}) is in the future")
    return dg.RunRequest(tags=range_tags(*due))


@dg.schedule(
    job=market_daily_job,
    cron_schedule="5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The running day every hour, with any day of the lookback that is missing.",
)
def market_hourly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    return _due(context, ROI_STATISTICS, DAILY)


@dg.schedule(
    job=market_weekly_job,
    cron_schedule="20 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The running week every hour, with any week of the lookback that is missing.",
)
def market_weekly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    return _due(context, OHLC_WEEKLY, WEEKLY)


market_snapshots_schedule = dg.ScheduleDefinition(
    name="market_snapshots_schedule",
    job=market_snapshots_job,
    cron_schedule=SETTINGS.ingestion_cron_expression,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A snapshot of every market, by INGESTION_CRON_EXPRESSION.",
)

JOBS = [market_daily_job, market_weekly_job, market_snapshots_job, market_lookback_job]
SCHEDULES = [market_hourly_schedule, market_weekly_schedule, market_snapshots_schedule]
