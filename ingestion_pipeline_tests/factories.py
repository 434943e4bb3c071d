"""One valid default per contract; a test names only what it is about."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from ingestion_pipeline.providers.base import BAR_COLUMNS, Market, Quote

START = datetime(2026, 3, 2, tzinfo=UTC)


def make_bar(**over: Any) -> dict[str, Any]:
    """A good five-minute bar of BTC-USD on Monday 2026-03-02, 00:00 UTC."""
    bar = {
        "symbol": "BTC-USD",
        "bar_start_at": START,
        "interval_seconds": 300,
        "open": 100.0,
        "high": 110.0,
        "low": 90.0,
        "close": 105.0,
        "adj_close": float("nan"),
        "volume": 2.0,
    }
    return bar | over


def make_bars(*bars: dict[str, Any]) -> pd.DataFrame:
    """A frame with the columns and types that providers give."""
    frame = pd.DataFrame(list(bars), columns=list(BAR_COLUMNS))
    frame["bar_start_at"] = pd.to_datetime(frame["bar_start_at"], utc=True).astype("datetime64[us, UTC]")
    prices = ["open", "high", "low", "close", "adj_close", "volume"]
    return frame.astype(dict.fromkeys(prices, "float64") | {"interval_seconds": "int64"})


def make_series(count: int, **over: Any) -> pd.DataFrame:
    """`count` consecutive bars, each a little dearer than the last."""
    first = make_bar(**over)
    step = timedelta(seconds=first["interval_seconds"])
    bars = [
        first
        | {
            "bar_start_at": first["bar_start_at"] + i * step,
            "open": 100.0 + i,
            "high": 110.0 + i,
            "low": 90.0 + i,
            "close": 105.0 + i,
        }
        for i in range(count)
    ]
    return make_bars(*bars)


def make_market(**over: Any) -> Market:
    market = {
        "symbol": "BTC-USD",
        "name": "Bitcoin",
        "base_asset": "BTC",
        "quote_asset": "USD",
        "asset_class": "crypto",
        "calendar": "24/7",
        "periods_per_year": 365,
        "first_day": date(2015, 1, 1),
    }
    return Market(**(market | over))


def make_quote(**over: Any) -> Quote:
    quote = {
        "symbol": "BTC-USD",
        "as_of": START + timedelta(hours=12),
        "price": 120.0,
        "change_24h_ratio": 0.01,
        "volume_24h": 5.0,
    }
    return Quote(**(quote | over))
