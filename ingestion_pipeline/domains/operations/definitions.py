"""The explicit list of what operations gives Dagster; what depends on the kinds of all domains is added above it."""

import dagster as dg

from ingestion_pipeline.domains.operations import automation, warming_handlers
from ingestion_pipeline.domains.operations.freshness import operations_freshness_sensor

defs = dg.Definitions(
    jobs=[automation.operations_upkeep_job, warming_handlers.operations_cache_warming_job],
    schedules=[automation.operations_daily_schedule, warming_handlers.operations_cache_warming_schedule],
    sensors=[
        automation.operations_run_failure_sensor,
        automation.operations_alerts_sensor,
        automation.operations_orphans_sensor,
        operations_freshness_sensor,
    ],
)
