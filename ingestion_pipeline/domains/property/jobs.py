"""The kinds of property jobs and the shape of what they are given. No behaviour; handlers.py does them."""

from collections import Counter
from typing import Annotated

import msgspec

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.core.markets import MARKET_SLUG

MOST_PROPERTIES = 1_000

_Price = Annotated[float, msgspec.Meta(gt=0, le=1e10)]
_Area = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
_Rooms = Annotated[float, msgspec.Meta(ge=0, le=1000)]
_Type = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9 _/-]{0,49}$(?!\n)")]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class InvestmentCriteria(msgspec.Struct, forbid_unknown_fields=True):
    """Which homes are looked for; what a home does not say of itself rules it out. Prices are asked or paid ones."""

    property_type: _Type | None = None
    min_price_usd: _Price | None = None
    max_price_usd: _Price | None = None
    min_bedrooms: _Rooms | None = None
    max_bedrooms: _Rooms | None = None
    min_bathrooms: _Rooms | None = None
    max_bathrooms: _Rooms | None = None
    min_living_area_sqft: _Area | None = None
    max_living_area_sqft: _Area | None = None


class SubjectProperty(msgspec.Struct, forbid_unknown_fields=True):
    """A home to be valued; the more is known of it, the better."""

    property_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    property_type: _Type
    living_area_sqft: _Area | None = None
    bedrooms: _Rooms | None = None
    bathrooms: _Rooms | None = None
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    address: _Text | None = None
    list_price_usd: _Price | None = None

    def __post_init__(self) -> None:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude: one is missing, expected both or neither")


class PredictionInput(msgspec.Struct, forbid_unknown_fields=True):
    """What to value: `properties`, or else the market's own recent sales that fit the criteria.

    The market is the job's `market_slug`, or else the city's name.
    """

    city: _Text | None = None
    investment_criteria: InvestmentCriteria = msgspec.field(default_factory=InvestmentCriteria)
    properties: Annotated[list[SubjectProperty], msgspec.Meta(min_length=1, max_length=MOST_PROPERTIES)] | None = None

    def __post_init__(self) -> None:
        for property_id, count in Counter(it.property_id for it in self.properties or ()).items():
            if count > 1:
                raise ValueError(f"properties: property_id {property_id[:100]!r} is there {count} times, expected once")


def market_of(given: PredictionInput, market_slug: str | None) -> str:
    """The market that is meant.

    Raises:
        ContractError: none is.
    """
    slug = market_slug or "-".join((given.city or "").lower().split())
    if not MARKET_SLUG.fullmatch(slug):
        expected = "lower-case words with hyphens such as san-antonio, or a city"
        raise ContractError("prediction", "market_slug", repr(slug), expected)
    return slug


class NoInput(msgspec.Struct, forbid_unknown_fields=True):
    """The job takes nothing but, where it has one, its `market_slug`."""


PREDICTION = JobType(
    name="prediction",
    summary="Values homes of a market today from its comparable sales.",
    input_type=PredictionInput,
    check=lambda given, market_slug, _: market_of(given, market_slug),
)
ACCURACY_CHECK = JobType(
    name="accuracy_check",
    summary="Values new sales out of sample and measures how true the valuations of the last year were.",
    input_type=NoInput,
    at_once=1,
    is_long=True,
)
DATA_SYNC = JobType(
    name="data_sync",
    summary="Applies all deliveries of property data, fetches the macro series and builds what depends on them, now.",
    input_type=NoInput,
    at_once=1,
    is_long=True,
)

JOB_TYPES = (PREDICTION, ACCURACY_CHECK, DATA_SYNC)
