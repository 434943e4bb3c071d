"""What starts ingestion of sales by itself: the drop folder, Gumroad once a day, due jobs every five minutes.

Here: sensors and schedules that make jobs. Not here: those of derived tables (automation.py).
"""

import dagster as dg

from ingestion_pipeline.domains.sales.jobs import PLATFORM_INGEST, ingest_job, sales_options
from ingestion_pipeline.domains.sales.report_drop import sales_drop_sensor
from ingestion_pipeline.orchestration.schedules import plain_schedule
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.jobs import JobQueue
from ingestion_pipeline.storage.postgres import Postgres

EVERY_FIVE_MINUTES = "*/5 * * * *"
DAILY = "20 4 * * *"
JOBS_JOB = "operations_jobs_job"


@dg.op(description="Asks for a job that reads new and refunded sales from Gumroad's API, unless one is waiting.")
def request_gumroad(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], postgres: dg.ResourceParam[Postgres]
) -> None:
    options = sales_options(settings)
    if not options.gumroad_access_token:
        context.log.info("GUMROAD_ACCESS_TOKEN is not set: nothing is asked for")
        return
    job_id, is_new = JobQueue(postgres).enqueue(ingest_job("gumroad", {}, owner_id=options.owner))
    context.log.info("job %s is %s", job_id, "new" if is_new else "waiting already")


@dg.job(description="Asks for Gumroad's sales: pings may be lost, and none says that an old sale was refunded.")
def sales_gumroad_job() -> None:
    request_gumroad()


@dg.schedule(
    job_name=JOBS_JOB,
    cron_schedule=EVERY_FIVE_MINUTES,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Works on due jobs of platforms every five minutes, also while operations_jobs_sensor is off.",
)
def sales_five_minutes_schedule(
    context: dg.ScheduleEvaluationContext,  # noqa: ARG001 - Dagster gives it
    postgres: dg.ResourceParam[Postgres],
) -> dg.RunRequest | dg.SkipReason:
    count = JobQueue(postgres).due_count({PLATFORM_INGEST.name: PLATFORM_INGEST.at_once})
    return dg.RunRequest() if count else dg.SkipReason("no job of a platform is due")


sales_gumroad_daily_schedule = plain_schedule(
    "sales_gumroad_daily_schedule", sales_gumroad_job, DAILY, description="Asks for Gumroad's sales once a day."
)

JOBS = [sales_gumroad_job]
SCHEDULES = [sales_five_minutes_schedule, sales_gumroad_daily_schedule]
SENSORS = [sales_drop_sensor]
