"""Judging bars, building OHLC, making snapshots: golden cases and laws."""

from datetime import UTC, date, datetime, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market import transforms
from ingestion_pipeline.domains.market.tables import MARKETS, OHLC_HOURLY, PRICE_BARS, SNAPSHOTS
from ingestion_pipeline_tests.factories import START, make_bar, make_bars, make_market, make_quote, make_series

DAY = Window.of_days(START.date(), START.date())
NOW = START + timedelta(days=30)
CRYPTO = pd.DataFrame([{"symbol": "BTC-USD", "calendar": "24/7", "first_day": date(2015, 1, 1)}])


def judged(*bars: dict, window: Window = DAY, now: datetime = NOW) -> tuple[pd.DataFrame, pd.DataFrame]:
    return transforms.judged_bars(make_bars(*bars), window, now=now, provider="mock")


def built(bars: pd.DataFrame, grain: str, *, markets: pd.DataFrame = CRYPTO, window: Window = DAY) -> pd.DataFrame:
    expected = transforms.expected_sessions(markets["calendar"], window, grain)
    rows = transforms.ohlc(
        ibis.memtable(bars), ibis.memtable(markets[["symbol", "calendar"]]), ibis.memtable(expected), grain=grain
    )
    return rows.execute().sort_values(["symbol", "bar_start_at"]).reset_index(drop=True)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"close": -1.0, "low": -1.0}, "low is not positive"),
        ({"open": float("nan")}, "open is not a number"),
        ({"high": float("inf")}, "high is not a number"),
        ({"high": 80.0}, "high is below low"),
        ({"low": 101.0}, "low is above open or close"),
        ({"high": 104.0}, "high is below open or close"),
        ({"volume": -0.5}, "volume is negative"),
        ({"volume": float("nan")}, "volume is not a number"),
        ({"adj_close": 0.0}, "adj_close is not positive"),
        ({"interval_seconds": 0}, "interval_seconds is not positive"),
        ({"bar_start_at": pd.NaT}, "bar_start_at is missing"),
        ({"bar_start_at": START - timedelta(minutes=5)}, "bar_start_at is outside the window 2026-03-02 to 2026-03-03"),
        ({"bar_start_at": START + timedelta(days=1)}, "bar_start_at is outside the window 2026-03-02 to 2026-03-03"),
        (
            {"bar_start_at": NOW - timedelta(minutes=4)},
            "bar_start_at is in the future: the bar ends after 2026-04-01 00:00:00 UTC",
        ),
    ],
)
def test_a_bad_bar_is_refused_with_its_reason_and_good_ones_stay(wrong: dict, reason: str) -> None:
    """Each kind of lie a provider tells is named; the bar beside it is kept."""
    good = make_bar(bar_start_at=START + timedelta(minutes=30))
    kept, refused = judged(make_bar(**wrong), good)
    assert [reason] == refused["reason"].tolist()
    assert [good["bar_start_at"]] == kept["bar_start_at"].tolist()


def test_of_repeated_bars_the_first_is_kept() -> None:
    """A duplicate timestamp is not counted twice."""
    kept, refused = judged(make_bar(close=101.0), make_bar(close=102.0), make_bar(symbol="ETH-USD"))
    assert [("BTC-USD", 101.0), ("ETH-USD", 105.0)] == list(zip(kept["symbol"], kept["close"], strict=True))
    assert ["bar_start_at repeats an earlier bar of the same symbol"] == refused["reason"].tolist()


def test_a_good_bar_after_a_bad_one_of_the_same_start_is_kept() -> None:
    """Only good bars count as the first."""
    kept, refused = judged(make_bar(close=float("nan")), make_bar(close=102.0))
    assert [102.0] == kept["close"].tolist()
    assert ["close is not a number"] == refused["reason"].tolist()


def test_an_empty_answer_gives_the_columns_of_price_bars() -> None:
    """A day without trading is a table without rows, not an error."""
    kept, refused = judged()
    assert (list(PRICE_BARS.column_names), 0, 0) == (list(kept.columns), len(kept), len(refused))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 287), st.floats(width=32), st.floats(width=32)), max_size=30))
def test_every_bar_is_either_kept_or_refused(values: list[tuple[int, float, float]]) -> None:
    """Nothing is lost, and what is kept is ordered low ≤ open, close ≤ high."""
    bars = [make_bar(bar_start_at=START + timedelta(minutes=5 * i), low=low, high=high) for i, low, high in values]
    kept, refused = judged(*bars)
    assert len(bars) == len(kept) + len(refused)
    assert kept.empty or (kept["low"] <= kept[["open", "close"]].min(axis=1)).all()
    assert kept.empty or (kept[["open", "close"]].max(axis=1) <= kept["high"]).all()


def test_an_hour_is_made_of_its_bars() -> None:
    """Open of the first, close of the last, extremes and volume of all, whatever the order of rows."""
    bars = make_series(12).sample(frac=1, random_state=1)
    row = built(bars, "hour").iloc[0]
    assert (100.0, 121.0, 90.0, 116.0, 24.0, 12, 12, True) == (
        row.open,
        row.high,
        row.low,
        row.close,
        row.volume,
        row.bar_count,
        row.expected_bar_count,
        row.is_complete,
    )
    assert pd.Timestamp(START) == row.bar_start_at
    assert list(OHLC_HOURLY.column_names) == list(built(bars, "hour").columns)


def test_a_gappy_hour_is_flagged_and_an_empty_one_is_not_invented() -> None:
    """Eleven of twelve bars make an incomplete hour; an hour without bars has no row."""
    bars = pd.concat([make_series(12), make_series(11, bar_start_at=START + timedelta(hours=2))])
    rows = built(bars, "hour")
    assert [(START, True), (START + timedelta(hours=2), False)] == list(
        zip(rows["bar_start_at"], rows["is_complete"], strict=True)
    )


def test_bars_longer_than_the_grain_are_left_out() -> None:
    """A daily bar says nothing about an hour."""
    assert 0 == len(built(make_bars(make_bar(interval_seconds=86_400)), "hour"))
    assert 1 == len(built(make_bars(make_bar(interval_seconds=86_400)), "day"))


def test_a_week_starts_on_monday_and_adds_up_its_days() -> None:
    """Seven daily bars of one week become one row; the Monday after begins another."""
    days = pd.concat([make_series(288, bar_start_at=START + timedelta(days=i)) for i in range(8)])
    window = Window.of_days(START.date(), START.date() + timedelta(days=13))
    daily = built(days, "day", window=window)
    weekly = built(daily, "week", window=window)
    assert [(START, 2016, 2016, True), (START + timedelta(days=7), 288, 2016, False)] == list(
        zip(
            weekly["bar_start_at"],
            weekly["bar_count"],
            weekly["expected_bar_count"],
            weekly["is_complete"],
            strict=True,
        )
    )


def test_an_equity_is_expected_only_in_its_sessions() -> None:
    """Thursday before Good Friday: full hours in the session, half an hour at its start; nothing on the holiday."""
    window = Window.of_days(date(2026, 4, 2), date(2026, 4, 3))
    rows = transforms.expected_sessions(["XNYS"], window, "hour")
    assert [(13, 1800), (14, 3600), (15, 3600), (16, 3600), (17, 3600), (18, 3600), (19, 3600)] == [
        (at.hour, seconds) for at, seconds in zip(rows["bucket_at"], rows["session_seconds"], strict=True)
    ]


def test_a_daily_bar_completes_a_session_day() -> None:
    """A market whose finest bar is the day expects one bar a session, not a fraction."""
    markets = pd.DataFrame([{"symbol": "AAPL", "calendar": "XNYS", "first_day": date(2000, 1, 1)}])
    rows = built(make_bars(make_bar(symbol="AAPL", interval_seconds=86_400)), "day", markets=markets)
    assert [(1, 1, True)] == list(zip(rows["bar_count"], rows["expected_bar_count"], rows["is_complete"], strict=True))


def test_the_gap_ratio_counts_missing_buckets_too() -> None:
    """Two hours of a crypto day that has a bar promise 24 bars; an unstarted hour promises none."""
    bars = built(make_series(12), "hour")
    expected = transforms.expected_sessions(["24/7"], DAY, "hour")
    coverage = transforms.bar_coverage(bars, CRYPTO, expected, until=START + timedelta(hours=1))
    assert (12, 24, 0.5) == (coverage.seen, coverage.promised, coverage.gap_ratio)
    assert transforms.bar_coverage(bars.iloc[:0], CRYPTO, expected, until=NOW).gap_ratio is None


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(24)), st.sets(st.integers(0, 23), min_size=1))
def test_ohlc_does_not_depend_on_the_order_of_rows(order: list[int], chosen: set[int]) -> None:
    """The same bars in any order give the same hours."""
    bars = make_series(24)
    some = bars[bars.index.isin(chosen)]
    shuffled = some.loc[[i for i in order if i in chosen]]
    pd.testing.assert_frame_equal(built(some, "hour"), built(shuffled, "hour"))


def closes(prices: list[float], *, last_day: date, symbol: str = "BTC-USD") -> pd.DataFrame:
    days = [last_day - timedelta(days=len(prices) - 1 - i) for i in range(len(prices))]
    return pd.DataFrame({"symbol": symbol, "day": days, "close": prices, "adj_close": float("nan")})


def snapshot(history: pd.DataFrame, **over: object) -> pd.Series:
    markets = pd.DataFrame([{"symbol": "BTC-USD", "periods_per_year": 365}])
    rows = transforms.snapshots([make_quote(**over)], history, markets, lookback_days=30, provider="mock")
    assert list(SNAPSHOTS.column_names) == list(rows.columns)
    return rows.iloc[0]


def test_a_snapshot_compares_with_the_closes_of_earlier_days() -> None:
    """ROI over 1, 7 and 30 days takes the close of that day; the running day's own close is not history."""
    history = closes([float(price) for price in range(60, 101)], last_day=START.date())
    row = snapshot(history, price=120.0)
    assert (120 / 99 - 1, 120 / 93 - 1, 120 / 70 - 1) == (row.roi_1d_ratio, row.roi_7d_ratio, row.roi_30d_ratio)
    returns = np.diff(np.arange(70.0, 100.0)) / np.arange(70.0, 99.0)
    assert pytest.approx(returns.std(ddof=1) * np.sqrt(365), rel=1e-12) == row.volatility_ratio


def test_a_price_at_midnight_belongs_to_the_day_that_ends() -> None:
    """The last price of a day is not compared with itself."""
    midnight = START + timedelta(days=1)
    row = snapshot(closes([100.0, 110.0, 121.0], last_day=START.date()), as_of=midnight, price=121.0)
    assert 121.0 / 110.0 - 1 == row.roi_1d_ratio


def test_a_market_without_history_has_a_price_and_no_invented_numbers() -> None:
    """Undefined is NULL."""
    row = snapshot(closes([], last_day=START.date()))
    assert 120.0 == row.price
    assert row[["volatility_ratio", "roi_1d_ratio", "roi_7d_ratio", "roi_30d_ratio"]].isna().all()


def test_a_split_is_no_return() -> None:
    """Where the source adjusts its closes, the earlier ones are scaled as it says."""
    history = closes([700.0] * 10 + [100.0] * 30, last_day=START.date())
    history["adj_close"] = [50.0] * 40
    row = snapshot(history, price=100.0)
    assert (0.0, 0.0, 0.0, 0.0) == (row.roi_1d_ratio, row.roi_7d_ratio, row.roi_30d_ratio, row.volatility_ratio)


def test_a_bar_of_an_unknown_market_is_never_complete() -> None:
    """Where nothing is known of its sessions, nothing is claimed."""
    rows = built(make_series(12), "hour", markets=CRYPTO.assign(symbol="ETH-USD"))
    assert [False] == rows["is_complete"].tolist()


def test_a_stale_close_is_no_base() -> None:
    """A market that has not traded for weeks has no one-day return."""
    row = snapshot(closes([100.0], last_day=START.date() - timedelta(days=9)))
    assert pd.isna(row.roi_1d_ratio)


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"price": 0.0}, "price is 0.0, expected a positive number"),
        ({"price": float("nan")}, "price is nan, expected a positive number"),
        ({"as_of": NOW + timedelta(hours=1)}, "as_of is in the future: 2026-04-01 01:00:00 UTC"),
        ({"change_24h_ratio": float("inf")}, "change_24h_ratio is inf, expected a number"),
        ({"volume_24h": -1.0}, "volume_24h is -1.0, expected a number that is not negative"),
    ],
)
def test_a_bad_quote_is_refused_with_its_reason(over: dict, reason: str) -> None:
    """The other quotes go on."""
    good, bad = transforms.judged_quotes([make_quote(**over), make_quote()], now=NOW)
    assert ([make_quote()], [reason]) == (good, [row["reason"] for row in bad])


def test_market_rows_have_the_columns_of_the_table() -> None:
    """A provider's market becomes a row of market/markets."""
    rows = transforms.market_rows([make_market()], provider="mock")
    assert list(MARKETS.column_names) == list(rows.columns)
    assert [("BTC-USD", "mock")] == list(zip(rows["symbol"], rows["provider"], strict=True))


@pytest.mark.parametrize("at", [datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)])
def test_a_clock_change_does_not_move_utc_days(at: datetime) -> None:
    """On the days New York changes its clocks a crypto day has 24 hours all the same."""
    window = Window.of_days(at.date(), at.date())
    assert 24 == len(transforms.expected_sessions(["24/7"], window, "hour"))
