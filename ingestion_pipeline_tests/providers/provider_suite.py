"""What every market data provider promises. Each implementation subclasses ProviderSuite and gives it a provider."""

from datetime import date, timedelta

import pandas as pd
import pytest

from ingestion_pipeline.core.errors import UnknownSymbolError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.base import BAR_COLUMNS

TYPES = {
    "symbol": "str",
    "bar_start_at": "datetime64[us, UTC]",
    "interval_seconds": "int64",
    **dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), "float64"),
}


def ordered(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.sort_values(["bar_start_at", "interval_seconds"], ignore_index=True)


class ProviderSuite:
    symbols: tuple[str, ...]
    window: Window
    quiet_window: Window
    unknown: str
    nearest: str

    @pytest.fixture
    def provider(self):
        raise NotImplementedError

    def test_bars_have_the_promised_columns_and_types(self, provider):
        """Downstream code relies on the names, their order and their types."""
        for symbol in self.symbols:
            bars = provider.fetch_bars(symbol, self.window)
            assert list(BAR_COLUMNS) == list(bars.columns)
            assert {name: str(kind) for name, kind in bars.dtypes.items()} == TYPES
            assert set(bars["symbol"]) == {symbol}
            assert (bars["interval_seconds"] > 0).all()

    def test_bars_start_inside_the_half_open_window(self, provider):
        """The start of the window is in, its end is out."""
        for symbol in self.symbols:
            bars = provider.fetch_bars(symbol, self.window)
            assert len(bars) > 0
            assert bars["bar_start_at"].min() >= self.window.start
            assert bars["bar_start_at"].max() < self.window.end
            first = ordered(bars)["bar_start_at"].iloc[0].to_pydatetime()
            assert provider.fetch_bars(symbol, Window(first, first)).empty
            assert len(provider.fetch_bars(symbol, Window(first, first + timedelta(microseconds=1)))) == 1

    @pytest.mark.parametrize("hours", [24, 17])
    def test_disjoint_windows_give_together_what_the_whole_gives(self, provider, hours):
        """A backfill by days and one by months store the same rows, whatever hour they are cut at."""
        for symbol in self.symbols:
            parts, start = [], self.window.start
            while start < self.window.end:
                end = min(start + timedelta(hours=hours), self.window.end)
                parts.append(provider.fetch_bars(symbol, Window(start, end)))
                start = end
            whole = provider.fetch_bars(symbol, self.window)
            pd.testing.assert_frame_equal(ordered(whole), ordered(pd.concat(parts, ignore_index=True)))

    def test_same_question_twice_gives_the_same_answer(self, provider):
        """Nothing depends on what was asked before."""
        for symbol in self.symbols:
            first, second = (provider.fetch_bars(symbol, self.window) for _ in range(2))
            pd.testing.assert_frame_equal(first, second)

    def test_no_bar_is_unfinished(self, provider, now):
        """A bar that ends after now could still change."""
        around_now = Window(now - timedelta(days=3), now + timedelta(days=2))
        for symbol in self.symbols:
            bars = provider.fetch_bars(symbol, around_now)
            ends = bars["bar_start_at"] + pd.to_timedelta(bars["interval_seconds"], unit="s")
            assert (ends <= now).all()

    def test_prices_keep_their_order(self, provider):
        """low <= open, close <= high; positive; one bar per start."""
        for symbol in self.symbols:
            bars = provider.fetch_bars(symbol, self.window)
            assert (bars["low"] > 0).all()
            assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
            assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
            assert (bars["volume"] >= 0).all()
            assert not bars["bar_start_at"].duplicated().any()

    def test_unknown_symbol_is_named_with_its_nearest(self, provider):
        """Every question about a market that is not there says so, and what may have been meant."""
        questions = (
            lambda: provider.fetch_bars(self.unknown, self.window),
            lambda: provider.fetch_markets([self.symbols[0], self.unknown]),
            lambda: provider.fetch_quotes([self.symbols[0], self.unknown]),
        )
        for ask in questions:
            with pytest.raises(UnknownSymbolError) as caught:
                ask()
            assert (caught.value.provider, caught.value.symbol) == (provider.name, self.unknown)
            assert self.nearest in caught.value.nearest

    def test_markets_come_in_the_order_asked(self, provider):
        """One market a symbol, and each knows when it began."""
        for asked in (self.symbols, self.symbols[::-1]):
            markets = provider.fetch_markets(asked)
            assert [market.symbol for market in markets] == list(asked)
            assert all(date(1970, 1, 1) <= market.first_day <= self.window.last_day for market in markets)
            assert all(market.periods_per_year == (365 if market.calendar == "24/7" else 252) for market in markets)
            assert all(market.name and market.base_asset and market.quote_asset for market in markets)

    def test_quotes_are_positive_and_not_of_the_future(self, provider, now):
        """One quote a symbol, in the order asked."""
        for asked in (self.symbols, self.symbols[::-1]):
            quotes = provider.fetch_quotes(asked)
            assert [quote.symbol for quote in quotes] == list(asked)
            assert all(quote.price > 0 and quote.as_of <= now for quote in quotes)
            assert all(quote.as_of.tzinfo is not None for quote in quotes)
            assert all(quote.change_24h_ratio is None or quote.change_24h_ratio > -1 for quote in quotes)

    def test_a_window_without_bars_is_empty_with_the_same_columns(self, provider):
        """Nothing traded is an answer, not an error."""
        for window in (self.quiet_window, Window(self.window.start, self.window.start)):
            bars = provider.fetch_bars(self.symbols[0], window)
            assert bars.empty
            assert {name: str(kind) for name, kind in bars.dtypes.items()} == TYPES

    def test_nothing_asked_is_nothing_answered(self, provider):
        """Empty lists are valid questions."""
        assert provider.fetch_markets([]) == []
        assert provider.fetch_quotes([]) == []
