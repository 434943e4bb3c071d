"""The explicit list of what the events domain gives Dagster."""

import dagster as dg

from ingestion_pipeline.domains.events import automation, upkeep
from ingestion_pipeline.domains.events.assets import ASSETS
from ingestion_pipeline.domains.events.checks import CHECKS
from ingestion_pipeline.domains.events.derived_assets import ASSETS as DERIVED_ASSETS
from ingestion_pipeline.domains.events.derived_checks import CHECKS as DERIVED_CHECKS

defs = dg.Definitions(
    assets=[*ASSETS, *DERIVED_ASSETS],
    asset_checks=[*CHECKS, *DERIVED_CHECKS],
    jobs=[*automation.JOBS, *upkeep.JOBS],
    schedules=[*automation.SCHEDULES, *upkeep.SCHEDULES],
    sensors=[*automation.SENSORS, *upkeep.SENSORS],
)
