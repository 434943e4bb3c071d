"""Says what is due to be said: claims notices, makes few messages of many, sends them, records who took them.

At most MOST_MESSAGES go to a target in one tick: the most severe by themselves, the rest as a digest.

Belongs here: what is said, to whom, and when again. Does not belong here: what is wrong (alerts.py), how it is sent
(providers/alerts.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.providers.alerts import Message, Target, Words, deliver, targets
from ingestion_pipeline.settings import Settings, Severity
from ingestion_pipeline.storage.alerts import Alert, Notice, NoticeKind, Settlement, due_notices, settle_notices
from ingestion_pipeline.storage.postgres import Postgres

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error", "critical")
MOST_MESSAGES = 5
DIGEST_LINES, DIGEST_LINE = 8, 90
FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=15), timedelta(minutes=15)
MOST_ATTEMPTS = 8  # of targets that do not take what another has taken; nobody having taken it, it is tried on

log = structlog.get_logger(__name__)

Group = tuple[Message, Sequence[Notice]]


@dataclass(frozen=True)
class Told:
    """What one round of telling did."""

    due_count: int = 0
    message_count: int = 0
    failed_count: int = 0


def tell(postgres: Postgres, settings: Settings, *, now: datetime | None = None) -> Told:
    """Sends what is due to every target that has not got it; what one did not take is due again after a while."""
    at = now or utc_now()
    notices = due_notices(postgres, now=at)
    if not notices:
        return Told()
    wanted = [notice for notice in notices if _is_wanted(notice, settings)]
    everybody = targets(settings)
    plan = {target: grouped(_lacking(wanted, target), Words(settings), at) for target in everybody}
    outcomes = _sent({target: groups for target, groups in plan.items() if groups}, settings)
    settle_notices(postgres, [_settlement(notice, everybody, outcomes, settings, at) for notice in notices], now=at)
    failed = {notice for problems in outcomes.values() for notice, problem in problems.items() if problem}
    return Told(len(notices), sum(map(len, plan.values())), len(failed))


def send_at_once(settings: Settings, key: str, alert: Alert, *, now: datetime) -> None:
    """Sends an alert that could not be kept, once, to whoever takes it now."""
    if SEVERITIES.index(alert.severity) < SEVERITIES.index(settings.alert_min_severity):
        return
    message = _worded(alert, Words(settings), now, alert=key, notice="alert")
    if everybody := targets(settings):
        deliver({target: [message] for target in everybody}, settings)


def grouped(notices: Sequence[Notice], words: Words, now: datetime) -> list[Group]:
    """Messages for `notices`, each with those that it tells of: the most severe one by one, the rest in a digest."""
    ordered = sorted(notices, key=lambda it: -SEVERITIES.index(_severity(it)))
    alone = ordered if len(ordered) <= MOST_MESSAGES else ordered[: MOST_MESSAGES - 1]
    groups: list[Group] = [(_message(notice, words, now), [notice]) for notice in alone]
    if rest := ordered[len(alone) :]:
        groups.append((_digest(rest, words, now), rest))
    return groups


def _message(notice: Notice, words: Words, now: datetime) -> Message:
    said = Alert(_severity(notice), _text(notice), notice.alert.context)
    return _worded(said, words, now, alert=notice.key, notice=notice.kind)


def _worded(said: Alert, words: Words, now: datetime, **about: str) -> Message:
    context = words.clean_context({**said.context, **about})
    return Message(said.severity, words.clean(said.message), context, now)


def _text(notice: Notice) -> str:
    text, since = notice.alert.message, f"{notice.first_raised_at:%Y-%m-%d %H:%M} UTC"
    if notice.kind == "recovery":
        return f"over: {text} (since {since})"
    if notice.kind == "reminder":
        return f"still: {text} (since {since})" if notice.is_lasting else f"{notice.raised_count} times: {text}"
    return text


def _digest(notices: Sequence[Notice], words: Words, now: datetime) -> Message:
    kinds = Counter(notice.kind for notice in notices)
    names: dict[NoticeKind, str] = {"alert": "new", "reminder": "lasting", "recovery": "over"}
    counts = ", ".join(f"{kinds[kind]} {name}" for kind, name in names.items() if kinds[kind])
    lines = [words.clean(_text(notice))[:DIGEST_LINE] for notice in notices[:DIGEST_LINES]]
    more = ["…"] if len(notices) > DIGEST_LINES else []
    context = {"alert": "digest", "notice": "digest", "count": str(len(notices))}
    text = f"{len(notices)} more alerts ({counts}): {'; '.join([*lines, *more])}"
    return Message(_severity(notices[0]), text, context, now)


def _sent(plan: Mapping[Target, Sequence[Group]], settings: Settings) -> dict[str, dict[str, str | None]]:
    """By target and alert: None where it was taken, else why not."""
    if not plan:
        return {}
    outcomes = deliver({target: [message for message, _ in groups] for target, groups in plan.items()}, settings)
    return {
        target.name: {
            notice.alert_id: problem
            for (_, notices), problem in zip(groups, outcomes[target], strict=True)
            for notice in notices
        }
        for target, groups in plan.items()
    }


def _settlement(
    notice: Notice,
    everybody: Sequence[Target],
    outcomes: Mapping[str, Mapping[str, str | None]],
    settings: Settings,
    now: datetime,
) -> Settlement:
    asked = {
        it.name: outcomes[it.name][notice.alert_id] for it in everybody if notice.alert_id in outcomes.get(it.name, {})
    }
    took_it = [name for name, problem in asked.items() if problem is None]
    problems = [f"{name}: {problem}" for name, problem in asked.items() if problem]
    is_given_up = notice.failure_count + 1 >= MOST_ATTEMPTS and (notice.reached or took_it)
    if problems and is_given_up:
        log.error("alert given up", alert=notice.key, targets=problems)
    wait = min(FIRST_RETRY * 2 ** min(notice.failure_count, 10), LONGEST_RETRY)
    return Settlement(
        notice=notice,
        took_it=took_it,
        problem="; ".join(problems) or None,
        retry_at=now + wait if problems and not is_given_up else None,
        remind_at=now + timedelta(minutes=settings.alert_reminder_minutes),
    )


def _lacking(notices: Sequence[Notice], target: Target) -> list[Notice]:
    return [notice for notice in notices if target.name not in notice.reached]


def _is_wanted(notice: Notice, settings: Settings) -> bool:
    """Whoever was told of an alert is told that it is over."""
    least = SEVERITIES.index(settings.alert_min_severity)
    return notice.kind == "recovery" or SEVERITIES.index(notice.alert.severity) >= least


def _severity(notice: Notice) -> Severity:
    return "info" if notice.kind == "recovery" else notice.alert.severity
