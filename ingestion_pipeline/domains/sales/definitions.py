"""The explicit list of what the sales domain gives Dagster."""

import dagster as dg

from ingestion_pipeline.domains.sales import automation, ingestion_automation
from ingestion_pipeline.domains.sales.assets import ASSETS
from ingestion_pipeline.domains.sales.checks import CHECKS

defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    jobs=[*automation.JOBS, *ingestion_automation.JOBS],
    schedules=[*automation.SCHEDULES, *ingestion_automation.SCHEDULES],
    sensors=[*automation.SENSORS, *ingestion_automation.SENSORS],
)
