"""POST /api/ingest/webhook: verified on the raw bytes, judged, kept in one transaction, then acknowledged.

Belongs here: the order of these and the answer. Does not belong here: signatures (intake/signatures.py), what a body
must say (received.py), what is done with a delivery (the domain whose type it is).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import psycopg
import structlog

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.domains.operations import webhooks_openapi as openapi
from ingestion_pipeline.domains.operations.received import Provenance, Reader, Received
from ingestion_pipeline.intake.endpoints import PUBLIC, Answer, Call, Endpoint, json_answer
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.signatures import Signatures
from ingestion_pipeline.storage.inbox import Accepted, accept

DEFAULT_SOURCE = "webhook"
BYTES_PER_TURN = 65_536  # a larger body is judged in a thread, so that other requests do not wait for it

_log = structlog.get_logger(__name__)


def webhook_endpoints(services: Services, types: Sequence[DeliveryType]) -> list[Endpoint]:
    """The endpoint that takes deliveries of `types`, but for those whose source has its own; the signature is the
    credential.
    """
    open_types = [it for it in types if it.source is None]
    return [
        Endpoint(
            method="POST",
            path="/api/ingest/webhook",
            handler=Webhooks(services, types).receive,
            access=(PUBLIC,),
            summary="Deliver data, signed",
            description=openapi.DESCRIPTION.strip(),
            request_schema=openapi.request_schema(open_types),
            judges_parts=True,
            parameters=openapi.PARAMETERS,
            responses=openapi.RESPONSES,
        )
    ]


class Webhooks:
    """Receives them. No secret speaks for a source that has its own endpoint: what comes of its types is refused, and
    kept as they say.
    """

    def __init__(self, services: Services, types: Sequence[DeliveryType]) -> None:
        self._services = services
        reserved = frozenset(it.source for it in types if it.source)
        self._signatures = Signatures(services.settings, reserved=reserved)
        self._reader = Reader(
            types, named_sources=self._signatures.named_sources, max_depth=services.settings.max_json_depth
        )

    async def receive(self, call: Call) -> Answer:
        """Answers when the delivery is durable; one that is wrong is kept too, and refused."""
        if len(call.body) > BYTES_PER_TURN:
            received, provenance = await asyncio.to_thread(self._read, call)
        else:
            received, provenance = self._read(call)
        try:
            accepted = await self._accept(received)
        except psycopg.DataError:
            received = self._unstorable(call.body, provenance)
            accepted = await self._accept(received)
        if received.problem:
            metrics.counter("deliveries_received_total", labels={"outcome": "rejected"})
            raise received.problem
        if accepted.is_duplicate and not accepted.is_same:
            _log.warning("an idempotency key came with another body", delivery_id=accepted.delivery_id)
        outcome = "duplicate" if accepted.is_duplicate else "accepted"
        metrics.counter("deliveries_received_total", labels={"outcome": outcome})
        return _answer(call, received, accepted)

    def _read(self, call: Call) -> tuple[Received, Provenance]:
        try:
            signature = self._signatures.verify(call.headers, call.body)
        except Problem:
            metrics.counter("deliveries_received_total", labels={"outcome": "unsigned"})
            raise
        provenance = Provenance(
            scheme=signature.scheme,
            signed_by=signature.signed_by,
            source=signature.source,
            default_source=DEFAULT_SOURCE,
            signed_at=signature.signed_at,
            key=signature.key,
            request_id=call.request_id,
        )
        return self._reader.read(call.body, provenance), provenance

    def _unstorable(self, body: bytes, provenance: Provenance) -> Received:
        """PostgreSQL's numbers end before JSON's do, at 16,383 digits after the point."""
        problem = Problem(422, "the body holds a number of too many digits", kind="unstorable")
        return self._reader.refused(body, provenance, problem)

    async def _accept(self, received: Received) -> Accepted:
        async with self._services.pool.connection() as connection:
            return await accept(connection, received.delivery)


def _answer(call: Call, received: Received, accepted: Accepted) -> Answer:
    told = {
        "status": "accepted",
        "delivery_id": accepted.delivery_id,
        "duplicate": accepted.is_duplicate,
        "event_type": received.delivery.event_type,
        "request_id": call.request_id,
    }
    if accepted.is_duplicate:
        told |= {"same": accepted.is_same, "delivery_status": accepted.status}
    answer = json_answer(202, told)
    return replace(answer, market=received.delivery.market_slug)
