"""The endpoints of jobs as OpenAPI describes them: bodies, parameters and answers. No behaviour."""

from collections.abc import Sequence
from typing import Any

from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.core.markets import LONGEST_SLUG, SLUG_PATTERN
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import limit_parameter, object_schema, parameter

MAX_PAGE, DEFAULT_PAGE = 500, 50
HIGHEST_PRIORITY = 100
STATUSES = ["QUEUED", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED"]
LONGEST_KEY = 300

_INSTANT = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_UUID = {"type": "string", "format": "uuid"}
_STATUS = {"type": "string", "enum": STATUSES}
_ERROR_KIND = {"type": ["string", "null"], "enum": ["transient", "permanent", "lost", None]}
_SLUG = {"type": "string", "pattern": SLUG_PATTERN, "maxLength": LONGEST_SLUG}


_JOB_PROPERTIES: dict[str, dict[str, Any]] = {
    "job_id": _UUID,
    "job_type": {"type": "string"},
    "status": _STATUS,
    "market_slug": _TEXT_OR_NULL,
    "input_data": {"type": "object"},
    "output_data": {"type": ["object", "null"]},
    "processing_time_ms": {"type": ["number", "null"], "minimum": 0},
    "error_kind": _ERROR_KIND,
    "error_message": _TEXT_OR_NULL,
    "owner_id": {"type": "string"},
    "request_id": _TEXT_OR_NULL,
    "unique_key": _TEXT_OR_NULL,
    "priority": {"type": "integer"},
    "attempt_count": _COUNT,
    "max_attempts": _COUNT,
    "postponed_count": _COUNT,
    "run_at": _INSTANT,
    "cancel_requested_at": _INSTANT_OR_NULL,
    "created_at": _INSTANT,
    "started_at": _INSTANT_OR_NULL,
    "finished_at": _INSTANT_OR_NULL,
    "updated_at": _INSTANT,
}
JOB_FIELDS = tuple(_JOB_PROPERTIES)
_JOB = object_schema(**_JOB_PROPERTIES)
_ATTEMPT = object_schema(
    attempt={"type": "integer", "minimum": 1},
    dagster_run_id=_TEXT_OR_NULL,
    started_at=_INSTANT,
    finished_at=_INSTANT_OR_NULL,
    outcome={
        "type": ["string", "null"],
        "enum": ["completed", "retrying", "failed", "postponed", "cancelled", "lost", None],
    },
    error_kind=_ERROR_KIND,
    error_message=_TEXT_OR_NULL,
)
JOB_PARAMETERS = [{"name": "job_id", "in": "path", "required": True, "schema": _UUID}]
_NO_JOB = Response(description="The caller has no such job")
_NO_ROOM = Response(description="The caller has too many unfinished jobs, or asked for too many within an hour")


def submit_schema(types: Sequence[JobType]) -> dict[str, Any]:
    """The body of POST /api/jobs."""
    return {
        "type": "object",
        "required": ["job_type"],
        "additionalProperties": False,
        "properties": {
            "job_type": {"type": "string", "enum": [it.name for it in types]},
            "market_slug": _SLUG,
            "input_data": {"type": "object", "default": {}},
            "unique_key": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
            "priority": {"type": "integer", "minimum": -HIGHEST_PRIORITY, "maximum": HIGHEST_PRIORITY, "default": 0},
            "run_at": _INSTANT,
        },
    }


def submit_description(types: Sequence[JobType]) -> str:
    """What kinds of jobs there are."""
    kinds = "; ".join(f"`{it.name}`: {it.summary}" for it in types)
    return (
        f"{kinds}. With a `unique_key`, an unfinished job of the caller with that type and key is answered instead of "
        "a new one, as `duplicate: true`."
    )


SUBMIT_RESPONSES = {
    202: Response(
        description="The job; `Location` says where to ask for it",
        schema=object_schema(**_JOB_PROPERTIES, duplicate={"type": "boolean"}),
    ),
    429: _NO_ROOM,
}
LIST_PARAMETERS = [
    parameter("status", _STATUS, "Only jobs in this state"),
    parameter("job_type", {"type": "string", "minLength": 1}, "Only jobs of this type"),
    parameter("market_slug", _SLUG, "Only jobs about this market"),
    limit_parameter(most=MAX_PAGE, default=DEFAULT_PAGE),
    parameter("cursor", {"type": "string", "minLength": 1}, "`next_cursor` of the page before"),
]
LIST_RESPONSES = {
    200: Response(
        description="One page of the caller's jobs, of everybody's for `jobs:admin`, newest first",
        schema=object_schema(jobs={"type": "array", "items": _JOB}, next_cursor=_TEXT_OR_NULL),
    )
}
WAIT = parameter("wait", {"type": "number", "minimum": 0}, "Seconds to wait for its end, at most JOB_WAIT_SECONDS")
SHOW_RESPONSES = {
    200: Response(
        description="The job with its attempts",
        schema=object_schema(**_JOB_PROPERTIES, attempts={"type": "array", "items": _ATTEMPT}),
    ),
    404: _NO_JOB,
}
CANCEL_RESPONSES = {
    200: Response(description="It is cancelled", schema=_JOB),
    202: Response(description="It runs, and its handler is asked to end", schema=_JOB),
    404: _NO_JOB,
    409: Response(description="It is finished"),
}
RETRY_RESPONSES = {
    202: Response(description="It is in the queue again", schema=_JOB),
    404: _NO_JOB,
    409: Response(description="It has neither failed nor been cancelled, or an unfinished job has its unique key"),
    429: _NO_ROOM,
}
