"""POST /ingest/stripe/webhook: verified on the raw bytes, reduced to what is used, kept, then acknowledged.

Belongs here: the order of these and the answer. Does not belong here: signatures (stripe_signatures.py), what an event
says (stripe.py), what is done with it (donations_ledger.py).
"""

import json
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.domains.community.stripe import (
    APPLIED,
    EVENT_TYPE,
    SOURCE,
    EventHead,
    StripeEvent,
    kept,
    reduced,
)
from ingestion_pipeline.domains.community.stripe_signatures import StripeSignature, StripeSignatures
from ingestion_pipeline.intake.bodies import decode, read_anyhow, require_storable
from ingestion_pipeline.intake.endpoints import PUBLIC, Answer, Call, Endpoint, HttpDomain, Response, json_answer
from ingestion_pipeline.intake.problems import Problem, printable
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.inbox import Accepted, NewDelivery, accept

PATH = "/ingest/stripe/webhook"
MOST_BODY_BYTES = 524_288
THIN_EVENT = "v2.core.event"

_DESCRIPTION = """
Verified by Stripe's own library with STRIPE_WEBHOOK_SECRET; the time of signing may be 300 s off in either direction.
An event that was sent before, by its `id`, is answered with `duplicate: true` and changes nothing. Every type of event
is taken; docs/donations.md says which are applied. Snapshot events only: send the endpoint no thin events.
"""
_SIGNATURE = {
    "name": "Stripe-Signature",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "`t=<seconds>,v1=<hexadecimal HMAC-SHA256>`, as Stripe writes it",
}
_REQUEST = {
    "type": "object",
    "title": "Stripe event",
    "required": ["id", "object", "type", "created", "livemode", "data"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 255},
        "object": {"const": "event"},
        "type": {"type": "string", "minLength": 1, "maxLength": 200},
        "created": {"type": "integer", "minimum": 0},
        "livemode": {"type": "boolean"},
        "data": {"type": "object", "required": ["object"], "properties": {"object": {"type": "object"}}},
    },
}
_RECEIVED = {
    "type": "object",
    "required": ["received", "duplicate"],
    "properties": {"received": {"const": True}, "duplicate": {"type": "boolean"}},
}
_RESPONSES = {
    200: Response(description="Kept, or known already (`duplicate`)", schema=_RECEIVED),
    400: Response(description="A thin event, or no JSON"),
    401: Response(description="The signature is missing, wrong or stale; `detail` says which."),
    404: Response(description="STRIPE_WEBHOOK_SECRET is not set"),
    422: Response(
        description="No event of Stripe; `errors` names the fields. What is used of it is kept, with the reason."
    ),
}


class _Kind(msgspec.Struct):
    """What tells how to read the rest."""

    object: str | None = None
    type: str | None = None


_KIND, _HEAD = msgspec.json.Decoder(_Kind), msgspec.json.Decoder(EventHead)
_EVENT = msgspec.json.Decoder(StripeEvent)


@dataclass(frozen=True)
class _Event:
    """What is kept of an event."""

    id: str
    kept: bytes


def http(services: Services) -> HttpDomain:
    """The part of the intake that Stripe sends to; the signature is the credential."""
    return HttpDomain(endpoints=_endpoints(StripeWebhooks(services)))


def _endpoints(webhooks: "StripeWebhooks") -> list[Endpoint]:
    return [
        Endpoint(
            method="POST",
            path=PATH,
            handler=webhooks.receive,
            access=(PUBLIC,),
            summary="Events of Stripe",
            description=_DESCRIPTION.strip(),
            request_schema=_REQUEST,
            judges_parts=True,
            max_body_bytes=MOST_BODY_BYTES,
            parameters=[_SIGNATURE],
            responses=_RESPONSES,
        )
    ]


class StripeWebhooks:
    """Receives them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._signatures = StripeSignatures(services.settings.stripe_webhook_secret)

    async def receive(self, call: Call) -> Answer:
        """Answers when the event is durable; one that is signed and wrong is kept too, and refused."""
        try:
            signature = self._signatures.verify(call.headers.get(b"stripe-signature"), call.body)
        except Problem:
            _count("unsigned")
            raise
        try:
            event = _read(call.body, max_depth=self._services.settings.max_json_depth)
        except Problem as problem:
            if problem.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                await self._accept(call, signature, _refused(call.body), reason=printable(problem.detail))
            _count("rejected")
            raise
        accepted = await self._accept(call, signature, event)
        _count("duplicate" if accepted.is_duplicate else "accepted")
        return json_answer(200, {"received": True, "duplicate": accepted.is_duplicate})

    async def _accept(
        self, call: Call, signature: StripeSignature, event: _Event, reason: str | None = None
    ) -> Accepted:
        delivery = NewDelivery(
            source=SOURCE,
            idempotency_key=event.id,
            event_type=EVENT_TYPE,
            payload=event.kept,
            scheme="sha256",
            signed_by=signature.signed_by,
            signed_at=signature.signed_at,
            reason=reason,
            request_id=call.request_id,
        )
        async with self._services.pool.connection() as connection:
            return await accept(connection, delivery)


def _read(body: bytes, *, max_depth: int) -> _Event:
    """The event that `body` is, as it is kept: in the shape of every delivery, so that it can be replayed.

    Raises:
        Problem: 400, it is no JSON or a thin event; 422, it is no event.
    """
    require_storable(body, max_depth=max_depth)
    kind = decode(body, _KIND, max_depth=max_depth)
    if kind.object == THIN_EVENT:
        detail = "this is a thin event (v2.core.event): let the endpoint's destination send snapshot events"
        raise Problem(400, detail, kind="thin-event")
    event: StripeEvent | EventHead
    if kind.type in APPLIED:
        event = reduced(decode(body, _EVENT, max_depth=max_depth))
    else:
        event = decode(body, _HEAD, max_depth=max_depth)
    return _Event(event.id, msgspec.json.encode({"event_type": EVENT_TYPE, "data": event}))


def _refused(body: bytes) -> _Event:
    """A body that is no event: what can be read of it and would be kept of an event, so that it can be replayed."""
    fields = {"event_type": EVENT_TYPE, "data": kept(read_anyhow(body))}
    return _Event(digest(body), json.dumps(fields).encode())


def _count(outcome: str) -> None:
    metrics.counter("deliveries_received_total", labels={"outcome": outcome})
