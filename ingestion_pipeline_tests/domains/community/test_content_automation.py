"""When content is brought in: what changed is indexed once, the rebuild is asked for as a job."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.community.content_assets import ASSETS
from ingestion_pipeline.domains.community.content_automation import (
    JOBS,
    SCHEDULES,
    SENSORS,
    community_rebuild_search_job,
    community_rebuild_search_schedule,
    community_rules_sensor,
)
from ingestion_pipeline.domains.community.content_handlers import HANDLERS
from ingestion_pipeline.domains.community.content_jobs import JOB_TYPES, REBUILD_SEARCH
from ingestion_pipeline.domains.community.content_tables import RULE_HISTORY, RULES
from ingestion_pipeline.orchestration.partitions import DAILY, range_tags
from ingestion_pipeline.storage.jobs import JobQueue
from ingestion_pipeline.storage.postgres import Postgres


@pytest.fixture
def fresh() -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_the_nightly_rebuild_is_a_job_that_is_asked_for_once(postgres: Postgres, fresh: dg.DagsterInstance) -> None:
    """One that waits is as good as a new one; somebody does it."""
    for _ in range(2):
        assert community_rebuild_search_job.execute_in_process(instance=fresh, resources={"postgres": postgres}).success
    claimed = JobQueue(postgres).claim("w", {REBUILD_SEARCH.name: 1}, most=5)
    assert ["rebuild_search"] == [job.job_type for job in claimed]
    assert set(JOB_TYPES) == set(HANDLERS)
    assert "20 3 * * *" == community_rebuild_search_schedule.cron_schedule


def test_a_day_with_late_events_is_read_again(fresh: dg.DagsterInstance) -> None:
    """Once, whatever it is that changed the history; not a day that is settled."""
    history = dg.AssetSpec(list(RULE_HISTORY.asset_key), partitions_def=DAILY)
    stores = dict.fromkeys(("postgres", "lake"), dg.ResourceDefinition.none_resource())
    definitions = dg.Definitions([history, *ASSETS], jobs=JOBS, sensors=SENSORS, schedules=SCHEDULES, resources=stores)
    repository = definitions.get_repository_def()
    day = utc_now().date() - timedelta(days=2)

    def ask() -> Any:
        return community_rules_sensor(dg.build_sensor_context(fresh, repository_def=repository))

    def changed(table: Table) -> None:
        fresh.report_runless_asset_event(
            dg.AssetMaterialization(dg.AssetKey(list(table.asset_key)), partition=day.isoformat())
        )

    assert isinstance(ask(), dg.SkipReason)
    changed(RULE_HISTORY)
    (request,) = ask()
    assert ("community_rules_job", range_tags(day, day)) == (request.job_name, request.tags)
    changed(RULES)
    assert isinstance(ask(), dg.SkipReason)
    changed(RULE_HISTORY)
    (again,) = ask()
    assert request.run_key != again.run_key
