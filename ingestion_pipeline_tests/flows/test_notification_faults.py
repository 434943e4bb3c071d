"""Senders of notifications killed (-9) while they send, several at once, stores and targets that go away."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psutil
import psycopg
import pytest
from pytest_httpserver import HTTPServer

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.community.notifications import FIRST_RETRY, LEASE, Sent, send_due
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import output, python, until
from ingestion_pipeline_tests.domains.community.outbox import Receiver, notify, prefer, rows

SENDER = """
import sys
from ingestion_pipeline.domains.community import notifications
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres

settings = Settings.from_environment({"DATABASE_URL": sys.argv[1]})
postgres = Postgres(sys.argv[1])
print("ready", flush=True)

def send():
    return notifications.send_due(postgres, settings, may_be_private=True)
"""


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def receiver(httpserver: HTTPServer) -> Receiver:
    return Receiver(httpserver)


def send(postgres: Postgres, settings: Settings, *, later: timedelta = timedelta(0)) -> Sent:
    return send_due(postgres, settings, may_be_private=True, now=utc_now() + later)


def test_a_sender_killed_before_it_could_record_it_is_followed_by_the_same_message(
    postgres: Postgres, owner: psycopg.Connection[Any], receiver: Receiver, settings: Settings, worker_url: str
) -> None:
    """The receiver took it, nobody knows: it is sent again with the same key, once the lease is over, and then no more.

    A digest too: with the same rows, though another row is due by then.
    """
    code = """
def never(*_, **__):
    print("sent", flush=True)
    sys.stdin.read()

notifications._settle = never
send()
"""
    now = utc_now()
    prefer(owner, receiver.url)
    prefer(owner, receiver.url, person="grace", digest="daily")
    notify(owner, "single", at=now)
    for key in ("one", "two"):
        notify(owner, key, person="grace", at=now - timedelta(days=1))
    with python(SENDER + code, worker_url) as sender:
        assert sender.stdout is not None
        assert ["ready\n", "sent\n"] == [sender.stdout.readline() for _ in range(2)]
        sender.kill()
        sender.wait()
    first = sorted(receiver.bodies, key=str)
    assert 2 == len(first)
    notify(owner, "three", person="grace", at=now - timedelta(days=1))
    assert Sent() == send(postgres, settings)
    assert 4 == send(postgres, settings, later=LEASE).claimed_count
    again = sorted(receiver.bodies[2:], key=str)
    assert [body in again for body in first] == [True, True]
    assert {"single": 2} == {key: count for key, count in Counter(receiver.keys).items() if key == "single"}
    assert [2, 2, 1] == sorted(Counter(receiver.keys).values(), reverse=True)
    assert Sent() == send(postgres, settings, later=2 * LEASE)
    assert all(row["sent_at"] for row in rows(owner))


def test_what_a_killed_sender_was_sending_is_sent_by_the_next(
    postgres: Postgres, owner: psycopg.Connection[Any], receiver: Receiver, settings: Settings, worker_url: str
) -> None:
    """And the process that it had started ends by itself."""
    prefer(owner, receiver.url)
    notify(owner, "a", at=utc_now())
    receiver.answers.clear()
    with python(SENDER + "send()", worker_url) as sender:
        until(lambda: bool(receiver.bodies))
        started = psutil.Process(sender.pid).children()
        sender.kill()
        sender.wait()
    receiver.answers.set()
    assert Sent() == send(postgres, settings)
    assert Sent(1, 1, 0, 0) == send(postgres, settings, later=LEASE)
    assert ["a", "a"] == receiver.keys
    assert 1 == len(started)
    until(lambda: not started[0].is_running() or started[0].status() == psutil.STATUS_ZOMBIE)


def test_two_senders_at_once_send_each_notification_once(
    owner: psycopg.Connection[Any], receiver: Receiver, worker_url: str
) -> None:
    """While persons are told of more and more: each thing by one of them, alone or in a batch."""
    code = """
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    send()
while send().claimed_count:
    pass
"""
    persons = [f"p{number}" for number in range(6)]
    for person in persons:
        prefer(owner, f"{receiver.url}?{person}", person=person)
    with python(SENDER + code, worker_url) as one, python(SENDER + code, worker_url) as other:
        for sender in (one, other):
            assert sender.stdout is not None
            assert "ready\n" == sender.stdout.readline()
        for burst in range(8):
            for person in persons:
                for number in range(burst + 1):
                    notify(owner, f"{person}:{burst}:{number}", person=person, at=utc_now())
            until(lambda: any(row["sent_at"] for row in rows(owner, "sent_at")))
        for sender in (one, other):
            assert "" == output(sender)
    told = rows(owner, "idempotency_key, batch_id, attempts, sent_at")
    assert len(persons) * 36 == len(told)
    assert {(1, True)} == {(row["attempts"], row["sent_at"] is not None) for row in told}
    expected = {f"batch:{row['batch_id']}" if row["batch_id"] else row["idempotency_key"] for row in told}
    assert {1} == set(Counter(receiver.keys).values())
    assert expected == set(receiver.keys)
    said = sum(int(body["context"].get("count", "1")) for body in receiver.bodies)
    assert len(told) == said


def test_a_target_that_comes_back_gets_what_it_missed_and_the_others_nothing_twice(
    postgres: Postgres, owner: psycopg.Connection[Any], receiver: Receiver, httpserver: HTTPServer, settings: Settings
) -> None:
    other = Receiver(httpserver, "/other")
    other.status = 500
    prefer(owner, receiver.url)
    prefer(owner, other.url, person="grace")
    notify(owner, "a", at=utc_now())
    notify(owner, "g", person="grace", at=utc_now())
    assert Sent(2, 2, 1, 0) == send(postgres, settings)
    other.status = 200
    assert Sent() == send(postgres, settings)
    assert Sent(1, 1, 0, 0) == send(postgres, settings, later=FIRST_RETRY)
    assert (["a"], ["g", "g"]) == (receiver.keys, other.keys)


def test_a_server_that_is_gone_while_something_is_sent_leaves_it_due(
    postgres: Postgres,
    owner: psycopg.Connection[Any],
    receiver: Receiver,
    settings: Settings,
    worker_url: str,
) -> None:
    """The connection ends before it can be recorded: the sender fails, the message is sent again."""
    prefer(owner, receiver.url)
    notify(owner, "a", at=utc_now())
    receiver.answers.clear()
    with python(SENDER + "send()", worker_url) as sender:
        until(lambda: bool(receiver.bodies))
        owner.execute("alter role pipeline_worker connection limit 0")
        try:
            owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where usename = 'pipeline_worker' and datname = current_database()"
            )
            receiver.answers.set()
            text, _ = sender.communicate()
        finally:
            owner.execute("alter role pipeline_worker connection limit -1")
    assert sender.returncode == 1
    assert "StoreUnavailableError" in text
    assert Sent(1, 1, 0, 0) == send(postgres, settings, later=LEASE)
    assert ["a", "a"] == receiver.keys
