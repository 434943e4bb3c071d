"""The rollup of one day's events of rules, as Ibis expressions over the event history.

`rule_events` judges every event of the day and counts by rule and reason; what it gives is small, and the other tables
are made of it. It is computed in passes over the events, of which each leaves a small table: no engine has to hold the
events. Rows are ranked (views of one address, votes of one person) only where there are too many of them.

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
    from ibis.backends import BaseBackend

# of one event, at most ±5, and of a day's sum: neither the order of rows nor the engine changes the last digit
EVENT_SCORE, DAY_SCORE = dt.Decimal(18, 16), dt.Decimal(38, 12)
COUNTS = ("views", "copies", "saves", "forks")
KIND_OF = {"views": VIEW, "copies": COPY, "saves": SAVE, "forks": FORK}
NO = ibis.literal(False)
SEEN = ("rule_id", "event_type", "event_id", "user_id", "address_hash", "occurred_at")
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


def rule_events(engine: "BaseBackend", events: "ir.Table", rules: "ir.Table", limits: Limits) -> "ir.Table":
    """The events of rules counted by rule and reason for which they do not count, null where they do. In memory.

    Args:
        engine: That of `events`.
        events: Rows of events/event_history: all of one UTC day.
        rules: rule_id and author_id of every rule, once.
        limits: By what they are judged.

    Returns:
        Columns rule_id, reason, views, copies, saves, forks, votes, votes_up, votes_down, unique_users, score (in
        exact decimals; of what does not count all four are of no use).
    """
    some = _of_rules(events)
    busy = _in_memory(engine, _busy_addresses(some, limits))
    crowded = _in_memory(engine, _crowded_places(some))
    beyond = _in_memory(engine, _beyond(_judged(some.semi_join(crowded, "place_key"), rules, busy, limits)))
    return _in_memory(engine, _counts(_judged(some, rules, busy, limits), beyond, limits))


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


def _in_memory(engine: "BaseBackend", rows: "ir.Table") -> "ir.Table":
    return ibis.memtable(engine.to_pyarrow(rows))


def _of_rules(events: "ir.Table") -> "ir.Table":
    """The events of the kinds that count, with `place_key`.

    That is the same for all views of an address, and for all votes of a person, on a rule; null without anybody. As it
    is a hash, it is at times the same for others too.
    """
    # as tables disagree on which columns may be null, what they have in common is that all may
    events = events.mutate(**{name: events[name].cast(events[name].type().copy(nullable=True)) for name in SEEN})
    some = events.filter(events.event_type.isin(KINDS))
    place_key = ibis.cases(
        ((some.event_type == VIEW) & some.address_hash.notnull(), hashed(some.rule_id, some.address_hash)),
        ((some.event_type == VOTE) & _voter(some).notnull(), hashed(_voter(some), some.rule_id)),
    )
    return some.mutate(place_key=place_key)


def _busy_addresses(some: "ir.Table", limits: Limits) -> "ir.Table":
    """The addresses of which no event counts: they have too many."""
    addresses = some.filter(some.address_hash.notnull()).group_by("address_hash").agg(n=lambda it: it.count())
    return addresses.filter(addresses.n > limits.events_per_address).select("address_hash")


def _crowded_places(some: "ir.Table") -> "ir.Table":
    """Each `place_key` that more events share than may count."""
    placed = some.filter(some.place_key.notnull())
    sizes = placed.group_by("place_key").agg(n=lambda it: it.count(), most=lambda it: _most(it).min())
    return sizes.filter(sizes.n > sizes.most).select("place_key")


def _judged(some: "ir.Table", rules: "ir.Table", busy: "ir.Table", limits: Limits) -> "ir.Table":
    """With a reason where one holds that needs no other event but the number of an address's."""
    authored = some.left_join(rules, "rule_id").select(some, rules.author_id)
    reason = ibis.cases(
        (authored.rule_id.isnull(), NO_RULE),
        (~authored.is_counted, REPEAT_VIEW),
        (_is_bot(authored, limits.user_agents), BOT),
        (authored.address_hash.isin(busy.address_hash), ADDRESS_RATE),
        ((authored.event_type == VOTE) & (authored.user_id == authored.author_id), SELF_VOTE),
    )
    return authored.select(*SEEN, direction=_direction(authored), reason=reason)


def _beyond(judged: "ir.Table") -> "ir.Table":
    """The ids, with a reason, of views beyond the first of an address on a rule and of votes before a person's last.

    By time and id, of what has no other reason.
    """
    who = ibis.cases((judged.event_type == VIEW, judged.address_hash), (judged.event_type == VOTE, _voter(judged)))
    mine = judged.mutate(who=who).filter(lambda it: it.reason.isnull() & it.who.notnull())
    keys, order = ("event_type", "rule_id", "who"), ("occurred_at", "event_id")
    first = ibis.row_number().over(ibis.window(group_by=keys, order_by=order))  # from 0
    last = ibis.row_number().over(ibis.window(group_by=keys, order_by=[ibis.desc(name) for name in order]))
    placed = mine.mutate(place=ibis.ifelse(mine.event_type == VIEW, first, last))
    beyond = placed.filter(placed.place >= _most(placed))
    return beyond.select("event_id", beyond_reason=ibis.ifelse(beyond.event_type == VIEW, VIEW_CAP, REPEAT_VOTE))


def _counts(judged: "ir.Table", beyond: "ir.Table", limits: Limits) -> "ir.Table":
    both = judged.left_join(beyond, "event_id").select(judged, beyond.beyond_reason)
    is_withdrawn = (both.event_type == VOTE) & (both.direction == 0)
    known = both.mutate(
        reason=ibis.coalesce(both.reason, both.beyond_reason, ibis.cases((is_withdrawn, WITHDRAWN_VOTE)))
    )
    counted = known.reason.isnull()
    weight = ibis.cases(*((known.event_type == kind, value) for kind, value in WEIGHTS.items()), else_=0)
    worth = (weight * known.direction).cast("float64") * _decay(known, limits.half_life_hours)
    return known.group_by("rule_id", "reason").agg(
        **{name: known.count(where=known.event_type == kind) for name, kind in KIND_OF.items()},
        votes=known.count(where=known.event_type == VOTE),
        votes_up=known.count(where=(known.event_type == VOTE) & (known.direction > 0)),
        votes_down=known.count(where=known.direction < 0),
        unique_users=known.user_id.nunique(where=counted),
        score=worth.cast(EVENT_SCORE).sum(where=counted),
    )


def _voter(events: "ir.Table") -> "ir.StringValue":
    """Whose vote it is: a person's, or an address's where nobody is named."""
    return ibis.coalesce("u" + events.user_id, "a" + events.address_hash)


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


def _most(events: "ir.Table") -> "ir.IntegerValue":
    """How many events of one place_key count."""
    return ibis.ifelse(events.event_type == VIEW, VIEWS_PER_ADDRESS, 1)


def _decay(events: "ir.Table", half_life_hours: float) -> "ir.FloatingValue":
    """2^-(hours to the end of the event's day / half-life)."""
    since_midnight = microseconds(events.occurred_at) % DAY_MICROSECONDS
    hours = (ibis.literal(DAY_MICROSECONDS) - since_midnight) / HOUR_MICROSECONDS
    return ibis.literal(2.0) ** (-hours / half_life_hours)


def _points(rows: "ir.Table") -> "ir.FloatingValue":
    return points(**{name: rows[name] for name in (*COUNTS, "votes_up", "votes_down")}).cast("float64")  # type: ignore[attr-defined]


def _events(counts: "ir.Table") -> "ir.IntegerValue":
    return counts.views + counts.copies + counts.saves + counts.forks + counts.votes
