"""The rollup of one day's events of rules, as Ibis expressions over the event history. Pure.

`rule_events` judges every event of the day and counts by rule and reason; what it gives is small, and the other tables
are made of it. Rows are ranked (views of one address, votes of one person) only where there are too many of them.

Sums of fractions are sums of decimals: they do not depend on the order in which an engine adds.
"""

import functools
import json
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt

from ingestion_pipeline.domains.community.abuse import (
    ADDRESS_RATE,
    BOT,
    NO_RULE,
    REPEAT_VIEW,
    REPEAT_VOTE,
    SELF_VOTE,
    VIEW_CAP,
    VIEWS_PER_ADDRESS,
    WITHDRAWN_VOTE,
    Limits,
)
from ingestion_pipeline.domains.community.scoring import COPY, FORK, KINDS, SAVE, VIEW, VOTE, WEIGHTS, points

if TYPE_CHECKING:
    import ibis.expr.types as ir

# of one event, at most ±5, and of a day's sum: neither the order of rows nor the engine changes the last digit
EVENT_SCORE, DAY_SCORE = dt.Decimal(18, 16), dt.Decimal(38, 12)
COUNTS = ("views", "copies", "saves", "forks")
KIND_OF = {"views": VIEW, "copies": COPY, "saves": SAVE, "forks": FORK}
NO = ibis.literal(False)
SEEN = ("rule_id", "event_type", "event_id", "user_id", "address_hash", "occurred_at")
JUDGED = ("rule_id", "event_type", "user_id", "occurred_at", "direction", "reason")
DAY_MICROSECONDS, HOUR_MICROSECONDS = 86_400_000_000, 3_600_000_000.0


@ibis.udf.scalar.builtin(name="epoch_us", signature=((dt.Timestamp("UTC"),), dt.int64))
def microseconds(instant):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """Microseconds since 1970."""


@ibis.udf.scalar.builtin(name="hash", signature=((dt.string, dt.string), dt.uint64))
def hashed(one, other):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """64 bits of two texts."""


@ibis.udf.scalar.builtin(name="json_extract_string", signature=((dt.string, dt.string), dt.string))
def json_text(document, path):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """The text at a JSON path, null where there is none."""


def rule_events(events: "ir.Table", rules: "ir.Table", limits: Limits) -> "ir.Table":
    """The events of rules counted by rule and reason for which they do not count, null where they do.

    Args:
        events: Rows of events/event_history: all of one UTC day.
        rules: rule_id and author_id of every rule, once.
        limits: By what they are judged.

    Returns:
        Columns rule_id, reason, views, copies, saves, forks, votes, votes_up, votes_down, unique_users, score (in
        exact decimals; of what does not count all four are of no use).
    """
    seen = _seen(events, limits)
    views = seen.filter(seen.event_type == VIEW)
    votes = seen.filter(seen.event_type == VOTE)
    others = seen.filter(~seen.event_type.isin([VIEW, VOTE]))
    judged = ibis.union(_capped_views(views), _last_votes(votes, rules), _columns(others))
    counted = judged.reason.isnull()
    weight = ibis.cases(*((judged.event_type == kind, value) for kind, value in WEIGHTS.items()), else_=0)
    worth = (weight * judged.direction).cast("float64") * _decay(judged, limits.half_life_hours)
    return judged.group_by("rule_id", "reason").agg(
        **{name: judged.count(where=judged.event_type == kind) for name, kind in KIND_OF.items()},
        votes=judged.count(where=judged.event_type == VOTE),
        votes_up=judged.count(where=(judged.event_type == VOTE) & (judged.direction > 0)),
        votes_down=judged.count(where=judged.direction < 0),
        unique_users=judged.user_id.nunique(where=counted),
        score=worth.cast(EVENT_SCORE).sum(where=counted),
    )


def rule_metrics(counts: "ir.Table", rules: "ir.Table") -> "ir.Table":
    """The rows of community/rule_metrics_daily, without their day.

    Args:
        counts: As `rule_events` gives them.
        rules: rule_id and author_id of every rule, once.
    """
    named = counts.filter(counts.rule_id.notnull())
    counted = named.reason.isnull()
    sums = named.group_by("rule_id").agg(
        **{name: named[name].sum(where=counted).fill_null(0) for name in (*COUNTS, "votes_up", "votes_down")},
        unique_users=named.unique_users.sum(where=counted).fill_null(0),
        trending_score=named.score.sum(where=counted).cast("float64").fill_null(0.0),
        excluded_events=_events(named).sum(where=~counted).fill_null(0),
    )
    rows = sums.left_join(rules, "rule_id").select(*sums.columns, rules.author_id)
    return rows.mutate(points=_points(rows))


def excluded_events(counts: "ir.Table") -> "ir.Table":
    """The rows of community/excluded_events_daily, without their day, of what `rule_events` gives."""
    excluded = counts.filter(counts.reason.notnull())
    return excluded.group_by("reason").agg(
        events=_events(excluded).sum(), **{name: excluded[name].sum() for name in (*COUNTS, "votes")}
    )


def author_metrics(metrics: "ir.Table", donations: "ir.Table") -> "ir.Table":
    """The rows of community/author_metrics_daily, without their day.

    Args:
        metrics: Rows of community/rule_metrics_daily, all of one day.
        donations: author_id, donations (how many were paid on the day) and donations_net (JSON), one row an author.
    """
    owned = metrics.filter(metrics.author_id.notnull())
    sums = owned.group_by("author_id").agg(
        rules=owned.count(),
        **{name: owned[name].sum() for name in (*COUNTS, "votes_up", "votes_down")},
        trending_score=owned.trending_score.cast(DAY_SCORE).sum().cast("float64"),
    )
    both = sums.outer_join(donations, "author_id")
    rows = both.select(
        author_id=ibis.coalesce(sums.author_id, donations.author_id),
        **{name: sums[name].fill_null(0) for name in ("rules", *COUNTS, "votes_up", "votes_down")},
        trending_score=sums.trending_score.fill_null(0.0),
        donations=donations.donations.fill_null(0),
        donations_net=donations.donations_net.fill_null("{}"),
    )
    return rows.mutate(points=_points(rows))


def _seen(events: "ir.Table", limits: Limits) -> "ir.Table":
    """The events of rules, with a reason where one holds that needs no other event but the number of an address's."""
    # as tables disagree on which columns may be null, what they have in common is that all may
    events = events.mutate(**{name: events[name].cast(events[name].type().copy(nullable=True)) for name in SEEN})
    some = events.filter(events.event_type.isin(KINDS))
    addresses = some.filter(some.address_hash.notnull()).group_by("address_hash").agg(n=lambda it: it.count())
    busy = addresses.filter(addresses.n > limits.events_per_address).address_hash
    reason = ibis.cases(
        (some.rule_id.isnull(), NO_RULE),
        (~some.is_counted, REPEAT_VIEW),
        (_is_bot(some, limits.user_agents), BOT),
        (some.address_hash.isin(busy), ADDRESS_RATE),
    )
    return some.select(*SEEN, direction=_direction(some), reason=reason)


def _columns(events: "ir.Table") -> "ir.Table":
    return events.select(*JUDGED)


def _is_bot(events: "ir.Table", user_agents: tuple[str, ...]) -> "ir.BooleanValue":
    is_bot = (events.device_type == "bot").fill_null(NO)
    if not user_agents:
        return is_bot
    # what holds none of the texts anywhere, nearly all, is never read as JSON
    may_be = _holds_any(events.metadata, [json.dumps(text, ensure_ascii=False)[1:-1] for text in user_agents])
    said = json_text(events.metadata, "$.userAgent")
    return is_bot | ibis.cases((may_be, _holds_any(said, user_agents).fill_null(NO)), else_=NO)


def _holds_any(value: "ir.StringValue", texts: Sequence[str]) -> "ir.BooleanValue":
    return functools.reduce(operator.or_, (value.lower().contains(text.lower()) for text in texts))


def _direction(events: "ir.Table") -> "ir.NumericValue":
    """1 of a vote that is up or does not say, -1 of one that is down, 0 of one withdrawn; of other events 1."""
    value = ibis.cases(
        (events.event_type == VOTE, json_text(events.event_data, "$.value").try_cast("float64"))
    ).fill_null(1.0)
    return value.sign().cast("int8")


def _capped_views(views: "ir.Table") -> "ir.Table":
    """The first views of an address on a rule and day count, by time and id."""
    keys = ("rule_id", "address_hash")
    mine = views.reason.isnull() & views.address_hash.notnull()
    return _with_places(views, mine, keys, more_than=VIEWS_PER_ADDRESS, last_first=False, reason=VIEW_CAP)


def _last_votes(votes: "ir.Table", rules: "ir.Table") -> "ir.Table":
    """The last vote of a person on a rule and day counts, or of an address where nobody is named; none of authors."""
    authored = votes.left_join(rules, "rule_id").select(votes, rules.author_id)
    judged = authored.mutate(
        reason=authored.reason.coalesce(ibis.cases((authored.user_id == authored.author_id, SELF_VOTE))),
        voter=ibis.coalesce("u" + authored.user_id, "a" + authored.address_hash),
    )
    mine = judged.reason.isnull() & judged.voter.notnull()
    keys = ("rule_id", "voter")
    last = _with_places(judged, mine, keys, more_than=1, last_first=True, reason=REPEAT_VOTE)
    return last.mutate(reason=last.reason.coalesce(ibis.cases((last.direction == 0, WITHDRAWN_VOTE))))


def _with_places(
    events: "ir.Table",
    mine: "ir.BooleanValue",
    keys: tuple[str, ...],
    *,
    more_than: int,
    last_first: bool,
    reason: str,
) -> "ir.Table":
    """`events` with `reason` on those beyond the first `more_than` of each group of `keys`, of the rows `mine`.

    Only groups that are too large are sorted; they are found by a hash, so that a few others may be sorted too.
    """
    keyed = events.mutate(mine=mine, place_key=hashed(*(events[name] for name in keys)))
    sizes = keyed.filter(keyed.mine).group_by("place_key").agg(n=lambda it: it.count())
    large = sizes.filter(sizes.n > more_than).place_key
    marked = keyed.mutate(is_ranked=keyed.mine & keyed.place_key.isin(large))
    ranked = marked.filter(marked.is_ranked)
    order = [ibis.desc("occurred_at"), ibis.desc("event_id")] if last_first else ["occurred_at", "event_id"]
    place = ibis.row_number().over(ibis.window(group_by=keys, order_by=order))  # from 0
    beyond = ranked.mutate(place=place).mutate(reason=lambda it: ibis.cases((it.place >= more_than, reason)))
    return ibis.union(_columns(marked.filter(~marked.is_ranked)), _columns(beyond))


def _decay(events: "ir.Table", half_life_hours: float) -> "ir.FloatingValue":
    """2^-(hours to the end of the event's day / half-life)."""
    since_midnight = microseconds(events.occurred_at) % DAY_MICROSECONDS
    hours = (ibis.literal(DAY_MICROSECONDS) - since_midnight) / HOUR_MICROSECONDS
    return ibis.literal(2.0) ** (-hours / half_life_hours)


def _points(rows: "ir.Table") -> "ir.FloatingValue":
    return points(**{name: rows[name] for name in (*COUNTS, "votes_up", "votes_down")}).cast("float64")  # type: ignore[attr-defined]


def _events(counts: "ir.Table") -> "ir.IntegerValue":
    return counts.views + counts.copies + counts.saves + counts.forks + counts.votes
