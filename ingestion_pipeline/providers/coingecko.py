"""CoinGecko v3 (docs.coingecko.com): crypto markets, quotes, and hourly bars built from its price points.

What the source gives, and what we make of it:

* Points, no bars. `/market_chart/range` answers about one price an hour for spans of 2 to 90 days (a shorter span may
  come finer), so we always ask for such spans. The price of an hour is its first point, if that comes in the hour's
  first quarter. A bar opens at the price of its hour and closes at that of the next; its high and low are the greater
  and the lesser of the two. An hour whose price, or whose next hour's price, is missing has no bar.
* No volume per bar. `total_volumes` is the volume of the 24 hours before each point, in the quote asset. Our
  `volume` is a 24th of it in base units: right in the sum over many days, smooth within one. 0 where it is missing.
* 365 days of history without a paid plan; an older day is refused with the error 10012.

Symbols are BASE-QUOTE of the tables below, or `<coingecko id>:<currency>` such as `PEPE:USD`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.calendars import ALWAYS_OPEN
from ingestion_pipeline.core.errors import (
    ConfigurationError,
    ContractError,
    IngestionError,
    RateLimitedError,
    UnknownSymbolError,
)
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.bars import bars_frame, empty_bars, is_finished, microseconds
from ingestion_pipeline.providers.base import Market, Quote
from ingestion_pipeline.providers.coingecko_points import INTERVAL_SECONDS, Points, hourly_bars, spans
from ingestion_pipeline.providers.http import Answer, CircuitBreaker, HttpLimits, HttpSource
from ingestion_pipeline.providers.rate import RateGate
from ingestion_pipeline.providers.symbols import CRYPTO_PERIODS_PER_YEAR, unknown_symbol
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
NAME = "coingecko"
HISTORY_DAYS = 365
KEYLESS_RATE, DEMO_KEY_RATE = "10/minute", "30/minute"
_BEYOND_HISTORY = 10012
_KEY_ERRORS = {10002, 10005, 10010, 10011}
_TOO_MANY, _NOT_FOUND = 429, 404
_IDS_A_CALL = 100
_LARGEST = 1e11  # as seconds the year 5138, as a price beyond any

IDS = {
    "BTC": "bitcoin",
    "ETH": "ethereum",
    "SOL": "solana",
    "XRP": "ripple",
    "LTC": "litecoin",
    "ADA": "cardano",
    "DOGE": "dogecoin",
    "BNB": "binancecoin",
    "DOT": "polkadot",
    "AVAX": "avalanche-2",
    "LINK": "chainlink",
    "TRX": "tron",
    "UNI": "uniswap",
    "ATOM": "cosmos",
    "XLM": "stellar",
    "BCH": "bitcoin-cash",
}
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "BTC", "ETH")
_KEY = re.compile(r"[A-Za-z0-9_-]*")
_ESCAPE = re.compile(r"([a-z0-9][a-z0-9_.-]{0,80}):([a-z]{2,5})")


_Milliseconds = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]  # to the year 9999


class _Listed(BaseModel):
    id: str
    name: str


class _Chart(BaseModel):
    prices: list[tuple[_Milliseconds, FiniteFloat | None]]
    total_volumes: list[tuple[_Milliseconds, FiniteFloat | None]] = Field(default_factory=list)


_LISTED = TypeAdapter(list[_Listed])
_CHART = TypeAdapter(_Chart)
_PRICES = TypeAdapter(dict[str, dict[str, FiniteFloat | None]])


@dataclass(frozen=True)
class _Coin:
    symbol: str
    id: str
    base: str
    currency: str


class CoinGeckoProvider:
    """Implements MarketDataProvider."""

    name = NAME

    def __init__(self, source: HttpSource) -> None:
        self._source = source

    def fetch_markets(self, symbols: Sequence[str]) -> list[Market]:
        coins = [_coin(symbol) for symbol in symbols]
        names = self._names(coins)
        # One day inside the limit, which the source counts to the second.
        first_day = clock.utc_now().date() - timedelta(days=HISTORY_DAYS - 1)
        return [
            Market(
                symbol=coin.symbol,
                name=_found(coin, names),
                base_asset=coin.base,
                quote_asset=coin.currency.upper(),
                asset_class="crypto",
                calendar=ALWAYS_OPEN,
                periods_per_year=CRYPTO_PERIODS_PER_YEAR,
                first_day=first_day,
            )
            for coin in coins
        ]

    def fetch_bars(self, symbol: str, window: Window) -> "pd.DataFrame":
        coin, now = _coin(symbol), clock.utc_now()
        if window.start == window.end:
            return empty_bars(symbol)
        prices, volumes = self._points(coin, spans(window, now=now))
        made = hourly_bars(prices, volumes)
        is_inside = (made.start_us >= microseconds(window.start)) & (made.start_us < microseconds(window.end))
        is_inside &= is_finished(made.start_us, INTERVAL_SECONDS, now=now)
        values = dict(zip(("open", "high", "low", "close", "volume"), made.prices[:, is_inside], strict=True))
        return bars_frame(symbol, made.start_us[is_inside], interval_seconds=INTERVAL_SECONDS, values=values)

    def fetch_quotes(self, symbols: Sequence[str]) -> list[Quote]:
        coins = [_coin(symbol) for symbol in symbols]
        currencies = ",".join(sorted({coin.currency for coin in coins}))
        prices: dict[str, dict[str, float | None]] = {}
        for ids in _id_groups(coins):
            params = {"ids": ids, "vs_currencies": currencies, "precision": "full"}
            extras = dict.fromkeys(("include_24hr_vol", "include_24hr_change", "include_last_updated_at"), "true")
            found = self._source.fetch("/simple/price", _PRICES, params={**params, **extras})
            prices.update(found)
        return [_quote(coin, _found(coin, prices), now=clock.utc_now()) for coin in coins]

    def _names(self, coins: Sequence[_Coin]) -> dict[str, str]:
        names: dict[str, str] = {}
        for ids in _id_groups(coins):
            params: dict[str, str | int] = {"vs_currency": "usd", "ids": ids, "per_page": 250}
            names |= {it.id: it.name for it in self._source.fetch("/coins/markets", _LISTED, params=params)}
        return names

    def _points(self, coin: _Coin, asked: Sequence[Window]) -> tuple[Points, Points]:
        prices: list[tuple[int, float | None]] = []
        volumes: list[tuple[int, float | None]] = []
        for span in asked:
            first, last = int(span.start.timestamp()), int(span.end.timestamp())
            params: dict[str, str | int] = {"vs_currency": coin.currency, "from": first, "to": last}
            try:
                chart = self._source.fetch(f"/coins/{coin.id}/market_chart/range", _CHART, params=params)
            except UnknownSymbolError:
                raise unknown_symbol(NAME, coin.symbol, _known_symbols()) from None
            prices += chart.prices
            volumes += chart.total_volumes
        return prices, volumes


def coingecko_provider(settings: Settings, *, breaker: CircuitBreaker) -> CoinGeckoProvider:
    """The provider on the API root, key and time-out of `settings`."""
    key = settings.coingecko_api_key.get_secret_value() if settings.coingecko_api_key else ""
    if not _KEY.fullmatch(key):
        raise ConfigurationError("COINGECKO_API_KEY", "***", "letters, digits, - and _ only")
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    source = HttpSource(
        NAME,
        settings.coingecko_url,
        breaker=breaker,
        rate=RateGate(NAME, DEMO_KEY_RATE if key else KEYLESS_RATE, redis_url=redis_url),
        limits=HttpLimits(timeout_seconds=settings.provider_timeout_seconds),
        headers={"x-cg-demo-api-key": key} if key else {},
        explain=explain,
    )
    return CoinGeckoProvider(source)


def explain(answer: Answer) -> IngestionError | None:
    """CoinGecko's own errors; they come in three shapes, one of them with status 200."""
    code = _error_code(answer.body)
    if code == _TOO_MANY:
        return RateLimitedError(NAME)
    if code == _BEYOND_HISTORY:
        day = datetime.fromtimestamp(int(answer.params.get("from", 0)), tz=UTC).date()
        expected = f"a day of the past {HISTORY_DAYS}, the limit without a paid plan"
        return ContractError(NAME, f"history from {day}", f"refused (error {_BEYOND_HISTORY})", expected)
    if code in _KEY_ERRORS:
        return ConfigurationError("COINGECKO_API_KEY", "***", f"a key of the API at COINGECKO_URL (error {code})")
    if answer.status == _NOT_FOUND and answer.path.startswith("/coins/"):
        return UnknownSymbolError(NAME, answer.path.split("/")[2])
    return None


def _error_code(body: object) -> int | None:
    error = body.get("error") if isinstance(body, dict) else None
    for holder in (body, error):
        status = holder.get("status") if isinstance(holder, dict) else None
        code = status.get("error_code") if isinstance(status, dict) else None
        if isinstance(code, int):
            return code
    return None


def _coin(symbol: str) -> _Coin:
    escaped = _ESCAPE.fullmatch(symbol.lower())
    if escaped:
        return _Coin(symbol, escaped[1], escaped[1].upper(), escaped[2])
    base, _, currency = symbol.partition("-")
    if base not in IDS or currency not in CURRENCIES:
        raise unknown_symbol(NAME, symbol, _known_symbols())
    return _Coin(symbol, IDS[base], base, currency.lower())


def _known_symbols() -> list[str]:
    return [f"{base}-{currency}" for currency in CURRENCIES for base in IDS if base != currency]


def _found(coin: _Coin, answers: Mapping[str, T]) -> T:
    """CoinGecko leaves out what it does not know."""
    if coin.id not in answers:
        raise unknown_symbol(NAME, coin.symbol, _known_symbols())
    return answers[coin.id]


def _id_groups(coins: Sequence[_Coin]) -> list[str]:
    ids = sorted({coin.id for coin in coins})
    return [",".join(ids[i : i + _IDS_A_CALL]) for i in range(0, len(ids), _IDS_A_CALL)]


def _quote(coin: _Coin, fields: Mapping[str, float | None], *, now: datetime) -> Quote:
    price, updated = _positive(coin, fields, coin.currency), _positive(coin, fields, "last_updated_at")
    change, volume = fields.get(f"{coin.currency}_24h_change"), fields.get(f"{coin.currency}_24h_vol")
    return Quote(
        symbol=coin.symbol,
        # Their clock may run ahead of ours.
        as_of=min(datetime.fromtimestamp(updated, tz=UTC), now),
        price=price,
        change_24h_ratio=None if change is None else change / 100,
        volume_24h=None if volume is None else volume / price,
    )


def _positive(coin: _Coin, fields: Mapping[str, float | None], name: str) -> float:
    value = fields.get(name)
    if value is None or not 0 < value < _LARGEST:
        raise ContractError(f"{NAME} /simple/price", f"{coin.id}.{name}", repr(value), "a positive number")
    return value
