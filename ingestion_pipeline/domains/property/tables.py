"""The stored tables of the property domain that are ingested: columns, units, keys, freshness. No behaviour.

Those of the valuation are in valuation_tables.py. The histories property.fundamentals_revisions and
property.comps_revisions are written with their table and are no assets of their own.
"""

from datetime import timedelta

from ingestion_pipeline.core.tables import Column, Freshness, Table

_MARKET = Column("market_slug", "text", "Market, as senders name it and regions.py names imported ones")
_SOURCE = Column("source", "text", "Who said so first: FRED, a sender, or the publisher of an imported file")
_RECEIVED = Column("received_at", "timestamp", "When we last received this value", "UTC")
_REVISED = Column("revised_at", "timestamp", "The newest instant as of which the source stands by this value", "UTC")
_REVISION = Column("revision", "integer", "Number of this state in the history, from 1")
_PROVENANCE = Column("provenance", "json", "The delivery or file that brought this value first")

MACRO_OBSERVATIONS = Table(
    domain="property",
    name="macro_observations",
    store="postgres",
    key=("series_id", "observation_date", "vintage_date"),
    as_of_column="confirmed_date",
    freshness=Freshness(
        warn_after=timedelta(hours=3),
        fail_after=timedelta(hours=26),
        data_warn_after=timedelta(days=3),
        data_fail_after=timedelta(days=10),
    ),
    columns=(
        Column("series_id", "text", "Series, as FRED or the sender names it"),
        Column("observation_date", "date", "First day of the period that the value is of"),
        Column("vintage_date", "date", "Day on which the source was first seen to say this value"),
        Column("confirmed_date", "date", "Newest day on which the source was seen to say it"),
        Column("value", "float", "The value; NULL where the source says that there is none", "of the series", True),
        _SOURCE,
        _RECEIVED,
    ),
)

FUNDAMENTALS = Table(
    domain="property",
    name="fundamentals",
    store="postgres",
    key=("market_slug", "metric", "as_of_date"),
    as_of_column="as_of_date",
    freshness=Freshness(
        warn_after=timedelta(hours=26),
        fail_after=timedelta(hours=50),
        data_warn_after=timedelta(days=75),  # of a month, published in the middle of the second one after it
        data_fail_after=timedelta(days=105),
    ),
    columns=(
        _MARKET,
        Column("metric", "text", "What is measured, as in METRICS of metrics.py"),
        Column("as_of_date", "date", "Day that the value is of; of a month, its last"),
        Column("value", "float", "The value", "the row's unit"),
        Column("unit", "text", "usd, count, ratio, days or months"),
        _SOURCE,
        _REVISION,
        _REVISED,
        _RECEIVED,
        _PROVENANCE,
    ),
)

FUNDAMENTALS_STALENESS = Table(
    domain="property",
    name="fundamentals_staleness",
    store="postgres",
    key=("market_slug",),
    freshness=Freshness(warn_after=timedelta(hours=26), fail_after=timedelta(hours=50)),
    columns=(
        _MARKET,
        Column("last_as_of_date", "date", "Day of the market's newest fundamental"),
        Column("last_received_at", "timestamp", "When one was last received", "UTC"),
        Column("age_days", "integer", "From that day to the check", "days"),
        Column("max_age_days", "integer", "FUNDAMENTALS_MAX_STALENESS_DAYS at the check", "days"),
        Column("is_stale", "boolean", "Older than that"),
        Column("metric_count", "integer", "Different metrics of the market", "metrics"),
        Column("checked_at", "timestamp", "When this was found out", "UTC"),
    ),
)

COMPS = Table(
    domain="property",
    name="comps",
    store="postgres",
    key=("source", "comp_id"),
    as_of_column="sale_date",
    freshness=Freshness(
        warn_after=timedelta(hours=26),
        fail_after=timedelta(hours=50),
        data_warn_after=timedelta(days=30),
        data_fail_after=timedelta(days=90),
    ),
    columns=(
        Column("source", "text", "Who reports the sale"),
        Column("comp_id", "text", "The sale, as its source names it"),
        _MARKET,
        Column("property_type", "text", "Such as single_family, condo, townhouse, multi_family"),
        Column("sale_date", "date", "Day of the sale"),
        Column("sale_price_usd", "float", "Price paid", "usd"),
        Column("living_area_sqft", "float", "Living area", "square feet", True),
        Column("bedrooms", "float", "Bedrooms", "rooms", True),
        Column("bathrooms", "float", "Bathrooms; a half one counts 0.5", "rooms", True),
        Column("lot_sqft", "float", "Area of the lot", "square feet", True),
        Column("year_built", "integer", "Year in which it was built", None, True),
        Column("latitude", "float", "North, WGS 84", "degrees", True),
        Column("longitude", "float", "East, WGS 84", "degrees", True),
        Column("address", "text", "Address for people", None, True),
        _REVISION,
        _REVISED,
        _RECEIVED,
        _PROVENANCE,
    ),
)

TABLES = (MACRO_OBSERVATIONS, FUNDAMENTALS, FUNDAMENTALS_STALENESS, COMPS)
