"""The administration endpoints as OpenAPI describes them: bodies, parameters and answers. No behaviour."""

from typing import Any

from ingestion_pipeline.domains.events.contracts import MAX_ID_LENGTH
from ingestion_pipeline.domains.events.export import PARTS
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import limit_parameter, object_schema, parameter

MAX_PAGE, DEFAULT_PAGE = 1_000, 100
MOST_REPLAYED = 10_000

_ID: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
_INSTANT = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}
_CURSOR = {"type": ["string", "null"], "description": "Ask for the next page with it; null on the last one"}
_MODE = {"type": "string", "enum": ["erase", "anonymise"]}
_UUID = {"type": "string", "format": "uuid"}


_PAGE = [
    limit_parameter(most=MAX_PAGE, default=DEFAULT_PAGE),
    parameter("cursor", {"type": "string", "minLength": 1}, "`nextCursor` of the page before"),
]

ERASE = {
    "type": "object",
    "required": ["userId"],
    "additionalProperties": False,
    "properties": {"userId": _ID, "mode": _MODE | {"default": "erase"}},
}
ERASE_EXAMPLES = {"erase": {"userId": "user-1"}, "anonymise": {"userId": "user-1", "mode": "anonymise"}}
_ERASURE = object_schema(
    erasureId=_UUID,
    mode=_MODE,
    status={"type": "string", "enum": ["requested", "completed"]},
    requestedAt=_INSTANT,
    completedAt=_INSTANT_OR_NULL,
    removed={"type": "object", "additionalProperties": _COUNT, "description": "Rows by the place they were in"},
    errorMessage={"type": ["string", "null"], "description": "Why it could not be completed the last time"},
)
ERASE_RESPONSES = {
    202: Response(
        description="Recorded, and done in PostgreSQL; `Location` says where to ask for the rest", schema=_ERASURE
    )
}
ERASURE_PARAMETERS = [{"name": "erasure_id", "in": "path", "required": True, "schema": _UUID}]
ERASURE_RESPONSES = {
    200: Response(description="What has been done so far", schema=_ERASURE),
    404: Response(description="There is no such request"),
}

EXPORT_PARAMETERS = [parameter("userId", _ID, "Whose", is_required=True), *_PAGE]
_RECORD = object_schema(
    part={"type": "string", "enum": list(PARTS)},
    content={"type": "object"},
)
EXPORT_RESPONSES = {
    200: Response(
        description="One page of everything held",
        schema=object_schema(records={"type": "array", "items": _RECORD}, nextCursor=_CURSOR),
    )
}

_TYPE = parameter("type", _ID, "Only events of this type")
_REASON = parameter("reason", {"type": "string", "minLength": 1}, "Only with these words in the reason")
REJECTS_PARAMETERS = [
    _TYPE,
    _REASON,
    parameter("from", _INSTANT, "Last refused at this instant or later"),
    parameter("to", _INSTANT, "Last refused before this instant"),
    parameter("replayed", {"type": "boolean", "default": False}, "Those that were replayed, instead of the others"),
    *_PAGE,
]
_REJECT = object_schema(
    id={"type": "integer"},
    reason={"type": "string"},
    event={},
    received={},
    firstSeenAt=_INSTANT,
    lastSeenAt=_INSTANT,
    seenCount=_COUNT,
    replayedAt=_INSTANT_OR_NULL,
    replayedAs={"type": ["string", "null"], "description": "Id of the event that it became"},
)
REJECTS_RESPONSES = {
    200: Response(
        description="One page, newest first",
        schema=object_schema(rejects={"type": "array", "items": _REJECT}, nextCursor=_CURSOR),
    )
}

REPLAY = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "id": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
        "from": _INSTANT,
        "to": _INSTANT,
        "type": _ID,
        "reason": {"type": "string", "minLength": 1},
        "failed": {"type": "boolean", "default": False, "description": "Events that failed for good, instead"},
        "dryRun": {"type": "boolean", "default": False},
        "limit": {"type": "integer", "minimum": 1, "maximum": MOST_REPLAYED, "default": MOST_REPLAYED},
    },
}
REPLAY_EXAMPLES = {"type": {"type": "project.archived", "dryRun": True}, "one": {"id": 17}}
REPLAY_RESPONSES = {
    200: Response(
        description="What became of them",
        schema=object_schema(accepted=_COUNT, duplicates=_COUNT, rejected=_COUNT, retried=_COUNT),
    )
}
