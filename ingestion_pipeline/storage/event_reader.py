"""Reading the hot log in batches and keeping the ledger of what has reached a warehouse.

A batch is a span of transaction ids below the oldest that is still open: whatever commits later has a higher one, so
nothing is passed over and no row is updated. Belongs here: the statements. Does not belong here: what is done with the
rows (domains/events/sync.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.rows import class_row

from ingestion_pipeline.core.errors import RestoredDatabaseError
from ingestion_pipeline.storage.arrow_rows import selected_blocks
from ingestion_pipeline.storage.postgres import Postgres

ROWS_PER_CHUNK = 50_000
LAKE = "delta"

_TIMESTAMP = pa.timestamp("us", tz="UTC")
_TYPES = {
    "schema_version": pa.int64(),
    "clock_skew_seconds": pa.float64(),
    "occurred_at": _TIMESTAMP,
    "received_at": _TIMESTAMP,
}
COLUMNS = (
    "event_id",
    "event_type",
    "event_category",
    "schema_version",
    "user_id",
    "session_id",
    "rule_id",
    "event_data",
    "metadata",
    "occurred_at",
    "received_at",
    "clock_skew_seconds",
    "caller",
    "country",
    "address_hash",
    "previous_address_hash",
)
_SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in (*COLUMNS, "user_agent")])
_SELECTED = ", ".join(f"log.{name}" for name in COLUMNS) + ", left(log.metadata ->> 'userAgent', 512) as user_agent"
# in parts, so that each uses its index
_ROWS = (
    f"select {_SELECTED} from events.event_log as log "
    "where log.transaction_id >= %(first)s::xid8 and log.transaction_id < %(next)s::xid8 "
    f"union all select {_SELECTED} from events.event_log as log where log.event_id = any(%(retried)s::uuid[])"
)
_POSITION = (
    "select coalesce(max(next_transaction_id), '0'::xid8)::text from events.warehouse_sync_status "
    "where warehouse_type = 'delta' and status = 'committed'"
)
# the transaction after the last one that fits; one transaction is never divided
_NEXT = """
with cut as (
    select transaction_id from events.event_log
    where transaction_id >= %(first)s::xid8 and transaction_id < %(end)s::xid8
    order by transaction_id offset %(rows)s limit 1
)
select coalesce(
    (select min(log.transaction_id) from events.event_log as log, cut where log.transaction_id > cut.transaction_id
     and log.transaction_id < %(end)s::xid8),
    %(end)s::xid8
)::text
"""
_PENDING = (
    "select exists (select from events.event_log where transaction_id >= %(first)s::xid8 "
    "and transaction_id < %(end)s::xid8) or exists (select from events.event_states "
    "where is_held and processing_status = 'pending' and next_attempt_at <= now())"
)
_DUE = (
    "select event_id from events.event_states "
    "where is_held and processing_status = 'pending' and next_attempt_at <= now()"
)
_LEDGER = (
    "select batch_number, first_transaction_id::text, next_transaction_id::text, retried_event_ids, "
    "attempt_count > 0 as was_begun "
    "from events.warehouse_sync_status where warehouse_type = 'delta' and status <> 'committed'"
)


@dataclass(frozen=True)
class Batch:
    """A row of the ledger that is not committed: the transactions `first` to below `next`, and events tried again."""

    batch_number: int
    first_transaction_id: str
    next_transaction_id: str
    retried_event_ids: Sequence[Any]
    was_begun: bool


def next_batch(postgres: Postgres, *, max_rows: int) -> Batch | None:
    """The batch that was begun and not committed, else a new one, written to the ledger first; None if nothing waits.

    Raises:
        RestoredDatabaseError: transaction ids start over on another server.
    """
    with postgres.transaction() as connection:
        if (open_batch := _open_batch(connection)) is not None:
            return open_batch
        first, end = _bounds(connection)
        if not _value(connection, _PENDING, {"first": first, "end": end}):
            return None
        following = _value(connection, _NEXT, {"first": first, "end": end, "rows": max_rows - 1})
        connection.execute(
            "insert into events.warehouse_sync_status (warehouse_type, batch_number, status, first_transaction_id, "
            "next_transaction_id, retried_event_ids) select 'delta', coalesce(max(batch_number), 0) + 1, 'planned', "
            f"%s::xid8, %s::xid8, array({_DUE}) from events.warehouse_sync_status where warehouse_type = 'delta'",
            [first, following],
        )
        return _open_batch(connection)


def has_pending(postgres: Postgres) -> bool:
    """Is there anything for the sync to do?"""
    with postgres.transaction() as connection:
        if _open_batch(connection) is not None:
            return True
        first, end = _bounds(connection)
        return bool(_value(connection, _PENDING, {"first": first, "end": end}))


def chunks(postgres: Postgres, batch: Batch, *, max_rows: int = ROWS_PER_CHUNK) -> Iterator[pa.Table]:
    """The rows of a batch, at most `max_rows` at a time, the same ones whenever it is read."""
    parameters = {
        "first": batch.first_transaction_id,
        "next": batch.next_transaction_id,
        "retried": list(batch.retried_event_ids),
    }
    with postgres.transaction() as connection:
        yield from selected_blocks(connection, _ROWS, parameters, _SCHEMA, max_rows=max_rows)


def _open_batch(connection: psycopg.Connection[Any]) -> Batch | None:
    with connection.cursor(row_factory=class_row(Batch)) as cursor:
        return cursor.execute(_LEDGER).fetchone()


def _bounds(connection: psycopg.Connection[Any]) -> tuple[str, str]:
    """From where the next batch begins, and the oldest transaction that is still open."""
    first = str(_value(connection, _POSITION))
    end = str(_value(connection, "select pg_snapshot_xmin(pg_current_snapshot())::text"))
    if int(first) > int(end):
        current = str(_value(connection, "select pg_snapshot_xmax(pg_current_snapshot())::text"))
        if int(first) > int(current):
            raise RestoredDatabaseError(first, current)
        end = first
    return first, end


def _value(connection: psycopg.Connection[Any], statement: str, parameters: Any = None) -> Any:
    row = connection.execute(statement, parameters).fetchone()
    return row[0] if row else None


def lag_seconds(postgres: Postgres, *, now: datetime) -> float:
    """Age of the oldest event that is not in the lake; 0 if there is none."""
    with postgres.transaction() as connection:
        first, _ = _bounds(connection)
        oldest = _value(
            connection,
            "select min(received_at) from events.event_log where transaction_id >= %s::xid8",
            [first],
        )
    return 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
