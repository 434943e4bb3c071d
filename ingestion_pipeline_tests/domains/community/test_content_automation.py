"""When content is brought in: what changed is indexed once, the rebuild is asked for as a job."""

from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg
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
    community_search_sensor,
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


def test_the_index_is_asked_for_when_something_has_changed(
    database_url: str, postgres: Postgres, fresh: dg.DagsterInstance
) -> None:
    """The same change once, also when the run fails; the next change again."""

    def ask() -> Any:
        return community_search_sensor(dg.build_sensor_context(fresh, resources={"postgres": postgres}))

    assert isinstance(ask(), dg.SkipReason)
    with psycopg.connect(database_url) as owner:
        owner.execute("insert into community.search_changes (kind, id) values ('rule', 'r1')")
    first, again = ask(), ask()
    assert first.run_key == again.run_key
    with psycopg.connect(database_url) as owner:
        owner.execute("insert into community.search_changes (kind, id) values ('rule', 'r2')")
    assert ask().run_key != first.run_key


def test_nothing_is_asked_for_while_a_run_goes_on(
    database_url: str, postgres: Postgres, fresh: dg.DagsterInstance
) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute("insert into community.search_changes (kind, id) values ('rule', 'r1')")
    fresh.add_run(dg.DagsterRun(job_name="community_search_job", status=dg.DagsterRunStatus.STARTED))
    context = dg.build_sensor_context(fresh, resources={"postgres": postgres})
    assert isinstance(community_search_sensor(context), dg.SkipReason)


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
