"""The market endpoints as OpenAPI describes them: S1's bodies and answers. No behaviour."""

from typing import Any

from ingestion_pipeline.domains.market.jobs import MOST_SYMBOLS
from ingestion_pipeline.intake.endpoints import Response

_COUNT = {"type": "integer", "minimum": 0}
_INSTANT = {"type": "string", "format": "date-time"}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


INGEST = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "symbols": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 64},
            "minItems": 1,
            "maxItems": MOST_SYMBOLS,
            "description": "Of INGESTION_MARKETS; all of them by default",
        }
    },
}
INGEST_EXAMPLES = {"all": {}, "some": {"symbols": ["BTC-USD", "ETH-USD"]}}
WAIT = {
    "name": "wait",
    "in": "query",
    "required": False,
    "schema": {"type": "number", "minimum": 0},
    "description": "Seconds to wait for the end; at most, and by default, JOB_WAIT_SECONDS",
}
_RESULT = _object(
    marketsIngested=_COUNT,
    snapshotsIngested=_COUNT,
    aggregatesIngested=_COUNT,
    comparisonsIngested=_COUNT,
    roiStatsIngested=_COUNT,
    startedAt=_INSTANT,
    completedAt=_INSTANT,
    trigger={"type": "string", "enum": ["manual", "cron"]},
)
_ACCEPTED = _object(
    status={"const": "accepted"}, job_id={"type": "string", "format": "uuid"}, job_status={"type": "string"}
)
RESPONSES = {
    200: Response(description="Done", schema=_object(status={"const": "success"}, result=_RESULT)),
    202: Response(description="It goes on; `Location` says where to ask for the job", schema=_ACCEPTED),
    409: Response(description="The job was cancelled"),
    500: Response(description="It failed for good, `detail` says why"),
    502: Response(description="It failed every time it was tried, `detail` says why; trying again later may help"),
}
