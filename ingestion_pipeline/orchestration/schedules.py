"""What a schedule asks for: the partitions that are due, once, also after the daemon was down.

Belongs here: from a tick to a run request, for every domain. Does not belong here: when ticks are (automation.py).
"""

from collections.abc import Collection
from datetime import UTC, datetime

import dagster as dg
from croniter import croniter
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.orchestration.derived import asset_keys
from ingestion_pipeline.orchestration.partitions import TimePartitions, due_range, lookback_partitions, range_tags
from ingestion_pipeline.orchestration.staleness import Builds
from ingestion_pipeline.settings import Settings

SETTINGS = Settings.from_environment()

AnyJob = dg.JobDefinition | UnresolvedAssetJobDefinition


def selection(*tables: Table) -> dg.AssetSelection:
    """The assets of `tables` and their checks, for a job."""
    return dg.AssetSelection.assets(*asset_keys(tables))


def due_schedule(
    name: str,
    job: UnresolvedAssetJobDefinition,
    tables: Collection[Table],
    partitions: TimePartitions,
    cron: str,
    *,
    description: str,
) -> dg.ScheduleDefinition:
    """A schedule that is on, of one run for every partition of `tables` that is due when it ticks."""

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return due(context, tables, partitions, cron)

    return tick


def plain_schedule(name: str, job: AnyJob, cron: str, *, description: str) -> dg.ScheduleDefinition:
    """A schedule that is on and just runs `job`."""
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )


def newest_tick_schedule(name: str, job: AnyJob, cron: str, *, description: str) -> dg.ScheduleDefinition:
    """A schedule that is on and runs `job`, after downtime once for all ticks that were missed."""

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return overtaken(context, cron) or dg.RunRequest()

    return tick


def due(
    context: dg.ScheduleEvaluationContext, tables: Collection[Table], partitions: TimePartitions, cron: str
) -> dg.RunRequest | dg.SkipReason:
    """One run for every partition of `tables` that is due: the running one, and those that are not settled."""
    if late := overtaken(context, cron):
        return late
    if context.repository_def is None:
        raise ValueError("a schedule is evaluated without its repository")
    now = context.scheduled_execution_time or utc_now()
    lookback_days = SETTINGS.ingestion_lookback_days
    days = lookback_partitions(partitions, now=now, lookback_days=lookback_days)
    settled = Builds(context.instance, context.repository_def.asset_graph).settled(asset_keys(tables), days, now=now)
    span = due_range(partitions, settled, now=now, lookback_days=lookback_days)
    if span is None:
        return dg.SkipReason(f"INGESTION_FIRST_DAY ({SETTINGS.ingestion_first_day}) is in the future")
    return dg.RunRequest(tags=range_tags(*span))


def overtaken(context: dg.ScheduleEvaluationContext, cron: str) -> dg.SkipReason | None:
    """After downtime the daemon makes up for up to five ticks at once; each would ask for what the newest asks for."""
    scheduled = context.scheduled_execution_time
    if scheduled is None or croniter(cron, scheduled.astimezone(UTC)).get_next(datetime) > utc_now():
        return None
    return dg.SkipReason(f"the tick of {scheduled:%Y-%m-%d %H:%M} is late: a newer tick makes up for it")
