"""The assets of the daily rollups: load, call a pure function, replace the day. No arithmetic here.

Days of which events have expired are not built again: their rows stay as they are (docs/events.md).
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

import dagster as dg

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.community.abuse import limits_of
from ingestion_pipeline.domains.community.content_tables import RULES
from ingestion_pipeline.domains.community.donations_tables import DONATIONS
from ingestion_pipeline.domains.community.rollup_days import (
    first_rollable_day,
    locked_day,
    rolled_authors,
    rolled_rules,
    stored_metrics,
)
from ingestion_pipeline.domains.community.rollup_rows import Changes, replaced
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_EVENTS,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.orchestration.metadata import materialized
from ingestion_pipeline.orchestration.partitions import partition_window
from ingestion_pipeline.orchestration.specs import table_asset
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

_EXCLUDED = (
    "select reason, sum(events)::bigint from community.excluded_events_daily where day between %s and %s "
    "group by reason order by reason"
)


@table_asset(RULE_METRICS_DAILY, deps=[RULE_EVENTS, RULES])
def rule_metrics_daily(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """One row per UTC day and rule with an event on it: what counted, points, trending score, how much did not count.

    Key: day, rule_id. Source: events/event_history of the day, authors of community/rules. Flags of bots and abuse are
    applied here, by the limits of now. Cadence: hourly for the running day; a day with late events again. Readers:
    author_metrics_daily, leaderboard_snapshots, /api/community/rules.
    """
    limits, since = limits_of(settings), first_rollable_day(postgres)
    for day in partition_window(context).days():
        if day < since:
            continue
        with locked_day(postgres, day) as connection:
            rollup = rolled_rules(connection, lake, limits, day)
            exclusions = replaced(connection, EXCLUDED_EVENTS_DAILY, rollup.excluded, day)
            changes = replaced(connection, RULE_METRICS_DAILY, rollup.metrics, day)
        excluded = {"excluded": rollup.excluded_counts, "exclusions": asdict(exclusions)}
        _tell(context, day, changes, {"events": rollup.events, **excluded})
    return _materialized(context, postgres, RULE_METRICS_DAILY)


@table_asset(EXCLUDED_EVENTS_DAILY, deps=[RULE_METRICS_DAILY])
def excluded_events_daily(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres]
) -> dg.MaterializeResult:
    """One row per UTC day and reason: events of rules that do not count.

    Key: day, reason. Source: written with rule_metrics_daily, in the same transaction; here it is summed up and shown.
    Cadence: as rule_metrics_daily. Readers: /api/community/exclusions, whoever wonders why a rule has few views.
    """
    window = partition_window(context)
    with postgres.transaction() as connection:
        counts = dict(connection.execute(_EXCLUDED, [window.first_day, window.last_day]).fetchall())
    return _materialized(context, postgres, EXCLUDED_EVENTS_DAILY, {f"excluded_{it}": n for it, n in counts.items()})


@table_asset(AUTHOR_METRICS_DAILY, deps=[RULE_METRICS_DAILY, DONATIONS])
def author_metrics_daily(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per UTC day and author with an event on a rule of theirs or a donation: sums of their rules, donations.

    Key: day, author_id. Source: community/rule_metrics_daily of the day, community/donations paid on the day. Cadence:
    hourly for the running day; a day with late events, a refund or a dispute again. Readers: leaderboard_snapshots,
    notifications, /api/community/authors.
    """
    for day in partition_window(context).days():
        with locked_day(postgres, day) as connection:
            rows = rolled_authors(connection, lake, stored_metrics(connection, day), day)
            changes = replaced(connection, AUTHOR_METRICS_DAILY, rows, day)
        _tell(context, day, changes, {})
    return _materialized(context, postgres, AUTHOR_METRICS_DAILY)


def _tell(context: dg.AssetExecutionContext, day: date, changes: Changes, more: Mapping[str, Any]) -> None:
    """What the partition of `day` was built of and what that changed, for the UI and for whoever asked for it."""
    context.add_asset_metadata({**asdict(changes), **more}, partition_key=str(day))


def _materialized(
    context: dg.AssetExecutionContext, postgres: Postgres, table: Table, extra: Mapping[str, Any] | None = None
) -> dg.MaterializeResult:
    counts = postgres.row_counts(table, partition_window(context))
    return materialized(context, table, counts=counts, extra=extra)


ASSETS = [rule_metrics_daily, excluded_events_daily, author_metrics_daily]
