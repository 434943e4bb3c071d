"""A person who is erased, or asks for what is held: as a donor, as an author, as one who is told things."""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community import leaderboard_assets, rollup_assets
from ingestion_pipeline.domains.community.content_assets import rules
from ingestion_pipeline.domains.community.donations_ledger import apply_donations
from ingestion_pipeline.domains.events.erasure import Mode, erase
from ingestion_pipeline.domains.events.export import export
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.orchestration.partitions import DAILY
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.stripe_events import (
    METADATA,
    charge_refunded,
    deliver,
    intent,
    rows_of,
    session,
)
from ingestion_pipeline_tests.domains.events.factories import make_event, make_events
from ingestion_pipeline_tests.domains.events.traces import traces
from ingestion_pipeline_tests.hot_log import HotLog, opened

CANARY, OTHER = "person-canary-1", "person-canary-2"
GIVEN = {**METADATA, "donorId": CANARY, "donorName": f"Name of {CANARY}", "message": f"from {CANARY}"}
RECEIVED = {**METADATA, "authorId": CANARY}
SENT: dict[str, Any] = {
    "customer_details": {"name": f"Name of {CANARY}"},
    "client_reference_id": CANARY,
    "metadata": GIVEN,
}
FIGURES = (
    "insert into community.rules values ('rule-1', %(who)s, 'Title', '', '[]', null, 'published', now(), now(), 'e')",
    (
        "insert into community.rule_events (event_id, day, rule_id, event_type, occurred_at, author_id, title) "
        "values ('e', '2026-03-05', 'rule-1', 'rule.published', now(), %(who)s, 'T')"
    ),
    (
        "insert into community.rule_metrics_daily (day, rule_id, author_id, views, copies, saves, forks, votes_up, "
        "votes_down, unique_users, points, trending_score, excluded_events) "
        "values ('2026-03-05', 'rule-1', %(who)s, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0)"
    ),
    (
        "insert into community.author_metrics_daily (day, author_id, rules, views, copies, saves, forks, votes_up, "
        "votes_down, points, trending_score, donations, donations_net) "
        "values ('2026-03-05', %(who)s, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, '{}')"
    ),
    "select community.notify('key', %(who)s, 'milestone', '{\"metric\": \"views\", \"threshold\": 100}', now())",
    "insert into community.notification_preferences (person_id, target) values (%(who)s, 'https://example.org/hook')",
)
PLACE = (
    "insert into community.leaderboard_snapshots (day, period, kind, scope, scope_value, rank, subject_id, score, "
    "points, views) values ('2026-03-05', 'DAILY', 'AUTHOR', 'GLOBAL', '', %(rank)s, %(who)s, 1, 1, 1)"
)


@pytest.fixture
def database(database_url: str) -> Any:
    """Given by CANARY: one donation that is applied, one that waits. CANARY is the author of a rule, and is told."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def held(postgres: Postgres, database: psycopg.Connection[Any]) -> Postgres:
    deliver(postgres, session(**SENT), intent(metadata={}), intent(pi="pi_2", metadata=RECEIVED))
    apply_donations(postgres, run_id="run-1")
    deliver(postgres, session(pi="pi_3", **SENT), intent(pi="pi_3", metadata=GIVEN))
    for statement in FIGURES:
        database.execute(statement.encode(), {"who": CANARY})
    for rank, person in enumerate((CANARY, OTHER), start=1):
        database.execute(PLACE.encode(), {"rank": rank, "who": person})
    return postgres


def money(postgres: Postgres) -> list[Any]:
    statement = "select payment_intent, received, refunded, net, status, paid_at from community.donations order by 1"
    return rows_of(postgres, statement)


LONG_AGO, DAY = utc_now() - timedelta(days=500), (utc_now() - timedelta(days=3)).date()
SPAN = Window.of_days(LONG_AGO.date(), utc_now().date())
SPECS = [
    dg.AssetSpec(["events", "event_history"], partitions_def=DAILY),
    dg.AssetSpec(["community", "donations"], partitions_def=DAILY),
]
BUILT = [rules, *rollup_assets.ASSETS, *leaderboard_assets.ASSETS]


@dataclass(frozen=True)
class Stores:
    postgres: Postgres
    lake: Lake
    settings: Settings
    days: list[date]


def said(kind: str, rule_id: str, days_ago: float, user_id: str | None = "carl", **data: Any) -> dict[str, Any]:
    """An event of a rule, by carl."""
    at = utc_now() - timedelta(days=days_ago)
    more = {"user_id": user_id, "rule_id": rule_id, "occurred_at": at, "day": at.date(), "event_data": data}
    return make_event(
        event_id=str(uuid5(NAMESPACE_OID, f"{kind} {rule_id} {days_ago}")), event_type=kind, address_hash="a", **more
    )


def build(postgres: Postgres, lake: Lake, settings: Settings, *days: date) -> None:
    """Rules, rollups and boards of these days, by their assets."""
    for day in days:
        stores = {**RESOURCES, "postgres": postgres, "lake": lake, "settings": settings}
        run = dg.materialize([*SPECS, *BUILT], partition_key=str(day), resources=stores, selection=BUILT)
        assert run.success


@pytest.fixture
def published(postgres: Postgres, lake: Lake, settings: Settings, database_url: str) -> Stores:
    """CANARY published a rule 500 days ago, of another that is theirs others say so; both are seen, ranked and found."""
    words: dict[str, Any] = {
        "title": f"Title by {CANARY}",
        "body": f"Body by {CANARY}",
        "tags": [f"tag-{CANARY}"],
        "model": CANARY,
    }
    theirs: dict[str, Any] = {"authorId": CANARY, "title": "Title by carl", "tags": ["sql"]}
    history = [
        said("rule.published", "own", 500, CANARY, **words),
        said("rule.published", "theirs", 400, **theirs),
        said("rule.updated", "theirs", 3, authorId=CANARY),
        *(said("VIEW", rule_id, 3 + hours / 100) for rule_id in ("own", "theirs") for hours in range(4)),
    ]
    lake.replace(EVENT_HISTORY, make_events(*history), SPAN)
    update = {"type": "rule.updated", "ruleId": "theirs", "userId": "carl", "data": {"authorId": CANARY}}
    with opened(database_url) as log:
        HotLog(database_url, log).send(update, received_at=utc_now())
    days = sorted({it["day"] for it in history})
    build(postgres, lake, settings, *days)
    return Stores(postgres, lake, settings, days)


PLACES_OF_AN_AUTHOR = {
    "community.rule_events",
    "community.rules",
    "community.search_documents",
    "community.rule_metrics_daily",
    "community.author_metrics_daily",
    "community.leaderboard_snapshots",
}


@pytest.mark.parametrize("mode", ["erase", "anonymise"])
def test_nothing_names_an_erased_author_of_old_rules(published: Stores, database_url: str, mode: Mode) -> None:
    """Not their words either; and none of it comes back when rules, rollups and boards are built again."""
    stores, root = published, Path(published.lake.root)
    found = traces(database_url, root, CANARY)
    assert set(found) > PLACES_OF_AN_AUTHOR
    assert any(place.endswith(".parquet") for place in found)
    assert any(place.startswith("events.event_log_") for place in found)
    erase(stores.postgres, stores.lake, stores.settings, CANARY, mode=mode, by="tests")
    assert [] == traces(database_url, root, CANARY)
    build(stores.postgres, stores.lake, stores.settings, *stores.days)
    assert [] == traces(database_url, root, CANARY)
    ((title, author, tags),) = rows_of(
        stores.postgres, "select title, author_id, tags from community.rules where rule_id = 'theirs'"
    )
    assert ("Title by carl", None, ["sql"]) == (title, author, tags)
    own = rows_of(stores.postgres, "select title, body, tags from community.rules where rule_id = 'own'")
    assert ([] if mode == "erase" else [("", "", [])]) == [tuple(row) for row in own]


def test_rules_older_than_the_lake_are_forgotten_too(published: Stores, database_url: str) -> None:
    """Events of rules expire in the lake, the rules that they made do not."""
    stores = published
    stores.lake.replace(EVENT_HISTORY, make_events(), SPAN)
    stores.lake.purge(EVENT_HISTORY)
    erase(stores.postgres, stores.lake, stores.settings, CANARY, by="tests")
    assert [] == traces(database_url, Path(stores.lake.root), CANARY)


@pytest.mark.parametrize("mode", ["erase", "anonymise"])
def test_nothing_names_an_erased_person(
    held: Postgres, lake: Lake, settings: Settings, database_url: str, mode: Mode
) -> None:
    """In no table, also not in what Stripe delivered and what waits; the money is what it was."""
    root, before = Path(lake.root), money(held)
    assert {"community.donations", "community.donation_facts", "operations.deliveries"} < set(
        traces(database_url, root, CANARY)
    )
    done = erase(held, lake, settings, CANARY, mode=mode, by="tests")
    assert [] == traces(database_url, root, CANARY)
    expected = {"donations_given": 1, "donations_received": 1, "author_days": 1, "places": 1, "notifications": 1}
    assert expected == {name: done.removed[name] for name in expected}
    assert before == money(held)


def test_what_stripe_says_later_names_an_erased_person_no_more(
    held: Postgres, lake: Lake, settings: Settings, database_url: str
) -> None:
    """What waited is applied without donor and author, and a refund that repeats them changes the money only."""
    erase(held, lake, settings, CANARY, by="tests")
    later = [charge_refunded(1000, metadata=GIVEN), charge_refunded(500, pi="pi_2", metadata=RECEIVED)]
    deliver(held, *later)
    apply_donations(held, run_id="run-2")
    assert [("pi_1", 15), ("pi_2", 20), ("pi_3", 25)] == [(row[0], int(row[3])) for row in money(held)]
    named = rows_of(
        held, "select donor_id, donor_name, message, is_anonymous from community.donations order by payment_intent"
    )
    gone, bob = (None, None, None, True), ("bob", None, "Thank you", False)
    assert [gone, bob, gone] == [tuple(row) for row in named]
    authors = rows_of(held, "select author_id from community.donations order by payment_intent")
    assert [("ada",), (None,), ("ada",)] == [tuple(row) for row in authors]
    assert {"operations.deliveries"} >= set(traces(database_url, Path(lake.root), CANARY))


def test_a_donor_is_found_whichever_object_names_them(
    held: Postgres, database: psycopg.Connection[Any], lake: Lake, settings: Settings, database_url: str
) -> None:
    """Also where the donation has the other of two names, and the deliveries that said so are gone."""
    deliver(
        held,
        session(pi="pi_5", metadata={}, client_reference_id=CANARY),
        intent(pi="pi_5", metadata={**METADATA, "donorId": "carl"}),
    )
    apply_donations(held, run_id="run-2")
    database.execute("delete from operations.deliveries")
    erase(held, lake, settings, CANARY, by="tests")
    assert [] == traces(database_url, Path(lake.root), CANARY)


def test_what_was_refused_of_a_person_is_deleted(
    held: Postgres, lake: Lake, settings: Settings, database: psycopg.Connection[Any], database_url: str
) -> None:
    database.execute(
        "insert into operations.deliveries (source, idempotency_key, event_type, payload, status, reason, settled_at, "
        "scheme, signed_by) values ('stripe', 'k', 'stripe.event', %s, 'rejected', 'why', now(), 'sha256', 'us')",
        [json.dumps({"event_type": "stripe.event", "data": {"object": {"client_reference_id": CANARY}}})],
    )
    erase(held, lake, settings, CANARY, by="tests")
    assert [] == traces(database_url, Path(lake.root), CANARY)


def test_two_erased_authors_keep_their_places_apart(held: Postgres, lake: Lake, settings: Settings) -> None:
    """The boards have their ranks and nobody's names; nobody is told of such a place."""
    for person in (CANARY, OTHER):
        erase(held, lake, settings, person, by="tests")
    places = rows_of(held, "select rank, subject_id from community.leaderboard_snapshots order by rank")
    assert [1, 2] == [rank for rank, _ in places]
    assert 2 == len({subject for _, subject in places if subject.startswith("erased:")})
    told = "select community.notify_leaderboards('2026-03-05', 10, '2026-03-06')"
    assert [(0,)] == [tuple(row) for row in rows_of(held, told)]


def test_days_of_an_erased_author_are_built_again(held: Postgres, lake: Lake, settings: Settings) -> None:
    """Of whoever built one with what it had read before."""
    erase(held, lake, settings, CANARY, by="tests")
    marked = rows_of(held, "select table_name, day::text from community.dirty_days where reason = 'erasure' order by 1")
    assert [("donations", "2026-03-05"), ("rules", "2026-03-05")] == [tuple(row) for row in marked]


def test_others_keep_what_is_theirs(held: Postgres, lake: Lake, settings: Settings, database_url: str) -> None:
    deliver(held, intent(pi="pi_4", metadata={**GIVEN, "donorId": OTHER, "donorName": "", "message": ""}))
    apply_donations(held, run_id="run-2")
    erase(held, lake, settings, CANARY, by="tests")
    kept = {"community.donations", "community.donation_facts", "operations.deliveries"}
    assert kept | {"community.leaderboard_snapshots"} == set(traces(database_url, Path(lake.root), OTHER))


def test_everything_held_is_handed_over(held: Postgres, lake: Lake) -> None:
    """To a donor their donation; to an author the donation without its donor. Not where it is told, which is a key."""
    records = list(export(held, lake, CANARY, by="tests"))
    parts = ["donations", "donations", "donation_facts", "rules", "rule_events", "author_metrics", "places"]
    assert [*parts, "notifications", "notification_preferences"] == [it.part for it in records]
    given, received = (it.content for it in records[:2])
    assert (CANARY, GIVEN["message"]) == (given["donor_id"], given["message"])
    assert "bob" not in json.dumps(received)
    assert "target" not in records[-1].content
    assert records[2:] == list(export(held, lake, CANARY, by="tests", after=records[1]))


def test_the_intake_can_hand_over_and_not_look(held: Postgres, database_url: str) -> None:
    """The HTTP process has a function for one person, and no right to the table."""
    url = database_url.replace("postgres@", "pipeline_intake@", 1)
    with psycopg.connect(url, autocommit=True) as intake:
        rows = intake.execute("select content from community.held_about(%s, 'donations')", [CANARY]).fetchall()
        assert 2 == len(rows)
        for statement in ("select * from community.donations", "select community.forget_person('x', 'erase')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                intake.execute(statement.encode())
