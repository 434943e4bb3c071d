"""What property jobs do, on the worker's side: value homes, check the accuracy, ingest now."""

import time
from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.domains.property.automation import property_daily_job
from ingestion_pipeline.domains.property.contracts import property_type
from ingestion_pipeline.domains.property.jobs import (
    ACCURACY_CHECK,
    DATA_SYNC,
    MOST_PROPERTIES,
    PREDICTION,
    InvestmentCriteria,
    NoInput,
    PredictionInput,
    SubjectProperty,
    market_of,
)
from ingestion_pipeline.domains.property.reads import PREDICTIONS_SERVICE, accuracy, prediction_keys
from ingestion_pipeline.domains.property.valuation_automation import VALUATION_JOB
from ingestion_pipeline.domains.property.valuation_tables import ALL
from ingestion_pipeline.orchestration.jobs import JobContext, JobHandler
from ingestion_pipeline.orchestration.runs import Outcome
from ingestion_pipeline.storage.cache import invalidate
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_ingestion

if TYPE_CHECKING:
    import pandas as pd

SOURCE = "predict-properties-api"
SHOWN_PREDICTIONS = 100
_BOUNDS = ("price_usd", "bedrooms", "bathrooms", "living_area_sqft")


def prediction(context: JobContext, given: PredictionInput) -> Mapping[str, Any]:
    """Values homes as of today; `predictions` are the first 100 in the order asked for, all are stored.

    Raises:
        ContractError: the job names no market.
    """
    from ingestion_pipeline.domains.property.predict import predict
    from ingestion_pipeline.domains.property.valuation import METHOD_VERSION

    started, today = time.perf_counter(), utc_now().date()
    market_slug = market_of(given, context.job.market_slug)
    subjects = _subjects(context, given, market_slug, today)
    rows = _fitting(subjects, given.investment_criteria) if len(subjects) else subjects
    shown: list[dict[str, Any]] = []
    count = 0
    if len(rows):
        context.stop_if_cancelled()
        found = predict(context.postgres, market_slug, rows, on=today, job_id=context.job.job_id)
        count = int(found["estimate_usd"].notna().sum())
        shown = [_shown(*pair) for pair in zip(_records(rows), _records(found), strict=True)][:SHOWN_PREDICTIONS]
    output = {
        "predictions_count": count,
        "without_estimate_count": len(rows) - count,
        "market_slug": market_slug,
        "valuation_date": today.isoformat(),
        "method_version": METHOD_VERSION,
        "predictions": shown,
    }
    event = IngestionEvent(
        event_type="api.prediction",
        market_slug=market_slug,
        source=SOURCE,
        processed_records=count,
        processing_time_ms=(time.perf_counter() - started) * 1000,
        cache_keys_invalidated=[prediction_keys(market_slug)],
        provenance={"city": given.city, "asked": len(rows), "method_version": METHOD_VERSION},
        job_id=context.job.job_id,
    )
    with context.postgres.transaction() as connection:
        record_ingestion(connection, event)
        context.complete(connection, output)
    invalidate(context.cache, event.cache_keys_invalidated, service=PREDICTIONS_SERVICE)
    return output


def accuracy_check(context: JobContext, _: NoInput) -> Mapping[str, Any]:
    """Runs the valuation of new sales, and answers with the figures of the job's market, or of all markets."""
    outcome = context.run(VALUATION_JOB)
    figures = accuracy(context.postgres, context.job.market_slug or ALL)
    as_of = figures[0]["as_of_date"] if figures else None
    return {"as_of_date": as_of, "market_slug": context.job.market_slug, "accuracy": figures, **_rows(outcome)}


def data_sync(context: JobContext, _: NoInput) -> Mapping[str, Any]:
    """Builds every property asset, which is to apply all deliveries and fetch all series; answers with their rows."""
    return _rows(context.run(property_daily_job.name))


HANDLERS: Mapping[JobType, JobHandler] = {
    PREDICTION: prediction,
    ACCURACY_CHECK: accuracy_check,
    DATA_SYNC: data_sync,
}


def _subjects(context: JobContext, given: PredictionInput, market_slug: str, today: date) -> "pd.DataFrame":
    """The properties, or the market's sales that COMPS_RECENT_DAYS calls recent, newest first."""
    import pandas as pd

    from ingestion_pipeline.domains.property import predict

    if given.properties is not None:
        return predict.subject_frame([_subject(it) for it in given.properties])
    after = today - timedelta(days=context.settings.comps_recent_days)
    wanted = given.investment_criteria.property_type
    types = context.postgres.read("property_types", {"market_slug": market_slug, "after": after})
    kinds = [row["property_type"] for row in types if wanted is None or row["property_type"] == property_type(wanted)]
    sales = [predict.sales_of(context.postgres, market_slug, kind, after=after) for kind in kinds]
    if not sales:
        return predict.subject_frame([])
    recent = pd.concat(sales, ignore_index=True).sort_values(["sale_date", "subject_id"], ascending=[False, True])
    return recent.reset_index(drop=True)


def _subject(given: SubjectProperty) -> dict[str, Any]:
    fields = {name: getattr(given, name) for name in given.__struct_fields__}
    kind = property_type(given.property_type)
    return fields | {"subject_id": fields.pop("property_id"), "property_type": kind}


def _fitting(subjects: "pd.DataFrame", criteria: InvestmentCriteria) -> "pd.DataFrame":
    """The first 1,000 of `subjects` that fit; a bound rules out what does not say whether it is within."""
    rows = subjects.assign(price_usd=_prices(subjects))
    if criteria.property_type is not None:
        rows = rows[rows["property_type"] == property_type(criteria.property_type)]
    for name in _BOUNDS:
        lowest, highest = getattr(criteria, f"min_{name}"), getattr(criteria, f"max_{name}")
        if lowest is not None:
            rows = rows[rows[name].astype("float64") >= lowest]
        if highest is not None:
            rows = rows[rows[name].astype("float64") <= highest]
    return rows.head(MOST_PROPERTIES).reset_index(drop=True)


def _prices(subjects: "pd.DataFrame") -> "pd.Series[Any]":
    """What is asked for a home, else what was paid."""
    name = "list_price_usd" if "list_price_usd" in subjects else "sale_price_usd"
    return subjects[name].astype("float64")


def _records(rows: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows as JSON has them: what is not known is None."""
    plain = rows.astype("object").where(rows.notna(), None)
    return [dict(record) for record in plain.to_dict("records")]


def _shown(subject: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    estimate, price = found["estimate_usd"], subject["price_usd"]
    return {
        "subject_id": found["subject_id"],
        "address": subject["address"],
        "estimate_usd": _cents(estimate),
        "low_usd": _cents(found["low_usd"]),
        "high_usd": _cents(found["high_usd"]),
        "comp_count": found["comp_count"],
        "confidence_ratio": round(found["confidence_ratio"], 4),
        "filter_step": found["filter_step"],
        "time_adjustment": found["time_adjustment"],
        "price_usd": price,
        "upside_ratio": None if estimate is None or price is None else round(estimate / price - 1, 4),
    }


def _cents(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _rows(outcome: Outcome) -> dict[str, Any]:
    return {"rows": {asset: it.rows for asset, it in sorted(outcome.assets.items())}}
