"""Bad rows, kept with the reason they were refused. The same bad row seen again is counted, not repeated."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.storage.postgres import Postgres

_UPSERT = (
    "insert into operations.rejects (source, reason, payload, payload_digest) values (%s, %s, %s, %s) "
    "on conflict (source, payload_digest) do update set "
    "last_seen_at = now(), seen_count = rejects.seen_count + 1, reason = excluded.reason"
)


@dataclass(frozen=True)
class Reject:
    """`source` names where the row came from, `reason` the field, the value seen and what was expected."""

    source: str
    reason: str
    payload: Mapping[str, object]


def write_rejects(postgres: Postgres, rejects: Iterable[Reject]) -> int:
    """Stores the rejects; returns how many were given."""
    rows = []
    for reject in rejects:
        payload = {name: _plain(value) for name, value in reject.payload.items()}
        rows.append([reject.source, reject.reason, json.dumps(payload), digest(payload)])
    if rows:
        with postgres.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(_UPSERT, rows)
    return len(rows)


def _plain(value: object) -> object:
    """PostgreSQL's JSON has no NaN, no infinity, no NUL and no lone surrogate: they are kept as readable text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, int | float | bool | None) else str(value)
