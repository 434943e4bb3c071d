"""Binance spot (binance-spot-api-docs): crypto markets, five-minute klines, 24-hour quotes. No key is needed.

BASE-USD means BASEUSDT: Binance quotes in the stablecoin, which we take for the dollar. Every other BASE-QUOTE is asked
for as BASEQUOTE. Requests are paged by start time, 1000 bars each; the candle that is not finished is dropped. When the
source says that nine tenths of its weight of a minute are used, we are quiet until the minute is over.
"""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.errors import ContractError, IngestionError, RateLimitedError, UnknownSymbolError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.bars import bars_frame, empty_bars, is_finished, microseconds
from ingestion_pipeline.providers.base import Market, Quote
from ingestion_pipeline.providers.http import Answer, CircuitBreaker, HttpLimits, HttpSource
from ingestion_pipeline.providers.rate import RateGate
from ingestion_pipeline.providers.symbols import market, unknown_symbol
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

NAME = "binance"
WEIGHT_A_MINUTE = 6000
RATE = "5000/minute"  # of weight: a margin, since others may share our address
PAGE_ROWS = 1000
INTERVALS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86_400}
_KLINES, _TICKERS = "/api/v3/klines", "/api/v3/ticker/24hr"
_KLINES_WEIGHT, _TICKERS_WEIGHT = 2, 40
_SYMBOLS_A_CALL = 100
_INVALID_SYMBOL, _TOO_MANY_REQUESTS = {-1121, -1100}, -1003
_SYMBOL = re.compile(r"([A-Z0-9]{1,20})-([A-Z0-9]{2,10})")
_BASES = ("BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "LTC", "DOT", "AVAX", "LINK", "TRX", "UNI", "ATOM", "BCH")
_QUOTES = ("USD", "USDT", "USDC", "EUR", "BTC", "ETH")

_Milliseconds = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]  # to the year 9999
# openTime, open, high, low, close, volume, closeTime; five more follow.
_Kline = tuple[
    _Milliseconds,
    FiniteFloat,
    FiniteFloat,
    FiniteFloat,
    FiniteFloat,
    FiniteFloat,
    _Milliseconds,
    Any,
    Any,
    Any,
    Any,
    Any,
]
_KLINE_LIST = TypeAdapter(list[_Kline])


class _Ticker(BaseModel):
    symbol: str
    lastPrice: FiniteFloat  # noqa: N815 - their names
    priceChangePercent: FiniteFloat | None = None  # noqa: N815
    volume: FiniteFloat | None = None
    closeTime: _Milliseconds  # noqa: N815


_TICKER_LIST = TypeAdapter(list[_Ticker])


class BinanceProvider:
    """Implements MarketDataProvider."""

    name = NAME

    def __init__(self, source: HttpSource, *, interval: str = "5m") -> None:
        self._source = source
        self._interval = interval
        self._interval_seconds = INTERVALS[interval]

    def fetch_markets(self, symbols: Sequence[str]) -> list[Market]:
        return [
            market(symbol, name=f"{_pair(symbol)} on Binance", kind="crypto", first_day=self._first_day(symbol))
            for symbol in symbols
        ]

    def fetch_bars(self, symbol: str, window: Window) -> "pd.DataFrame":
        _pair(symbol)
        pages = list(self._pages(symbol, window))
        if not pages:
            return empty_bars(symbol)
        rows = np.concatenate(pages)
        starts = rows[:, 0].astype(np.int64) * 1000
        is_inside = (starts >= microseconds(window.start)) & (starts < microseconds(window.end))
        is_inside &= is_finished(starts, self._interval_seconds, now=clock.utc_now())
        values = dict(zip(("open", "high", "low", "close", "volume"), rows[is_inside, 1:6].T, strict=True))
        return bars_frame(symbol, starts[is_inside], interval_seconds=self._interval_seconds, values=values)

    def fetch_quotes(self, symbols: Sequence[str]) -> list[Quote]:
        for symbol in symbols:
            _pair(symbol)
        quotes: dict[str, Quote] = {}
        for i in range(0, len(symbols), _SYMBOLS_A_CALL):
            quotes |= self._quotes(symbols[i : i + _SYMBOLS_A_CALL])
        return [quotes[symbol] for symbol in symbols]

    def _first_day(self, symbol: str) -> date:
        params: dict[str, str | int] = {"symbol": _pair(symbol), "interval": "1d", "startTime": 0, "limit": 1}
        rows = self._rows(symbol, params)
        if not rows:
            raise unknown_symbol(NAME, symbol, _known_symbols())
        return _instant(rows[0][0]).date()

    def _pages(self, symbol: str, window: Window) -> "Iterator[np.ndarray[Any, np.dtype[np.float64]]]":
        step_ms = self._interval_seconds * 1000
        start_ms, end_ms = -(-microseconds(window.start) // 1000), -(-microseconds(window.end) // 1000)
        end_ms = min(end_ms, microseconds(clock.utc_now()) // 1000)
        while start_ms < end_ms:
            rows = self._rows(
                symbol,
                {
                    "symbol": _pair(symbol),
                    "interval": self._interval,
                    "startTime": start_ms,
                    "endTime": end_ms - 1,
                    "limit": PAGE_ROWS,
                },
            )
            if rows:
                yield np.array([row[:6] for row in rows], dtype=np.float64)
            if len(rows) < PAGE_ROWS:
                return
            start_ms = _next_start(rows, start_ms) + step_ms

    def _rows(self, symbol: str, params: dict[str, str | int]) -> list[Any]:
        try:
            return self._source.fetch(_KLINES, _KLINE_LIST, params=params, cost=_KLINES_WEIGHT)
        except UnknownSymbolError:
            raise unknown_symbol(NAME, symbol, _known_symbols()) from None

    def _quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        params = {"symbols": json.dumps([_pair(symbol) for symbol in dict.fromkeys(symbols)], separators=(",", ":"))}
        try:
            answers = self._source.fetch(_TICKERS, _TICKER_LIST, params=params, cost=_TICKERS_WEIGHT)
        except UnknownSymbolError:
            if len(symbols) == 1:
                raise unknown_symbol(NAME, symbols[0], _known_symbols()) from None
            # One unknown symbol spoils the whole answer, which does not say which it was.
            return {symbol: self._quotes([symbol])[symbol] for symbol in symbols}
        tickers = {ticker.symbol: ticker for ticker in answers}
        return {symbol: _quote(symbol, tickers) for symbol in symbols}


def binance_provider(settings: Settings, *, breaker: CircuitBreaker) -> BinanceProvider:
    """The provider on the API root and time-out of `settings`."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    source = HttpSource(
        NAME,
        settings.binance_url,
        breaker=breaker,
        rate=RateGate(NAME, RATE, redis_url=redis_url),
        limits=HttpLimits(timeout_seconds=settings.provider_timeout_seconds),
        explain=explain,
        pause_seconds=pause_seconds,
    )
    return BinanceProvider(source)


def explain(answer: Answer) -> IngestionError | None:
    """Binance's own errors: `{"code": -1121, "msg": …}` with a 4xx."""
    code = answer.body.get("code") if isinstance(answer.body, dict) else None
    if code in _INVALID_SYMBOL:
        return UnknownSymbolError(NAME, str(answer.params.get("symbol") or answer.params.get("symbols", "")))
    return RateLimitedError(NAME) if code == _TOO_MANY_REQUESTS else None


def pause_seconds(answer: Answer) -> float:
    """The rest of the minute, once nine tenths of its weight are used."""
    used = answer.headers.get("x-mbx-used-weight-1m", "")
    if used.isdecimal() and int(used) >= 0.9 * WEIGHT_A_MINUTE:
        return 60.0 - clock.utc_now().second
    return 0.0


def _pair(symbol: str) -> str:
    parts = _SYMBOL.fullmatch(symbol)
    if not parts:
        raise unknown_symbol(NAME, symbol, _known_symbols())
    return parts[1] + ("USDT" if parts[2] == "USD" else parts[2])


def _known_symbols() -> list[str]:
    return [f"{base}-{quote}" for quote in _QUOTES for base in _BASES if base != quote]


def _next_start(rows: Sequence[Any], asked_ms: int) -> int:
    """The last open time of a page; one that does not move on would be asked for again and again."""
    last = int(rows[-1][0])
    if last < asked_ms:
        raise ContractError(f"{NAME} {_KLINES}", "openTime", str(last), f"ascending from {asked_ms}")
    return last


def _quote(symbol: str, tickers: dict[str, _Ticker]) -> Quote:
    ticker = tickers.get(_pair(symbol))
    if ticker is None or ticker.lastPrice <= 0:
        seen = "missing" if ticker is None else repr(ticker.lastPrice)
        raise ContractError(f"{NAME} {_TICKERS}", f"lastPrice of {symbol}", seen, "a positive number")
    change = ticker.priceChangePercent
    return Quote(
        symbol=symbol,
        # Their clock may run ahead of ours.
        as_of=min(_instant(ticker.closeTime), clock.utc_now()),
        price=ticker.lastPrice,
        change_24h_ratio=None if change is None else change / 100,
        volume_24h=ticker.volume,
    )


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
