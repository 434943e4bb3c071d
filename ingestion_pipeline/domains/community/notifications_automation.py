"""When authors are told: a run looks for new donations and sends what is due, whenever there is any; all on by default.

What is old is removed once a day.
"""

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.community.notifications import (
    DONATION_DAYS,
    announce_donations,
    remove_old,
    send_due,
)
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.runs import held_back
from ingestion_pipeline.orchestration.schedules import plain_schedule
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres

MOST_ROUNDS = 20


@dg.op(description="Puts new donations into the outbox, and sends what is due.", retry_policy=RETRY_POLICY)
def send_notifications(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], postgres: dg.ResourceParam[Postgres]
) -> None:
    with explained_failures():
        context.log.info("%s new donation(s)", announce_donations(postgres))
        for _ in range(MOST_ROUNDS):
            sent = send_due(postgres, settings)
            if not sent.claimed_count:
                break
            context.log.info("%s", sent)


@dg.job(description="Tells authors of new donations, places on leaderboards and milestones, as they want it.")
def community_notifications_job() -> None:
    send_notifications()


@dg.op(description="Removes notifications that were over a year ago.", retry_policy=RETRY_POLICY)
def remove_old_notifications(context: dg.OpExecutionContext, postgres: dg.ResourceParam[Postgres]) -> None:
    with explained_failures():
        context.log.info("removed %s", remove_old(postgres))


@dg.job(description="Removes notifications that were over a year ago.")
def community_notifications_upkeep_job() -> None:
    remove_old_notifications()


community_notifications_upkeep_schedule = plain_schedule(
    "community_notifications_upkeep_schedule",
    community_notifications_upkeep_job,
    "50 3 * * *",
    description="Removes old notifications, once a day.",
)


@dg.sensor(
    job=community_notifications_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="A run whenever a notification is due or a donation is new, and none is going on.",
)
def community_notifications_sensor(
    context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
) -> dg.RunRequest | dg.SkipReason:
    if reason := held_back(context.instance, community_notifications_job.name):
        return reason
    now = utc_now()
    pending = postgres.read("community_notifications_pending", {"now": now, "since": now - DONATION_DAYS})
    return dg.RunRequest() if pending else dg.SkipReason("nothing is due")


JOBS = [community_notifications_job, community_notifications_upkeep_job]
SCHEDULES = [community_notifications_upkeep_schedule]
SENSORS = [community_notifications_sensor]
