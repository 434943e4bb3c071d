"""What receivers on loopback are told, when, and how often; time is passed in."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.domains.operations.notices import MOST_ATTEMPTS, MOST_MESSAGES, Told, tell
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.alerts import QUIET_TIME, Alert, raise_alert, raise_alerts, resolve_alert
from ingestion_pipeline.storage.postgres import Postgres

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
FULL = Alert("error", "the disk is full", {"disk": "sda"})

Configure = Callable[..., Settings]


@pytest.fixture
def configured(worker_url: str, httpserver: HTTPServer) -> Configure:
    """Settings with a webhook at `/hook` of the receiver."""

    def configure(**over: str) -> Settings:
        return Settings.from_environment(
            {
                "DATABASE_URL": worker_url,
                "ALERT_WEBHOOK_URL": httpserver.url_for("/hook").replace("localhost", "127.0.0.1"),
                "ALERT_PRIVATE_TARGETS": "true",
                **over,
            }
        )

    return configure


@pytest.fixture
def receiver(httpserver: HTTPServer) -> HTTPServer:
    httpserver.expect_request("/hook").respond_with_data("taken")
    return httpserver


def bodies(httpserver: HTTPServer, path: str = "/hook") -> list[dict[str, Any]]:
    return [json.loads(request.get_data()) for request, _ in httpserver.log if request.path == path]


def texts(httpserver: HTTPServer, path: str = "/hook") -> list[str]:
    return [body["message"] for body in bodies(httpserver, path)]


def stored(database_url: str) -> dict[str, Any]:
    with psycopg.connect(database_url, row_factory=psycopg.rows.dict_row) as connection:
        (row,) = connection.execute("select * from operations.alerts").fetchall()
    return row


def test_an_alert_its_reminders_and_its_end(postgres: Postgres, receiver: HTTPServer, configured: Configure) -> None:
    """Each with what it is, by ALERT_REMINDER_MINUTES; the end is `info`, and comes once."""
    settings = configured(ALERT_REMINDER_MINUTES="10")
    raise_alert(postgres, FULL, "disk:sda", now=NOON)
    assert Told(1, 1, 0) == tell(postgres, settings, now=NOON)
    for minutes in (5, 9, 10, 15, 20):
        raise_alert(postgres, FULL, "disk:sda", now=NOON + minutes * MINUTE)
        tell(postgres, settings, now=NOON + minutes * MINUTE)
    resolve_alert(postgres, "disk:sda", now=NOON + 21 * MINUTE)
    for minutes in (21, 22, 23, 60):
        tell(postgres, settings, now=NOON + minutes * MINUTE)
    context = {"disk": "sda", "alert": "disk:sda"}
    assert [
        {
            "severity": "error",
            "message": "the disk is full",
            "context": {**context, "notice": "alert"},
            "at": NOON.isoformat(),
        },
        *(
            {
                "severity": "error",
                "message": "still: the disk is full (since 2026-03-02 12:00 UTC)",
                "context": {**context, "notice": "reminder"},
                "at": (NOON + minutes * MINUTE).isoformat(),
            }
            for minutes in (10, 20)
        ),
        {
            "severity": "info",
            "message": "over: the disk is full (since 2026-03-02 12:00 UTC)",
            "context": {**context, "notice": "recovery"},
            "at": (NOON + 22 * MINUTE).isoformat(),
        },
    ] == bodies(receiver)


def test_what_happened_again_is_said_with_how_often(
    postgres: Postgres, receiver: HTTPServer, configured: Configure
) -> None:
    """Of something that does not last there is no end to tell of."""
    settings = configured(ALERT_REMINDER_MINUTES="10")
    for seconds in (0, 1, 60, 90):
        raise_alert(postgres, FULL, "disk:sda", is_lasting=False, now=NOON + seconds * SECOND)
        tell(postgres, settings, now=NOON + seconds * SECOND)
    for minutes in (10, 20, 30):
        tell(postgres, settings, now=NOON + minutes * MINUTE)
    assert ["the disk is full", "4 times: the disk is full"] == texts(receiver)


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        ("info", ["critical", "error", "warning", "info"]),
        ("warning", ["critical", "error", "warning"]),
        ("critical", ["critical"]),
    ],
)
def test_below_the_least_severity_nothing_is_sent(
    postgres: Postgres, receiver: HTTPServer, configured: Configure, least: str, expected: list[str]
) -> None:
    """The most severe first; and who was told of nothing is told of no end."""
    settings = configured(ALERT_MIN_SEVERITY=least)
    for severity in ("info", "warning", "error", "critical"):
        raise_alert(postgres, Alert(severity, severity), severity, now=NOON)  # type: ignore[arg-type]
    tell(postgres, settings, now=NOON)
    assert expected == texts(receiver)
    for severity in ("info", "warning", "error", "critical"):
        resolve_alert(postgres, severity, now=NOON)
    tell(postgres, settings, now=NOON + QUIET_TIME)
    assert sorted(expected) == sorted(text.split()[1] for text in texts(receiver)[len(expected) :])


def test_an_alert_that_becomes_severe_enough_is_sent(
    postgres: Postgres, receiver: HTTPServer, configured: Configure
) -> None:
    settings = configured(ALERT_MIN_SEVERITY="error")
    raise_alert(postgres, Alert("warning", "stale"), "freshness:x", now=NOON)
    tell(postgres, settings, now=NOON)
    raise_alert(postgres, Alert("error", "broken"), "freshness:x", now=NOON + SECOND)
    tell(postgres, settings, now=NOON + SECOND)
    assert ["broken"] == texts(receiver)


def test_a_burst_of_a_thousand_is_a_few_messages(
    postgres: Postgres, receiver: HTTPServer, configured: Configure
) -> None:
    """The most severe by themselves, the rest as one digest that counts them; their ends likewise; then silence."""
    alerts = {f"disk:{number:04}": Alert("warning", f"disk {number:04} is full") for number in range(999)}
    raise_alerts(postgres, alerts | {"health:overall": Alert("critical", "health is RED")}, now=NOON)
    settings = configured()
    assert Told(1000, MOST_MESSAGES, 0) == tell(postgres, settings, now=NOON)
    *alone, digest = bodies(receiver)
    assert ["health is RED", "disk 0000 is full", "disk 0001 is full", "disk 0002 is full"] == [
        it["message"] for it in alone
    ]
    assert digest["message"].startswith("996 more alerts (996 new): disk 0003 is full; disk 0004 is full; ")
    assert digest["message"].endswith("disk 0010 is full; …")
    assert ("warning", {"alert": "digest", "notice": "digest", "count": "996"}) == (
        digest["severity"],
        digest["context"],
    )
    assert Told() == tell(postgres, settings, now=NOON + 15 * SECOND)
    for key in alerts:
        resolve_alert(postgres, key, now=NOON + MINUTE)
    assert Told(999, MOST_MESSAGES, 0) == tell(postgres, settings, now=NOON + MINUTE + QUIET_TIME)
    assert texts(receiver)[-1].startswith("995 more alerts (995 over): over: disk ")
    assert 2 * MOST_MESSAGES == len(receiver.log)


def test_a_burst_that_goes_on_stays_a_few_messages_a_tick(
    postgres: Postgres, receiver: HTTPServer, configured: Configure
) -> None:
    settings = configured()
    for tick in range(4):
        at = NOON + tick * 15 * SECOND
        raise_alerts(postgres, {f"{tick}:{number}": FULL for number in range(50)}, now=at)
        tell(postgres, settings, now=at)
    assert 4 * MOST_MESSAGES == len(receiver.log)


def test_a_receiver_that_is_back_gets_what_it_missed_and_the_others_nothing_twice(
    postgres: Postgres, receiver: HTTPServer, configured: Configure, database_url: str
) -> None:
    """Tried again with growing pauses; the failure can be read meanwhile."""
    answers = [500, 500, 200]

    def answer(_: Request) -> Response:
        return Response("", answers.pop(0))

    receiver.expect_request("/other").respond_with_handler(answer)
    settings = configured(ALERT_TARGETS=f"json://127.0.0.1:{receiver.port}/other")
    raise_alert(postgres, FULL, "disk:sda", now=NOON)
    tried = {}
    for seconds in (0, 14, 15, 44, 45, 60, 600):
        tell(postgres, settings, now=NOON + seconds * SECOND)
        tried[seconds] = len(texts(receiver, "/other"))
        if seconds == 15:
            assert "status 500" in stored(database_url)["failure"]
            assert 2 == stored(database_url)["failure_count"]
    assert {0: 1, 14: 1, 15: 2, 44: 2, 45: 3, 60: 3, 600: 3} == tried
    assert 1 == len(texts(receiver))
    assert stored(database_url)["failure"] is None


def test_a_target_that_never_takes_it_is_given_up_once_another_has(
    postgres: Postgres, receiver: HTTPServer, configured: Configure, database_url: str
) -> None:
    """It is asked again with the reminder; why it failed stays to be read."""
    receiver.expect_request("/other").respond_with_data("", status=401)
    settings = configured(ALERT_TARGETS=f"json://127.0.0.1:{receiver.port}/other", ALERT_REMINDER_MINUTES="240")
    raise_alert(postgres, FULL, "disk:sda", now=NOON)
    for minute in range(0, 120, 15):
        tell(postgres, settings, now=NOON + minute * MINUTE)
    assert MOST_ATTEMPTS == len(texts(receiver, "/other"))
    assert 1 == len(texts(receiver))
    assert ("reminder", 0) == (stored(database_url)["notice"], stored(database_url)["failure_count"])
    assert "status 401" in stored(database_url)["failure"]


def test_while_nobody_takes_it_it_is_tried_on(
    postgres: Postgres, httpserver: HTTPServer, configured: Configure, database_url: str
) -> None:
    """A quarter of an hour apart at most, for days."""
    httpserver.expect_request("/hook").respond_with_data("", status=503)
    raise_alert(postgres, FULL, "disk:sda", now=NOON)
    settings = configured()
    for step in range(3 * MOST_ATTEMPTS):
        tell(postgres, settings, now=NOON + step * 15 * MINUTE)
    assert 3 * MOST_ATTEMPTS == len(httpserver.log)
    assert stored(database_url)["notified_at"] is None
    httpserver.clear_all_handlers()
    httpserver.expect_request("/hook").respond_with_data("taken")
    tell(postgres, settings, now=NOON + 8 * 60 * MINUTE)
    assert "the disk is full" == texts(httpserver)[-1]
    assert NOON + 8 * 60 * MINUTE == stored(database_url)["notified_at"]


def test_without_a_target_alerts_are_kept_for_the_first_that_is_set(
    postgres: Postgres, receiver: HTTPServer, configured: Configure
) -> None:
    """Nothing fails; at the next reminder it is said as new."""
    nobody = configured(ALERT_WEBHOOK_URL="", ALERT_REMINDER_MINUTES="10")
    raise_alert(postgres, FULL, "disk:sda", now=NOON)
    assert Told(1, 0, 0) == tell(postgres, nobody, now=NOON)
    tell(postgres, configured(ALERT_REMINDER_MINUTES="10"), now=NOON + 10 * MINUTE)
    assert ["the disk is full"] == texts(receiver)


def test_the_digest_has_no_secret_and_no_internal_address(
    postgres: Postgres, receiver: HTTPServer, configured: Configure
) -> None:
    """What somebody raised without care is cleaned before it leaves, in texts, names, values and keys."""
    secret = "geheim-geheim-42"
    bad = {
        f"{secret}:{n}": Alert(
            "error", f"{secret} at 10.0.0.{n}", {secret: secret, "api_key": "x-y-z", "at": "10.0.0.1"}
        )
        for n in range(20)
    }
    raise_alerts(postgres, bad, now=NOON)
    tell(postgres, configured(CRON_SECRET=secret), now=NOON)
    sent = "".join(request.get_data().decode() for request, _ in receiver.log)
    assert MOST_MESSAGES == len(receiver.log)
    for part in (secret, "10.0.0.", "x-y-z"):
        assert part not in sent
