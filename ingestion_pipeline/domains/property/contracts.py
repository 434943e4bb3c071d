"""What crosses the edge: the data of the three kinds of property deliveries, as senders write it.

The shape is judged here, for the whole of a delivery: it is refused with the field's name (422). Whether single values
can be true is judged row by row when the delivery is applied (transforms.py): a bad row keeps no other back.
"""

import re
from datetime import date, datetime
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.domains.property.metrics import METRICS
from ingestion_pipeline.domains.property.valuation_tables import ALL

MOST_COMPS = 5_000
MOST_OBSERVATIONS = 100_000
FUNDAMENTALS_UPSERT, COMPS_UPSERT, MACRO_UPDATE = "market.fundamentals.upsert", "comps.upsert", "macro.update"

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
SeriesId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Text = Annotated[str, msgspec.Meta(max_length=500)]


def property_type(text: str) -> str:
    """One spelling for one type: `Single Family`, `single-family` and `SINGLE_FAMILY` are `single_family`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


class FundamentalsData(msgspec.Struct, forbid_unknown_fields=True):
    """Figures of one market on one day.

    `revised_at` says as of when the sender stands by them, for senders that deliver out of order; else it is when we
    received them.
    """

    as_of: date
    metrics: Annotated[dict[str, float], msgspec.Meta(min_length=1)]
    revised_at: Instant | None = None

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in METRICS:
                nearest = get_close_matches(name, METRICS, n=1, cutoff=0)
                raise ValueError(f"metrics.{name[:100]} is not a known metric; the nearest is {nearest[0]}")


class Comp(msgspec.Struct, forbid_unknown_fields=True):
    """One comparable sale; the same `comp_id` of the same source again is a correction."""

    comp_id: Identifier
    property_type: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9 _/-]{0,49}$(?!\n)")]
    sale_date: date
    sale_price_usd: float
    living_area_sqft: float | None = None
    bedrooms: float | None = None
    bathrooms: float | None = None
    lot_sqft: float | None = None
    year_built: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    address: Text | None = None
    revised_at: Instant | None = None

    def __post_init__(self) -> None:
        if property_type(self.property_type) == ALL:
            raise ValueError(f"property_type is not a type of its own: {ALL} stands for every type")


class CompsData(msgspec.Struct, forbid_unknown_fields=True):
    """Comparable sales of one market."""

    comps: Annotated[list[Comp], msgspec.Meta(min_length=1, max_length=MOST_COMPS)]


class Observation(msgspec.Struct, forbid_unknown_fields=True):
    """One value of a series. Missing is null, or "." as FRED writes it; text must be a number."""

    date: date
    value: float | str | None


class MacroData(msgspec.Struct, forbid_unknown_fields=True):
    """Observations of one series. `as_of` is the vintage: the day on which the source said so; else that of reception.

    Days that are not named stay as they are.
    """

    series_id: SeriesId
    observations: Annotated[list[Observation], msgspec.Meta(min_length=1, max_length=MOST_OBSERVATIONS)]
    as_of: date | None = None


class CompsType(DeliveryType):
    """Comparable sales may also come as one sale that is the data itself."""

    def data_of(self, data: Any) -> CompsData:
        if isinstance(data, dict) and "comps" not in data:
            return CompsData([msgspec.convert(data, Comp)])
        return msgspec.convert(data, CompsData)


DELIVERY_TYPES = {
    it.name: it
    for it in (
        DeliveryType(name=FUNDAMENTALS_UPSERT, summary="Figures of a market on one day", data_type=FundamentalsData),
        CompsType(name=COMPS_UPSERT, summary="Comparable sales of a market", data_type=CompsData),
        DeliveryType(
            name=MACRO_UPDATE, summary="Observations of a macro series", data_type=MacroData, needs_market=False
        ),
    )
}
