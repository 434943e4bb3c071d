"""What applications read: the latest snapshot and the recent daily bars of a market, through the cache.

Keys are `market:<symbol>:latest` and `market:<symbol>:<days>d:aggregates`, what the seed's patterns match; ingestion
deletes them by these patterns.
"""

import functools
from datetime import timedelta
from typing import Any

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.tables import OHLC_DAILY
from ingestion_pipeline.storage.cache import Cache, cached, warm
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import MOST_KEYS, Stores, Warmer

SERVICE = "market"
LATEST_KEYS = "market:*:latest"
AGGREGATE_KEYS = "market:*:aggregates"


def latest_snapshot(cache: Cache, postgres: Postgres, symbol: str, *, ttl_seconds: int) -> dict[str, Any] | None:
    """The newest row of market/snapshots for `symbol`, instants as ISO text; None if there is none."""
    snapshot: dict[str, Any] | None = cached(
        cache,
        _latest_key(symbol),
        service=SERVICE,
        ttl_seconds=ttl_seconds,
        load=lambda: _stored_snapshot(postgres, symbol),
    ).value
    return snapshot


def daily_bars(cache: Cache, lake: Lake, symbol: str, *, days: int, ttl_seconds: int) -> list[dict[str, Any]]:
    """Rows of market/ohlc_daily for `symbol` over the last `days` days, ascending, days as ISO text."""

    def load() -> list[dict[str, Any]]:
        now = utc_now()
        rows = lake.read(OHLC_DAILY, Window.of_days((now - timedelta(days=days)).date(), now.date()))
        frame = rows.filter(rows.symbol == symbol).order_by("day").execute()
        return [
            {
                "day": str(row.day.date()),
                "open": row.open,
                "high": row.high,
                "low": row.low,
                "close": row.close,
                "volume": row.volume,
                "is_complete": bool(row.is_complete),
            }
            for row in frame.itertuples()
        ]

    key = f"market:{symbol}:{days}d:aggregates"
    bars: list[dict[str, Any]] = cached(cache, key, service=SERVICE, ttl_seconds=ttl_seconds, load=load).value
    return bars


def _stored_snapshot(postgres: Postgres, symbol: str) -> dict[str, Any] | None:
    rows = postgres.read("latest_snapshot", {"symbol": symbol})
    return {**rows[0], "as_of": rows[0]["as_of"].isoformat()} if rows else None


def _latest_key(symbol: str) -> str:
    return f"market:{symbol}:latest"


def _warm_snapshots(stores: Stores) -> int:
    return sum(
        warm(
            stores.cache,
            _latest_key(symbol),
            service=SERVICE,
            ttl_seconds=stores.settings.cache_ttl_seconds,
            stale_seconds=stores.settings.cache_stale_seconds,
            load=functools.partial(_stored_snapshot, stores.postgres, symbol),
        )
        for symbol in stores.settings.ingestion_markets[:MOST_KEYS]
    )


WARMERS = (Warmer(SERVICE, _warm_snapshots),)
