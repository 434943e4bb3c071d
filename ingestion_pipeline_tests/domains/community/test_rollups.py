"""The expressions of the daily rollup, beside the same counted in plain Python, whatever the events are."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.community.abuse import REASONS, Limits
from ingestion_pipeline.domains.community.rollup_tables import RULE_EVENTS
from ingestion_pipeline.domains.community.rollups import author_metrics, excluded_events, rule_events, rule_metrics
from ingestion_pipeline.domains.community.scoring import decay
from ingestion_pipeline_tests.domains.community.rolled import START, event, expected, history

AGENTS = ("HeadlessChrome", 'a"b\\c%_', "Ünï")
LIMITS = Limits(user_agents=AGENTS, events_per_address=12, half_life_hours=48.0)
AUTHORS = {"r1": "ada", "r2": "bob", "r3": "ada"}
DONATIONS = pa.schema({"author_id": pa.string(), "donations": pa.int64(), "donations_net": pa.string()})

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def engine() -> Any:
    backend = ibis.duckdb.connect()
    backend.raw_sql("set TimeZone = 'UTC'")
    return backend


def rolled(
    engine: Any, events: Sequence[dict[str, Any]], limits: Limits = LIMITS
) -> tuple[dict[str, dict[str, Any]], dict[str, int], Rows]:
    """Metrics by rule, excluded events by reason, and the rows of the first."""
    rules = ibis.memtable(pa.table({"rule_id": list(AUTHORS), "author_id": list(AUTHORS.values())}))
    seen = ibis.memtable(history(*events).select(list(RULE_EVENTS.column_names)))
    counts = rule_events(engine, seen, rules, limits)
    metrics: Rows = engine.to_pyarrow(rule_metrics(counts, rules)).to_pylist()
    excluded = engine.to_pyarrow(excluded_events(counts)).to_pylist()
    by_rule = {row["rule_id"]: {name: value for name, value in row.items() if name != "rule_id"} for row in metrics}
    return by_rule, {row["reason"]: row["events"] for row in excluded}, metrics


def assert_same(found: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> None:
    """Counts exactly, scores to twelve digits."""
    assert found.keys() == wanted.keys()
    for rule, row in wanted.items():
        assert pytest.approx(row.pop("trending_score"), rel=1e-12, abs=1e-12) == found[rule]["trending_score"]
        assert row == {name: value for name, value in found[rule].items() if name != "trending_score"}


EVENTS = st.builds(
    event,
    st.sampled_from(["VIEW", "VIEW", "VIEW", "COPY", "SAVE", "FORK", "VOTE", "VOTE", "search.performed"]),
    st.one_of(st.sampled_from([0.0, 12.0, 12.0, 23.999999]), st.floats(0, 23.9999)),
    rule_id=st.sampled_from(["r1", "r1", "r2", "r3", "x", None]),
    user_id=st.sampled_from(["ada", "bob", "cleo", None]),
    address_hash=st.sampled_from(["a1", "a2", "a3", None]),
    device_type=st.sampled_from(["desktop", "desktop", "desktop", "bot", None]),
    user_agent=st.sampled_from([None, "Mozilla/5.0", "x headlesschrome/1", 'A"B\\C%_', "ünï", "a.b"]),
    value=st.sampled_from([None, 1, -1, 0]),
    is_counted=st.sampled_from([True, True, True, False]),
)


@settings(deadline=None, max_examples=20)
@given(events=st.lists(EVENTS, max_size=60))
def test_a_day_is_what_plain_python_counts(engine: Any, events: list[dict[str, Any]]) -> None:
    """Every event has one reason or counts once; nothing is lost."""
    found, excluded, _ = rolled(engine, events)
    wanted, reasons = expected(
        history(*events).to_pylist(), AUTHORS, user_agents=AGENTS, events_per_address=LIMITS.events_per_address
    )
    assert_same(found, wanted)
    assert reasons == dict(sorted(excluded.items()))
    counted = sum(row[name] for row in found.values() for name in ("views", "copies", "saves", "forks"))
    counted += sum(row["votes_up"] + row["votes_down"] for row in found.values())
    assert sum(it["event_type"] != "search.performed" for it in events) == counted + sum(excluded.values())


@settings(deadline=None, max_examples=5)
@given(events=st.lists(EVENTS, max_size=40), data=st.data())
def test_the_order_of_rows_does_not_matter(engine: Any, events: list[dict[str, Any]], data: st.DataObject) -> None:
    """To the last bit: sums are of decimals."""
    named = history(*events).to_pylist()
    shuffled = data.draw(st.permutations(named))
    assert rolled(engine, named)[:2] == rolled(engine, shuffled)[:2]


def test_the_first_five_views_of_an_address_count_by_time_and_id(engine: Any) -> None:
    """Which five can be seen in the users and in the decay; another rule or address has five of its own."""
    views = [event(hours=hour, user_id=f"u{hour}") for hour in (9, 2, 7, 1, 5, 3, 8)]
    found, excluded, _ = rolled(engine, [*views, event(hours=1, address_hash="a2"), event(hours=1, rule_id="r2")])
    assert (6, 5, 2) == (found["r1"]["views"], found["r1"]["unique_users"], found["r1"]["excluded_events"])
    scores = [decay(24 - hour, 48) for hour in (1, 2, 3, 5, 7, 1)]
    assert pytest.approx(sum(scores), rel=1e-12) == found["r1"]["trending_score"]
    assert {"view_cap": 2} == excluded
    tied = [event(hours=1, user_id=None if i < 5 else "late", event_id=f"{i}") for i in range(6)]
    assert 0 == rolled(engine, tied[::-1])[0]["r1"]["unique_users"]


def test_only_the_last_vote_of_a_person_counts(engine: Any) -> None:
    """Up at noon, down at one; the next person withdraws; of nobody named, one per address."""
    votes = [
        event("VOTE", 13, value=-1, user_id="u1"),
        event("VOTE", 12, value=1, user_id="u1"),
        event("VOTE", 12, value=1, user_id="u2"),
        event("VOTE", 14, value=0, user_id="u2"),
        event("VOTE", 12, value=1, user_id=None),
        event("VOTE", 13, user_id=None),
        event("VOTE", 13, value=1, user_id=None, address_hash=None),
        event("VOTE", 13, value=1, user_id=None, address_hash=None),
        event("VOTE", 13, value=1, user_id="ada"),
    ]
    found, excluded, _ = rolled(engine, votes)
    assert (3, 1) == (found["r1"]["votes_up"], found["r1"]["votes_down"])
    assert {"repeat_vote": 3, "withdrawn_vote": 1, "self_vote": 1} == excluded


def test_an_address_with_too_many_events_is_nobodys(engine: Any) -> None:
    """All of its events of the day, of whatever kind and rule; at the limit it is somebody's."""
    many = [event("COPY", rule_id=f"r{i % 3 + 1}", user_id=None) for i in range(LIMITS.events_per_address)]
    assert {} == rolled(engine, many)[1]
    found, excluded, _ = rolled(engine, [*many, event("FORK"), event("FORK", address_hash=None)])
    assert {"address_rate": LIMITS.events_per_address + 1} == excluded
    assert (1, 0) == (found["r1"]["forks"], found["r1"]["copies"])


def test_an_event_on_a_day_of_clock_change_weighs_as_on_any_other(engine: Any) -> None:
    """Days are UTC days: 24 hours each, also where a country has 23 or 25."""
    for day in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC), START):
        events = [event("FORK", occurred_at=day + timedelta(hours=hour)) for hour in (0, 2, 3)]
        found = rolled(engine, events)[0]["r1"]["trending_score"]
        assert pytest.approx(5 * sum(decay(hours, 48) for hours in (24, 22, 21)), rel=1e-12) == found


def test_no_list_of_user_agents_flags_nobody(engine: Any) -> None:
    events = [event(user_agent="HeadlessChrome"), event(user_agent="HeadlessChrome", device_type="bot")]
    assert {"bot": 2} == rolled(engine, events)[1]
    assert {"bot": 1} == rolled(engine, events, replace(LIMITS, user_agents=()))[1]


def test_authors_have_the_sums_of_their_rules_and_their_donations(engine: Any) -> None:
    """Also who has only donations; a rule of nobody's is no author's."""
    *_, metrics = rolled(
        engine, [event("FORK"), event("COPY", rule_id="r3"), event("SAVE", rule_id="r2"), event(rule_id="x")]
    )
    donations = pa.Table.from_pylist(
        [
            {"author_id": "ada", "donations": 2, "donations_net": json.dumps({"USD": "12.50"})},
            {"author_id": "zoe", "donations": 1, "donations_net": json.dumps({"JPY": "500"})},
        ],
        schema=DONATIONS,
    )
    found = engine.to_pyarrow(author_metrics(ibis.memtable(pa.Table.from_pylist(metrics)), ibis.memtable(donations)))
    rows = {row["author_id"]: row for row in found.to_pylist()}
    assert {"ada", "bob", "zoe"} == set(rows)
    assert (2, 1, 1, 8.0, 2) == tuple(rows["ada"][it] for it in ("rules", "copies", "forks", "points", "donations"))
    assert (1, 4.0, 0, "{}") == tuple(rows["bob"][it] for it in ("rules", "points", "donations", "donations_net"))
    assert (0, 0.0, 0.0, 1) == tuple(rows["zoe"][it] for it in ("rules", "points", "trending_score", "donations"))
    score = sum(row["trending_score"] for row in metrics if row["author_id"] == "ada")
    assert pytest.approx(score, abs=1e-11) == rows["ada"]["trending_score"]


def test_every_reason_can_be_given() -> None:
    """The database knows the same ones (test_rollup_tables.py)."""
    assert len(REASONS) == len(set(REASONS)) == 8
