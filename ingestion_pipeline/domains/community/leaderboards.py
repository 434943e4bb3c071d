"""Leaderboards: from the daily metrics of rules to ranked rows of rules and authors. Pure; docs/leaderboards.md.

The same inputs give the same rows, on any engine and in any order of rows: sums are exact decimals, and ties are broken
by views, then by the subject's id.

Belongs here: which board a subject is on, and where. Does not belong here: what is counted and scored (rollups.py,
scoring.py), reading and storing (leaderboard_store.py).
"""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt

from ingestion_pipeline.domains.community.leaderboard_tables import (
    MONTH_DAYS,
    MOST_PLACES,
    MOST_SCOPE_VALUES,
    WEEK_DAYS,
    Kind,
    Period,
)
from ingestion_pipeline.domains.community.scoring import HOURS_PER_DAY, decay

if TYPE_CHECKING:
    import ibis.expr.types as ir

BOARD = ("period", "kind", "scope", "scope_value")
PERIODS: tuple[Period, ...] = ("DAILY", "WEEKLY", "MONTHLY", "ALL_TIME")
EXACT = dt.Decimal(38, 9)

_DAYS = {"DAILY": 1, "WEEKLY": WEEK_DAYS, "MONTHLY": MONTH_DAYS}
_FADING = ("WEEKLY", "MONTHLY")


def leaderboards(
    rule_days: "ir.Table",
    rules: "ir.Table",
    labels: "ir.Table",
    *,
    day: date,
    half_life_hours: float,
) -> "ir.Table":
    """The boards of `day`: period, kind, scope, scope_value, rank, subject_id, score, points, views.

    Whoever has no positive score is on no board. A rule that was deleted is on none; what it was worth counts for its
    author. An author has a rule for all of its history.

    Args:
        rule_days: rule_id, day, points, views, trending_score of at least the 30 days that end with `day`, those of
            later days do not count; rows whose day is null hold all that was before, without a trending score.
        rules: rule_id, author_id, is_deleted of every known rule. Of an unknown one the GLOBAL board still tells.
        labels: rule_id, scope (TAG, MODEL), scope_value of every known rule.
        day: UTC.
        half_life_hours: Of what fades.
    """
    by_rule = _sums(rule_days, day, half_life_hours)
    everywhere = _global(by_rule)
    labelled = _largest(labels, rules).join(by_rule, "rule_id")
    deleted = rules.filter(rules.is_deleted).select("rule_id")
    entries = ibis.union(
        _entries(everywhere.anti_join(deleted, "rule_id").rename(subject_id="rule_id"), "RULE"),
        _entries(labelled.anti_join(deleted, "rule_id").rename(subject_id="rule_id"), "RULE"),
        _entries(_of_authors(everywhere, rules), "AUTHOR"),
        _entries(_of_authors(labelled, rules), "AUTHOR"),
    )
    return _ranked(entries.filter(entries.score > 0))


def _sums(days: "ir.Table", day: date, half_life_hours: float) -> "ir.Table":
    """One row per rule: for each period its score, points and views."""
    ages = [(day - timedelta(days=age), age) for age in range(MONTH_DAYS)]
    weights = ibis.memtable(
        [{"day": on, "age": age, "weight": decay(HOURS_PER_DAY * age, half_life_hours)} for on, age in ages],
        schema=ibis.schema({"day": "date", "age": "int64", "weight": "float64"}),
    )
    until = days.filter(days.day.isnull() | (days.day <= day))
    weighed = until.left_join(weights, "day").select(
        rule_id=until.rule_id,
        age=weights.age,
        points=until.points.cast(EXACT),
        views=until.views,
        fading=(until.trending_score * weights.weight).round(9).cast(EXACT),
    )
    columns = {}
    for period in PERIODS:
        within = None if period == "ALL_TIME" else weighed.age < _DAYS[period]
        worth = weighed.fading if period in _FADING else weighed.points
        for name, values in (("score", worth), ("points", weighed.points), ("views", weighed.views)):
            columns[f"{name}_{period}"] = values.sum(where=within).fill_null(0)
    return weighed.group_by("rule_id").agg(**columns)


def _global(sums: "ir.Table") -> "ir.Table":
    return sums.mutate(scope=ibis.literal("GLOBAL"), scope_value=ibis.literal(""))


def _of_authors(sums: "ir.Table", rules: "ir.Table") -> "ir.Table":
    """The sums over the rules of each author, in each scope."""
    authored = sums.join(rules.filter(rules.author_id.notnull()), "rule_id")
    names = [f"{name}_{period}" for period in PERIODS for name in ("score", "points", "views")]
    by_author = authored.group_by("author_id", "scope", "scope_value")
    return by_author.agg(**{name: authored[name].sum() for name in names}).rename(subject_id="author_id")


def _largest(labels: "ir.Table", rules: "ir.Table") -> "ir.Table":
    """The labels that most published rules have: every tag that somebody makes up would be a board."""
    shown = labels.filter(labels.scope_value != "").distinct()
    published = rules.filter(~rules.is_deleted).select("rule_id")
    sizes = shown.semi_join(published, "rule_id").group_by("scope", "scope_value").agg(rule_count=ibis._.count())
    order = [ibis.desc("rule_count"), "scope_value"]
    placed = sizes.mutate(place=ibis.row_number().over(group_by="scope", order_by=order))
    return shown.semi_join(placed.filter(placed.place < MOST_SCOPE_VALUES), ["scope", "scope_value"])


def _entries(sums: "ir.Table", kind: Kind) -> "ir.Table":
    """One row per subject, scope value and period."""
    return ibis.union(
        *(
            sums.select(
                period=ibis.literal(period),
                kind=ibis.literal(kind),
                scope=sums.scope,
                scope_value=sums.scope_value,
                subject_id=sums.subject_id,
                score=sums[f"score_{period}"].cast(EXACT),
                points=sums[f"points_{period}"].cast("float64"),
                views=sums[f"views_{period}"].cast("int64"),
            )
            for period in PERIODS
        )
    )


def _ranked(entries: "ir.Table") -> "ir.Table":
    order = [ibis.desc("score"), ibis.desc("views"), "subject_id"]
    placed = entries.mutate(rank=ibis.row_number().over(group_by=list(BOARD), order_by=order) + 1)
    first = placed.filter(placed.rank <= MOST_PLACES)
    return first.select(
        *BOARD,
        rank=first.rank.cast("int64"),
        subject_id="subject_id",
        score=first.score.cast("float64"),
        points="points",
        views="views",
    ).order_by(*BOARD, "rank")
