"""Every claim about rollups: rows that break it, and rows that do not."""

from datetime import timedelta

import pandas as pd
import pytest

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.rollup_checks import (
    impossible_exclusions,
    impossible_trends,
    unequal_authors,
    unequal_days,
    unequal_donations,
    unequal_exclusions,
)
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.rolled import DAY, EVER, event, history

WINDOW = Window.of_days(DAY, DAY + timedelta(days=1))
COUNTS = {"views": 1, "copies": 0, "saves": 0, "forks": 0, "votes_up": 0, "votes_down": 2}


@pytest.mark.parametrize(("score", "broken"), [(5.0, 0), (-5.0, 0), (5.1, 1), (-5.1, 1)])
def test_a_trend_beyond_its_events_is_told(score: float, broken: int) -> None:
    """One view and two votes down are worth five at most, whatever their sign."""
    assert broken == len(impossible_trends(pd.DataFrame([{**COUNTS, "trending_score": score}])))


def test_a_reason_of_the_wrong_kind_is_told() -> None:
    rows = pd.DataFrame(
        [
            {"reason": "view_cap", "events": 2, "views": 2, "votes": 0},
            {"reason": "view_cap", "events": 2, "views": 1, "votes": 1},
            {"reason": "self_vote", "events": 1, "views": 0, "votes": 1},
            {"reason": "self_vote", "events": 1, "views": 1, "votes": 0},
            {"reason": "bot", "events": 2, "views": 1, "votes": 1},
        ]
    )
    assert [1, 3] == impossible_exclusions(rows).index.tolist()


def test_sums_that_are_not_those_of_the_history_are_told(postgres: Postgres, lake: Lake) -> None:
    """By kind: a lost view and a copy too many do not make up for each other."""
    lake.replace(EVENT_HISTORY, history(event(), event(), event("COPY"), event("VOTE"), event("user.login")), EVER)
    rule = "insert into community.rule_metrics_daily values ('2026-03-02', 'r1', 'ada', {}, 0, 0, 1, 0, 1, {}, 1, {})"
    postgres.execute(rule.format("1, 1", 6, 1))
    postgres.execute("insert into community.excluded_events_daily values ('2026-03-02', 'bot', 1, 1, 0, 0, 0, 0)")
    author = (
        "insert into community.author_metrics_daily values ('2026-03-02', 'ada', 1, 1, 1, 0, 0, 1, 0, 6, 1, 0, '{}')"
    )
    postgres.execute(author)
    claims = (unequal_days, unequal_exclusions, unequal_authors)
    assert [[], [], []] == [claim(postgres, lake, WINDOW) for claim in claims]
    postgres.execute("update community.rule_metrics_daily set copies = 2, views = 0, points = 8, excluded_events = 2")
    assert [{"day": DAY, "views": "1 of 2", "copies": "2 of 1"}] == unequal_days(postgres, lake, WINDOW)
    assert [{"day": DAY, "of_rules": 2, "of_reasons": 1}] == unequal_exclusions(postgres, lake, WINDOW)
    assert [{"day": DAY, "author_id": "ada"}] == unequal_authors(postgres, lake, WINDOW)
    postgres.execute("delete from community.rule_metrics_daily")
    assert [{"day": DAY, "views": "1 of 2", "copies": "0 of 1", "votes": "0 of 1"}] == unequal_days(
        postgres, lake, WINDOW
    )


GIFT = (
    "insert into community.donations (payment_intent, author_id, is_anonymous, currency, received, refunded, disputed, "
    "status, paid_at, is_live, updated_at) values "
    "(:id, :author, false, :currency, 25, 0, 0, 'paid', '2026-03-02T10:00Z', :is_live, '2026-03-02T10:00Z')"
)
FIGURES = (
    "insert into community.author_metrics_daily values "
    '(\'2026-03-02\', \'ada\', 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, \'{"USD": "25", "EUR": "25"}\')'
)


def test_donations_that_are_not_the_ledgers_are_told(postgres: Postgres, lake: Lake) -> None:
    """To the cent; a change that is yet to be rolled up explains them. Nobody's, and those of test mode, do not count."""

    def explained() -> list[bool]:
        return [row["is_explained"] for row in unequal_donations(postgres, lake, WINDOW)]

    gifts = [("1", "ada", "USD", True), ("2", "ada", "EUR", True), ("3", None, "USD", True), ("4", "ada", "USD", False)]
    for key, author, currency, is_live in gifts:
        postgres.execute(GIFT, {"id": key, "author": author, "currency": currency, "is_live": is_live})
    assert [False] == explained()
    postgres.execute(FIGURES)
    assert [] == explained()
    postgres.execute("update community.donations set refunded = 0.01 where payment_intent = '2'")
    assert [{"USD": "25", "EUR": "24.99"}] == [it["net_of_ledger"] for it in unequal_donations(postgres, lake, WINDOW)]
    postgres.execute("select community.mark_dirty_days('{2026-03-03}', 'a test')")
    assert [False] == explained()
    postgres.execute("select community.mark_dirty_days('{2026-03-02}', 'a test')")
    assert [True] == explained()
    postgres.execute("delete from community.dirty_days")
    postgres.execute("update community.donations set updated_at = clock_timestamp() where payment_intent = '2'")
    assert [True] == explained()
    postgres.execute("update community.donations set refunded = received, updated_at = '2026-03-02Z'")
    assert [(None, False)] == [
        (it["of_ledger"], it["is_explained"]) for it in unequal_donations(postgres, lake, WINDOW)
    ]
