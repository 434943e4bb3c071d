"""Tells authors what happened: puts it into the outbox once, sends what is due, records what became of it.

At least once: what is claimed is sent and then settled; a sender that dies leaves it to the next, which sends the same
message with the same key. docs/notifications.md.

Belongs here: what is news, when it is tried again. Does not belong here: how it is sent (providers/alerts.py), its
words (notifications_text.py), where it may go (notifications_targets.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

import structlog
from psycopg.rows import class_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import DAY
from ingestion_pipeline.domains.community.notifications_targets import target_of
from ingestion_pipeline.domains.community.notifications_text import Notification, message_key, message_text
from ingestion_pipeline.providers.alerts import Message, Target, Words, deliver
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.alerts import Alert, raise_alert
from ingestion_pipeline.storage.postgres import Postgres

TOP_PLACES = 10
DONATION_DAYS, BOARD_DAYS = timedelta(days=7), timedelta(days=2)
"""How old what is told may be: a backfill of old days tells nobody."""
MOST_PEOPLE, MOST_ROWS, MOST_SINGLES = 50, 200, 5
LEASE = timedelta(minutes=2)
FIRST_RETRY, LONGEST_RETRY = timedelta(minutes=1), timedelta(hours=6)
MOST_ATTEMPTS = 10
GIVEN_UP_ALERT = "notifications:given_up"
NO_TARGET, SENDER_DIED = "the person has no target any more", "the sender died"
KEPT = timedelta(days=365)
"""How long a notification stays that is not to be sent any more."""

_CLAIM = (
    "select id::text, idempotency_key, person_id, kind, payload, created_at, batch_id::text, attempts, lease_until, "
    "target from community.claim_notifications(%s, %s, %s, %s, %s)"
)
_SETTLE = "select community.settle_notifications(%s::uuid[], %s, %s, %s, %s)"
_BURY = "select community.bury_notifications(%s, %s)"
_REMOVE_OLD = "select community.remove_old_notifications(%s)"
_DONORS = """
select payment_intent, donor_name from community.donations
where payment_intent = any(%s) and not is_anonymous and donor_name is not null
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Sent:
    """What one round of sending did, in notifications; `message_count` in messages."""

    claimed_count: int = 0
    message_count: int = 0
    failed_count: int = 0
    given_up_count: int = 0


@dataclass(frozen=True)
class _Mail:
    """One message: of one row, or of the rows of one batch."""

    notifications: Sequence[Notification]
    target: Target | None
    problem: str | None = None

    @property
    def first(self) -> Notification:
        return self.notifications[0]


def announce_donations(postgres: Postgres, *, now: datetime | None = None) -> int:
    """Puts donations that were paid in the last days into the outbox, each once; returns how many are news."""
    at = now or utc_now()
    return _count(postgres, "select community.notify_donations(%s, %s)", [at - DONATION_DAYS, at])


def announce_boards(postgres: Postgres, days: Sequence[date], *, now: datetime | None = None) -> int:
    """Puts who came among the first of the GLOBAL boards of `days` into the outbox; returns how many are news.

    Only of days that are over, lest each hour of a day has its own winners, and of the last two.
    """
    at = now or utc_now()
    told = [day for day in days if at.date() - BOARD_DAYS <= day < at.date()]
    return sum(
        _count(postgres, "select community.notify_leaderboards(%s, %s, %s)", [day, TOP_PLACES, at]) for day in told
    )


def announce_milestones(postgres: Postgres, *, now: datetime | None = None) -> int:
    """Puts the highest milestones of authors of the last days into the outbox; returns how many are news."""
    at = now or utc_now()
    return _count(postgres, "select community.notify_milestones(%s, %s)", [at.date() - DAY, at])


def send_due(
    postgres: Postgres, settings: Settings, *, may_be_private: bool = False, now: datetime | None = None
) -> Sent:
    """Sends what is due to some persons; what a target does not take is due again after a while, then given up.

    Args:
        postgres: The worker's.
        settings: Whose secrets are kept out of texts.
        may_be_private: Targets may be addresses of private networks. Never what alerts may: strangers say these.
        now: The clock.
    """
    at = now or utc_now()
    if buried := _count(postgres, _BURY, [MOST_ATTEMPTS, at]):
        _raise(postgres, buried, {SENDER_DIED}, at)
    claimed = _claimed(postgres, at)
    if not claimed:
        return Sent(given_up_count=buried)
    mails = [
        _mail(list(rows))
        for _, rows in groupby(sorted(claimed, key=_message_order), key=lambda it: (it.person_id, message_key(it)))
    ]
    donors = _donors(postgres, claimed)
    given = settings.model_copy(update={"alert_private_targets": may_be_private})
    settled = _delivered(mails, donors, given)
    given_up = _settle(postgres, settled, at)
    given_up_count = sum(len(it.notifications) for it in given_up)
    if given_up:
        _raise(postgres, given_up_count, {it.problem or "" for it in given_up}, at)
    failed = sum(len(it.notifications) for it in settled if it.problem)
    return Sent(len(claimed), len(mails), failed, buried + given_up_count)


def remove_old(postgres: Postgres, *, now: datetime | None = None) -> int:
    """Removes what nobody is told any more, KEPT after it happened; returns how many. None of it is told again."""
    return _count(postgres, _REMOVE_OLD, [(now or utc_now()) - KEPT])


def _claimed(postgres: Postgres, at: datetime) -> list[Notification]:
    with postgres.transaction() as connection, connection.cursor(row_factory=class_row(Notification)) as cursor:
        return cursor.execute(_CLAIM, [MOST_PEOPLE, MOST_ROWS, MOST_SINGLES, LEASE, at]).fetchall()


def _message_order(it: Notification) -> tuple[Any, ...]:
    return it.person_id, message_key(it), it.created_at, it.id


def _mail(rows: Sequence[Notification]) -> _Mail:
    target = rows[0].target
    return _Mail(rows, target_of(rows[0].person_id, target) if target else None)


def _donors(postgres: Postgres, claimed: Sequence[Notification]) -> dict[str, str]:
    """The names of donors who are not anonymous now, by payment intent."""
    intents = [it.payload["paymentIntent"] for it in claimed if it.kind == "new_donation"]
    if not intents:
        return {}
    with postgres.transaction() as connection:
        return dict(connection.execute(_DONORS, [intents]).fetchall())


def _delivered(mails: Sequence[_Mail], donors: Mapping[str, str], settings: Settings) -> list[_Mail]:
    """The same with what became of each."""
    words = Words(settings)
    by_target: dict[Target, list[_Mail]] = {}
    for it in mails:
        if it.target:
            by_target.setdefault(it.target, []).append(it)
    outcomes = deliver(
        {target: [_message(it, donors, words) for it in theirs] for target, theirs in by_target.items()}, settings
    )
    settled = [replace(it, problem=NO_TARGET) for it in mails if it.target is None]
    for target, theirs in by_target.items():
        settled += [replace(it, problem=told) for it, told in zip(theirs, outcomes[target], strict=True)]
    return settled


def _message(mail: _Mail, donors: Mapping[str, str], words: Words) -> Message:
    """The same whenever it is sent: what happened, not when we say it."""
    context = {"notification": mail.first.kind, "idempotency_key": message_key(mail.first)}
    if mail.first.batch_id:
        context |= {"notification": "digest", "count": str(len(mail.notifications))}
    if mail.target and mail.target.kind == "apprise":
        context = {}  # it would be text that people read, and a key has what strangers call their rule
    text = words.clean(message_text(mail.notifications, donors))
    return Message("info", text, context, mail.notifications[-1].created_at)


def _settle(postgres: Postgres, mails: Sequence[_Mail], at: datetime) -> list[_Mail]:
    """Records what became of them; those that were given up."""
    given_up = []
    with postgres.transaction() as connection:
        for mail in mails:
            retry_at = _retry_at(mail, at)
            if mail.problem and retry_at is None:
                given_up.append(mail)
            ids = [it.id for it in mail.notifications]
            connection.execute(_SETTLE, [ids, mail.first.lease_until, mail.problem, retry_at, at])
    return given_up


def _retry_at(mail: _Mail, at: datetime) -> datetime | None:
    attempts = max(it.attempts for it in mail.notifications)
    if not mail.problem or mail.target is None or attempts >= MOST_ATTEMPTS:
        return None
    wait: timedelta = min(FIRST_RETRY * 2 ** (attempts - 1), LONGEST_RETRY)
    return at + wait


def _raise(postgres: Postgres, count: int, problems: Collection[str], at: datetime) -> None:
    log.warning("notifications given up", count=count, reasons=sorted(problems))
    text = f"{count} notification(s) to authors were given up: {'; '.join(sorted(problems)[:3])}"
    raise_alert(postgres, Alert("warning", text), GIVEN_UP_ALERT, is_lasting=False, now=at)


def _count(postgres: Postgres, statement: str, values: Sequence[object]) -> int:
    with postgres.transaction() as connection:
        ((count,),) = connection.execute(statement.encode(), values).fetchall()
    return int(count)
