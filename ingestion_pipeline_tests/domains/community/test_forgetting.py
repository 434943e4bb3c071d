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
from ingestion_pipeline.domains.community.leaderboard_reads import KEYS, SERVICE
from ingestion_pipeline.domains.community.rules import apply_days
from ingestion_pipeline.domains.events.erasure import Mode, erase
from ingestion_pipeline.domains.events.export import export
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.orchestration.partitions import DAILY
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.rolled import prepare
from ingestion_pipeline_tests.domains.community.stripe_events import (
    METADATA,
    charge_refunded,
    deliver,
    dropped,
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
def held(postgres: Postgres, database: psycopg.Connection[Any], database_url: str) -> Postgres:
    prepare(database_url)
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


@pytest.mark.parametrize("mode", ["erase", "anonymise"])
def test_a_rule_of_an_erased_author_is_not_its_former_authors(
    postgres: Postgres, lake: Lake, settings: Settings, mode: Mode
) -> None:
    """Neither at once nor when its events are read again: it is nobody's, until somebody says whose it is."""

    def author() -> list[Any]:
        list(apply_days(postgres, lake, SPAN))
        return rows_of(postgres, "select author_id from community.rules")

    history = [said("rule.published", "r", 400, "ed"), said("rule.updated", "r", 5, authorId=CANARY)]
    lake.replace(EVENT_HISTORY, make_events(*history, said("rule.updated", "r", 4, title="New")), SPAN)
    assert [(CANARY,)] == author()
    erase(postgres, lake, settings, CANARY, mode=mode, by="tests")
    assert [(None,)] == rows_of(postgres, "select author_id from community.rules")
    assert [(None,)] == author()
    newest = said("rule.updated", "r", 2, authorId="bob")
    lake.replace(EVENT_HISTORY, make_events(newest), Window.of_days(newest["day"], newest["day"]))
    assert [("bob",)] == author()


def test_only_boards_of_labels_that_nobody_else_uses_are_removed(database: psycopg.Connection[Any]) -> None:
    """A tag that is another rule's model is not in use as a tag, and the other way round."""
    for rule, who, tags, model in (("own", CANARY, '["sql", "x", "y"]', "y"), ("other", OTHER, '["sql", "y"]', "x")):
        database.execute(
            "insert into community.rule_events (event_id, day, rule_id, event_type, occurred_at, user_id, title, tags, "
            "model) values (%s, current_date, %s, 'rule.published', now(), %s, 'T', %s, %s)",
            [rule, rule, who, tags, model],
        )
    database.execute("select community.remake_rules('{own,other}')")
    for scope, value in (
        ("GLOBAL", ""),
        *((scope, value) for scope in ("TAG", "MODEL") for value in ("sql", "x", "y")),
    ):
        database.execute(
            "insert into community.leaderboard_snapshots (day, period, kind, scope, scope_value, rank, subject_id, score, "
            "points, views) select '2026-03-05', 'DAILY', kind, %s, %s, rank, rank::text, 1, 1, 1 "
            "from unnest('{RULE,AUTHOR}'::text[]) as kind, generate_series(1, 2) as rank",
            [scope, value],
        )
    database.execute("select community.forget_person(%s, 'erase')", [CANARY])
    left = database.execute(
        "select scope, scope_value, count(*) from community.leaderboard_snapshots group by 1, 2 order by 1, 2"
    ).fetchall()
    kept = [("GLOBAL", ""), ("MODEL", "sql"), ("MODEL", "x"), ("TAG", "sql"), ("TAG", "y")]
    assert [(*board, 4) for board in kept] == left


WITH_A_RULE = """
insert into community.rule_events (event_id, day, rule_id, event_type, occurred_at, user_id, title)
values ('own', '2026-03-05', 'own', 'rule.published', now(), 'with-a-rule', 'T')
"""


@pytest.mark.parametrize(("person", "forgotten"), [(CANARY, [KEYS]), ("with-a-rule", [KEYS]), ("nobody-1", [])])
def test_boards_in_a_cache_are_forgotten(
    held: Postgres, database: psycopg.Connection[Any], person: str, forgotten: list[str]
) -> None:
    """Where the person is on them, or a title of theirs."""
    database.execute(WITH_A_RULE)
    rows_of(held, "select community.forget_person(%s, 'erase')", [person])
    found = rows_of(
        held, "select unnest(cache_keys_invalidated) from operations.ingestion_events where source = %s", [SERVICE]
    )
    assert forgotten == [key for (key,) in found]


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
    """What waited is applied without donor and author, and a refund that repeats them changes the money only.

    Its delivery is kept without them too.
    """
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
    assert [] == traces(database_url, Path(lake.root), CANARY)


def test_what_stripe_says_later_and_is_wrong_names_an_erased_person_no_more(
    held: Postgres, lake: Lake, settings: Settings, database: psycopg.Connection[Any], database_url: str
) -> None:
    """What cannot be applied, and what the webhook refused: it stays, without them, from the next run on."""
    erase(held, lake, settings, CANARY, by="tests")
    wrong = {"metadata": GIVEN, "client_reference_id": CANARY, "amount_total": "12"}
    deliver(held, session(at=50, **wrong), intent(pi="pi_2", at=50, amount_received="12", metadata=RECEIVED))
    refused(database, {"data": {"object": {"payment_intent": "pi_1", **wrong}}})
    assert 2 == apply_donations(held, run_id="run-2").deliveries.dead
    assert [] == traces(database_url, Path(lake.root), CANARY)
    left = rows_of(held, "select status from operations.deliveries where status <> 'processed' order by 1")
    assert [("dead",), ("dead",), ("rejected",)] == [tuple(row) for row in left]


def test_nothing_that_was_dropped_names_an_erased_person(
    held: Postgres, lake: Lake, settings: Settings, database: psycopg.Connection[Any], database_url: str
) -> None:
    """Processed, dead or waiting, in a file that names no source; also what was kept under another one before."""
    dropped(held, intent(pi="pi_5", metadata=GIVEN), intent(pi="pi_6", metadata=GIVEN, amount_received="12"))
    assert 1 == apply_donations(held, run_id="run-2").deliveries.dead
    dropped(held, intent(pi="pi_7", metadata=GIVEN), session(pi="pi_8", metadata=GIVEN))
    database.execute(
        "update operations.deliveries set source = 'files' where origin <> 'http' and idempotency_key = any("
        "select distinct on (status) idempotency_key from operations.deliveries where origin <> 'http')"
    )
    erase(held, lake, settings, CANARY, by="tests")
    apply_donations(held, run_id="run-3")
    assert [] == traces(database_url, Path(lake.root), CANARY)


def test_a_person_is_found_whatever_blanks_stand_around_their_id(
    held: Postgres, lake: Lake, settings: Settings, database_url: str
) -> None:
    """In a fact that another name hides, and in what waits."""
    dropped(
        held, session(pi="pi_5", metadata={"donorId": f"{CANARY} "}), intent(pi="pi_5", metadata={"donorId": "carl"})
    )
    apply_donations(held, run_id="run-2")
    dropped(held, intent(pi="pi_6", metadata={"donorId": f" {CANARY}", "authorId": f"\t{CANARY}"}))
    dropped(held, session(pi="pi_7", metadata={}, client_reference_id=f"{CANARY}\n"))
    erase(held, lake, settings, CANARY, by="tests")
    apply_donations(held, run_id="run-3")
    assert [] == traces(database_url, Path(lake.root), CANARY)


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


def refused(database: psycopg.Connection[Any], data: Any, *, source: str = "stripe") -> None:
    """A delivery of Stripe's type that is kept as rejected."""
    database.execute(
        "insert into operations.deliveries (source, idempotency_key, event_type, payload, status, reason, settled_at, "
        "scheme, signed_by) values (%s, 'k', 'stripe.event', %s, 'rejected', 'why', now(), 'sha256', %s)",
        [
            source,
            json.dumps({"event_type": "stripe.event", "data": data}),
            "STRIPE_WEBHOOK_SECRET 1" if source == "stripe" else "WEBHOOK_SECRET 1",
        ],
    )


def test_what_was_refused_of_a_person_is_deleted(
    held: Postgres, lake: Lake, settings: Settings, database: psycopg.Connection[Any], database_url: str
) -> None:
    for source in ("stripe", "files", "webhook"):
        refused(database, {"object": {"client_reference_id": CANARY}}, source=source)
    erase(held, lake, settings, CANARY, by="tests")
    assert [] == traces(database_url, Path(lake.root), CANARY)


@pytest.mark.parametrize("metadata", [[], ["x"], "x", 1, None])
def test_a_payment_that_was_forgotten_may_come_with_any_metadata(
    held: Postgres, lake: Lake, settings: Settings, database: psycopg.Connection[Any], metadata: Any
) -> None:
    """As PHP writes an empty object: donations go on being applied, and others go on being erased."""
    erase(held, lake, settings, CANARY, by="tests")
    refused(database, {"data": {"object": {"payment_intent": "pi_1", "metadata": metadata}}})
    dropped(held, charge_refunded(1000, metadata=metadata), intent(pi="pi_9"))
    apply_donations(held, run_id="run-2")
    assert "pi_9" in {row[0] for row in money(held)}
    assert erase(held, lake, settings, OTHER, by="tests").user_id is None


@pytest.mark.parametrize("payment_intent", ["", "x" * 10_000, {}, [], 7])
def test_what_was_refused_forgets_no_payment_that_is_none(
    held: Postgres,
    lake: Lake,
    settings: Settings,
    database: psycopg.Connection[Any],
    database_url: str,
    payment_intent: Any,
) -> None:
    """Anybody with a secret of their own may have sent it: the person is erased, and others keep what is theirs."""
    theirs = {"payment_intent": payment_intent, "client_reference_id": OTHER, "metadata": {"donorName": "Bob"}}
    refused(database, {"data": {"object": {"payment_intent": payment_intent, "client_reference_id": CANARY}}})
    refused(database, {"data": {"object": theirs}}, source="files")
    erase(held, lake, settings, CANARY, by="tests")
    apply_donations(held, run_id="run-2")
    assert [] == traces(database_url, Path(lake.root), CANARY)
    assert [(theirs,)] == database.execute(
        "select payload #> '{data,data,object}' from operations.deliveries where status = 'rejected'"
    ).fetchall()


def test_nobody_else_has_a_donor_forgotten(
    held: Postgres, lake: Lake, settings: Settings, database: psycopg.Connection[Any]
) -> None:
    """An event with another secret names the payment of one person and the id of another, who is then erased."""
    deliver(held, session(pi="pi_5", client_reference_id=OTHER), intent(pi="pi_5", metadata={}))
    refused(database, {"data": {"object": {"payment_intent": "pi_5", "client_reference_id": CANARY}}}, source="acme")
    apply_donations(held, run_id="run-2")
    erase(held, lake, settings, CANARY, by="tests")
    donors = "select donor_id from community.donations where payment_intent = 'pi_5'"
    assert [(METADATA["donorId"],)] == [tuple(row) for row in rows_of(held, donors)]


def test_refused_events_of_payments_that_are_not_forgotten_are_left_alone(
    held: Postgres, lake: Lake, settings: Settings, database: psycopg.Connection[Any]
) -> None:
    """They are not even locked, which would write all of them at every run."""
    erase(held, lake, settings, CANARY, by="tests")
    for source, payment_intent in (("stripe", "pi_1"), ("files", "pi_9")):
        refused(database, {"data": {"object": {"payment_intent": payment_intent}}}, source=source)
    apply_donations(held, run_id="run-2")
    is_locked = "select xmax::text <> '0' from operations.deliveries where status = 'rejected' order by source desc"
    assert [(True,), (False,)] == database.execute(is_locked).fetchall()


def test_a_checkout_without_a_payment_names_an_erased_person_no_more(
    held: Postgres, lake: Lake, settings: Settings, database_url: str
) -> None:
    """Also if nothing else is applied with it."""
    apply_donations(held, run_id="run-2")
    setup = {**SENT, "mode": "setup", "payment_intent": None}
    deliver(held, session(at=20, **setup))
    erase(held, lake, settings, CANARY, by="tests")
    deliver(held, session(at=30, **setup))
    assert 2 == apply_donations(held, run_id="run-3").deliveries.processed
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
    parts = ["donations", "donations", "donation_facts", *["deliveries"] * 3, "rules", "rule_events", "author_metrics"]
    assert [*parts, "places", "notifications", "notification_preferences"] == [it.part for it in records]
    given, received = (it.content for it in records[:2])
    assert (CANARY, GIVEN["message"]) == (given["donor_id"], given["message"])
    assert "bob" not in json.dumps(received)
    assert "target" not in records[-1].content
    assert records[2:] == list(export(held, lake, CANARY, by="tests", after=records[1]))


def test_deliveries_are_held_of_a_donor_whatever_became_of_them(
    held: Postgres, database: psycopg.Connection[Any]
) -> None:
    """Applied, waiting, dead, refused; not those of an author, which name the donor."""
    deliver(held, intent(pi="pi_4", amount_received="12", metadata={**GIVEN, "donorId": OTHER}))
    dropped(held, intent(pi="pi_5", amount_received="12", metadata=GIVEN))
    apply_donations(held, run_id="run-2")
    deliver(held, intent(pi="pi_6", metadata=GIVEN), intent(pi="pi_7", metadata=RECEIVED))
    refused(database, {"data": {"object": {"payment_intent": {}, "metadata": GIVEN}}})
    rows = rows_of(held, "select content from community.held_about(%s, 'deliveries') order by place", [CANARY])
    statuses = sorted(content["status"] for (content,) in rows)
    assert ["dead", "pending", "processed", "processed", "processed", "rejected"] == statuses
    assert all(CANARY in json.dumps(content["payload"]) for (content,) in rows)


def test_the_intake_can_hand_over_and_not_look(held: Postgres, database_url: str) -> None:
    """The HTTP process has a function for one person, and no right to the table."""
    url = database_url.replace("postgres@", "pipeline_intake@", 1)
    with psycopg.connect(url, autocommit=True) as intake:
        rows = intake.execute("select content from community.held_about(%s, 'donations')", [CANARY]).fetchall()
        assert 2 == len(rows)
        for statement in ("select * from community.donations", "select community.forget_person('x', 'erase')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                intake.execute(statement.encode())
