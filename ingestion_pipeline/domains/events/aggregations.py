"""Aggregations of events: counts, different users and sessions, statistics of numeric properties. Pure.

Two expressions over the event history, each one pass, and their answers put together: `event_counts` never touches
event_data, `property_statistics` only that of types with numeric properties.

The same definitions in SQL, for one hour of the hot log: sql/functions/aggregate_events_hourly.sql.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import ibis
import ibis.expr.datatypes as dt
import pandas as pd

from ingestion_pipeline.domains.events.tables import EVENT_AGGREGATIONS_HOURLY

if TYPE_CHECKING:
    import ibis.expr.types as ir

Grain = Literal["hour", "day", "week"]
NumericProperties = Mapping[str, Sequence[str]]

COLUMNS = list(EVENT_AGGREGATIONS_HOURLY.column_names)
KEY = ["event_type", "event_category", "bucket_start"]
QUANTILES = {"p50": 0.50, "p95": 0.95}
# exact sums do not depend on the order of rows: nine decimals, and room for 10 billion of the largest numbers
LARGEST_NUMBER = 1e18
EXACT = dt.Decimal(38, 9)

_TRUNCATE: Mapping[Grain, Literal["h", "D", "W"]] = {"hour": "h", "day": "D", "week": "W"}
_NUMERIC = {"number", "integer"}


@ibis.udf.scalar.builtin(name="json_extract", signature=((dt.string, dt.string), dt.json))
def json_extract(document, pointer):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """The value at a JSON pointer. Ibis's own `[name]` takes a dot in the name for a path, and parses three times."""


def numeric_properties(schemas: Iterable[tuple[str, object]]) -> dict[str, list[str]]:
    """The top-level properties that are numbers, by event type, both in order of their names.

    Args:
        schemas: Event type and JSON Schema of each version; a property that is numeric in any of them counts.
    """
    found: dict[str, set[str]] = {}
    for event_type, schema in schemas:
        properties = schema.get("properties") if isinstance(schema, dict) else None
        for name, rule in properties.items() if isinstance(properties, dict) else ():
            if isinstance(rule, dict) and _NUMERIC & _types(rule):
                found.setdefault(event_type, set()).add(name)
    return {event_type: sorted(found[event_type]) for event_type in sorted(found)}


def event_counts(events: "ir.Table", *, grain: Grain) -> "ir.Table":
    """Counts of each event type and category in each bucket: the columns of the tables but `properties`.

    Args:
        events: Rows of events/event_history. Those that do not count are in uncounted_count and in the first and last
            instant, nowhere else.
        grain: Buckets are UTC hours, UTC days or weeks from Monday.
    """
    rows = events.mutate(bucket=_bucket(events, grain))
    counts = rows.group_by("event_type", "event_category", "bucket").agg(
        event_count=rows.count(where=rows.is_counted),
        uncounted_count=rows.count(where=~rows.is_counted),
        unique_users=rows.user_id.nunique(where=rows.is_counted),
        unique_sessions=rows.session_id.nunique(where=rows.is_counted),
        first_event_at=rows.occurred_at.min(),
        last_event_at=rows.occurred_at.max(),
    )
    return counts.mutate(bucket_start=counts.bucket.cast(dt.Timestamp("UTC"))).drop("bucket")


def property_statistics(events: "ir.Table", properties: NumericProperties, *, grain: Grain) -> "ir.Table":
    """Statistics of each numeric property in each bucket, one row a property.

    Only real JSON numbers of counted events are values: neither "1" nor true, and nothing beyond ±10¹⁸.

    Args:
        events: Rows of events/event_history.
        properties: As `numeric_properties` gives them; at least one type.
        grain: As in `event_counts`.

    Returns:
        Columns event_type, event_category, bucket_start, name, count, sum (exact to nine decimals), min, max, p50, p95
        (interpolated between the two nearest values).
    """
    some = events.filter(events.is_counted & events.event_type.isin(list(properties)))
    branches = [(some.event_type == event_type, _values(some, names)) for event_type, names in properties.items()]
    long = some.select(
        "event_type", "event_category", bucket=_bucket(some, grain), property=ibis.cases(*branches).unnest()
    )
    values = long.select("event_type", "event_category", "bucket", **_members(long.property))
    values = values.filter(values.value.abs() <= LARGEST_NUMBER)
    statistics = values.group_by("event_type", "event_category", "bucket", "name").agg(
        count=values.count(),
        sum=values.value.cast(EXACT).sum().cast("float64"),
        min=values.value.min(),
        max=values.value.max(),
        **{name: values.value.quantile(share) for name, share in QUANTILES.items()},
    )
    return statistics.mutate(bucket_start=statistics.bucket.cast(dt.Timestamp("UTC"))).drop("bucket")


def event_aggregations(events: "ir.Table", properties: NumericProperties, *, grain: Grain) -> pd.DataFrame:
    """The rows of events/event_aggregations_hourly, _daily or _weekly, ordered by bucket and type.

    Args:
        events: Rows of events/event_history: all of each bucket.
        properties: Numeric properties by event type; none gives empty statistics.
        grain: As in `event_counts`.
    """
    counts = event_counts(events, grain=grain).execute()
    texts = _texts(property_statistics(events, properties, grain=grain).execute()) if properties else {}
    counts["properties"] = [texts.get(key, "{}") for key in counts[KEY].itertuples(index=False, name=None)]
    return counts.sort_values(["bucket_start", "event_type", "event_category"], ignore_index=True)[COLUMNS]


def _bucket(events: "ir.Table", grain: Grain) -> "ir.Value":
    """The start of each row's bucket, without its time zone: truncating a timestamp that has one is slow."""
    if grain == "hour":
        return events.occurred_at.cast(dt.Timestamp()).truncate("h")
    return events.day.truncate(_TRUNCATE[grain]).cast(dt.Timestamp())


def _values(events: "ir.Table", names: Sequence[str]) -> "ir.ArrayValue":
    """Name and value of each property; what is no number is null, for the text of a JSON string keeps its quotes."""
    return ibis.array(
        [
            ibis.struct(
                {
                    "name": ibis.literal(name),
                    "value": json_extract(events.event_data, _pointer(name)).cast("string").try_cast("float64"),
                }
            )
            for name in names
        ]
    )


def _members(struct: "ir.StructValue") -> dict[str, "ir.Value"]:
    return {"name": struct["name"], "value": struct["value"]}


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _types(rule: Mapping[str, Any]) -> set[str]:
    types = rule.get("type")
    return {it for it in (types if isinstance(types, list) else [types]) if isinstance(it, str)}


def _texts(statistics: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """The properties of each key as JSON."""
    found: dict[tuple[Any, ...], dict[str, dict[str, float]]] = {}
    names = ["count", "sum", "min", "max", *QUANTILES]
    for row in statistics.to_dict("records"):
        properties = found.setdefault(tuple(row[name] for name in KEY), {})
        properties[row["name"]] = {name: row[name] for name in names}
    return {key: json.dumps(properties, sort_keys=True, allow_nan=False) for key, properties in found.items()}
