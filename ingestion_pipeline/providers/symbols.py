"""What a market symbol tells by itself: asset class, calendar, and the names nearest to a misspelt one.

Belongs here: rules that more than one provider shares. Does not belong here: one provider's own identifiers.
"""

import difflib
import re
from collections.abc import Iterable
from datetime import date

from ingestion_pipeline.core.calendars import ALWAYS_OPEN
from ingestion_pipeline.core.errors import UnknownSymbolError
from ingestion_pipeline.providers.base import AssetClass, Market

US_EQUITIES = "XNYS"
CRYPTO_PERIODS_PER_YEAR = 365
EXCHANGE_PERIODS_PER_YEAR = 252

INDEX_SYMBOLS = frozenset(
    {"SP500", "SPX", "NASDAQ", "IXIC", "NDX", "DJI", "DJIA", "RUT", "VIX", "NYA", "FTSE", "DAX", "N225"}
)
_CRYPTO_PAIR = re.compile(r"[A-Z0-9]{1,20}-(USD|USDT|USDC|DAI|EUR|GBP|JPY|CHF|AUD|CAD|KRW|TRY|BRL|BTC|ETH|BNB)")
_MOST_NAMES = 3


def asset_class(symbol: str) -> AssetClass:
    """`crypto` for BASE-QUOTE in a crypto quote asset, `index` for a well-known index, else `equity`."""
    if _CRYPTO_PAIR.fullmatch(symbol):
        return "crypto"
    return "index" if symbol in INDEX_SYMBOLS else "equity"


def market(symbol: str, *, name: str, kind: AssetClass, first_day: date) -> Market:
    """A market with the calendar and the number of periods that its asset class implies."""
    is_crypto = kind == "crypto"
    base, _, quote = symbol.rpartition("-") if is_crypto else (symbol, "", "USD")
    return Market(
        symbol=symbol,
        name=name,
        base_asset=base or symbol,
        quote_asset=quote,
        asset_class=kind,
        calendar=ALWAYS_OPEN if is_crypto else US_EQUITIES,
        periods_per_year=CRYPTO_PERIODS_PER_YEAR if is_crypto else EXCHANGE_PERIODS_PER_YEAR,
        first_day=first_day,
    )


def unknown_symbol(provider: str, symbol: str, known: Iterable[str]) -> UnknownSymbolError:
    """The error that names `symbol` and the known names nearest to it."""
    nearest = difflib.get_close_matches(symbol.upper(), list(known), n=_MOST_NAMES, cutoff=0.4)
    return UnknownSymbolError(provider, symbol, tuple(nearest))
