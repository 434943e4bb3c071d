"""When market data is built: the running day and week hourly, snapshots by INGESTION_CRON_EXPRESSION, and derived rows
again when the days that they were built from have changed. All on by default.
"""

import dagster as dg

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
from ingestion_pipeline.orchestration.derived import Derived, derived_sensor
from ingestion_pipeline.orchestration.partitions import DAILY, WEEKLY
from ingestion_pipeline.orchestration.schedules import SETTINGS, due_schedule, newest_tick_schedule, selection

DAILY_TABLES = (PRICE_BARS, OHLC_HOURLY, OHLC_DAILY, COMPARISONS, ROI_STATISTICS)
LOOKING_BACK = (COMPARISONS, ROI_STATISTICS)
HOURLY, WEEKS_HOURLY = "5 * * * *", "20 * * * *"

market_daily_job = dg.define_asset_job(
    "market_daily_job",
    selection=selection(MARKETS, *DAILY_TABLES),
    description="Bars, hourly and daily OHLC, comparisons and statistics of one or many UTC days.",
)
market_weekly_job = dg.define_asset_job(
    "market_weekly_job", selection=selection(OHLC_WEEKLY), description="Weekly OHLC of one or many weeks."
)
market_snapshots_job = dg.define_asset_job(
    "market_snapshots_job", selection=selection(MARKETS, SNAPSHOTS), description="The price of every market now."
)
market_lookback_job = dg.define_asset_job(
    "market_lookback_job",
    selection=selection(*LOOKING_BACK),
    description="Comparisons and statistics again, for days that look back on days that changed.",
)


market_hourly_schedule = due_schedule(
    "market_hourly_schedule",
    market_daily_job,
    DAILY_TABLES,
    DAILY,
    HOURLY,
    description="The running day every hour, with any day of the lookback that is not settled.",
)


market_weekly_schedule = due_schedule(
    "market_weekly_schedule",
    market_weekly_job,
    (OHLC_WEEKLY,),
    WEEKLY,
    WEEKS_HOURLY,
    description="The running week every hour, with any week of the lookback that is not settled.",
)


market_snapshots_schedule = newest_tick_schedule(
    "market_snapshots_schedule",
    market_snapshots_job,
    SETTINGS.ingestion_cron_expression,
    description="A snapshot of every market, by INGESTION_CRON_EXPRESSION.",
)


market_derived_sensor = derived_sensor(
    "market_derived_sensor",
    [
        Derived(market_lookback_job, LOOKING_BACK, DAILY),
        Derived(market_weekly_job, (OHLC_WEEKLY,), WEEKLY),
    ],
    waits_for=(*DAILY_TABLES, OHLC_WEEKLY),
    description="Comparisons, statistics and weeks that are older than the days they were built from, by whatever run.",
)

JOBS = [market_daily_job, market_weekly_job, market_snapshots_job, market_lookback_job]
SCHEDULES = [market_hourly_schedule, market_weekly_schedule, market_snapshots_schedule]
SENSORS = [market_derived_sensor]
