"""From the provider to good rows: fetch, judge, keep the rejects. The market domain's only calls to a provider.

A market that fails for good (unknown, garbage) does not keep the others from being ingested: it is named in the
result. A transient error stops the step, which is tried again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import structlog

from ingestion_pipeline.core.calendars import trading_sessions
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ContractError, PermanentError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.tables import MARKETS, PRICE_BARS, SNAPSHOTS
from ingestion_pipeline.providers.base import Market, MarketDataProvider, Quote
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.rejects import Reject, write_rejects

if TYPE_CHECKING:
    import pandas as pd

BARS_PER_FETCH = 2_000_000
FINEST_BARS_PER_DAY = 1_440

T = TypeVar("T")

log = structlog.get_logger(__name__)


def fetch_windows(window: Window, *, market_count: int) -> list[Window]:
    """`window` in parts small enough to hold in memory at one-minute bars, newest first."""
    days = max(1, BARS_PER_FETCH // (max(1, market_count) * FINEST_BARS_PER_DAY))
    return list(reversed(list(window.split(days=days))))


@dataclass
class Report:
    """What went wrong on the way: how many rows were rejected, and why each failed market failed."""

    rejected_rows: int = 0
    failed_markets: dict[str, str] = field(default_factory=dict)
    silent_markets: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Report") -> None:
        self.rejected_rows += other.rejected_rows
        self.failed_markets |= other.failed_markets


def fetched_markets(provider: MarketDataProvider, symbols: Sequence[str]) -> tuple[list[Market], Report]:
    """The definitions of `symbols`."""
    found, failures = _answers(symbols, provider.fetch_markets)
    return found, Report(failed_markets=failures)


def ingested_bars(
    provider: MarketDataProvider, postgres: Postgres, symbols: Sequence[str], window: Window
) -> tuple["pd.DataFrame", Report]:
    """The good bars of `symbols` in `window`; bad rows are kept in operations.rejects."""
    import pandas as pd

    from ingestion_pipeline.domains.market.transforms import judged_bars

    frames, failures = _each(symbols, lambda symbol: provider.fetch_bars(symbol, window))
    good, bad = judged_bars(pd.concat(frames, ignore_index=True), window, now=utc_now(), provider=provider.name)
    rejected = _keep(postgres, f"{provider.name}:{PRICE_BARS.path}", bad.to_dict("records"))
    return good, Report(rejected, failures)


def ingested_quotes(
    provider: MarketDataProvider, postgres: Postgres, symbols: Sequence[str]
) -> tuple[list[Quote], Report]:
    """The good quotes of `symbols`; bad ones are kept in operations.rejects."""
    from ingestion_pipeline.domains.market.transforms import judged_quotes

    quotes, failures = _answers(symbols, provider.fetch_quotes)
    good, bad = judged_quotes(quotes, now=utc_now())
    return good, Report(_keep(postgres, f"{provider.name}:{SNAPSHOTS.path}", bad), failures)


def with_kept_bars(lake: Lake, bars: "pd.DataFrame", window: Window) -> tuple["pd.DataFrame", int]:
    """`bars`, and the stored bars of every market and day for which they have none; how many those are.

    An empty answer, or a market that is no longer configured, deletes nothing.
    """
    import ibis
    import pandas as pd

    answered = ibis.memtable(bars[["symbol", "day"]].drop_duplicates(), schema={"symbol": "string", "day": "date"})
    kept = lake.read(PRICE_BARS, window).anti_join(answered, ["symbol", "day"]).execute()
    if kept.empty:
        return bars, 0
    kept["day"] = kept["day"].dt.date
    return pd.concat([bars, kept], ignore_index=True), len(kept)


def _answers(symbols: Sequence[str], ask: Callable[[Sequence[str]], list[T]]) -> tuple[list[T], dict[str, str]]:
    """Asks for all at once, and for each by itself where that fails for good."""
    try:
        return ask(symbols), {}
    except PermanentError:
        answers, failures = _each(symbols, lambda symbol: ask([symbol]))
        return [answer for part in answers for answer in part], failures


def _each(symbols: Sequence[str], ask: Callable[[str], T]) -> tuple[list[T], dict[str, str]]:
    """The answers, and why each failed market failed; raises where all did."""
    answers: list[T] = []
    failures: dict[str, PermanentError] = {}
    for symbol in symbols:
        with structlog.contextvars.bound_contextvars(market=symbol):
            try:
                answers.append(ask(symbol))
            except PermanentError as error:
                log.error("market failed", reason=str(error))  # noqa: TRY400 - the reason says it all
                failures[symbol] = error
    if failures and not answers:
        raise next(iter(failures.values()))
    return answers, {symbol: str(error) for symbol, error in failures.items()}


def known_markets(postgres: Postgres, symbols: Sequence[str] | None = None) -> "pd.DataFrame":
    """The rows of market/markets, those of `symbols` only where given.

    Raises:
        ContractError: there are none yet.
    """
    import pandas as pd

    rows = [row for row in postgres.read("markets") if symbols is None or row["symbol"] in symbols]
    if not rows:
        wanted = "market" if symbols is None else f"market of {', '.join(symbols)}"
        raise ContractError(MARKETS.qualified_name, "row count", "0", f"a {wanted}: materialize market/markets first")
    return pd.DataFrame(rows)


def known_quotes(quotes: Sequence[Quote], known: "pd.DataFrame") -> tuple[list[Quote], Report]:
    """The quotes of markets that market/markets has; a market that has just been configured may not be there yet."""
    symbols = set(known["symbol"])
    failed = {
        quote.symbol: f"{quote.symbol} is not in market/markets: materialize that first"
        for quote in quotes
        if quote.symbol not in symbols
    }
    return [quote for quote in quotes if quote.symbol in symbols], Report(failed_markets=failed)


def silent_markets(
    known: "pd.DataFrame", answered: Collection[str], window: Window, *, now: datetime
) -> dict[str, str]:
    """The markets without any bar in `window` though a session of theirs ended in it, and what to say of them."""
    silent = {}
    for symbol, calendar, first_day in known[["symbol", "calendar", "first_day"]].itertuples(index=False):
        if symbol not in answered:
            sessions = trading_sessions(calendar, window)
            due = (
                sessions[(sessions["close_at"] <= now) & (sessions["day"] >= first_day)] if len(sessions) else sessions
            )
            if len(due):
                silent[symbol] = (
                    f"{symbol} has no bar from {window.first_day} to {window.last_day}, {len(due)} sessions"
                )
    return silent


def _keep(postgres: Postgres, source: str, rows: Sequence[Mapping[str, object]]) -> int:
    rejects = [
        Reject(source, str(row["reason"]), {name: value for name, value in row.items() if name != "reason"})
        for row in rows
    ]
    if rejects:
        log.warning("rows rejected", source=source, rows=len(rejects), first_reason=rejects[0].reason)
    return write_rejects(postgres, rejects)
