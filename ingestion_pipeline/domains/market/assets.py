"""The market assets: load, call a transform, store, say what was done. No arithmetic here."""

import time
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market import ingest
from ingestion_pipeline.domains.market.reads import AGGREGATE_KEYS, LATEST_KEYS, SERVICE
from ingestion_pipeline.domains.market.tables import (
    BASE_PRICE_MAX_AGE_DAYS,
    COMPARISON_WINDOW_DAYS,
    COMPARISONS,
    GRAIN_SECONDS,
    GRAINS,
    MARKETS,
    OHLC_DAILY,
    OHLC_HOURLY,
    OHLC_WEEKLY,
    PRICE_BARS,
    ROI_STATISTICS,
    ROI_WINDOWS_DAYS,
    SNAPSHOTS,
)
from ingestion_pipeline.orchestration.metadata import materialized, picture
from ingestion_pipeline.orchestration.partitions import partition_window
from ingestion_pipeline.orchestration.specs import OwnCheck, lookback, table_asset
from ingestion_pipeline.providers.base import MarketDataProvider
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import Cache
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_and_forget
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

if TYPE_CHECKING:
    import pandas as pd

COMPARISONS_LOOK_BACK_DAYS = COMPARISON_WINDOW_DAYS + BASE_PRICE_MAX_AGE_DAYS
STATISTICS_LOOK_BACK_DAYS = max(ROI_WINDOWS_DAYS) + BASE_PRICE_MAX_AGE_DAYS
DAYS_PER_PART = 366
PAIR_ROWS_PER_PART = 2_000_000
ANSWERED = OwnCheck("answered", "The provider answered for every configured market.")


@table_asset(MARKETS, own_checks=[ANSWERED])
def markets(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    provider: dg.ResourceParam[MarketDataProvider],
    postgres: dg.ResourceParam[Postgres],
) -> dg.MaterializeResult:
    """One row per configured market.

    Key: symbol. Source: the provider, for INGESTION_MARKETS. Cadence: with every snapshot. A market that is no longer
    configured stays: its history refers to it. Readers: every other market asset.
    """
    from ingestion_pipeline.domains.market.transforms import market_rows

    found, report = ingest.fetched_markets(provider, settings.ingestion_markets)
    rows = market_rows(found, provider=provider.name)
    postgres.upsert(MARKETS, rows)
    return materialized(context, MARKETS, rows=len(rows), sample=rows, checks=[_answered(MARKETS, report)])


@table_asset(PRICE_BARS, deps=[MARKETS], own_checks=[ANSWERED])
def price_bars(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    provider: dg.ResourceParam[MarketDataProvider],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """One row per market per finest bar of the provider.

    Key: symbol, bar_start_at. Source: the provider. Cadence: hourly for the running UTC day; building a day again
    replaces the bars of each market that the provider answers for, so late bars arrive and an empty answer deletes
    nothing. Bad bars go to operations.rejects. Readers: OHLC.
    """
    window, report, kept_rows, sample = partition_window(context), ingest.Report(), 0, None
    answered: set[str] = set()
    for part in ingest.fetch_windows(window, market_count=len(settings.ingestion_markets)):
        bars, part_report = ingest.ingested_bars(provider, postgres, settings.ingestion_markets, part)
        with postgres.exclusive(PRICE_BARS.qualified_name):
            rows, kept = ingest.with_kept_bars(lake, bars, part)
            lake.replace(PRICE_BARS, rows, part)
        report.add(part_report)
        kept_rows += kept
        answered |= set(rows["symbol"])
        sample = bars if sample is None else sample
    known = ingest.known_markets(postgres, settings.ingestion_markets)
    report.silent_markets = ingest.silent_markets(known, answered, window, now=utc_now())
    counts = lake.row_counts(PRICE_BARS, window)
    extra = {"rejected_rows": report.rejected_rows, "kept_rows": kept_rows}
    checks = [_answered(PRICE_BARS, report)]
    return materialized(context, PRICE_BARS, counts=counts, sample=sample, extra=extra, checks=checks)


@table_asset(OHLC_HOURLY, deps=[MARKETS, PRICE_BARS])
def ohlc_hourly(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per market per UTC hour with a bar.

    Key: symbol, bar_start_at. Source: market/price_bars of at most one hour. A gap is flagged, never filled.
    Readers: applications.
    """
    return _ohlc(context, postgres, lake, source=PRICE_BARS, target=OHLC_HOURLY)


@table_asset(OHLC_DAILY, deps=[MARKETS, PRICE_BARS])
def ohlc_daily(
    context: dg.AssetExecutionContext,
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
    cache: dg.ResourceParam[Cache],
) -> dg.MaterializeResult:
    """One row per market per UTC day with a bar.

    Key: symbol, bar_start_at. Source: market/price_bars. The running day is there, flagged incomplete. Forgets the
    cached aggregates. Readers: weekly bars, statistics, comparisons, snapshots.
    """
    started = time.perf_counter()
    result = _ohlc(context, postgres, lake, source=PRICE_BARS, target=OHLC_DAILY)
    rows = sum(lake.row_counts(OHLC_DAILY, partition_window(context)).values())
    _record(context, postgres, cache, OHLC_DAILY, AGGREGATE_KEYS, rows=rows, started=started)
    return result


@table_asset(OHLC_WEEKLY, deps=[MARKETS, OHLC_DAILY])
def ohlc_weekly(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per market per week, Monday to Sunday UTC, with a bar.

    Key: symbol, bar_start_at. Source: market/ohlc_daily. Cadence: hourly for the running week. Readers: applications.
    """
    return _ohlc(context, postgres, lake, source=OHLC_DAILY, target=OHLC_WEEKLY)


@table_asset(SNAPSHOTS, deps=[MARKETS, lookback(OHLC_DAILY)], own_checks=[ANSWERED])
def snapshots(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    provider: dg.ResourceParam[MarketDataProvider],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
    cache: dg.ResourceParam[Cache],
) -> dg.MaterializeResult:
    """One row per market per instant at which its price was true.

    Key: symbol, as_of: the same price seen twice is one row. Source: the provider's quote; volatility and ROI
    from market/ohlc_daily. Cadence: INGESTION_CRON_EXPRESSION. Forgets the cached latest values.
    """
    from ingestion_pipeline.domains.market import transforms

    started = time.perf_counter()
    quotes, report = ingest.ingested_quotes(provider, postgres, settings.ingestion_markets)
    known = ingest.known_markets(postgres, settings.ingestion_markets)
    quotes, unknown = ingest.known_quotes(quotes, known)
    report.add(unknown)
    history = transforms.snapshot_history(quotes, lookback_days=settings.ingestion_lookback_days)
    rows = transforms.snapshots(
        quotes,
        lake.read(OHLC_DAILY, history).execute(),
        known,
        lookback_days=settings.ingestion_lookback_days,
        provider=provider.name,
    )
    postgres.upsert(SNAPSHOTS, rows)
    _record(context, postgres, cache, SNAPSHOTS, LATEST_KEYS, rows=len(rows), report=report, started=started)
    extra = {"rejected_rows": report.rejected_rows}
    return materialized(
        context, SNAPSHOTS, rows=len(rows), sample=rows, extra=extra, checks=[_answered(SNAPSHOTS, report)]
    )


@table_asset(COMPARISONS, deps=[lookback(OHLC_DAILY, days=COMPARISONS_LOOK_BACK_DAYS)])
def comparisons(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """One row per UTC day per pair of configured markets with a close in the last thirty days.

    Key: as_of_date, base_symbol, quote_symbol. Source: market/ohlc_daily. Definitions: docs/market.md.
    """
    from ingestion_pipeline.domains.market import comparisons as compare

    window, sample = partition_window(context), None
    counts: dict[date, int] = {}
    known = ingest.known_markets(postgres, settings.ingestion_markets)
    market_count = len(known)
    days = max(1, min(DAYS_PER_PART, PAIR_ROWS_PER_PART // max(1, market_count * market_count // 2)))
    for part in window.split(days=days):
        closes = _closes(lake, known, part.widened(before=timedelta(days=COMPARISONS_LOOK_BACK_DAYS)))
        rows = compare.comparisons(closes, as_of_days=part.days(), window_days=COMPARISON_WINDOW_DAYS)
        postgres.replace(COMPARISONS, rows, part)
        counts |= _day_counts(rows)
        sample = rows if len(rows) else sample
    return materialized(context, COMPARISONS, counts=counts, sample=sample)


@table_asset(ROI_STATISTICS, deps=[MARKETS, lookback(OHLC_DAILY, days=STATISTICS_LOOK_BACK_DAYS)])
def roi_statistics(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """One row per UTC day per configured market per window of 7, 30, 90 and 365 days.

    Key: as_of_date, symbol, window_days. Source: market/ohlc_daily, adjusted closes where there are any. Definitions:
    docs/market.md; undefined is NULL.
    """
    from ingestion_pipeline.domains.market import statistics

    window, sample = partition_window(context), None
    counts: dict[date, int] = {}
    known = ingest.known_markets(postgres, settings.ingestion_markets)
    for part in window.split(days=DAYS_PER_PART):
        closes = _closes(lake, known, part.widened(before=timedelta(days=STATISTICS_LOOK_BACK_DAYS)))
        rows = statistics.roi_statistics(closes, known, as_of_days=part.days(), risk_free_rate=settings.risk_free_rate)
        postgres.replace(ROI_STATISTICS, rows, part)
        counts |= _day_counts(rows)
        sample = rows if len(rows) else sample
    return materialized(context, ROI_STATISTICS, counts=counts, sample=sample)


def _ohlc(
    context: dg.AssetExecutionContext, postgres: Postgres, lake: Lake, *, source: Table, target: Table
) -> dg.MaterializeResult:
    """Builds the OHLC table `target` from `source`, part by part."""
    import ibis

    from ingestion_pipeline.domains.market import transforms

    grain = GRAINS[target.name]
    last_finished = utc_now() - timedelta(seconds=GRAIN_SECONDS[grain])
    window, coverage, sample = partition_window(context), transforms.BarCoverage(), None
    known = ingest.known_markets(postgres)
    expected = transforms.expected_sessions(known["calendar"], window, grain)
    listed, sessions = ibis.memtable(known[["symbol", "calendar"]]), ibis.memtable(expected)
    for part in lake.chunks(source, window, unit_days=7 if grain == "week" else 1):
        bars = transforms.ohlc(lake.read(source, part), listed, sessions, grain=grain).to_pyarrow()
        lake.replace(target, bars, part)
        frame = bars.to_pandas().sort_values(["bar_start_at", "symbol"])
        own = expected[(expected["bucket_at"] >= part.start) & (expected["bucket_at"] < part.end)]
        coverage += transforms.bar_coverage(frame, known, own, until=last_finished)
        sample = frame if len(frame) else sample
    extra: dict[str, Any] = {} if coverage.gap_ratio is None else {"gap_ratio": coverage.gap_ratio}
    if sample is not None:
        symbol = sample["symbol"].min()
        extra["price_chart"] = picture(f"{symbol} close", sample.loc[sample["symbol"] == symbol, "close"].tolist())
    return materialized(context, target, counts=lake.row_counts(target, window), sample=sample, extra=extra)


def _record(
    context: dg.AssetExecutionContext,
    postgres: Postgres,
    cache: Cache,
    table: Table,
    keys: str,
    *,
    rows: int,
    started: float,
    report: ingest.Report | None = None,
) -> None:
    """Writes down what was ingested and forgets the cached values it makes old, here and in the intake."""
    report = report or ingest.Report()
    event = IngestionEvent(
        event_type=f"market.{table.name}",
        source="provider" if table is SNAPSHOTS else PRICE_BARS.path,
        status="partial" if report.failed_markets or report.rejected_rows else "success",
        processed_records=rows,
        rejected_records=report.rejected_rows,
        processing_time_ms=(time.perf_counter() - started) * 1000,
        cache_keys_invalidated=[keys],
        provenance={"failed_markets": report.failed_markets},
        dagster_run_id=context.run.run_id,
    )
    record_and_forget(postgres, cache, event, service=SERVICE)


def _closes(lake: Lake, known: "pd.DataFrame", window: Window) -> "pd.DataFrame":
    """The daily bars of the `known` markets."""
    rows = lake.read(OHLC_DAILY, window)
    return rows.filter(rows.symbol.isin(known["symbol"].tolist())).execute()


def _answered(table: Table, report: ingest.Report) -> dg.AssetCheckResult:
    """Did the provider answer for every configured market? A failed one is an error, a silent one a warning."""
    reasons = report.failed_markets | report.silent_markets
    return dg.AssetCheckResult(
        check_name=ANSWERED.name_for(table),
        passed=not reasons,
        severity=dg.AssetCheckSeverity.ERROR if report.failed_markets else dg.AssetCheckSeverity.WARN,
        description="; ".join(reasons.values()) or None,
        metadata={"markets": ", ".join(reasons)},
    )


def _day_counts(rows: "pd.DataFrame") -> dict[date, int]:
    return {day.date(): int(count) for day, count in rows.groupby("as_of_date").size().items()}


ASSETS = [markets, price_bars, ohlc_hourly, ohlc_daily, ohlc_weekly, snapshots, comparisons, roi_statistics]
