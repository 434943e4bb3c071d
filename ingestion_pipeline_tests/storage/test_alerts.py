"""The outbox of alerts on a real PostgreSQL, as the worker's role; time is passed in."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.settings import Severity
from ingestion_pipeline.storage.alerts import (
    LEASE,
    QUIET_TIME,
    Alert,
    Notice,
    Settlement,
    clear_alerts,
    due_notices,
    open_alerts,
    raise_alert,
    raise_alerts,
    resolve_alert,
    settle_notices,
)
from ingestion_pipeline.storage.postgres import Postgres

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
REMINDER = timedelta(hours=4)
SECOND = timedelta(seconds=1)


def full(severity: Severity = "error") -> Alert:
    return Alert(severity, "the disk is full", {"disk": "sda"})


def claimed(postgres: Postgres, at: datetime) -> list[tuple[str, str]]:
    """What is due, which nobody else gets meanwhile."""
    return [(notice.key, notice.kind) for notice in due_notices(postgres, now=at)]


def told(
    postgres: Postgres, at: datetime, *targets: str, problem: str | None = None, retry: timedelta | None = None
) -> list[tuple[str, str]]:
    """Claims what is due and settles it: these targets took it."""
    notices = due_notices(postgres, now=at)
    assert len(notices) == settle_notices(
        postgres, [settled(it, at, *targets, problem=problem, retry=retry) for it in notices], now=at
    )
    return [(notice.key, notice.kind) for notice in notices]


def settled(
    notice: Notice, at: datetime, *targets: str, problem: str | None = None, retry: timedelta | None = None
) -> Settlement:
    return Settlement(
        notice=notice,
        took_it=targets,
        problem=problem,
        retry_at=at + retry if retry else None,
        remind_at=at + REMINDER,
    )


def row(database_url: str, key: str = "disk:sda") -> dict[str, Any]:
    with psycopg.connect(database_url, row_factory=psycopg.rows.dict_row) as connection:
        rows = connection.execute(
            "select * from operations.alerts where alert_key = %s order by first_raised_at", [key]
        )
        return rows.fetchall()[-1]


def test_an_alert_raised_again_is_counted_and_said_once(postgres: Postgres, database_url: str) -> None:
    assert raise_alert(postgres, full(), "disk:sda", now=NOON)
    assert not raise_alert(postgres, Alert("error", "fuller", {}), "disk:sda", now=NOON + SECOND)
    assert [("disk:sda", "alert")] == told(postgres, NOON + 2 * SECOND, "a")
    assert not raise_alert(postgres, full(), "disk:sda", now=NOON + 3 * SECOND)
    assert [] == claimed(postgres, NOON + 4 * SECOND)
    found = row(database_url)
    assert (3, NOON, NOON + 3 * SECOND) == (found["raised_count"], found["first_raised_at"], found["last_raised_at"])
    assert ("the disk is full", {"disk": "sda"}) == (found["message"], found["context"])


def test_a_reminder_comes_after_the_interval_and_not_before(postgres: Postgres) -> None:
    """As long as it lasts, again and again; counted from when it was said last."""
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    said_at = NOON + 10 * SECOND
    told(postgres, said_at, "a")
    for _ in range(3):
        raise_alert(postgres, full(), "disk:sda", now=said_at + SECOND)
        assert [] == claimed(postgres, said_at + REMINDER - SECOND)
        said_at += REMINDER
        assert [("disk:sda", "reminder")] == told(postgres, said_at, "a")
    assert [] == claimed(postgres, said_at)


def test_a_recovery_is_said_once_when_it_has_been_over_for_a_while(postgres: Postgres, database_url: str) -> None:
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    told(postgres, NOON, "a")
    over_at = NOON + timedelta(minutes=7)
    assert resolve_alert(postgres, "disk:sda", now=over_at)
    assert not resolve_alert(postgres, "disk:sda", now=over_at + SECOND)
    assert [] == claimed(postgres, over_at + QUIET_TIME - SECOND)
    assert [("disk:sda", "recovery")] == told(postgres, over_at + QUIET_TIME, "a")
    assert [] == claimed(postgres, over_at + 10 * REMINDER)
    found = row(database_url)
    assert (over_at, over_at + QUIET_TIME) == (found["resolved_at"], found["recovery_notified_at"])


def test_what_comes_and_goes_is_one_alert(postgres: Postgres) -> None:
    """Over and back within the quiet time, twenty times: nobody hears of it but at the start and at the end."""
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    heard = [told(postgres, NOON, "a")]
    at = NOON
    for _ in range(20):
        at += timedelta(seconds=15)
        resolve_alert(postgres, "disk:sda", now=at)
        at += QUIET_TIME - SECOND
        heard.append(told(postgres, at, "a"))
        raise_alert(postgres, full(), "disk:sda", now=at)
    resolve_alert(postgres, "disk:sda", now=at)
    heard.append(told(postgres, at + QUIET_TIME, "a"))
    assert [("disk:sda", "alert"), ("disk:sda", "recovery")] == [it for notices in heard for it in notices]


def test_what_is_over_before_anybody_was_told_is_never_said(postgres: Postgres, database_url: str) -> None:
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    resolve_alert(postgres, "disk:sda", now=NOON + SECOND)
    assert [] == claimed(postgres, NOON + 2 * SECOND)
    assert [] == claimed(postgres, NOON + REMINDER)
    found = row(database_url)
    assert (NOON + SECOND, None, None) == (found["resolved_at"], found["notified_at"], found["notice"])


def test_raised_after_it_was_over_it_is_a_new_alert(postgres: Postgres) -> None:
    """The recovery of the first, which is still to be said, is not said of what is wrong again; that of the second is."""
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    told(postgres, NOON, "a")
    resolve_alert(postgres, "disk:sda", now=NOON + SECOND)
    later = NOON + QUIET_TIME + 2 * SECOND
    assert [("disk:sda", "recovery")] == told(postgres, later, problem="a: status 500", retry=timedelta(seconds=15))
    assert raise_alert(postgres, full(), "disk:sda", now=later)
    later += timedelta(seconds=15)
    assert [("disk:sda", "alert")] == told(postgres, later, "a")
    assert [] == told(postgres, later + SECOND, "a")
    resolve_alert(postgres, "disk:sda", now=later + SECOND)
    later += SECOND + QUIET_TIME
    assert [("disk:sda", "recovery")] == told(postgres, later, "a")
    assert [] == claimed(postgres, later + 10 * REMINDER)


def test_a_recovery_that_waited_for_an_alert_that_was_never_told_is_said(postgres: Postgres) -> None:
    """Raised anew and over before anybody heard of it: they still believe that it is wrong."""
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    told(postgres, NOON, "a")
    resolve_alert(postgres, "disk:sda", now=NOON + SECOND)
    later = NOON + QUIET_TIME + 2 * SECOND
    told(postgres, later, problem="a: status 500", retry=timedelta(seconds=15))
    raise_alert(postgres, full(), "disk:sda", now=later)
    resolve_alert(postgres, "disk:sda", now=later + SECOND)
    later += SECOND + QUIET_TIME
    assert [("disk:sda", "recovery")] == told(postgres, later, "a")
    assert [] == claimed(postgres, later + 10 * REMINDER)


def test_worse_than_was_said_is_said_at_once_and_better_is_not(postgres: Postgres) -> None:
    raise_alert(postgres, full("warning"), "disk:sda", now=NOON)
    assert [("disk:sda", "alert")] == told(postgres, NOON, "a")
    assert raise_alert(postgres, full("critical"), "disk:sda", now=NOON + SECOND)
    assert [("disk:sda", "alert")] == told(postgres, NOON + SECOND, "a")
    assert not raise_alert(postgres, full("warning"), "disk:sda", now=NOON + 2 * SECOND)
    assert not raise_alert(postgres, full("critical"), "disk:sda", now=NOON + 3 * SECOND)
    assert [] == claimed(postgres, NOON + 4 * SECOND)


def test_worse_while_it_is_being_said_is_said_afterwards(postgres: Postgres) -> None:
    raise_alert(postgres, full("warning"), "disk:sda", now=NOON)
    (notice,) = due_notices(postgres, now=NOON)
    raise_alert(postgres, full("error"), "disk:sda", now=NOON + SECOND)
    assert 1 == settle_notices(postgres, [settled(notice, NOON, "a")], now=NOON + 2 * SECOND)
    assert [("disk:sda", "alert")] == claimed(postgres, NOON + 2 * SECOND)


def test_over_while_it_is_being_said_a_recovery_follows(postgres: Postgres) -> None:
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    (notice,) = due_notices(postgres, now=NOON)
    resolve_alert(postgres, "disk:sda", now=NOON + SECOND)
    assert 1 == settle_notices(postgres, [settled(notice, NOON, "a")], now=NOON + 2 * SECOND)
    assert [("disk:sda", "recovery")] == claimed(postgres, NOON + SECOND + QUIET_TIME)


def test_what_does_not_last_is_over_by_itself_without_a_word(postgres: Postgres, database_url: str) -> None:
    raise_alert(postgres, full(), "disk:sda", is_lasting=False, now=NOON)
    assert [("disk:sda", "alert")] == told(postgres, NOON, "a")
    assert [] == claimed(postgres, NOON + REMINDER - SECOND)
    assert row(database_url)["resolved_at"] is None
    assert [] == claimed(postgres, NOON + REMINDER)
    assert NOON + REMINDER == row(database_url)["resolved_at"]


def test_what_does_not_last_and_came_again_is_said_again_after_the_interval(postgres: Postgres) -> None:
    raise_alert(postgres, full(), "disk:sda", is_lasting=False, now=NOON)
    told(postgres, NOON, "a")
    raise_alert(postgres, full(), "disk:sda", is_lasting=False, now=NOON + SECOND)
    assert [] == claimed(postgres, NOON + REMINDER - SECOND)
    assert [("disk:sda", "reminder")] == told(postgres, NOON + REMINDER, "a")
    assert [] == claimed(postgres, NOON + 2 * REMINDER)


def test_a_claimed_notice_is_nobody_elses_until_its_lease_is_over(postgres: Postgres) -> None:
    """Then the next sender gets it, and what the first one says of it does not count."""
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    (first,) = due_notices(postgres, now=NOON)
    assert [] == claimed(postgres, NOON + LEASE - SECOND)
    (second,) = due_notices(postgres, now=NOON + LEASE)
    assert 0 == settle_notices(postgres, [settled(first, NOON, "a")], now=NOON + LEASE)
    assert 1 == settle_notices(postgres, [settled(second, NOON, "a")], now=NOON + LEASE)


def test_what_a_dead_sender_may_have_said_is_followed_by_its_recovery(postgres: Postgres) -> None:
    """It was over before the lease was: somebody may have been told, so everybody is told that it is over."""
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    assert [("disk:sda", "alert")] == claimed(postgres, NOON)
    resolve_alert(postgres, "disk:sda", now=NOON + SECOND)
    assert [] == claimed(postgres, NOON + LEASE - SECOND)
    assert [("disk:sda", "recovery")] == claimed(postgres, NOON + LEASE)


def test_two_senders_at_once_share_what_is_due(postgres: Postgres) -> None:
    """Eight threads claim 200 alerts: each is somebody's, none is two's."""
    raise_alerts(postgres, {f"disk:{number}": full() for number in range(200)}, now=NOON)
    found: list[str] = []
    together = threading.Barrier(8)

    def claim() -> None:
        together.wait()
        while notices := due_notices(postgres, now=NOON, most=10):
            found.extend(notice.key for notice in notices)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(f"disk:{number}" for number in range(200)) == sorted(found)


def test_one_target_that_fails_is_tried_again_alone(postgres: Postgres, database_url: str) -> None:
    """Whoever took the notice is remembered until the others have; the failure can be read."""
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    told(postgres, NOON, "a", problem="b: status 500", retry=timedelta(seconds=15))
    assert [] == claimed(postgres, NOON + timedelta(seconds=14))
    assert "b: status 500" == row(database_url)["failure"]
    (notice,) = due_notices(postgres, now=NOON + timedelta(seconds=15))
    assert (("a",), 1) == (notice.reached, notice.failure_count)
    settle_notices(postgres, [settled(notice, NOON, "b")], now=NOON + timedelta(seconds=15))
    found = row(database_url)
    assert ("reminder", [], 0, None) == tuple(found[it] for it in ("notice", "reached", "failure_count", "failure"))


def test_many_raise_one_alert_at_once(postgres: Postgres, database_url: str) -> None:
    """One row, every time counted, and one of them is told that it is new."""
    together, news = threading.Barrier(8), []

    def rise() -> None:
        together.wait()
        news.extend(raise_alert(postgres, full(), "disk:sda", now=NOON + step * SECOND) for step in range(10))

    threads = [threading.Thread(target=rise) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with psycopg.connect(database_url) as connection:
        assert [(80,)] == connection.execute("select raised_count from operations.alerts").fetchall()
    assert 1 == sum(news)


def test_open_alerts_are_those_that_are_not_over(postgres: Postgres) -> None:
    raise_alerts(postgres, {"a:1": full(), "a:2": full(), "a:3": full()}, now=NOON)
    assert {"a:1", "a:2"} == clear_alerts(postgres, ["a:1", "a:2", "a:9"], now=NOON)
    raise_alert(postgres, full(), "a:2", now=NOON + SECOND)
    assert {"a:2": NOON + SECOND, "a:3": NOON} == open_alerts(postgres)


def test_the_most_severe_come_first_then_the_oldest(postgres: Postgres) -> None:
    for number, severity in enumerate(("info", "critical", "warning", "critical", "error")):
        raise_alert(postgres, full(severity), f"disk:{number}", now=NOON + number * SECOND)  # type: ignore[arg-type]
    notices = due_notices(postgres, now=NOON + 10 * SECOND, most=3)
    assert ["disk:1", "disk:3", "disk:4"] == [notice.key for notice in notices]


@pytest.mark.parametrize("text", ["", "\x00", "\ud800 lone", "x" * 100_000, "postgresql://u:geheim42@db/x"])
def test_any_text_can_be_raised(postgres: Postgres, database_url: str, text: str) -> None:
    """As key, message and context; the password of a URL is not stored."""
    raise_alert(postgres, Alert("error", text, {text: text}), text, now=NOON)
    assert 1 == len(due_notices(postgres, now=NOON))
    with psycopg.connect(database_url) as connection:
        (stored,) = connection.execute("select alerts::text from operations.alerts").fetchone() or ("",)
    assert "geheim42" not in stored


@pytest.mark.parametrize(
    "change",
    [
        "notice = 'recovery'",
        "notice_at = null",
        "resolved_at = now()",
        "severity = 'loud'",
        "recovery_notified_at = now()",
        "raised_count = 0",
        "notice = null, notice_at = null",
    ],
)
def test_an_impossible_state_cannot_be_stored(postgres: Postgres, database_url: str, change: str) -> None:
    raise_alert(postgres, full(), "disk:sda", now=NOON)
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"update operations.alerts set {change}")


@pytest.mark.parametrize("role", ["pipeline_reader", "pipeline_intake"])
def test_only_the_worker_sees_and_raises_alerts(postgres: Postgres, database_url: str, role: str) -> None:
    """What is wrong is nothing for reports, nor for the process that faces the network."""
    for statement in ("select * from operations.alerts", "select operations.raise_alert('k', 'info', 'm')"):
        with psycopg.connect(database_url) as connection:
            connection.execute(f"set role {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
