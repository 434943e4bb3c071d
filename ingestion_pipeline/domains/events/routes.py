"""The HTTP endpoints of the events domain: emit, and, mounted from their modules, queries, replay and erasure."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
from psycopg.rows import dict_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.ids import time_ordered_ids
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.domains.events import contracts_openapi as openapi
from ingestion_pipeline.domains.events.admin_routes import admin_endpoints
from ingestion_pipeline.domains.events.contracts import Batch
from ingestion_pipeline.domains.events.countries import countries
from ingestion_pipeline.domains.events.queries import query_endpoints
from ingestion_pipeline.domains.events.receive import (
    MAX_USER_AGENT_LENGTH,
    Reception,
    Refusal,
    received,
    reject_of,
)
from ingestion_pipeline.domains.events.schemas import STATEMENT, Registry
from ingestion_pipeline.intake.bodies import decode, read_anyhow
from ingestion_pipeline.intake.endpoints import Answer, Call, Endpoint, HttpDomain
from ingestion_pipeline.intake.problems import FieldError, Problem, shown
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.event_entries import Append, Entry
from ingestion_pipeline.storage.event_log import EventLog

MOST_VALUES_PER_EVENT = 500

_BATCH = msgspec.json.Decoder(Batch)
_OBJECT = msgspec.json.Decoder(msgspec.Raw)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ADDRESS_KEYS = "select day, key from events.address_keys"


def http(services: Services) -> HttpDomain:
    """The domain's part of the intake."""
    emitter = Emitter(services)
    return HttpDomain(
        endpoints=[*emitter.endpoints(), *query_endpoints(services), *admin_endpoints(services)],
        startup=emitter.start,
        shutdown=emitter.close,
        schemas=openapi.SCHEMAS,
    )


class Emitter:
    """Takes events in: reads them, has them stored, says what became of each."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._registry = Registry()
        self._refreshing: asyncio.Task[None] | None = None
        self._address_keys: dict[date, bytes] = {}
        self._country_of = countries(services.settings.geoip_database)
        self._log: EventLog | None = None

    def endpoints(self) -> list[Endpoint]:
        shared: dict[str, Any] = {
            "method": "POST",
            "access": ("events:write",),
            "limit": "events",
            "judges_parts": True,
            "responses": openapi.EMIT_RESPONSES,
        }
        return [
            Endpoint(
                path="/ingest/events",
                handler=self.ingest,
                summary="Take in a batch of events",
                description=openapi.EMIT_DESCRIPTION,
                request_schema=openapi.BATCH,
                examples=openapi.BATCH_EXAMPLES,
                **shared,
            ),
            Endpoint(
                path="/api/events",
                handler=self.emit,
                summary="Take in one event, or a batch",
                description=openapi.EMIT_DESCRIPTION,
                request_schema=openapi.EVENT_OR_BATCH,
                examples=openapi.EVENT_EXAMPLES | openapi.BATCH_EXAMPLES,
                **shared,
            ),
        ]

    async def start(self) -> None:
        self._log = EventLog(self._services.database_url)

    async def close(self) -> None:
        if self._log is not None:
            await asyncio.to_thread(self._log.close)

    async def ingest(self, call: Call) -> Answer:
        """POST /ingest/events."""
        self._require_values(call.body)
        return await self._take(call, _batch(call.body))

    async def emit(self, call: Call) -> Answer:
        """POST /api/events: a body without `events` is one event, and a refusal of that one is a problem."""
        self._require_values(call.body)
        if b'"events"' in call.body and _is_batch(call.body):
            return await self._take(call, _batch(call.body))
        single = decode(call.body, _OBJECT)
        return await self._take(call, Batch([single]), is_single=True)

    async def _take(self, call: Call, batch: Batch, *, is_single: bool = False) -> Answer:
        self._require_count(len(batch.events))
        raws = [bytes(event) for event in batch.events]
        if self._registry.is_due() or utc_now().date() not in self._address_keys:
            await self._refreshed()
        reception = self._reception(call, batch)
        ids = time_ordered_ids(reception.received_at, len(raws))
        verdicts = self._verdicts(raws, ids, reception)
        if self._registry.is_due(unknown_type=True) and any(map(_is_unknown, verdicts)):
            await self._refreshed()
            verdicts = self._verdicts(raws, ids, reception)
        entries = [verdict for verdict in verdicts if isinstance(verdict, Entry)]
        rejects = [
            reject_of(raw, event_id, verdict, reception)
            for raw, event_id, verdict in zip(raws, ids, verdicts, strict=True)
            if isinstance(verdict, Refusal)
        ]
        assert self._log is not None  # noqa: S101 - started before the first call
        await self._log.append(Append(reception.received_at.date(), entries, rejects, received=len(raws)))
        metrics.counter("events_received_total", len(raws))
        if is_single and (refusal := _refusal(verdicts[0])):
            raise Problem(422, refusal.reason, errors=[FieldError(refusal.field, refusal.reason, None)])
        return Answer(202, _answer(call.request_id, verdicts))

    def _require_values(self, body: bytes) -> None:
        if body.count(b",") > self._settings.events_max_batch * MOST_VALUES_PER_EVENT:
            raise Problem(413, f"the body holds more than {MOST_VALUES_PER_EVENT} values for each event it may hold")

    def _require_count(self, count: int) -> None:
        most = self._settings.events_max_batch
        if not 1 <= count <= most:
            raise Problem(
                413 if count else 422,
                f"a request holds 1 to {most} events",
                errors=[FieldError("events", f"1 to {most} events", shown(count))],
            )

    def _reception(self, call: Call, batch: Batch) -> Reception:
        agent = call.headers.get(b"user-agent")
        return Reception(
            received_at=utc_now(),
            caller=call.caller.name,
            origin="http",
            address_keys=self._address_keys,
            country_of=self._country_of,
            address=call.address,
            user_agent=agent.decode("latin-1")[:MAX_USER_AGENT_LENGTH] if agent else None,
            sent_at=batch.sent_at,
            max_depth=self._settings.max_json_depth,
        )

    def _verdicts(self, raws: Sequence[bytes], ids: Sequence[str], reception: Reception) -> list[Entry | Refusal]:
        return [received(raw, event_id, self._registry, reception) for raw, event_id in zip(raws, ids, strict=True)]

    async def _refreshed(self) -> None:
        """Reads the registry and the keys of the day again, in one task for all who wait.

        While PostgreSQL is away they fail together instead of one after the other.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        await asyncio.shield(self._refreshing)

    async def _refresh(self) -> None:
        today = utc_now().date()
        if today not in self._address_keys:
            async with self._services.pool.connection() as connection:
                for day in (today - timedelta(days=1), today):
                    await connection.execute("select events.ensure_address_key(%s)", [day])
            self._address_keys = {row["day"]: row["key"] for row in await self._rows(_ADDRESS_KEYS)}
        self._registry.fill(await self._rows(STATEMENT))

    async def _rows(self, statement: str) -> Iterable[dict[str, Any]]:
        async with self._services.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement.encode())
            return await cursor.fetchall()


def _is_batch(body: bytes) -> bool:
    try:
        return "events" in decode(body, _MEMBERS)
    except Problem:
        if "events" in _lenient(body):
            return True
        raise


def _batch(body: bytes) -> Batch:
    """The events, each unread; half of a surrogate pair in one of them is for that one to be refused for."""
    try:
        return decode(body, _BATCH)
    except Problem:
        members = _lenient(body)
        if not isinstance(members.get("events"), list):
            raise
    parts = [msgspec.Raw(json.dumps(event).encode()) for event in members["events"]]
    rest = decode(json.dumps({**members, "events": []}).encode(), _BATCH)
    return Batch(parts, rest.sent_at)


def _lenient(body: bytes) -> dict[str, Any]:
    """The members of an object that holds half of a surrogate pair, which is JSON but not to msgspec; else none."""
    members = read_anyhow(body) if b"\\u" in body else None
    return members if isinstance(members, dict) else {}


def _is_unknown(verdict: Entry | Refusal) -> bool:
    return isinstance(verdict, Refusal) and verdict.field in ("type", "schemaVersion")


def _refusal(verdict: Entry | Refusal) -> Refusal | None:
    if isinstance(verdict, Refusal):
        return verdict
    return Refusal("", verdict.refused) if verdict.refused else None


def _answer(request_id: str, verdicts: Sequence[Entry | Refusal]) -> bytes:
    counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
    results: list[dict[str, Any]] = []
    for index, verdict in enumerate(verdicts):
        refusal = _refusal(verdict)
        if refusal:
            status = "rejected"
            results.append({"index": index, "status": status, "reason": refusal.reason, "field": refusal.field})
        else:
            assert isinstance(verdict, Entry)  # noqa: S101
            status = "duplicate" if verdict.first_id else "accepted"
            results.append({"index": index, "status": status, "id": _dashed(verdict.first_id or verdict.event_id)})
        counts[status] += 1
    return msgspec.json.encode(
        {
            "accepted": counts["accepted"],
            "duplicates": counts["duplicate"],
            "rejected": counts["rejected"],
            "requestId": request_id,
            "results": results,
        }
    )


def _dashed(event_id: str) -> str:
    return f"{event_id[:8]}-{event_id[8:12]}-{event_id[12:16]}-{event_id[16:20]}-{event_id[20:]}"
