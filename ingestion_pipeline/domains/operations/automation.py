"""Alerts on failed runs and on assets that go stale, and the daily upkeep of lake and run files. All on by default."""

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.orchestration.orphans import fail_orphans
from ingestion_pipeline.providers.alerts import Alert, send_alert
from ingestion_pipeline.settings import Settings, Severity
from ingestion_pipeline.storage.database import ARTIFACTS
from ingestion_pipeline.storage.lake import Lake

LAKE_KIND = "dagster/kind/deltalake"
RUN_FILES_KEPT = timedelta(days=14)
FRESHNESS_SEVERITY: dict[str, Severity] = {"FAIL": "error", "WARN": "warning", "PASS": "info"}


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="One alert per run that failed for good; a run that Dagster will retry is not reported.",
)
def operations_run_failure_sensor(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    run = context.dagster_run
    if run.tags.get("dagster/will_retry") == "true":
        return dg.SkipReason(f"run {run.run_id} will be retried")
    alert = Alert(
        "error",
        f"run of {run.job_name} failed: {context.failure_event.message}",
        {"run_id": run.run_id, "job": run.job_name},
    )
    send_alert(Settings.from_environment(), alert)
    return None


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="An alert whenever the freshness of an asset changes: stale, broken, fine again.",
)
def operations_freshness_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    repository = context.repository_def
    if repository is None:
        return dg.SkipReason("no code location to watch")
    graph = repository.asset_graph
    keys = [key for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy]
    records = context.instance.get_freshness_state_records(keys)
    states = {key.to_user_string(): record.freshness_state.value for key, record in sorted(records.items())}
    before = json.loads(context.cursor or "{}")
    for asset, state in states.items():
        if state in FRESHNESS_SEVERITY and state != before.get(asset, "PASS"):
            alert = Alert(
                FRESHNESS_SEVERITY[state],
                f"freshness of {asset} is {state}",
                {"asset": asset, "was": str(before.get(asset))},
            )
            send_alert(Settings.from_environment(), alert)
    context.update_cursor(json.dumps(states))
    return dg.SkipReason(f"{len(states)} assets watched")


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


@dg.job(description="Upkeep of the lake and of the files of runs.")
def operations_upkeep_job() -> None:
    tidy_lake()
    tidy_run_files()


operations_daily_schedule = dg.ScheduleDefinition(
    name="operations_daily_schedule",
    job=operations_upkeep_job,
    cron_schedule="30 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Upkeep of the lake and of the files of runs, once a day.",
)


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
