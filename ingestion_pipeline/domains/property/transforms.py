"""From what was delivered or read from a file to rows: named, in our units, each judged by itself. Pure functions.

A row that cannot be true is refused with a reason that names the field, the value seen and what was expected; the
others go on. Time is judged by when the delivery was received, never by the clock: a replay years later judges alike.
"""

import calendar
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar

from ingestion_pipeline.domains.property.contracts import (
    Comp,
    CompsData,
    FundamentalsData,
    MacroData,
    property_type,
)
from ingestion_pipeline.domains.property.metrics import METRICS, MONEY_LIMIT

FIRST_DAY = date(1600, 1, 1)  # FRED's own
TIME_ZONES = timedelta(days=1)  # it may be tomorrow where the sender is
CLOCK_TOLERANCE = timedelta(minutes=5)
LONGEST_VALUE = 40
OLDEST_BUILDING, NEWEST_BUILDING = 1500, 2200
MOST_ROOMS, MOST_SQFT = 1000, 1e9

Row = TypeVar("Row")


class FundamentalRow(NamedTuple):
    market_slug: str
    metric: str
    as_of_date: date
    value: float
    unit: str
    source: str
    revised_at: datetime
    received_at: datetime
    provenance: str


class CompRow(NamedTuple):
    source: str
    comp_id: str
    market_slug: str
    property_type: str
    sale_date: date
    sale_price_usd: float
    living_area_sqft: float | None
    bedrooms: float | None
    bathrooms: float | None
    lot_sqft: float | None
    year_built: int | None
    latitude: float | None
    longitude: float | None
    address: str | None
    revised_at: datetime
    received_at: datetime
    provenance: str


class MacroRow(NamedTuple):
    series_id: str
    observation_date: date
    vintage_date: date
    value: float | None
    source: str
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where rows come from: who sent them, when, as part of what (`provenance` is JSON)."""

    source: str
    received_at: datetime
    provenance: str
    market_slug: str = ""


@dataclass(frozen=True)
class Refused:
    reason: str
    payload: Mapping[str, object]


@dataclass
class Judged(Generic[Row]):
    """Good rows, and what was refused."""

    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def fundamental_rows(data: FundamentalsData, origin: Origin) -> Judged[FundamentalRow]:
    """One row per metric."""
    judged = Judged[FundamentalRow]()
    revised_at = _instant(data.revised_at, origin)
    for metric, value in data.metrics.items():
        row = fundamental_row(origin.market_slug, metric, data.as_of, value, revised_at=revised_at, origin=origin)
        problem = fundamental_problem(row)
        if problem is None:
            judged.rows.append(row)
        else:
            seen = {"market_slug": origin.market_slug, "metric": metric, "as_of": data.as_of, "value": value}
            judged.refused.append(Refused(problem, seen | {"revised_at": data.revised_at}))
    return judged


def fundamental_row(
    market_slug: str, metric: str, as_of: date, value: float, *, revised_at: datetime, origin: Origin
) -> FundamentalRow:
    """The row of one figure, in the unit of its metric."""
    return FundamentalRow(
        market_slug=market_slug,
        metric=metric,
        as_of_date=as_of,
        value=value,
        unit=METRICS[metric].unit,
        source=origin.source,
        revised_at=revised_at,
        received_at=origin.received_at,
        provenance=origin.provenance,
    )


def fundamental_problem(row: FundamentalRow, *, is_month: bool = False) -> str | None:
    """What cannot be true of `row`; None when all can. One of a month (`is_month`) is of its last day, also to come."""
    metric = METRICS[row.metric]
    known_at = _end_of_month(row.received_at) if is_month else row.received_at
    if not metric.lowest <= row.value <= metric.highest:
        return f"{row.metric} is {row.value}, expected {metric.lowest:g} to {metric.highest:g} ({metric.unit})"
    return _day_problem("as_of", row.as_of_date, known_at) or _instant_problem(row.revised_at, row.received_at)


def comp_rows(data: CompsData, origin: Origin) -> Judged[CompRow]:
    """One row per comparable sale; of those with one id only the first."""
    judged = Judged[CompRow]()
    seen_ids: set[str] = set()
    for comp in data.comps:
        row = _comp_row(comp, origin)
        problem = comp_problem(row)
        if comp.comp_id in seen_ids:
            problem = problem or f"comp_id is {comp.comp_id!r}, which an earlier sale of the delivery has"
        seen_ids.add(comp.comp_id)
        if problem is None:
            judged.rows.append(row)
        else:
            fields = {name: getattr(comp, name) for name in comp.__struct_fields__}
            judged.refused.append(Refused(problem, {"market_slug": origin.market_slug, **fields}))
    return judged


def _comp_row(comp: Comp, origin: Origin) -> CompRow:
    return CompRow(
        source=origin.source,
        comp_id=comp.comp_id,
        market_slug=origin.market_slug,
        property_type=property_type(comp.property_type),
        sale_date=comp.sale_date,
        sale_price_usd=comp.sale_price_usd,
        living_area_sqft=comp.living_area_sqft,
        bedrooms=comp.bedrooms,
        bathrooms=comp.bathrooms,
        lot_sqft=comp.lot_sqft,
        year_built=comp.year_built,
        latitude=comp.latitude,
        longitude=comp.longitude,
        address=comp.address,
        revised_at=_instant(comp.revised_at, origin),
        received_at=origin.received_at,
        provenance=origin.provenance,
    )


def comp_problem(row: CompRow) -> str | None:
    """What cannot be true of `row`; None when all can."""
    limits: tuple[tuple[str, float | None, float, float], ...] = (
        ("sale_price_usd", row.sale_price_usd, 1e-9, MONEY_LIMIT),
        ("living_area_sqft", row.living_area_sqft, 1e-9, MOST_SQFT),
        ("bedrooms", row.bedrooms, 0, MOST_ROOMS),
        ("bathrooms", row.bathrooms, 0, MOST_ROOMS),
        ("lot_sqft", row.lot_sqft, 0, MOST_SQFT),
        ("year_built", row.year_built, OLDEST_BUILDING, NEWEST_BUILDING),
        ("latitude", row.latitude, -90, 90),
        ("longitude", row.longitude, -180, 180),
    )
    for name, value, lowest, highest in limits:
        if value is not None and not lowest <= value <= highest:
            return f"{name} is {str(value)[:LONGEST_VALUE]}, expected {lowest:g} to {highest:g}"
    if (row.latitude is None) != (row.longitude is None):
        return "latitude and longitude: one is missing, expected both or neither"
    return _day_problem("sale_date", row.sale_date, row.received_at) or _instant_problem(
        row.revised_at, row.received_at
    )


def macro_rows(data: MacroData, origin: Origin) -> Judged[MacroRow]:
    """One row per observation; missing values are None."""
    judged = Judged[MacroRow]()
    vintage = data.as_of or origin.received_at.astimezone(UTC).date()
    seen_days: set[date] = set()
    for observation in data.observations:
        row = MacroRow(data.series_id, observation.date, vintage, None, origin.source, origin.received_at)
        problem = _day_problem("as_of", vintage, origin.received_at) or _day_problem("date", row.observation_date, None)
        if row.observation_date in seen_days:
            problem = problem or f"date is {row.observation_date}, which an earlier observation of the delivery has"
        seen_days.add(row.observation_date)
        try:
            row = row._replace(value=macro_value(observation.value))
        except ValueError as error:
            problem = problem or str(error)
        if problem is None:
            judged.rows.append(row)
        else:
            seen = {"series_id": data.series_id, "date": observation.date, "value": observation.value, "as_of": vintage}
            judged.refused.append(Refused(problem, seen))
    return judged


def macro_value(value: float | str | None) -> float | None:
    """A number, or None for what FRED writes as ".".

    Raises:
        ValueError: it is neither.
    """
    if value is None or value == ".":
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"value is {str(value)[:LONGEST_VALUE]!r}, expected a number, null or '.'")
    return number


def markets_of(rows: Iterable[Any]) -> list[str]:
    """The different markets of `rows`, sorted."""
    return sorted({row.market_slug for row in rows})


def _instant(revised_at: datetime | None, origin: Origin) -> datetime:
    return origin.received_at if revised_at is None else revised_at.astimezone(UTC)


def _end_of_month(instant: datetime) -> datetime:
    return instant.replace(day=calendar.monthrange(instant.year, instant.month)[1])


def _day_problem(name: str, day: date, received_at: datetime | None) -> str | None:
    if day < FIRST_DAY:
        return f"{name} is {day}, expected {FIRST_DAY} or later"
    if received_at is not None and day > (received_at + TIME_ZONES).date():
        return f"{name} is {day}, in the future of {received_at:%Y-%m-%d}, when it was received"
    return None


def _instant_problem(revised_at: datetime, received_at: datetime) -> str | None:
    if revised_at > received_at + CLOCK_TOLERANCE:
        return f"revised_at is {revised_at:%Y-%m-%d %H:%M:%S} UTC, after it was received: it would outlast all updates"
    return None
