"""What keeps the events domain in order: partitions, metrics, copies, retention, erasure. All on by default."""

from contextlib import closing

import dagster as dg

from ingestion_pipeline.domains.events.copies import backlog, copied_batches
from ingestion_pipeline.domains.events.erasure import has_erasure_requests, run_erasure_requests
from ingestion_pipeline.domains.events.retention import apply_retention
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.orchestration.failures import explained_failures
from ingestion_pipeline.orchestration.runs import held_back
from ingestion_pipeline.orchestration.schedules import plain_schedule
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warehouses.catalogue import warehouse


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
    if reason := held_back(context.instance, events_copy_job.name):
        return reason
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


events_upkeep_schedule = plain_schedule(
    "events_upkeep_schedule",
    events_upkeep_job,
    "*/15 * * * *",
    description="Partitions of the hot log ahead of time, and expired metrics away, every 15 minutes.",
)


@dg.op(description="Removes what is older than its retention class allows, in PostgreSQL, the lake and the warehouse.")
def apply_event_retention(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> None:
    with explained_failures():
        context.log.info("removed %s", apply_retention(postgres, lake, settings))


@dg.job(description="Retention of events, and fewer, larger files of past days.")
def events_retention_job() -> None:
    apply_event_retention()


events_retention_schedule = plain_schedule(
    "events_retention_schedule",
    events_retention_job,
    "0 2 * * *",
    description="Retention of events, daily at 02:00 UTC.",
)


@dg.op(description="Erases or anonymises everybody for whom that was asked.")
def erase_people(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> None:
    with explained_failures():
        done = run_erasure_requests(postgres, lake, settings)
    context.log.info("completed %s request(s)", len(done))


@dg.job(description="Completes requests to erase or anonymise people.")
def events_erasure_job() -> None:
    erase_people()


@dg.sensor(
    job=events_erasure_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="A run of the erasure whenever somebody asked for one.",
)
def events_erasure_sensor(
    context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
) -> dg.RunRequest | dg.SkipReason:
    if reason := held_back(context.instance, events_erasure_job.name):
        return reason
    return dg.RunRequest() if has_erasure_requests(postgres) else dg.SkipReason("nobody is to be erased")


JOBS = [events_upkeep_job, events_copy_job, events_retention_job, events_erasure_job]
SCHEDULES = [events_upkeep_schedule, events_retention_schedule]
SENSORS = [events_copy_sensor, events_erasure_sensor]
