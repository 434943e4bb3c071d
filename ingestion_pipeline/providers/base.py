"""What a market data provider answers, whatever its source.

A provider returns what the source said, in our columns; it does not judge the values (the market domain does) and it
does not store anything. It never returns an unfinished bar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal, Protocol

from ingestion_pipeline.core.windows import Window

if TYPE_CHECKING:
    import pandas as pd

AssetClass = Literal["crypto", "equity", "index"]

BAR_COLUMNS = (
    "symbol",
    "bar_start_at",
    "interval_seconds",
    "open",
    "high",
    "low",
    "close",
    "adj_close",
    "volume",
)


@dataclass(frozen=True, kw_only=True)
class Market:
    """A market that can be traded or observed.

    `calendar` is `24/7` or an ISO 10383 code; `periods_per_year` is the number of daily returns in a year
    (crypto 365, equities and indices 252); `first_day` is the first UTC day for which the source has bars.
    """

    symbol: str
    name: str
    base_asset: str
    quote_asset: str
    asset_class: AssetClass
    calendar: str
    periods_per_year: int
    first_day: date


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A price at an instant.

    `change_24h_ratio` is 0.01 for +1 %, `volume_24h` counts base units; both are None where unknown.
    """

    symbol: str
    as_of: datetime
    price: float
    change_24h_ratio: float | None
    volume_24h: float | None


class MarketDataProvider(Protocol):
    """A source of markets, bars and quotes. Implementations pass providers/provider_suite.py in the tests."""

    name: str

    def fetch_markets(self, symbols: Sequence[str]) -> list[Market]:
        """One market a symbol, in the order asked.

        Raises:
            UnknownSymbolError: the source has no such market.
            TransientError: the source cannot answer now.
        """
        ...

    def fetch_bars(self, symbol: str, window: Window) -> "pd.DataFrame":
        """The finished bars of `symbol` that start inside `window`, at the finest grain the source has for it.

        Returns:
            The columns BAR_COLUMNS: `bar_start_at` UTC, `interval_seconds` int, prices in the quote asset, `adj_close`
            NaN where the source has none, `volume` in base units. No order is promised, and the values are as the
            source gave them. Empty, with the same columns, where nothing traded.

        Raises:
            UnknownSymbolError, ContractError, TransientError
        """
        ...

    def fetch_quotes(self, symbols: Sequence[str]) -> list[Quote]:
        """The latest price of each symbol, in the order asked.

        Raises:
            UnknownSymbolError, ContractError, TransientError
        """
        ...
