"""One valid default per contract of the events domain; a test names only what it is about."""

import json
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.lake import arrow_schema

MONDAY = datetime(2025, 3, 3, tzinfo=UTC)


def make_event(**over: Any) -> dict[str, Any]:
    """A row of events/event_history: a rule viewed by u1 at noon on Monday 2025-03-03. `event_data` may be a dict."""
    at = over.get("occurred_at", MONDAY.replace(hour=12))
    event = {
        "event_id": "01956b3e-0000-7000-8000-000000000000",
        "event_type": "VIEW",
        "event_category": "interaction",
        "schema_version": 1,
        "user_id": "u1",
        "session_id": "s1",
        "rule_id": "r1",
        "event_data": {},
        "metadata": "{}",
        "occurred_at": at,
        "received_at": at,
        "lateness_seconds": 0.0,
        "clock_skew_seconds": None,
        "caller": "tests",
        "country": None,
        "address_hash": None,
        "device_type": None,
        "browser": None,
        "operating_system": None,
        "user_role": None,
        "user_tenure_days": None,
        "is_counted": True,
        "uncounted_reason": None,
        "batch_number": 1,
        "day": at.date(),
        **over,
    }
    data = event["event_data"]
    return event | {"event_data": data if isinstance(data, str) else json.dumps(data)}


def make_events(*events: dict[str, Any]) -> pa.Table:
    """Rows as the lake holds them."""
    return pa.Table.from_pylist(list(events), schema=arrow_schema(EVENT_HISTORY))


def make_payment(amount: object, **over: Any) -> dict[str, Any]:
    """A payment of `amount`, whatever JSON value that is."""
    payment = {"event_type": "payment.completed", "event_category": "transaction", "event_data": {"amount": amount}}
    return make_event(**payment | over)


def by_key(frame: pd.DataFrame, *key: str) -> dict[Any, dict[str, Any]]:
    """The rows by one or more columns."""
    return {tuple(row[name] for name in key) if key[1:] else row[key[0]]: row for row in frame.to_dict("records")}
