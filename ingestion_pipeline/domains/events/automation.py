"""When events move: to the lake every half minute while there are any, aggregations hourly, upkeep at their times.

All on by default. Past days are derived again by a sensor once a late event, or an erasure, has changed them.
"""

from contextlib import closing

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.events.copies import backlog, copied_batches
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
from ingestion_pipeline.orchestration.derived import GOING_ON, Derived, derived_sensor
from ingestion_pipeline.orchestration.failures import explained_failures
from ingestion_pipeline.orchestration.partitions import DAILY, WEEKLY, range_tags
from ingestion_pipeline.orchestration.schedules import due, selection
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.event_reader import has_pending
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warehouses.catalogue import warehouse

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
    if context.instance.get_runs(dg.RunsFilter(job_name=events_sync_job.name, statuses=GOING_ON), limit=1):
        return dg.SkipReason("a sync is queued or going on")
    if not has_pending(postgres):
        return dg.SkipReason("every event is in the lake")
    today = utc_now().date()
    return dg.RunRequest(tags=range_tags(today, today))


@dg.schedule(
    job=events_daily_job,
    cron_schedule=HOURLY,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The running day every hour, with any day of the lookback that is not settled.",
)
def events_hourly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    return due(context, DAILY_TABLES, DAILY, HOURLY)


@dg.schedule(
    job=events_weekly_job,
    cron_schedule=WEEKS_HOURLY,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The running week every hour, with any week of the lookback that is not settled.",
)
def events_weekly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    return due(context, WEEKLY_TABLES, WEEKLY, WEEKS_HOURLY)


events_derived_sensor = derived_sensor(
    "events_derived_sensor",
    [Derived(events_changed_days_job, DERIVED_DAILY, DAILY), Derived(events_weekly_job, WEEKLY_TABLES, WEEKLY)],
    waits_for=(*DERIVED_DAILY, *WEEKLY_TABLES),
    minimum_interval_seconds=300,
    description="Days and weeks that have got late events, or lost erased ones, since they were derived.",
)


@dg.op(description="Copies to the configured warehouse what the lake has and it has not.")
def copy_to_warehouse(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> None:
    destination = warehouse(settings, EVENT_HISTORY)
    if destination is None:
        context.log.info("WAREHOUSE is unset: there is nothing to copy to")
        return
    with explained_failures(), closing(destination):
        for copied in copied_batches(postgres, lake, destination):
            context.log.info("copied %s event(s) to %s", copied.event_count, destination.name)


@dg.job(description="Copies the event history to the warehouse that WAREHOUSE names, each event once.")
def events_copy_job() -> None:
    copy_to_warehouse()


@dg.sensor(
    job=events_copy_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="A run of the copy whenever the lake has batches that the configured warehouse lacks.",
)
def events_copy_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], postgres: dg.ResourceParam[Postgres]
) -> dg.RunRequest | dg.SkipReason:
    if settings.warehouse is None:
        return dg.SkipReason("WAREHOUSE is unset")
    if context.instance.get_runs(dg.RunsFilter(job_name=events_copy_job.name, statuses=GOING_ON), limit=1):
        return dg.SkipReason("a copy is queued or going on")
    if not (behind := backlog(postgres, settings.warehouse).batches):
        return dg.SkipReason(f"{settings.warehouse} has every batch")
    context.log.info("%s lacks %s batch(es)", settings.warehouse, behind)
    return dg.RunRequest()


@dg.op(description="Makes the partitions of the hot log for the coming days.")
def make_event_partitions(context: dg.OpExecutionContext, postgres: dg.ResourceParam[Postgres]) -> None:
    with postgres.transaction() as connection:
        made = connection.execute("select events.ensure_event_partitions()").fetchone()
    context.log.info("made %s partition(s)", *made or [0])


@dg.op(description="Removes realtime metrics whose lifetime is over.")
def remove_expired_metrics(context: dg.OpExecutionContext, postgres: dg.ResourceParam[Postgres]) -> None:
    with postgres.transaction() as connection:
        removed = connection.execute("select events.cleanup_expired_metrics()").fetchone()
    context.log.info("removed %s metric(s)", *removed or [0])


@dg.job(description="Partitions of the hot log ahead of time, and expired metrics away.")
def events_upkeep_job() -> None:
    make_event_partitions()
    remove_expired_metrics()


events_upkeep_schedule = dg.ScheduleDefinition(
    name="events_upkeep_schedule",
    job=events_upkeep_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Partitions of the hot log ahead of time, and expired metrics away, every 15 minutes.",
)

events_accounts_schedule = dg.ScheduleDefinition(
    name="events_accounts_schedule",
    job=events_accounts_job,
    cron_schedule="40 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Is every event of the last week accounted for? Every hour.",
)

JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    events_sync_job,
    events_accounts_job,
    events_daily_job,
    events_changed_days_job,
    events_weekly_job,
    events_upkeep_job,
    events_copy_job,
]
SCHEDULES = [events_hourly_schedule, events_weekly_schedule, events_accounts_schedule, events_upkeep_schedule]
SENSORS = [events_sync_sensor, events_copy_sensor, events_derived_sensor]
