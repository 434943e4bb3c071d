"""The asset of the leaderboards: load, call a pure function, replace the day, tell authors. No arithmetic here."""

import time
from datetime import timedelta

import dagster as dg

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.community.abuse import limits_of
from ingestion_pipeline.domains.community.content_tables import RULES
from ingestion_pipeline.domains.community.leaderboard_reads import forget_boards
from ingestion_pipeline.domains.community.leaderboard_store import build_boards
from ingestion_pipeline.domains.community.leaderboard_tables import LABELLED_DAYS, LEADERBOARD_SNAPSHOTS, MONTH_DAYS
from ingestion_pipeline.domains.community.notifications import announce_boards, announce_milestones
from ingestion_pipeline.domains.community.rollup_tables import RULE_METRICS_DAILY
from ingestion_pipeline.orchestration.metadata import materialized
from ingestion_pipeline.orchestration.partitions import partition_window
from ingestion_pipeline.orchestration.specs import lookback, table_asset
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import Cache
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres


@table_asset(
    LEADERBOARD_SNAPSHOTS,
    deps=[lookback(RULE_METRICS_DAILY, days=MONTH_DAYS - 1), RULES],
)
def leaderboard_snapshots(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
    cache: dg.ResourceParam[Cache],
) -> dg.MaterializeResult:
    """One row per place on a board of a UTC day, the first hundred of each.

    Key: day, period, kind, scope, scope_value, rank. Source: community/rule_metrics_daily of the period;
    authors, tags and models of community/rules as they are now. Cadence: hourly for the running day; a day whose
    metrics have changed and the 29 after it again. Building a day mends the changes of rank of the next. Boards of tags
    and models are kept for 400 days. Authors are told who came among the first ten of a GLOBAL board of a day that is
    over. Readers: GET /api/leaderboards.
    """
    window, half_life_hours = partition_window(context), limits_of(settings).half_life_hours
    started = time.perf_counter()
    since = utc_now().date() - timedelta(days=LABELLED_DAYS)
    build_boards(postgres, lake.engine, window.days(), half_life_hours=half_life_hours, labelled_since=since)
    counts = postgres.row_counts(LEADERBOARD_SNAPSHOTS, window)
    milliseconds = (time.perf_counter() - started) * 1_000
    forget_boards(postgres, cache, rows=sum(counts.values()), milliseconds=milliseconds, run_id=context.run.run_id)
    news = announce_boards(postgres, window.days()) + announce_milestones(postgres)
    return materialized(context, LEADERBOARD_SNAPSHOTS, counts=counts, extra={"notifications": news})


ASSETS = [leaderboard_snapshots]
