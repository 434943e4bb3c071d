"""The markets that the mock provider knows: what they are and how their prices are to behave.

Belongs here: parameters. Does not belong here: how prices are made of them (mock_prices.py).
"""

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from ingestion_pipeline.core.ids import seed
from ingestion_pipeline.providers.base import AssetClass

FIRST_DAY = date(2015, 1, 1)
# Prices pass through `reference_price` at the end of this day, so that they look familiar around it.
REFERENCE_DAY = date(2025, 1, 1)


@dataclass(frozen=True)
class MockMarket:
    """`volatility_ratio` and `drift_ratio` are annual; `daily_volume` is in base units on an average day."""

    symbol: str
    name: str
    asset_class: AssetClass
    reference_price: float
    volatility_ratio: float
    drift_ratio: float
    daily_volume: float


_NAMED = (
    MockMarket("BTC-USD", "Bitcoin", "crypto", 94_000.0, 0.52, 0.30, 28_000.0),
    MockMarket("ETH-USD", "Ether", "crypto", 3_350.0, 0.66, 0.28, 310_000.0),
    MockMarket("SOL-USD", "Solana", "crypto", 192.0, 0.85, 0.35, 4_200_000.0),
    MockMarket("XRP-USD", "XRP", "crypto", 2.32, 0.80, 0.20, 900_000_000.0),
    MockMarket("LTC-USD", "Litecoin", "crypto", 104.0, 0.70, 0.10, 3_500_000.0),
    MockMarket("ADA-USD", "Cardano", "crypto", 0.92, 0.82, 0.15, 700_000_000.0),
    MockMarket("DOGE-USD", "Dogecoin", "crypto", 0.322, 0.90, 0.20, 5_000_000_000.0),
    MockMarket("SPX", "S&P 500", "index", 5_882.0, 0.16, 0.09, 3_900_000_000.0),
    MockMarket("NDX", "Nasdaq 100", "index", 21_012.0, 0.21, 0.13, 5_200_000_000.0),
    MockMarket("AAPL", "Apple", "equity", 250.4, 0.27, 0.18, 47_000_000.0),
    MockMarket("MSFT", "Microsoft", "equity", 421.5, 0.25, 0.17, 21_000_000.0),
    MockMarket("NVDA", "NVIDIA", "equity", 134.3, 0.48, 0.35, 230_000_000.0),
    MockMarket("AMZN", "Amazon", "equity", 219.4, 0.32, 0.18, 38_000_000.0),
    MockMarket("GOOG", "Alphabet", "equity", 190.4, 0.28, 0.16, 18_000_000.0),
    MockMarket("TSLA", "Tesla", "equity", 403.8, 0.60, 0.25, 80_000_000.0),
    MockMarket("IBM", "IBM", "equity", 219.8, 0.22, 0.08, 4_000_000.0),
)
NAMED = {market.symbol: market for market in _NAMED}
_NUMBERED = re.compile(r"MOCK-(?!0000)\d{4}")
_EXAMPLES = ("MOCK-0001", "MOCK-0002", "MOCK-9999")


@lru_cache(maxsize=10_000)
def mock_market(symbol: str) -> MockMarket | None:
    """The market, or None. MOCK-0001 to MOCK-9999 exist for tests of scale; each has its own level and pace."""
    if symbol in NAMED or not _NUMBERED.fullmatch(symbol):
        return NAMED.get(symbol)
    draw = seed("mock", symbol, "market")
    price = round(10.0 ** ((draw % 400) / 100), 2)
    volatility = 0.2 + (draw // 400 % 80) / 100
    return MockMarket(symbol, f"Mock {symbol[-4:]}", "crypto", price, volatility, 0.05, 1_000_000.0)


def known_symbols() -> tuple[str, ...]:
    """Names to choose the nearest from."""
    return (*NAMED, *_EXAMPLES)
