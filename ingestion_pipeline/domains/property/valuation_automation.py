"""The job of the valuation by itself, for jobs of type `accuracy_check`; daily it is part of property_daily_job."""

import dagster as dg

from ingestion_pipeline.domains.property.valuation_tables import PREDICTION_ACCURACY, PREDICTIONS
from ingestion_pipeline.orchestration.schedules import selection

VALUATION_JOB = "property_valuation_job"

property_valuation_job = dg.define_asset_job(
    VALUATION_JOB,
    selection=selection(PREDICTIONS, PREDICTION_ACCURACY),
    description="Values the sales that are new since, out of sample, and measures how true all of the last year were.",
)

JOBS = [property_valuation_job]
