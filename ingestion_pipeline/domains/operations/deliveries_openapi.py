"""The deliveries endpoints as OpenAPI describes them: bodies, parameters and answers. No behaviour."""

from typing import Any

from ingestion_pipeline.domains.operations.delivery_replay import MOST_REPLAYED
from ingestion_pipeline.domains.operations.received import LONGEST_SOURCE, LONGEST_TYPE
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import limit_parameter, object_schema, parameter

MAX_PAGE, DEFAULT_PAGE = 1_000, 100

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_UUID = {"type": "string", "format": "uuid"}
_INSTANT = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_STATUS = {"type": "string", "enum": ["pending", "processed", "rejected", "dead"]}
_SOURCE = {"type": "string", "minLength": 1, "maxLength": LONGEST_SOURCE}
_TYPE = {"type": "string", "minLength": 1, "maxLength": LONGEST_TYPE}
_ID_PARAMETER = {"name": "delivery_id", "in": "path", "required": True, "schema": _UUID}


_DELIVERY: dict[str, dict[str, Any]] = {
    "delivery_id": _UUID,
    "source": _TEXT,
    "event_type": _TEXT,
    "market_slug": _TEXT_OR_NULL,
    "status": _STATUS,
    "reason": {**_TEXT_OR_NULL, "description": "Why it was rejected, is dead, or is tried again"},
    "received_at": _INSTANT,
    "settled_at": _INSTANT_OR_NULL,
    "attempt_count": _COUNT,
    "next_attempt_at": {**_INSTANT_OR_NULL, "description": "Of a pending one"},
    "replay_count": _COUNT,
    "replayed_by": _TEXT_OR_NULL,
    "scheme": {"type": "string", "enum": ["sha256", "standard", "file"]},
    "signed_by": {**_TEXT, "description": "Which secret, or the folder of a dropped file"},
    "signed_at": _INSTANT_OR_NULL,
    "origin": {**_TEXT, "description": "`http`, or the file and the line in it"},
    "idempotency_key": _TEXT,
    "request_id": _TEXT_OR_NULL,
    "dagster_run_id": {**_TEXT_OR_NULL, "description": "The run that took it last"},
}
LIST_PARAMETERS = [
    parameter("status", _STATUS, "Only these"),
    parameter("source", _SOURCE, "Only of this source"),
    parameter("event_type", _TYPE, "Only of this type"),
    parameter("from", _INSTANT, "Received at this instant or later"),
    parameter("to", _INSTANT, "Received before this instant"),
    limit_parameter(most=MAX_PAGE, default=DEFAULT_PAGE),
    parameter("cursor", {"type": "string", "minLength": 1}, "`next_cursor` of the page before"),
]
LIST_RESPONSES = {
    200: Response(
        description="One page, newest first, without payloads",
        schema=object_schema(
            deliveries={"type": "array", "items": object_schema(**_DELIVERY)},
            next_cursor={**_TEXT_OR_NULL, "description": "Ask for the next page with it; null on the last one"},
        ),
    )
}
SHOW_PARAMETERS = [_ID_PARAMETER]
SHOW_RESPONSES = {
    200: Response(
        description="All of it",
        schema=object_schema(
            **_DELIVERY, payload={"description": "As it was sent; text if it could not be stored as JSON"}
        ),
    ),
    404: Response(description="There is no such delivery"),
}
REPLAY = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "id": _UUID,
        "status": {"type": "string", "enum": ["rejected", "dead"]},
        "source": _SOURCE,
        "event_type": _TYPE,
        "from": _INSTANT,
        "to": _INSTANT,
        "limit": {"type": "integer", "minimum": 1, "maximum": MOST_REPLAYED, "default": MOST_REPLAYED},
        "dry_run": {"type": "boolean", "default": False},
    },
}
REPLAY_EXAMPLES = {
    "dead ones": {"status": "dead", "dry_run": True},
    "of a source": {"source": "acme", "event_type": "comps.upsert"},
}
REPLAY_RESPONSES = {
    200: Response(
        description="How many are pending again, and how many are still wrong",
        schema=object_schema(replayed=_COUNT, rejected=_COUNT, dry_run={"type": "boolean"}),
    ),
    404: Response(description="There is no such delivery"),
    409: Response(description="The delivery is neither rejected nor dead"),
}
