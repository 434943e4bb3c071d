"""The query endpoints as OpenAPI describes them: parameters and answers. No behaviour."""

from typing import Any

from ingestion_pipeline.domains.events.contracts import MAX_ID_LENGTH
from ingestion_pipeline.domains.events.tables import CATEGORIES
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import limit_parameter, object_schema, parameter

MAX_PAGE = 500
DEFAULT_PAGE = 100
STATUSES = ("pending", "processing", "processed", "failed")
PERIODS = ("hourly", "daily", "weekly")

_ID: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
_INSTANT = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_CURSOR = {"type": ["string", "null"], "description": "Ask for the next page with it; null on the last one"}


_TYPE = parameter("type", _ID, "Only events of this type")
_CATEGORY = parameter("category", {"type": "string", "enum": list(CATEGORIES)}, "Only events of this category")
_PAGE = [
    limit_parameter(most=MAX_PAGE, default=DEFAULT_PAGE),
    parameter("cursor", {"type": "string", "minLength": 1}, "`nextCursor` of the page before"),
]

EVENTS_PARAMETERS = [
    _TYPE,
    _CATEGORY,
    parameter("userId", _ID, "Only events of this user"),
    parameter("sessionId", _ID, "Only events of this session"),
    parameter("ruleId", _ID, "Only events on this rule"),
    parameter("from", _INSTANT, "Received at this instant or later"),
    parameter("to", _INSTANT, "Received before this instant"),
    parameter("status", {"type": "string", "enum": list(STATUSES)}, "Only events with this processing status"),
    *_PAGE,
]
AGGREGATIONS_PARAMETERS = [
    parameter("period", {"type": "string", "enum": list(PERIODS), "default": "daily"}, "Width of the buckets"),
    _TYPE,
    _CATEGORY,
    parameter("from", _INSTANT, "Buckets that start at this instant or later"),
    parameter("to", _INSTANT, "Buckets that start before this instant"),
    *_PAGE,
]


_EVENT = object_schema(
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
_AGGREGATION = object_schema(
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
_METRIC = object_schema(
    name={"type": "string"},
    dimensions={"type": "object"},
    value={"type": "number"},
    updatedAt=_INSTANT,
    expiresAt=_INSTANT,
)
_DASHBOARD = object_schema(
    generatedAt=_INSTANT,
    today=object_schema(events=_COUNT, uncountedEvents=_COUNT, uniqueUsers=_COUNT, uniqueSessions=_COUNT),
    byCategory={"type": "object", "additionalProperties": _COUNT},
    topTypes={"type": "array", "items": object_schema(type=_ID, count=_COUNT)},
    realtime={"type": "array", "items": _METRIC},
    activeUsers=object_schema(day=_COUNT, week=_COUNT, month=_COUNT),
)

EVENTS_RESPONSES = {
    200: Response(
        description="One page, newest first",
        schema=object_schema(events={"type": "array", "items": _EVENT}, nextCursor=_CURSOR),
    )
}
AGGREGATIONS_RESPONSES = {
    200: Response(
        description="One page, newest bucket first",
        schema=object_schema(aggregations={"type": "array", "items": _AGGREGATION}, nextCursor=_CURSOR),
    )
}
DASHBOARD_RESPONSES = {200: Response(description="The figures of now", schema=_DASHBOARD)}
