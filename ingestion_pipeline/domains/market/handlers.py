"""What the market domain's jobs do, by type: `market_ingest` runs the same Dagster jobs as the schedules.

Belongs here: from a job's input to runs, and from what they stored to S1's counts. Does not belong here: what the runs
build (assets.py), when they run by themselves (automation.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, UnknownSymbolError
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market.automation import DAILY_TABLES
from ingestion_pipeline.domains.market.jobs import MARKET_INGEST, MarketIngest, first_unknown
from ingestion_pipeline.domains.market.tables import (
    MARKETS,
    OHLC_DAILY,
    OHLC_HOURLY,
    OHLC_WEEKLY,
    SNAPSHOTS,
)
from ingestion_pipeline.orchestration.derived import asset_keys
from ingestion_pipeline.orchestration.jobs import JobContext, JobHandler
from ingestion_pipeline.orchestration.partitions import (
    DAILY,
    WEEKLY,
    TimePartitions,
    due_range,
    lookback_partitions,
    range_tags,
)
from ingestion_pipeline.orchestration.runs import Outcome
from ingestion_pipeline.orchestration.staleness import Builds
from ingestion_pipeline.providers.bars import empty_bars
from ingestion_pipeline.providers.base import Market, MarketDataProvider, Quote
from ingestion_pipeline.providers.catalogue import provider
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.breakers import PostgresBreaker
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

_COMPARISON_COUNT = """
select count(*) from market.comparisons
where
    as_of_date between %(first)s and %(last)s
    and (base_symbol = any(%(symbols)s) or quote_symbol = any(%(symbols)s))
"""
_STATISTIC_COUNT = """
select count(*) from market.roi_statistics
where as_of_date between %(first)s and %(last)s and symbol = any(%(symbols)s)
"""


@dataclass(frozen=True)
class OnlyMarkets:
    """A provider that is asked for `symbols` and has nothing of the others: what is stored of those is kept.

    `before` is called before each question; what it raises ends the asking.
    """

    source: MarketDataProvider
    symbols: Collection[str]
    before: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        return self.source.name

    def fetch_markets(self, symbols: Sequence[str]) -> list[Market]:
        return self.source.fetch_markets(self._chosen(symbols))

    def fetch_bars(self, symbol: str, window: Window) -> "pd.DataFrame":
        self.before()
        return self.source.fetch_bars(symbol, window) if symbol in self.symbols else empty_bars(symbol)

    def fetch_quotes(self, symbols: Sequence[str]) -> list[Quote]:
        return self.source.fetch_quotes(self._chosen(symbols))

    def _chosen(self, symbols: Sequence[str]) -> list[str]:
        self.before()
        return [symbol for symbol in symbols if symbol in self.symbols]


def market_ingest(context: JobContext, given: MarketIngest) -> dict[str, Any]:
    """Builds the running day and week, with what is not settled of the lookback, and takes snapshots; S1's counts.

    Of the running day only the asked markets are fetched. An earlier day that is not settled is built for all: once it
    is, no schedule fetches it again.
    """
    started_at = utc_now()
    symbols = _asked(given, context.settings)
    source = provider(context.settings, breaker=PostgresBreaker(context.postgres))
    only = OnlyMarkets(source, frozenset(symbols), context.stop_run_if_cancelled)
    first, last = _due(context, DAILY_TABLES, DAILY, now=started_at)
    all_markets = frozenset(context.settings.ingestion_markets)
    resources = {"provider": only if first == last else replace(only, symbols=all_markets)}
    context.run("market_daily_job", tags=range_tags(first, last), resources=resources)
    first_week, last_week = _due(context, (OHLC_WEEKLY,), WEEKLY, now=started_at)
    context.run("market_weekly_job", tags=range_tags(first_week, last_week))
    taken = context.run("market_snapshots_job", resources={"provider": only})
    days, weeks = Window.of_days(first, last), Window.of_days(first_week, last_week + timedelta(days=6))
    return {
        "marketsIngested": _rows(taken, MARKETS),
        "snapshotsIngested": _rows(taken, SNAPSHOTS),
        "aggregatesIngested": sum(
            _bar_count(context.lake, table, window, symbols)
            for table, window in ((OHLC_HOURLY, days), (OHLC_DAILY, days), (OHLC_WEEKLY, weeks))
        ),
        "comparisonsIngested": _count(context.postgres, _COMPARISON_COUNT, days, symbols),
        "roiStatsIngested": _count(context.postgres, _STATISTIC_COUNT, days, symbols),
        "startedAt": _instant(started_at),
        "completedAt": _instant(utc_now()),
        "trigger": given.trigger,
    }


HANDLERS: Mapping[JobType, JobHandler] = {MARKET_INGEST: market_ingest}


def _asked(given: MarketIngest, settings: Settings) -> list[str]:
    if given.symbols is None:
        return list(settings.ingestion_markets)
    if unknown := first_unknown(given.symbols, settings.ingestion_markets):
        _, symbol, near = unknown
        raise UnknownSymbolError(settings.ingestion_provider, symbol, near)
    return sorted(set(given.symbols))


def _due(
    context: JobContext, tables: Collection[Table], partitions: TimePartitions, *, now: datetime
) -> tuple[date, date]:
    """The first partition of the lookback that is not settled, and the running one."""
    lookback_days = context.settings.ingestion_lookback_days
    days = lookback_partitions(partitions, now=now, lookback_days=lookback_days)
    builds = Builds(context.instance, context.repository.asset_graph)
    settled = builds.settled(asset_keys(tables), days, now=now)
    span = due_range(partitions, settled, now=now, lookback_days=lookback_days)
    if span is None:
        first_day = str(context.settings.ingestion_first_day)
        raise ConfigurationError("INGESTION_FIRST_DAY", first_day, "a day that is not in the future")
    return span


def _rows(outcome: Outcome, table: Table) -> int:
    return outcome.assets[table.path].rows


def _bar_count(lake: Lake, table: Table, window: Window, symbols: Sequence[str]) -> int:
    rows = lake.read(table, window)
    return int(rows.filter(rows.symbol.isin(symbols)).count().execute())


def _count(postgres: Postgres, statement: str, window: Window, symbols: Sequence[str]) -> int:
    parameters = {"first": window.first_day, "last": window.last_day, "symbols": list(symbols)}
    with postgres.transaction() as connection:
        row = connection.execute(statement.encode(), parameters).fetchone()
    return int(row[0]) if row else 0


def _instant(instant: datetime) -> str:
    """As JavaScript spells it."""
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
