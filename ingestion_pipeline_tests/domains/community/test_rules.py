"""Rules of the event history: the same whatever the order, the number of times and the runs in which events are read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import jsonschema_rs
import psycopg
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.content_assets import ASSETS
from ingestion_pipeline.domains.community.content_automation import JOBS, SCHEDULES, SENSORS
from ingestion_pipeline.domains.community.content_checks import CHECKS
from ingestion_pipeline.domains.community.content_tables import (
    CRAWL_ITEMS,
    RULE_HISTORY,
    RULES,
    SEARCH_DOCUMENTS,
    TABLES,
)
from ingestion_pipeline.domains.community.dirty_days import dirty_days, settle_dirty_days
from ingestion_pipeline.domains.community.rules import apply_days
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.orchestration.partitions import DAILY, range_tags
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.rolled import prepare
from ingestion_pipeline_tests.domains.events.factories import make_event, make_events

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FIRST, LAST = date(2026, 2, 20), date(2026, 3, 20)
SPAN = Window.of_days(FIRST, LAST)
HISTORY = dg.AssetSpec(list(EVENT_HISTORY.asset_key), partitions_def=DAILY)
DEFS = dg.Definitions(
    [HISTORY, *ASSETS], asset_checks=CHECKS, resources=RESOURCES, jobs=JOBS, schedules=SCHEDULES, sensors=SENSORS
)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def event(kind: str, rule_id: str = "r1", *, hours: float = 0, event_id: str = "", **over: Any) -> dict[str, Any]:
    """An event of type rule.<kind>, so many hours after NOON; event_data by keyword."""
    at = NOON + timedelta(hours=hours)
    envelope = {name: over.pop(name) for name in ("user_id", "event_type") if name in over}
    return make_event(
        event_id=event_id or f"{rule_id}-{kind}-{hours}",
        rule_id=rule_id,
        occurred_at=at,
        day=at.date(),
        event_data=json.dumps(over),
        **{"event_type": f"rule.{kind}", "event_category": "content", "user_id": None, **envelope},
    )


@dataclass
class Stores:
    postgres: Postgres
    lake: Lake

    def history(self, *events: dict[str, Any]) -> None:
        """Makes `events` the whole history."""
        self.lake.replace(EVENT_HISTORY, make_events(*events), SPAN)

    def apply(self, *days: date) -> list[int]:
        """How many rules each part changed."""
        windows = [Window.of_days(day, day) for day in days] or [SPAN]
        return [it.rules for window in windows for it in apply_days(self.postgres, self.lake, window)]

    def rules(self) -> list[dict[str, Any]]:
        with self.postgres.transaction() as connection:
            found = connection.execute("select to_jsonb(rules) from community.rules order by rule_id").fetchall()
        return [row for (row,) in found]

    def rule(self) -> tuple[Any, ...]:
        (rule,) = self.rules()
        return tuple(rule[name] for name in ("title", "body", "author_id", "tags", "model", "status"))


@pytest.fixture
def stores(postgres: Postgres, lake: Lake, database_url: str) -> Stores:
    """No event has expired, whenever the tests are run."""
    prepare(database_url)
    return Stores(postgres, lake)


PUBLISHED = {"authorId": "ann", "title": "Tests first", "body": "Write them", "tags": ["tdd", "git"], "model": "opus"}


def test_a_published_rule_is_there(stores: Stores) -> None:
    """Other events say nothing of it; the author is who published it, where the event does not say."""
    stores.history(event("published", **PUBLISHED), event("published", "r2", user_id="bob", title="Short"), event("x"))
    stores.apply()
    first, second = stores.rules()
    assert {
        "rule_id": "r1",
        "author_id": "ann",
        "title": "Tests first",
        "body": "Write them",
        "tags": ["tdd", "git"],
        "model": "opus",
        "status": "published",
        "published_at": "2026-03-02T12:00:00+00:00",
        "updated_at": "2026-03-02T12:00:00+00:00",
        "event_id": "r1-published-0",
    } == first
    assert ("bob", "", [], None) == tuple(second[name] for name in ("author_id", "body", "tags", "model"))


def test_an_update_says_only_what_changes(stores: Stores) -> None:
    stores.history(event("published", **PUBLISHED), event("updated", hours=1, title="Tests always", tags=[]))
    stores.apply()
    assert ("Tests always", "Write them", "ann", [], "opus", "published") == stores.rule()


def test_a_deleted_rule_stays_so_until_it_is_published_again(stores: Stores) -> None:
    events = [event("published", **PUBLISHED), event("deleted", hours=1), event("updated", hours=2, title="Late")]
    stores.history(*events)
    stores.apply()
    assert ("Late", "deleted") == (stores.rule()[0], stores.rule()[5])
    stores.history(*events, event("published", hours=3, title="Again"))
    stores.apply()
    assert ("Again", "published") == (stores.rule()[0], stores.rule()[5])
    assert "2026-03-02T12:00:00+00:00" == stores.rules()[0]["published_at"]


EVENTS = [
    event("published", hours=-24, **PUBLISHED),
    event("updated", hours=0, title="Two", authorId="bob"),
    event("updated", hours=0, event_id="r1-updated-0-later", title="Three"),
    event("deleted", hours=30),
    event("published", hours=60, title="Four", tags=["new"]),
    event("published", "r2", hours=1, title="Other"),
]


@pytest.mark.parametrize("days", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 4, 1, 3, 0)])
def test_days_are_read_in_any_order_and_again(stores: Stores, days: Sequence[int]) -> None:
    """The rules are the same, also of two events of the same instant; a day that has not changed changes nothing."""
    stores.history(*EVENTS)
    stores.apply()
    expected = stores.rules()
    with stores.postgres.transaction() as connection:
        connection.execute("delete from community.rule_events")
        connection.execute("delete from community.rules")
    stores.apply(*[date(2026, 3, 1) + timedelta(days=day) for day in days])
    assert expected == stores.rules()
    assert ("Four", "Write them", "bob", ["new"], "opus", "published") == tuple(
        expected[0][name] for name in ("title", "body", "author_id", "tags", "model", "status")
    )
    assert 0 == sum(stores.apply())


def test_a_late_event_changes_what_it_should(stores: Stores) -> None:
    """One that is older than the last fills in what was not said, no more."""
    stores.history(event("updated", hours=5, title="New"))
    stores.apply()
    stores.history(event("updated", hours=5, title="New"), event("published", hours=-48, **PUBLISHED))
    assert 1 == sum(stores.apply(date(2026, 2, 28)))
    assert ("New", "Write them", "ann", ["tdd", "git"], "opus", "published") == stores.rule()
    assert "2026-02-28T12:00:00+00:00" == stores.rules()[0]["published_at"]


def test_what_was_erased_is_gone(stores: Stores) -> None:
    """The rule is what its other events say; without any it is not there, nor is it found."""
    first, second = event("published", hours=-24, **PUBLISHED), event("updated", title="Named")
    stores.history(first, second)
    stores.apply()
    stores.history(first)
    stores.apply(date(2026, 3, 2))
    assert "Tests first" == stores.rule()[0]
    stores.history()
    stores.apply(date(2026, 3, 1))
    assert [] == stores.rules()
    with stores.postgres.transaction() as connection:
        assert [("rule", "r1")] == connection.execute("select kind, id from community.search_changes").fetchall()


def test_what_the_lake_has_forgotten_stays(stores: Stores, database_url: str) -> None:
    """Events expire there after their time; a rule that is still used does not."""
    stores.history(event("published", **PUBLISHED))
    stores.apply()
    with psycopg.connect(database_url) as owner:
        owner.execute("update events.retention_classes set kept_for = '1 day' where retention_class = 'content'")
    stores.history()
    stores.apply(date(2026, 3, 2))
    assert "Tests first" == stores.rule()[0]


ROLLED_UP = """
insert into community.rule_metrics_daily
select day, rule, null, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0
from unnest(%s::date[]) as day, unnest(%s::text[]) as rule
"""
DAYS = [date(2026, 3, day) for day in (1, 4, 9)]


def roll_up(stores: Stores, days: Sequence[date], *rules: str) -> None:
    """These rules had an event on each of the days."""
    with stores.postgres.transaction() as connection:
        connection.execute(ROLLED_UP, [list(days), list(rules)])


def test_another_author_is_one_on_all_days(stores: Stores) -> None:
    """Those on which the rule was rolled up, and of which no event has expired; what else changes dirties none."""
    expired = utc_now().date() - timedelta(days=101 * 366)
    roll_up(stores, [expired, *DAYS], "r1", "r2")
    roll_up(stores, [date(2026, 3, 5)], "r2")

    def dirty() -> list[date]:
        days = dirty_days(stores.postgres, RULES)
        settle_dirty_days(stores.postgres, days)
        return [it.day for it in days]

    events = [event("published", **PUBLISHED)]
    stores.history(*events)
    stores.apply()
    assert DAYS == dirty()
    events += [event("updated", hours=1, title="New"), event("published", "r2", title="Of nobody")]
    stores.history(*events)
    stores.apply()
    assert [] == dirty()
    stores.history(*events, event("updated", hours=2, authorId="bob"))
    stores.apply()
    assert DAYS == dirty()
    stores.history()
    stores.apply()
    assert DAYS == dirty()


def test_what_is_no_text_is_not_taken(stores: Stores) -> None:
    """Events of before the schema may say anything."""
    stores.history(event("published", title="T", tags="tdd"), event("published", "r2", title="T", tags=[1, "a", None]))
    stores.apply()
    assert [[], ["a"]] == [rule["tags"] for rule in stores.rules()]


def test_what_is_read_of_the_history_is_what_it_has() -> None:
    """The columns are another domain's."""
    theirs = {column.name: (column.type, column.nullable) for column in EVENT_HISTORY.columns}
    ours = {column.name: (column.type, column.nullable) for column in RULE_HISTORY.columns}
    ours["rule_id"] = theirs["rule_id"]
    assert ours.items() <= theirs.items()
    assert (EVENT_HISTORY.path, EVENT_HISTORY.partition_column) == (RULE_HISTORY.path, RULE_HISTORY.partition_column)


@pytest.mark.parametrize("kind", ["rule.published", "rule.updated", "rule.deleted"])
def test_the_types_of_events_are_known(database_url: str, kind: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select event_category, retention_class, required_fields from events.event_schemas where event_type = %s",
            [kind],
        ).fetchone()
    assert ("content", "content", ["ruleId"]) == row


@pytest.mark.parametrize("kind", ["rule.published", "rule.updated", "rule.deleted"])
@pytest.mark.parametrize(("author", "is_right"), [("ada", True), (None, False), ("", False), (7, False)])
def test_nobody_may_say_that_a_rule_is_nobodys(database_url: str, kind: str, author: Any, *, is_right: bool) -> None:
    """`"authorId": null` is what an erasure leaves."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select json_schema from events.event_schemas where event_type = %s", [kind]
        ).fetchone()
    assert row is not None
    assert is_right is jsonschema_rs.is_valid(row[0], {"title": "T", "authorId": author})


def run(
    job: str, settings: Settings, stores: Stores, instance: dg.DagsterInstance, *, tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    return DEFS.resolve_job_def(job).execute_in_process(
        instance=instance,
        tags=tags or {},
        resources={"settings": settings, "postgres": stores.postgres, "lake": stores.lake},
        run_config=QUIET,
    )


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {it.check_name: it.passed for it in result.get_asset_check_evaluations()}


def test_the_assets_are_built_with_their_checks(
    settings: Settings, stores: Stores, instance: dg.DagsterInstance, database_url: str
) -> None:
    """Rules are found within the run that made them; what is wrong is noticed."""
    stores.history(*EVENTS)
    built = run("community_rules_job", settings, stores, instance, tags=range_tags(FIRST, LAST))
    found = built.get_asset_materialization_events()
    metadata = found[0].step_materialization_data.materialization.metadata
    assert (6, 2) == (metadata["events"].value, metadata["rules_changed"].value)
    with psycopg.connect(database_url) as owner:
        assert [("r1",), ("r2",)] == owner.execute("select id from community.search_documents order by 1").fetchall()
        owner.execute(
            "select * from community.store_crawl_items('s', '{1}', '{https://example.com/}', '{t}', '{s}', '{null}', 'c', 'q')"
        )
    expected = {name: True for check in CHECKS for name in [key.name for key in check.check_keys]}
    content = run("community_content_job", settings, stores, instance)
    ours = run("community_rules_checks_job", settings, stores, instance)
    assert expected == checks(content) | checks(ours)
    with psycopg.connect(database_url) as owner:
        owner.execute("update community.crawl_items set title = 'other'")
        owner.execute("update community.rules set event_id = 'other', title = 'other' where rule_id = 'r1'")
        owner.execute("update community.rules set status = 'deleted' where rule_id = 'r2'")
        owner.execute("delete from community.search_vectors where kind = 'crawl'")
    content = run("community_content_job", settings, stores, instance)
    ours = run("community_rules_checks_job", settings, stores, instance)
    assert dict.fromkeys(expected, False) == checks(content) | checks(ours)


def test_days_of_another_author_count_as_built_again(
    settings: Settings, stores: Stores, instance: dg.DagsterInstance
) -> None:
    """So that what is derived of them is recomputed; events of theirs that are late are read on the way."""
    roll_up(stores, DAYS, "r1")
    late = event("published", "r3", hours=48, title="Late")  # of a day that nobody asks for
    stores.history(event("published", **PUBLISHED), late)
    result = run("community_rules_job", settings, stores, instance, tags=range_tags(date(2026, 3, 2), date(2026, 3, 2)))
    found = result.asset_materializations_for_node("community__rules")
    assert {str(day) for day in (*DAYS, date(2026, 3, 2))} == {it.partition for it in found}
    assert ["r1", "r3"] == [rule["rule_id"] for rule in stores.rules()]
    assert [] == dirty_days(stores.postgres, RULES)


def test_all_is_on_and_every_table_is_built() -> None:
    """None waits for a click, and freshness of an asset that nobody builds would fail for ever."""
    assert {"RUNNING"} == {it.default_status.value for it in (*SCHEDULES, *SENSORS)}
    assert list(TABLES) == [CRAWL_ITEMS, RULES, SEARCH_DOCUMENTS]
    built = {
        key
        for job in ("community_rules_job", "community_content_job")
        for key in DEFS.resolve_job_def(job).asset_layer.selected_asset_keys
    }
    assert {dg.AssetKey(list(table.asset_key)) for table in TABLES} == built
