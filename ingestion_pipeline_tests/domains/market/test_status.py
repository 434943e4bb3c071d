"""The status page's line of a market."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion_pipeline.domains.market.status import markets, price_points

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def row(**over: Any) -> dict[str, Any]:
    return {
        "symbol": "BTC-USD",
        "name": "Bitcoin",
        "quote_asset": "USD",
        "as_of": NOW,
        "price": 110.0,
        "roi_1d_ratio": 0.1,
        "roi_7d_ratio": -0.5,
        "roi_30d_ratio": None,
        "volatility_ratio": 0.4,
        "times": [NOW],
        "prices": [110.0],
        "now": NOW,
        "market_count": 1,
        **over,
    }


def test_one_snapshot_tells_what_the_price_was() -> None:
    """Its returns are against earlier closes; one that is missing, or a total loss, tells nothing."""
    before = [(NOW - timedelta(days=7), 220.0), (NOW - timedelta(days=1), pytest.approx(100.0))]
    assert [*before, (NOW, 110.0)] == price_points(row(roi_30d_ratio=-1.0))


def test_snapshots_go_before_what_returns_tell() -> None:
    history = [NOW - timedelta(days=3), NOW]
    found = price_points(row(times=history, prices=[105.0, 110.0]))
    assert [(NOW - timedelta(days=7), 220.0), (history[0], 105.0), (NOW, 110.0)] == found


@pytest.mark.parametrize(
    ("price", "shown"), [(97_123.4, "97,123"), (12.345, "12.35"), (1.0, "1.00"), (0.000012345, "0.00001234")]
)
def test_a_price_has_the_digits_that_matter(price: float, shown: str) -> None:
    assert f">{shown}<" in markets([row(price=price)])


def test_markets_beyond_the_page_are_counted() -> None:
    assert "and 1,234 more" in markets([row(market_count=1235)])
    assert "more" not in markets([row()])
