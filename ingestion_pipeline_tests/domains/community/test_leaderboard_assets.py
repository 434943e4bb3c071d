"""The asset of the leaderboards with its checks, and the job that tells authors, as Dagster runs them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from pytest_httpserver import HTTPServer

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import midnight
from ingestion_pipeline.domains.community import leaderboard_automation, notifications_automation
from ingestion_pipeline.domains.community.leaderboard_assets import leaderboard_snapshots
from ingestion_pipeline.domains.community.leaderboard_checks import CHECKS
from ingestion_pipeline.domains.community.leaderboard_reads import Board
from ingestion_pipeline.domains.community.leaderboard_tables import LEADERBOARD_SNAPSHOTS
from ingestion_pipeline.orchestration.partitions import range_tags
from ingestion_pipeline.orchestration.specs import freshness_policy
from ingestion_pipeline.providers.alert_sender import REFUSED
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import Cache, MemoryCache
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.boards import Metric, Rule, store_metrics, store_rules
from ingestion_pipeline_tests.domains.community.outbox import PERSON, Receiver, donate, prefer, rows

RULES = [Rule("r1", PERSON, ("sql",)), Rule("r2", "grace")]
ASSET = dg.AssetKey(["community", "leaderboard_snapshots"])


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def cache() -> Cache:
    return MemoryCache()


@pytest.fixture
def resources(settings: Settings, postgres: Postgres, lake: Lake, cache: Cache) -> dict[str, Any]:
    return {"settings": settings, "postgres": postgres, "lake": lake, "cache": cache}


def materialized(resources: dict[str, Any], *days: Any) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.Definitions(
            assets=[leaderboard_snapshots],
            asset_checks=CHECKS,
            jobs=leaderboard_automation.JOBS,
            resources=resources,
        ).resolve_job_def("community_leaderboards_job")
        return job.execute_in_process(
            instance=instance, tags=range_tags(days[0], days[-1]), resources=resources, raise_on_error=False
        )


def test_the_boards_of_some_days_are_built_checked_and_told(
    resources: dict[str, Any], owner: psycopg.Connection[Any], cache: Cache
) -> None:
    """In one run; what was cached of them is forgotten, what else is, is not."""
    today = utc_now().date()
    yesterday = today - timedelta(days=1)
    store_rules(owner, RULES)
    for day in (yesterday, today):
        store_metrics(owner, [Metric("r1", day, views=60, fading=1.0), Metric("r2", day, views=2)], RULES)
    for key in (Board().key, "other"):
        cache.set(key, 1, ttl_seconds=60)
    result = materialized(resources, yesterday, today)
    assert result.success
    counts = dict(owner.execute("select day, count(*) from community.leaderboard_snapshots group by day").fetchall())
    partitions = {
        event.partition: event.step_materialization_data.materialization.metadata
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION"
    }
    assert {str(day): count for day, count in counts.items()} == {
        str(partition): metadata["dagster/partition_row_count"].value for partition, metadata in partitions.items()
    }
    checks = result.get_asset_check_evaluations()
    assert {
        "leaderboard_snapshots_are_numbered",
        "leaderboard_snapshots_are_ordered",
        "leaderboard_snapshots_follow_the_day_before",
        "leaderboard_snapshots_equal_their_metrics",
    } == {check.check_name for check in checks}
    assert {True} == {check.passed for check in checks}
    told = {(it["person_id"], it["kind"]) for it in rows(owner)}
    assert {(PERSON, "leaderboard_entry"), ("grace", "leaderboard_entry"), (PERSON, "milestone")} == told
    days = {it["payload"].get("day") for it in rows(owner)} - {None}
    assert {str(yesterday)} == days  # the running day's winners change every hour
    assert [None, 1] == [cache.get(key) for key in (Board().key, "other")]
    count = len(rows(owner))
    assert materialized(resources, yesterday, today).success
    assert count == len(rows(owner))


def test_a_check_finds_a_board_that_somebody_changed(
    resources: dict[str, Any], owner: psycopg.Connection[Any], postgres: Postgres
) -> None:
    """And says which places, not whose: Dagster keeps it."""
    today = utc_now().date()
    store_metrics(owner, [Metric("r1", today, views=6), Metric("r2", today, views=2)], [])
    assert materialized(resources, today).success
    owner.execute("update community.leaderboard_snapshots set views = 7, score = 1 where subject_id = 'r1'")
    job = dg.Definitions(
        assets=[leaderboard_snapshots],
        asset_checks=CHECKS,
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks_for_assets(ASSET))],
        resources=resources,
    ).resolve_job_def("checks")
    result = job.execute_in_process(tags=range_tags(today, today), resources=resources, raise_on_error=False)
    failed = {it.check_name: it.metadata["examples"] for it in result.get_asset_check_evaluations() if not it.passed}
    assert {"leaderboard_snapshots_are_ordered", "leaderboard_snapshots_equal_their_metrics"} == set(failed)
    for examples in failed.values():
        assert str(today) in str(examples.value)
        assert "r1" not in str(examples.value)


def test_boards_look_back_a_month_and_are_fresh_by_the_hour() -> None:
    """A late event makes the boards of the 30 days that count it outdated, and no others."""
    (spec,) = leaderboard_snapshots.specs
    offsets = {dep.asset_key.path[-1]: dep.partition_mapping for dep in spec.deps}
    mapping = offsets["rule_metrics_daily"]
    assert isinstance(mapping, dg.TimeWindowPartitionMapping)
    assert -29 == mapping.start_offset
    assert {"rule_metrics_daily", "rules"} == set(offsets)
    assert freshness_policy(LEADERBOARD_SNAPSHOTS) == spec.freshness_policy


def test_the_job_tells_of_new_donations_and_the_sensor_asks_for_it(
    resources: dict[str, Any], owner: psycopg.Connection[Any], httpserver: HTTPServer, postgres: Postgres
) -> None:
    """While there is something to do; a target in a private network is refused as the job is configured."""
    receiver = Receiver(httpserver)
    prefer(owner, receiver.url)

    def tick(instance: dg.DagsterInstance) -> Any:
        with dg.build_sensor_context(instance=instance, resources={"postgres": postgres}) as context:
            return notifications_automation.community_notifications_sensor(context)

    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(instance), dg.SkipReason)
        donate(owner, "pi_1", paid_at=utc_now())
        assert isinstance(tick(instance), dg.RunRequest)
        job = notifications_automation.community_notifications_job
        ran = job.execute_in_process(
            instance=instance, resources={name: resources[name] for name in ("settings", "postgres")}
        )
        assert ran.success
        assert [(REFUSED, 1)] == [(it["last_error"], it["attempts"]) for it in rows(owner)]
        assert [] == receiver.bodies
        assert isinstance(tick(instance), dg.SkipReason)  # it is due again in a minute
        owner.execute("update community.notifications set due_at = %s", [midnight(utc_now().date())])
        assert isinstance(tick(instance), dg.RunRequest)


def test_everything_is_on_by_default() -> None:
    for it in (*leaderboard_automation.SENSORS, *notifications_automation.SENSORS):
        assert dg.DefaultSensorStatus.RUNNING == it.default_status
    for schedule in leaderboard_automation.SCHEDULES:
        assert dg.DefaultScheduleStatus.RUNNING == schedule.default_status
