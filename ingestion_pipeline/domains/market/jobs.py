"""The kinds of jobs of the market domain, as both processes know them. What they do is in handlers.py."""

from typing import Annotated, Literal

import msgspec

from ingestion_pipeline.core.jobs import JobType

MOST_SYMBOLS = 1_000
Symbols = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=64)]], msgspec.Meta(min_length=1, max_length=MOST_SYMBOLS)
]


class MarketIngest(msgspec.Struct, forbid_unknown_fields=True):
    """Which markets of INGESTION_MARKETS, all by default, and who asked."""

    symbols: Symbols | None = None
    trigger: Literal["manual", "cron"] = "manual"


MARKET_INGEST = JobType(
    name="market_ingest",
    summary="fetches prices of markets now and builds what is derived from them",
    input_type=MarketIngest,
    at_once=1,
)
JOB_TYPES = (MARKET_INGEST,)
