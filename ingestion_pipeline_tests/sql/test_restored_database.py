"""RUNBOOK, "Restored database": its SQL lets the sync go on on a server whose transaction ids started over."""

from typing import Literal

import psycopg
import pytest

from ingestion_pipeline.core.errors import RestoredDatabaseError
from ingestion_pipeline.domains.events.sync import ALL_TIME, sync
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.event_reader import next_batch
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.test_documents import RUN

(REMEDY,) = [block.text for block in RUN if block.heading == "Restored database"]
OTHER_SERVER = """
update events.event_log set transaction_id = (transaction_id::text::bigint + 1000000)::text::xid8;
update events.warehouse_sync_status set
    first_transaction_id = (first_transaction_id::text::bigint + 1000000)::text::xid8,
    next_transaction_id = (next_transaction_id::text::bigint + 1000000)::text::xid8
"""
NOT_RECORDED = """
update events.warehouse_sync_status set status = 'planned', committed_at = null
where batch_number = (select max(batch_number) from events.warehouse_sync_status)
"""


def emit(connection: psycopg.Connection, count: int) -> list[str]:
    emitted = "select events.emit_platform_event('user.login', user_id => 'u')::text from generate_series(1, %s)"
    return [event_id for (event_id,) in connection.execute(emitted, [count]).fetchall()]


def in_lake(lake: Lake) -> list[str]:
    return sorted(lake.read(EVENT_HISTORY, ALL_TIME).select("event_id").to_pyarrow()["event_id"].to_pylist())


@pytest.mark.parametrize("begun", ["nothing", "planned", "in the lake"])
def test_after_a_restore_every_event_reaches_the_lake_once(
    database_url: str, postgres: Postgres, lake: Lake, begun: Literal["nothing", "planned", "in the lake"]
) -> None:
    """Those that were there, those that waited, those of a batch that was begun, those that have arrived since."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        events = emit(connection, 3)
        sync(postgres, lake)
        events += emit(connection, 2)
        if begun == "planned":
            assert next_batch(postgres, max_rows=100)
        if begun == "in the lake":
            sync(postgres, lake)
            connection.execute(NOT_RECORDED)
        events += emit(connection, 2)
        connection.execute(OTHER_SERVER)
        events += emit(connection, 2)
        if begun == "nothing":
            with pytest.raises(RestoredDatabaseError):
                sync(postgres, lake)
        connection.execute(REMEDY)
        sync(postgres, lake)
        connection.execute("update events.event_states set next_attempt_at = now() where is_held")
        sync(postgres, lake)
        assert sorted(events) == in_lake(lake)
        waiting = "select count(*) from events.platform_events where processing_status <> 'processed'"
        assert connection.execute(waiting).fetchone() == (0,)


def test_where_nothing_was_wrong_the_remedy_changes_nothing(database_url: str, postgres: Postgres, lake: Lake) -> None:
    """Whoever runs it by mistake gets no event twice."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        events = emit(connection, 3)
        sync(postgres, lake)
        events += emit(connection, 2)
        connection.execute(REMEDY)
        assert 2 == sync(postgres, lake).rows
    assert sorted(events) == in_lake(lake)
