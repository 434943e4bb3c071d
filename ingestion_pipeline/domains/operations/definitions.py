"""The explicit list of what the operations domain gives Dagster."""

import dagster as dg

from ingestion_pipeline.domains.operations.automation import (
    operations_daily_schedule,
    operations_freshness_sensor,
    operations_orphans_sensor,
    operations_run_failure_sensor,
    operations_upkeep_job,
)

defs = dg.Definitions(
    jobs=[operations_upkeep_job],
    schedules=[operations_daily_schedule],
    sensors=[operations_run_failure_sensor, operations_freshness_sensor, operations_orphans_sensor],
)
