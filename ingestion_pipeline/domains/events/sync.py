"""The micro-batches from the hot log to the lake: each event there once, whenever and wherever a sync is killed.

A batch is planned in the ledger, appended to the lake under its number, then committed in the ledger together with all
that follows from it: which views counted, which events are held back, the realtime metrics. A sync that finds a batch
begun does the same steps again: the lake refuses a number that it has, and the same rows give the same results.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, TransientError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.enrich import CountedViews, User, enriched, is_view, pairs
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.event_reader import LAKE, Batch, chunks, next_batch
from ingestion_pipeline.storage.lake import Lake, conformed
from ingestion_pipeline.storage.postgres import Postgres, copy_rows, first_line

WRITER = "events"
LOCK = EVENT_HISTORY.qualified_name
"""Whoever changes the history holds this: the sync, retention, erasure, compaction."""

ROWS_PER_BATCH = 200_000
MAX_ATTEMPTS = 3
FIRST_RETRY = timedelta(minutes=1)
ALL_TIME = Window.of_days(date(2000, 1, 1), date(2099, 12, 31))
METRIC_LIFETIMES = {"hour": timedelta(hours=48), "day": timedelta(days=35)}

_NAMED = ("event_id", "received_at")
_PAIR = ["address_hash", "rule_id"]
_HASHES = ("address_hash", "previous_address_hash")

_CHANGED_DAY = (
    "insert into events.changed_days as changed (day, reason) values (%s, 'events arrived') "
    "on conflict (day) do update set changed_at = clock_timestamp()"
)

log = structlog.get_logger(__name__)


@dataclass
class Outcome:
    """What came of a batch: rows a day in the lake, and what is recorded beside them."""

    days: Counter[date] = field(default_factory=Counter)
    uncounted: list[pa.Table] = field(default_factory=list)
    held: list[tuple[str, datetime, str]] = field(default_factory=list)
    counted_views: list[pa.Table] = field(default_factory=list)
    counts: Counter[tuple[str, str, datetime]] = field(default_factory=Counter)
    bytes: int = 0
    first_event_at: datetime | None = None
    last_event_at: datetime | None = None
    oldest_received_at: datetime | None = None

    @property
    def rows(self) -> int:
        return self.days.total()


@dataclass
class SyncReport:
    """What one run of the sync did."""

    batches: int = 0
    rows: int = 0
    bytes: int = 0
    held: int = 0
    days: Counter[date] = field(default_factory=Counter)


def sync(
    postgres: Postgres, lake: Lake, *, users_table: str | None = None, max_rows: int = ROWS_PER_BATCH
) -> SyncReport:
    """Brings every committed event of the hot log to the lake; waits while another sync does.

    Raises:
        StoreUnavailableError: the batch that was begun stays in the ledger and is done first next time.
        RestoredDatabaseError: transaction ids start over on another server.
    """
    report, is_behind = SyncReport(), True
    while is_behind:
        with postgres.exclusive(LOCK):
            batch = next_batch(postgres, max_rows=max_rows)
            if batch is None:
                break
            outcome = _sync_batch(postgres, lake, batch, users_table)
        # one that is not full was all there was, unless an earlier sync had begun it; the rest is the next sync's
        is_behind = batch.was_begun or outcome.rows + len(outcome.held) >= max_rows
        report.batches += 1
        report.rows += outcome.rows
        report.bytes += outcome.bytes
        report.held += len(outcome.held)
        report.days += outcome.days
    return report


def _sync_batch(postgres: Postgres, lake: Lake, batch: Batch, users_table: str | None) -> Outcome:
    started, outcome = time.monotonic(), Outcome()
    postgres.execute(
        "update events.warehouse_sync_status set attempt_count = attempt_count + 1 "
        "where warehouse_type = 'delta' and batch_number = :batch_number",
        {"batch_number": batch.batch_number},
    )
    parts = _parts(postgres, batch, users_table, outcome)
    try:
        if not lake.append(EVENT_HISTORY, parts, writer=WRITER, batch_number=batch.batch_number):
            _recover(postgres, lake, batch, outcome)
    except Exception as error:
        _note_error(postgres, batch, first_line(error))
        raise
    _commit(postgres, batch, outcome, milliseconds=round((time.monotonic() - started) * 1000))
    log.info("batch is in the lake", batch_number=batch.batch_number, rows=outcome.rows, held=len(outcome.held))
    return outcome


def _parts(postgres: Postgres, batch: Batch, users_table: str | None, outcome: Outcome) -> Iterator[pa.Table]:
    views = CountedViews()
    for rows in chunks(postgres, batch):
        _add_known_views(postgres, views, rows)
        part = _enriched_or_held(postgres, rows, views, users_table, outcome, batch.batch_number)
        _note(outcome, part)
        _note_views(outcome, rows, part)
        yield part


def _recover(postgres: Postgres, lake: Lake, batch: Batch, outcome: Outcome) -> None:
    """The batch is in the lake, but a sync was killed before it recorded that: what is there is what came of it."""
    history = lake.read(EVENT_HISTORY, ALL_TIME)
    part = history.filter(history.batch_number == batch.batch_number).to_pyarrow()
    _note(outcome, part)
    present = pc.unique(part["event_id"])
    for rows in chunks(postgres, batch):
        _note_views(outcome, rows, part)
        missing = rows.filter(pc.invert(pc.is_in(rows["event_id"], value_set=present)))
        for event_id, received_at in zip(*(missing[name].to_pylist() for name in _NAMED), strict=True):
            outcome.held.append((event_id, received_at, "held back by a sync that was killed"))


def _enriched_or_held(
    postgres: Postgres,
    rows: pa.Table,
    views: CountedViews,
    users_table: str | None,
    outcome: Outcome,
    batch_number: int,
) -> pa.Table:
    """The rows enriched. If that fails, it is tried row by row, and those that fail are held back with the reason."""

    def attempt(some: pa.Table) -> pa.Table:
        users = find_users(postgres, users_table, some["user_id"])
        return conformed(EVENT_HISTORY, enriched(some, users, views, batch_number=batch_number))

    try:
        return attempt(rows)
    except (TransientError, ConfigurationError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not keep the other events back
        if rows.num_rows == 1:
            received_at = rows["received_at"][0].as_py()
            outcome.held.append((rows["event_id"][0].as_py(), received_at, first_line(error)))
            log.warning("event is held back", event_id=outcome.held[-1][0], reason=first_line(error))
            return conformed(EVENT_HISTORY, enriched(rows.slice(0, 0), {}, views, batch_number=batch_number))
    middle = rows.num_rows // 2
    halves = (rows.slice(0, middle), rows.slice(middle))
    return pa.concat_tables(
        _enriched_or_held(postgres, half, views, users_table, outcome, batch_number) for half in halves
    )


def find_users(postgres: Postgres, table: str | None, user_ids: pa.ChunkedArray) -> dict[str, User]:
    """The users of `user_ids` in EVENTS_USERS_TABLE, by id; none where there is no such table.

    Raises:
        ConfigurationError: it has no id, or may not be read. Role and created_at may be missing.
    """
    wanted = pc.drop_null(user_ids).unique().to_pylist()
    if table is None or not wanted:
        return {}
    with postgres.transaction() as connection:
        row = connection.execute("select to_regclass(%s) is not null", [table]).fetchone()
        if not row or not row[0]:
            return {}
        try:
            found = connection.execute(
                "select users.id::text, to_jsonb(users) ->> 'role', (to_jsonb(users) ->> 'created_at')::timestamptz "
                f"from {table} as users where users.id::text = any(%s)",
                [wanted],
            ).fetchall()
        except psycopg.ProgrammingError as error:
            expected = f"a table of users that can be read, with a column id ({first_line(error)})"
            raise ConfigurationError("EVENTS_USERS_TABLE", table, expected) from error
    return {user_id: User(role, created_at) for user_id, role, created_at in found}


def _add_known_views(postgres: Postgres, views: CountedViews, rows: pa.Table) -> None:
    """The views counted before that are near one of `rows`."""
    near = rows.filter(is_view(rows))
    if not near.num_rows:
        return
    found = pa.concat_tables(
        near.filter(pc.is_valid(near[name])).select([name, "rule_id"]).rename_columns(_PAIR) for name in _HASHES
    )
    bounds = pc.min_max(near["occurred_at"]).as_py()
    with postgres.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "create temporary table near on commit drop as "
            "select address_hash, rule_id from events.counted_views limit 0"
        )
        copy_rows(cursor, "near", found.group_by(_PAIR).aggregate([]))
        cursor.execute(
            "select views.address_hash, views.rule_id, (extract(epoch from views.counted_at) * 1000000)::bigint "
            "from events.counted_views as views inner join near using (address_hash, rule_id) "
            "where views.counted_at > %s::timestamptz - interval '10 minutes' "
            "and views.counted_at < %s::timestamptz + interval '10 minutes'",
            [bounds["min"], bounds["max"]],
        )
        known = cursor.fetchall()
    if known:
        hashes, rules, instants = zip(*known, strict=True)
        table = pa.table({"address_hash": hashes, "rule_id": rules})
        views.add_known(pairs(table, "address_hash").to_pylist(), instants)


def _note(outcome: Outcome, part: pa.Table) -> None:
    """Adds a part to what is known of its batch."""
    if not part.num_rows:
        return
    outcome.bytes += part.nbytes
    outcome.days.update({item["values"]: item["counts"] for item in pc.value_counts(part["day"]).to_pylist()})
    uncounted = part.filter(pc.invert(part["is_counted"])).select(["event_id", "received_at", "uncounted_reason"])
    if uncounted.num_rows:
        outcome.uncounted.append(uncounted)
    counted = part.filter(part["is_counted"])
    hours = pa.table(
        {
            "event_type": counted["event_type"],
            "event_category": counted["event_category"],
            "hour": pc.floor_temporal(counted["occurred_at"], unit="hour"),
        }
    )
    grouped = hours.group_by(["event_type", "event_category", "hour"]).aggregate([([], "count_all")])
    for row in grouped.to_pylist():
        outcome.counts[row["event_type"], row["event_category"], row["hour"]] += row["count_all"]
    occurred = pc.min_max(part["occurred_at"]).as_py()
    received = pc.min(part["received_at"]).as_py()
    outcome.first_event_at = min(filter(None, (outcome.first_event_at, occurred["min"])))
    outcome.last_event_at = max(filter(None, (outcome.last_event_at, occurred["max"])))
    outcome.oldest_received_at = min(filter(None, (outcome.oldest_received_at, received)))


def _note_views(outcome: Outcome, rows: pa.Table, part: pa.Table) -> None:
    """The views of `rows` that count in `part`: just after midnight also under the hash of the day before.

    A view of before midnight that arrives later finds them so.
    """
    counted = part.filter(part["is_counted"])["event_id"].combine_chunks()
    views = rows.filter(pc.and_(is_view(rows), pc.is_in(rows["event_id"], value_set=counted)))
    for name in _HASHES:
        known = views.filter(pc.is_valid(views[name])).select([name, "rule_id", "occurred_at"])
        if known.num_rows:
            outcome.counted_views.append(known.rename_columns([*_PAIR, "counted_at"]))


def _commit(postgres: Postgres, batch: Batch, outcome: Outcome, *, milliseconds: int) -> None:
    now = utc_now()
    lag = None if outcome.oldest_received_at is None else (now - outcome.oldest_received_at).total_seconds()
    with postgres.transaction() as connection, connection.cursor() as cursor:
        _release(cursor, [str(event_id) for event_id in batch.retried_event_ids])
        _flag_uncounted(cursor, outcome.uncounted)
        _hold(cursor, outcome.held, now)
        _keep_views(cursor, outcome.counted_views)
        for statement, rows in _metric_rows(outcome.counts, now):
            cursor.executemany(statement, rows)
        cursor.executemany(_CHANGED_DAY, [[day] for day in sorted(outcome.days)])
        cursor.execute(
            "update events.warehouse_sync_status set status = 'committed', events_synced = %s, bytes_synced = %s, "
            "sync_duration_ms = %s, lag_seconds = %s, first_event_at = %s, last_event_at = %s, days = %s, "
            "committed_at = %s, error_message = null where warehouse_type = %s and batch_number = %s",
            [
                outcome.rows,
                outcome.bytes,
                milliseconds,
                lag,
                outcome.first_event_at,
                outcome.last_event_at,
                sorted(outcome.days),
                now,
                LAKE,
                batch.batch_number,
            ],
        )


def _release(cursor: psycopg.Cursor[Any], event_ids: Sequence[str]) -> None:
    """What was tried again is processed now, unless it is held back once more."""
    if event_ids:
        cursor.execute(
            "update events.event_states set is_held = false, processing_status = 'processed', processed_at = now(), "
            "next_attempt_at = null where event_id = any(%s::uuid[])",
            [list(event_ids)],
        )


def _flag_uncounted(cursor: psycopg.Cursor[Any], uncounted: Sequence[pa.Table]) -> None:
    if not uncounted:
        return
    cursor.execute(
        "create temporary table uncounted on commit drop as "
        "select event_id, received_at, uncounted_reason from events.event_states limit 0"
    )
    copy_rows(cursor, "uncounted", pa.concat_tables(uncounted))
    cursor.execute(
        "insert into events.event_states (event_id, received_at, uncounted_reason) "
        "select event_id, received_at, uncounted_reason from uncounted "
        "on conflict (event_id) do update set uncounted_reason = excluded.uncounted_reason"
    )


def _hold(cursor: psycopg.Cursor[Any], held: Sequence[tuple[str, datetime, str]], now: datetime) -> None:
    """Held back events are tried again after one, then two minutes; after the last attempt they have failed."""
    for event_id, received_at, reason in held:
        cursor.execute(
            "insert into events.event_states as states (event_id, received_at, is_held, processing_status, "
            "retry_count, error_message, next_attempt_at) values (%(id)s, %(received)s, true, 'pending', 1, "
            "%(reason)s, %(now)s + %(pause)s) on conflict (event_id) do update set is_held = true, "
            "processing_status = case when states.retry_count + 1 >= %(most)s then 'failed' else 'pending' end, "
            "retry_count = states.retry_count + 1, error_message = excluded.error_message, processed_at = null, "
            "next_attempt_at = case when states.retry_count + 1 >= %(most)s then null "
            "else %(now)s + %(pause)s * power(2, states.retry_count) end",
            {
                "id": event_id,
                "received": received_at,
                "reason": reason,
                "now": now,
                "pause": FIRST_RETRY,
                "most": MAX_ATTEMPTS,
            },
        )


def _keep_views(cursor: psycopg.Cursor[Any], views: Sequence[pa.Table]) -> None:
    if views:
        copy_rows(cursor, "events.counted_views", pa.concat_tables(views))


def _metric_rows(
    counts: Counter[tuple[str, str, datetime]], now: datetime
) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    """Adds to the metrics `events_per_hour` and `events_per_day`, which expire when nobody asks for them any more."""
    statement = "select events.update_realtime_metric(%s, %s, %s::jsonb, %s, true)"
    for grain, lifetime in METRIC_LIFETIMES.items():
        totals: Counter[tuple[str, str, datetime]] = Counter()
        for (event_type, category, hour), count in counts.items():
            bucket = hour if grain == "hour" else hour.replace(hour=0)
            totals[event_type, category, bucket.astimezone(UTC)] += count
        rows: list[tuple[object, ...]] = [
            (f"events_per_{grain}", count, _dimensions(event_type, category, grain, bucket), bucket + lifetime - now)
            for (event_type, category, bucket), count in sorted(totals.items())
            if bucket + lifetime > now
        ]
        if rows:
            yield statement, rows


def _dimensions(event_type: str, category: str, grain: str, bucket: datetime) -> str:
    return json.dumps({"type": event_type, "category": category, grain: bucket.isoformat()})


def _note_error(postgres: Postgres, batch: Batch, reason: str) -> None:
    postgres.execute(
        "update events.warehouse_sync_status set error_message = :reason "
        "where warehouse_type = 'delta' and batch_number = :batch_number",
        {"reason": reason, "batch_number": batch.batch_number},
    )
