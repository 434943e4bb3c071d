"""The status page's line of a market."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.domains.market.status import MARKETS, MOST_MARKETS, markets, price_points

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


def test_markets_that_are_not_shown_cost_no_look_ups(database_url: str) -> None:
    """Of each that is shown: the newest snapshot, and one of each half day."""
    many = 40 * MOST_MARKETS
    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute(
            "insert into market.markets select 'S' || lpad(number::text, 5, '0'), 'a', 'b', 'USD', 'crypto', '24/7', "
            "365, '2024-12-30', 'mock' from generate_series(1, %s) as number",
            [many],
        )
        database.execute(
            "insert into market.snapshots (symbol, as_of, price, provider) "
            "select symbol, now() - interval '1 hour', 1, 'mock' from market.markets"
        )
        rows = database.execute(MARKETS.query.encode()).fetchall()
        row = database.execute(b"explain (analyze, format json) " + MARKETS.query.encode()).fetchone()
    assert row
    assert MOST_MARKETS == len(rows)
    assert f"S{MOST_MARKETS:05}" == rows[-1][0]
    assert {many} == {found[-1] for found in rows}
    assert max(_look_ups(row[0][0]["Plan"])) <= 60 * MOST_MARKETS


def _look_ups(plan: dict[str, Any]) -> list[int]:
    """How often each reading of snapshots was repeated."""
    own = [plan["Actual Loops"]] if plan.get("Relation Name") == "snapshots" else []
    return own + [loops for part in plan.get("Plans", ()) for loops in _look_ups(part)]
