"""The explicit list of what the property domain gives Dagster."""

import dagster as dg

from ingestion_pipeline.domains.property import automation, valuation_automation
from ingestion_pipeline.domains.property.assets import ASSETS
from ingestion_pipeline.domains.property.checks import CHECKS
from ingestion_pipeline.domains.property.valuation_assets import ASSETS as VALUATION_ASSETS
from ingestion_pipeline.domains.property.valuation_checks import CHECKS as VALUATION_CHECKS

defs = dg.Definitions(
    assets=[*ASSETS, *VALUATION_ASSETS],
    asset_checks=[*CHECKS, *VALUATION_CHECKS],
    jobs=[*automation.JOBS, *valuation_automation.JOBS],
    schedules=automation.SCHEDULES,
    sensors=automation.SENSORS,
)
