"""The ingested property assets: apply what was delivered, fetch what is public, say what was done. No arithmetic."""

import dagster as dg

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.property import ingest
from ingestion_pipeline.domains.property.tables import (
    COMPS,
    FUNDAMENTALS,
    FUNDAMENTALS_STALENESS,
    MACRO_OBSERVATIONS,
)
from ingestion_pipeline.orchestration.metadata import materialized
from ingestion_pipeline.orchestration.specs import table_asset
from ingestion_pipeline.providers.fred import FredProvider
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import Cache
from ingestion_pipeline.storage.postgres import Postgres

DELIVERIES_JOB = "property_deliveries_job"


@table_asset(MACRO_OBSERVATIONS)
def macro_observations(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    cache: dg.ResourceParam[Cache],
    fred: dg.ResourceParam[FredProvider | None],
) -> dg.MaterializeResult:
    """One row per series, day and vintage: what the source said on which day of which day.

    Key: series_id, observation_date, vintage_date. Source: deliveries of macro.update, then FRED for FRED_SERIES where
    FRED_API_KEY is set. Missing values are NULL; a revision is a new vintage, the same value confirms the one before.
    Cadence: hourly; deliveries also within seconds, and then without FRED. Readers: applications, through
    property.macro_latest.
    """
    report = ingest.apply_macro(postgres, cache, run_id=context.run.run_id)
    if fred is not None and context.run.job_name != DELIVERIES_JOB:
        report.add(ingest.sync_fred(postgres, cache, fred, settings.fred_series, run_id=context.run.run_id))
    return _materialized(context, MACRO_OBSERVATIONS, report)


@table_asset(FUNDAMENTALS)
def fundamentals(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    cache: dg.ResourceParam[Cache],
) -> dg.MaterializeResult:
    """One row per market, metric and day: the value that its source stands by now.

    Key: market_slug, metric, as_of_date. Source: deliveries of market.fundamentals.upsert, and files of Zillow, Redfin
    and Realtor.com through `ingestion-pipeline import`. What a value was before is in property.fundamentals_revisions.
    A delivery that comes late replaces nothing newer. Cadence: seconds after a delivery. Readers: applications,
    valuation.
    """
    report = ingest.apply_fundamentals(
        postgres, cache, max_age_days=settings.fundamentals_max_staleness_days, run_id=context.run.run_id
    )
    if report.rows:
        # told anew in the same transactions; it would seem not to be built until its daily run
        context.log_event(dg.AssetMaterialization(dg.AssetKey(list(FUNDAMENTALS_STALENESS.asset_key))))
    return _materialized(context, FUNDAMENTALS, report)


@table_asset(COMPS)
def comps(
    context: dg.AssetExecutionContext,
    postgres: dg.ResourceParam[Postgres],
    cache: dg.ResourceParam[Cache],
) -> dg.MaterializeResult:
    """One row per comparable sale of a source: as the source describes it now.

    Key: source, comp_id. Source: deliveries of comps.upsert. What was said of a sale before is in
    property.comps_revisions. Cadence: seconds after a delivery. Readers: applications, valuation.
    """
    report = ingest.apply_comps(postgres, cache, run_id=context.run.run_id)
    return _materialized(context, COMPS, report)


@table_asset(FUNDAMENTALS_STALENESS, deps=[FUNDAMENTALS])
def fundamentals_staleness(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], postgres: dg.ResourceParam[Postgres]
) -> dg.MaterializeResult:
    """One row per market: how old its newest fundamental is, and whether that is too old.

    Key: market_slug. Source: property/fundamentals. Cadence: daily for all markets; a market that gets fundamentals is
    told anew with them, in the same transaction. Readers: the health endpoint, alerts.
    """
    max_age_days = settings.fundamentals_max_staleness_days
    with postgres.transaction() as connection:
        markets = ingest.write_staleness(connection, max_age_days=max_age_days)
    return materialized(context, FUNDAMENTALS_STALENESS, rows=markets)


def _materialized(context: dg.AssetExecutionContext, table: Table, report: ingest.Report) -> dg.MaterializeResult:
    return materialized(context, table, rows=report.rows.total(), extra=report.metadata)


ASSETS = [macro_observations, fundamentals, fundamentals_staleness, comps]
