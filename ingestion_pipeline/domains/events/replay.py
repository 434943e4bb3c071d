"""Events that were refused, or that failed for good, go their way again once the reason is mended.

A refused event passes the same reading as when it came, with what was kept of its reception, and is stored in the
transaction that marks its reject: killed and repeated, nothing is there twice. What is still wrong stays, with the
reason of now.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import class_row, dict_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.ids import time_ordered_ids
from ingestion_pipeline.domains.events.receive import SOURCE, Reception, Refusal, received
from ingestion_pipeline.domains.events.schemas import STATEMENT, Registry
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.audit import write_audit
from ingestion_pipeline.storage.event_entries import Append, Entry
from ingestion_pipeline.storage.event_log import insert_append
from ingestion_pipeline.storage.postgres import Postgres, first_line

INTAKE_ID = "replay"
REJECTS_PER_TRANSACTION = 500

_REJECTS = """
select reject_id, (payload -> 'event')::text as event, payload -> 'received' as received, first_seen_at
from operations.rejects
where
    source = %(source)s and replayed_at is null and reject_id > %(after)s
    and (%(reject_id)s::bigint is null or reject_id = %(reject_id)s)
    and (%(first)s::timestamptz is null or last_seen_at >= %(first)s)
    and (%(before)s::timestamptz is null or last_seen_at < %(before)s)
    and (%(event_type)s::text is null or payload -> 'event' ->> 'type' = %(event_type)s)
    and (%(reason)s::text is null or strpos(lower(reason), lower(%(reason)s)) > 0)
order by reject_id
limit %(rows)s
"""
_REPLAYED = "update operations.rejects set replayed_at = now(), replayed_as = %s where reject_id = %s"
_STILL_REFUSED = "update operations.rejects set reason = %s where reject_id = %s"
_RETRY_FAILED = "select events.retry_failed_events(%s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which refused events: one, those last refused in `first` to before `before`, of a type, with words of a reason.

    Everything that is given must hold. Failed events have no `reject_id`; their instant is when they were received.
    """

    reject_id: int | None = None
    first: datetime | None = None
    before: datetime | None = None
    event_type: str | None = None
    reason: str | None = None


@dataclass
class Replayed:
    """How many were stored, were there already by their idempotency key, are still refused."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        return self.accepted + self.duplicates + self.rejected


@dataclass(frozen=True)
class _Reject:
    reject_id: int
    event: str
    received: Any
    first_seen_at: datetime


def replay(
    postgres: Postgres,
    settings: Settings,
    selection: Selection,
    *,
    by: str,
    request_id: str | None = None,
    is_dry_run: bool = False,
    most: int | None = None,
) -> Replayed:
    """Sends the refused events of `selection`, at most `most` of them, through the intake again.

    Two at once share the work. A dry run stores nothing and cannot tell duplicates.

    Raises:
        StoreUnavailableError: what was committed until then is done; the rest waits for the next call.
    """
    registry, outcome = _registry(postgres), Replayed()
    after = 0
    while most is None or outcome.total < most:
        rows = REJECTS_PER_TRANSACTION if most is None else min(REJECTS_PER_TRANSACTION, most - outcome.total)
        with postgres.transaction() as connection:
            rejects = _rejects(connection, selection, after=after, rows=rows, is_locking=not is_dry_run)
            if not rejects:
                break
            verdicts = list(_verdicts(rejects, registry, settings))
            if not is_dry_run:
                _insert(connection, [verdict for verdict in verdicts if isinstance(verdict, Entry)])
                _settle(connection, rejects, verdicts)
        _count(outcome, verdicts)
        after = rejects[-1].reject_id
    if not is_dry_run:
        _audit(postgres, by, request_id, vars(outcome))
    return outcome


def retry_failed(
    postgres: Postgres,
    selection: Selection,
    *,
    by: str,
    request_id: str | None = None,
    is_dry_run: bool = False,
    most: int | None = None,
) -> int:
    """Gives the events of `selection` that failed for good, at most `most`, their attempts back; returns how many."""
    parameters = [selection.first, selection.before, selection.event_type, selection.reason, is_dry_run, most]
    with postgres.transaction() as connection:
        (retried,) = connection.execute(_RETRY_FAILED, parameters).fetchone() or (0,)
    if not is_dry_run:
        _audit(postgres, by, request_id, {"failed": retried})
    return int(retried)


def _registry(postgres: Postgres) -> Registry:
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return Registry(cursor.execute(STATEMENT).fetchall())


def _rejects(
    connection: psycopg.Connection[Any], selection: Selection, *, after: int, rows: int, is_locking: bool
) -> list[_Reject]:
    parameters = {**vars(selection), "source": SOURCE, "after": after, "rows": rows}
    statement = _REJECTS + ("for update skip locked" if is_locking else "")
    with connection.cursor(row_factory=class_row(_Reject)) as cursor:
        return cursor.execute(statement.encode(), parameters).fetchall()


def _verdicts(rejects: Sequence[_Reject], registry: Registry, settings: Settings) -> Iterator[Entry | Refusal]:
    now = utc_now()
    for reject, event_id in zip(rejects, time_ordered_ids(now, len(rejects)), strict=True):
        yield received(_raw(reject.event), event_id, registry, _reception(reject, settings, now))


def _raw(event: str) -> bytes:
    """The event as it was sent; what could not be read was kept as a text."""
    kept = msgspec.json.decode(event)
    if isinstance(kept, dict) and list(kept) == ["unreadable"]:
        return str(kept["unreadable"]).encode()
    return event.encode()


def _reception(reject: _Reject, settings: Settings, now: datetime) -> Reception:
    kept = reject.received if isinstance(reject.received, dict) else {}
    return Reception(
        max_depth=settings.max_json_depth,
        received_at=now,
        caller=kept.get("caller") or "unknown",
        origin="replay",
        address_keys={},
        country_of=lambda _: None,
        user_agent=kept.get("userAgent"),
        sent_at=_instant(kept.get("sentAt")),
        first_received_at=_instant(kept.get("receivedAt")) or reject.first_seen_at,
        kept_hash=kept.get("addressHash"),
        kept_country=kept.get("country"),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _insert(connection: psycopg.Connection[Any], entries: Sequence[Entry]) -> None:
    """Stores the entries; one that PostgreSQL refuses is narrowed down to and says so."""
    if not entries:
        return
    try:
        with connection.transaction():
            insert_append(connection, Append(utc_now().date(), entries), intake_id=INTAKE_ID)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        for entry in entries:
            entry.first_id = ""
        if len(entries) == 1:
            entries[0].refused = first_line(error)
            return
        middle = len(entries) // 2
        _insert(connection, entries[:middle])
        _insert(connection, entries[middle:])


def _settle(
    connection: psycopg.Connection[Any], rejects: Sequence[_Reject], verdicts: Sequence[Entry | Refusal]
) -> None:
    """Marks what is stored, renews the reason of what is still refused."""
    with connection.cursor() as cursor:
        for reject, verdict in zip(rejects, verdicts, strict=True):
            if reason := _reason(verdict):
                cursor.execute(_STILL_REFUSED, [reason, reject.reject_id])
            elif isinstance(verdict, Entry):
                cursor.execute(_REPLAYED, [str(UUID(verdict.first_id or verdict.event_id)), reject.reject_id])


def _reason(verdict: Entry | Refusal) -> str:
    return verdict.reason if isinstance(verdict, Refusal) else verdict.refused


def _count(outcome: Replayed, verdicts: Sequence[Entry | Refusal]) -> None:
    for verdict in verdicts:
        if _reason(verdict):
            outcome.rejected += 1
        elif isinstance(verdict, Entry) and verdict.first_id:
            outcome.duplicates += 1
        else:
            outcome.accepted += 1


def _audit(postgres: Postgres, by: str, request_id: str | None, details: dict[str, int]) -> None:
    with postgres.transaction() as connection:
        write_audit(connection, actor=by, action="replay", details=details, request_id=request_id)
