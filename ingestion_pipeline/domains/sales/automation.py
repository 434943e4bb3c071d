"""When sales are summed up: within a minute after reports came, and everything with its checks once a day.

All on by default.
"""

import dagster as dg

from ingestion_pipeline.domains.sales.tables import COVERAGE, SALES_DAILY, SALES_EVENTS, SALES_MONTHLY
from ingestion_pipeline.orchestration.runs import held_back
from ingestion_pipeline.orchestration.schedules import newest_tick_schedule, selection
from ingestion_pipeline.storage.postgres import Postgres

DAILY = "45 16 * * *"
"""UTC: the European Central Bank publishes at about 16:00 in Frankfurt."""

sales_derived_job = dg.define_asset_job(
    "sales_derived_job",
    selection=selection(SALES_EVENTS, SALES_DAILY, SALES_MONTHLY, COVERAGE).without_checks(),
    description="Rates for the ledger, then the days and months that have changed, and what is covered.",
)
sales_daily_job = dg.define_asset_job(
    "sales_daily_job",
    selection=dg.AssetSelection.groups("sales"),
    description="Every sales asset with its checks, exchange rates first.",
)


sales_daily_schedule = newest_tick_schedule(
    "sales_daily_schedule", sales_daily_job, DAILY, description="Exchange rates and every sales asset once a day."
)


@dg.sensor(
    job=sales_derived_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Months of the ledger that have changed since the derived tables were built.",
)
def sales_derived_sensor(
    context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
) -> dg.RunRequest | dg.SkipReason:
    if not postgres.read("sales_unbuilt_months"):
        return dg.SkipReason("no month has changed")
    return held_back(context.instance, sales_derived_job.name, sales_daily_job.name) or dg.RunRequest()


JOBS = [sales_derived_job, sales_daily_job]
SCHEDULES = [sales_daily_schedule]
SENSORS = [sales_derived_sensor]
