"""What is read of the inbox by whoever looks after it, over HTTP and in the terminal."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from ingestion_pipeline.storage.postgres import Postgres

_COLUMNS = """
    delivery_id::text, source, event_type, market_slug, status, reason, received_at, settled_at, attempt_count,
    case when status = 'pending' then next_attempt_at end as next_attempt_at, replay_count, replayed_by, scheme,
    signed_by, signed_at, origin, idempotency_key, request_id, dagster_run_id
"""
LIST = f"""
select {_COLUMNS} from operations.deliveries
where
    (%(status)s::text is null or status = %(status)s)
    and (%(source)s::text is null or source = %(source)s)
    and (%(event_type)s::text is null or event_type = %(event_type)s)
    and (%(first)s::timestamptz is null or received_at >= %(first)s)
    and (%(before)s::timestamptz is null or received_at < %(before)s)
    and (%(last_at)s::timestamptz is null or (received_at, deliveries.delivery_id) < (%(last_at)s, %(last_id)s::uuid))
order by deliveries.received_at desc, deliveries.delivery_id desc
limit %(rows)s
"""
SHOW = f"select {_COLUMNS}, payload::text as payload from operations.deliveries where delivery_id = %s"


def read_deliveries(
    postgres: Postgres,
    *,
    limit: int,
    status: str | None = None,
    source: str | None = None,
    event_type: str | None = None,
    first: datetime | None = None,
    before: datetime | None = None,
) -> list[dict[str, Any]]:
    """Deliveries without payloads, received in `first` to before `before`, newest first, as the worker."""
    chosen = {
        "status": status,
        "source": source,
        "event_type": event_type,
        "first": first,
        "before": before,
        "last_at": None,
        "last_id": None,
        "rows": limit,
    }
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(LIST.encode(), chosen).fetchall()


def read_delivery(postgres: Postgres, delivery_id: UUID) -> dict[str, Any] | None:
    """One delivery, its payload as JSON text, as the worker."""
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SHOW.encode(), [delivery_id]).fetchone()
