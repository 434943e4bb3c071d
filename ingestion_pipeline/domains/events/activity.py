"""What users do over days and weeks: who is active, how far they get in a funnel, who comes back. Pure.

Only counted events of known users count. A user is new on the UTC day of the first counted event that the pipeline
remembers: who comes back after the last of theirs has expired, or after an erasure, is new again.

Whether somebody is new depends on the whole history, which no day should read again: events/active_users keeps one
small row per user and day with a mark on the first, and what looks back reads that. One run each of plain DuckDB on a
busy machine: everybody's first day from 20 million events of one day, 6.9 s, and more with every day of history; the
same 750,000 users from one file of marks, 0.5 s.
"""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import ibis
import pandas as pd

from ingestion_pipeline.core.funnels import Funnel
from ingestion_pipeline.domains.events.tables import (
    DAILY_ACTIVE_USERS,
    FUNNEL_DAYS,
    FUNNELS,
    MONTH_DAYS,
    RETENTION_COHORTS,
    WEEK_DAYS,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir

_NEVER = date(9999, 1, 1)


def active_users(events: "ir.Table", known: "ir.Table") -> "ir.Table":
    """The rows of events/active_users.

    Args:
        events: Rows of events/event_history of some days.
        known: `user_id` of everybody who was active on an earlier day.
    """
    active = events.filter(events.is_counted & events.user_id.notnull()).select("user_id", "day").distinct()  # noqa: PD004 - an Ibis column
    first = active.group_by("user_id").agg(first_day=active.day.min()).anti_join(known, "user_id")
    marked = active.left_join(first, "user_id")
    return marked.select("user_id", is_new=(marked.day == marked.first_day).fill_null(False), day="day")


def without_new(active: "ir.Table", users: "ir.Table") -> "ir.Table":
    """Rows of events/active_users in which none of `users` (column user_id) is new."""
    marked = active.left_join(users.distinct().mutate(is_known=True), "user_id")
    return marked.select("user_id", is_new=marked.is_new & ~marked.is_known.fill_null(False), day="day")


def sessions(events: "ir.Table") -> "ir.Table":
    """Different sessions with a counted event per day, with or without a user: columns day, sessions."""
    counted = events.filter(events.is_counted)
    return counted.group_by("day").agg(sessions=counted.session_id.nunique())


def daily_active_users(active: "ir.Table", sessions: pd.DataFrame, *, days: Sequence[date]) -> pd.DataFrame:
    """The rows of events/daily_active_users, one for each of `days`, also where nobody was there.

    Args:
        active: Rows of events/active_users of the days and the 27 before them.
        sessions: As `sessions` gives them.
        days: Consecutive, ascending.
    """
    users = active.group_by("day").agg(active_users=active.count(), new_users=active.is_new.sum()).execute()
    rolling = rolling_users(active, days=days, lengths=(WEEK_DAYS, MONTH_DAYS))
    rolling.columns = ["active_users_7_days", "active_users_28_days"]
    rows = rolling.join([_by_day(users), _by_day(sessions)]).fillna(0).astype("int64")
    return rows.assign(day=days)[list(DAILY_ACTIVE_USERS.column_names)].reset_index(drop=True)


def rolling_users(active: "ir.Table", *, days: Sequence[date], lengths: Sequence[int]) -> pd.DataFrame:
    """Different users of each day and the `length - 1` before it: index `days`, a column for each length.

    Somebody who is active counts from that day on for `length` days, or until active again: added up are who begins
    and who ends, so that no user is multiplied by the days of the window.
    """
    following = active.day.lead().over(ibis.window(group_by="user_id", order_by="day"))
    spans = active.select(day=active.day.cast("date"), following=following.fill_null(ibis.date(_NEVER.isoformat())))
    changes = []
    for length in lengths:
        end = ibis.least((spans.day + ibis.interval(days=length)).cast("date"), spans.following).cast("date")
        changes.append(spans.select(length=ibis.literal(length), day="day", change=ibis.literal(1)))
        changes.append(spans.select(length=ibis.literal(length), day=end, change=ibis.literal(-1)))
    every = ibis.union(*changes)
    summed = every.group_by("length", "day").agg(change=every.change.sum()).execute()
    running = _by_day(summed).pivot_table(index="day", columns="length", values="change").fillna(0).cumsum()
    index = pd.DatetimeIndex(days, name="day")
    return running.reindex(running.index.union(index)).ffill().reindex(index=index, columns=list(lengths)).fillna(0)


def funnels(events: "ir.Table", funnel: Funnel, *, days: Sequence[date]) -> pd.DataFrame:
    """The rows of events/funnels for one funnel: each of `days` and each step, also where nobody got there.

    A user enters with the first event of the first step on the day. A later step is done by the first event of its type
    that is not before the event of the step before it, within FUNNEL_DAYS of the entry.

    Args:
        events: Rows of events/event_history of the days and the FUNNEL_DAYS after them.
        funnel: Its steps.
        days: Consecutive, ascending.
    """
    reached = _reached(events, funnel, days).execute()
    index = pd.MultiIndex.from_product([list(days), range(1, len(funnel.steps) + 1)], names=["day", "step"])
    reached["day"] = _dates(reached["day"])
    rows = reached.set_index(["day", "step"]).reindex(index).reset_index()
    rows["users"] = rows["users"].fillna(0).astype("int64")
    first = rows.groupby("day")["users"].transform("first")
    rows["conversion_ratio"] = (rows["users"] / first).where(first > 0)
    rows["funnel"] = funnel.name
    rows["event_type"] = [funnel.steps[step - 1] for step in rows["step"]]
    return rows[list(FUNNELS.column_names)]


def _reached(events: "ir.Table", funnel: Funnel, days: Sequence[date]) -> "ir.Table":
    """How many users did each step, by day of entry: columns day, step, users, median_seconds."""
    done = events.filter(events.is_counted & events.user_id.notnull() & events.event_type.isin(funnel.steps))  # noqa: PD004 - an Ibis column
    entries = done.filter((done.event_type == funnel.steps[0]) & done.day.between(days[0], days[-1]))
    at = entries.group_by("user_id", "day").agg(entered_at=entries.occurred_at.min(), done_at=entries.occurred_at.min())
    steps = [at]
    for event_type in funnel.steps[1:]:
        candidates = done.filter(done.event_type == event_type).select("user_id", next_at=done.occurred_at)
        pairs = at.join(candidates, "user_id")
        limit = pairs.entered_at + ibis.interval(days=FUNNEL_DAYS)
        pairs = pairs.filter((pairs.next_at >= pairs.done_at) & (pairs.next_at <= limit))
        at = pairs.group_by("user_id", "day", "entered_at").agg(done_at=pairs.next_at.min())
        steps.append(at)
    return ibis.union(*(_step(table, number) for number, table in enumerate(steps, 1)))


def _step(reached: "ir.Table", number: int) -> "ir.Table":
    seconds = reached.done_at.delta(reached.entered_at, unit="microsecond") / 1e6
    return reached.group_by(day=reached.day.cast("date")).agg(
        step=ibis.literal(number), users=reached.count(), median_seconds=seconds.quantile(0.5)
    )


def retention_cohorts(active: "ir.Table", new_users: "ir.Table", *, weeks: Sequence[date]) -> pd.DataFrame:
    """The rows of events/retention_cohorts: each of `weeks` and each cohort until then, also of whom nobody came back.

    Args:
        active: Rows of events/active_users of the weeks.
        new_users: `user_id` and `day` of everybody's first day, of the whole history until the last week.
        weeks: Mondays, ascending.
    """
    cohorts = new_users.group_by("user_id").agg(cohort_week=new_users.day.min().truncate("W").cast("date"))
    sizes = cohorts.group_by("cohort_week").agg(cohort_users=cohorts.count()).execute()
    present = active.select("user_id", week=active.day.truncate("W").cast("date")).distinct().join(cohorts, "user_id")
    retained = present.group_by("week", "cohort_week").agg(retained_users=present.count()).execute()
    for frame, column in ((sizes, "cohort_week"), (retained, "cohort_week"), (retained, "week")):
        frame[column] = _dates(frame[column])
    rows = pd.DataFrame({"week": pd.Series(weeks, dtype="object")}).merge(sizes, how="cross")
    rows = rows[rows["cohort_week"] <= rows["week"]].merge(retained, how="left", on=["week", "cohort_week"])
    rows["retained_users"] = rows["retained_users"].fillna(0).astype("int64")
    rows["weeks_since"] = [
        (week - cohort).days // 7 for week, cohort in zip(rows["week"], rows["cohort_week"], strict=True)
    ]
    rows["retention_ratio"] = rows["retained_users"] / rows["cohort_users"]
    rows = rows.sort_values(["week", "cohort_week"], ignore_index=True)
    return rows[list(RETENTION_COHORTS.column_names)].astype({"cohort_users": "int64", "weeks_since": "int64"})


def _by_day(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(day=pd.to_datetime(frame["day"])).set_index("day")


def _dates(days: pd.Series) -> pd.Series:
    """Days as Python dates, whichever way the engine gave them."""
    return pd.Series(pd.to_datetime(days).dt.date, dtype="object")
