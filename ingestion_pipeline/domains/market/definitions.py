"""The explicit list of what the market domain gives Dagster."""

import dagster as dg

from ingestion_pipeline.domains.market.assets import ASSETS
from ingestion_pipeline.domains.market.automation import JOBS, SCHEDULES, SENSORS
from ingestion_pipeline.domains.market.checks import CHECKS

defs = dg.Definitions(assets=ASSETS, asset_checks=CHECKS, jobs=JOBS, schedules=SCHEDULES, sensors=SENSORS)
