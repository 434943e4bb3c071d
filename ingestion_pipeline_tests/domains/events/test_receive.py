"""From the bytes of an event to its row or the reason why not: what counts as an event, when it happened, who sent it."""

import json
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ingestion_pipeline.core.ids import time_ordered_ids
from ingestion_pipeline.domains.events.receive import (
    Refusal,
    address_hashes,
    corrected,
    normal_address,
    received,
    reject_of,
)
from ingestion_pipeline.domains.events.schemas import Registry
from ingestion_pipeline.storage.event_entries import Entry
from ingestion_pipeline_tests.hot_log import ADDRESS, KEYS, NOON, HotLog, make_reception, rows

VIEW = {"type": "VIEW", "ruleId": "r1"}
PAYMENT = {"type": "payment.completed", "userId": "u1", "data": {"payment_id": "p1", "amount": 9.5}}
MIDNIGHT = NOON + timedelta(hours=12)
TODAY, TOMORROW = NOON.date(), MIDNIGHT.date()


def the_row(shared_log: HotLog, event: dict[str, Any], **reception: Any) -> dict[str, Any]:
    """The row that `event` becomes."""
    (verdict,) = shared_log.send(event, **reception)
    assert isinstance(verdict, Entry), verdict
    assert ("", "") == (verdict.refused, verdict.first_id)
    (row,) = rows(shared_log.url, "select * from events.event_log where event_id = %s", verdict.event_id)
    return row


def test_every_field_of_an_event_is_kept(shared_log: HotLog) -> None:
    event = {
        **PAYMENT,
        "ruleId": "r1",
        "sessionId": "s1",
        "ts": "2025-03-03T11:59:00+01:00",
        "idempotencyKey": "k",
        "category": "transaction",
        "schemaVersion": 1,
        "context": {"userAgent": "agent", "locale": "de", "screen": {"width": 1}, "ip": "198.51.100.7"},
    }
    row = the_row(shared_log, event, country_of={"198.51.100.7": "CH"}.get)
    assert UUID(str(row.pop("event_id"))).version == 7
    assert len(row.pop("address_hash")) == 32
    assert row.pop("transaction_id")
    assert row == {
        "event_type": "payment.completed",
        "event_category": "transaction",
        "schema_version": 1,
        "user_id": "u1",
        "session_id": "s1",
        "rule_id": "r1",
        "event_data": {"payment_id": "p1", "amount": 9.5},
        "metadata": {"userAgent": "agent", "locale": "de", "screen": {"width": 1}},
        "occurred_at": NOON.replace(hour=10, minute=59),
        "received_at": NOON,
        "clock_skew_seconds": None,
        "idempotency_key": "k",
        "caller": "tests",
        "origin": "http",
        "country": "CH",
        "previous_address_hash": None,
    }


def test_only_the_type_and_what_it_requires_must_be_said(shared_log: HotLog) -> None:
    """The time is then that of reception, the device what the request says, the person nobody."""
    row = the_row(shared_log, VIEW, user_agent="curl/8")
    assert (NOON, {"userAgent": "curl/8"}, {}, None) == (
        row["occurred_at"],
        row["metadata"],
        row["event_data"],
        row["user_id"],
    )


@pytest.mark.parametrize(
    "text",
    [
        "tab\there",
        "line\nbreak",
        "\r",
        "back\\slash",
        "\\N",
        "\\.",
        "ü🙂",
        '"',
        "'; drop table events.event_log; --",
        "\x01\x7f",
    ],
)
def test_text_is_stored_as_it_is(shared_log: HotLog, text: str) -> None:
    """Whatever COPY, JSON or SQL would make of it."""
    row = the_row(
        shared_log, {**VIEW, "userId": text, "data": {text: [text]}, "context": {"a": text}, "idempotencyKey": text}
    )
    assert (text, {text: [text]}, {"a": text}, text) == (
        row["user_id"],
        row["event_data"],
        row["metadata"],
        row["idempotency_key"],
    )


BAD = [
    ({"ruleId": "r1"}, "", "required field `type`"),
    ({"type": 5}, "type", "Expected `str`"),
    ({"type": ""}, "type", "length >= 1"),
    ({"type": "x" * 201}, "type", "length <= 200"),
    ({"type": "view", "ruleId": "r1"}, "type", "'view'"),
    ({"type": "NOSUCH"}, "type", "expected one of those in events.event_schemas"),
    ({"type": "VIEW"}, "ruleId", "missing"),
    ({**VIEW, "ruleId": None}, "ruleId", "missing"),
    ({**VIEW, "userId": 7}, "userId", "Expected `str | null`, got `int`"),
    ({**VIEW, "userId": ""}, "userId", "length >= 1"),
    ({**VIEW, "userId": "x" * 201}, "userId", "length <= 200"),
    ({**VIEW, "ts": 0}, "ts", "Expected `datetime | null`, got `int`"),
    ({**VIEW, "ts": "2025-03-03T12:00:00"}, "ts", "timezone"),
    ({**VIEW, "ts": "yesterday"}, "ts", "Invalid RFC3339"),
    ({**VIEW, "ts": "1999-12-31T23:59:59Z"}, "ts", "expected 2000-01-01 or later"),
    ({**VIEW, "colour": "red"}, "colour", "unknown field"),
    ({**VIEW, "user_id": "u1"}, "user_id", "unknown field"),
    ({**VIEW, "data": []}, "data", "Expected `object | null`, got `array`"),
    ({**VIEW, "context": "x"}, "context", "got `str`"),
    ({**VIEW, "category": "content"}, "category", "expected 'interaction'"),
    ({**VIEW, "schemaVersion": 2}, "schemaVersion", "is 2 of type 'VIEW', expected 1"),
    ({**PAYMENT, "data": {}}, "data", '"payment_id" is a required property'),
    ({**PAYMENT, "data": {"payment_id": "p", "amount": -1}}, "data.amount", "minimum"),
    ({**PAYMENT, "data": {"payment_id": "p", "amount": "9"}}, "data.amount", "number"),
    (["VIEW"], "", "Expected `object`, got `array`"),
    ("VIEW", "", "Expected `object`, got `str`"),
    (None, "", "Expected `object`, got `null`"),
]
BAD_BYTES = [
    (b'{"type": "VIEW", "ruleId": "r\\u0000"}', "NUL"),
    (b'{"type": "VIEW", "ruleId": "r1", "data": {"a": [{"\\u0000": 1}]}}', "NUL"),
    (b'{"type": "VIEW", "ruleId": "r\\ud800"}', "cannot be read"),
    (b'{"type": "VIEW", "ruleId": "r1", "data": {"n": 1e400}}', "out of range"),
    (b'{"type": "VIEW", "ruleId": "r1", "data": {"n": ' + b"9" * 5000 + b"}}", "out of range"),
    (b'{"type": "VIEW", "ruleId": "r1", "data": {"n": NaN}}', "cannot be read"),
    (b'{"type": "VIEW", "ruleId": "r1\x00"}', "cannot be read"),
    (b'{"type": "VIEW", "ruleId": "r\xff"}', "cannot be read"),
    (
        b'{"type": "VIEW", "ruleId": "r1", "data": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        "deeper than 32 levels",
    ),
    (b'{"type": "VIEW"', "cannot be read"),
    (b"", "cannot be read"),
]


@pytest.mark.parametrize(("event", "field", "reason"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_event_is_refused_with_the_field_and_the_reason(
    shared_log: HotLog, event: object, field: str, reason: str
) -> None:
    """It is kept as it was sent; the good ones of its batch are stored."""
    before, bad, after = shared_log.send(VIEW, json.dumps(event).encode(), PAYMENT)
    assert isinstance(bad, Refusal)
    assert (field, True) == (bad.field, reason in bad.reason), bad
    assert [Entry, Entry] == [type(before), type(after)]
    assert 2 == len(rows(shared_log.url, "select event_id from events.event_log"))
    (reject,) = shared_log.rejects()
    assert (event, bad.reason) == (reject["payload"]["event"], reject["reason"])


@pytest.mark.parametrize(("raw", "reason"), BAD_BYTES, ids=[str(raw)[-30:] for raw, _ in BAD_BYTES])
def test_what_cannot_be_read_or_stored_is_refused_alone(shared_log: HotLog, raw: bytes, reason: str) -> None:
    """Also what PostgreSQL's JSON cannot hold is kept, readable."""
    before, bad, after = shared_log.send(VIEW, raw, PAYMENT)
    assert isinstance(bad, Refusal)
    assert reason in bad.reason
    assert [Entry, Entry] == [type(before), type(after)]
    assert [bad.reason] == [reject["reason"] for reject in shared_log.rejects()]


@pytest.mark.parametrize(
    "event",
    [
        {**VIEW, "colour": 1, "context": {"ip": "198.51.100.7"}},
        {**VIEW, "ip": "198.51.100.7"},
        {**VIEW, "colour": 1, "context": {"ip": ["198.51.100.7"]}},
        b'{"type": "VIEW", "context": {"ip": "198.51.100.7", "a": "\\ud800"}}',
        b'{"type": "VIEW", "context": {"ip": "198.51.100.7", "a": 1e400}}',
        b'{"type": "VIEW", "context": {"ip": "198.51.100.7", "a": ' + b"9" * 5000 + b"}}",
        b'{"type": "VIEW", "context": {"ip": "198.51.100.7"}, "data": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b'{"type": "VIEW", "context": {"ip": "198.51.100.7"',
    ],
)
def test_a_reject_is_kept_without_an_address(shared_log: HotLog, event: dict[str, Any] | bytes) -> None:
    """Neither the client's nor the one in the event; only the keyed hash."""
    (refusal,) = shared_log.send(event, user_agent="curl/8", country_of=lambda _: "CH")
    assert isinstance(refusal, Refusal)
    (reject,) = shared_log.rejects()
    assert "198.51.100.7" not in json.dumps(reject)
    assert ADDRESS not in json.dumps(reject)
    envelope = reject["payload"]["received"]
    assert (NOON.isoformat(), "tests") == (envelope["receivedAt"], envelope["caller"])


def test_a_reject_says_what_a_replay_needs(shared_log: HotLog) -> None:
    """When and from whom it came, the hash of the address, the country, the device, the sender's clock."""
    sent_at = NOON - timedelta(seconds=2)
    shared_log.send({"type": "LATER"}, user_agent="curl/8", country_of=lambda _: "CH", sent_at=sent_at)
    (reject,) = shared_log.rejects()
    assert reject["payload"]["received"] == {
        "receivedAt": NOON.isoformat(),
        "caller": "tests",
        "sentAt": sent_at.isoformat(),
        "addressHash": address_hashes(ADDRESS, NOON, NOON, KEYS)[0],
        "country": "CH",
        "userAgent": "curl/8",
    }


def test_a_bad_event_sent_again_is_one_reject_seen_twice(shared_log: HotLog) -> None:
    """The time of reception does not make it another one; another application does."""
    for caller, at in (("one", NOON), ("one", NOON + timedelta(hours=1)), ("two", NOON)):
        shared_log.send({"type": "NOSUCH", "idempotencyKey": "k"}, caller=caller, received_at=at)
    assert [2, 1] == [reject["seen_count"] for reject in shared_log.rejects()]


def test_a_replayed_event_keeps_what_was_known_of_it(shared_log: HotLog) -> None:
    """It happened when it was received first, from the address whose hash was kept."""
    first = NOON - timedelta(days=3)
    row = the_row(
        shared_log, VIEW, origin="replay", address=None, first_received_at=first, kept_hash="hash", kept_country="CH"
    )
    assert (first, NOON, "hash", "CH", "replay") == (
        row["occurred_at"],
        row["received_at"],
        row["address_hash"],
        row["country"],
        row["origin"],
    )


def test_what_the_database_refuses_is_kept_like_any_reject(hot_log: HotLog) -> None:
    """With its envelope and without its address."""
    rows(hot_log.url, "alter table events.event_log add check (rule_id <> 'r2') not valid")
    (entry,) = hot_log.send({**VIEW, "ruleId": "r2", "context": {"ip": "198.51.100.7"}})
    assert isinstance(entry, Entry)
    assert "check" in entry.refused
    (reject,) = hot_log.rejects()
    assert ({**VIEW, "ruleId": "r2", "context": {}}, "tests") == (
        reject["payload"]["event"],
        reject["payload"]["received"]["caller"],
    )


def test_an_empty_registry_knows_no_type() -> None:
    verdict = received(b'{"type": "VIEW"}', "0" * 32, Registry([]), make_reception())
    assert isinstance(verdict, Refusal)
    assert "type" == verdict.field


# when it happened

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("ts", "sent_at", "occurred_at", "skew"),
    [
        (None, None, NOON, None),
        (NOON - 90 * SECOND, None, NOON - 90 * SECOND, None),
        # the sender's clock is an hour ahead: it happened a minute before it was sent
        (NOON + 3540 * SECOND, NOON + 3600 * SECOND, NOON - 60 * SECOND, -3600.0),
        # an hour behind
        (NOON - 3660 * SECOND, NOON - 3600 * SECOND, NOON - 60 * SECOND, 3600.0),
        # no time of its own: the skew is still recorded
        (None, NOON - SECOND, NOON, 1.0),
        # within a day ahead it is believed, beyond it is not
        (NOON + timedelta(days=1), None, NOON + timedelta(days=1), None),
        (NOON + timedelta(days=1) + SECOND, None, NOON, None),
        (NOON + timedelta(days=400), NOON + timedelta(days=400), NOON, -400 * 86400.0),
        # a clock at the ends of time
        (datetime.max.replace(tzinfo=NOON.tzinfo), None, NOON, None),
        (datetime.max.replace(tzinfo=NOON.tzinfo), datetime.min.replace(tzinfo=NOON.tzinfo), NOON, 63876600000.0),
    ],
)
def test_time_is_corrected_by_the_senders_clock(
    ts: datetime | None, sent_at: datetime | None, occurred_at: datetime, skew: float | None
) -> None:
    """By our clock, where the sender says what its own shows; never beyond a day in the future."""
    assert (occurred_at, skew) == corrected(ts, sent_at, NOON)


def test_the_clock_of_an_event_holds_before_that_of_its_batch(shared_log: HotLog) -> None:
    """A queued event says when it was sent itself."""
    event = {**VIEW, "ts": NOON.isoformat(), "sentAt": NOON.isoformat()}
    row = the_row(shared_log, event, sent_at=NOON - timedelta(hours=1), received_at=NOON + SECOND)
    assert (NOON + SECOND, 1.0) == (row["occurred_at"], row["clock_skew_seconds"])


def test_an_event_of_before_2000_by_our_clock_is_refused(shared_log: HotLog) -> None:
    """The first instant of 2000 is accepted, the one before is not: it would be somebody's unset clock."""
    first = "2000-01-01T00:00:00Z"
    verdicts = shared_log.send({**VIEW, "ts": first}, {**VIEW, "ts": "1999-12-31T23:59:59.999999Z"})
    assert [Entry, Refusal] == [type(verdict) for verdict in verdicts]


# whose address it was


def test_addresses_are_hashed_with_a_key_of_the_day() -> None:
    """The same address on two days, or two on one, have nothing in common."""
    one, _ = address_hashes(ADDRESS, NOON, NOON, KEYS)
    next_day, _ = address_hashes(ADDRESS, MIDNIGHT + timedelta(hours=5), MIDNIGHT + timedelta(hours=5), KEYS)
    other, _ = address_hashes("203.0.113.8", NOON, NOON, KEYS)
    other_key, _ = address_hashes(ADDRESS, NOON, NOON, {TODAY: b"another"})
    assert 4 == len({one, next_day, other, other_key})
    assert (one, None) == address_hashes(ADDRESS, NOON + timedelta(hours=3), NOON + timedelta(hours=3), KEYS)


@pytest.mark.parametrize(
    ("after_midnight", "has_both"),
    [(timedelta(0), True), (timedelta(seconds=599), True), (timedelta(seconds=600), False)],
)
def test_just_after_midnight_an_address_has_the_hash_of_both_days(after_midnight: timedelta, *, has_both: bool) -> None:
    """As long as a view of the day before can be less than ten minutes away."""
    at = MIDNIGHT + after_midnight
    today, before = address_hashes(ADDRESS, at, at, KEYS)
    assert (address_hashes(ADDRESS, NOON, NOON, KEYS)[0] if has_both else None) == before
    assert today is not None
    assert today != before


def test_an_old_event_is_hashed_under_the_oldest_key_there_is() -> None:
    """The keys of its own day are gone; two late views from one address still find each other."""
    oldest = min(KEYS)
    late, _ = address_hashes(ADDRESS, NOON - timedelta(days=30), NOON, KEYS)
    assert address_hashes(ADDRESS, NOON - timedelta(days=1), NOON, {oldest: KEYS[oldest]}) == (late, None)


def test_a_future_event_is_hashed_under_the_key_of_its_reception() -> None:
    """The key of tomorrow is not made yet."""
    keys = {day: key for day, key in KEYS.items() if day <= TODAY}
    assert (
        address_hashes(ADDRESS, NOON, NOON, keys)[0]
        == address_hashes(ADDRESS, MIDNIGHT + 12 * 3600 * SECOND, NOON, keys)[0]
    )


@pytest.mark.parametrize(
    "address", [None, "", "unknown", "203.0.113", "203.0.113.256", "::g", "localhost", " 203.0.113.9"]
)
def test_what_is_no_address_has_no_hash(address: str | None) -> None:
    assert (None, None) == address_hashes(address, NOON, NOON, KEYS)


def test_without_a_key_there_is_no_hash() -> None:
    """Better none than one that can be guessed."""
    assert (None, None) == address_hashes(ADDRESS, NOON, NOON, {})


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::FFFF:CB00:7109", "203.0.113.9"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("203.0.113.9", "203.0.113.9"),
    ],
)
def test_every_spelling_of_an_address_is_one_address(spelling: str, normal: str) -> None:
    """An IPv4 address that came through an IPv6 socket is the same client."""
    assert normal == normal_address(spelling)
    assert address_hashes(normal, NOON, NOON, KEYS) == address_hashes(spelling, NOON, NOON, KEYS)


def test_the_address_in_the_context_is_the_clients(shared_log: HotLog) -> None:
    """A server that sends for others says whose address it was; it is hashed, and kept nowhere."""
    row = the_row(shared_log, {**VIEW, "context": {"ip": ADDRESS, "locale": "en"}}, address="198.51.100.1")
    assert (address_hashes(ADDRESS, NOON, NOON, KEYS)[0], {"locale": "en"}) == (row["address_hash"], row["metadata"])
    stored = rows(shared_log.url, "select to_jsonb(log) as row from events.event_log as log")
    assert ADDRESS not in json.dumps(stored)
    assert "198.51.100.1" not in json.dumps(stored)


@pytest.mark.parametrize("day", [TODAY, TOMORROW])
def test_an_event_at_midnight_belongs_to_the_day_it_was_received(shared_log: HotLog, day: date) -> None:
    """The partition goes by reception, the key of the address by when it happened."""
    at = MIDNIGHT - SECOND if day == TODAY else MIDNIGHT
    row = the_row(shared_log, {**VIEW, "ts": at.isoformat()}, received_at=at)
    assert day == row["received_at"].date()
    assert row["address_hash"] == address_hashes(ADDRESS, at, at, {day: KEYS[day]})[0]


def test_the_same_refusal_makes_the_same_reject() -> None:
    """A reject is known by its sender and idempotency key; without a key each is one of its own, and replayed as one."""
    refusal = Refusal("type", "no")
    first, second = time_ordered_ids(NOON, 2)
    one = reject_of(b'{"type": "A", "idempotencyKey": "k"}', first, refusal, make_reception())
    again = reject_of(b'{ "idempotencyKey":"k","type":"A"}', second, refusal, make_reception())
    assert one.identity == again.identity
    anonymous = [reject_of(b'{"type": "A"}', event_id, refusal, make_reception()) for event_id in (first, second)]
    assert 2 == len({reject.identity for reject in anonymous})


@pytest.mark.parametrize("depth", [33, 300, 900, 5_000])
def test_an_event_that_nests_too_deeply_is_kept_as_text(shared_log: HotLog, depth: int) -> None:
    """However deep, it costs nobody else's event."""
    deep = b'{"type": "COPY", "ruleId": "r", "data": {"a": ' + b"[" * depth + b"]" * depth + b"}}"
    refused, stored = shared_log.send(deep, {"type": "COPY", "ruleId": "r"})
    assert (Refusal, Entry) == (type(refused), type(stored))
    (reject,) = shared_log.rejects()
    assert "unreadable" in reject["payload"]["event"]


def test_what_a_reason_quotes_is_shortened(shared_log: HotLog) -> None:
    (refused,) = shared_log.send({"type": "VOTE", "ruleId": "r", "data": {"value": "x" * 100_000}})
    assert isinstance(refused, Refusal)
    assert len(refused.reason) <= 500


def test_a_year_beyond_the_calendar_is_not_now(shared_log: HotLog) -> None:
    (refused,) = shared_log.send({**VIEW, "ts": "0001-01-01T00:00:00+14:00"})
    assert (Refusal, "ts") == (type(refused), refused.field)
