"""The rollup assets over a real lake and a real PostgreSQL: what a day is, what changes it, what does not."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.domains.community import rollup_assets
from ingestion_pipeline.domains.community.content_assets import rules
from ingestion_pipeline.domains.community.content_automation import community_rules_job
from ingestion_pipeline.domains.community.donations_tables import DONATIONS
from ingestion_pipeline.domains.community.rollup_assets import ASSETS
from ingestion_pipeline.domains.community.rollup_automation import DAILY_TABLES, JOBS
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.orchestration.derived import asset_keys
from ingestion_pipeline.orchestration.partitions import DAILY, range_tags
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.orchestration.staleness import Builds
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.rolled import DAY, DEFS, IN_MEMORY, QUIET, Rolled, event, prepare

TABLES = (RULE_METRICS_DAILY, EXCLUDED_EVENTS_DAILY, AUTHOR_METRICS_DAILY)
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def rolled(database_url: str, settings: Settings, postgres: Postgres, lake: Lake) -> Iterator[Rolled]:
    prepare(database_url)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Rolled(settings, postgres, lake, instance)


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    return [it.check_name for it in result.get_asset_check_evaluations() if not it.passed]


def told(result: dg.ExecuteInProcessResult, table: str = "rule_metrics_daily") -> dict[str, dict[str, Any]]:
    """The metadata of each day."""
    found = result.asset_materializations_for_node(f"community__{table}")
    return {str(it.partition): {name: value.value for name, value in it.metadata.items()} for it in found}


def changed(metadata: dict[str, Any]) -> tuple[int, ...]:
    return tuple(metadata[name] for name in ("inserted", "updated", "deleted", "unchanged"))


def outdated(rolled: Rolled) -> set[date]:
    return set(Builds(rolled.instance, DEFS.get_repository_def().asset_graph).outdated(asset_keys(DAILY_TABLES)))


def test_days_are_filled_and_their_checks_hold(rolled: Rolled) -> None:
    """Two days; built again the rows are the same and nothing is written."""
    rolled.author("r1", "ada")
    rolled.store(
        *(event(hours=hour) for hour in range(7)),
        event("VOTE", value=1, user_id="ada"),
        event("COPY", 30, rule_id="r2"),
        event("user.login", rule_id=None),
    )
    first = rolled.run(DAY, NEXT)
    assert [] == failed_checks(first)
    assert 7 == len(first.get_asset_check_evaluations())
    rows = [rolled.rows(table, day) for table in TABLES for day in (DAY, NEXT)]
    (rule,), (copied,), excluded, nothing, (author,), nobody = rows
    assert ("r1", "ada", 5, 3, 5.0) == tuple(
        rule[it] for it in ("rule_id", "author_id", "views", "excluded_events", "points")
    )
    assert ("r2", None, 1, 3.0) == tuple(copied[it] for it in ("rule_id", "author_id", "copies", "points"))
    assert [("self_vote", 1, 0, 1), ("view_cap", 2, 2, 0)] == [
        tuple(row[it] for it in ("reason", "events", "views", "votes")) for row in excluded
    ]
    assert ("ada", 1, 5, {}) == tuple(author[it] for it in ("author_id", "rules", "views", "donations_net"))
    assert ([], []) == (nothing, nobody)
    metadata = told(first)
    assert {"self_vote": 1, "view_cap": 2} == metadata[str(DAY)]["excluded"]
    assert (8, (1, 0, 0, 0)) == (metadata[str(DAY)]["events"], changed(metadata[str(DAY)]))
    again = rolled.run(DAY, NEXT)
    assert [(0, 0, 0, 1)] * 2 == [changed(it) for it in told(again).values()]
    assert rows == [rolled.rows(table, day) for table in TABLES for day in (DAY, NEXT)]
    assert [] == rolled.lake.engine.raw_sql(IN_MEMORY).fetchall()  # a run may have many days


def test_a_day_without_events_has_no_rows(rolled: Rolled) -> None:
    """It succeeds, also when it had rows before."""
    result = rolled.run()
    assert ([], [[], [], []]) == (failed_checks(result), [rolled.rows(table) for table in TABLES])
    rolled.store(event())
    rolled.run()
    rolled.store()
    assert (0, 0, 1, 0) == changed(told(rolled.run())[str(DAY)])
    assert [[], [], []] == [rolled.rows(table) for table in TABLES]


def test_a_late_event_dirties_its_day_only(rolled: Rolled) -> None:
    """The sensor's question; then one row has changed and the others have not been written."""
    history = [event(rule_id=f"r{i}") for i in range(3)] + [event(hours=36)]
    rolled.store(*history)
    rolled.tell("community/rules", DAY, NEXT)
    rolled.tell("community/donations", DAY, NEXT)
    rolled.run(DAY, NEXT)
    assert set() == outdated(rolled)
    rolled.store(*history, event("COPY", rule_id="r1", event_id="late"))
    rolled.run(NEXT, NEXT)
    assert {DAY} == outdated(rolled)
    assert (0, 1, 0, 2) == changed(told(rolled.run())[str(DAY)])
    assert set() == outdated(rolled)


def test_an_event_that_comes_after_its_day_was_read_has_it_built_again(
    rolled: Rolled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the run that read the day is recorded later: it goes on with another one meanwhile."""
    history = [event(rule_id="r1"), event(rule_id="r1", hours=36)]
    rolled.store(*history)
    rolled.tell("community/rules", DAY, NEXT)
    rolled.tell("community/donations", DAY, NEXT)
    read = rollup_assets.rolled_rules

    def read_then_told(connection: Any, lake: Lake, limits: Any, day: date) -> Any:
        found = read(connection, lake, limits, day)
        if day == DAY:
            rolled.store(*history, event("COPY", rule_id="r1", hours=13, event_id="late"))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(rollup_assets, "rolled_rules", read_then_told)
        rolled.run(DAY, NEXT)
    assert DAY in outdated(rolled)
    rolled.run(DAY, NEXT)
    assert (set(), [1]) == (outdated(rolled), [it["copies"] for it in rolled.rows(RULE_METRICS_DAILY)])


def test_a_refund_dirties_its_day_and_leaves_the_rules_alone(rolled: Rolled) -> None:
    """Amounts are exact; what was wholly given back is no donation; test mode is nobody's."""
    rolled.author("r1", "ada")
    gift = (
        "insert into community.donations (payment_intent, rule_id, author_id, is_anonymous, currency, received, "
        "refunded, disputed, status, paid_at, is_live, updated_at) values (:id, :rule, :author, false, "
        ":currency, :received, 0, 0, 'paid', '2026-03-02T10:00Z', :live, now())"
    )
    gifts = [
        {"id": "p1", "rule": "r1", "author": "ada", "currency": "USD", "received": "0.10", "live": True},
        {"id": "p2", "rule": None, "author": "ada", "currency": "USD", "received": "0.20", "live": True},
        {"id": "p3", "rule": None, "author": "ada", "currency": "JPY", "received": "500", "live": True},
        {"id": "p4", "rule": None, "author": "ada", "currency": "USD", "received": "99", "live": False},
        {"id": "p5", "rule": "unknown", "author": None, "currency": "USD", "received": "7", "live": True},
    ]
    for it in gifts:
        rolled.postgres.execute(
            gift.replace(":received", it["received"]), {k: v for k, v in it.items() if k != "received"}
        )
    rolled.run()
    (row,) = rolled.rows(AUTHOR_METRICS_DAILY)
    assert ("ada", 0, 3, {"USD": "0.30", "JPY": "500"}) == tuple(
        row[it] for it in ("author_id", "rules", "donations", "donations_net")
    )
    rolled.tell("events/event_history", DAY)
    rolled.tell("community/rules", DAY)
    rolled.run()
    rolled.postgres.execute("update community.donations set refunded = received where payment_intent <> 'p2'")
    rolled.tell("community/donations", DAY)
    assert {DAY} == outdated(rolled)
    result = rolled.run()
    assert ((0, 0, 0, 0), (0, 1, 0, 0)) == (
        changed(told(result)[str(DAY)]),
        changed(told(result, "author_metrics_daily")[str(DAY)]),
    )
    assert {"USD": "0.20"} == rolled.rows(AUTHOR_METRICS_DAILY)[0]["donations_net"]


def test_an_author_has_a_rule_on_every_day(rolled: Rolled) -> None:
    """Published late, then given away: days that no event says anything of are outdated, and mended by one build."""
    history, donations = dg.AssetSpec(["events", "event_history"], partitions_def=DAILY), DONATIONS.asset_key
    defs = dg.Definitions(
        [history, dg.AssetSpec(list(donations), partitions_def=DAILY), *ASSETS, rules],
        jobs=[community_rules_job, *JOBS],
        resources=RESOURCES,
    )
    stores = {"settings": rolled.settings, "postgres": rolled.postgres, "lake": rolled.lake}
    last = DAY + timedelta(days=2)

    def run(job: str, first: date, last: date) -> None:
        tags = range_tags(first, last)
        executed = defs.resolve_job_def(job).execute_in_process(
            instance=rolled.instance, tags=tags, resources=stores, run_config=QUIET
        )
        assert executed.success

    def outdated() -> list[date]:
        keys = asset_keys(DAILY_TABLES)
        return sorted(Builds(rolled.instance, defs.get_repository_def().asset_graph).outdated(keys))

    def figures() -> list[list[tuple[str, int, int]]]:
        days = [DAY, NEXT, last]
        rows = [rolled.rows(AUTHOR_METRICS_DAILY, day) for day in days]
        return [[(row["author_id"], row["views"], row["votes_up"]) for row in of_day] for of_day in rows]

    events = [event(hours=12), event(hours=36), event(hours=60), event("VOTE", hours=60, value=1, user_id="ada")]
    rolled.store(*events)
    run("community_rules_job", DAY, last)
    run("community_daily_job", DAY, last)
    assert ([[], [], []], []) == (figures(), outdated())
    events.append(event("rule.published", hours=1, user_id="ada", event_category="content"))
    rolled.store(*events)
    run("community_rules_job", DAY, DAY)
    assert [DAY, NEXT, last] == outdated()
    run("community_daily_job", DAY, last)
    assert ([[("ada", 1, 0)]] * 3, []) == (figures(), outdated())
    given = event("rule.updated", hours=61, event_category="content", event_data='{"authorId": "grace"}')
    rolled.store(*events, given)
    run("community_rules_job", DAY, last)
    run("community_daily_job", DAY, last)
    assert ([[("grace", 1, 0)], [("grace", 1, 0)], [("grace", 1, 1)]], []) == (figures(), outdated())


def test_flags_can_be_applied_to_history_again(rolled: Rolled) -> None:
    """Nothing is stored on events: a day rolled up again is judged by the limits of now."""
    rolled.store(event(user_agent="Mozilla/5.0 EvilScraper/2"), event(user_agent="Mozilla/5.0", address_hash="a2"))
    rolled.run()
    assert 2 == rolled.rows(RULE_METRICS_DAILY)[0]["views"]
    rolled.settings = rolled.settings.model_copy(update={"abuse_user_agents": ("evilscraper",)})
    rolled.run()
    assert (1, [("bot", 1)]) == (
        rolled.rows(RULE_METRICS_DAILY)[0]["views"],
        [(row["reason"], row["events"]) for row in rolled.rows(EXCLUDED_EVENTS_DAILY)],
    )


def test_days_of_which_events_have_expired_stay_as_they_are(rolled: Rolled, database_url: str) -> None:
    import psycopg

    rolled.store(event())
    rolled.run()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update events.retention_classes set kept_for = interval '1 day'")
    rolled.store()
    rolled.run()
    assert 1 == len(rolled.rows(RULE_METRICS_DAILY))
