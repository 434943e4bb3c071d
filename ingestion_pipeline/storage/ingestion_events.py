"""The record of every ingestion, cache warming and prediction: `operations.ingestion_events`.

A row tells other processes which cached values are old; this process forgets them itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg.types.json import Jsonb

from ingestion_pipeline.storage.cache import Cache, invalidate
from ingestion_pipeline.storage.postgres import Postgres

_INSERT = """
insert into operations.ingestion_events (
    event_type, market_slug, source, status, processed_records, rejected_records, processing_time_ms,
    cache_keys_invalidated, provenance, error_message, delivery_id, job_id, dagster_run_id
) values (
    %(event_type)s, %(market_slug)s, %(source)s, %(status)s, %(processed_records)s, %(rejected_records)s,
    %(processing_time_ms)s, %(cache_keys_invalidated)s, %(provenance)s, %(error_message)s, %(delivery_id)s, %(job_id)s,
    %(dagster_run_id)s
)
"""


@dataclass(frozen=True, kw_only=True)
class IngestionEvent:
    """One ingestion. `cache_keys_invalidated` are keys or patterns; other processes forget them when they read this."""

    event_type: str
    source: str
    processing_time_ms: float
    market_slug: str | None = None
    status: Literal["success", "partial", "failed"] = "success"
    processed_records: int = 0
    rejected_records: int = 0
    cache_keys_invalidated: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    error_message: str | None = None
    delivery_id: str | None = None
    job_id: str | None = None
    dagster_run_id: str | None = None


def record_ingestion(connection: psycopg.Connection[Any], event: IngestionEvent) -> None:
    """Adds `event` in the transaction of `connection`, so that it is there exactly if what it tells of is."""
    values = vars(event) | {
        "cache_keys_invalidated": list(event.cache_keys_invalidated),
        "provenance": Jsonb(dict(event.provenance)),
    }
    connection.execute(_INSERT, values)


def record_and_forget(postgres: Postgres, cache: Cache, event: IngestionEvent, *, service: str) -> None:
    """Records `event` in a transaction of its own, and forgets what it makes invalid in `cache`."""
    with postgres.transaction() as connection:
        record_ingestion(connection, event)
    invalidate(cache, event.cache_keys_invalidated, service=service)
