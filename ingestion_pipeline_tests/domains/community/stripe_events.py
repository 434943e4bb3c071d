"""Events as Stripe sends them, and the signatures that it puts on them. Secrets are made up."""

import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ingestion_pipeline.domains.community.donations import Donation, donation
from ingestion_pipeline.domains.community.stripe import DELIVERY_TYPES, EVENT_TYPE, SOURCE, fact_of, newest
from ingestion_pipeline.domains.operations.received import Provenance, Reader
from ingestion_pipeline.storage.inbox import NewDelivery, accept_all
from ingestion_pipeline.storage.postgres import Postgres

WEBHOOK = "/ingest/stripe/webhook"
SECRET, NEXT_SECRET = "whsec_canary_fake_9", "whsec_canary_fake_10"
SECRETS = {"STRIPE_WEBHOOK_SECRET": f"{NEXT_SECRET}, {SECRET}"}
PAID_AT = int(datetime(2026, 3, 5, 12, tzinfo=UTC).timestamp())
METADATA = {"ruleId": "rule_1", "authorId": "ada", "donorId": "bob", "message": "Thank you"}

_numbers = itertools.count(1)


def event(event_type: str, state: Mapping[str, Any], *, at: int = 0, **over: Any) -> dict[str, Any]:
    """An event `at` seconds after PAID_AT."""
    return {
        "id": f"evt_{next(_numbers)}",
        "object": "event",
        "api_version": "2026-06-24.dahlia",
        "created": PAID_AT + at,
        "data": {"object": dict(state)},
        "livemode": True,
        "pending_webhooks": 1,
        "request": {"id": "req_1", "idempotency_key": None},
        "type": event_type,
        **over,
    }


def session(kind: str = "completed", *, pi: str = "pi_1", at: int = 1, **over: Any) -> dict[str, Any]:
    state = {
        "id": f"cs_{pi}",
        "object": "checkout.session",
        "mode": "payment",
        "status": "complete",
        "payment_status": "paid",
        "amount_total": 2500,
        "currency": "usd",
        "payment_intent": pi,
        "client_reference_id": None,
        "customer_details": {"name": "Bob Donor", "email": "bob@example.org", "address": {"city": "Paris"}},
        "metadata": METADATA,
        **over,
    }
    return event(f"checkout.session.{kind}", state, at=at)


def intent(kind: str = "succeeded", *, pi: str = "pi_1", at: int = 0, **over: Any) -> dict[str, Any]:
    state = {
        "id": pi,
        "object": "payment_intent",
        "amount": 2500,
        "amount_received": 2500 if kind == "succeeded" else 0,
        "currency": "usd",
        "status": "succeeded" if kind == "succeeded" else "requires_payment_method",
        "latest_charge": f"ch_{pi}",
        "receipt_email": "bob@example.org",
        "metadata": METADATA,
        **over,
    }
    return event(f"payment_intent.{kind}", state, at=at)


def charge_refunded(amount: int, *, pi: str = "pi_1", at: int = 100, **over: Any) -> dict[str, Any]:
    """`amount` is the sum of all refunds so far."""
    state = {
        "id": f"ch_{pi}",
        "object": "charge",
        "amount": 2500,
        "amount_captured": 2500,
        "amount_refunded": amount,
        "refunded": amount == 2500,
        "currency": "usd",
        "payment_intent": pi,
        "billing_details": {"name": "Bob Donor", "email": "bob@example.org"},
        "payment_method_details": {"card": {"last4": "4242"}},
        "metadata": METADATA,
        **over,
    }
    return event("charge.refunded", state, at=at)


def refund(
    amount: int, kind: str = "created", *, key: str = "re_1", pi: str = "pi_1", at: int = 100, **over: Any
) -> dict[str, Any]:
    status = {"created": "succeeded", "updated": "succeeded", "failed": "failed"}[kind]
    state = {"id": key, "object": "refund", "amount": amount, "currency": "usd", "charge": f"ch_{pi}"}
    return event(f"refund.{kind}", {**state, "payment_intent": pi, "status": status, **over}, at=at)


def dispute(kind: str, status: str, *, pi: str = "pi_1", at: int = 200, **over: Any) -> dict[str, Any]:
    state = {"id": f"dp_{pi}", "object": "dispute", "amount": 2500, "currency": "usd", "charge": f"ch_{pi}"}
    more = {"payment_intent": pi, "status": status, "reason": "fraudulent", **over}
    return event(f"charge.dispute.{kind}", {**state, **more}, at=at)


def made_of(*events: Mapping[str, Any]) -> Donation:
    """The donation that these events make."""
    made = donation(newest(fact for it in events if (fact := fact_of(it))))
    assert made is not None
    return made


def body_of(sent: Mapping[str, Any] | bytes) -> bytes:
    return sent if isinstance(sent, bytes) else json.dumps(sent).encode()


def signed(body: bytes, secret: str = SECRET, *, age: float = 0) -> dict[str, str]:
    """Stripe's header, as its documentation describes it; not made by its library."""
    stamp = str(int(time.time() - age))
    mac = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "stripe-signature": f"t={stamp},v1={mac},v0={'0' * 64}"}


def deliver(postgres: Postgres, *events: Mapping[str, Any], signed_by: str = "STRIPE_WEBHOOK_SECRET 1") -> None:
    """Puts events into the inbox, as the webhook does, each in a request of its own."""
    deliveries = [
        NewDelivery(
            source=SOURCE,
            idempotency_key=it["id"],
            event_type=EVENT_TYPE,
            payload=json.dumps({"event_type": EVENT_TYPE, "data": it}).encode(),
            scheme="sha256",
            signed_by=signed_by,
            request_id=f"request of {it['id']}",
        )
        for it in events
    ]
    with postgres.transaction() as connection:
        accept_all(connection, deliveries)


def dropped(postgres: Postgres, *events: Mapping[str, Any], **over: Any) -> None:
    """Puts events into the inbox as a dropped file does, a line for each as docs/donations.md says, with `over`."""
    reader = Reader(list(DELIVERY_TYPES.values()))
    provenance = Provenance(scheme="file", signed_by="file:///drop", default_source="files", origin="events.ndjson#1")
    bodies = ({"event_type": EVENT_TYPE, "id": it["id"], "data": it, **over} for it in events)
    with postgres.transaction() as connection:
        accept_all(connection, [reader.read(json.dumps(body).encode(), provenance).delivery for body in bodies])


def rows_of(postgres: Postgres, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
    with postgres.transaction() as connection:
        return connection.execute(statement.encode(), parameters).fetchall()
