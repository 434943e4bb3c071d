"""The sales assets: fetch rates, apply them to the ledger, sum it up by day and month, say what is covered.

The ledger's rows themselves are stored by jobs, report by report (ledger.py). No arithmetic here: the sums are the
database functions sales.build_daily, sales.build_monthly and sales.build_coverage, month by month where it stands.
"""

import dagster as dg
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.sales.rates import apply_rates, needs_rates, store_rates
from ingestion_pipeline.domains.sales.rates_ecb import ecb_rates
from ingestion_pipeline.domains.sales.tables import (
    COVERAGE,
    EXCHANGE_RATES,
    SALES_DAILY,
    SALES_EVENTS,
    SALES_MONTHLY,
)
from ingestion_pipeline.orchestration.metadata import materialized
from ingestion_pipeline.orchestration.specs import table_asset
from ingestion_pipeline.providers.exchange_rates import ExchangeRatesFile
from ingestion_pipeline.storage.postgres import Postgres

MONTHS_AT_ONCE = 50
_REPORTS = "select count(*), max(exported_at) from sales.report_files where status = 'ingested'"

_log = structlog.get_logger(__name__)


@table_asset(EXCHANGE_RATES)
def exchange_rates(
    context: dg.AssetExecutionContext,
    postgres: dg.ResourceParam[Postgres],
    rates_file: dg.ResourceParam[ExchangeRatesFile],
) -> dg.MaterializeResult:
    """One row per currency and day: what one unit is worth in dollars.

    Key: currency, rate_date. Source: SALES_RATES_URL, the reference rates of the European Central Bank or a file of the
    same shape; cross rates of one day. No row where the source has no rate: weekends, holidays, currencies that it does
    not quote. Cadence: daily, after the bank's 16:00 (Frankfurt); not asked while all of the ledger is in dollars.
    Readers: sales_events.
    """
    with postgres.transaction() as connection:
        if not needs_rates(connection):
            return materialized(context, EXCHANGE_RATES, rows=0, extra={"source": "not asked: no row needs a rate"})
    rates = ecb_rates(rates_file.fetch(), rates_file.source)
    with postgres.transaction() as connection:
        changed = store_rates(connection, rates, source=rates_file.source)
    extra = {"source": rates_file.source, "rates_published": rates.num_rows}
    return materialized(context, EXCHANGE_RATES, rows=changed, extra=extra)


@table_asset(SALES_EVENTS, deps=[EXCHANGE_RATES])
def sales_events(context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres]) -> dg.MaterializeResult:
    """One row per line of a platform's report: the ledger.

    Key: owner_id, platform, natural_key: overlapping exports count once. Source: jobs of type platform_ingest, each
    report in one transaction; here rows get the exchange rates that have changed. Late data: a newer export replaces
    older rows, a final month supersedes its estimates (docs/sales-ledger.md). Cadence: within a minute after reports,
    and daily. Readers: sales_daily, applications.
    """
    with postgres.transaction() as connection:
        rated = apply_rates(connection)
        reports, newest = connection.execute(_REPORTS).fetchall()[0]
    extra = {"reports": reports, "newest_export": str(newest), "rates_wait_for_a_report": rated is None}
    return materialized(context, SALES_EVENTS, rows=rated, extra=extra)


@table_asset(SALES_DAILY, deps=[SALES_EVENTS])
def sales_daily(context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres]) -> dg.MaterializeResult:
    """One row per day, owner, platform, title, format, country and currency with sales.

    Key: day, period_days, owner_id, platform, title_id, format, country, currency. Source: the rows of sales_events
    that are counted. What a report states of a longer period (a final month of KDP, a window of Apple) stands on
    its first day, with period_days: where period_days = 1 the day is known. Cadence: months that have changed, within a
    minute. Readers: sales_monthly, applications.
    """
    months, rows = _built(postgres, "select months, row_count from sales.build_daily(%s)")
    return materialized(context, SALES_DAILY, rows=rows, extra={"months_built": months})


@table_asset(SALES_MONTHLY, deps=[SALES_DAILY])
def sales_monthly(context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres]) -> dg.MaterializeResult:
    """One row per month, owner, platform, title, format, country and currency with sales.

    Key: month, owner_id, platform, title_id, format, country, currency. Source: sales_daily. A window across months
    counts in the month in which it begins. Cadence: months that have changed, within a minute. Readers: coverage,
    applications.
    """
    months, rows = _built(postgres, "select months, row_count from sales.build_monthly(%s)")
    return materialized(context, SALES_MONTHLY, rows=rows, extra={"months_built": months})


@table_asset(COVERAGE, deps=[SALES_MONTHLY])
def coverage(context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres]) -> dg.MaterializeResult:
    """One row per month, owner and platform since the first report: final, estimate or missing.

    Key: month, owner_id, platform. Source: the periods of the reports, and sales_monthly. A final month without sales
    is final, not missing; the running month is never final. Cadence: with every change of the ledger, and daily.
    Readers: applications, people who wonder what to export next.
    """
    with postgres.transaction() as connection:
        ((rows,),) = connection.execute("select sales.build_coverage(%s)", [utc_now().date()]).fetchall()
        states = connection.execute("select state, count(*) from sales.coverage group by state").fetchall()
    return materialized(context, COVERAGE, rows=rows, extra={f"months_{state}": count for state, count in states})


def _built(postgres: Postgres, statement: str) -> tuple[int, int]:
    """Months and rows that were built, some months a transaction: a run that breaks off has kept what it did."""
    months = rows = 0
    while True:
        with postgres.transaction() as connection:
            ((some_months, some_rows),) = connection.execute(statement.encode(), [MONTHS_AT_ONCE]).fetchall()
        if not some_months:
            return months, rows
        months, rows = months + some_months, rows + some_rows
        _log.debug("months of sales built", months=months, rows=rows)


ASSETS = [exchange_rates, sales_events, sales_daily, sales_monthly, coverage]
