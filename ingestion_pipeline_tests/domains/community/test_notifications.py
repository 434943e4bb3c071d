"""What authors are told, when, and how often: receivers on loopback, time passed in."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pytest_httpserver import HTTPServer

from ingestion_pipeline.domains.community.notifications import (
    BOARD_DAYS,
    FIRST_RETRY,
    GIVEN_UP_ALERT,
    LEASE,
    LONGEST_RETRY,
    MOST_ATTEMPTS,
    MOST_ROWS,
    MOST_SINGLES,
    Sent,
    announce_boards,
    announce_donations,
    announce_milestones,
    send_due,
)
from ingestion_pipeline.providers.alert_sender import REFUSED
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.alerts import open_alerts
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import free_port
from ingestion_pipeline_tests.domains.community.boards import Metric, Rule, store_metrics, store_rules
from ingestion_pipeline_tests.domains.community.outbox import (
    NOON,
    PERSON,
    Receiver,
    donate,
    notify,
    prefer,
    rows,
)
from ingestion_pipeline_tests.domains.community.test_leaderboard_store import build

HOUR, ONE_DAY = timedelta(hours=1), timedelta(days=1)
MIDNIGHT, MONDAY = datetime(2026, 3, 4, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)

Send = Callable[..., Sent]


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def receiver(httpserver: HTTPServer) -> Receiver:
    return Receiver(httpserver)


@pytest.fixture
def send(postgres: Postgres, settings: Settings) -> Send:
    def send_at(at: datetime = NOON, **over: Any) -> Sent:
        return send_due(postgres, settings, **{"may_be_private": True, "now": at, **over})

    return send_at


def test_a_paid_donation_is_told_once(
    postgres: Postgres, owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """To its author, with amount and donor; however often we look, and whatever becomes of it later."""
    prefer(owner, receiver.url)
    donate(owner, "pi_1", donor_name="Grace Hopper")
    assert [1, 0] == [announce_donations(postgres, now=NOON) for _ in range(2)]
    assert Sent(1, 1, 0, 0) == send()
    for status, refunded in (("partially_refunded", 5), ("refunded", 12.5), ("paid", 0)):
        donate(owner, "pi_1", status=status, refunded=refunded)
        assert 0 == announce_donations(postgres, now=NOON)
    assert Sent() == send()
    assert [
        {
            "severity": "info",
            "message": "Grace Hopper donated 12.50 USD for rule-1.",
            "context": {"notification": "new_donation", "idempotency_key": "new_donation:pi_1"},
            "at": NOON.isoformat(),
        }
    ] == receiver.bodies
    assert [(NOON, None, 1)] == [(it["sent_at"], it["due_at"], it["attempts"]) for it in rows(owner)]


@pytest.mark.parametrize(
    "over",
    [
        {"status": "pending", "paid_at": None, "received": 0},
        {"status": "refunded", "refunded": 12.5},
        {"status": "disputed", "disputed": 12.5},
        {"author_id": None},
        {"author_id": "x" * 201},
        {"is_live": False},
        {"paid_at": NOON - timedelta(days=8)},
    ],
    ids=["unpaid", "refunded", "disputed", "nobody's", "absurd", "test mode", "old"],
)
def test_what_is_no_new_donation_is_not_told(
    postgres: Postgres, owner: psycopg.Connection[Any], over: dict[str, Any]
) -> None:
    donate(owner, "pi_1", **over)
    assert 0 == announce_donations(postgres, now=NOON)


@pytest.mark.parametrize(
    ("donation", "said"),
    [
        ({"is_anonymous": True}, "Somebody donated 12.50 USD for rule-1."),
        ({"currency": "JPY", "received": "500"}, "Somebody donated 500 JPY for rule-1."),
        ({"currency": "KWD", "received": "1.234"}, "Somebody donated 1.234 KWD for rule-1."),
        ({"rule_id": None, "donor_name": "Ünal O'Neil"}, "Ünal O'Neil donated 12.50 USD."),
        ({"donor_name": "<!channel> @all https://evil.example/x"}, "channel all https evil example x donated"),
        ({"donor_name": "\x07\x1b[0m"}, "0m donated 12.50"),
        ({"donor_name": "N" * 500}, f"{'N' * 60} donated"),
        ({"rule_id": "x. @all https://evil.example/ <!channel>"}, "Somebody donated 12.50 USD for x. all https evil"),
        ({"rule_id": "r" * 500}, f"Somebody donated 12.50 USD for {'r' * 60}."),
        ({"rule_id": "<@!>"}, "Somebody donated 12.50 USD."),
    ],
)
def test_donors_and_rules_are_named_and_no_more(
    postgres: Postgres,
    owner: psycopg.Connection[Any],
    receiver: Receiver,
    send: Send,
    donation: dict[str, Any],
    said: str,
) -> None:
    """As donors wish. A name is a name: no mention, no link."""
    prefer(owner, receiver.url)
    donate(owner, "pi_1", **donation)
    announce_donations(postgres, now=NOON)
    send()
    assert receiver.texts[0].startswith(said)


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Test first", "Your rule Test first is number 1"),
        ("x. @all https://evil.example/ <!channel>", "Your rule x. all https evil example channel is number 1"),
        (None, "Your rule r 1 is number 1"),
        ("<@!>", "Your rule is number 1"),
    ],
)
def test_titles_of_rules_are_words(
    owner: psycopg.Connection[Any], receiver: Receiver, send: Send, title: str | None, said: str
) -> None:
    """Whoever publishes a rule says whose it is: what they call it is no mention and no link to the author."""
    prefer(owner, receiver.url)
    place = {"day": "2026-03-01", "period": "DAILY", "kind": "RULE", "subjectId": "r@1", "title": title, "rank": 1}
    owner.execute("select community.notify('key', %s, 'leaderboard_entry', %s, %s)", [PERSON, Jsonb(place), NOON])
    send()
    assert [f"{said} of the daily board of rules (2026-03-01)."] == receiver.texts


def test_people_get_sentences(owner: psycopg.Connection[Any], httpserver: HTTPServer, send: Send) -> None:
    """Through Apprise: no key, which has the id of a rule as its author spelled it."""
    httpserver.expect_request("/apprise").respond_with_data("")
    prefer(owner, f"json://127.0.0.1:{httpserver.port}/apprise")
    rule = "@all https://evil.example/"
    place = {"day": "2026-03-01", "period": "DAILY", "kind": "RULE", "subjectId": rule, "title": "R", "rank": 1}
    key = f"leaderboard_entry:2026-03-01:DAILY:RULE:{rule}"
    owner.execute("select community.notify(%s, %s, 'leaderboard_entry', %s, %s)", [key, PERSON, Jsonb(place), NOON])
    assert Sent(1, 1, 0, 0) == send()
    assert ["Your rule R is number 1 of the daily board of rules (2026-03-01)."] == [
        request.get_json()["message"] for request, _ in httpserver.log
    ]


def test_a_donor_who_becomes_anonymous_before_it_is_said_stays_unnamed(
    postgres: Postgres, owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """The outbox holds no names."""
    prefer(owner, receiver.url, digest="daily")
    donate(owner, "pi_1", donor_name="Grace", donor_id="grace-id")
    announce_donations(postgres, now=NOON)
    assert "race" not in str(rows(owner))
    donate(owner, "pi_1", donor_name=None, donor_id=None, is_anonymous=True)
    send(MIDNIGHT)
    assert ["Somebody donated 12.50 USD for rule-1."] == receiver.texts


def test_who_comes_among_the_first_ten_is_told(
    postgres: Postgres, lake: Lake, owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """Once a board: not who stays there, not below the tenth place, not of the running day, nor of a backfilled one."""
    day = date(2026, 3, 1)
    rules = [Rule(f"rule-{n:02}", f"author-{n:02}") for n in range(12)]
    store_rules(owner, rules)
    for age, best in ((1, 0), (0, 1)):
        metrics = [
            Metric(rule.rule_id, day - age * ONE_DAY, views=20 - n if (n, best) != (11, 1) else 90)
            for n, rule in enumerate(rules)
        ]
        store_metrics(owner, metrics, rules)
    build(postgres, lake, day - ONE_DAY, day)
    at = datetime(2026, 3, 2, 1, tzinfo=UTC)
    days = [day - timedelta(days=9), day - ONE_DAY, day, at.date()]
    assert announce_boards(postgres, [day], now=datetime(2026, 3, 1, 23, tzinfo=UTC)) == 0
    assert announce_boards(postgres, [day], now=at + BOARD_DAYS + ONE_DAY) == 0
    first = announce_boards(postgres, days, now=at)
    daily = [
        (it["person_id"], it["payload"]["kind"], it["payload"]["day"])
        for it in rows(owner)
        if it["payload"]["period"] == "DAILY"
    ]
    tops = [(f"author-{n:02}", kind, "2026-02-28") for n in range(10) for kind in ("AUTHOR", "RULE")]
    assert sorted([*tops, *(("author-11", kind, "2026-03-01") for kind in ("AUTHOR", "RULE"))]) == sorted(daily)
    assert first == len(rows(owner))
    assert 0 == announce_boards(postgres, days, now=at)
    build(postgres, lake, day - ONE_DAY, day)
    assert 0 == announce_boards(postgres, days, now=at)


def test_milestones_are_told_once_and_only_the_highest(
    postgres: Postgres, owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """Who falls below one is not told again, nor of a lower one."""
    prefer(owner, receiver.url)
    rules = [Rule("r", PERSON)]
    old, today = NOON.date() - timedelta(days=40), NOON.date()

    def viewed(*counts: int, donations: int = 0) -> int:
        metrics = [Metric("r", day, views=count) for day, count in zip((old, today), counts, strict=True)]
        store_metrics(owner, metrics, rules, donations)
        return announce_milestones(postgres, now=NOON)

    told = [viewed(90, 9), viewed(90, 10), viewed(90, 11), viewed(5000, 0), viewed(50, 60), viewed(9000, 999)]
    assert [0, 1, 0, 1, 0, 0] == told
    assert [1, 0] == [viewed(9000, 999, donations=5), viewed(9000, 999, donations=6)]
    send()
    assert {
        "Your rules have been viewed 100 times.",
        "Your rules have been viewed 1,000 times.",
        "You have received 10 donations.",
    } == set(receiver.texts)


def test_who_was_not_there_lately_is_told_no_milestone(postgres: Postgres, owner: psycopg.Connection[Any]) -> None:
    store_metrics(owner, [Metric("r", NOON.date() - timedelta(days=3), views=500)], [Rule("r", PERSON)])
    assert 0 == announce_milestones(postgres, now=NOON)


@pytest.mark.parametrize("preferences", [{"muted": True}, {"kinds": ["new_donation"]}, {"kinds": []}])
def test_what_is_not_wanted_is_kept_and_not_sent(
    owner: psycopg.Connection[Any], receiver: Receiver, send: Send, preferences: dict[str, Any]
) -> None:
    """Nor later, when it is wanted again."""
    prefer(owner, receiver.url, **preferences)
    assert notify(owner, "a")
    prefer(owner, receiver.url)
    assert Sent() == send(NOON + ONE_DAY)
    assert [None] == [it["due_at"] for it in rows(owner)]


def test_without_a_target_there_is_nobody_to_send_to(
    owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """Neither without preferences; and a target that is set later does not bring what was before."""
    notify(owner, "a")
    prefer(owner, None)
    notify(owner, "b")
    prefer(owner, receiver.url)
    notify(owner, "c")
    assert Sent(1, 1, 0, 0) == send()
    assert ["c"] == receiver.keys


@pytest.mark.parametrize(("digest", "due"), [("daily", MIDNIGHT), ("weekly", MONDAY)])
def test_a_digest_is_one_message_of_what_happened_since_the_last(
    owner: psycopg.Connection[Any], receiver: Receiver, send: Send, digest: str, due: datetime
) -> None:
    """At midnight or on Monday, UTC; what comes later is in the next."""
    prefer(owner, receiver.url, digest=digest)
    for key, at in (("a", NOON), ("b", due - timedelta(seconds=1)), ("c", due)):
        notify(owner, key, at=at)
    assert Sent() == send(due - timedelta(seconds=1))
    assert Sent(2, 1, 0, 0) == send(due)
    assert Sent() == send(due + HOUR)
    line = "- Your rules have been viewed 100 times."
    assert [f"2 news:\n{line}\n{line}"] == receiver.texts
    assert ("digest", "2") == tuple(receiver.bodies[0]["context"][name] for name in ("notification", "count"))
    assert 1 == send(due + 7 * ONE_DAY).claimed_count


def test_a_burst_is_one_message(owner: psycopg.Connection[Any], receiver: Receiver, send: Send) -> None:
    """More than a few at once; others are not held up by it."""
    prefer(owner, receiver.url)
    prefer(owner, receiver.url, person="grace")
    for number in range(MOST_ROWS + 20):
        notify(owner, f"a{number:04}", at=NOON + timedelta(seconds=number))
    for number in range(MOST_SINGLES):
        notify(owner, f"g{number}", person="grace")
    assert Sent(MOST_ROWS + MOST_SINGLES, 1 + MOST_SINGLES, 0, 0) == send(NOON + HOUR)
    assert Sent(20, 1, 0, 0) == send(NOON + HOUR)
    assert {str(MOST_ROWS), "20"} == {body["context"].get("count") for body in receiver.bodies} - {None}
    assert f"{MOST_ROWS} news:" in "".join(receiver.texts)


def test_a_target_that_is_down_is_tried_again_and_given_up_with_an_alert(
    postgres: Postgres, owner: psycopg.Connection[Any], send: Send
) -> None:
    """With growing pauses; another person is served meanwhile."""
    prefer(owner, f"http://127.0.0.1:{free_port()}/")
    notify(owner, "a")
    at, tries = NOON, []
    while not tries or not tries[-1].given_up_count:
        tries.append(send(at))
        assert 1 == tries[-1].failed_count
        wait = min(FIRST_RETRY * 2 ** (len(tries) - 1), LONGEST_RETRY)
        if not tries[-1].given_up_count:
            assert {} == open_alerts(postgres)
            assert Sent() == send(at + wait - timedelta(seconds=1))
        at += wait
    assert MOST_ATTEMPTS == len(tries)
    (row,) = rows(owner)
    assert (None, None, "ConnectError") == (row["due_at"], row["sent_at"], row["last_error"])
    assert row["given_up_at"] is not None
    assert {GIVEN_UP_ALERT} == set(open_alerts(postgres))
    assert Sent() == send(at + ONE_DAY)


def test_a_digest_that_was_refused_is_sent_again_as_the_same_message(
    owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """With the same key and the same text, though there is more to tell by then."""
    prefer(owner, receiver.url, digest="daily")
    for key in "ab":
        notify(owner, key)
    receiver.status = 503
    assert Sent(2, 1, 2, 0) == send(MIDNIGHT)
    owner.execute("update community.notifications set digest = 'none'")  # not planned anew: it was tried
    notify(owner, "c", at=MIDNIGHT - HOUR)
    receiver.status = 200
    assert Sent(3, 2, 0, 0) == send(MIDNIGHT + FIRST_RETRY)
    first, *again = receiver.bodies
    assert 1 == again.count(first)
    assert 2 == len(again)


def test_preferences_that_change_plan_anew_what_waits(
    owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """From a digest to at once, back, and to silence."""
    prefer(owner, receiver.url, digest="weekly")
    notify(owner, "a")
    due = []
    for preferences in ({}, {"digest": "daily"}, {"muted": True}, {}):
        prefer(owner, receiver.url, **preferences)  # type: ignore[arg-type]
        due += [it["due_at"] for it in rows(owner)]
    assert [NOON, MIDNIGHT, None, None] == due


def test_who_is_silenced_while_it_is_sent_is_left_in_peace(
    owner: psycopg.Connection[Any], receiver: Receiver, send: Send
) -> None:
    """What a dead sender had claimed is not sent any more."""
    prefer(owner, receiver.url)
    notify(owner, "a")
    owner.execute("select community.claim_notifications(1, 1, 1, '2 minutes', %s)", [NOON])
    prefer(owner, receiver.url, muted=True)
    assert Sent() == send(NOON + ONE_DAY)


def test_a_person_whose_preferences_are_gone_is_given_up(owner: psycopg.Connection[Any], send: Send) -> None:
    prefer(owner, "https://a.example/")
    notify(owner, "a")
    owner.execute("delete from community.notification_preferences")
    assert Sent(1, 1, 1, 1) == send()
    assert Sent() == send(NOON + ONE_DAY)


def test_private_addresses_are_refused_whatever_alerts_may(
    owner: psycopg.Connection[Any], receiver: Receiver, postgres: Postgres, worker_url: str
) -> None:
    """ALERT_PRIVATE_TARGETS is the operators' own; the receiver, which listens, hears nothing."""
    prefer(owner, receiver.url)
    notify(owner, "a")
    settings = Settings.from_environment({"DATABASE_URL": worker_url, "ALERT_PRIVATE_TARGETS": "true"})
    assert Sent(1, 1, 1, 0) == send_due(postgres, settings, now=NOON)
    assert [] == receiver.bodies
    assert [REFUSED] == [it["last_error"] for it in rows(owner)]


def test_many_persons_are_served_some_at_a_time(owner: psycopg.Connection[Any], receiver: Receiver, send: Send) -> None:
    """Whoever waits longest first; each with a target of their own."""
    for number in range(60):
        prefer(owner, f"{receiver.url}?person={number}", person=f"p{number:02}")
        notify(owner, f"k{number:02}", person=f"p{number:02}", at=NOON + timedelta(seconds=number))
    assert [50, 10, 0] == [send(NOON + HOUR).claimed_count for _ in range(3)]
    assert [f"k{number:02}" for number in range(50)] == sorted(receiver.keys[:50])
    assert 60 == len(set(receiver.keys))


def test_a_claim_is_not_given_twice(owner: psycopg.Connection[Any], receiver: Receiver, send: Send) -> None:
    """Until its lease is over; a settlement of an old claim changes nothing."""
    prefer(owner, receiver.url)
    notify(owner, "a")
    claim = "select id, lease_until from community.claim_notifications(9, 9, 5, %s, %s)"
    ((id_, lease),) = owner.execute(claim, [LEASE, NOON]).fetchall()
    assert [] == owner.execute(claim, [LEASE, NOON + LEASE - timedelta(seconds=1)]).fetchall()
    assert 1 == send(NOON + LEASE).message_count
    settle = "select community.settle_notifications(%s::uuid[], %s, 'late', %s, %s)"
    assert (0,) == owner.execute(settle, [[id_], lease, NOON, NOON]).fetchone()
