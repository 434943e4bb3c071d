"""Active users, funnels, retention cohorts: golden cases and laws, with plain Python beside."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.core.funnels import Funnel
from ingestion_pipeline.domains.events import activity
from ingestion_pipeline.domains.events.tables import ACTIVE_USERS, DAILY_ACTIVE_USERS, FUNNELS, RETENTION_COHORTS
from ingestion_pipeline.storage.lake import arrow_schema, conformed
from ingestion_pipeline_tests.domains.events.factories import MONDAY, make_event, make_events

FIRST = MONDAY.date()
HIRING = Funnel("hiring", ("project.created", "proposal.submitted", "milestone.approved"))
NOBODY = pd.DataFrame({"user_id": pd.Series(dtype="str")})


def after(days: int) -> date:
    return FIRST + timedelta(days=days)


def active(*rows: tuple[str, int] | tuple[str, int, bool]) -> Any:
    """Rows of events/active_users: user, days after the first, whether new (by default not)."""
    import pyarrow as pa

    records = [{"user_id": user, "day": after(day), "is_new": any(new)} for user, day, *new in rows]
    return ibis.memtable(pa.Table.from_pylist(records, schema=arrow_schema(ACTIVE_USERS)))


def seen(user: str | None, day: int, **over: Any) -> dict[str, Any]:
    return make_event(user_id=user, occurred_at=MONDAY + timedelta(days=day, hours=9), **over)


def marked(events: Iterable[dict[str, Any]], known: Iterable[str] = ()) -> set[tuple[str, int, bool]]:
    rows = activity.active_users(
        ibis.memtable(make_events(*events)), ibis.memtable(pd.concat([NOBODY, pd.DataFrame({"user_id": list(known)})]))
    )
    frame = conformed(ACTIVE_USERS, rows.to_pyarrow()).to_pylist()
    assert len(frame) == len({(row["user_id"], row["day"]) for row in frame})
    return {(row["user_id"], (row["day"] - FIRST).days, row["is_new"]) for row in frame}


def test_a_user_is_active_once_a_day_and_new_on_the_first() -> None:
    """Whoever was known before is never new; nobody, and what does not count, is not activity."""
    events = [
        *(seen("u1", day) for day in (0, 0, 2)),
        seen("u2", 1),
        seen("u3", 1),
        seen(None, 1),
        seen("u4", 1, is_counted=False, uncounted_reason="repeat_view"),
    ]
    assert {("u1", 0, True), ("u1", 2, False), ("u2", 1, False), ("u3", 1, True)} == marked(events, ["u2"])
    assert set() == marked([])


def test_who_was_there_before_is_new_no_longer() -> None:
    """The others stay as they are."""
    rows = activity.without_new(
        active(("u1", 0, True), ("u2", 0, True), ("u3", 0)), active(("u1", 1), ("u1", 2), ("u3", 1)).select("user_id")
    ).execute()
    assert {("u1", False), ("u2", True), ("u3", False)} == set(zip(rows["user_id"], rows["is_new"], strict=True))


def daily(rows: Any, days: int, sessions: dict[int, int] | None = None) -> pd.DataFrame:
    counts = pd.DataFrame({"day": [after(day) for day in sessions or {}], "sessions": list((sessions or {}).values())})
    return activity.daily_active_users(rows, counts, days=[after(day) for day in range(days)])


def test_a_user_counts_for_seven_and_twenty_eight_days() -> None:
    """From the day of the last event on, and not a day longer; days without anybody have a row too."""
    rows = daily(active(("u1", 0, True), ("u1", 3), ("u2", 3, True)), 33, {3: 5})
    assert list(DAILY_ACTIVE_USERS.column_names) == list(rows.columns)
    assert [after(day) for day in range(33)] == rows["day"].tolist()
    assert [1, 0, 0, 2] + [0] * 29 == rows["active_users"].tolist()
    assert [1] * 3 + [2] * 7 + [0] * 23 == rows["active_users_7_days"].tolist()
    assert [1] * 3 + [2] * 28 + [0] * 2 == rows["active_users_28_days"].tolist()
    assert [1, 0, 0, 1] + [0] * 29 == rows["new_users"].tolist()
    assert [0, 0, 0, 5] + [0] * 29 == rows["sessions"].tolist()


def test_days_before_the_window_count_for_its_users() -> None:
    """Six and twenty-seven days back reach the first day of the window; one more does not."""
    rows = daily(active(("a", -6), ("b", -7), ("c", -27), ("d", -28)), 1).iloc[0]
    assert (0, 1, 3) == (rows.active_users, rows.active_users_7_days, rows.active_users_28_days)


def test_an_empty_lake_gives_days_of_zeros() -> None:
    """A dashboard draws a line, not a gap."""
    assert [[0] * 5] * 2 == daily(active(), 2).drop(columns="day").to_numpy().tolist()


@settings(max_examples=30, deadline=None)
@given(st.sets(st.tuples(st.sampled_from("abcde"), st.integers(-9, 9)), max_size=40), st.integers(1, 9))
def test_rolling_users_are_those_of_plain_python(pairs: set[tuple[str, int]], length: int) -> None:
    """Distinct users of every window of days, whatever its length."""
    days = [after(day) for day in range(9)]
    found = activity.rolling_users(active(*pairs), days=days, lengths=(length,))[length].tolist()
    expected = [len({user for user, day in pairs if end - length < day <= end}) for end in range(9)]
    assert expected == found


def step(user: str | None, number: int, hours: float, **over: Any) -> dict[str, Any]:
    """A user does step `number` of hiring so many hours after midnight of Monday."""
    return make_event(
        event_type=HIRING.steps[number - 1], user_id=user, occurred_at=MONDAY + timedelta(hours=hours), **over
    )


def users(*events: dict[str, Any], days: int = 1) -> list[list[int]]:
    """Of each day: the users of steps 1, 2, 3."""
    rows = steps(*events, days=days)
    return [rows.loc[rows["day"] == after(day), "users"].tolist() for day in range(days)]


def steps(*events: dict[str, Any], days: int = 1) -> pd.DataFrame:
    rows = ibis.memtable(make_events(*events))
    return activity.funnels(rows, HIRING, days=[after(day) for day in range(days)])


def test_a_funnel_counts_who_did_the_steps_in_time() -> None:
    """Ratio against the first step, median of the seconds since it."""
    rows = steps(
        step("a", 1, 1), step("a", 2, 2), step("a", 3, 4),
        step("b", 1, 1), step("b", 2, 4),
        step("c", 1, 1), step("d", 1, 1),
    )  # fmt: skip
    assert list(FUNNELS.column_names) == list(rows.columns)
    assert [
        [FIRST, "hiring", 1, "project.created", 4, 1.0, 0.0],
        [FIRST, "hiring", 2, "proposal.submitted", 2, 0.5, 2 * 3600.0],
        [FIRST, "hiring", 3, "milestone.approved", 1, 0.25, 3 * 3600.0],
    ] == rows.to_numpy().tolist()


def test_steps_in_the_wrong_order_are_not_done() -> None:
    """A later step counts only if it is not before the earlier one; at the same instant it does."""
    assert [[1, 0, 0]] == users(step("a", 2, 1), step("a", 1, 2))
    assert [[1, 1, 0]] == users(step("a", 1, 1), step("a", 3, 2), step("a", 2, 3))
    assert [[1, 1, 1]] == users(step("a", 1, 1), step("a", 2, 1), step("a", 3, 1))
    assert [[1, 1, 1]] == users(step("a", 3, 0), step("a", 1, 1), step("a", 2, 2), step("a", 3, 3))


@pytest.mark.parametrize(("hours", "reached"), [(1 + 7 * 24, 1), (1 + 7 * 24 + 1e-6, 0)])
def test_steps_count_for_seven_days_from_the_first(hours: float, reached: int) -> None:
    """Also those of later days than the entry's."""
    assert [[1, 1, reached]] == users(step("a", 1, 1), step("a", 2, 100), step("a", 3, hours))


def test_a_user_enters_once_a_day_and_again_the_next() -> None:
    """By the first event of the day; the same later steps may complete both entries."""
    assert [[1, 1, 0], [1, 1, 0], [0, 0, 0]] == users(
        step("a", 1, 1), step("a", 1, 5), step("a", 1, 30), step("a", 2, 40), days=3
    )


def test_a_funnel_without_users_has_its_steps() -> None:
    """A ratio of nobody is undefined."""
    rows = steps(make_event(), step("a", 1, 1, is_counted=False), step(None, 1, 1))
    assert [0, 0, 0] == rows["users"].tolist()
    assert rows[["conversion_ratio", "median_seconds"]].isna().all(axis=None)


def cohorts(rows: list[tuple[str, int, bool]], weeks: int) -> pd.DataFrame:
    table = active(*rows)
    new = table.filter(table.is_new).select("user_id", "day")
    return activity.retention_cohorts(table, new, weeks=[after(7 * week) for week in range(weeks)])


def test_cohorts_are_followed_from_week_to_week() -> None:
    """Every cohort has a row in every later week, also when nobody came back."""
    rows = cohorts(
        [("a", 0, True), ("b", 6, True), ("a", 7, False), ("a", 8, False), ("c", 13, True), ("b", 21, False)], 4
    )
    assert list(RETENTION_COHORTS.column_names) == list(rows.columns)
    weeks = [after(7 * week) for week in range(4)]
    assert [
        [weeks[0], weeks[0], 0, 2, 2, 1.0],
        [weeks[1], weeks[0], 1, 2, 1, 0.5],
        [weeks[1], weeks[1], 0, 1, 1, 1.0],
        [weeks[2], weeks[0], 2, 2, 0, 0.0],
        [weeks[2], weeks[1], 1, 1, 0, 0.0],
        [weeks[3], weeks[0], 3, 2, 1, 0.5],
        [weeks[3], weeks[1], 2, 1, 0, 0.0],
    ] == rows.to_numpy().tolist()


def test_without_users_there_are_no_cohorts() -> None:
    """Nothing is invented."""
    rows = cohorts([], 2)
    assert (0, list(RETENTION_COHORTS.column_names)) == (len(rows), list(rows.columns))
