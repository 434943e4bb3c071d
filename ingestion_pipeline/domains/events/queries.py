"""What applications and persons read of events: pages of the hot log, aggregations, the dashboard.

An application sees everything. A person sees their own events: every statement filters by owner, and row-level security
on the log does so again. Aggregates that others are part of are never shown to a person; theirs are counted from their
own hot events.

Belongs here: parameters, statements, pages. Does not belong here: what the document says of them (queries_openapi.py).
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncCursor, sql
from psycopg.rows import DictRow, dict_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.events import queries_openapi as openapi
from ingestion_pipeline.domains.events.contracts import Identifier, Instant
from ingestion_pipeline.intake.endpoints import PERSON, Answer, Call, Caller, Endpoint, json_answer
from ingestion_pipeline.intake.parameters import cursor_of, position_of, query_of, require_storable
from ingestion_pipeline.intake.problems import FieldError, Problem
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.postgres import QUERIES

STATEMENT_TIMEOUT_MS = 5_000

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
        query = query_of(call, EventsQuery, max_page=openapi.MAX_PAGE)
        page, more = await self._page(call.caller, _events_statement(query, call.caller), query.limit)
        for row in page:
            row["data"], row["metadata"] = msgspec.Raw(row["data"].encode()), msgspec.Raw(row["metadata"].encode())
        return json_answer(200, {"events": page, "nextCursor": cursor_of([page[-1]["id"]]) if more else None})

    async def aggregations(self, call: Call) -> Answer:
        """GET /api/events/aggregations."""
        query = query_of(call, AggregationsQuery, max_page=openapi.MAX_PAGE)
        page, more = await self._page(call.caller, _aggregations_statement(query, call.caller), query.limit)
        for row in page:
            row["properties"] = msgspec.Raw(row["properties"].encode())
        last = [page[-1][name] for name in ("bucketStart", "type", "category")] if more else []
        return json_answer(200, {"aggregations": page, "nextCursor": cursor_of(last) if more else None})

    async def dashboard(self, call: Call) -> Answer:
        """GET /api/events/dashboard."""
        query_of(call, NoQuery, max_page=openapi.MAX_PAGE)
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
        "id < %s": None if query.cursor is None else position_of(query.cursor, tuple[UUID])[0],
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
        place = position_of(query.cursor, tuple[Instant, Word, Word])
        require_storable("cursor", place[0])
        values = sql.SQL(", ").join([sql.Literal(value) for value in place])
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
