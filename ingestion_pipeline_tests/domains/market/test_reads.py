"""What applications read: from the cache where it is there, else from the stores."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.domains.market.reads import AGGREGATE_KEYS, LATEST_KEYS, WARMERS, daily_bars, latest_snapshot
from ingestion_pipeline.domains.market.tables import MARKETS, OHLC_DAILY, SNAPSHOTS
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import Stores, warm_all
from ingestion_pipeline_tests.factories import make_market

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TODAY = datetime.now(UTC).date()


def snapshot(**over: Any) -> dict[str, Any]:
    row = dict.fromkeys(SNAPSHOTS.column_names) | {"symbol": "BTC-USD", "as_of": NOON, "price": 120.5, "provider": "x"}
    return row | over


def store(postgres: Postgres, *rows: dict[str, Any]) -> None:
    known = [{**vars(make_market(symbol=symbol)), "provider": "x"} for symbol in {row["symbol"] for row in rows}]
    postgres.upsert(MARKETS, pd.DataFrame(known))
    postgres.upsert(SNAPSHOTS, pd.DataFrame(rows))


def bar(day: date, close: float, *, symbol: str = "BTC-USD") -> dict[str, Any]:
    return {
        "symbol": symbol,
        "bar_start_at": midnight(day),
        "open": 100.0,
        "high": 200.0,
        "low": 50.0,
        "close": close,
        "adj_close": None,
        "volume": 7.0,
        "bar_count": 288,
        "expected_bar_count": 288,
        "is_complete": day != TODAY,
        "interval_seconds": 300,
        "day": day,
    }


def store_bars(lake: Lake, *rows: dict[str, Any]) -> None:
    days = [row["day"] for row in rows]
    lake.replace(OHLC_DAILY, pd.DataFrame(rows).astype({"adj_close": "float64"}), Window.of_days(min(days), max(days)))


def test_the_newest_snapshot_of_a_market_is_read(postgres: Postgres) -> None:
    """Of that market only; its instant is text, as JSON has it; undefined is None."""
    store(
        postgres,
        snapshot(as_of=NOON - timedelta(minutes=15), price=1.0),
        snapshot(),
        snapshot(symbol="SPX", as_of=NOON + timedelta(hours=1), price=2.0),
    )
    found = latest_snapshot(MemoryCache(), postgres, "BTC-USD", ttl_seconds=300)
    assert found is not None
    assert ("2026-03-02T12:00:00+00:00", 120.5, None) == (found["as_of"], found["price"], found["roi_7d_ratio"])
    assert set(SNAPSHOTS.column_names) == set(found)


def test_a_market_without_snapshots_has_none_and_none_is_not_cached(postgres: Postgres) -> None:
    """The first snapshot is seen at once."""
    values = MemoryCache()
    assert latest_snapshot(values, postgres, "BTC-USD", ttl_seconds=300) is None
    store(postgres, snapshot())
    assert latest_snapshot(values, postgres, "BTC-USD", ttl_seconds=300) is not None


def test_a_cached_snapshot_is_read_until_ingestion_forgets_it(postgres: Postgres) -> None:
    """Under the seed's key, removed by the seed's pattern."""
    values = MemoryCache()
    store(postgres, snapshot())
    latest_snapshot(values, postgres, "BTC-USD", ttl_seconds=300)
    store(postgres, snapshot(as_of=NOON + timedelta(minutes=15), price=130.0))
    cached = latest_snapshot(values, postgres, "BTC-USD", ttl_seconds=300)
    assert cached is not None
    assert (120.5, cached) == (cached["price"], values.get("market:BTC-USD:latest")["value"])
    values.delete(LATEST_KEYS)
    fresh = latest_snapshot(values, postgres, "BTC-USD", ttl_seconds=300)
    assert fresh is not None
    assert 130.0 == fresh["price"]


def test_daily_bars_are_those_of_one_market_ascending(lake: Lake) -> None:
    """The last `days` days and today, with the unfinished one flagged."""
    days = [TODAY - timedelta(days=i) for i in range(4)]
    store_bars(lake, *(bar(day, 100.0 + i) for i, day in enumerate(days)), bar(TODAY, 1.0, symbol="SPX"))
    found = daily_bars(MemoryCache(), lake, "BTC-USD", days=2, ttl_seconds=300)
    assert [(str(days[2]), 102.0, True), (str(days[1]), 101.0, True), (str(TODAY), 100.0, False)] == [
        (row["day"], row["close"], row["is_complete"]) for row in found
    ]
    assert {"day", "open", "high", "low", "close", "volume", "is_complete"} == set(found[0])


def test_no_bars_are_an_empty_list(lake: Lake) -> None:
    """Of a lake without tables, and of a market without bars."""
    assert [] == daily_bars(MemoryCache(), lake, "BTC-USD", days=30, ttl_seconds=300)
    store_bars(lake, bar(TODAY, 1.0, symbol="SPX"))
    assert [] == daily_bars(MemoryCache(), lake, "BTC-USD", days=30, ttl_seconds=300)


def test_a_longer_span_is_not_answered_from_a_shorter_one(lake: Lake) -> None:
    """What was asked for decides, not who asked first."""
    values = MemoryCache()
    store_bars(lake, *(bar(TODAY - timedelta(days=i), 100.0 + i) for i in range(6)))
    assert 2 == len(daily_bars(values, lake, "BTC-USD", days=1, ttl_seconds=300))
    assert 5 == len(daily_bars(values, lake, "BTC-USD", days=4, ttl_seconds=300))
    assert 3 == len(daily_bars(values, lake, "BTC-USD", days=2, ttl_seconds=300))


def test_cached_bars_are_read_until_ingestion_forgets_them(lake: Lake) -> None:
    """Removed by the seed's pattern."""
    values = MemoryCache()
    store_bars(lake, bar(TODAY, 100.0))
    daily_bars(values, lake, "BTC-USD", days=1, ttl_seconds=300)
    store_bars(lake, bar(TODAY, 101.0))
    assert [100.0] == [row["close"] for row in daily_bars(values, lake, "BTC-USD", days=1, ttl_seconds=300)]
    assert values.get("market:BTC-USD:1d:aggregates") is not None
    values.delete(AGGREGATE_KEYS)
    assert [101.0] == [row["close"] for row in daily_bars(values, lake, "BTC-USD", days=1, ttl_seconds=300)]


def test_warming_fills_the_snapshots_of_configured_markets(postgres: Postgres, settings: Settings) -> None:
    """Those that there are; the next read is a hit."""
    store(postgres, snapshot(), snapshot(symbol="SPX"), snapshot(symbol="OTHER"))
    stores = Stores(settings, postgres, MemoryCache())
    assert {"market": 2} == warm_all(WARMERS, stores).counts
    kept = [stores.cache.get(f"market:{symbol}:latest") is not None for symbol in ("BTC-USD", "SPX", "OTHER")]
    assert [True, True, False] == kept
