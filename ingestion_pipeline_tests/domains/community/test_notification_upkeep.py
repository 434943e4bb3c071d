"""What becomes of notifications that are not sent: given up, kept together, removed when they are old."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from pytest_httpserver import HTTPServer

from ingestion_pipeline.domains.community.notifications import (
    FIRST_RETRY,
    GIVEN_UP_ALERT,
    KEPT,
    LEASE,
    MOST_ATTEMPTS,
    SENDER_DIED,
    Sent,
    announce_donations,
    announce_milestones,
    remove_old,
    send_due,
)
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.alerts import open_alerts
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.domains.community.boards import Metric, Rule, store_metrics
from ingestion_pipeline_tests.domains.community.outbox import NOON, PERSON, Receiver, donate, notify, prefer, rows

Send = Callable[[datetime], Sent]
Statement = tuple[str, list[Any]]

HOUR, ONE_DAY = timedelta(hours=1), timedelta(days=1)
MIDNIGHT = datetime(2026, 3, 4, tzinfo=UTC)
YESTERDAY = NOON.date() - ONE_DAY
FORGET: Statement = ("select community.forget_person(%s, 'erase')", [PERSON])
ANNOUNCEMENTS: Sequence[Statement] = (
    ("select community.notify_donations(%s, %s)", [NOON - ONE_DAY, NOON]),
    ("select community.notify_leaderboards(%s, 10, %s)", [YESTERDAY, NOON]),
    ("select community.notify_milestones(%s, %s)", [YESTERDAY, NOON]),
)
PLACE = """
insert into community.leaderboard_snapshots (
    day, period, kind, scope, scope_value, rank, subject_id, score, points, views
) values (%s, 'DAILY', 'AUTHOR', 'GLOBAL', '', 1, %s, 1, 1, 1)
"""


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def receiver(httpserver: HTTPServer) -> Receiver:
    return Receiver(httpserver)


@pytest.fixture
def send(postgres: Postgres, settings: Settings) -> Send:
    return lambda at: send_due(postgres, settings, may_be_private=True, now=at)


def test_what_kills_its_senders_is_given_up(
    postgres: Postgres, owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """A claim that is never settled counts as an attempt; the last one is not the first of many, and is told."""
    prefer(owner, receiver.url)
    notify(owner, "a")
    at = NOON
    for _ in range(MOST_ATTEMPTS):
        claimed = owner.execute("select id from community.claim_notifications(9, 9, 5, %s, %s)", [LEASE, at]).fetchall()
        assert 1 == len(claimed)
        assert Sent() == send(at)
        at += LEASE
    assert Sent(given_up_count=1) == send(at)
    assert [] == receiver.bodies
    assert [(None, None, at, SENDER_DIED)] == [
        (it["due_at"], it["lease_until"], it["given_up_at"], it["last_error"]) for it in rows(owner)
    ]
    assert GIVEN_UP_ALERT in open_alerts(postgres)
    assert Sent() == send(at + ONE_DAY)


def test_a_batch_that_was_tried_stays_whole_whatever_kinds_are_wanted_then(
    owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """The same key says the same; what was not tried in a batch follows the wish."""
    prefer(owner, receiver.url, digest="daily")
    donate(owner, "pi_1")
    owner.execute("select community.notify_donations(%s, %s)", [NOON - ONE_DAY, NOON])
    notify(owner, "a")
    receiver.status = 503
    send(MIDNIGHT)
    prefer(owner, receiver.url, digest="daily", kinds=["new_donation"])
    receiver.status = 200
    assert Sent(2, 1, 0, 0) == send(MIDNIGHT + FIRST_RETRY)
    first, again = receiver.bodies
    assert first == again


def test_what_is_over_for_a_year_is_removed_and_not_told_again(
    postgres: Postgres, owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """What waits stays, and of milestones the highest: a lower one is no news."""
    for views in (100, 1000):
        store_metrics(owner, [Metric("rule-1", NOON.date(), views=views)], [Rule("rule-1")])
        assert 1 == announce_milestones(postgres, now=NOON)
    donate(owner, "pi_1")
    assert 1 == announce_donations(postgres, now=NOON)
    prefer(owner, receiver.url, digest="weekly", at=NOON + KEPT)
    notify(owner, "waits", at=NOON)
    assert 0 == remove_old(postgres, now=NOON + KEPT)
    later = NOON + KEPT + timedelta(seconds=1)
    assert 2 == remove_old(postgres, now=later)
    assert {"milestone:views:1000:ada", "waits"} == {it["idempotency_key"] for it in rows(owner)}
    assert (0, 0) == (announce_milestones(postgres, now=NOON), announce_donations(postgres, now=later))


def test_what_is_claimed_from_a_person_holds_back_the_rest(postgres: Postgres, owner: psycopg.Connection[Any]) -> None:
    """Nothing is said to be due that no sender would get."""

    def pending(at: datetime) -> int:
        return len(postgres.read("community_notifications_pending", {"now": at, "since": at}))

    prefer(owner, "https://a.example/")
    notify(owner, "a")
    owner.execute("select community.claim_notifications(9, 9, 5, %s, %s)", [LEASE, NOON])
    notify(owner, "b")
    assert [0, 1] == [pending(at) for at in (NOON + HOUR / 3600, NOON + LEASE)]


@pytest.mark.parametrize("order", [1, -1], ids=["erased first", "told first"])
@pytest.mark.parametrize("announcement", ANNOUNCEMENTS, ids=["donations", "leaderboards", "milestones"])
def test_who_is_erased_while_news_are_looked_for_is_told_nothing(
    owner: psycopg.Connection[Any], database_url: str, announcement: Statement, order: int
) -> None:
    """Whichever of the two is not committed yet, the other waits for it, and then sees what it did."""
    donate(owner, "pi_1")
    store_metrics(owner, [Metric("rule-1", YESTERDAY, views=100)], [Rule("rule-1")])
    owner.execute(PLACE, [YESTERDAY, PERSON])
    first, second = (FORGET, announcement)[::order]
    with (
        psycopg.connect(database_url) as one,
        psycopg.connect(database_url, autocommit=True) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        one.execute(first[0].encode(), first[1])
        then = pool.submit(other.execute, second[0].encode(), second[1])
        waiting = "select from pg_locks where locktype = 'advisory' and not granted"
        until(lambda: then.done() or bool(owner.execute(waiting).fetchall()))
        one.commit()
        then.result(60)
    assert [] == rows(owner)
