"""When rollups are built: the running day every hour, past days once late events, rules or donations have changed them.

All on by default.
"""

from datetime import timedelta

import dagster as dg

from ingestion_pipeline.domains.community.content_tables import RULES
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.orchestration.derived import Derived, derived_sensor
from ingestion_pipeline.orchestration.partitions import DAILY
from ingestion_pipeline.orchestration.schedules import due_schedule, selection

DAILY_TABLES = (RULE_METRICS_DAILY, EXCLUDED_EVENTS_DAILY, AUTHOR_METRICS_DAILY)
HOURLY = "15 * * * *"

community_daily_job = dg.define_asset_job(
    "community_daily_job",
    selection=selection(*DAILY_TABLES),
    description="What counted on rules and of authors, and what did not, on one or many UTC days.",
)

community_daily_schedule = due_schedule(
    "community_daily_schedule",
    community_daily_job,
    DAILY_TABLES,
    DAILY,
    HOURLY,
    description="The running day every hour, with any day of the lookback that is not settled.",
)

community_rollups_sensor = derived_sensor(
    "community_rollups_sensor",
    [Derived(community_daily_job, DAILY_TABLES, DAILY)],
    waits_for=(RULES, *DAILY_TABLES),
    pause=timedelta(minutes=5),
    description="Days whose events, rules or donations have changed since they were rolled up.",
)

JOBS = [community_daily_job]
SCHEDULES = [community_daily_schedule]
SENSORS = [community_rollups_sensor]
