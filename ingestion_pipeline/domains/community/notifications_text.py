"""What an author is told, in words. Pure.

A donor who wants to be anonymous stays so, and what strangers call themselves, or a rule, can neither call others nor
look like more than a name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

NotificationKind = Literal["new_donation", "leaderboard_entry", "milestone"]
KINDS: tuple[NotificationKind, ...] = ("new_donation", "leaderboard_entry", "milestone")

DIGEST_LINES = 12
_LONGEST_NAME = 60
_NO_NAME = re.compile(r"[^\w .,'-]+|\.(?=\S)")
_PERIODS = {"DAILY": "daily", "WEEKLY": "weekly", "MONTHLY": "monthly", "ALL_TIME": "all-time"}


@dataclass(frozen=True, kw_only=True)
class Notification:
    """A row of the outbox, claimed until `lease_until`. Those of one `batch_id` are one message."""

    id: str
    idempotency_key: str
    person_id: str
    kind: NotificationKind
    payload: Mapping[str, Any]
    created_at: datetime
    batch_id: str | None
    attempts: int
    lease_until: datetime
    target: str | None


def message_key(notification: Notification) -> str:
    """What a receiver knows a message by: the same whenever it is sent again."""
    return f"batch:{notification.batch_id}" if notification.batch_id else notification.idempotency_key


def message_text(notifications: Sequence[Notification], donors: Mapping[str, str]) -> str:
    """One sentence, or a list of them.

    Args:
        notifications: Of one message, oldest first.
        donors: The names of those who are not anonymous, by payment intent.
    """
    if len(notifications) == 1:
        return sentence(notifications[0], donors)
    lines = [f"- {sentence(it, donors)}" for it in notifications[:DIGEST_LINES]]
    more = len(notifications) - len(lines)
    return "\n".join([f"{len(notifications)} news:", *lines, *([f"… and {more} more"] if more else [])])


def sentence(notification: Notification, donors: Mapping[str, str]) -> str:
    """What happened."""
    payload = notification.payload
    if notification.kind == "new_donation":
        name = plain_name(donors.get(payload["paymentIntent"], ""))
        rule = plain_name(payload["ruleId"] or "")
        given = f"{_amount(payload['amount'])} {payload['currency']}"
        return f"{name or 'Somebody'} donated {given}{rule and f' for {rule}'}."
    if notification.kind == "leaderboard_entry":
        board = f"number {payload['rank']} of the {_PERIODS[payload['period']]} board"
        if payload["kind"] == "AUTHOR":
            return f"You are {board} of authors ({payload['day']})."
        rule = plain_name(payload["title"] or payload["subjectId"])
        return f"Your rule{rule and f' {rule}'} is {board} of rules ({payload['day']})."
    if payload["metric"] == "views":
        return f"Your rules have been viewed {payload['threshold']:,} times."
    return f"You have received {payload['threshold']:,} donations."


def _amount(text: str) -> str:
    """As money is written: 12.50, 500, 1.234."""
    whole, _, rest = text.partition(".")
    cents = rest.rstrip("0")
    return f"{whole}.{cents:0<2}" if cents else whole


def plain_name(name: str) -> str:
    """`name` as words, without what a messenger takes for a mention, a link or markup."""
    return " ".join(_NO_NAME.sub(" ", name).split())[:_LONGEST_NAME]
