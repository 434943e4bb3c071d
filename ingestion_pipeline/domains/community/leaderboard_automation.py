"""When leaderboards are made: the running day every hour, past days once their metrics have changed.

All on by default.
"""

from datetime import timedelta

import dagster as dg

from ingestion_pipeline.domains.community.content_tables import RULES
from ingestion_pipeline.domains.community.leaderboard_tables import LEADERBOARD_SNAPSHOTS
from ingestion_pipeline.domains.community.rollup_tables import RULE_METRICS_DAILY
from ingestion_pipeline.orchestration.derived import Derived, derived_sensor
from ingestion_pipeline.orchestration.partitions import DAILY
from ingestion_pipeline.orchestration.schedules import due_schedule, selection

HOURLY = "20 * * * *"

community_leaderboards_job = dg.define_asset_job(
    "community_leaderboards_job",
    selection=selection(LEADERBOARD_SNAPSHOTS),
    description="The leaderboards of one or many UTC days, with their checks; authors are told of the first places.",
)
community_leaderboards_schedule = due_schedule(
    "community_leaderboards_schedule",
    community_leaderboards_job,
    (LEADERBOARD_SNAPSHOTS,),
    DAILY,
    HOURLY,
    description="The boards of the running day every hour, with any day of the lookback that is not settled.",
)
community_leaderboards_sensor = derived_sensor(
    "community_leaderboards_sensor",
    [Derived(community_leaderboards_job, (LEADERBOARD_SNAPSHOTS,), DAILY)],
    waits_for=(RULES, RULE_METRICS_DAILY, LEADERBOARD_SNAPSHOTS),
    pause=timedelta(hours=1),
    description="Days whose metrics have changed since their boards were made.",
)

JOBS = [community_leaderboards_job]
SCHEDULES = [community_leaderboards_schedule]
SENSORS = [community_leaderboards_sensor]
