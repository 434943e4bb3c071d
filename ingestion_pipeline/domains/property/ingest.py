"""Deliveries, FRED and files into the property tables, each in one transaction with the record of what it did.

Belongs here: what is read and written, in which transaction. Does not belong here: what makes a row good
(transforms.py), what replaces what (revisions.py).
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import (
    CircuitOpenError,
    ContractError,
    IngestionError,
    PermanentError,
    RateLimitedError,
    TransientError,
)
from ingestion_pipeline.core.markets import MARKET_SLUG
from ingestion_pipeline.domains.property.contracts import (
    COMPS_UPSERT,
    DELIVERY_TYPES,
    FUNDAMENTALS_UPSERT,
    MACRO_UPDATE,
)
from ingestion_pipeline.domains.property.revisions import former_markets, write_comps, write_fundamentals, write_macro
from ingestion_pipeline.domains.property.transforms import (
    FundamentalRow,
    Judged,
    MacroRow,
    Origin,
    Refused,
    comp_rows,
    fundamental_rows,
    macro_rows,
    markets_of,
)
from ingestion_pipeline.providers.fred import FredProvider, Series
from ingestion_pipeline.storage.cache import Cache, invalidate
from ingestion_pipeline.storage.inbox import Applied, Delivery, apply_pending
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_ingestion
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.rejects import Reject, insert_rejects

FRED_SOURCE = "FRED"
SERVICES = {FUNDAMENTALS_UPSERT: "fundamentals", COMPS_UPSERT: "comps", MACRO_UPDATE: "macro"}

_STALENESS = """
insert into property.fundamentals_staleness (
    market_slug, last_as_of_date, last_received_at, age_days, max_age_days, is_stale, metric_count, checked_at
)
select
    market_slug,
    max(as_of_date),
    max(received_at),
    greatest(0, (%(now)s::timestamptz at time zone 'UTC')::date - max(as_of_date)),
    %(max_age_days)s,
    (%(now)s::timestamptz at time zone 'UTC')::date - max(as_of_date) > %(max_age_days)s,
    count(distinct metric),
    %(now)s
from property.fundamentals
where %(markets)s::text[] is null or market_slug = any(%(markets)s)
group by market_slug
order by market_slug
on conflict (market_slug) do update set
    last_as_of_date = excluded.last_as_of_date,
    last_received_at = excluded.last_received_at,
    age_days = excluded.age_days,
    max_age_days = excluded.max_age_days,
    is_stale = excluded.is_stale,
    metric_count = excluded.metric_count,
    checked_at = excluded.checked_at
"""

_FORGOTTEN = """
delete from property.fundamentals_staleness as told
where not exists (select from property.fundamentals as figures where figures.market_slug = told.market_slug)
"""

_FAILED_SERIES = """
select series_id, error_message
from (
    select distinct on (provenance ->> 'series_id') provenance ->> 'series_id' as series_id, status, error_message
    from operations.ingestion_events
    where event_type = %s and source = %s and provenance ->> 'series_id' = any(%s)
        and created_at > clock_timestamp() - interval '2 days'
    order by provenance ->> 'series_id', ingestion_event_id desc
) as newest
where status = 'failed'
order by series_id
"""

log = structlog.get_logger(__name__)


@dataclass
class Report:
    """What a pass did: deliveries applied, rows by what became of them, series fetched and failed."""

    deliveries: Applied = field(default_factory=Applied)
    rows: Counter[str] = field(default_factory=Counter)
    rejected_rows: int = 0
    series: int = 0
    failed_series: int = 0

    @property
    def metadata(self) -> dict[str, int]:
        deliveries = {"deliveries": self.deliveries.processed, "dead_deliveries": self.deliveries.dead}
        rows = {f"rows_{verdict}": count for verdict, count in sorted(self.rows.items())}
        series = {"series_fetched": self.series, "series_failed": self.failed_series}
        return deliveries | rows | series | {"rejected_rows": self.rejected_rows}

    def add(self, other: "Report") -> None:
        """Adds what a fetch did to what the deliveries did."""
        self.rows.update(other.rows)
        self.series += other.series
        self.failed_series += other.failed_series


def apply_fundamentals(postgres: Postgres, cache: Cache, *, max_age_days: int, run_id: str) -> Report:
    """Applies the deliveries of fundamentals that are due; the staleness of their markets is told anew with them."""

    def write(connection: psycopg.Connection[Any], rows: Sequence[FundamentalRow]) -> Counter[str]:
        counts = Counter(write_fundamentals(connection, rows))
        write_staleness(connection, max_age_days=max_age_days, markets=markets_of(rows))
        return counts

    return _apply(postgres, cache, FUNDAMENTALS_UPSERT, fundamental_rows, write, run_id=run_id)


def apply_comps(postgres: Postgres, cache: Cache, *, run_id: str) -> Report:
    """Applies the deliveries of comparable sales that are due."""
    return _apply(postgres, cache, COMPS_UPSERT, comp_rows, write_comps, run_id=run_id)


def apply_macro(postgres: Postgres, cache: Cache, *, run_id: str) -> Report:
    """Applies the deliveries of macro series that are due."""
    return _apply(postgres, cache, MACRO_UPDATE, macro_rows, write_macro, run_id=run_id)


def write_staleness(
    connection: psycopg.Connection[Any], *, max_age_days: int, markets: Sequence[str] | None = None
) -> int:
    """Tells anew how old the fundamentals of `markets` are, or of all; returns how many markets those are.

    Of all: a market that has no fundamentals any more is not told of.
    """
    if markets is None:
        connection.execute(_FORGOTTEN)
    values = {"now": utc_now(), "max_age_days": max_age_days, "markets": None if markets is None else list(markets)}
    return connection.execute(_STALENESS, values).rowcount


def _apply(
    postgres: Postgres,
    cache: Cache,
    event_type: str,
    judge: Callable[[Any, Origin], Judged[Any]],
    write: Callable[[psycopg.Connection[Any], Sequence[Any]], "Counter[str] | Any"],
    *,
    run_id: str,
) -> Report:
    report, keys = Report(), set[str]()

    def apply(connection: psycopg.Connection[Any], deliveries: Sequence[Delivery]) -> None:
        started = time.perf_counter()
        judged = [judge(_data(delivery), _origin(delivery)) for delivery in deliveries]
        counts = write(connection, [row for one in judged for row in one.rows])
        former = former_markets(connection) if event_type == COMPS_UPSERT else {}
        forgotten = [_cache_keys(*pair, former) for pair in zip(deliveries, judged, strict=True)]
        for delivery, one in zip(deliveries, judged, strict=True):
            insert_rejects(connection, _rejects(f"webhook:{delivery.source}", one.refused))
        milliseconds = (time.perf_counter() - started) * 1000 / len(deliveries)
        with connection.pipeline():
            for delivery, one, invalidated in zip(deliveries, judged, forgotten, strict=True):
                record_ingestion(connection, _event(delivery, one, milliseconds, run_id, invalidated))
        keys.update(key for invalidated in forgotten for key in invalidated)
        report.rows.update(counts)
        report.rejected_rows += sum(len(one.refused) for one in judged)

    try:
        report.deliveries = apply_pending(postgres, [event_type], apply, run_id=run_id)
    finally:
        # also of what was committed before it failed
        invalidate(cache, sorted(keys), service=SERVICES[event_type])
    return report


def _data(delivery: Delivery) -> Any:
    if delivery.event_type != MACRO_UPDATE and not MARKET_SLUG.fullmatch(delivery.market_slug or ""):
        raise ContractError(
            f"delivery {delivery.delivery_id}", "market_slug", repr(delivery.market_slug), "words such as san-antonio"
        )
    return DELIVERY_TYPES[delivery.event_type].data_of(delivery.payload["data"])


def _origin(delivery: Delivery) -> Origin:
    provenance = {
        "delivery_id": delivery.delivery_id,
        "source": delivery.source,
        "signed_by": delivery.signed_by,
        "origin": delivery.origin,
    }
    return Origin(
        source=delivery.source,
        received_at=delivery.received_at,
        provenance=json.dumps(provenance),
        market_slug=delivery.market_slug or "",
    )


def _event(
    delivery: Delivery, judged: Judged[Any], milliseconds: float, run_id: str, invalidated: list[str]
) -> IngestionEvent:
    status = "success" if not judged.refused else "partial" if judged.rows else "failed"
    return IngestionEvent(
        event_type=delivery.event_type,
        source=delivery.source,
        market_slug=delivery.market_slug,
        status=status,  # type: ignore[arg-type]
        processed_records=len(judged.rows),
        rejected_records=len(judged.refused),
        processing_time_ms=milliseconds,
        cache_keys_invalidated=invalidated,
        provenance={"signed_by": delivery.signed_by, "origin": delivery.origin},
        error_message=judged.refused[0].reason if judged.refused else None,
        delivery_id=delivery.delivery_id,
        dagster_run_id=run_id,
    )


def _cache_keys(delivery: Delivery, judged: Judged[Any], former: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
    """What is cached of the delivery's series or market, and of the markets in which its sales were before."""
    if delivery.event_type == MACRO_UPDATE:
        return [macro_key(delivery.payload["data"]["series_id"])]
    markets = {delivery.market_slug or ""}
    if former:
        markets.update(market for row in judged.rows for market in former.get((row.source, row.comp_id), ()))
    return [market_key(SERVICES[delivery.event_type], market) for market in sorted(markets)]


def macro_key(series_id: str) -> str:
    """The pattern of everything that is cached of a series."""
    return f"property:macro:{series_id}*"


def market_key(kind: str, market_slug: str) -> str:
    """The pattern of everything that is cached of a market's `fundamentals` or `comps`."""
    return f"property:{kind}:{market_slug}*"


def sync_fred(
    postgres: Postgres, cache: Cache, fred: FredProvider, series_ids: Sequence[str], *, run_id: str
) -> Report:
    """Fetches each series and keeps what is new, each in a transaction of its own.

    A series that fails (unknown, withdrawn, empty) keeps no other from being fetched; why it did is recorded, and the
    check macro_observations_answered names it. While FRED limits us or its breaker is open no more are asked for.

    Raises:
        TransientError: some series could not be fetched now; the others are stored.
        PermanentError: every series failed for good.
    """
    report = Report()
    failures: dict[str, IngestionError] = {}
    for series_id in series_ids:
        with structlog.contextvars.bound_contextvars(series_id=series_id):
            try:
                _store_series(postgres, cache, fred, series_id, report, run_id=run_id)
            except (PermanentError, TransientError) as error:
                log.error("series failed", reason=str(error))  # noqa: TRY400 - the reason says it all
                failures[series_id] = error
                _record_failure(postgres, series_id, error, run_id=run_id)
                if isinstance(error, RateLimitedError | CircuitOpenError):
                    break
    if later := next((error for error in failures.values() if isinstance(error, TransientError)), None):
        raise later
    if failures and not report.series:
        raise next(iter(failures.values()))
    report.failed_series = len(failures)
    return report


def _record_failure(postgres: Postgres, series_id: str, error: IngestionError, *, run_id: str) -> None:
    with postgres.transaction() as connection:
        record_ingestion(
            connection,
            IngestionEvent(
                event_type=MACRO_UPDATE,
                source=FRED_SOURCE,
                status="failed",
                processing_time_ms=0,
                provenance={"series_id": series_id},
                error_message=str(error),
                dagster_run_id=run_id,
            ),
        )


def failed_series(postgres: Postgres, series_ids: Sequence[str]) -> dict[str, str]:
    """Of `series_ids` those that FRED did not answer for when they were fetched last, and why."""
    with postgres.transaction() as connection:
        return dict(connection.execute(_FAILED_SERIES, [MACRO_UPDATE, FRED_SOURCE, list(series_ids)]).fetchall())


def _store_series(
    postgres: Postgres, cache: Cache, fred: FredProvider, series_id: str, report: Report, *, run_id: str
) -> None:
    started = time.perf_counter()
    series = fred.fetch_series(series_id)
    with postgres.transaction() as connection:
        counts = Counter(write_macro(connection, _series_rows(series)))
        changed = counts["new"] + counts["revised"]
        record_ingestion(
            connection,
            IngestionEvent(
                event_type=MACRO_UPDATE,
                source=FRED_SOURCE,
                processed_records=len(series.observations),
                processing_time_ms=(time.perf_counter() - started) * 1000,
                cache_keys_invalidated=[macro_key(series_id)] if changed else [],
                provenance={
                    "series_id": series_id,
                    "vintage_date": series.vintage_date.isoformat(),
                    "changed": changed,
                },
                dagster_run_id=run_id,
            ),
        )
    if changed:
        invalidate(cache, [macro_key(series_id)], service=SERVICES[MACRO_UPDATE])
    report.rows.update(counts)
    report.series += 1


def _series_rows(series: Series) -> Iterable[MacroRow]:
    now = utc_now()
    for day, value in series.observations:
        yield MacroRow(series.series_id, day, series.vintage_date, value, FRED_SOURCE, now)


def _rejects(source: str, refused: Iterable[Refused]) -> list[Reject]:
    return [Reject(source, one.reason, one.payload) for one in refused]
