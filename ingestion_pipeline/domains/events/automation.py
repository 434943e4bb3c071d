"""When events move: to the lake every half minute while there are any, aggregations hourly; upkeep is in upkeep.py.

All on by default. Past days are derived again by a sensor once a late event, or an erasure, has changed them.
"""

from datetime import timedelta

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.events.erasure import changed_days
from ingestion_pipeline.domains.events.tables import (
    ACTIVE_USERS,
    DAILY_ACTIVE_USERS,
    EVENT_AGGREGATIONS_DAILY,
    EVENT_AGGREGATIONS_HOURLY,
    EVENT_AGGREGATIONS_WEEKLY,
    EVENT_HISTORY,
    FUNNELS,
    RETENTION_COHORTS,
)
from ingestion_pipeline.orchestration.derived import Derived, derived_sensor
from ingestion_pipeline.orchestration.partitions import DAILY, WEEKLY, range_tags
from ingestion_pipeline.orchestration.runs import held_back
from ingestion_pipeline.orchestration.schedules import due_schedule, plain_schedule, selection
from ingestion_pipeline.storage.event_reader import has_pending
from ingestion_pipeline.storage.postgres import Postgres

DERIVED_DAILY = (EVENT_AGGREGATIONS_HOURLY, EVENT_AGGREGATIONS_DAILY, ACTIVE_USERS, DAILY_ACTIVE_USERS, FUNNELS)
DAILY_TABLES = (EVENT_HISTORY, *DERIVED_DAILY)
WEEKLY_TABLES = (EVENT_AGGREGATIONS_WEEKLY, RETENTION_COHORTS)
HOURLY, WEEKS_HOURLY = "2 * * * *", "25 * * * *"

events_sync_job = dg.define_asset_job(
    "events_sync_job",
    selection=selection(EVENT_HISTORY).without_checks(),
    description="Brings committed events from PostgreSQL to the lake, each once.",
)
events_accounts_job = dg.define_asset_job(
    "events_accounts_job",
    selection=dg.AssetSelection.checks_for_assets(dg.AssetKey(list(EVENT_HISTORY.asset_key))),
    description="Checks that every event that was taken in is accounted for.",
)
events_daily_job = dg.define_asset_job(
    "events_daily_job",
    selection=selection(*DAILY_TABLES)
    - dg.AssetSelection.checks(
        dg.AssetCheckKey(dg.AssetKey(list(EVENT_HISTORY.asset_key)), "event_history_accounts_for_every_event")
    ),
    description="The sync, then hourly and daily aggregations, active users and funnels of one or many UTC days.",
)
events_changed_days_job = dg.define_asset_job(
    "events_changed_days_job",
    selection=selection(*DERIVED_DAILY),
    description="Aggregations, active users and funnels again, of days whose history has changed.",
)
events_weekly_job = dg.define_asset_job(
    "events_weekly_job",
    selection=selection(*WEEKLY_TABLES),
    description="Weekly aggregations and retention cohorts of one or many weeks.",
)


@dg.sensor(
    job=events_sync_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="A run of the sync whenever events wait and none is going on.",
)
def events_sync_sensor(
    context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
) -> dg.RunRequest | dg.SkipReason:
    if reason := held_back(context.instance, events_sync_job.name):
        return reason
    if not has_pending(postgres) and not changed_days(postgres):
        return dg.SkipReason("every event is in the lake")
    today = utc_now().date()
    return dg.RunRequest(tags=range_tags(today, today))


events_hourly_schedule = due_schedule(
    "events_hourly_schedule",
    events_daily_job,
    DAILY_TABLES,
    DAILY,
    HOURLY,
    description="The running day every hour, with any day of the lookback that is not settled.",
)


events_weekly_schedule = due_schedule(
    "events_weekly_schedule",
    events_weekly_job,
    WEEKLY_TABLES,
    WEEKLY,
    WEEKS_HOURLY,
    description="The running week every hour, with any week of the lookback that is not settled.",
)


events_derived_sensor = derived_sensor(
    "events_derived_sensor",
    [Derived(events_changed_days_job, DERIVED_DAILY, DAILY), Derived(events_weekly_job, WEEKLY_TABLES, WEEKLY)],
    waits_for=(*DERIVED_DAILY, *WEEKLY_TABLES),
    pause=timedelta(minutes=5),
    description="Days and weeks that have got late events, or lost erased ones, since they were derived.",
)


events_accounts_schedule = plain_schedule(
    "events_accounts_schedule",
    events_accounts_job,
    "40 * * * *",
    description="Is every event of the last week accounted for? Every hour.",
)

JOBS = [
    events_sync_job,
    events_accounts_job,
    events_daily_job,
    events_changed_days_job,
    events_weekly_job,
]
SCHEDULES = [events_hourly_schedule, events_weekly_schedule, events_accounts_schedule]
SENSORS = [events_sync_sensor, events_derived_sensor]
