"""The outbox of alerts: what is wrong is raised and cleared here, and what is due to be said is claimed and settled.

The transitions are SQL functions (sql/functions/alerts_*.sql), so that any number of processes may raise and send at
the same time. A notice is said at least once to every target: whoever claims one and dies leaves it to the next.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.logs import redact
from ingestion_pipeline.settings import Severity
from ingestion_pipeline.storage.postgres import Postgres

NoticeKind = Literal["alert", "reminder", "recovery"]

MOST_NOTICES = 5000
LEASE = timedelta(minutes=2)
QUIET_TIME = timedelta(minutes=1)  # how long a condition must be over before that is announced
_LONGEST_KEY, _LONGEST_MESSAGE = 300, 4000

_RAISE = "select operations.raise_alert(%s, %s, %s, %s, %s, %s)"
_CLEAR = "select operations.clear_alert(%s, %s)"
_CLAIM = "select * from operations.claim_notices(%s, %s, %s, %s)"
_SETTLE = "select operations.settle_notice(%s, %s, %s, %s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True)
class Alert:
    """What is wrong. `context` says where: short texts by name."""

    severity: Severity
    message: str
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that is due to be said of an alert, claimed until `lease_until`."""

    alert_id: str
    key: str
    alert: Alert
    kind: NoticeKind
    is_lasting: bool
    first_raised_at: datetime
    raised_count: int
    resolved_at: datetime | None
    lease_until: datetime
    reached: tuple[str, ...]
    failure_count: int


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What became of a notice. Without `retry_at` it is done, whoever took it."""

    notice: Notice
    took_it: Collection[str]
    problem: str | None
    retry_at: datetime | None
    remind_at: datetime


def raise_alert(
    postgres: Postgres, alert: Alert, key: str, *, is_lasting: bool = True, now: datetime | None = None
) -> bool:
    """Raises one alert; True if there is something new to say. `raise_alerts` tells the rest."""
    return key in raise_alerts(postgres, {key: alert}, is_lasting=is_lasting, now=now)


def raise_alerts(
    postgres: Postgres, alerts: Mapping[str, Alert], *, is_lasting: bool = True, now: datetime | None = None
) -> set[str]:
    """Raises alerts by key; returns the keys of which there is something new to say.

    An alert of a key that is open is counted, and said again only if it has become more severe. One that lasts is open
    until it is cleared: then a recovery is said. One that does not is over by itself, without a word.
    """
    at = now or utc_now()
    news = set()
    with postgres.transaction() as connection:
        for key in sorted(alerts):  # in the order of keys: two that raise the same ones then wait for each other
            values = _raised(key, alerts[key], is_lasting=is_lasting, at=at)
            if _first(connection.execute(_RAISE, values)):
                news.add(key)
    return news


def clear_alerts(postgres: Postgres, keys: Collection[str], *, now: datetime | None = None) -> set[str]:
    """Says that what these open alerts tell of is over; returns those of which it was not known."""
    at = now or utc_now()
    with postgres.transaction() as connection:
        return {key for key in sorted(keys) if _first(connection.execute(_CLEAR, [_short(key), at]))}


def resolve_alert(postgres: Postgres, key: str, *, now: datetime | None = None) -> bool:
    """Says that what the open alert of `key` tells of is over; a recovery is due once it has been so for QUIET_TIME."""
    return bool(clear_alerts(postgres, [key], now=now))


def open_alerts(postgres: Postgres) -> dict[str, datetime]:
    """The keys of alerts that are raised and not over, with when they were last raised."""
    statement = (
        "select alert_key, last_raised_at from operations.alerts where resolved_at is null and cleared_at is null"
    )
    with postgres.transaction() as connection:
        return {str(key): at for key, at in connection.execute(statement).fetchall()}


def due_notices(
    postgres: Postgres, *, now: datetime | None = None, most: int = MOST_NOTICES, lease: timedelta = LEASE
) -> list[Notice]:
    """Resolves what is over and claims what is due to be said, most severe first, oldest first."""
    with postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_CLAIM, [most, lease, QUIET_TIME, now or utc_now()]).fetchall()
    ranks: Sequence[Severity] = ("critical", "error", "warning", "info")
    return sorted(map(_notice, rows), key=lambda it: (ranks.index(it.alert.severity), it.first_raised_at, it.key))


def settle_notices(postgres: Postgres, settlements: Sequence[Settlement], *, now: datetime | None = None) -> int:
    """Records what became of claimed notices; returns how many claims were still ours."""
    at = now or utc_now()
    with postgres.transaction() as connection:
        return sum(bool(_first(connection.execute(_SETTLE, _settled(it, at)))) for it in settlements)


def _raised(key: str, alert: Alert, *, is_lasting: bool, at: datetime) -> list[object]:
    context = {_plain(name): _plain(value) for name, value in alert.context.items()}
    return [
        _short(key),
        alert.severity,
        _plain(alert.message)[:_LONGEST_MESSAGE] or "-",
        Jsonb(context),
        is_lasting,
        at,
    ]


def _settled(it: Settlement, at: datetime) -> list[object]:
    notice = it.notice
    return [
        notice.alert_id,
        notice.lease_until,
        sorted(it.took_it),
        it.problem,
        it.retry_at,
        it.remind_at,
        notice.raised_count,
        notice.alert.severity,
        at,
    ]


def _notice(row: Mapping[str, Any]) -> Notice:
    return Notice(
        alert_id=str(row["alert_id"]),
        key=row["alert_key"],
        alert=Alert(row["severity"], row["message"], row["context"]),
        # nobody was told of it so far, whatever was tried
        kind="alert" if row["notice"] == "reminder" and row["notified_at"] is None else row["notice"],
        is_lasting=row["is_lasting"],
        first_raised_at=row["first_raised_at"],
        raised_count=row["raised_count"],
        resolved_at=row["resolved_at"],
        lease_until=row["lease_until"],
        reached=tuple(row["reached"]),
        failure_count=row["failure_count"],
    )


def _first(cursor: Any) -> Any:
    row = cursor.fetchone()
    return row and row[0]


def _short(key: str) -> str:
    return _plain(key)[:_LONGEST_KEY] or "-"


def _plain(text: str) -> str:
    """What PostgreSQL can keep, without the passwords of URLs."""
    return redact(text.replace("\x00", "").encode("utf-8", "backslashreplace").decode())
