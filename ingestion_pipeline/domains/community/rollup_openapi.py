"""The endpoints of rollups as OpenAPI describes them: parameters, bodies, answers. No behaviour."""

from typing import Any

from ingestion_pipeline.core.tables import Column, ColumnType, Table
from ingestion_pipeline.domains.community.rollup_jobs import DAYS as DEFAULT_DAYS
from ingestion_pipeline.domains.community.rollup_jobs import MOST_DAYS
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import object_schema, parameter

_TYPES: dict[ColumnType, dict[str, Any]] = {
    "date": {"type": "string", "format": "date"},
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "float": {"type": "number"},
    "json": {"type": "object", "additionalProperties": {"type": "string"}},
}
_DATE, _COUNT = _TYPES["date"], {"type": "integer", "minimum": 0}


def _column(column: Column) -> dict[str, Any]:
    schema = dict(_TYPES[column.type])
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
    return {**schema, "description": column.description}


def _rows(table: Table, *, without: str = "") -> dict[str, Any]:
    """The rows of a table, its columns in camel case."""
    properties = {}
    for column in table.columns:
        head, *tail = column.name.split("_")
        if column.name != without:
            properties[head + "".join(part.capitalize() for part in tail)] = _column(column)
    return {"type": "array", "items": object_schema(**properties)}


def _answer(rows: dict[str, Any], **of: dict[str, Any]) -> dict[int, Response]:
    schema = object_schema(**of, **{"from": _DATE, "to": _DATE}, days=rows)
    return {200: Response(description="Days without events are left out", schema=schema)}


def wait(most_seconds: float) -> dict[str, Any]:
    """The parameter of an endpoint that waits for its job."""
    schema = {"type": "number", "minimum": 0, "maximum": most_seconds}
    return parameter("wait", schema, "Seconds to wait for the job; at most, and by default, JOB_WAIT_SECONDS")


_ID = {"type": "string", "minLength": 1, "maxLength": 200}
RULE_ID = parameter("rule_id", _ID, "The rule, as events name it", place="path")
AUTHOR_ID = parameter("author_id", _ID, "The author, as rules name them", place="path")
DAYS = [
    parameter("from", _DATE, "First UTC day; 30 days up to `to` by default"),
    parameter("to", _DATE, "Last UTC day, included; today by default"),
]
ROLLUP = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "date": {
            "type": ["string", "null"],
            "maxLength": 40,
            "description": "Last day, or an instant of it with its time zone; today by default. Days before "
            "INGESTION_FIRST_DAY are left out",
        },
        "dryRun": {"type": "boolean", "default": False, "description": "Change nothing, tell what would change"},
        "daysToProcess": {"type": "integer", "minimum": 1, "maximum": MOST_DAYS, "default": DEFAULT_DAYS},
    },
}
ROLLUP_EXAMPLES = {"the last week": {}, "one day, dry": {"date": "2026-11-01", "dryRun": True, "daysToProcess": 1}}
_CHANGES = object_schema(inserted=_COUNT, updated=_COUNT, deleted=_COUNT, unchanged=_COUNT)
_DONE = object_schema(
    ok={"const": True},
    date=_DATE,
    daysProcessed=_COUNT,
    dryRun={"type": "boolean"},
    days={
        "type": "array",
        "items": object_schema(
            day=_DATE,
            rules=_COUNT,
            authors=_COUNT,
            events=_COUNT,
            excluded={"type": "object", "additionalProperties": _COUNT},
            changes=object_schema(rules=_CHANGES, authors=_CHANGES, exclusions=_CHANGES),
        ),
    },
)
_ACCEPTED = object_schema(
    status={"const": "accepted"}, job_id={"type": "string", "format": "uuid"}, job_status={"type": "string"}
)
ROLLUP_RESPONSES = {
    200: Response(description="Done; of a dry run, what would be changed", schema=_DONE),
    202: Response(description="It goes on; `Location` says where to ask for the job", schema=_ACCEPTED),
    409: Response(description="The job was cancelled"),
    500: Response(description="It failed for good, `detail` says why"),
    502: Response(description="It failed every time it was tried, `detail` says why; trying again later may help"),
}
RULE_RESPONSES = _answer(_rows(RULE_METRICS_DAILY, without="rule_id"), ruleId=_TYPES["text"])
AUTHOR_RESPONSES = _answer(_rows(AUTHOR_METRICS_DAILY, without="author_id"), authorId=_TYPES["text"])
EXCLUSION_RESPONSES = _answer(_rows(EXCLUDED_EVENTS_DAILY))
