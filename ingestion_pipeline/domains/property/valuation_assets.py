"""The assets of the valuation: sales valued out of sample, and how true that was. No arithmetic here."""

import time

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.property.reads import PREDICTIONS_SERVICE, prediction_keys
from ingestion_pipeline.domains.property.tables import COMPS, FUNDAMENTALS
from ingestion_pipeline.domains.property.valuation_tables import PREDICTION_ACCURACY, PREDICTIONS
from ingestion_pipeline.orchestration.metadata import materialized
from ingestion_pipeline.orchestration.specs import table_asset
from ingestion_pipeline.storage.cache import Cache
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_and_forget
from ingestion_pipeline.storage.postgres import Postgres


@table_asset(PREDICTIONS, deps=[COMPS, FUNDAMENTALS])
def predictions(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], cache: dg.ResourceParam[Cache]
) -> dg.MaterializeResult:
    """One row per valued home: the sales, each as of the day before, and what jobs of type `prediction` asked for.

    Key: prediction_id. Source: property/comps and the home value index of property/fundamentals; method:
    docs/property.md. Cadence: daily; a sale that is new or was corrected since is valued once. Late sales before it do
    not change what could be known. Readers: applications, prediction_accuracy.
    """
    from ingestion_pipeline.domains.property.predict import predict_new_sales, remove_predictions_of_removed_jobs

    started, count, valued, sample = time.perf_counter(), 0, 0, None
    markets = {row["market_slug"] for row in postgres.read("property_left_markets")}
    for sample in predict_new_sales(postgres):
        count += len(sample)
        valued += int(sample["estimate_usd"].notna().sum())
        markets |= set(sample["market_slug"])
    _forget(postgres, cache, markets, context.run.run_id, count, started, event_type="predictions.refresh")
    extra = {
        "without_estimate": count - valued,
        "markets": len(markets),
        "removed": remove_predictions_of_removed_jobs(postgres),
    }
    return materialized(context, PREDICTIONS, rows=count, sample=sample, extra=extra)


@table_asset(PREDICTION_ACCURACY, deps=[PREDICTIONS])
def prediction_accuracy(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], cache: dg.ResourceParam[Cache]
) -> dg.MaterializeResult:
    """One row per day, market and property type: how true the out-of-sample valuations of the last year were.

    Key: as_of_date, market_slug, property_type, method_version; `all` stands for every market or type. Source: sales in
    property/predictions. Cadence: daily, and with jobs of type `accuracy_check`. Readers: applications.
    """
    from ingestion_pipeline.domains.property.predict import measure_accuracy

    started = time.perf_counter()
    rows = measure_accuracy(postgres, as_of=utc_now().date())
    markets = set(rows["market_slug"])
    _forget(postgres, cache, markets, context.run.run_id, len(rows), started, event_type="accuracy.refresh")
    return materialized(context, PREDICTION_ACCURACY, rows=len(rows), sample=rows)


def _forget(
    postgres: Postgres,
    cache: Cache,
    markets: set[str],
    run_id: str,
    count: int,
    started: float,
    *,
    event_type: str,
) -> None:
    """Records what was done, which tells the intake what to forget, and forgets it here."""
    event = IngestionEvent(
        event_type=event_type,
        source="valuation",
        processed_records=count,
        processing_time_ms=(time.perf_counter() - started) * 1000,
        cache_keys_invalidated=[prediction_keys(market) for market in sorted(markets)],
        dagster_run_id=run_id,
    )
    record_and_forget(postgres, cache, event, service=PREDICTIONS_SERVICE)


ASSETS = [predictions, prediction_accuracy]
