"""The asset of donations: applies what Stripe delivered, says which days that changed. No arithmetic here."""

import dagster as dg

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.dirty_days import dirty_days, settle_dirty_days
from ingestion_pipeline.domains.community.donations_ledger import apply_donations
from ingestion_pipeline.domains.community.donations_tables import DONATIONS
from ingestion_pipeline.orchestration.metadata import materialized, report_day
from ingestion_pipeline.orchestration.partitions import FIRST_DAY, partition_window
from ingestion_pipeline.orchestration.specs import table_asset
from ingestion_pipeline.storage.postgres import Postgres


@table_asset(DONATIONS)
def donations(context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres]) -> dg.MaterializeResult:
    """One row per payment intent of Stripe, by the UTC day on which it was paid.

    Key: payment_intent. Source: deliveries of stripe.event; every run applies all that are due, in whatever order they
    came, whatever partition it is started for. A refund or a dispute changes the day on which the donation was paid:
    that day counts as built again, and what is derived from it is recomputed. A donation for a rule that is not known
    yet gets its author once community.rules knows it. Cadence: seconds after a delivery, and hourly. Readers:
    author_metrics_daily, notifications.
    """
    report = apply_donations(postgres, run_id=context.run.run_id)
    changed = dirty_days(postgres, DONATIONS)  # also of a run that was killed before it could say so
    reported = [it.day for it in changed if it.day >= FIRST_DAY]
    for day in reported:
        report_day(context, day, rows=postgres.row_counts(DONATIONS, Window.of_days(day, day)).get(day, 0))
    settle_dirty_days(postgres, changed)
    counts = postgres.row_counts(DONATIONS, partition_window(context))
    left_out = len(changed) - len(reported)
    extra = {**report.metadata, "days_changed": len(reported), "days_before_the_first": left_out}
    return materialized(context, DONATIONS, counts=counts, extra=extra)


ASSETS = [donations]
