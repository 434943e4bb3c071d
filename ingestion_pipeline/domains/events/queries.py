"""What applications and persons read of events: pages of the hot log, aggregations, the dashboard.

An application sees everything. A person sees their own events: every statement filters by owner, and row-level security
on the log does so again. Aggregates that others are part of are never shown to a person; theirs are counted from their
own hot events.

Belongs here: parameters, statements, pages. Does not belong here: what the document says of them (queries_openapi.py).
"""

import base64
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncCursor, sql
from psycopg.rows import DictRow, dict_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.events import queries_openapi as openapi
from ingestion_pipeline.domains.events.contracts import Identifier, Instant
from ingestion_pipeline.intake.bodies import field_error
from ingestion_pipeline.intake.endpoints import PERSON, Answer, Call, Caller, Endpoint, json_answer
from ingestion_pipeline.intake.problems import FieldError, Problem
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.postgres import QUERIES

STATEMENT_TIMEOUT_MS = 5_000
_NO_CURSOR = FieldError("cursor", "the nextCursor of an earlier page")
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

T = TypeVar("T")
Category = Literal["transaction", "interaction", "user_activity", "content"]
Limit = Annotated[int, msgspec.Meta(ge=1, le=openapi.MAX_PAGE)]
Word = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")]
Conditions = dict[str, object]  # a condition in SQL with one placeholder: its value, or None for no condition


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The parameters of GET /api/events."""

    type: Identifier | None = None
    category: Category | None = None
    user_id: Identifier | None = None
    session_id: Identifier | None = None
    rule_id: Identifier | None = None
    from_: Instant | None = msgspec.field(default=None, name="from")
    to: Instant | None = None
    status: Literal["pending", "processing", "processed", "failed"] | None = None
    limit: Limit = openapi.DEFAULT_PAGE
    cursor: str | None = None


class AggregationsQuery(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The parameters of GET /api/events/aggregations."""

    period: Literal["hourly", "daily", "weekly"] = "daily"
    type: Identifier | None = None
    category: Category | None = None
    from_: Instant | None = msgspec.field(default=None, name="from")
    to: Instant | None = None
    limit: Limit = openapi.DEFAULT_PAGE
    cursor: str | None = None


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of an endpoint that takes none."""


# `created_at` orders events as their ids do, to the millisecond: ids are UUIDv7 of that instant and have an index.
_EVENTS = """
select
    id, event_type as "type", event_category as category, user_id as "userId", session_id as "sessionId",
    rule_id as "ruleId", event_data::text as data, metadata::text as metadata, "timestamp",
    created_at as "createdAt", processing_status as "processingStatus", retry_count as "retryCount",
    error_message as "errorMessage"
from events.platform_events
where {conditions}
order by id desc
limit {limit}
"""
_SETTLED_BY_HAND = "id in (select event_id from events.event_states where processing_status = %s)"
_AGGREGATIONS = """
select
    {period} as period, bucket_start as "bucketStart", event_type as "type", event_category as category,
    event_count as "count", uncounted_count as "uncountedCount", unique_users as "uniqueUsers",
    unique_sessions as "uniqueSessions", first_event_at as "firstEventAt", last_event_at as "lastEventAt",
    properties::text as properties
from {source} as aggregations
where {conditions}
order by bucket_start desc, event_type desc, event_category desc
limit {limit}
"""
_OF_PERSON = """(
    select
        date_trunc({unit}, "timestamp", 'UTC') as bucket_start, event_type, event_category,
        count(*) filter (where uncounted_reason is null) as event_count,
        count(*) filter (where uncounted_reason is not null) as uncounted_count,
        count(distinct user_id) filter (where uncounted_reason is null) as unique_users,
        count(distinct session_id) filter (where uncounted_reason is null) as unique_sessions,
        min("timestamp") as first_event_at, max("timestamp") as last_event_at, '{{}}'::jsonb as properties
    from events.platform_events
    where user_id = nullif(current_setting('app.user_id', true), '')
    group by 1, 2, 3
)"""
_UNITS = {"hourly": "hour", "daily": "day", "weekly": "week"}
_COUNTS = (QUERIES / "event_counts_today.sql").read_bytes()
_OWN_COUNTS = (QUERIES / "own_event_counts_today.sql").read_bytes()
_ACTIVE = (QUERIES / "active_users_latest.sql").read_bytes()
_OWN_ACTIVE = (QUERIES / "own_activity_latest.sql").read_bytes()
_METRICS = (QUERIES / "realtime_metrics.sql").read_bytes()
_MOST_TYPES = 10
_SEEN_AS = (
    b"select set_config('app.user_id', %s, true), set_config('app.scope', %s, true), "
    b"set_config('statement_timeout', %s, true)"
)


def query_endpoints(services: Services) -> list[Endpoint]:
    """The endpoints that read."""
    reader = Reader(services)
    access = ("events:read", PERSON)
    own = "A person sees their own events only."
    return [
        Endpoint(
            method="GET",
            path="/api/events",
            handler=reader.events,
            access=access,
            summary="Stored events, newest first",
            description=f"Events of the last EVENTS_HOT_DAYS; older ones are in the lake. {own}",
            parameters=openapi.EVENTS_PARAMETERS,
            responses=openapi.EVENTS_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/events/aggregations",
            handler=reader.aggregations,
            access=access,
            summary="Events counted per hour, day or week",
            description=f"{own} Theirs are counted from the last EVENTS_HOT_DAYS, without `properties`.",
            parameters=openapi.AGGREGATIONS_PARAMETERS,
            responses=openapi.AGGREGATIONS_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/events/dashboard",
            handler=reader.dashboard,
            access=access,
            summary="Today's figures and the realtime metrics",
            description=f"{own} The realtime metrics are for applications.",
            responses=openapi.DASHBOARD_RESPONSES,
        ),
    ]


class Reader:
    """Answers the queries, each in a transaction that sees what its caller may see."""

    def __init__(self, services: Services) -> None:
        self._pool = services.pool

    async def events(self, call: Call) -> Answer:
        """GET /api/events."""
        query = _query(call, EventsQuery)
        page, more = await self._page(call.caller, _events_statement(query, call.caller), query.limit)
        for row in page:
            row["data"], row["metadata"] = msgspec.Raw(row["data"].encode()), msgspec.Raw(row["metadata"].encode())
        return json_answer(200, {"events": page, "nextCursor": _cursor(page[-1]["id"]) if more else None})

    async def aggregations(self, call: Call) -> Answer:
        """GET /api/events/aggregations."""
        query = _query(call, AggregationsQuery)
        page, more = await self._page(call.caller, _aggregations_statement(query, call.caller), query.limit)
        for row in page:
            row["properties"] = msgspec.Raw(row["properties"].encode())
        last = [page[-1][name] for name in ("bucketStart", "type", "category")] if more else []
        return json_answer(200, {"aggregations": page, "nextCursor": _cursor(*last) if more else None})

    async def dashboard(self, call: Call) -> Answer:
        """GET /api/events/dashboard."""
        _query(call, NoQuery)
        is_person = call.caller.kind == "person"
        async with self._seen_by(call.caller) as cursor:
            counts = await _rows(cursor, _OWN_COUNTS if is_person else _COUNTS)
            active = await _rows(cursor, _OWN_ACTIVE if is_person else _ACTIVE)
            metrics = [] if is_person else await _rows(cursor, _METRICS)
        return json_answer(200, dashboard(counts, active[0] if active else None, metrics, now=utc_now()))

    async def _page(self, caller: Caller, statement: sql.Composed, limit: int) -> tuple[list[DictRow], bool]:
        """At most `limit` rows of a statement that asks for one more, and whether there was one."""
        async with self._seen_by(caller) as cursor:
            rows = await _rows(cursor, statement)
        return rows[:limit], len(rows) > limit

    @asynccontextmanager
    async def _seen_by(self, caller: Caller) -> AsyncIterator[AsyncCursor[DictRow]]:
        """A cursor in a transaction of its own, with the sight of `caller`."""
        is_person = caller.kind == "person"
        sight = (caller.name if is_person else "", "" if is_person else "application", str(STATEMENT_TIMEOUT_MS))
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_SEEN_AS, sight)
            yield cursor


def dashboard(
    counts: Sequence[DictRow], active: DictRow | None, metrics: Sequence[DictRow], *, now: datetime
) -> dict[str, Any]:
    """The figures of `now`: events of its UTC day by type and category, people on the newest day on record."""
    users = active or {"day": None, "active_users": 0, "active_users_7_days": 0, "active_users_28_days": 0}
    is_of_today = users["day"] == now.date()
    by_category, by_type = Counter[str](), Counter[str]()
    for row in counts:
        by_category[row["event_category"]] += row["event_count"]
        by_type[row["event_type"]] += row["event_count"]
    return {
        "generatedAt": now,
        "today": {
            "events": by_type.total(),
            "uncountedEvents": sum(row["uncounted_count"] for row in counts),
            "uniqueUsers": users["active_users"] if is_of_today else 0,
            "uniqueSessions": users["sessions"] if is_of_today else 0,
        },
        "byCategory": by_category,
        "topTypes": [{"type": name, "count": count} for name, count in by_type.most_common(_MOST_TYPES)],
        "realtime": [
            {
                "name": row["metric_name"],
                "dimensions": row["dimensions"],
                "value": row["metric_value"],
                "updatedAt": row["updated_at"],
                "expiresAt": row["expires_at"],
            }
            for row in metrics
        ],
        "activeUsers": {
            "day": users["active_users"],
            "week": users["active_users_7_days"],
            "month": users["active_users_28_days"],
        },
    }


async def _rows(cursor: AsyncCursor[DictRow], statement: sql.Composed | bytes) -> list[DictRow]:
    try:
        await cursor.execute(statement)
    except psycopg.errors.QueryCanceled:
        raise Problem(
            422,
            f"the query takes longer than {STATEMENT_TIMEOUT_MS // 1000} s",
            errors=[FieldError("from", "a shorter time or a narrower filter")],
        ) from None
    return await cursor.fetchall()


def _query(call: Call, kind: type[T]) -> T:
    """The parameters of `call`; the problem names the one that is wrong."""
    given: dict[str, object] = dict(call.query)
    limit = call.query.get("limit", "")
    if limit.isascii() and limit.isdigit() and len(limit) <= len(str(openapi.MAX_PAGE)):
        given["limit"] = int(limit)
    try:
        query = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise _refused(field_error(str(error))) from None
    for name in ("from_", "to"):
        instant = getattr(query, name, None)
        if instant is not None and not _is_storable(instant):
            expected = "an instant of the years 2000 to 2099"
            raise _refused(FieldError(name.removesuffix("_"), expected, instant.isoformat()))
    return query


def _is_storable(instant: datetime) -> bool:
    return _FIRST <= instant <= _LAST


def _refused(error: FieldError) -> Problem:
    seen = "" if error.seen is None else f" is {error.seen}"
    return Problem(422, f"query parameter {error.field}{seen}: expected {error.expected}", errors=[error])


def _events_statement(query: EventsQuery, caller: Caller) -> sql.Composed:
    by_hand = query.status if query.status in ("failed", "processing") else None
    conditions: Conditions = {
        "user_id = %s::text": caller.name if caller.kind == "person" else None,
        "event_type = %s": query.type,
        "event_category = %s": query.category,
        "user_id = %s": query.user_id,
        "session_id = %s": query.session_id,
        "rule_id = %s": query.rule_id,
        "created_at >= %s": query.from_,
        "created_at < %s": query.to,
        "processing_status = %s": query.status,
        _SETTLED_BY_HAND: by_hand,
        "id < %s": None if query.cursor is None else _position(query.cursor, tuple[UUID])[0],
    }
    return sql.SQL(_EVENTS).format(conditions=_all_of(conditions), limit=sql.Literal(query.limit + 1))


def _aggregations_statement(query: AggregationsQuery, caller: Caller) -> sql.Composed:
    source: sql.Composable = sql.Identifier("events", f"event_aggregations_{query.period}")
    if caller.kind == "person":
        source = sql.SQL(_OF_PERSON).format(unit=sql.Literal(_UNITS[query.period]))
    conditions: Conditions = {
        "event_type = %s": query.type,
        "event_category = %s": query.category,
        "bucket_start >= %s": query.from_,
        "bucket_start < %s": query.to,
    }
    clauses = [_all_of(conditions)]
    if query.cursor is not None:
        position = _position(query.cursor, tuple[Instant, Word, Word])
        if not _is_storable(position[0]):
            raise _refused(_NO_CURSOR)
        values = sql.SQL(", ").join([sql.Literal(value) for value in position])
        clauses.append(sql.SQL("(bucket_start, event_type, event_category) < ({})").format(values))
    return sql.SQL(_AGGREGATIONS).format(
        period=sql.Literal(query.period),
        source=source,
        conditions=sql.SQL(" and ").join(clauses),
        limit=sql.Literal(query.limit + 1),
    )


def _all_of(conditions: Mapping[str, object]) -> sql.Composed:
    """Every condition whose value is not None, the value in it as a literal."""
    parts = [sql.SQL("true")] + [
        sql.SQL(condition.replace("%s", "{}")).format(sql.Literal(value))
        for condition, value in conditions.items()
        if value is not None
    ]
    return sql.SQL(" and ").join(parts)


def _cursor(*position: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def _position(cursor: str, kind: type[T]) -> T:
    """What `_cursor` was given.

    Raises:
        Problem: 422, it is none of ours.
    """
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise _refused(_NO_CURSOR) from None
