"""The endpoints of whoever answers for the data: erase or export a person, look through the rejects, replay them.

The intake reads the lake, for an export, and never changes it: an erasure is recorded and done in PostgreSQL here, and
completed by a worker (erasure.py). What blocks runs in threads.
"""

import asyncio
from contextlib import closing
from itertools import islice
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row

from ingestion_pipeline.domains.events import admin_openapi as openapi
from ingestion_pipeline.domains.events.contracts import Identifier, Instant
from ingestion_pipeline.domains.events.export import Part, Record, export
from ingestion_pipeline.domains.events.replay import Selection, replay, retry_failed
from ingestion_pipeline.intake.bodies import decode
from ingestion_pipeline.intake.endpoints import Answer, Call, Endpoint, json_answer
from ingestion_pipeline.intake.parameters import NO_CURSOR, cursor_of, position_of, query_of, refused, require_storable
from ingestion_pipeline.intake.problems import FieldError, Problem
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

ACCESS = ("events:admin",)

Limit = Annotated[int, msgspec.Meta(ge=1, le=openapi.MAX_PAGE)]
Words = Annotated[str, msgspec.Meta(min_length=1)]
RejectId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]

_ERASURE = """
select
    erasure_id as "erasureId", mode, status, requested_at as "requestedAt", completed_at as "completedAt", removed,
    error_message as "errorMessage"
from events.erasure_requests
where erasure_id = %s
"""
_REJECTS = """
select
    reject_id as id, reason, (payload -> 'event')::text as event, (payload -> 'received')::text as received,
    first_seen_at as "firstSeenAt", last_seen_at as "lastSeenAt", seen_count as "seenCount",
    replayed_at as "replayedAt", replayed_as as "replayedAs"
from operations.rejects
where
    source = 'events' and (replayed_at is not null) = %(replayed)s
    and (%(before_id)s::bigint is null or reject_id < %(before_id)s)
    and (%(event_type)s::text is null or payload -> 'event' ->> 'type' = %(event_type)s)
    and (%(reason)s::text is null or strpos(lower(reason), lower(%(reason)s)) > 0)
    and (%(first)s::timestamptz is null or last_seen_at >= %(first)s)
    and (%(before)s::timestamptz is null or last_seen_at < %(before)s)
order by reject_id desc
limit %(rows)s
"""


class ErasureBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /api/events/erase."""

    user_id: Identifier
    mode: Literal["erase", "anonymise"] = "erase"


class ReplayBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /api/events/rejects/replay."""

    id: RejectId | None = None
    from_: Instant | None = msgspec.field(default=None, name="from")
    to: Instant | None = None
    type: Identifier | None = None
    reason: Words | None = None
    failed: bool = False
    dry_run: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=openapi.MOST_REPLAYED)] = openapi.MOST_REPLAYED


class RejectsQuery(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The parameters of GET /api/events/rejects."""

    type: Identifier | None = None
    reason: Words | None = None
    from_: Instant | None = msgspec.field(default=None, name="from")
    to: Instant | None = None
    replayed: Literal["true", "false"] = "false"
    limit: Limit = openapi.DEFAULT_PAGE
    cursor: str | None = None


class ExportQuery(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The parameters of GET /api/events/export."""

    user_id: Identifier
    limit: Limit = openapi.DEFAULT_PAGE
    cursor: str | None = None


class Place(msgspec.Struct, array_like=True):
    """Where a page of an export ended."""

    part: Part
    position: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z.:_ -]+$", max_length=120)]


_ERASURE_BODY, _REPLAY_BODY = msgspec.json.Decoder(ErasureBody), msgspec.json.Decoder(ReplayBody)


def admin_endpoints(services: Services) -> list[Endpoint]:
    """The endpoints that need the scope events:admin."""
    admin = Administration(services)
    return [
        Endpoint(
            method="POST",
            path="/api/events/erase",
            handler=admin.erase,
            access=ACCESS,
            summary="Erase a person, or make them anonymous",
            description="Asked again while it is open, it is the same request. Audited.",
            request_schema=openapi.ERASE,
            examples=openapi.ERASE_EXAMPLES,
            responses=openapi.ERASE_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/events/erasures/{erasure_id}",
            handler=admin.erasure,
            access=ACCESS,
            summary="What became of a request to erase",
            parameters=openapi.ERASURE_PARAMETERS,
            responses=openapi.ERASURE_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/events/export",
            handler=admin.export,
            access=ACCESS,
            summary="Everything held about a person",
            description="An event in the hot log and in the lake is there twice: so it is held. Each page is audited.",
            parameters=openapi.EXPORT_PARAMETERS,
            responses=openapi.EXPORT_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/events/rejects",
            handler=admin.rejects,
            access=ACCESS,
            summary="Refused events with the reason, newest first",
            parameters=openapi.REJECTS_PARAMETERS,
            responses=openapi.REJECTS_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path="/api/events/rejects/replay",
            handler=admin.replay,
            access=ACCESS,
            summary="Take refused events in again",
            description="What is still wrong stays refused, with the reason of now. Audited.",
            request_schema=openapi.REPLAY,
            examples=openapi.REPLAY_EXAMPLES,
            responses=openapi.REPLAY_RESPONSES,
        ),
    ]


class Administration:
    """Answers them, as the intake's role."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def erase(self, call: Call) -> Answer:
        """POST /api/events/erase."""
        body = decode(call.body, _ERASURE_BODY)
        async with self._services.pool.connection() as connection:
            asked = await connection.execute(
                "select events.request_erasure(%s, %s, %s, %s)",
                [body.user_id, body.mode, call.caller.name, call.request_id],
            )
            (erasure_id,) = await asked.fetchone() or (None,)
        address = (b"location", f"/api/events/erasures/{erasure_id}".encode())
        return json_answer(202, await self._erasure(str(erasure_id)), (address,))

    async def erasure(self, call: Call) -> Answer:
        """GET /api/events/erasures/{erasure_id}."""
        return json_answer(200, await self._erasure(call.path["erasure_id"]))

    async def export(self, call: Call) -> Answer:
        """GET /api/events/export."""
        query = query_of(call, ExportQuery, max_page=openapi.MAX_PAGE)
        after = None if query.cursor is None else position_of(query.cursor, Place)
        try:
            found = await asyncio.to_thread(self._records, call, query, after)
        except psycopg.DataError:
            raise refused(NO_CURSOR) from None
        page = [{"part": record.part, "content": record.content} for record in found[: query.limit]]
        last = found[query.limit - 1] if len(found) > query.limit else None
        return json_answer(
            200,
            {"records": page, "nextCursor": cursor_of(Place(last.part, last.position)) if last else None},
        )

    async def rejects(self, call: Call) -> Answer:
        """GET /api/events/rejects."""
        query = query_of(call, RejectsQuery, max_page=openapi.MAX_PAGE)
        chosen = {
            "replayed": query.replayed == "true",
            "before_id": None if query.cursor is None else position_of(query.cursor, RejectId),
            "event_type": query.type,
            "reason": query.reason,
            "first": query.from_,
            "before": query.to,
            "rows": query.limit + 1,
        }
        rows = await self._rows(_REJECTS, chosen)
        page = rows[: query.limit]
        for row in page:
            row["event"] = msgspec.Raw((row["event"] or "null").encode())
            row["received"] = msgspec.Raw((row["received"] or "null").encode())
        following = cursor_of(page[-1]["id"]) if len(rows) > query.limit else None
        return json_answer(200, {"rejects": page, "nextCursor": following})

    async def replay(self, call: Call) -> Answer:
        """POST /api/events/rejects/replay."""
        body = decode(call.body, _REPLAY_BODY)
        for name, instant in (("from", body.from_), ("to", body.to)):
            require_storable(name, instant)
        if body.failed and body.id is not None:
            raise refused(FieldError("id", "no id together with failed: failed events are no rejects", str(body.id)))
        selection = Selection(
            reject_id=body.id, first=body.from_, before=body.to, event_type=body.type, reason=body.reason
        )
        return json_answer(200, await asyncio.to_thread(self._replayed, call, body, selection))

    def _replayed(self, call: Call, body: ReplayBody, selection: Selection) -> dict[str, int]:
        audited: dict[str, Any] = {"by": call.caller.name, "request_id": call.request_id, "is_dry_run": body.dry_run}
        with closing(Postgres(self._services.database_url)) as postgres:
            if body.failed:
                retried = retry_failed(postgres, selection, most=body.limit, **audited)
                return {"accepted": 0, "duplicates": 0, "rejected": 0, "retried": retried}
            done = replay(postgres, self._services.settings, selection, most=body.limit, **audited)
        return {**vars(done), "retried": 0}

    def _records(self, call: Call, query: ExportQuery, after: Place | None) -> list[Record]:
        """One more than fits on a page."""
        start = None if after is None else Record(after.part, after.position, {})
        with closing(Postgres(self._services.database_url)) as postgres:
            records = export(
                postgres,
                Lake(self._services.settings),
                query.user_id,
                by=call.caller.name,
                request_id=call.request_id,
                after=start,
            )
            with closing(records):
                return list(islice(records, query.limit + 1))

    async def _erasure(self, erasure_id: str) -> dict[str, Any]:
        try:
            rows = await self._rows(_ERASURE, [UUID(erasure_id)])
        except ValueError:
            rows = []
        if not rows:
            raise Problem(404, "there is no such request")
        return rows[0]

    async def _rows(self, statement: str, parameters: Any) -> list[dict[str, Any]]:
        async with self._services.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement.encode(), parameters)
            return await cursor.fetchall()
