"""Aggregations of events: golden cases and laws, with plain Python beside."""

import json
import math
import statistics
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.events.aggregations import COLUMNS, event_aggregations, numeric_properties
from ingestion_pipeline.domains.events.tables import EVENT_AGGREGATIONS_DAILY, EVENT_AGGREGATIONS_WEEKLY
from ingestion_pipeline_tests.domains.events.factories import MONDAY, make_event, make_events, make_payment

NUMBERS = {"payment.completed": ["amount"], "search.performed": ["results_count", "search_time_ms"]}
HOUR = timedelta(hours=1)


def built(*events: dict[str, Any], grain: Any = "hour", numbers: Any = NUMBERS) -> pd.DataFrame:
    rows = ibis.memtable(make_events(*events))
    return event_aggregations(rows, numbers, grain=grain)


def figures(*events: dict[str, Any], **over: Any) -> dict[str, Any]:
    """The properties of the only bucket."""
    rows = built(*events, **over)
    assert 1 == len(rows)
    return json.loads(rows.loc[0, "properties"])


def test_an_hour_counts_events_users_and_sessions_once() -> None:
    """Different ones are counted exactly; nobody is nobody, not a user."""
    rows = built(
        make_event(occurred_at=MONDAY + timedelta(minutes=59), user_id="u1", session_id="a"),
        make_event(occurred_at=MONDAY, user_id="u1", session_id="b"),
        make_event(occurred_at=MONDAY + timedelta(minutes=1), user_id="u2", session_id="b"),
        make_event(occurred_at=MONDAY + timedelta(minutes=2), user_id=None, session_id=None),
    )
    expected = [MONDAY, "VIEW", "interaction", 4, 0, 2, 2, MONDAY, MONDAY + timedelta(minutes=59), "{}"]
    assert expected == rows.loc[0, COLUMNS].tolist()


def test_what_does_not_count_is_in_the_first_and_last_instant_only() -> None:
    """A repeated view is stored and flagged; its user, session and numbers are not counted."""
    uncounted = {"is_counted": False, "uncounted_reason": "repeat_view", "user_id": "u9", "session_id": "s9"}
    rows = built(
        make_payment(5, occurred_at=MONDAY + timedelta(minutes=5)),
        make_payment(7, occurred_at=MONDAY + timedelta(minutes=9), **uncounted),
    )
    row = rows.iloc[0]
    assert (1, 1, 1, 1) == (row.event_count, row.uncounted_count, row.unique_users, row.unique_sessions)
    assert (MONDAY + timedelta(minutes=5), MONDAY + timedelta(minutes=9)) == (row.first_event_at, row.last_event_at)
    assert (1, 5.0) == tuple(json.loads(row.properties)["amount"][name] for name in ("count", "sum"))


def test_a_bucket_in_which_nothing_counts_has_a_row() -> None:
    """Else the events would be nowhere."""
    row = built(make_event(is_counted=False, uncounted_reason="repeat_view")).iloc[0]
    assert (0, 1, 0, 0, "{}") == (
        row.event_count,
        row.uncounted_count,
        row.unique_users,
        row.unique_sessions,
        row.properties,
    )


@pytest.mark.parametrize(
    ("grain", "starts"),
    [
        ("hour", [MONDAY, MONDAY + 23 * HOUR, MONDAY + 24 * HOUR, MONDAY + 7 * 24 * HOUR]),
        ("day", [MONDAY, MONDAY + 24 * HOUR, MONDAY + 7 * 24 * HOUR]),
        ("week", [MONDAY, MONDAY + 7 * 24 * HOUR]),
    ],
)
def test_buckets_are_utc_hours_days_and_weeks_from_monday(grain: str, starts: list[datetime]) -> None:
    """The last microsecond belongs to the bucket that ends."""
    last = 24 * HOUR - timedelta(microseconds=1)
    events = [make_event(occurred_at=MONDAY + after) for after in (0 * HOUR, last, 24 * HOUR, 7 * 24 * HOUR)]
    assert starts == built(*events, grain=grain)["bucket_start"].tolist()


def test_users_of_a_week_are_not_the_sum_of_its_days() -> None:
    """One who comes every day is one."""
    events = [make_event(occurred_at=MONDAY + timedelta(days=i)) for i in range(7)]
    assert [1] * 7 == built(*events, grain="day")["unique_users"].tolist()
    assert [1] == built(*events, grain="week")["unique_users"].tolist()


def test_a_type_in_two_categories_has_two_rows() -> None:
    """The category is part of the key; statistics go where their events are."""
    rows = built(make_payment(1), make_payment(2, event_category="content"))
    assert [("content", 2.0), ("transaction", 1.0)] == [
        (category, json.loads(text)["amount"]["sum"])
        for category, text in zip(rows["event_category"], rows["properties"], strict=True)
    ]


def test_quantiles_are_interpolated() -> None:
    """As PostgreSQL's percentile_cont does."""
    values = figures(*[make_payment(amount) for amount in (10, 20, 30, 40)])["amount"]
    assert {"count": 4, "sum": 100.0, "min": 10.0, "max": 40.0, "p50": 25.0, "p95": pytest.approx(38.5)} == values


@pytest.mark.parametrize("value", ["5", True, None, [5], {"value": 5}, "NaN", "Infinity"])
def test_only_json_numbers_are_values(value: object) -> None:
    """A string that looks like one is none."""
    assert {} == figures(make_payment(value))
    assert 1 == figures(make_payment(value), make_payment(2.5))["amount"]["count"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("1e18", 1), ("-1e18", 1), ("1.1e18", 0), ("1e400", 0), ("9" * 400, 0), ("1e-400", 1), ("-0", 1), ("1E+2", 1)],
)
def test_numbers_of_any_size_harm_nothing(text: str, count: int) -> None:
    """What no sum could hold is left out; the bucket's other numbers stay."""
    rows = figures(make_payment(0, event_data=f'{{"amount": {text}}}'), make_payment(1))
    assert count + 1 == rows["amount"]["count"]
    assert all(map(math.isfinite, rows["amount"].values()))


def test_sums_of_money_are_exact() -> None:
    """Ten times 0.1 is one, in whatever order."""
    assert 1.0 == figures(*[make_payment(0.1) for _ in range(10)])["amount"]["sum"]


def test_properties_of_one_event_are_separate() -> None:
    """Of the types that have them, where they are there."""
    data = [{"results_count": 3, "search_time_ms": 1.5}, {"results_count": 5}, {"amount": 7}]
    values = figures(*[make_event(event_type="search.performed", event_data=it) for it in data])
    assert {"results_count": 2, "search_time_ms": 1} == {name: it["count"] for name, it in values.items()}


@pytest.mark.parametrize("name", ["price.usd", "a/b", "a~b", 'a"b', "*", "0", "a b", "ü", "$", "[0]"])
def test_a_property_may_have_any_name(name: str) -> None:
    """No name is taken for a path or a pattern."""
    event = make_event(event_data={name: 4, "price": {"usd": 9}, "a": {"b": 9}})
    assert {name: 4.0} == {key: it["sum"] for key, it in figures(event, numbers={"VIEW": [name]}).items()}


def test_only_top_level_members_are_properties() -> None:
    """Not what lies deeper under the same name."""
    assert {} == figures(make_payment(0, event_data={"nested": {"amount": 5}}))


def test_numeric_properties_are_what_the_schemas_call_numbers() -> None:
    """In any version; whatever else a schema may say is no number and no error."""
    number, integer = {"type": "number"}, {"type": ["integer", "null"]}
    schemas = [
        ("b", {"properties": {"y": number, "x": integer, "text": {"type": "string"}, "any": True, "odd": {"type": 5}}}),
        ("b", {"properties": {"z": number, "y": {"type": "string"}}}),
        ("a", {"properties": {"n": {"type": "integer"}}}),
        ("c", {"properties": []}),
        ("d", True),
        ("e", {"type": "object"}),
        ("f", {"properties": {"n": {"type": [["number"]]}}}),
    ]
    assert {"a": ["n"], "b": ["x", "y", "z"]} == numeric_properties(schemas)


def test_no_events_give_no_rows_but_the_columns() -> None:
    """A day without events is no error; nor is a registry without numbers."""
    for numbers in (NUMBERS, {}):
        rows = built(numbers=numbers)
        assert (0, COLUMNS) == (len(rows), list(rows.columns))
    assert COLUMNS == list(EVENT_AGGREGATIONS_DAILY.column_names) == list(EVENT_AGGREGATIONS_WEEKLY.column_names)


EVENTS = st.lists(
    st.builds(
        lambda minute, kind, user, amount, is_counted: make_payment(
            amount,
            event_type=kind,
            user_id=user,
            session_id=user and f"s-{user}",
            is_counted=is_counted,
            occurred_at=MONDAY + timedelta(minutes=minute),
        ),
        st.integers(0, 3 * 60),
        st.sampled_from(["payment.completed", "VIEW"]),
        st.sampled_from([None, "u1", "u2", "u3"]),
        st.integers(-(10**6), 10**6).map(lambda cents: cents / 100),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


def plain(events: list[dict[str, Any]]) -> dict[tuple[str, datetime], tuple[Any, ...]]:
    """The same figures by hand."""
    buckets = defaultdict(list)
    for event in events:
        hour = event["occurred_at"].replace(minute=0)
        buckets[event["event_type"], hour].append(event)
    found = {}
    for key, rows in buckets.items():
        counted = [row for row in rows if row["is_counted"]]
        values = sorted(json.loads(row["event_data"])["amount"] for row in counted if key[0] == "payment.completed")
        found[key] = (
            len(counted),
            len(rows) - len(counted),
            len({row["user_id"] for row in counted} - {None}),
            (round(math.fsum(values), 2), values[0], values[-1], statistics.median(values)) if values else None,
        )
    return found


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_figures_are_those_of_plain_python_in_any_order(events: list[dict[str, Any]], random: Any) -> None:
    """And the same to the last bit when computed again from shuffled rows."""
    rows = built(*events)
    found = {}
    for row in rows.itertuples():
        amount = json.loads(row.properties).get("amount")
        values = None if amount is None else tuple(round(amount[name], 6) for name in ("sum", "min", "max", "p50"))
        at = row.bucket_start.to_pydatetime().astimezone(UTC)
        found[row.event_type, at] = (row.event_count, row.uncounted_count, row.unique_users, values)
    expected = {
        key: (*figures[:3], figures[3] and tuple(round(it, 6) for it in figures[3]))
        for key, figures in plain(events).items()
    }
    assert expected == found
    shuffled = random.sample(events, len(events))
    pd.testing.assert_frame_equal(rows, built(*shuffled), check_exact=True)
