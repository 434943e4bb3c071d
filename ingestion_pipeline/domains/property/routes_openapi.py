"""The property endpoints as OpenAPI describes them: parameters and answers. No behaviour."""

from typing import Any

from ingestion_pipeline.domains.property.metrics import METRICS
from ingestion_pipeline.domains.property.reads import DEFAULT_OBSERVATIONS, DEFAULT_ROWS
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import limit_parameter, object_schema, parameter

MAX_OBSERVATIONS, MAX_ROWS = 5_000, 1_000

_DATE = {"type": "string", "format": "date"}
_INSTANT = {"type": "string", "format": "date-time"}
_NUMBER = {"type": "number"}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_RATIO = {"type": "number", "minimum": 0, "maximum": 1}
_MORE = {"type": "boolean", "description": "There are older ones"}
_CURSOR = {"type": ["string", "null"], "description": "Ask for the next page with it; null on the last one"}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_MARKET = parameter(
    "market_slug", {"type": "string", "examples": ["dallas"]}, "The market, as in its deliveries", place="path"
)
_FROM = parameter("from", _DATE, "Of this day or later")
_TO = parameter("to", _DATE, "Of a day before this one")
_PAGE = parameter("cursor", {"type": "string", "minLength": 1}, "`next_cursor` of the page before")

MACRO_PARAMETERS = [
    parameter(
        "series_id", {"type": "string", "examples": ["MORTGAGE30US"]}, "The series, as FRED has it", place="path"
    ),
    _FROM,
    _TO,
    limit_parameter(most=MAX_OBSERVATIONS, default=DEFAULT_OBSERVATIONS),
]
FUNDAMENTALS_PARAMETERS = [
    _MARKET,
    parameter("metric", {"type": "string", "enum": list(METRICS)}, "The history of this metric"),
    parameter("from", _DATE, "Of this day or later; with `metric`"),
    parameter("to", _DATE, "Of a day before this one; with `metric`"),
    limit_parameter(most=MAX_ROWS, default=DEFAULT_ROWS),
]
COMPS_PARAMETERS = [
    _MARKET,
    parameter("property_type", _TEXT | {"minLength": 1, "maxLength": 50}, "Only sales of this type"),
    _FROM,
    _TO,
    limit_parameter(most=MAX_ROWS, default=DEFAULT_ROWS),
    _PAGE,
]
PREDICTIONS_PARAMETERS = [_MARKET, limit_parameter(most=MAX_ROWS, default=DEFAULT_ROWS), _PAGE]

_OBSERVATION = object_schema(
    observation_date=_DATE,
    value=_NUMBER_OR_NULL,
    vintage_date=_DATE,
    confirmed_date=_DATE,
    source=_TEXT,
    received_at=_INSTANT,
)
_FUNDAMENTAL = object_schema(
    metric=_TEXT, value=_NUMBER, unit=_TEXT, as_of_date=_DATE, source=_TEXT, revision=_COUNT, received_at=_INSTANT
)
_STALENESS = object_schema(
    last_as_of_date=_DATE,
    age_days={"type": "integer"},
    max_age_days=_COUNT,
    is_stale={"type": "boolean"},
    checked_at=_INSTANT,
)
_COMP = object_schema(
    source=_TEXT,
    comp_id=_TEXT,
    property_type=_TEXT,
    sale_date=_DATE,
    sale_price_usd=_NUMBER,
    living_area_sqft=_NUMBER_OR_NULL,
    bedrooms=_NUMBER_OR_NULL,
    bathrooms=_NUMBER_OR_NULL,
    lot_sqft=_NUMBER_OR_NULL,
    year_built={"type": ["integer", "null"]},
    latitude=_NUMBER_OR_NULL,
    longitude=_NUMBER_OR_NULL,
    address=_TEXT_OR_NULL,
    revision=_COUNT,
    received_at=_INSTANT,
)
_PREDICTION = object_schema(
    prediction_id=_TEXT,
    property_type=_TEXT,
    subject_id=_TEXT,
    subject={"type": "object"},
    valuation_date=_DATE,
    estimate_usd=_NUMBER_OR_NULL,
    low_usd=_NUMBER_OR_NULL,
    high_usd=_NUMBER_OR_NULL,
    comp_count=_COUNT,
    dispersion_ratio=_NUMBER_OR_NULL,
    confidence_ratio=_RATIO,
    filter_step={"type": ["integer", "null"]},
    time_adjustment={"type": "string", "enum": ["index", "trend", "none"]},
    is_out_of_sample={"type": "boolean"},
    sale_price_usd=_NUMBER,
    method_version=_TEXT,
    made_at=_INSTANT,
)
_ACCURACY = object_schema(
    as_of_date=_DATE,
    market_slug=_TEXT,
    property_type=_TEXT,
    method_version=_TEXT,
    window_days=_COUNT,
    prediction_count=_COUNT,
    valued_count=_COUNT,
    mdape_ratio=_NUMBER_OR_NULL,
    ppe10_ratio=_NUMBER_OR_NULL,
    ppe20_ratio=_NUMBER_OR_NULL,
    bias_ratio=_NUMBER_OR_NULL,
    error_stddev_ratio=_NUMBER_OR_NULL,
)


def _responses(what: str, schema: dict[str, Any]) -> dict[int, Response]:
    return {200: Response(description=what, schema=schema), 404: Response(description="There are none.")}


MACRO_RESPONSES = _responses(
    "Observations, newest first", object_schema(series_id=_TEXT, observations=_array(_OBSERVATION), has_more=_MORE)
)
FUNDAMENTALS_RESPONSES = _responses(
    "The newest value of each metric, or the history of one, newest first",
    object_schema(
        market_slug=_TEXT,
        fundamentals=_array(_FUNDAMENTAL),
        staleness={"oneOf": [_STALENESS, {"type": "null"}]},
        has_more=_MORE,
    ),
)
COMPS_RESPONSES = _responses(
    "Comparable sales, newest first",
    object_schema(market_slug=_TEXT, comps=_array(_COMP), has_more=_MORE, next_cursor=_CURSOR),
)
PREDICTIONS_RESPONSES = _responses(
    "Predictions, newest first, and the newest accuracy figures of the market",
    object_schema(
        market_slug=_TEXT,
        predictions=_array(_PREDICTION),
        accuracy=_array(_ACCURACY),
        has_more=_MORE,
        next_cursor=_CURSOR,
    ),
)
