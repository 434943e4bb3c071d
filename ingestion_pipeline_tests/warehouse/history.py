"""An event history to copy: batches in the lake, committed in the ledger, as the sync leaves them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.lake import Lake, arrow_schema
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warehouses.base import WarehouseName

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ALWAYS = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def make_event(number: int, **over: Any) -> dict[str, Any]:
    """One row of events/event_history; a day has 100 of them, numbered through."""
    occurred_at = over.get("occurred_at", NOON + timedelta(days=number // 100, seconds=number % 100))
    return {
        "event_id": f"0195{number:08d}-7000-8000-000000000000",
        "event_type": ("VIEW", "project.created", "user.login")[number % 3],
        "event_category": ("interaction", "transaction", "user_activity")[number % 3],
        "schema_version": 1,
        "user_id": None if number % 5 == 0 else f"user-{number % 7}",
        "session_id": f"session-{number % 11}",
        "rule_id": None,
        "event_data": f'{{"amount": {number}.5, "text": "Zoë said \\"1,2\\" 🦉"}}',
        "metadata": "{}",
        "occurred_at": occurred_at,
        "received_at": occurred_at + timedelta(microseconds=number),
        "lateness_seconds": number / 1_000_000,
        "clock_skew_seconds": None if number % 2 else -1.25,
        "caller": "shop",
        "country": "AT",
        "address_hash": None,
        "device_type": "desktop",
        "browser": "",
        "operating_system": None,
        "user_role": "admin",
        "user_tenure_days": number % 2**40,
        "is_counted": number % 4 != 0,
        "uncounted_reason": None if number % 4 else "repeat_view",
        "batch_number": 0,
        "day": occurred_at.date(),
        **over,
    }


class History:
    def __init__(self, postgres: Postgres, lake: Lake) -> None:
        self.postgres, self.lake = postgres, lake

    def add(self, batch: int, events: Iterable[Mapping[str, Any]]) -> None:
        """A batch that the sync has committed."""
        rows = pa.Table.from_pylist(
            [{**event, "batch_number": batch} for event in events], schema=arrow_schema(EVENT_HISTORY)
        )
        if rows.num_rows:
            write_deltalake(self.lake.uri(EVENT_HISTORY), rows, mode="append", partition_by=["day"])
        with self.postgres.transaction() as connection:
            connection.execute(
                "insert into events.warehouse_sync_status (warehouse_type, batch_number, status, events_synced, days, "
                "first_event_at, last_event_at, lag_seconds, committed_at) "
                "values ('delta', %s, 'committed', %s, %s, %s, %s, 1.5, now())",
                [
                    batch,
                    rows.num_rows,
                    sorted(set(rows["day"].to_pylist())),
                    pc.min(rows["occurred_at"]).as_py(),
                    pc.max(rows["occurred_at"]).as_py(),
                ],
            )

    def erase(self, user_id: str) -> None:
        """Takes one person's rows out of the lake."""
        DeltaTable(self.lake.uri(EVENT_HISTORY)).delete(f"user_id = '{user_id}'")

    def rows(self) -> pd.DataFrame:
        return self.lake.read(EVENT_HISTORY, ALWAYS).order_by("event_id").execute()

    def ledger(self, warehouse: WarehouseName) -> pd.DataFrame:
        """The rows of the ledger, in order."""
        statement = "select * from events.warehouse_sync_status where warehouse_type = %s order by batch_number"
        with self.postgres.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(statement, [warehouse])
            names = [column.name for column in cursor.description or ()]
            return pd.DataFrame(cursor.fetchall(), columns=names)
