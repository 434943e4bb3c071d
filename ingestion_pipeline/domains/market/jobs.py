"""The kinds of jobs of the market domain, as both processes know them. What they do is in handlers.py."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Literal

import msgspec

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.settings import Settings

MOST_SYMBOLS = 1_000
Symbols = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=64)]], msgspec.Meta(min_length=1, max_length=MOST_SYMBOLS)
]


class MarketIngest(msgspec.Struct, forbid_unknown_fields=True):
    """Which markets of INGESTION_MARKETS, all by default, and who asked."""

    symbols: Symbols | None = None
    trigger: Literal["manual", "cron"] = "manual"


def require_known(given: MarketIngest, _: str | None, settings: Settings) -> None:
    """Refuses symbols that are not in INGESTION_MARKETS."""
    markets = settings.ingestion_markets
    if unknown := first_unknown(given.symbols or (), markets):
        index, symbol, near = unknown
        raise ContractError("market_ingest", f"input_data.symbols[{index}]", symbol, " or ".join(near or markets))


def first_unknown(symbols: Sequence[str], markets: Sequence[str]) -> tuple[int, str, list[str]] | None:
    """The first of `symbols` that is none of `markets`: its index, itself, the markets spelled most like it."""
    for index, symbol in enumerate(symbols):
        if symbol not in markets:
            return index, symbol, get_close_matches(symbol, markets)
    return None


MARKET_INGEST = JobType(
    name="market_ingest",
    summary="fetches prices of markets now and builds what is derived from them",
    input_type=MarketIngest,
    at_once=1,
    is_long=True,
    check=require_known,
)
JOB_TYPES = (MARKET_INGEST,)
