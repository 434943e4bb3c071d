"""The endpoints of whoever looks after the inbox: list deliveries, look at one, replay what was refused."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.domains.operations import deliveries_openapi as openapi
from ingestion_pipeline.domains.operations.delivery_reads import LIST, SHOW
from ingestion_pipeline.domains.operations.delivery_replay import MOST_REPLAYED, Replayed, Selection, replay
from ingestion_pipeline.domains.operations.received import LONGEST_SOURCE, LONGEST_TYPE
from ingestion_pipeline.intake.bodies import decode
from ingestion_pipeline.intake.endpoints import Answer, Call, Endpoint, json_answer
from ingestion_pipeline.intake.owners import acting_as_operator
from ingestion_pipeline.intake.parameters import cursor_of, position_of, query_of, require_storable
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.postgres import Postgres

ACCESS = ("deliveries:admin",)

_Source = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_SOURCE)]
_Type = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TYPE)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class ListQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of GET /api/deliveries."""

    status: Literal["pending", "processed", "rejected", "dead"] | None = None
    source: _Source | None = None
    event_type: _Type | None = None
    from_: _Instant | None = msgspec.field(default=None, name="from")
    to: _Instant | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=openapi.MAX_PAGE)] = openapi.DEFAULT_PAGE
    cursor: str | None = None


class ReplayBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/deliveries/replay."""

    id: UUID | None = None
    status: Literal["rejected", "dead"] | None = None
    source: _Source | None = None
    event_type: _Type | None = None
    from_: _Instant | None = msgspec.field(default=None, name="from")
    to: _Instant | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_REPLAYED)] = MOST_REPLAYED
    dry_run: bool = False


class Place(msgspec.Struct, array_like=True):
    """Where a page of the list ended."""

    received_at: _Instant
    delivery_id: UUID


_REPLAY_BODY = msgspec.json.Decoder(ReplayBody)


def delivery_endpoints(services: Services, types: Sequence[DeliveryType]) -> list[Endpoint]:
    """The endpoints that need the scope deliveries:admin; a replay judges by `types`."""
    deliveries = Deliveries(services, types)
    return [
        Endpoint(
            method="GET",
            path="/api/deliveries",
            handler=deliveries.page,
            access=ACCESS,
            summary="Deliveries, newest first",
            parameters=openapi.LIST_PARAMETERS,
            responses=openapi.LIST_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/deliveries/{delivery_id}",
            handler=deliveries.one,
            access=ACCESS,
            summary="One delivery with what was sent",
            parameters=openapi.SHOW_PARAMETERS,
            responses=openapi.SHOW_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path="/api/deliveries/replay",
            handler=deliveries.replay,
            access=ACCESS,
            summary="Apply rejected and dead deliveries again",
            description="What they say is judged by the rules of now, their signature not again. Audited.",
            request_schema=openapi.REPLAY,
            examples=openapi.REPLAY_EXAMPLES,
            responses=openapi.REPLAY_RESPONSES,
        ),
    ]


class Deliveries:
    """Answers them, as the intake's role in the scope of an operator."""

    def __init__(self, services: Services, types: Sequence[DeliveryType]) -> None:
        self._services = services
        self._types = types

    async def page(self, call: Call) -> Answer:
        """GET /api/deliveries."""
        query = query_of(call, ListQuery, max_page=openapi.MAX_PAGE)
        last = None if query.cursor is None else position_of(query.cursor, Place)
        chosen = {
            "status": query.status,
            "source": query.source,
            "event_type": query.event_type,
            "first": query.from_,
            "before": query.to,
            "last_at": last and last.received_at,
            "last_id": last and last.delivery_id,
            "rows": query.limit + 1,
        }
        rows = await self._rows(LIST, chosen)
        page = rows[: query.limit]
        following = None
        if len(rows) > query.limit:
            following = cursor_of(Place(page[-1]["received_at"], UUID(page[-1]["delivery_id"])))
        return json_answer(200, {"deliveries": page, "next_cursor": following})

    async def one(self, call: Call) -> Answer:
        """GET /api/deliveries/{delivery_id}."""
        row = await self._row(call.path["delivery_id"])
        return json_answer(200, {**row, "payload": msgspec.Raw(row["payload"].encode())})

    async def replay(self, call: Call) -> Answer:
        """POST /api/deliveries/replay."""
        body = decode(call.body, _REPLAY_BODY)
        for name, instant in (("from", body.from_), ("to", body.to)):
            require_storable(name, instant)
        done = await asyncio.to_thread(self._replayed, call, body)
        if body.id is not None and not done.total:
            row = await self._row(str(body.id))
            raise Problem(409, f"delivery {body.id} is {row['status']}, or other filters leave it out")
        return json_answer(200, {**vars(done), "dry_run": body.dry_run})

    def _replayed(self, call: Call, body: ReplayBody) -> Replayed:
        selection = Selection(
            delivery_id=None if body.id is None else str(body.id),
            status=body.status,
            source=body.source,
            event_type=body.event_type,
            first=body.from_,
            before=body.to,
        )
        with closing(Postgres(self._services.database_url)) as postgres:
            return replay(
                postgres,
                self._types,
                selection,
                by=call.caller.name,
                request_id=call.request_id,
                is_dry_run=body.dry_run,
                most=body.limit,
            )

    async def _row(self, delivery_id: str) -> dict[str, Any]:
        try:
            rows = await self._rows(SHOW, [UUID(delivery_id)])
        except ValueError:
            rows = []
        if not rows:
            raise Problem(404, "there is no such delivery")
        return rows[0]

    async def _rows(self, statement: str, parameters: Any) -> list[dict[str, Any]]:
        async with (
            acting_as_operator(self._services) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(statement.encode(), parameters)
            return await cursor.fetchall()
