"""What crosses the edge: an event as applications send it. One shape for both endpoints (seeds S2 and S4)."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

MAX_ID_LENGTH = 200

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Event(msgspec.Struct, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One product event. `type` is required, and what its schema in events.event_schemas asks for."""

    type: Identifier
    rule_id: Identifier | None = None
    user_id: Identifier | None = None
    session_id: Identifier | None = None
    ts: Instant | None = None
    sent_at: Instant | None = None
    idempotency_key: Identifier | None = None
    data: dict[str, Any] | None = None
    category: str | None = None
    schema_version: int | None = None
    context: dict[str, Any] | None = None


class Batch(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What `POST /ingest/events` takes: each event is read by itself, so that a bad one leaves the others alone."""

    events: list[msgspec.Raw]
    sent_at: Instant | None = None
