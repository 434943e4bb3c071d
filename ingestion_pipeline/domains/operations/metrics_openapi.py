"""What the metrics endpoints answer, as OpenAPI describes it."""

from typing import Any

from ingestion_pipeline.intake.endpoints import Response

JSON_DESCRIPTION = (
    "Every series of every process, and queues, freshness, breakers and health as of now. The `value` of a histogram "
    "is its mean; `buckets` are cumulative, by upper bound."
)
TEXT_DESCRIPTION = "The same series in Prometheus' text format."

_ENTRY: dict[str, Any] = {
    "type": "object",
    "required": ["type", "name", "value", "timestamp", "labels"],
    "properties": {
        "type": {"enum": ["counter", "gauge", "histogram"]},
        "name": {"type": "string"},
        "value": {"type": "number"},
        "timestamp": {"type": "string", "format": "date-time"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "count": {"type": "integer"},
        "sum": {"type": "number"},
        "buckets": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
}
JSON_RESPONSES = {200: Response(description="The metrics.", schema={"type": "array", "items": _ENTRY})}
TEXT_RESPONSES = {200: Response(description="The metrics.", content_type="text/plain")}
