"""Senders in processes of their own, killed (-9) while they send, and several at once: at least once, and once if none dies."""

import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.operations.notices import Told, tell
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.alerts import LEASE, QUIET_TIME, Alert, raise_alert, raise_alerts, resolve_alert
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import output, python, until

FULL = Alert("error", "the disk is full")
SECOND = timedelta(seconds=1)
SENDER = """
import sys
from ingestion_pipeline.domains.operations.notices import tell
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres

url, hook = sys.argv[1:]
settings = Settings.from_environment(
    {"DATABASE_URL": url, "ALERT_WEBHOOK_URL": hook, "ALERT_PRIVATE_TARGETS": "true"}
)
postgres = Postgres(url)
print("ready", flush=True)
"""


class Receiver:
    """Takes alerts; while `held` it does not answer."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.port}/hook"
        self.bodies: list[dict[str, Any]] = []
        self.answers = threading.Event()
        self.answers.set()
        server.expect_request("/hook").respond_with_handler(self._take)

    def _take(self, request: Request) -> Response:
        self.bodies.append(json.loads(request.get_data()))
        assert self.answers.wait(60)
        return Response("taken")

    def counts(self) -> Counter[str]:
        """How often each alert was told, the ones in digests together."""
        found: Counter[str] = Counter()
        for body in self.bodies:
            context = body["context"]
            found[context["alert"]] += int(context.get("count", "1"))
        return found


@pytest.fixture
def receiver(httpserver: HTTPServer) -> Receiver:
    return Receiver(httpserver)


@pytest.fixture
def settings(worker_url: str, receiver: Receiver) -> Settings:
    return Settings.from_environment(
        {"DATABASE_URL": worker_url, "ALERT_WEBHOOK_URL": receiver.url, "ALERT_PRIVATE_TARGETS": "true"}
    )


def test_what_a_killed_sender_was_sending_is_sent_by_the_next(
    postgres: Postgres, receiver: Receiver, settings: Settings, worker_url: str
) -> None:
    """Not before its lease is over; and the process that it had started ends by itself."""
    raise_alert(postgres, FULL, "disk:sda")
    receiver.answers.clear()
    with python(SENDER + "tell(postgres, settings)", worker_url, receiver.url) as sender:
        until(lambda: bool(receiver.bodies))
        started = psutil.Process(sender.pid).children()
        sender.kill()
        sender.wait()
    receiver.answers.set()
    assert Told() == tell(postgres, settings, now=utc_now())
    assert Told(1, 1, 0) == tell(postgres, settings, now=utc_now() + LEASE)
    assert Counter({"disk:sda": 2}) == receiver.counts()
    assert Told() == tell(postgres, settings, now=utc_now() + 2 * LEASE)
    assert 1 == len(started)
    until(lambda: not started[0].is_running() or started[0].status() == psutil.STATUS_ZOMBIE)


def test_a_sender_killed_before_it_could_record_it_has_said_it_twice_at_most(
    postgres: Postgres, receiver: Receiver, settings: Settings, worker_url: str
) -> None:
    """The receiver took it, nobody knows: it is told again, and of the end once."""
    code = """
import ingestion_pipeline.domains.operations.notices as notices

def never(*_, **__):
    print("sent", flush=True)
    sys.stdin.read()

notices.settle_notices = never
notices.tell(postgres, settings)
"""
    raise_alert(postgres, FULL, "disk:sda")
    with python(SENDER + code, worker_url, receiver.url) as sender:
        assert sender.stdout is not None
        assert ["ready\n", "sent\n"] == [sender.stdout.readline() for _ in range(2)]
        sender.kill()
        sender.wait()
    assert Told(1, 1, 0) == tell(postgres, settings, now=utc_now() + LEASE)
    resolve_alert(postgres, "disk:sda")
    for wait in (QUIET_TIME, LEASE, 2 * LEASE):
        tell(postgres, settings, now=utc_now() + LEASE + wait)
    assert ["alert", "alert", "recovery"] == [body["context"]["notice"] for body in receiver.bodies]


def test_two_senders_at_once_send_each_alert_once(
    postgres: Postgres, receiver: Receiver, worker_url: str, database_url: str
) -> None:
    """While a hundred alerts are raised, in bursts: each is told once, by one of them or in a digest."""
    code = """
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    tell(postgres, settings)
tell(postgres, settings)
"""
    with (
        python(SENDER + code, worker_url, receiver.url) as one,
        python(SENDER + code, worker_url, receiver.url) as other,
    ):
        for sender in (one, other):
            assert sender.stdout is not None
            assert "ready\n" == sender.stdout.readline()
        for burst in range(10):
            raise_alerts(postgres, {f"disk:{burst}:{number}": FULL for number in range(10)})
            until(lambda: said(database_url) > 0)
        for sender in (one, other):
            assert "" == output(sender)
    counts = receiver.counts()
    digested = counts.pop("digest", 0)
    assert {1} == set(counts.values())
    assert 100 == len(counts) + digested
    assert 100 == said(database_url)


def said(database_url: str) -> int:
    """How many alerts somebody has been told of, by what is recorded."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select count(*) from operations.alerts where notified_at is not null").fetchall()
    return int(rows[0][0])


def test_a_server_that_is_gone_while_something_is_sent_leaves_it_due(
    postgres: Postgres, receiver: Receiver, settings: Settings, worker_url: str, database_url: str
) -> None:
    """The connection ends before it can be recorded: the sender fails, the alert is told again."""
    raise_alert(postgres, FULL, "disk:sda")
    receiver.answers.clear()
    with python(SENDER + "tell(postgres, settings)", worker_url, receiver.url) as sender:
        until(lambda: bool(receiver.bodies))
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("alter role pipeline_worker connection limit 0")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where usename = 'pipeline_worker' and datname = current_database()"
            )
            receiver.answers.set()
            try:
                text, _ = sender.communicate()
            finally:
                connection.execute("alter role pipeline_worker connection limit -1")
    assert sender.returncode == 1
    assert "StoreUnavailableError" in text
    assert Told(1, 1, 0) == tell(postgres, settings, now=datetime.now(UTC) + LEASE + SECOND)
    assert 1 == said(database_url)
