"""What GET /api/health/data answers, as OpenAPI describes it."""

from typing import Any

from ingestion_pipeline.intake.endpoints import Response

DESCRIPTION = (
    "Seed S0's document, with reasons and since when. 200 for GREEN and YELLOW, 503 for RED. It answers also while "
    "PostgreSQL or the Dagster daemon is down, and says so: services are then UNKNOWN, with their last known status."
)

_INSTANT = {"type": ["string", "null"], "format": "date-time"}
_NUMBER = {"type": ["number", "null"]}
_COUNT = {"type": ["integer", "null"]}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_FIRST = {**_TEXTS, "description": "The first 100 by name"}
_STATUS = {"enum": ["GREEN", "YELLOW", "RED", "UNKNOWN"]}
_SERVICE = {
    "type": "object",
    "required": ["status", "source", "last_success_at", "freshness_seconds", "last_row_as_of", "since", "reasons"],
    "properties": {
        "status": _STATUS,
        "last_known_status": _STATUS,
        "source": {"type": "string"},
        "last_success_at": _INSTANT,
        "freshness_seconds": {**_COUNT, "description": "Age of last_success_at"},
        "last_row_as_of": _INSTANT,
        "since": _INSTANT,
        "reasons": _TEXTS,
        "cache": {
            "type": "object",
            "properties": {"used": {"type": "boolean"}, "ttl_seconds": _COUNT},
        },
        "breaker": {
            "type": "object",
            "properties": {"state": {"enum": ["CLOSED", "OPEN", "HALF_OPEN"]}, "failures": {"type": "integer"}},
        },
        "max_allowed_staleness_days": {"type": "integer"},
        "stale_market_count": {"type": "integer"},
        "stale_markets": _FIRST,
        "min_required_recent": {"type": "integer"},
        "below_min_count": {"type": "integer"},
        "markets_below_min": _FIRST,
    },
}
HEALTH: dict[str, Any] = {
    "type": "object",
    "required": ["status", "as_of", "since", "reasons", "services", "metrics"],
    "properties": {
        "status": {"enum": ["GREEN", "YELLOW", "RED"]},
        "as_of": {"type": "string", "format": "date-time"},
        "since": {"type": "string", "format": "date-time"},
        "reasons": _TEXTS,
        "services": {
            "type": "object",
            "required": ["macro", "fundamentals", "comps"],
            "additionalProperties": _SERVICE,
        },
        "metrics": {
            "type": "object",
            "required": [
                "cache_hit_ratio",
                "api_retry_count_5m",
                "prediction_latency_ms_p50",
                "prediction_latency_ms_p95",
            ],
            "properties": {
                "cache_hit_ratio": {"type": "object", "additionalProperties": _NUMBER},
                "api_retry_count_5m": {"type": "object", "additionalProperties": _COUNT},
                "prediction_latency_ms_p50": _NUMBER,
                "prediction_latency_ms_p95": _NUMBER,
            },
        },
    },
}
RESPONSES = {
    200: Response(description="GREEN or YELLOW.", schema=HEALTH),
    503: Response(description="RED: the data cannot be trusted now.", schema=HEALTH),
}
