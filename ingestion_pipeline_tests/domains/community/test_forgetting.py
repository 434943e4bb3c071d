"""A person who is erased, or asks for what is held: as a donor, as an author, as one who is told things."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.domains.community.donations_ledger import apply_donations
from ingestion_pipeline.domains.events.erasure import Mode, erase
from ingestion_pipeline.domains.events.export import export
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
from ingestion_pipeline_tests.domains.events.traces import traces

CANARY, OTHER = "person-canary-1", "person-canary-2"
GIVEN = {**METADATA, "donorId": CANARY, "donorName": f"Name of {CANARY}", "message": f"from {CANARY}"}
SENT = {"customer_details": {"name": f"Name of {CANARY}"}, "client_reference_id": CANARY, "metadata": GIVEN}
FIGURES = (
    "insert into community.rules values ('rule-1', %(who)s, 'Title', '', '[]', null, 'published', now(), now(), 'e')",
    "insert into community.rule_events values ('e', '2026-03-05', 'rule-1', 'rule.published', now(), %(who)s, 'Title')",
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
    (
        "insert into community.leaderboard_snapshots (day, period, kind, scope, scope_value, rank, subject_id, score, "
        "points, views) values ('2026-03-05', 'DAILY', 'AUTHOR', 'GLOBAL', '', 1, %(who)s, 1, 1, 1)"
    ),
    "insert into community.notification_preferences (person_id, target) values (%(who)s, 'https://example.org/hook')",
    "select community.notify('key', %(who)s, 'milestone', '{\"metric\": \"views\", \"threshold\": 100}', now())",
)


@pytest.fixture
def database(database_url: str) -> Any:
    """Given by CANARY: one donation that is applied, one that waits. CANARY is the author of a rule, and is told."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def held(postgres: Postgres, database: psycopg.Connection[Any]) -> Postgres:
    deliver(
        postgres, session(**SENT), intent(metadata={}), intent(pi="pi_2", metadata={**METADATA, "authorId": CANARY})
    )
    apply_donations(postgres, run_id="run-1")
    deliver(postgres, session(pi="pi_3", **SENT), intent(pi="pi_3", metadata=GIVEN))
    for statement in FIGURES:
        database.execute(statement.encode(), {"who": CANARY})
    return postgres


def money(postgres: Postgres) -> list[Any]:
    statement = "select payment_intent, received, refunded, net, status, paid_at from community.donations order by 1"
    return rows_of(postgres, statement)


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


def test_what_stripe_says_later_names_an_erased_donor_no_more(
    held: Postgres, lake: Lake, settings: Settings, database_url: str
) -> None:
    """What waited is applied without the donor, and a refund that repeats the donor changes the money only."""
    erase(held, lake, settings, CANARY, by="tests")
    deliver(held, charge_refunded(1000, metadata={**GIVEN, "message": ""}))
    apply_donations(held, run_id="run-2")
    assert [("pi_1", 15), ("pi_2", 25), ("pi_3", 25)] == [(row[0], int(row[3])) for row in money(held)]
    named = rows_of(held, "select donor_id, donor_name, is_anonymous from community.donations order by payment_intent")
    assert [(None, None, True), ("bob", None, False), (None, None, True)] == [tuple(row) for row in named]
    assert [] == [place for place in traces(database_url, Path(lake.root), CANARY) if place != "operations.deliveries"]


def test_others_keep_what_is_theirs(held: Postgres, lake: Lake, settings: Settings, database_url: str) -> None:
    deliver(held, intent(pi="pi_4", metadata={**GIVEN, "donorId": OTHER, "donorName": "", "message": ""}))
    apply_donations(held, run_id="run-2")
    erase(held, lake, settings, CANARY, by="tests")
    assert {"community.donations", "community.donation_facts", "operations.deliveries"} == set(
        traces(database_url, Path(lake.root), OTHER)
    )


def test_everything_held_is_handed_over(held: Postgres, lake: Lake) -> None:
    """To a donor their donation; to an author the donation without its donor."""
    records = list(export(held, lake, CANARY, by="tests"))
    assert ["donations", "donations", "notifications", "notification_preferences"] == [it.part for it in records]
    given, received = (it.content for it in records[:2])
    assert (CANARY, GIVEN["message"]) == (given["donor_id"], given["message"])
    assert "bob" not in json.dumps(received)
    assert records[2:] == list(export(held, lake, CANARY, by="tests", after=records[1]))


def test_the_intake_can_hand_over_and_not_look(held: Postgres, database_url: str) -> None:
    """The HTTP process has a function for one person, and no right to the table."""
    url = database_url.replace("postgres@", "pipeline_intake@", 1)
    with psycopg.connect(url, autocommit=True) as intake:
        rows = intake.execute("select content from community.held_about(%s, 'donations')", [CANARY]).fetchall()
        assert 2 == len(rows)
        for statement in ("select * from community.donations", "select community.forget_person('x')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                intake.execute(statement.encode())
