"""What applications read of the property tables: through the cache what is asked for most, the rest from PostgreSQL.

Keys are `property:<service>:<series or market>:<what>`. Ingestion forgets `property:<service>:<series or market>*`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ingestion_pipeline.storage.cache import Found, cached, warm
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import MOST_KEYS, Stores, Warmer

MACRO_SERVICE, FUNDAMENTALS_SERVICE, COMPS_SERVICE = "macro", "fundamentals", "comps"
PREDICTIONS_SERVICE = "predictions"
DEFAULT_OBSERVATIONS, DEFAULT_ROWS = 1_000, 100

Document = dict[str, Any]


@dataclass(frozen=True)
class Value:
    """A document that is kept in the cache: under which key, for how long, where it comes from."""

    service: str
    key: str
    ttl_seconds: int
    load: Callable[[], Document | None]

    def read(self, stores: Stores) -> Found:
        return cached(
            stores.cache,
            self.key,
            service=self.service,
            ttl_seconds=self.ttl_seconds,
            stale_seconds=stores.settings.cache_stale_seconds,
            load=self.load,
        )

    def warm(self, stores: Stores) -> bool:
        return warm(
            stores.cache,
            self.key,
            service=self.service,
            ttl_seconds=self.ttl_seconds,
            stale_seconds=stores.settings.cache_stale_seconds,
            load=self.load,
        )


def prediction_keys(market_slug: str) -> str:
    """The pattern of everything that is cached of a market's predictions."""
    return f"property:predictions:{market_slug}*"


def recent_macro(stores: Stores, series_id: str) -> Value:
    """The newest observations of a series."""
    return Value(
        MACRO_SERVICE,
        f"property:macro:{series_id}:recent",
        stores.settings.cache_ttl_macro,
        lambda: macro(stores.postgres, series_id, limit=DEFAULT_OBSERVATIONS),
    )


def latest_fundamentals(stores: Stores, market_slug: str) -> Value:
    """The newest value of each metric of a market."""
    return Value(
        FUNDAMENTALS_SERVICE,
        f"property:fundamentals:{market_slug}:latest",
        stores.settings.cache_ttl_fundamentals,
        lambda: fundamentals(stores.postgres, market_slug),
    )


def recent_comps(stores: Stores, market_slug: str) -> Value:
    """The newest comparable sales of a market."""
    return Value(
        COMPS_SERVICE,
        f"property:comps:{market_slug}:recent",
        stores.settings.cache_ttl_comps,
        lambda: comps(stores.postgres, market_slug, limit=DEFAULT_ROWS),
    )


def recent_predictions(stores: Stores, market_slug: str) -> Value:
    """The newest predictions of a market and how accurate they have been."""
    return Value(
        PREDICTIONS_SERVICE,
        f"property:predictions:{market_slug}:recent",
        stores.settings.cache_ttl_comps,
        lambda: predictions(stores.postgres, market_slug, limit=DEFAULT_ROWS),
    )


def macro(
    postgres: Postgres, series_id: str, *, limit: int, from_date: date | None = None, to_date: date | None = None
) -> Document | None:
    """Observations of a series from `from_date` until before `to_date`, newest first; None if there are none."""
    given = {"series_id": series_id, "from_date": from_date, "to_date": to_date, "limit": limit + 1}
    rows = _plain(postgres.read("property_macro", given))
    return {"series_id": series_id, "observations": rows[:limit], "has_more": len(rows) > limit} if rows else None


def fundamentals(postgres: Postgres, market_slug: str) -> Document | None:
    """The newest value of each metric, and how old all are; None if the market has none."""
    rows = _plain(postgres.read("property_fundamentals_latest", {"market_slug": market_slug}))
    staleness = _plain(postgres.read("property_staleness", {"market_slug": market_slug}))
    if not rows:
        return None
    return {
        "market_slug": market_slug,
        "fundamentals": rows,
        "staleness": staleness[0] if staleness else None,
        "has_more": False,
    }


def metric_history(
    postgres: Postgres,
    market_slug: str,
    metric: str,
    *,
    limit: int,
    from_date: date | None = None,
    to_date: date | None = None,
) -> Document | None:
    """Values of one metric from `from_date` until before `to_date`, newest first; None if there are none."""
    given = {"market_slug": market_slug, "metric": metric, "from_date": from_date, "to_date": to_date}
    rows = _plain(postgres.read("property_fundamentals", {**given, "limit": limit + 1}))
    if not rows:
        return None
    return {"market_slug": market_slug, "fundamentals": rows[:limit], "staleness": None, "has_more": len(rows) > limit}


def comps(
    postgres: Postgres,
    market_slug: str,
    *,
    limit: int,
    property_type: str | None = None,
    from_date: date | None = None,
    to_date: date | None = None,
    after: tuple[date, str, str] | None = None,
) -> Document | None:
    """Comparable sales, newest first, beyond the position `after`; None if there are none."""
    given = {"property_type": property_type, "from_date": from_date, "to_date": to_date, "limit": limit + 1}
    place = dict(zip(("after_date", "after_source", "after_id"), after or (None,) * 3, strict=True))
    rows = _plain(postgres.read("property_comps", {"market_slug": market_slug, **given, **place}))
    if not rows:
        return None
    return {"market_slug": market_slug, "comps": rows[:limit], "has_more": len(rows) > limit}


def predictions(
    postgres: Postgres,
    market_slug: str,
    *,
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> Document | None:
    """Predictions of sales, newest first, beyond the position `after`, and the newest accuracy; None if there are none.

    What a job has predicted is for whoever asked for it: in the job's output.
    """
    place = dict(zip(("after_made_at", "after_id"), after or (None,) * 2, strict=True))
    given = {"market_slug": market_slug, "limit": limit + 1, **place}
    rows = _plain(postgres.read("property_predictions", given))
    if not rows:
        return None
    return {
        "market_slug": market_slug,
        "predictions": rows[:limit],
        "accuracy": accuracy(postgres, market_slug),
        "has_more": len(rows) > limit,
    }


def accuracy(postgres: Postgres, market_slug: str) -> list[Document]:
    """The newest figures of a market, or of all markets (`all`); one document a property type."""
    return _plain(postgres.read("property_accuracy", {"market_slug": market_slug}))


def _warm_macro(stores: Stores) -> int:
    series = stores.postgres.read("property_series", {"limit": MOST_KEYS})
    return _warmed(stores, (recent_macro(stores, row["series_id"]) for row in series))


def _warm_fundamentals(stores: Stores) -> int:
    return _warmed(stores, (latest_fundamentals(stores, market) for market in _markets(stores, FUNDAMENTALS_SERVICE)))


def _warm_comps(stores: Stores) -> int:
    return _warmed(stores, (recent_comps(stores, market) for market in _markets(stores, COMPS_SERVICE)))


def _warmed(stores: Stores, values: Iterable[Value]) -> int:
    return sum(value.warm(stores) for value in values)


def _markets(stores: Stores, service: str) -> list[str]:
    rows = stores.postgres.read("property_markets", {"limit": MOST_KEYS})
    return [row["market_slug"] for row in rows if row["service"] == service]


def _plain(rows: Iterable[Mapping[str, Any]]) -> list[Document]:
    """Rows as JSON has them: days and instants are ISO text."""
    return [
        {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()} for row in rows
    ]


WARMERS = (
    Warmer(MACRO_SERVICE, _warm_macro),
    Warmer(FUNDAMENTALS_SERVICE, _warm_fundamentals),
    Warmer(COMPS_SERVICE, _warm_comps),
)
