"""Bad rows, kept with the reason they were refused. The same bad row seen again is counted, not repeated."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.storage.postgres import Postgres

_UPSERT = (
    "insert into operations.rejects (source, reason, payload, payload_digest) values (%s, %s, %s, %s) "
    "on conflict (source, payload_digest) do update set "
    "last_seen_at = now(), seen_count = rejects.seen_count + 1, reason = excluded.reason, payload = excluded.payload, "
    "replayed_at = null, replayed_as = null"
)


@dataclass(frozen=True)
class Reject:
    """`source` names where the row came from, `reason` the field, the value seen and what was expected.

    Rejects of one source with the same identity are the same; without one, those with the same payload.
    """

    source: str
    reason: str
    payload: Mapping[str, object]
    identity: bytes | None = None


def write_rejects(postgres: Postgres, rejects: Iterable[Reject]) -> int:
    """Stores the rejects; returns how many were given."""
    kept = list(rejects)
    if kept:
        with postgres.transaction() as connection:
            insert_rejects(connection, kept)
    return len(kept)


def insert_rejects(connection: psycopg.Connection[Any], rejects: Iterable[Reject]) -> None:
    """Stores the rejects in the transaction of `connection`."""
    rows: list[tuple[str, str, str, str]] = []
    for reject in rejects:
        payload = {name: _plain(value) for name, value in reject.payload.items()}
        identity = digest(payload) if reject.identity is None else digest(reject.identity)
        rows.append((reject.source, str(_plain(reject.reason)), json.dumps(payload), identity))
    if not rows:
        return
    rows.sort(key=lambda row: row[3])  # two writers of the same rejects then wait for each other
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT, rows)


def _plain(value: object) -> object:
    """PostgreSQL's JSON has no NaN, no infinity, no NUL and no lone surrogate: they are kept as readable text."""
    if isinstance(value, Mapping):
        return {str(_plain(str(name))): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, int | float | bool | None) else str(value)
