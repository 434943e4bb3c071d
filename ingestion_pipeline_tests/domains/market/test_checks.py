"""Every claim about the market tables: a frame that breaks it, and one that does not."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.market.checks import (
    CHECKS,
    disordered_prices,
    incomplete_bars,
    infinite_values,
    misplaced_bars,
    mixed_providers,
    repeated_keys,
    shrunken_partitions,
)
from ingestion_pipeline.domains.market.tables import OHLC_DAILY, OHLC_WEEKLY, PRICE_BARS, ROI_STATISTICS, TABLES
from ingestion_pipeline_tests.factories import make_bar, make_bars, make_series

MONDAY = date(2026, 3, 2)
START = datetime(2026, 3, 2, tzinfo=UTC)
LATER = START + timedelta(days=30)


def stored(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars as they lie in their partition."""
    return bars.assign(day=bars["bar_start_at"].dt.date)


def ohlc(*complete: bool, symbol: str = "BTC-USD") -> pd.DataFrame:
    """One bar a day from Monday on, complete or not."""
    starts = pd.to_datetime([START + timedelta(days=i) for i in range(len(complete))], utc=True)
    return pd.DataFrame({"symbol": symbol, "bar_start_at": starts, "is_complete": list(complete)})


def counted(**rows_per_day: list[int]) -> pd.DataFrame:
    """Bars of which each symbol has so many on Monday, Tuesday …"""
    rows = [
        (symbol, MONDAY + timedelta(days=i))
        for symbol, counts in rows_per_day.items()
        for i, count in enumerate(counts)
        for _ in range(count)
    ]
    return pd.DataFrame(rows, columns=["symbol", "day"])


@pytest.mark.parametrize(
    "over",
    [
        {"open": 89.0},
        {"close": 89.0},
        {"open": 111.0},
        {"close": 111.0},
        {"high": 80.0},
        {"low": 120.0},
        {"low": float("nan")},
        {"high": float("nan")},
    ],
)
def test_prices_out_of_order_are_found(over: dict[str, float]) -> None:
    """Each of the four comparisons, and a limit that is no number."""
    good, bad = make_bar(), make_bar(symbol="ETH-USD", **over)
    assert ["ETH-USD"] == disordered_prices(make_bars(good, bad))["symbol"].tolist()


def test_prices_in_order_are_not_found() -> None:
    """Also a bar that never moved."""
    flat = dict.fromkeys(("open", "high", "low", "close"), 100.0)
    assert disordered_prices(make_bars(make_bar(), make_bar(**flat))).empty


def test_a_repeated_key_is_found_with_all_its_rows() -> None:
    """Both rows are shown: which of them is wrong is for people to say."""
    bars = make_bars(make_bar(close=100.0), make_bar(close=101.0), make_bar(symbol="ETH-USD"))
    assert [100.0, 101.0] == repeated_keys(bars, key=PRICE_BARS.key)["close"].tolist()
    assert repeated_keys(make_series(10), key=PRICE_BARS.key).empty


@pytest.mark.parametrize("start", [START - timedelta(microseconds=1), START + timedelta(days=1)])
def test_a_bar_outside_its_day_is_found(start: datetime) -> None:
    """One instant before the day, and the first of the next."""
    bars = make_bars(make_bar(bar_start_at=start)).assign(day=MONDAY)
    assert 1 == len(misplaced_bars(bars))


def test_bars_inside_their_day_or_week_are_not_found() -> None:
    """From the first instant to the last; a week's bar lies on its Monday."""
    edges = make_bars(make_bar(), make_bar(bar_start_at=START + timedelta(days=1, microseconds=-1)))
    assert misplaced_bars(edges.assign(day=MONDAY)).empty
    assert misplaced_bars(ohlc(True).assign(day=MONDAY)).empty
    assert 1 == len(misplaced_bars(ohlc(True).assign(day=MONDAY + timedelta(days=1))))


def test_a_gap_in_a_finished_bucket_is_found() -> None:
    """Of each market, also where it is the only one of a run; the running bucket may still be unfinished."""
    bars = pd.concat([ohlc(True, False, True), ohlc(True, True, False, symbol="SPX")])
    running = START + timedelta(days=2, hours=5)
    found = incomplete_bars(bars, grain="day", now=running)
    assert [("BTC-USD", 3)] == [(row.symbol, row.bar_start_at.day) for row in found.itertuples()]
    assert 1 == len(incomplete_bars(ohlc(False), grain="day", now=LATER))


def test_complete_buckets_and_an_unfinished_newest_one_are_not_found() -> None:
    """The running hour, day or week is no gap."""
    running = START + timedelta(days=2, hours=5)
    assert incomplete_bars(ohlc(True, True, True), grain="day", now=LATER).empty
    assert incomplete_bars(ohlc(True, True, False), grain="day", now=running).empty


def test_a_day_with_less_than_half_of_the_bars_before_is_found() -> None:
    """By market: another market's bars do not make up for it."""
    found = shrunken_partitions(counted(BTC=[288, 143, 288], SPX=[78, 78, 78]), now=LATER)
    assert [("BTC", date(2026, 3, 3), 143, 288.0)] == list(found.itertuples(index=False, name=None))


def test_days_of_half_or_more_and_an_unfinished_newest_one_are_not_found() -> None:
    """Half a session before a holiday is usual; the running day has just begun."""
    assert shrunken_partitions(counted(BTC=[288, 144, 288], SPX=[78, 42, 78]), now=LATER).empty
    assert shrunken_partitions(counted(BTC=[288, 288, 3]), now=START + timedelta(days=2, hours=1)).empty


def test_a_newest_day_that_has_ended_is_judged_too() -> None:
    """A run over one day sees that day and the one before."""
    assert 1 == len(shrunken_partitions(counted(BTC=[288, 1]), now=LATER))


def test_bars_of_two_providers_are_found() -> None:
    """Prices of two sources in one series are not comparable."""
    bars = make_bars(make_bar(), make_bar(bar_start_at=START + timedelta(minutes=5)), make_bar(symbol="ETH-USD"))
    found = mixed_providers(bars.assign(provider=["mock", "file", "mock"]))
    assert [("BTC-USD", "mock"), ("BTC-USD", "file")] == list(zip(found["symbol"], found["provider"], strict=True))
    assert mixed_providers(bars.assign(provider="mock")).empty


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_an_infinite_number_is_found(value: float) -> None:
    """In any column of numbers; undefined is not infinite."""
    rows = pd.DataFrame(
        {"symbol": ["A", "B", "C"], "sharpe_ratio": [1.0, None, 0.5], "calmar_ratio": [1.0, 2.0, value]}
    )
    assert ["C"] == infinite_values(rows)["symbol"].tolist()
    assert infinite_values(rows.head(2)).empty


def claims_of(table: Table) -> dict[str, Any]:
    keys = {spec.name: spec for checks in CHECKS for spec in checks.check_specs}
    return {name: spec for name, spec in keys.items() if spec.asset_key.path == list(table.asset_key)}


@pytest.mark.parametrize("table", [table for table in TABLES if table.name != "markets"], ids=lambda table: table.name)
def test_every_table_has_the_checks_of_its_kind(table: Table) -> None:
    """Unique keys everywhere; order and place of bars; finite statistics; no name says less than its table."""
    suffixes = {name.removeprefix(f"{table.name}_") for name in claims_of(table)}
    assert "have_unique_keys" in suffixes
    if table.store == "lake":
        assert {"have_ordered_prices", "lie_in_their_partition"} < suffixes
        assert {"are_complete", "keep_their_row_count"} & suffixes
    else:
        assert "are_finite" in suffixes
    assert all(name.startswith(f"{table.name}_") for name in claims_of(table))


def test_only_the_checks_of_price_bars_block() -> None:
    """What is wrong there spreads; a derived table is rebuilt from good rows."""
    blocking = {spec.name for checks in CHECKS for spec in checks.check_specs if spec.blocking}
    assert {
        f"price_bars_{it}" for it in ("have_ordered_prices", "have_unique_keys", "lie_in_their_partition")
    } == blocking


def test_claims_hold_of_no_rows() -> None:
    """A day without trading passes every check."""
    bars = stored(make_series(1)).assign(is_complete=True).iloc[:0]
    found = [disordered_prices(bars), repeated_keys(bars, key=OHLC_DAILY.key), misplaced_bars(bars)]
    found += [incomplete_bars(bars, grain="day", now=LATER), shrunken_partitions(bars, now=LATER)]
    found += [infinite_values(bars), mixed_providers(bars.assign(provider="mock"))]
    assert [0] * 7 == [len(it) for it in found]


def test_numbers_may_be_of_any_width() -> None:
    """Integers, nullable or not, are never infinite."""
    rows = pd.DataFrame({"return_count": np.array([1, 2], dtype="int32"), "window_days": pd.array([7, None], "Int64")})
    assert infinite_values(rows).empty
    assert {"return_count", "window_days"} <= set(ROI_STATISTICS.column_names)
    assert OHLC_WEEKLY.partitioning == "weekly"
