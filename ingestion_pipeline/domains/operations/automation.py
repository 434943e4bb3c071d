"""Alerts, runs that lost their process, and the daily upkeep of lake, run files and tables. All on by default."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import dagster as dg
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, StoreUnavailableError
from ingestion_pipeline.domains.operations.alerts import apply, judge, raise_clean
from ingestion_pipeline.domains.operations.notices import send_at_once, tell
from ingestion_pipeline.orchestration.failures import explained_failures
from ingestion_pipeline.orchestration.orphans import fail_orphans
from ingestion_pipeline.orchestration.schedules import plain_schedule
from ingestion_pipeline.providers.alerts import Words
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.alerts import Alert, clear_alerts, open_alerts
from ingestion_pipeline.storage.database import ARTIFACTS
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

LAKE_KIND = "dagster/kind/deltalake"
RUN_FILES_KEPT = timedelta(days=14)
RUN_FAMILY = "run:"
YEAR = timedelta(days=365)
# Dead deliveries wait for somebody; events of Stripe, which name people, for a year.
_IS_OVER = (
    "(status in ('processed', 'rejected') "
    "or (status = 'dead' and event_type = 'stripe.event' and settled_at < %(year)s))"
)
# How long rows stay that are over; rejected events are kept by their classes.
KEPT = {
    "alerts": (timedelta(days=90), "resolved_at < %(end)s and notice is null"),
    "jobs": (timedelta(days=90), "finished_at < %(end)s"),
    "deliveries": (timedelta(days=90), f"settled_at < %(end)s and {_IS_OVER}"),
    "cron_logs": (timedelta(days=90), "started_at < %(end)s"),
    "rejects": (YEAR, "last_seen_at < %(end)s and source <> 'events'"),
}

log = structlog.get_logger(__name__)


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="One alert per job whose run failed for good; a run that Dagster will retry is not reported.",
)
def operations_run_failure_sensor(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    run = context.dagster_run
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason(f"run {run.run_id} will be retried")
    text = f"run of {run.job_name} failed: {_reason(context)}"
    alert = Alert("error", text, {"run_id": run.run_id, "job": run.job_name})
    record = context.instance.get_run_record_by_id(run.run_id)
    failed_at = datetime.fromtimestamp(record.end_time, UTC) if record and record.end_time else utc_now()
    raise_or_send(Settings.from_environment(), f"{RUN_FAMILY}{run.job_name}", alert, now=failed_at)
    return None


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="Raises and clears alerts, and sends what is due: the alert, reminders, that it is over.",
)
def operations_alerts_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], postgres: dg.ResourceParam[Postgres]
) -> dg.SkipReason:
    now = utc_now()
    apply(postgres, judge(postgres, settings, now), Words(settings), now=now)
    clear_alerts(postgres, recovered_jobs(context.instance, open_alerts(postgres)), now=now)
    told = tell(postgres, settings, now=now)
    return dg.SkipReason(
        f"{told.due_count} due, {told.message_count} message(s), {told.failed_count} alert(s) not taken everywhere"
    )


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Ends the runs of `demo` and `backfill` whose process was killed: they would hold places in the queue.",
)
def operations_orphans_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = fail_orphans(context.instance)
    return dg.SkipReason(f"ended {', '.join(ended)}" if ended else "no orphans")


@dg.op(description="Checkpoints every lake table and removes files that no version of the last seven days needs.")
def tidy_lake(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    graph = context.repository_def.asset_graph
    for key in sorted(graph.get_all_asset_keys()):
        if LAKE_KIND in graph.get(key).tags:
            lake.tidy("/".join(key.path))


@dg.op(description=f"Removes what steps printed in runs that wrote nothing for {RUN_FILES_KEPT.days} days.")
def tidy_run_files(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    count = remove_old_run_files(settings.ingestion_home / ARTIFACTS, now=utc_now())
    context.log.info("removed the files of %s run(s)", count)


@dg.op(description="Removes old metrics and what has long been over: alerts, jobs, deliveries, cron calls, rejects.")
def remove_old_rows(context: dg.OpExecutionContext, postgres: dg.ResourceParam[Postgres]) -> None:
    with explained_failures():
        context.log.info("removed %s", remove_old(postgres, now=utc_now()))


@dg.job(description="Upkeep of the lake, of the files of runs and of the operational tables.")
def operations_upkeep_job() -> None:
    tidy_lake()
    tidy_run_files()
    remove_old_rows()


operations_daily_schedule = plain_schedule(
    "operations_daily_schedule",
    operations_upkeep_job,
    "30 3 * * *",
    description="Upkeep of the lake, of the files of runs and of the operational tables, once a day.",
)


def raise_or_send(settings: Settings, key: str, alert: Alert, *, now: datetime) -> None:
    """Raises the alert; without PostgreSQL, which keeps what is due, sends it once to whoever takes it now."""
    words = Words(settings)
    try:
        with closing(Postgres(_database_url(settings))) as postgres:
            raise_clean(postgres, {key: alert}, words, now=now)
    except StoreUnavailableError as error:
        log.error("alert not kept", alert=key, message=words.clean(alert.message), reason=words.clean(str(error)))  # noqa: TRY400 - one line
        send_at_once(settings, key, alert, now=now)


def recovered_jobs(instance: dg.DagsterInstance, alerts: Mapping[str, datetime]) -> list[str]:
    """The keys of `alerts` (with when they were last raised) whose job has had a run that succeeded since then."""
    recovered = []
    for key, raised_at in alerts.items():
        if key.startswith(RUN_FAMILY):
            since = dg.RunsFilter(
                job_name=key.removeprefix(RUN_FAMILY), statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=raised_at
            )
            if instance.get_run_records(since, limit=1):
                recovered.append(key)
    return recovered


def remove_old(postgres: Postgres, *, now: datetime) -> dict[str, int]:
    """Removes the rows of which nobody asks any more; returns how many of which table."""
    with postgres.transaction() as connection:
        removed = {}
        for table, (kept, condition) in KEPT.items():
            given = {"end": now - kept, "year": now - YEAR}
            removed[table] = connection.execute(f"delete from operations.{table} where {condition}", given).rowcount
        row = connection.execute("select operations.remove_old_metrics()").fetchone()
    return removed | {"metrics": row[0] if row else 0}


def remove_old_run_files(folder: Path, *, now: datetime) -> int:
    """Removes the run folders in `folder` whose newest file is older than RUN_FILES_KEPT; returns how many.

    A run's folder is named after its id; whatever has another name is not ours to remove.
    """
    oldest = (now - RUN_FILES_KEPT).timestamp()
    folders = [path for path in folder.iterdir() if _is_run_folder(path)] if folder.is_dir() else []
    old = [path for path in folders if _newest(path) < oldest]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)  # what cannot be removed is tried again tomorrow
    return len(old)


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise ConfigurationError("DATABASE_URL", "", "a PostgreSQL URL, as `up` sets it")
    return settings.database_url.get_secret_value()


def _reason(context: dg.RunFailureSensorContext) -> str:
    """What the first failed step said, else what the run did."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        said = failure.user_failure_data.description if failure.user_failure_data else None
        if text := said or (failure.error.message if failure.error else None):
            return f"{event.step_key}: {text.strip()}"
    return context.failure_event.message or "no reason given"


def _is_run_folder(path: Path) -> bool:
    try:
        is_run_id = str(UUID(path.name)) == path.name
    except ValueError:
        is_run_id = False
    return is_run_id and path.is_dir() and not path.is_symlink()


def _newest(folder: Path) -> float:
    """When the newest file in `folder` was written; when the folder was, if there is none."""
    files = [path.lstat().st_mtime for path in folder.rglob("*") if not path.is_dir()]
    return max(files, default=folder.stat().st_mtime)
