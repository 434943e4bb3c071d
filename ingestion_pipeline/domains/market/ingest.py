"""From the provider to good rows: fetch, judge, keep the rejects. The market domain's only calls to a provider."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.tables import MARKETS, PRICE_BARS, SNAPSHOTS
from ingestion_pipeline.domains.market.transforms import judged_bars, judged_quotes
from ingestion_pipeline.providers.base import MarketDataProvider, Quote
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.rejects import Reject, write_rejects

if TYPE_CHECKING:
    import pandas as pd

BARS_PER_FETCH = 2_000_000
FINEST_BARS_PER_DAY = 1_440

log = structlog.get_logger(__name__)


def fetch_windows(window: Window, *, market_count: int) -> list[Window]:
    """`window` in parts small enough to hold in memory at one-minute bars, newest first."""
    days = max(1, BARS_PER_FETCH // (max(1, market_count) * FINEST_BARS_PER_DAY))
    return list(reversed(list(window.split(days=days))))


def ingested_bars(
    provider: MarketDataProvider, postgres: Postgres, symbols: Sequence[str], window: Window
) -> tuple["pd.DataFrame", int]:
    """The good bars of `symbols` in `window`, and how many were rejected and kept in operations.rejects."""
    import pandas as pd

    parts = []
    for symbol in symbols:
        bars = provider.fetch_bars(symbol, window)
        log.debug("bars fetched", market=symbol, rows=len(bars), provider=provider.name)
        parts.append(bars)
    good, bad = judged_bars(pd.concat(parts, ignore_index=True), window, now=utc_now(), provider=provider.name)
    return good, _keep(postgres, f"{provider.name}:{PRICE_BARS.path}", bad.to_dict("records"))


def ingested_quotes(
    provider: MarketDataProvider, postgres: Postgres, symbols: Sequence[str]
) -> tuple[list[Quote], int]:
    """The good quotes of `symbols`, and how many were rejected and kept in operations.rejects."""
    good, bad = judged_quotes(provider.fetch_quotes(symbols), now=utc_now())
    return good, _keep(postgres, f"{provider.name}:{SNAPSHOTS.path}", bad)


def known_markets(postgres: Postgres) -> "pd.DataFrame":
    """The rows of market/markets.

    Raises:
        ContractError: there are none yet.
    """
    import pandas as pd

    rows = postgres.read("markets")
    if not rows:
        raise ContractError(MARKETS.qualified_name, "row count", "0", "one or more: materialize market/markets first")
    return pd.DataFrame(rows)


def _keep(postgres: Postgres, source: str, rows: Sequence[Mapping[str, object]]) -> int:
    rejects = [
        Reject(source, str(row["reason"]), {name: value for name, value in row.items() if name != "reason"})
        for row in rows
    ]
    if rejects:
        log.warning("rows rejected", source=source, rows=len(rejects), first_reason=rejects[0].reason)
    return write_rejects(postgres, rejects)
