"""GET /api/metrics (seed S1's JSON) and GET /metrics (Prometheus' text): the metrics of all processes.

Both are made of the same series: what processes have stored (operations.metrics) and, as of now, queues, the freshness
of assets, breakers and health. A task stores what this process measures.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Metric, generate_latest
from psycopg.rows import class_row

from ingestion_pipeline.domains.operations.metrics_openapi import (
    JSON_DESCRIPTION,
    JSON_RESPONSES,
    TEXT_DESCRIPTION,
    TEXT_RESPONSES,
)
from ingestion_pipeline.intake.endpoints import Answer, Call, Endpoint
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.metrics import store_metrics_soon

ACCESS = ("metrics:read",)
STORE_SECONDS = 2.0
CLOSE_SECONDS = 3.0
TEXT = b"text/plain; version=0.0.4; charset=utf-8"
HELP: Mapping[str, str] = {
    "api_retry": "Calls to an outside source that were made again.",
    "asset_data_age_seconds": "Age of the newest data of an asset.",
    "asset_freshness_state": "1 for the freshness state that an asset is in: did it run, and is its data recent?",
    "asset_materialization_age_seconds": "Time since an asset was last materialized.",
    "asset_materialization_seconds": "How long materializations took, by outcome.",
    "circuit_breaker_failures": "Failures in a row that a source's breaker has seen.",
    "circuit_breaker_state": "1 for the state that a source's breaker is in.",
    "events_received": "Events that came over HTTP, refused and repeated ones too.",
    "health_status": "1 for the status that a service, or the whole, is in.",
    "http_request_seconds": "How long requests took, by method, path and status.",
    "http_requests": "Requests, whatever became of them.",
    "ingestion_duration_seconds": "How long ingestions took, by what triggered them, provider and asset.",
    "ingestion_failure": "Ingestions that failed, by what triggered them and provider.",
    "ingestion_success": "Ingestions that succeeded, by what triggered them and provider.",
    "queue_depth": "How many wait: jobs, deliveries, events that are not in the lake yet.",
    "queue_oldest_age_seconds": "How long the oldest in a queue has waited.",
}
_STORED = """
select name, type, labels, value, sample_count, bucket_bounds as bounds, bucket_counts as counts, updated_at as at
from operations.metrics
"""
_LIVE = """
with found (name, labels, value) as (
    select 'queue_depth', jsonb_build_object('queue', queue), depth::double precision from operations.queue_depths()
    union all
    select 'queue_oldest_age_seconds', jsonb_build_object('queue', queue), oldest_age_seconds
    from operations.queue_depths()
    union all
    select 'asset_materialization_age_seconds', jsonb_build_object('asset', asset_key),
        extract(epoch from now() - last_materialized_at)
    from operations.freshness_states where last_materialized_at is not null
    union all
    select 'asset_data_age_seconds', jsonb_build_object('asset', asset_key), extract(epoch from now() - data_as_of)
    from operations.freshness_states where data_as_of is not null
    union all
    select 'asset_freshness_state',
        jsonb_build_object('asset', asset_key, 'state', state, 'data_state', data_state), 1
    from operations.freshness_states
    union all
    select 'circuit_breaker_state', jsonb_build_object('source', name, 'state', state), 1
    from operations.circuit_breakers
    union all
    select 'circuit_breaker_failures', jsonb_build_object('source', name), failure_count
    from operations.circuit_breakers
    union all
    select 'health_status', jsonb_build_object('service', service, 'status', status), 1 from operations.health_states
)
select
    name, 'gauge' as type, labels, value::double precision as value, 0 as sample_count,
    '{}'::double precision [] as bounds, '{}'::bigint [] as counts, now() as at
from found
"""
_BOTH = f"select * from ({_STORED} union all ({_LIVE})) as series order by name, labels"


@dataclass(frozen=True)
class Measured:
    """One series, as stored: `counts` up to each of `bounds`, not cumulative."""

    name: str
    type: str
    labels: Mapping[str, str]
    value: float
    sample_count: int
    bounds: Sequence[float]
    counts: Sequence[int]
    at: datetime


class MetricsReport:
    """The endpoints, and the task that stores what this process measures: `start` it and `close` it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._task: asyncio.Task[None] | None = None

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="GET",
                path="/api/metrics",
                handler=self.as_json,
                access=ACCESS,
                summary="All metrics as JSON",
                description=JSON_DESCRIPTION,
                responses=JSON_RESPONSES,
            ),
            Endpoint(
                method="GET",
                path="/metrics",
                handler=self.as_text,
                access=ACCESS,
                summary="All metrics as Prometheus reads them",
                description=TEXT_DESCRIPTION,
                responses=TEXT_RESPONSES,
            ),
        ]

    async def start(self) -> None:
        self._task = asyncio.create_task(self._store_forever(), name="metrics")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await store_metrics_soon(self._services.pool)

    async def as_json(self, _: Call) -> Answer:
        """GET /api/metrics."""
        return Answer(200, await asyncio.to_thread(json_of, await self._series()))

    async def as_text(self, _: Call) -> Answer:
        """GET /metrics."""
        return Answer(200, await asyncio.to_thread(text_of, await self._series()), content_type=TEXT)

    async def _series(self) -> list[Measured]:
        async with self._services.pool.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(Measured))
            return await (await cursor.execute(_BOTH.encode())).fetchall()

    async def _store_forever(self) -> None:
        while True:
            await asyncio.sleep(STORE_SECONDS)
            await store_metrics_soon(self._services.pool)


def json_of(series: Iterable[Measured]) -> bytes:
    """Seed S1's array; the `value` of a histogram is the mean, beside its count, sum and cumulative buckets."""
    return msgspec.json.encode([_entry(one) for one in series])


def text_of(series: Iterable[Measured]) -> bytes:
    """Prometheus' text format, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(series))
    return generate_latest(registry)


class _Collector:
    """What prometheus-client asks for metrics."""

    def __init__(self, series: Iterable[Measured]) -> None:
        self._series = series

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for one in self._series:
            name = one.name.removesuffix("_total") if one.type == "counter" else one.name
            if name not in families:
                families[name] = Metric(name, HELP.get(name, name.replace("_", " ").capitalize() + "."), one.type)
            _add(families[name], one)
        yield from families.values()


def _add(family: Metric, one: Measured) -> None:
    labels = dict(one.labels)
    if one.type == "counter":
        family.add_sample(f"{family.name}_total", labels, one.value)
    elif one.type == "gauge":
        family.add_sample(family.name, labels, one.value)
    else:
        for bound, count in _cumulative(one):
            family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
        family.add_sample(f"{family.name}_count", labels, one.sample_count)
        family.add_sample(f"{family.name}_sum", labels, one.value)


def _cumulative(one: Measured) -> Iterator[tuple[str, int]]:
    """As Prometheus has buckets: all up to a bound, the last one everything."""
    total = 0
    for bound, count in zip(one.bounds, one.counts, strict=True):
        total += count
        yield str(float(bound)), total
    yield "+Inf", one.sample_count


def _entry(one: Measured) -> dict[str, Any]:
    entry = {"type": one.type, "name": one.name, "value": one.value, "timestamp": one.at, "labels": one.labels}
    if one.type == "histogram":
        entry |= {
            "value": one.value / one.sample_count if one.sample_count else 0.0,
            "count": one.sample_count,
            "sum": one.value,
            "buckets": dict(_cumulative(one)),
        }
    return entry
