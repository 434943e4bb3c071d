"""The explicit list of what the community domain gives Dagster."""

import dagster as dg

from ingestion_pipeline.domains.community import (
    content_assets,
    content_automation,
    content_checks,
    donations_assets,
    donations_automation,
    donations_checks,
    leaderboard_assets,
    leaderboard_automation,
    leaderboard_checks,
    notifications_automation,
    rollup_assets,
    rollup_automation,
    rollup_checks,
)

ASSETS = (donations_assets, content_assets, rollup_assets, leaderboard_assets)
CHECKS = (donations_checks, content_checks, rollup_checks, leaderboard_checks)
AUTOMATION = (
    donations_automation,
    content_automation,
    rollup_automation,
    leaderboard_automation,
    notifications_automation,
)

defs = dg.Definitions(
    assets=[asset for part in ASSETS for asset in part.ASSETS],
    asset_checks=[check for part in CHECKS for check in part.CHECKS],
    jobs=[job for part in AUTOMATION for job in part.JOBS],
    schedules=[schedule for part in AUTOMATION for schedule in part.SCHEDULES],
    sensors=[sensor for part in AUTOMATION for sensor in part.SENSORS],
)
