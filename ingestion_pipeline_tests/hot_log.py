"""The hot log in tests: events put there as the intake puts them, and what is in it then."""

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from ingestion_pipeline.core.ids import time_ordered_ids
from ingestion_pipeline.domains.events.receive import Reception, Refusal, received, reject_of
from ingestion_pipeline.domains.events.schemas import STATEMENT, Registry
from ingestion_pipeline.storage.event_entries import Append, Entry, key_hash
from ingestion_pipeline.storage.event_log import EventLog
from ingestion_pipeline.storage.rejects import Reject

NOON = datetime(2025, 3, 3, 12, tzinfo=UTC)
"""A Monday in the past: no partition is there for it, so that no test depends on today."""

DAY = NOON.date()
KEYS = {NOON.date() + timedelta(days=days): bytes([days + 40]) * 32 for days in range(-1, 2)}
ADDRESS = "203.0.113.9"

_numbers = itertools.count(1)


def as_intake(url: str) -> str:
    """`url` for the role of the intake."""
    return url.replace("postgres@", "pipeline_intake@", 1)


def make_entry(*, at: datetime = NOON, key: str | None = None, **over: str) -> Entry:
    """A valid row of the log, received at `at`; columns by name, as COPY writes them."""
    (event_id,) = time_ordered_ids(at, 1)
    columns = {
        "event_id": event_id,
        "event_type": "VIEW",
        "event_category": "interaction",
        "schema_version": "1",
        "user_id": "u1",
        "session_id": r"\N",
        "rule_id": "r1",
        "event_data": json.dumps({"n": next(_numbers)}),
        "metadata": "{}",
        "occurred_at": at.isoformat(),
        "received_at": at.isoformat(),
        "clock_skew_seconds": r"\N",
        "idempotency_key": key or r"\N",
        "caller": "tests",
        "origin": "http",
        "country": r"\N",
        "address_hash": r"\N",
        "previous_address_hash": r"\N",
        **over,
    }
    row = ("\t".join(columns.values()) + "\n").encode()
    return Entry(
        event_id, key_hash(key) if key else None, row, lambda why: Reject("events", why, {"event": {"id": event_id}})
    )


def store(log: EventLog, *requests: Sequence[Entry], day: date = DAY, rejects: Sequence[Reject] = ()) -> None:
    """Appends every request at once and waits for all; the entries then say what became of them."""

    async def all_of_them() -> None:
        await asyncio.gather(*(log.append(Append(day, entries, list(rejects))) for entries in requests))

    asyncio.run(all_of_them())


@contextmanager
def opened(url: str, *, committers: int = 2) -> Iterator[EventLog]:
    """The log of an intake process, closed when the block ends."""
    log = EventLog(as_intake(url), committers=committers)
    try:
        yield log
    finally:
        log.close()


def rows(url: str, statement: str, *parameters: object, role: str | None = None) -> list[dict[str, Any]]:
    """What a statement gives, as `role` sees it (the superuser by default)."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        if role:
            connection.execute(f"set role {role}".encode())
        cursor = connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def value(url: str, statement: str, *parameters: object, role: str | None = None) -> Any:
    """The one value that a statement gives."""
    ((found,),) = (row.values() for row in rows(url, statement, *parameters, role=role))
    return found


def stored_ids(url: str) -> list[str]:
    """The ids in the log, as entries spell them, in order."""
    return sorted(row["event_id"].hex for row in rows(url, "select event_id from events.event_log"))


class HotLog:
    """Events as applications send them, through the same code as the endpoints', into the log of a test's database."""

    def __init__(self, url: str, log: EventLog) -> None:
        self.url = url
        self._log = log

    @property
    def registry(self) -> Registry:
        return Registry(rows(self.url, STATEMENT))

    def send(self, *events: dict[str, Any] | bytes, **reception: Any) -> list[Entry | Refusal]:
        """One request with these events; what became of each."""
        request = make_reception(**reception)
        raws = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
        ids = time_ordered_ids(request.received_at, len(raws))
        registry = self.registry
        verdicts = [received(raw, event_id, registry, request) for raw, event_id in zip(raws, ids, strict=True)]
        rejects = [
            reject_of(raw, event_id, it, request)
            for raw, event_id, it in zip(raws, ids, verdicts, strict=True)
            if isinstance(it, Refusal)
        ]
        entries = [it for it in verdicts if isinstance(it, Entry)]
        store(self._log, entries, day=request.received_at.date(), rejects=rejects)
        return verdicts

    def view(self, at: datetime, **over: Any) -> str:
        """A view of rule r1 from ADDRESS, sent when it happened; its id with dashes."""
        (entry,) = self.send({"type": "VIEW", "ruleId": "r1", "ts": at.isoformat()}, **{"received_at": at, **over})
        assert isinstance(entry, Entry)
        return str(UUID(entry.event_id))

    def rejects(self) -> list[dict[str, Any]]:
        return rows(self.url, "select reason, payload, seen_count from operations.rejects order by reject_id")


def make_reception(**over: Any) -> Reception:
    """A request of the application `tests` from ADDRESS, at NOON."""
    defaults: dict[str, Any] = {
        "received_at": NOON,
        "caller": "tests",
        "origin": "http",
        "address_keys": KEYS,
        "country_of": lambda _: None,
        "address": ADDRESS,
    }
    return Reception(**{**defaults, **over})
