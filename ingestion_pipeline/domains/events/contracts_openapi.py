"""The event contract as OpenAPI describes it: the same rules as contracts.py, in JSON Schema."""

from collections.abc import Mapping
from typing import Any

from ingestion_pipeline.domains.events.contracts import MAX_ID_LENGTH
from ingestion_pipeline.intake.endpoints import Response

_ID: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
_INSTANT = {"type": "string", "format": "date-time"}

EVENT = {
    "type": "object",
    "required": ["type"],
    "additionalProperties": False,
    "properties": {
        "type": _ID | {"description": "A type of events.event_schemas, such as VIEW or project.created"},
        "ruleId": _ID,
        "userId": _ID | {"description": "Absent for anonymous users"},
        "sessionId": _ID,
        "ts": _INSTANT | {"description": "When it happened; when it is received if absent"},
        "sentAt": _INSTANT | {"description": "The sender's clock when it sends: corrects `ts`"},
        "idempotencyKey": _ID | {"description": "The same key again is a duplicate, for at least seven days"},
        "data": {"type": "object", "description": "What the type's JSON Schema asks for"},
        "category": {"type": "string", "enum": ["transaction", "interaction", "user_activity", "content"]},
        "schemaVersion": {"type": "integer", "minimum": 1},
        "context": {
            "type": "object",
            "description": "Where it happened. `ip` is used for its country and a keyed hash, and never stored.",
            "properties": {"ip": {"type": "string"}, "userAgent": {"type": "string"}, "locale": {"type": "string"}},
        },
    },
}
SCHEMAS: Mapping[str, Any] = {"Event": EVENT}
_EVENT = {"$ref": "#/components/schemas/Event"}

BATCH = {
    "type": "object",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {"events": {"type": "array", "minItems": 1, "items": _EVENT}, "sentAt": _INSTANT},
}
EVENT_OR_BATCH = {"oneOf": [_EVENT, BATCH]}

_RESULT = {
    "type": "object",
    "required": ["index", "status"],
    "properties": {
        "index": {"type": "integer"},
        "status": {"type": "string", "enum": ["accepted", "duplicate", "rejected"]},
        "id": {"type": "string", "format": "uuid", "description": "Of the event; of the first one for a duplicate"},
        "reason": {"type": "string"},
        "field": {"type": "string"},
    },
}
ACCEPTED = {
    "type": "object",
    "required": ["accepted", "duplicates", "rejected", "requestId", "results"],
    "properties": {
        "accepted": {"type": "integer"},
        "duplicates": {"type": "integer"},
        "rejected": {"type": "integer"},
        "requestId": {"type": "string"},
        "results": {"type": "array", "items": _RESULT},
    },
}
EMIT_RESPONSES = {202: Response(description="Durable: what became of each event, in their order", schema=ACCEPTED)}
EMIT_DESCRIPTION = (
    "Answers after the commit is on disk. A bad event is rejected with the reason and kept for a replay; it does not "
    "sink its batch."
)

BATCH_EXAMPLES = {
    "batch": {
        "events": [
            {
                "type": "VIEW",
                "ruleId": "rule-1",
                "userId": "user-1",
                "ts": "2026-11-01T10:00:00Z",
                "idempotencyKey": "view-1",
            },
            {"type": "COPY", "ruleId": "rule-1"},
        ]
    }
}
EVENT_EXAMPLES = {
    "event": {
        "type": "project.created",
        "userId": "user-1",
        "sessionId": "session-1",
        "data": {"project_id": "project-1", "budget": 1500},
        "idempotencyKey": "project-1-created",
    }
}
