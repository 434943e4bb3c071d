"""The inbox: what was delivered is kept once, and applied exactly once.

A delivery's effect and the mark that it is processed are one transaction, so a process may be killed anywhere. New
ones are applied in batches; one whose application has failed, or ended with its process, is from then on taken alone,
so that it takes no other with it. Belongs here: deliveries as they are stored. Does not belong here: what they say
(domains/operations/received.py), who applies them (each domain's assets).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec
import psycopg
import structlog
from psycopg.rows import class_row
from sqlalchemy.exc import DBAPIError

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import PermanentError, StoreUnavailableError
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.storage.postgres import Postgres, first_line

DELIVERIES_PER_BATCH = 500
BYTES_PER_BATCH = 16_000_000  # as PostgreSQL stores them
MOST_ATTEMPTS = 5
LEASE_SECONDS = 60
OUTAGE_SECONDS = 5
Scheme = Literal["sha256", "standard", "file"]
Apply = Callable[[psycopg.Connection[Any], Sequence["Delivery"]], None]

_LONGEST_REASON = 1_000
_WRONG_DATA = (PermanentError, psycopg.DataError, psycopg.errors.ProgramLimitExceeded, msgspec.ValidationError)
_CONNECTION_LOST = ("08", "53", "57P")  # classes of SQLSTATE: no connection, no resources, shut down
_NO_ROOM = ("530", "531", "533")  # disk full, too many connections; not out of memory, of which one may be the cause
_SCHEMA_BEHIND = "42"  # a table, column, function or right is not there: our fault, whatever was delivered

_ACCEPT = "select delivery_id::text, is_duplicate, is_same, status from operations.accept_deliveries(%s::jsonb)"
_DUE = (
    "select event_type, count(*) from operations.deliveries "
    "where status = 'pending' and next_attempt_at <= clock_timestamp() and event_type = any(%s) group by event_type"
)
_CLAIM = """
with due as (
    select delivery_id, received_at, pg_column_size(payload) as bytes from operations.deliveries
    where
        status = 'pending' and next_attempt_at <= clock_timestamp() and event_type = any(%(types)s)
        and (attempt_count = 0) = %(is_new)s
    order by {order}
    limit %(rows)s
    for update skip locked
),

fitting as (
    select delivery_id, sum(bytes) over (order by received_at, delivery_id) - bytes as bytes_before from due
)

update operations.deliveries as claimed
set
    attempt_count = claimed.attempt_count + 1, dagster_run_id = %(run_id)s,
    next_attempt_at = clock_timestamp() + make_interval(secs => %(lease)s)
from fitting
where claimed.delivery_id = fitting.delivery_id and fitting.bytes_before < %(bytes)s
returning
    claimed.delivery_id::text, claimed.source, claimed.event_type, claimed.market_slug, claimed.payload,
    claimed.received_at, claimed.signed_by, claimed.origin, claimed.attempt_count
"""
_CLAIM_NEW = _CLAIM.format(order="received_at, delivery_id")
_CLAIM_AGAIN = _CLAIM.format(order="attempt_count, received_at")  # one that kills comes after those that it killed
_LOCK = (
    "select delivery_id::text from operations.deliveries "
    "where delivery_id = any(%s::uuid[]) and status = 'pending' order by delivery_id for update"
)
_SETTLE = (
    "update operations.deliveries set status = 'processed', reason = null, settled_at = clock_timestamp() "
    "where delivery_id = any(%s::uuid[])"
)
_DIE = (
    "update operations.deliveries set status = 'dead', reason = %s, settled_at = clock_timestamp() "
    "where delivery_id = %s and status = 'pending'"
)
_RETRY = (
    "update operations.deliveries set next_attempt_at = clock_timestamp() + make_interval(secs => %s), "
    "reason = %s, attempt_count = attempt_count - %s where delivery_id = any(%s::uuid[]) and status = 'pending'"
)
_BURY = (
    "update operations.deliveries set status = 'dead', settled_at = clock_timestamp(), reason = coalesce("
    "reason, attempt_count || ' attempts ended with the process that made them') "
    "where status = 'pending' and event_type = any(%s) and attempt_count >= %s "
    "and next_attempt_at <= clock_timestamp() returning event_type"
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class NewDelivery:
    """What came in. `payload` is JSON; one with a `reason` is kept as rejected."""

    source: str
    idempotency_key: str
    event_type: str
    payload: bytes
    scheme: Scheme
    signed_by: str
    market_slug: str | None = None
    reason: str | None = None
    signed_at: datetime | None = None
    origin: str = "http"
    request_id: str | None = None


@dataclass(frozen=True)
class Accepted:
    """The delivery that is kept for a new one: itself, or the one that it repeats, with the same payload or another."""

    delivery_id: str
    is_duplicate: bool
    is_same: bool
    status: str


@dataclass(frozen=True)
class Delivery:
    """One delivery to apply. `payload["data"]` is what its DeliveryType describes."""

    delivery_id: str
    source: str
    event_type: str
    market_slug: str | None
    payload: Mapping[str, Any]
    received_at: datetime
    signed_by: str
    origin: str
    attempt_count: int


@dataclass
class Applied:
    """What became of the deliveries of a pass; `by_market` counts the processed ones."""

    processed: int = 0
    dead: int = 0
    retried: int = 0
    by_market: Counter[str] = field(default_factory=Counter)


async def accept(connection: psycopg.AsyncConnection[Any], delivery: NewDelivery) -> Accepted:
    """Keeps `delivery` in the transaction of `connection`, unless it is there."""
    async with connection.cursor(row_factory=class_row(Accepted)) as cursor:
        await cursor.execute(_ACCEPT, _parameters([delivery]))
        (accepted,) = await cursor.fetchall()
    return accepted


def accept_all(connection: psycopg.Connection[Any], deliveries: Sequence[NewDelivery]) -> list[Accepted]:
    """Keeps each of `deliveries` in the transaction of `connection`, unless it is there; all of them in one call."""
    with connection.cursor(row_factory=class_row(Accepted)) as cursor:
        return cursor.execute(_ACCEPT, _parameters(deliveries)).fetchall()


def due(postgres: Postgres, event_types: Sequence[str]) -> dict[str, int]:
    """How many deliveries of each type are to be applied now; types without any are left out."""
    with postgres.transaction() as connection:
        return dict(connection.execute(_DUE, [list(event_types)]).fetchall())


def apply_pending(postgres: Postgres, event_types: Sequence[str], apply: Apply, *, run_id: str) -> Applied:
    """Applies every delivery of `event_types` that is due, each exactly once, until none is.

    Args:
        postgres: Logs in as the worker.
        event_types: Those that `apply` knows.
        apply: Writes what the deliveries say, in the transaction that it is given and nowhere else; oldest first.
        run_id: Of the Dagster run, kept with the delivery.

    Raises:
        StoreUnavailableError: a store is away; what was applied until then is, the rest is due again soon.
        psycopg.ProgrammingError: the schema is not the one that this code expects; the same.
    """
    types = list(event_types)
    outcome = Applied()
    with postgres.transaction() as connection:
        for (event_type,) in connection.execute(_BURY, [types, MOST_ATTEMPTS]).fetchall():
            _count_dead(outcome, event_type)
    while claimed := _claimed(postgres, types, run_id):
        try:
            applied = _applied(postgres, apply, claimed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this delivery's fate and no other's
            _fail(postgres, outcome, claimed, error)
        else:
            _count_processed(outcome, applied)
    return outcome


def _parameters(deliveries: Sequence[NewDelivery]) -> list[str]:
    given = [{**vars(delivery), "payload": msgspec.Raw(delivery.payload)} for delivery in deliveries]
    return [msgspec.json.encode(given).decode()]


def _claimed(postgres: Postgres, types: list[str], run_id: str) -> list[Delivery]:
    """Many that are new, else one that was tried before; oldest first."""
    chosen = {"types": types, "run_id": run_id, "lease": LEASE_SECONDS, "bytes": BYTES_PER_BATCH}
    with postgres.transaction() as connection, connection.cursor(row_factory=class_row(Delivery)) as cursor:
        found = cursor.execute(_CLAIM_NEW, {**chosen, "is_new": True, "rows": DELIVERIES_PER_BATCH}).fetchall()
        if not found:
            found = cursor.execute(_CLAIM_AGAIN, {**chosen, "is_new": False, "rows": 1}).fetchall()
    return sorted(found, key=lambda delivery: (delivery.received_at, delivery.delivery_id))


def _applied(postgres: Postgres, apply: Apply, claimed: Sequence[Delivery]) -> list[Delivery]:
    """Applies and settles those that nobody else has settled since they were claimed."""
    with postgres.transaction() as connection:
        rows = connection.execute(_LOCK, [[delivery.delivery_id for delivery in claimed]]).fetchall()
        ours = {delivery_id for (delivery_id,) in rows}
        deliveries = [delivery for delivery in claimed if delivery.delivery_id in ours]
        if deliveries:
            apply(connection, deliveries)
            connection.execute(_SETTLE, [list(ours)])
    return deliveries


def _fail(postgres: Postgres, outcome: Applied, claimed: Sequence[Delivery], error: Exception) -> None:
    """A batch is tried again one by one; a single delivery dies or waits.

    Raises:
        StoreUnavailableError: `error`, when a store is away.
        psycopg.ProgrammingError: `error`, when the schema is not the one that this code expects.
    """
    cause = _cause(error)
    reason = _reason(cause)
    if isinstance(error, StoreUnavailableError) and not isinstance(cause, psycopg.Error):
        # another store than PostgreSQL is away: no fault of the deliveries, and they lose no attempt by it
        _retry(postgres, claimed, OUTAGE_SECONDS, reason=reason, given_back=1)
        raise error
    if isinstance(error, StoreUnavailableError) and _is_connection_lost(cause):
        with suppress(
            StoreUnavailableError
        ):  # then their lease ends by itself; the attempt counts: one may be the cause
            _retry(postgres, claimed, OUTAGE_SECONDS, reason=reason, given_back=int(_is_of(cause, _NO_ROOM)))
        raise error
    if _is_of(cause, (_SCHEMA_BEHIND,)):
        _retry(postgres, claimed, OUTAGE_SECONDS, reason=reason, given_back=1)
        raise error
    if len(claimed) > 1:
        _log.warning("a batch of deliveries is applied one by one", deliveries=len(claimed), reason=reason)
        _retry(postgres, claimed, 0, reason=None)
        return
    (delivery,) = claimed
    if isinstance(cause, _WRONG_DATA) or delivery.attempt_count >= MOST_ATTEMPTS:
        _log.error("a delivery is dead", delivery_id=delivery.delivery_id, reason=reason, exc_info=error)
        with postgres.transaction() as connection:
            connection.execute(_DIE, [reason, delivery.delivery_id])
        _count_dead(outcome, delivery.event_type)
        return
    _log.warning("a delivery is tried again", delivery_id=delivery.delivery_id, reason=reason, exc_info=error)
    _retry(postgres, claimed, 2**delivery.attempt_count, reason=reason)
    outcome.retried += 1


def _cause(error: Exception) -> BaseException:
    """What storage/postgres.py took for an outage, which is not always one."""
    cause = (error.__cause__ if isinstance(error, StoreUnavailableError) else None) or error
    return (cause.orig if isinstance(cause, DBAPIError) else None) or cause


def _is_connection_lost(cause: BaseException) -> bool:
    return getattr(cause, "sqlstate", None) is None or _is_of(cause, _CONNECTION_LOST)


def _is_of(cause: BaseException, classes: tuple[str, ...]) -> bool:
    """Is it an error of PostgreSQL whose SQLSTATE starts like one of `classes`?"""
    return (getattr(cause, "sqlstate", None) or "").startswith(classes)


def _retry(
    postgres: Postgres, claimed: Sequence[Delivery], seconds: float, *, reason: str | None, given_back: int = 0
) -> None:
    ids = [delivery.delivery_id for delivery in claimed]
    with postgres.transaction() as connection:
        connection.execute(_RETRY, [seconds, reason, given_back, ids])


def _reason(error: BaseException) -> str:
    """What PostgreSQL can store of it."""
    text = f"{type(error).__name__}: {first_line(error) if isinstance(error, Exception) else error}"
    return text.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode()[:_LONGEST_REASON]


def _count_processed(outcome: Applied, applied: Sequence[Delivery]) -> None:
    now = utc_now()
    for delivery in applied:
        outcome.processed += 1
        if delivery.market_slug:
            outcome.by_market[delivery.market_slug] += 1
        labels = {"event_type": delivery.event_type}
        metrics.counter("deliveries_settled_total", labels={**labels, "outcome": "processed"})
        metrics.histogram("delivery_wait_seconds", max(0.0, (now - delivery.received_at).total_seconds()), labels)


def _count_dead(outcome: Applied, event_type: str) -> None:
    outcome.dead += 1
    metrics.counter("deliveries_settled_total", labels={"event_type": event_type, "outcome": "dead"})
