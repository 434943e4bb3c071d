"""Copies of the event history in the configured warehouse: which batches of the lake it lacks, copied once each.

The ledger events.warehouse_sync_status says first what will be written where (planned), then that it is there
(written), then that everybody sees it (committed). Small batches that follow each other travel as one copy. Whoever
takes over from a killed process asks the warehouse first, then goes on with the same target, or, where the lake has
other rows for the batches by now (somebody was erased), with a new one.

Erasure and retention change the lake first and then call the functions here, so that what is copied later lacks the
rows too.
"""

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from psycopg.rows import class_row
from pyarrow import csv

from ingestion_pipeline.core.errors import IngestionError, StoreUnavailableError
from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.core.windows import DAY, Window
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.lake import Lake, arrow_schema, conformed
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warehouses.base import Copy, Warehouse, WarehouseName

EVENTS_PER_COPY = 200_000
BATCHES_PER_COPY = 1_000
DIGEST_LENGTH = 32
_ROWS_PER_BLOCK = 10_000

log = structlog.get_logger(__name__)

_BATCH = "batch_number, events_synced, days, status, target"
_OPEN = f"""
select {_BATCH} from events.warehouse_sync_status
where warehouse_type = %(warehouse)s and status <> 'committed'
order by batch_number
"""
_NEXT = f"""
select {_BATCH} from events.warehouse_sync_status
where
    warehouse_type = 'delta' and status = 'committed'
    and batch_number > (
        select coalesce(max(batch_number), 0) from events.warehouse_sync_status where warehouse_type = %(warehouse)s
    )
order by batch_number
limit {BATCHES_PER_COPY}
"""
_PLAN = """
insert into events.warehouse_sync_status (
    warehouse_type, batch_number, status, events_synced, days, first_event_at, last_event_at, target, attempt_count
)
select %(warehouse)s, batch_number, 'planned', %(events)s, days, first_event_at, last_event_at, %(target)s, 1
from events.warehouse_sync_status where warehouse_type = 'delta' and batch_number = %(batch)s
on conflict (warehouse_type, batch_number) do update set
    status = 'planned', events_synced = excluded.events_synced, target = excluded.target
"""
_TRY = """
update events.warehouse_sync_status set attempt_count = attempt_count + 1
where warehouse_type = %(warehouse)s and status <> 'committed'
"""
_WRITTEN = """
update events.warehouse_sync_status set
    status = 'written', bytes_synced = coalesce(%(bytes)s * events_synced / nullif(%(events)s, 0), 0)
where warehouse_type = %(warehouse)s and batch_number between %(first)s and %(last)s
"""
_COMMITTED = """
update events.warehouse_sync_status as copied set
    status = 'committed', committed_at = clock_timestamp(), error_message = null,
    sync_duration_ms = copied.sync_duration_ms + %(ms)s,
    lag_seconds = coalesce(lake.lag_seconds, 0) + extract(epoch from clock_timestamp() - lake.committed_at)
from events.warehouse_sync_status as lake
where
    copied.warehouse_type = %(warehouse)s and copied.batch_number between %(first)s and %(last)s
    and lake.warehouse_type = 'delta' and lake.batch_number = copied.batch_number
"""
_FAILED = """
update events.warehouse_sync_status set
    error_message = %(error)s, sync_duration_ms = sync_duration_ms + %(ms)s
where warehouse_type = %(warehouse)s and status <> 'committed'
"""
_BACKLOG = """
select
    count(*) as batches,
    coalesce(sum(lake.events_synced), 0)::bigint as events,
    max(extract(epoch from clock_timestamp() - lake.committed_at) + coalesce(lake.lag_seconds, 0))::double precision
        as lag_seconds
from events.warehouse_sync_status as lake
left join events.warehouse_sync_status as copied
    on copied.warehouse_type = %(warehouse)s and lake.batch_number = copied.batch_number
where lake.warehouse_type = 'delta' and lake.status = 'committed' and copied.status is distinct from 'committed'
"""


@dataclass(frozen=True)
class Copied:
    """What one copy did. `event_count` counts what the lake had; `was_resumed` if an earlier process had begun it."""

    first_batch: int
    last_batch: int
    event_count: int
    was_resumed: bool


@dataclass(frozen=True)
class Backlog:
    """What the lake has and the warehouse has not; `lag_seconds` is the age of the oldest, None without any."""

    batches: int
    events: int
    lag_seconds: float | None


@dataclass(frozen=True)
class _Batch:
    batch_number: int
    events_synced: int
    days: list[date]
    status: str
    target: str


def backlog(postgres: Postgres, warehouse: WarehouseName) -> Backlog:
    """How far `warehouse` is behind the lake, from the ledger alone."""
    with postgres.transaction() as connection, connection.cursor(row_factory=class_row(Backlog)) as cursor:
        found = cursor.execute(_BACKLOG, {"warehouse": warehouse}).fetchone()
    assert found is not None  # noqa: S101 - an aggregate has one row
    return found


def copied_batches(
    postgres: Postgres, lake: Lake, warehouse: Warehouse, *, events_per_copy: int = EVENTS_PER_COPY
) -> Iterator[Copied]:
    """Copies until the warehouse has every batch that the lake has; yields each copy when it is committed.

    Any number of processes may do so at once: one copies, the others wait for it.

    Raises:
        IngestionError: what the warehouse, the lake or PostgreSQL raised; the ledger has its text. The next call
            goes on where it stopped.
    """
    while copied := _copy_next(postgres, lake, warehouse, events_per_copy):
        log.info("batches copied", warehouse=warehouse.name, first=copied.first_batch, last=copied.last_batch)
        yield copied


def erase_user(postgres: Postgres, warehouse: Warehouse, user_id: str) -> int:
    """Deletes one person's rows from the warehouse; call it when the lake has none of them any more."""
    with _alone(postgres, warehouse):
        return warehouse.erase_user(user_id)


def delete_older(postgres: Postgres, warehouse: Warehouse, event_types: Sequence[str], before: date) -> int:
    """Deletes rows of these types from days before `before`; call it when the lake has none of them any more."""
    with _alone(postgres, warehouse):
        return warehouse.delete_older(event_types, before)


def _alone(postgres: Postgres, warehouse: Warehouse) -> Any:
    return postgres.exclusive(f"copy of {EVENT_HISTORY.qualified_name} in {warehouse.name}")


def _copy_next(postgres: Postgres, lake: Lake, warehouse: Warehouse, events_per_copy: int) -> Copied | None:
    with _alone(postgres, warehouse):
        batches = _batches(postgres, _OPEN, warehouse)
        was_begun = bool(batches)
        if not was_begun:
            batches = list(_small_enough(_batches(postgres, _NEXT, warehouse), events_per_copy))
        if not batches:
            return None
        if was_begun:
            _record(postgres, warehouse, _TRY)
        with _recorded_failure(postgres, warehouse):
            rows = _copy(postgres, lake, warehouse, batches, was_begun=was_begun)
    return Copied(batches[0].batch_number, batches[-1].batch_number, rows, was_begun)


def _copy(postgres: Postgres, lake: Lake, warehouse: Warehouse, batches: Sequence[_Batch], *, was_begun: bool) -> int:
    """Plans, writes and commits the batches as one; returns how many rows the lake has for them."""
    started = time.monotonic()
    copy = _read(lake, batches)
    target = batches[0].target if was_begun else ""
    if not (target and warehouse.is_committed(target, copy)):
        if copy.digest not in target:
            target = _planned(postgres, warehouse, copy)
        if target:
            _write_and_commit(postgres, warehouse, copy, target)
    _record(postgres, warehouse, _COMMITTED, **_span(copy), ms=_milliseconds(started))
    return int(copy.rows.num_rows)


def _write_and_commit(postgres: Postgres, warehouse: Warehouse, copy: Copy, target: str) -> None:
    sent = warehouse.write(target, copy)
    if sent is None:
        target = _planned(postgres, warehouse, copy)
        sent = warehouse.write(target, copy)
    if sent is None:
        raise StoreUnavailableError(warehouse.name, f"{target} was lost while it was written")
    _record(postgres, warehouse, _WRITTEN, **_span(copy), bytes=sent, events=copy.rows.num_rows)
    warehouse.commit(target, copy)


def _planned(postgres: Postgres, warehouse: Warehouse, copy: Copy) -> str:
    """A new target for `copy`, saved; none where there is nothing to write."""
    target = warehouse.plan(copy) if copy.rows.num_rows else ""
    counted = pc.value_counts(copy.rows["batch_number"]).to_pylist()
    events = {count["values"]: count["counts"] for count in counted}
    numbers = range(copy.first_batch, copy.last_batch + 1)
    facts = [
        {"warehouse": warehouse.name, "batch": number, "events": events.get(number, 0), "target": target}
        for number in numbers
    ]
    with postgres.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(_PLAN, facts)
    return target


def _read(lake: Lake, batches: Sequence[_Batch]) -> Copy:
    first, last = batches[0].batch_number, batches[-1].batch_number
    days = sorted({day for batch in batches for day in batch.days})
    tables = [lake.read(EVENT_HISTORY, window) for window in _windows(days)]
    parts = [table.filter(table.batch_number.between(first, last)) for table in tables]
    rows = arrow_schema(EVENT_HISTORY).empty_table()
    if parts:
        import duckdb
        import ibis

        try:
            rows = conformed(EVENT_HISTORY, ibis.union(*parts).order_by(["batch_number", "event_id"]).to_pyarrow())
        except (OSError, duckdb.IOException) as error:  # erasure and upkeep remove files that they have replaced
            raise StoreUnavailableError(f"lake at {lake.uri(EVENT_HISTORY)}", type(error).__name__) from error
    return Copy(first, last, tuple(days), _digest(rows), rows)


def _windows(days: Sequence[date]) -> Iterator[Window]:
    """The days as windows of days that follow each other: a late event does not make us read the days between."""
    start = 0
    for end in range(1, len(days) + 1):
        if end == len(days) or days[end] - days[end - 1] > DAY:
            yield Window.of_days(days[start], days[end - 1])
            start = end


def _small_enough(batches: Sequence[_Batch], limit: int) -> Iterator[_Batch]:
    """As many of `batches` as hold `limit` events together; at least one."""
    total = 0
    for number, batch in enumerate(batches):
        total += batch.events_synced
        if number and total > limit:
            return
        yield batch


def _digest(rows: pa.Table) -> str:
    """The same for the same values, whichever engine read them; the rows' text is what counts, not their buffers."""
    blocks = []
    for start in range(0, rows.num_rows, _ROWS_PER_BLOCK):
        buffer = io.BytesIO()
        csv.write_csv(rows.slice(start, _ROWS_PER_BLOCK), buffer, csv.WriteOptions(include_header=False))
        blocks.append(digest(buffer.getvalue()))
    return digest("".join(blocks).encode())[:DIGEST_LENGTH]


def _batches(postgres: Postgres, statement: str, warehouse: Warehouse) -> list[_Batch]:
    with postgres.transaction() as connection, connection.cursor(row_factory=class_row(_Batch)) as cursor:
        return cursor.execute(statement, {"warehouse": warehouse.name}).fetchall()


def _record(postgres: Postgres, warehouse: Warehouse, statement: str, **facts: object) -> None:
    with postgres.transaction() as connection:
        connection.execute(statement, {"warehouse": warehouse.name, **facts})


@contextmanager
def _recorded_failure(postgres: Postgres, warehouse: Warehouse) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    except IngestionError as error:
        _record(postgres, warehouse, _FAILED, error=str(error), ms=_milliseconds(started))
        raise


def _span(copy: Copy) -> dict[str, int]:
    return {"first": copy.first_batch, "last": copy.last_batch}


def _milliseconds(started: float) -> int:
    return round(1000 * (time.monotonic() - started))
