"""The market endpoints as OpenAPI describes them: S1's bodies and answers. No behaviour."""

from ingestion_pipeline.domains.market.jobs import MOST_SYMBOLS
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import ACCEPTED, object_schema, parameter

_COUNT = {"type": "integer", "minimum": 0}
_INSTANT = {"type": "string", "format": "date-time"}


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
WAIT = parameter(
    "wait", {"type": "number", "minimum": 0}, "Seconds to wait for the end; at most, and by default, JOB_WAIT_SECONDS"
)
_RESULT = object_schema(
    marketsIngested=_COUNT,
    snapshotsIngested=_COUNT,
    aggregatesIngested=_COUNT,
    comparisonsIngested=_COUNT,
    roiStatsIngested=_COUNT,
    startedAt=_INSTANT,
    completedAt=_INSTANT,
    trigger={"type": "string", "enum": ["manual", "cron"]},
)
RESPONSES = {
    200: Response(description="Done", schema=object_schema(status={"const": "success"}, result=_RESULT)),
    202: Response(description="It goes on; `Location` says where to ask for the job", schema=ACCEPTED),
    409: Response(description="The job was cancelled"),
    500: Response(description="It failed for good, `detail` says why"),
    502: Response(description="It failed every time it was tried, `detail` says why; trying again later may help"),
}
