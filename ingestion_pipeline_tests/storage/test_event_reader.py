"""Reading the hot log: every committed event belongs to exactly one batch, whatever else is going on."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ingestion_pipeline.core.errors import RestoredDatabaseError, StoreUnavailableError
from ingestion_pipeline.storage.event_log import EventLog
from ingestion_pipeline.storage.event_reader import Batch, chunks, has_pending, lag_seconds, next_batch
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.hot_log import NOON, make_entry, opened, rows, store, value

EMIT = "select events.emit_platform_event('COPY', rule_id => 'r')"


@pytest.fixture
def log(database_url: str) -> Iterator[EventLog]:
    with opened(database_url, committers=1) as found:
        yield found


def emitted(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute(EMIT).fetchone()
    assert row is not None
    return str(row[0])


def ids_of(postgres: Postgres, batch: Batch, **options: Any) -> list[str]:
    return [event_id for part in chunks(postgres, batch, **options) for event_id in part["event_id"].to_pylist()]


def commit(url: str, batch: Batch) -> None:
    statement = (
        "update events.warehouse_sync_status set status = 'committed', committed_at = now() where batch_number = %s"
    )
    rows(url, statement, batch.batch_number)


def drained(postgres: Postgres, url: str, *, max_rows: int = 1000) -> list[list[str]]:
    """The events of every batch until none waits."""
    found = []
    while batch := next_batch(postgres, max_rows=max_rows):
        found.append(ids_of(postgres, batch))
        commit(url, batch)
    return found


def test_without_events_there_is_no_batch(postgres: Postgres) -> None:
    assert (None, False, 0.0) == (
        next_batch(postgres, max_rows=10),
        has_pending(postgres),
        lag_seconds(postgres, now=NOON),
    )


def test_a_row_is_read_as_it_was_stored(postgres: Postgres, log: EventLog) -> None:
    """Empty text is not null, JSON and line breaks survive, instants are UTC to the microsecond, the agent is cut."""
    at = NOON + timedelta(microseconds=123456)
    entry = make_entry(
        at=at,
        user_id='"a", \\n b',
        event_data='{"a": "x\\\\ny", "b": ""}',
        metadata='{"userAgent": "' + "x" * 600 + '"}',
        clock_skew_seconds="0.1",
        caller="",
    )
    store(log, [entry])
    batch = next_batch(postgres, max_rows=10)
    assert batch is not None
    ((row,),) = (part.to_pylist() for part in chunks(postgres, batch))
    assert row == {
        "event_id": str(UUID(entry.event_id)),
        "event_type": "VIEW",
        "event_category": "interaction",
        "schema_version": 1,
        "user_id": '"a", \n b',
        "session_id": None,
        "rule_id": "r1",
        "event_data": '{"a": "x\\ny", "b": ""}',
        "metadata": '{"userAgent": "' + "x" * 600 + '"}',
        "occurred_at": at,
        "received_at": at,
        "clock_skew_seconds": 0.1,
        "caller": "",
        "country": None,
        "address_hash": None,
        "previous_address_hash": None,
        "user_agent": "x" * 512,
    }


def test_a_batch_is_written_down_before_it_is_read(postgres: Postgres, log: EventLog, database_url: str) -> None:
    """Asked again before it is committed it is the same batch, with the same events, whatever came meanwhile."""
    store(log, [make_entry()], [make_entry()])
    batch = next_batch(postgres, max_rows=10)
    assert batch is not None
    planned = "select status, batch_number::int as batch_number from events.warehouse_sync_status"
    assert [{"status": "planned", "batch_number": 1}] == rows(database_url, planned)
    before = sorted(ids_of(postgres, batch))
    store(log, [make_entry()])
    assert batch == next_batch(postgres, max_rows=1)
    assert before == sorted(ids_of(postgres, batch))
    assert 2 == len(before)


def test_every_event_is_in_one_batch(postgres: Postgres, log: EventLog, database_url: str) -> None:
    entries = [[make_entry() for _ in range(size)] for size in (3, 1, 4, 1, 5, 9, 2, 6)]
    for request in entries:
        store(log, request)
    batches = drained(postgres, database_url, max_rows=7)
    every = sorted(str(UUID(entry.event_id)) for request in entries for entry in request)
    assert every == sorted(event_id for batch in batches for event_id in batch)
    assert 7 + 9 >= max(map(len, batches))
    assert 3 <= len(batches)
    assert not has_pending(postgres)


def test_a_transaction_is_never_divided(postgres: Postgres, log: EventLog, database_url: str) -> None:
    """One of 5,000 events is one batch, read a part at a time."""
    store(log, [make_entry() for _ in range(5_000)])
    store(log, [make_entry()])
    batch = next_batch(postgres, max_rows=10)
    assert batch is not None
    parts = [part.num_rows for part in chunks(postgres, batch, max_rows=2_000)]
    assert ([2_000, 2_000, 1_000], 5_000) == (parts, len(set(ids_of(postgres, batch))))
    commit(database_url, batch)
    assert [1] == [len(batch) for batch in drained(postgres, database_url)]


def test_what_commits_late_is_not_passed_over(postgres: Postgres, worker_url: str, database_url: str) -> None:
    """A transaction that began earlier commits later: nothing with a higher number is read before it is over."""
    with (
        psycopg.connect(worker_url) as early,
        psycopg.connect(worker_url, autocommit=True) as between,
        psycopg.connect(worker_url) as late,
    ):
        before = emitted(between)
        first = emitted(early)
        second = emitted(between)
        third = emitted(late)
        assert [[before]] == drained(postgres, database_url)
        assert not has_pending(postgres)
        late.commit()
        assert [] == drained(postgres, database_url)
        early.commit()
    assert sorted([first, second, third]) == sorted(it for batch in drained(postgres, database_url) for it in batch)
    assert [] == drained(postgres, database_url)


def test_what_is_rolled_back_holds_nothing_up(postgres: Postgres, worker_url: str, database_url: str) -> None:
    with psycopg.connect(worker_url) as early, psycopg.connect(worker_url, autocommit=True) as between:
        emitted(early)
        second = emitted(between)
        assert [] == drained(postgres, database_url)
        early.rollback()
        assert [[second]] == drained(postgres, database_url)


def test_a_savepoint_does_not_hide_an_event(postgres: Postgres, worker_url: str, database_url: str) -> None:
    """Events of a subtransaction belong to the transaction around it."""
    with psycopg.connect(worker_url, autocommit=True) as connection, connection.transaction():
        first = emitted(connection)
        with connection.transaction():
            second = emitted(connection)
        with connection.transaction(force_rollback=True):
            emitted(connection)
    assert [sorted([first, second])] == [sorted(batch) for batch in drained(postgres, database_url)]


def test_moved_rows_are_neither_read_twice_nor_lost(postgres: Postgres, log: EventLog, database_url: str) -> None:
    """Out of the default partition into one of their own, between planning and reading and after it."""
    store(log, [make_entry()])
    batch = next_batch(postgres, max_rows=10)
    assert batch is not None
    value(database_url, "select events.ensure_event_partitions()")
    assert 1 == len(ids_of(postgres, batch))
    commit(database_url, batch)
    assert [] == drained(postgres, database_url)


def test_events_that_are_due_again_are_in_the_next_batch(postgres: Postgres, log: EventLog, database_url: str) -> None:
    """Held back ones whose time has come; neither those whose time has not, nor those that have failed."""
    entries = {name: make_entry() for name in ("due", "later", "failed", "settled")}
    store(log, list(entries.values()))
    drained(postgres, database_url)
    states = {"due": ("pending", -1), "later": ("pending", 60), "failed": ("failed", -1), "settled": ("processed", -1)}
    for name, (status, seconds) in states.items():
        rows(
            database_url,
            "insert into events.event_states (event_id, received_at, processing_status, is_held, next_attempt_at) "
            "values (%s, now(), %s, true, now() + make_interval(secs => %s))",
            UUID(entries[name].event_id),
            status,
            seconds,
        )
    assert has_pending(postgres)
    store(log, [make_entry()])
    batch = next_batch(postgres, max_rows=10)
    assert batch is not None
    assert [UUID(entries["due"].event_id)] == batch.retried_event_ids
    found = ids_of(postgres, batch)
    assert (2, True) == (len(found), str(UUID(entries["due"].event_id)) in found)


def test_a_restored_database_is_noticed(postgres: Postgres, log: EventLog, database_url: str) -> None:
    """Transaction ids that start over would make the sync pass over new events: it stops and says so."""
    store(log, [make_entry()])
    rows(
        database_url,
        "insert into events.warehouse_sync_status (warehouse_type, batch_number, status, next_transaction_id, "
        "committed_at) values ('delta', 7, 'committed', '1000000000', now())",
    )
    with pytest.raises(RestoredDatabaseError, match=r"1000000000.*restored database") as caught:
        next_batch(postgres, max_rows=10)
    assert int(caught.value.current) < 1_000_000_000
    for question in (has_pending, lambda it: lag_seconds(it, now=NOON)):
        with pytest.raises(RestoredDatabaseError):
            question(postgres)


def test_the_lag_is_the_age_of_the_oldest_event_that_waits(
    postgres: Postgres, log: EventLog, database_url: str
) -> None:
    store(log, [make_entry(at=NOON + timedelta(seconds=30))])
    store(log, [make_entry(at=NOON)])
    now = NOON + timedelta(seconds=90)
    assert 90.0 == lag_seconds(postgres, now=now)
    drained(postgres, database_url)
    assert 0.0 == lag_seconds(postgres, now=now)
    store(log, [make_entry(at=NOON + timedelta(seconds=60))])
    assert (30.0, 0.0) == (lag_seconds(postgres, now=now), lag_seconds(postgres, now=NOON))


def test_only_one_batch_of_the_lake_can_be_open(database_url: str) -> None:
    """The database itself keeps two syncs from planning at once."""
    plan = "insert into events.warehouse_sync_status (warehouse_type, batch_number, status) values ('delta', %s, 'planned')"
    rows(database_url, plan, 1)
    with pytest.raises(psycopg.errors.UniqueViolation):
        rows(database_url, plan, 2)


def test_a_server_that_is_away_is_said_to_be(worker_url: str) -> None:
    postgres = Postgres("postgresql://pipeline_worker@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError):
        next_batch(postgres, max_rows=10)
    postgres.close()
