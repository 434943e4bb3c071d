"""Alerts on failed runs and on assets that go stale, and the daily upkeep of the lake. All on by default."""

import json

import dagster as dg

from ingestion_pipeline.providers.alerts import Alert, send_alert
from ingestion_pipeline.settings import Settings, Severity
from ingestion_pipeline.storage.lake import Lake

LAKE_KIND = "dagster/kind/deltalake"
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
    graph = repository.asset_graph if repository else dg.AssetGraph()
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


@dg.op(description="Checkpoints every lake table and removes files that no version of the last seven days needs.")
def tidy_lake(context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake]) -> None:
    graph = context.repository_def.asset_graph
    for key in sorted(graph.get_all_asset_keys()):
        if LAKE_KIND in graph.get(key).tags:
            lake.tidy("/".join(key.path))


@dg.job(description="Upkeep of the lake.")
def operations_upkeep_job() -> None:
    tidy_lake()


operations_daily_schedule = dg.ScheduleDefinition(
    name="operations_daily_schedule",
    job=operations_upkeep_job,
    cron_schedule="30 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Upkeep of the lake, once a day.",
)
