"""The mock provider: deterministic, realistic enough, and gaps where an exchange is closed."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from provider_fakes import NOW
from provider_suite import ProviderSuite, ordered

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.calendars import trading_sessions
from ingestion_pipeline.core.errors import UnknownSymbolError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.mock import MockProvider

YEAR = Window.of_days(date(2024, 6, 1), date(2025, 5, 31))
FORTNIGHT = Window.of_days(date(2025, 6, 1), date(2025, 6, 14))


class TestMockProvider(ProviderSuite):
    symbols = ("BTC-USD", "SPX", "AAPL", "MOCK-0042")
    window = Window.of_days(date(2025, 6, 2), date(2025, 6, 6))
    quiet_window = Window.of_days(date(2030, 1, 1), date(2030, 1, 3))
    unknown = "BTC-UDS"
    nearest = "BTC-USD"

    @pytest.fixture
    def provider(self):
        return MockProvider()


@settings(max_examples=40, deadline=None)
@given(
    symbol=st.sampled_from(["BTC-USD", "SPX", "MOCK-7777"]),
    cuts=st.lists(st.integers(0, 14 * 24 * 60), min_size=1, max_size=6, unique=True),
)
def test_any_split_of_a_window_gives_the_same_bars(symbol, cuts):
    """The law of the mock provider: bars depend on symbol and time, never on the window."""
    instants = [FORTNIGHT.start + timedelta(minutes=cut) for cut in sorted(cuts)]
    bounds = [FORTNIGHT.start, *instants, FORTNIGHT.end]
    parts = [MockProvider().fetch_bars(symbol, Window(a, b)) for a, b in pairwise(bounds)]
    whole = MockProvider().fetch_bars(symbol, FORTNIGHT)
    pd.testing.assert_frame_equal(whole, ordered(pd.concat(parts, ignore_index=True)))


def test_the_same_bars_whenever_they_are_asked_for(monkeypatch):
    """A year later the bars of today are still what they are."""
    before = MockProvider().fetch_bars("SPX", TestMockProvider.window)
    monkeypatch.setattr(clock, "utc_now", lambda: NOW + timedelta(days=800))
    pd.testing.assert_frame_equal(before, MockProvider().fetch_bars("SPX", TestMockProvider.window))


def test_known_bars_are_what_they_were():
    """Stored partitions stay valid: changing these prices is a change that users see."""
    day = Window.of_days(date(2025, 1, 1), date(2025, 1, 1))
    bars = MockProvider().fetch_bars("BTC-USD", day)
    assert bars["close"].iloc[-1] == 94_000.0
    assert bars.loc[0, ["open", "high", "low", "close"]].tolist() == [95388.19, 95462.74, 95204.39, 95305.24]
    assert (
        MockProvider().fetch_bars("AAPL", Window.of_days(date(2025, 1, 2), date(2025, 1, 2)))["open"].iloc[0] == 250.12
    )


def test_crypto_trades_every_five_minutes():
    """A year of one symbol has every bar, and a close is the next open."""
    bars = MockProvider().fetch_bars("ETH-USD", YEAR)
    assert len(bars) == 365 * 288
    assert bars["bar_start_at"].diff().dropna().eq(pd.Timedelta(minutes=5)).all()
    np.testing.assert_array_equal(bars["open"].to_numpy()[1:], bars["close"].to_numpy()[:-1])


def test_equities_trade_in_the_sessions_of_the_exchange_only():
    """No bars at night, at weekends and on holidays; half days are short."""
    bars = MockProvider().fetch_bars("AAPL", YEAR)
    counts = bars.groupby(bars["bar_start_at"].dt.date).size()
    sessions = trading_sessions("XNYS", YEAR)
    assert list(counts.index) == list(sessions["day"])
    assert counts[date(2024, 11, 29)] == 42  # the day after Thanksgiving closes at 13:00
    assert counts[date(2024, 12, 2)] == 78
    assert bars["adj_close"].equals(bars["close"].rename("adj_close"))


@pytest.mark.parametrize(("symbol", "low", "high"), [("BTC-USD", 0.3, 0.8), ("SPX", 0.08, 0.3)])
def test_volatility_is_realistic_and_clusters(symbol, low, high):
    """Ten years of daily returns have the volatility asked for, fat tails, and calm and wild times."""
    bars = MockProvider().fetch_bars(symbol, Window.of_days(date(2015, 6, 1), date(2025, 5, 31)))
    closes = bars.groupby(bars["bar_start_at"].dt.date)["close"].last()
    returns = np.log(closes).diff().dropna()
    assert low < returns.std() * np.sqrt(365 if symbol == "BTC-USD" else 252) < high
    assert returns.kurt() > 0.3
    assert returns.abs().autocorr(1) > 0.05


def test_volume_rises_with_volatility():
    """Days that move more trade more."""
    bars = MockProvider().fetch_bars("BTC-USD", YEAR)
    days = bars.groupby(bars["bar_start_at"].dt.date).agg(
        high=("high", "max"), low=("low", "min"), volume=("volume", "sum")
    )
    assert np.log(days["high"] / days["low"]).corr(days["volume"]) > 0.3


def test_markets_of_one_class_move_together():
    """Comparisons of mock markets have something to find."""
    closes = {}
    for symbol in ("BTC-USD", "ETH-USD"):
        bars = MockProvider().fetch_bars(symbol, YEAR)
        closes[symbol] = np.log(bars.groupby(bars["bar_start_at"].dt.date)["close"].last()).diff()
    assert 0.1 < closes["BTC-USD"].corr(closes["ETH-USD"]) < 0.9


def test_a_quote_is_that_of_the_last_finished_bar():
    """Price, change and volume all derive from the bars."""
    quote = MockProvider().fetch_quotes(["BTC-USD"])[0]
    day = MockProvider().fetch_bars("BTC-USD", Window(NOW - timedelta(hours=24, minutes=10), NOW))
    assert quote.as_of == datetime(2025, 6, 18, 15, 0, tzinfo=UTC)
    assert quote.price == day["close"].iloc[-1]
    last = day[day["bar_start_at"] >= pd.Timestamp("2025-06-17 15:00Z")]
    before = day[day["bar_start_at"] < pd.Timestamp("2025-06-17 15:00Z")]
    assert len(last) == 288
    assert quote.volume_24h == pytest.approx(last["volume"].sum())
    assert quote.change_24h_ratio == pytest.approx(quote.price / before["close"].iloc[-1] - 1)


def test_a_closed_exchange_is_quoted_at_its_last_close(monkeypatch):
    """On a Sunday the price is Friday's, and the change is against Thursday's close."""
    monkeypatch.setattr(clock, "utc_now", lambda: datetime(2025, 6, 15, 12, tzinfo=UTC))
    quote = MockProvider().fetch_quotes(["SPX"])[0]
    bars = MockProvider().fetch_bars("SPX", Window.of_days(date(2025, 6, 12), date(2025, 6, 13)))
    closes = bars.groupby(bars["bar_start_at"].dt.date)["close"].last()
    assert quote.as_of == datetime(2025, 6, 13, 20, 0, tzinfo=UTC)
    assert quote.price == closes[date(2025, 6, 13)]
    assert quote.change_24h_ratio == pytest.approx(quote.price / closes[date(2025, 6, 12)] - 1)


def test_numbered_markets_go_from_one_to_9999():
    """Tests of scale have markets enough, and no more."""
    assert [it.symbol for it in MockProvider().fetch_markets(["MOCK-0001", "MOCK-9999"])] == ["MOCK-0001", "MOCK-9999"]
    for symbol in ("MOCK-0000", "MOCK-10000", "MOCK-1"):
        with pytest.raises(UnknownSymbolError, match="MOCK-"):
            MockProvider().fetch_markets([symbol])


@pytest.mark.parametrize("symbol", ["DOGE-USD", "MOCK-0003"])
def test_there_is_nothing_before_the_first_day(symbol):
    """first_day is the first day with bars."""
    first_day = MockProvider().fetch_markets([symbol])[0].first_day
    assert len(MockProvider().fetch_bars(symbol, Window.of_days(first_day - timedelta(days=9), first_day))) == 288
