"""The mirror: every 30 seconds the freshness of all assets and the health that follows from it, into PostgreSQL.

Whoever asks about health reads operations.freshness_states and operations.health_states, never Dagster. Breakers and
markets are read here with them; what the states mean is health.py's.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.operations.health import (
    OVERALL,
    Breaker,
    Facts,
    Judgement,
    Standing,
    judgements,
    overall,
    settled,
    sources_of,
)
from ingestion_pipeline.orchestration.freshness import AssetFreshness, current_freshness, store_freshness
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

SECONDS = 30
FRED_SILENT_AFTER = timedelta(hours=3)
"""It is asked every hour."""

_BREAKERS = "select name, state, failure_count from operations.circuit_breakers"
_STALE = (
    "select coalesce(array_agg(market_slug), '{}') as stale_markets from property.fundamentals_staleness where is_stale"
)
# whatever senders deliver of them
_SILENT = """
select coalesce(array_agg(series_id), '{}') as silent_series
from unnest(%(series)s::text[]) as series_id
where not exists (
    select from operations.ingestion_events
    where event_type = 'macro.update' and created_at > %(since)s and source = 'FRED' and status <> 'failed'
        and delivery_id is null and provenance ->> 'series_id' = series_id
)
"""
# market by market along the index, and no further in each than its least number of sales
_BELOW_MIN = """
with recursive markets as (
    (select market_slug from property.comps order by market_slug limit 1)
    union all
    select (
        select comps.market_slug from property.comps where comps.market_slug > markets.market_slug
        order by comps.market_slug limit 1
    )
    from markets where markets.market_slug is not null
)
select coalesce(array_agg(market_slug), '{}') as markets_below_min
from markets
where market_slug is not null and (
    select count(*) from (
        select from property.comps
        where comps.market_slug = markets.market_slug and comps.sale_date > %(since)s
        limit %(least)s
    ) as recent
) < %(least)s
"""
_STANDINGS = (
    "select service, status, since, reasons, candidate, candidate_since, candidate_checks from operations.health_states"
)
_GONE = "delete from operations.health_states where service <> all(%s)"
_UPSERT = """
insert into operations.health_states (
    service, status, since, reasons, candidate, candidate_since, candidate_checks, details, checked_at
) values (
    %(service)s, %(status)s, %(since)s, %(reasons)s, %(candidate)s, %(candidate_since)s, %(candidate_checks)s,
    %(details)s, %(checked_at)s
)
on conflict (service) do update set
    status = excluded.status, since = excluded.since, reasons = excluded.reasons, candidate = excluded.candidate,
    candidate_since = excluded.candidate_since, candidate_checks = excluded.candidate_checks,
    details = excluded.details, checked_at = excluded.checked_at
"""


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=SECONDS,
    description="Mirrors how fresh every asset is, and the health that follows, into PostgreSQL.",
)
def operations_freshness_sensor(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    postgres: dg.ResourceParam[Postgres],
    lake: dg.ResourceParam[Lake],
) -> dg.SkipReason:
    if context.repository_def is None:
        return dg.SkipReason("no code location to watch")
    graph, now = context.repository_def.asset_graph, utc_now()
    assets = current_freshness(graph, context.instance, postgres, lake, now=now)
    store_freshness(postgres, assets, now=now)
    whole = evaluate(postgres, settings, assets, now=now)
    return dg.SkipReason(f"{len(assets)} assets watched: {whole.status}")


def evaluate(postgres: Postgres, settings: Settings, assets: list[AssetFreshness], *, now: datetime) -> Standing:
    """One more check of every service and of the whole, stored in operations.health_states; returns the whole."""
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        # two ticks at the same time (after a restart) would count one check twice
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('operations.health_states', 0))")
        before = {row.pop("service"): _standing(row) for row in cursor.execute(_STANDINGS).fetchall()}
        seen = judgements(_facts(cursor, settings, assets, now))
        standings = {service: settled(before.get(service), it, now=now) for service, it in seen.items()}
        whole = overall(standings, before.get(OVERALL), now=now)
        rows = [_row(service, standing, seen[service], now) for service, standing in standings.items()]
        cursor.executemany(_UPSERT, [*rows, _row(OVERALL, whole, None, now)])
        cursor.execute(_GONE, [[*standings, OVERALL]])
    return whole


def _facts(
    cursor: psycopg.Cursor[dict[str, Any]], settings: Settings, assets: list[AssetFreshness], now: datetime
) -> Facts:
    breakers = {row["name"]: row for row in cursor.execute(_BREAKERS).fetchall()}
    sources = {service: breakers[name] for service, name in sources_of(settings).items() if name in breakers}
    since = now.astimezone(UTC).date() - timedelta(days=settings.comps_recent_days)
    series = settings.fred_series if settings.fred_api_key else ()
    silent = cursor.execute(_SILENT, {"series": list(series), "since": now - FRED_SILENT_AFTER}).fetchone() or {}
    staleness = cursor.execute(_STALE).fetchone() or {}
    below = cursor.execute(_BELOW_MIN, {"since": since, "least": settings.comps_min_recent}).fetchone() or {}
    return Facts(
        assets=assets,
        breakers={service: Breaker(row["state"], row["failure_count"]) for service, row in sources.items()},
        **silent,
        **staleness,
        **below,
    )


def _standing(row: dict[str, Any]) -> Standing:
    return Standing(**row | {"reasons": tuple(row["reasons"])})


def _row(service: str, standing: Standing, seen: Judgement | None, now: datetime) -> dict[str, Any]:
    return {
        **vars(standing),
        "service": service,
        "reasons": list(standing.reasons),
        "details": Jsonb(dict(seen.details) if seen else {}),
        "checked_at": now,
    }
