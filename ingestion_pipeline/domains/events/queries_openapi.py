"""The query endpoints as OpenAPI describes them: parameters and answers. No behaviour."""

from typing import Any

from ingestion_pipeline.domains.events.contracts import MAX_ID_LENGTH
from ingestion_pipeline.domains.events.tables import CATEGORIES
from ingestion_pipeline.intake.endpoints import Response

MAX_PAGE = 500
DEFAULT_PAGE = 100
STATUSES = ("pending", "processing", "processed", "failed")
PERIODS = ("hourly", "daily", "weekly")

_ID: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
_INSTANT = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_CURSOR = {"type": ["string", "null"], "description": "Ask for the next page with it; null on the last one"}


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


_TYPE = _parameter("type", _ID, "Only events of this type")
_CATEGORY = _parameter("category", {"type": "string", "enum": list(CATEGORIES)}, "Only events of this category")
_PAGE = [
    _parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
        "Rows of one page",
    ),
    _parameter("cursor", {"type": "string", "minLength": 1}, "`nextCursor` of the page before"),
]

EVENTS_PARAMETERS = [
    _TYPE,
    _CATEGORY,
    _parameter("userId", _ID, "Only events of this user"),
    _parameter("sessionId", _ID, "Only events of this session"),
    _parameter("ruleId", _ID, "Only events on this rule"),
    _parameter("from", _INSTANT, "Received at this instant or later"),
    _parameter("to", _INSTANT, "Received before this instant"),
    _parameter("status", {"type": "string", "enum": list(STATUSES)}, "Only events with this processing status"),
    *_PAGE,
]
AGGREGATIONS_PARAMETERS = [
    _parameter("period", {"type": "string", "enum": list(PERIODS), "default": "daily"}, "Width of the buckets"),
    _TYPE,
    _CATEGORY,
    _parameter("from", _INSTANT, "Buckets that start at this instant or later"),
    _parameter("to", _INSTANT, "Buckets that start before this instant"),
    *_PAGE,
]


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_EVENT = _object(
    id={"type": "string", "format": "uuid"},
    type=_ID,
    category={"type": "string", "enum": list(CATEGORIES)},
    userId=_TEXT_OR_NULL,
    sessionId=_TEXT_OR_NULL,
    ruleId=_TEXT_OR_NULL,
    data={"type": "object"},
    metadata={"type": "object"},
    timestamp=_INSTANT | {"description": "When it happened"},
    createdAt=_INSTANT | {"description": "When it was received"},
    processingStatus={"type": "string", "enum": list(STATUSES)},
    retryCount=_COUNT,
    errorMessage=_TEXT_OR_NULL,
)
_AGGREGATION = _object(
    period={"type": "string", "enum": list(PERIODS)},
    bucketStart=_INSTANT,
    type=_ID,
    category={"type": "string", "enum": list(CATEGORIES)},
    count=_COUNT,
    uncountedCount=_COUNT,
    uniqueUsers=_COUNT,
    uniqueSessions=_COUNT,
    firstEventAt=_INSTANT,
    lastEventAt=_INSTANT,
    properties={"type": "object"},
)
_METRIC = _object(
    name={"type": "string"},
    dimensions={"type": "object"},
    value={"type": "number"},
    updatedAt=_INSTANT,
    expiresAt=_INSTANT,
)
_DASHBOARD = _object(
    generatedAt=_INSTANT,
    today=_object(events=_COUNT, uncountedEvents=_COUNT, uniqueUsers=_COUNT, uniqueSessions=_COUNT),
    byCategory={"type": "object", "additionalProperties": _COUNT},
    topTypes={"type": "array", "items": _object(type=_ID, count=_COUNT)},
    realtime={"type": "array", "items": _METRIC},
    activeUsers=_object(day=_COUNT, week=_COUNT, month=_COUNT),
)

EVENTS_RESPONSES = {
    200: Response(
        description="One page, newest first",
        schema=_object(events={"type": "array", "items": _EVENT}, nextCursor=_CURSOR),
    )
}
AGGREGATIONS_RESPONSES = {
    200: Response(
        description="One page, newest bucket first",
        schema=_object(aggregations={"type": "array", "items": _AGGREGATION}, nextCursor=_CURSOR),
    )
}
DASHBOARD_RESPONSES = {200: Response(description="The figures of now", schema=_DASHBOARD)}
