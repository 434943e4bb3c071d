"""The event history: the hot log's events, enriched, in the lake. No arithmetic here."""

import dagster as dg

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.erasure import changed_days, settle_changed_days
from ingestion_pipeline.domains.events.sync import sync
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.orchestration.metadata import materialized, report_day
from ingestion_pipeline.orchestration.partitions import FIRST_DAY, partition_window
from ingestion_pipeline.orchestration.specs import table_asset
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres


@table_asset(EVENT_HISTORY)
def event_history(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """One row per accepted event, enriched with device, country and user, by the UTC day on which it happened.

    Key: event_id. Source: the hot log, events.event_log; every run brings over whatever is committed there, each event
    once, whatever partition it is started for. A day that got late events, or lost erased ones, counts as built again:
    what is derived from it is then recomputed. Cadence: twice a minute while events arrive. Readers: aggregations,
    activity, funnels, retention cohorts.
    """
    report = sync(postgres, lake, users_table=settings.events_users_table)
    changed = changed_days(postgres)  # also of a run that was killed before it could say so
    for day in sorted(it.day for it in changed if it.day >= FIRST_DAY):  # earlier ones have no partition
        report_day(context, day, rows=lake.row_counts(EVENT_HISTORY, Window.of_days(day, day)).get(day, 0))
    settle_changed_days(postgres, changed)  # the asked ones too are reported by now: the run may end here
    counts = lake.row_counts(EVENT_HISTORY, partition_window(context))
    synced = {
        "events_synced": report.rows,
        "batches": report.batches,
        "bytes_synced": report.bytes,
        "held_events": report.held,
        "days_touched": len(report.days),
    }
    return materialized(context, EVENT_HISTORY, counts=counts, extra=synced)


ASSETS = [event_history]
