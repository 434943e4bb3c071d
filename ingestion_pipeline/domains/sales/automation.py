"""When sales are summed up: within a minute after reports came, and everything with its checks once a day.

All on by default.
"""

from collections.abc import Iterable

import dagster as dg

from ingestion_pipeline.domains.sales.tables import COVERAGE, SALES_DAILY, SALES_EVENTS, SALES_MONTHLY
from ingestion_pipeline.orchestration.derived import GOING_ON
from ingestion_pipeline.orchestration.schedules import overtaken, selection
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


@dg.schedule(
    job=sales_daily_job,
    cron_schedule=DAILY,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Exchange rates and every sales asset once a day.",
)
def sales_daily_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    return overtaken(context, DAILY) or dg.RunRequest()


@dg.sensor(
    job=sales_derived_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Months of the ledger that have changed since the derived tables were built.",
)
def sales_derived_sensor(
    context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
) -> dg.RunRequest | dg.SkipReason:
    unbuilt = postgres.read("sales_unbuilt_months")
    if not unbuilt:
        return dg.SkipReason("no month has changed")
    if busy := _going_on(context.instance, (sales_derived_job.name, sales_daily_job.name)):
        return dg.SkipReason(f"{busy} run(s) build them")
    # the same state is asked for once: a run that fails is not repeated with every tick
    return dg.RunRequest(run_key=f"{sales_derived_job.name}:{unbuilt[0]['state']}")


def _going_on(instance: dg.DagsterInstance, jobs: Iterable[str]) -> int:
    return sum(len(instance.get_runs(dg.RunsFilter(job_name=job, statuses=GOING_ON))) for job in jobs)


JOBS = [sales_derived_job, sales_daily_job]
SCHEDULES = [sales_daily_schedule]
SENSORS = [sales_derived_sensor]
