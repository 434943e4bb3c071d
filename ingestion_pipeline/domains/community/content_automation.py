"""When content is brought in: rules every ten minutes, the search index within a minute, and anew every night.

All on by default. Past days are built again by a sensor once late events, or an erasure, have changed them.
"""

import dagster as dg

from ingestion_pipeline.domains.community.content_jobs import REBUILD_SEARCH, UNIQUE_KEY
from ingestion_pipeline.domains.community.content_tables import CRAWL_ITEMS, RULES, SEARCH_DOCUMENTS
from ingestion_pipeline.domains.community.search_index import has_changes
from ingestion_pipeline.orchestration.derived import Derived, derived_sensor
from ingestion_pipeline.orchestration.partitions import DAILY
from ingestion_pipeline.orchestration.runs import held_back
from ingestion_pipeline.orchestration.schedules import due_schedule, newest_tick_schedule, plain_schedule, selection
from ingestion_pipeline.storage.jobs import JobQueue, NewJob
from ingestion_pipeline.storage.postgres import Postgres

EVERY_TEN_MINUTES, HOURLY, NIGHTLY = "*/10 * * * *", "35 * * * *", "20 3 * * *"
OWNER = "scheduler"

community_rules_job = dg.define_asset_job(
    "community_rules_job",
    selection=selection(RULES).without_checks(),
    description="Rules of the event history of one or many UTC days, and what of them is found.",
)
community_search_job = dg.define_asset_job(
    "community_search_job",
    selection=selection(SEARCH_DOCUMENTS).without_checks(),
    description="Brings the search index up to what has changed.",
)
community_content_job = dg.define_asset_job(
    "community_content_job",
    selection=selection(CRAWL_ITEMS, SEARCH_DOCUMENTS),
    description="Crawl items and the search index, with their checks.",
)
community_rules_checks_job = dg.define_asset_job(
    "community_rules_checks_job",
    selection=dg.AssetSelection.checks_for_assets(dg.AssetKey(list(RULES.asset_key))),
    description="Checks that rules are what their events say.",
)


@dg.op(description="Asks for a job of type rebuild_search, unless one is waiting.")
def request_search_rebuild(context: dg.OpExecutionContext, postgres: dg.ResourceParam[Postgres]) -> None:
    job_id, is_new = JobQueue(postgres).enqueue(
        NewJob(job_type=REBUILD_SEARCH.name, owner_id=OWNER, unique_key=UNIQUE_KEY)
    )
    context.log.info("job %s is %s", job_id, "new" if is_new else "waiting already")


@dg.job(description="Asks for the search index to be made anew.")
def community_rebuild_search_job() -> None:
    request_search_rebuild()


community_rules_schedule = due_schedule(
    "community_rules_schedule",
    community_rules_job,
    (RULES,),
    DAILY,
    EVERY_TEN_MINUTES,
    description="Rules of the running day every ten minutes, with any day of the lookback that is not settled.",
)
community_rules_checks_schedule = plain_schedule(
    "community_rules_checks_schedule",
    community_rules_checks_job,
    HOURLY,
    description="Are rules what their events say? Every hour.",
)
community_content_schedule = newest_tick_schedule(
    "community_content_schedule",
    community_content_job,
    HOURLY,
    description="Crawl items and the search index every hour, with their checks.",
)
community_rebuild_search_schedule = newest_tick_schedule(
    "community_rebuild_search_schedule",
    community_rebuild_search_job,
    NIGHTLY,
    description="The search index anew every night.",
)


@dg.sensor(
    job=community_search_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="A run of the search index whenever something has changed and none is going on.",
)
def community_search_sensor(
    context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
) -> dg.RunRequest | dg.SkipReason:
    if not has_changes(postgres):
        return dg.SkipReason("the search index is up to its sources")
    return held_back(context.instance, community_search_job.name) or dg.RunRequest()


community_rules_sensor = derived_sensor(
    "community_rules_sensor",
    [Derived(community_rules_job, (RULES,), DAILY)],
    waits_for=(RULES,),
    description="Days whose events have changed since their rules were made.",
)

JOBS = [
    community_rules_job,
    community_search_job,
    community_content_job,
    community_rules_checks_job,
    community_rebuild_search_job,
]
SCHEDULES = [
    community_rules_schedule,
    community_rules_checks_schedule,
    community_content_schedule,
    community_rebuild_search_schedule,
]
SENSORS = [community_search_sensor, community_rules_sensor]
