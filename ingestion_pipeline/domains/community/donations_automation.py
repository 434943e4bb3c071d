"""When donations are made: within seconds after Stripe delivers, and every hour with their checks.

All on by default.
"""

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.community.dirty_days import dirty_days
from ingestion_pipeline.domains.community.donations_ledger import are_attributable
from ingestion_pipeline.domains.community.donations_tables import DONATIONS
from ingestion_pipeline.domains.community.stripe import EVENT_TYPE
from ingestion_pipeline.orchestration.partitions import DAILY, range_tags
from ingestion_pipeline.orchestration.runs import URGENT, held_back
from ingestion_pipeline.orchestration.schedules import due_schedule, selection
from ingestion_pipeline.storage.inbox import due
from ingestion_pipeline.storage.postgres import Postgres

HOURLY = "12 * * * *"
SENSOR_SECONDS = 10

community_donations_job = dg.define_asset_job(
    "community_donations_job",
    selection=selection(DONATIONS).without_checks(),
    description="Applies what Stripe delivered.",
)
community_donations_checked_job = dg.define_asset_job(
    "community_donations_checked_job", selection=selection(DONATIONS), description="Donations, with their checks."
)


@dg.sensor(
    job=community_donations_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SENSOR_SECONDS,
    description="A run whenever events of Stripe wait, or a donation's author has become known, and none is going on.",
)
def community_donations_sensor(
    context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
) -> dg.RunRequest | dg.SkipReason:
    if not due(postgres, [EVENT_TYPE]) and not dirty_days(postgres, DONATIONS) and not are_attributable(postgres):
        return dg.SkipReason(
            "no event is due, every day that has changed is reported, every author that is known is named"
        )
    if reason := held_back(context.instance, community_donations_job.name, community_donations_checked_job.name):
        return reason
    today = utc_now().date()
    return dg.RunRequest(tags={**range_tags(today, today), **URGENT})


community_donations_schedule = due_schedule(
    "community_donations_schedule",
    community_donations_checked_job,
    [DONATIONS],
    DAILY,
    HOURLY,
    description="The running day every hour, with any day of the lookback that is not settled.",
)

JOBS = [community_donations_job, community_donations_checked_job]
SCHEDULES = [community_donations_schedule]
SENSORS = [community_donations_sensor]
