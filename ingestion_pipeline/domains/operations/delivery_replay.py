"""Deliveries that were rejected, or died while they were applied, go their way again once the reason is mended.

What they say is judged again, by the rules of now; who signed them, and when, was verified when they came and is not
judged again. What is still wrong stays rejected, with the reason of now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from ingestion_pipeline.core.deliveries import DeliveryType
from ingestion_pipeline.domains.operations.received import Reader, reason_of
from ingestion_pipeline.storage.audit import write_audit
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.scopes import AS_OPERATOR

DELIVERIES_PER_TRANSACTION = 50  # each may be as large as a request
MOST_REPLAYED = 10_000
_FIRST_ID = "00000000-0000-0000-0000-000000000000"

SELECTED = """
    status in ('rejected', 'dead')
    and (%(delivery_id)s::uuid is null or delivery_id = %(delivery_id)s::uuid)
    and (%(status)s::text is null or status = %(status)s)
    and (%(source)s::text is null or source = %(source)s)
    and (%(event_type)s::text is null or event_type = %(event_type)s)
    and (%(first)s::timestamptz is null or received_at >= %(first)s)
    and (%(before)s::timestamptz is null or received_at < %(before)s)
"""
"""What holds for the deliveries of a Selection."""

_CHOSEN = f"""
select delivery_id::text, source, event_type, payload, received_at
from operations.deliveries
where
    (received_at, delivery_id) > (%(after)s, %(after_id)s::uuid) and received_at <= %(started)s and {SELECTED}
order by deliveries.received_at, deliveries.delivery_id
limit %(rows)s
"""
_PENDING = (
    "update operations.deliveries set status = 'pending', reason = null, settled_at = null, attempt_count = 0, "
    "event_type = %(event_type)s, market_slug = %(market_slug)s, next_attempt_at = clock_timestamp(), "
    "replay_count = replay_count + 1, replayed_by = %(by)s where delivery_id = %(delivery_id)s"
)
_STILL_REJECTED = (
    "update operations.deliveries set status = 'rejected', reason = %(reason)s, replay_count = replay_count + 1, "
    "replayed_by = %(by)s where delivery_id = %(delivery_id)s"
)
ACTION = "deliveries replayed"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which refused deliveries: one, those of a status, source or type, received in `first` to before `before`.

    Everything that is given must hold.
    """

    delivery_id: str | None = None
    status: Literal["rejected", "dead"] | None = None
    source: str | None = None
    event_type: str | None = None
    first: datetime | None = None
    before: datetime | None = None

    def given(self) -> dict[str, str]:
        """Its filters, for the audit log."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value is not None
        }


@dataclass
class Replayed:
    """How many are pending again, and how many are still wrong."""

    replayed: int = 0
    rejected: int = 0

    @property
    def total(self) -> int:
        return self.replayed + self.rejected


@dataclass(frozen=True)
class _Refused:
    delivery_id: str
    source: str
    event_type: str
    payload: Any
    received_at: datetime


def replay(
    postgres: Postgres,
    types: Sequence[DeliveryType],
    selection: Selection,
    *,
    by: str,
    request_id: str | None = None,
    is_dry_run: bool = False,
    most: int = MOST_REPLAYED,
) -> Replayed:
    """Makes the deliveries of `selection`, at most `most` of them, oldest first, pending again.

    Two at once share the work. A dry run changes nothing. What is refused meanwhile is left for the next replay.

    Raises:
        StoreUnavailableError: what was committed until then is done and audited with the next replay.
    """
    reader, outcome = Reader(types), Replayed()
    with postgres.transaction() as connection:
        (started,) = connection.execute("select clock_timestamp()").fetchone() or (None,)
    chosen = {**asdict(selection), "started": started, "after": "-infinity", "after_id": _FIRST_ID}
    while outcome.total < most:
        chosen["rows"] = min(DELIVERIES_PER_TRANSACTION, most - outcome.total)
        with postgres.transaction() as connection:
            connection.execute(AS_OPERATOR)
            refused = _refused(connection, chosen, is_locking=not is_dry_run)
            verdicts = [(it, _reason(reader, it)) for it in refused]
            if refused and not is_dry_run:
                _settle(connection, verdicts, by)
                _audit(connection, by, request_id, selection, _counted(Replayed(), verdicts))
        if not refused:
            break
        _counted(outcome, verdicts)
        chosen |= {"after": refused[-1].received_at, "after_id": refused[-1].delivery_id}
    return outcome


def _refused(connection: psycopg.Connection[Any], chosen: Mapping[str, Any], *, is_locking: bool) -> list[_Refused]:
    statement = _CHOSEN + ("for update skip locked" if is_locking else "")
    with connection.cursor(row_factory=class_row(_Refused)) as cursor:
        return cursor.execute(statement.encode(), chosen).fetchall()


def _reason(reader: Reader, refused: _Refused) -> str | None:
    """Why it is still wrong; None if it is right."""
    return reason_of(reader.errors(refused.payload, source=refused.source)) or None


def _settle(connection: psycopg.Connection[Any], verdicts: Sequence[tuple[_Refused, str | None]], by: str) -> None:
    with connection.cursor() as cursor:
        for refused, reason in verdicts:
            chosen = {"delivery_id": refused.delivery_id, "by": by, "reason": reason}
            if reason is None:
                fields = {name: refused.payload.get(name) for name in ("event_type", "market_slug")}
                cursor.execute(_PENDING, chosen | fields)
            else:
                cursor.execute(_STILL_REJECTED, chosen)


def _counted(outcome: Replayed, verdicts: Sequence[tuple[_Refused, str | None]]) -> Replayed:
    for _, reason in verdicts:
        if reason is None:
            outcome.replayed += 1
        else:
            outcome.rejected += 1
    return outcome


def _audit(
    connection: psycopg.Connection[Any], by: str, request_id: str | None, selection: Selection, done: Replayed
) -> None:
    details = {**vars(done), "selection": selection.given()}
    write_audit(connection, actor=by, action=ACTION, details=details, request_id=request_id)
