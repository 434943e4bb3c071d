"""A provider without a network: invented, deterministic five-minute bars of invented and of well-known markets.

The same symbol and instant give the same bar on every machine and for every window. Crypto markets never close;
equities and indices trade in the sessions of XNYS only, half days included. The clock decides one thing: a bar that has
not ended is not returned.

Belongs here: windows, sessions, frames. Does not belong here: how prices move (mock_prices.py), the markets
(mock_markets.py).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.calendars import trading_sessions
from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.providers.bars import (
    MICROSECONDS,
    Instants,
    bars_frame,
    empty_bars,
    is_finished,
    latest_quote,
    microseconds,
    quote_window,
)
from ingestion_pipeline.providers.base import Market, Quote
from ingestion_pipeline.providers.mock_markets import FIRST_DAY, MockMarket, known_symbols, mock_market
from ingestion_pipeline.providers.mock_prices import (
    CAPACITY_DAYS,
    REFERENCE_INDEX,
    daily_path,
    day_bars,
    decimals,
    overnight_gap,
)
from ingestion_pipeline.providers.symbols import US_EQUITIES, market, unknown_symbol

if TYPE_CHECKING:
    import pandas as pd

INTERVAL_SECONDS = 300
_STEP_US = INTERVAL_SECONDS * MICROSECONDS
_DAY_US = 86_400 * MICROSECONDS
_BARS_A_DAY = 288


class MockProvider:
    """Implements MarketDataProvider."""

    name = "mock"

    def fetch_markets(self, symbols: Sequence[str]) -> list[Market]:
        known = [self._known(symbol) for symbol in symbols]
        return [market(it.symbol, name=it.name, kind=it.asset_class, first_day=_first_day(it)) for it in known]

    def fetch_bars(self, symbol: str, window: Window) -> "pd.DataFrame":
        known = self._known(symbol)
        window = _within_capacity(window)
        sessions = [] if window.start == window.end else _sessions(known, window)
        if not sessions:
            return empty_bars(symbol)
        parts = [_session_bars(known, *session) for session in sessions]
        starts = np.concatenate([part[0] for part in parts])
        values = np.concatenate([part[1] for part in parts], axis=1)
        is_inside = (starts >= microseconds(window.start)) & (starts < microseconds(window.end))
        is_inside &= is_finished(starts, INTERVAL_SECONDS, now=clock.utc_now())
        named = dict(zip(("open", "high", "low", "close", "volume"), values[:, is_inside], strict=True))
        if known.asset_class != "crypto":
            named["adj_close"] = named["close"]
        return bars_frame(symbol, starts[is_inside], interval_seconds=INTERVAL_SECONDS, values=named)

    def fetch_quotes(self, symbols: Sequence[str]) -> list[Quote]:
        window = quote_window(clock.utc_now())
        return [latest_quote(symbol, self.fetch_bars(symbol, window), provider=self.name) for symbol in symbols]

    def _known(self, symbol: str) -> MockMarket:
        known = mock_market(symbol)
        if known is None:
            raise unknown_symbol(self.name, symbol, known_symbols())
        return known


def _first_day(known: MockMarket) -> date:
    return FIRST_DAY if known.asset_class == "crypto" else FIRST_DAY + timedelta(days=1)


def _within_capacity(window: Window) -> Window:
    first = midnight(FIRST_DAY)
    last = first + timedelta(days=CAPACITY_DAYS)
    # Nothing that has not happened is invented, so there is no need to look for sessions beyond tomorrow.
    last = min(last, midnight(clock.utc_now().date()) + timedelta(days=1))
    start = min(max(window.start, first), last)
    return Window(start, max(min(window.end, last), start))


def _sessions(known: MockMarket, window: Window) -> list[tuple[int, int, int]]:
    """Of each session: days since FIRST_DAY, first instant in microseconds, number of bars."""
    epoch = microseconds(midnight(FIRST_DAY))
    if known.asset_class == "crypto":
        indices = [(day - FIRST_DAY).days for day in window.days()]
        return [(index, epoch + index * _DAY_US, _BARS_A_DAY) for index in indices]
    sessions = trading_sessions(US_EQUITIES, window)
    starts = sessions["open_at"].dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    ends = sessions["close_at"].dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    counts = (ends - starts) // _STEP_US
    return [
        ((day - FIRST_DAY).days, int(start), int(count))
        for day, start, count in zip(sessions["day"], starts, counts, strict=True)
    ]


def _session_bars(known: MockMarket, index: int, start_us: int, count: int) -> tuple[Instants, NDArray[np.float64]]:
    """Start of each bar, and the rows open, high, low, close, volume."""
    closes = _log_closes(known)
    close = float(closes[index])
    before = close - float(daily_path(known).returns[index])
    drawn = day_bars(known, index, before + overnight_gap(known, index), close, bar_count=count)
    opens, ends = drawn.boundaries[:-1], drawn.boundaries[1:]
    highs = np.maximum(opens, ends) + drawn.up_wicks
    lows = np.minimum(opens, ends) - drawn.down_wicks
    # Rounding keeps the order low <= open, close <= high, and hides what machines may differ in: the last bits of exp.
    digits = decimals(known)
    prices = np.maximum(np.round(np.exp(np.stack((opens, highs, lows, ends))), digits), 10.0**-digits)
    starts = start_us + np.arange(count, dtype=np.int64) * _STEP_US
    return starts, np.concatenate((prices, np.round(drawn.volumes, 4)[None, :]))


@lru_cache(maxsize=128)
def _log_closes(known: MockMarket) -> NDArray[np.float64]:
    """Log price at the end of each day since FIRST_DAY; it passes through the reference price on the reference day."""
    returns = daily_path(known).returns
    if known.asset_class != "crypto":
        returns = np.where(_is_session(), returns, 0.0)
    total = np.cumsum(returns)
    return np.asarray(np.log(known.reference_price) + total - total[REFERENCE_INDEX], dtype=np.float64)


@lru_cache(maxsize=1)
def _is_session() -> NDArray[np.bool_]:
    """Which days since FIRST_DAY are sessions of XNYS, over the whole span, so that it never changes with the clock."""
    window = Window(midnight(FIRST_DAY), midnight(FIRST_DAY) + timedelta(days=CAPACITY_DAYS))
    is_session = np.zeros(CAPACITY_DAYS, dtype=bool)
    is_session[[(day - FIRST_DAY).days for day in trading_sessions(US_EQUITIES, window)["day"]]] = True
    return is_session
