"""Deliveries under kill -9 and outages: what was acknowledged is applied, once, and nothing else suffers for it."""

import itertools
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_pipeline.storage import embedded, inbox
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.inbox import NewDelivery, accept_all, apply_pending
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import output, python, until
from ingestion_pipeline_tests.command import SECONDS, eventually, free_port
from ingestion_pipeline_tests.domains.operations.deliveries import (
    INBOX,
    SECRETS,
    WEBHOOK,
    encoded,
    kept,
    make_body,
    send,
    signed,
)
from ingestion_pipeline_tests.flows.intake_process import kill_9, kill_postgres, own_postgres, postmaster
from ingestion_pipeline_tests.intake.process import running

TYPES = ["prices.upsert"]

# Applies deliveries into public.applications; the second argument is what it does, and where.
APPLIER = """
import os, signal, sys
from ingestion_pipeline.storage import embedded, inbox
from ingestion_pipeline.storage.inbox import apply_pending
from ingestion_pipeline.storage.postgres import Postgres

url, fault, per_batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
inbox.DELIVERIES_PER_BATCH = per_batch
begin = inbox._applied
batches = []

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def apply(connection, deliveries):
    batches.append(deliveries)
    for it in deliveries:
        connection.execute("insert into public.applications values (%s)", [it.payload["id"]])
        if fault == "poison" and it.payload["id"] == "poison":
            die()
    if fault == "before commit" and len(batches) == 2:
        die()

def applied(*arguments):
    done = begin(*arguments)
    if fault == "after commit" and len(batches) == 2:
        die()
    return done

inbox._applied = applied
print(apply_pending(Postgres(url), ["prices.upsert"], apply, run_id="run-1").processed)
"""


@pytest.fixture(autouse=True)
def _applications(request: pytest.FixtureRequest) -> None:
    if "database_url" in request.fixturenames:
        make_applications(request.getfixturevalue("database_url"))


def make_applications(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table public.applications (key text)")
        connection.execute("grant all on public.applications to pipeline_worker")


def put(postgres: Postgres, *keys: str) -> None:
    deliveries = [
        NewDelivery(
            source="acme",
            idempotency_key=key,
            event_type=TYPES[0],
            payload=encoded(make_body(id=key)),
            scheme="sha256",
            signed_by="acme 1",
        )
        for key in keys
    ]
    with postgres.transaction() as connection:
        accept_all(connection, deliveries)


def applications(url: str) -> Counter[str]:
    with psycopg.connect(url) as connection:
        return Counter(key for (key,) in connection.execute("select key from public.applications").fetchall())


def statuses(url: str) -> Counter[str]:
    return Counter(row["status"] for row in kept(url))


def make_due(postgres: Postgres) -> None:
    """The leases of a process that was killed are over."""
    postgres.execute("update operations.deliveries set next_attempt_at = now() where status = 'pending'")


def record(connection: psycopg.Connection[Any], deliveries: Any) -> None:
    for it in deliveries:
        connection.execute("insert into public.applications values (%s)", [it.payload["id"]])


def applier(url: str, fault: str, per_batch: int = 10) -> int:
    """Runs it to its end; how it ended."""
    with python(APPLIER, url, fault, str(per_batch)) as child:
        child.wait(60)
        return child.returncode


@pytest.mark.parametrize(("fault", "done"), [("before commit", 10), ("after commit", 20)])
def test_an_applier_that_is_killed_applies_nothing_twice(
    database_url: str, worker_url: str, postgres: Postgres, fault: str, done: int
) -> None:
    """Just before its second batch is committed, and just after."""
    keys = [str(n) for n in range(35)]
    put(postgres, *keys)
    assert -signal.SIGKILL == applier(worker_url, fault)
    assert done == sum(applications(database_url).values())
    assert 35 - done == statuses(database_url)["pending"]
    with python(APPLIER, worker_url, "none", "10") as child:  # what was not claimed is taken at once
        assert output(child).strip().endswith("15")
    make_due(postgres)
    assert 20 - done == apply_pending(postgres, TYPES, record, run_id="run-2").processed
    assert Counter(keys) == applications(database_url)
    assert Counter(processed=35) == statuses(database_url)


def test_a_delivery_that_kills_the_process_ends_dead_and_takes_no_other_with_it(
    database_url: str, worker_url: str, postgres: Postgres
) -> None:
    """Whatever came before and after it in its batch is applied, once, with attempts to spare."""
    put(postgres, *"abc", "poison", *"def")
    ended = 0
    while statuses(database_url)["pending"]:
        ended += applier(worker_url, "poison") == -signal.SIGKILL
        assert ended <= inbox.MOST_ATTEMPTS
        make_due(postgres)
    assert inbox.MOST_ATTEMPTS == ended
    assert Counter("abcdef") == applications(database_url)
    found = {row["idempotency_key"]: row for row in kept(database_url)}
    assert ("dead", 5) == (found["poison"]["status"], found["poison"]["attempt_count"])
    assert "ended with the process" in found["poison"]["reason"]
    assert {("processed", 2)} == {(found[key]["status"], found[key]["attempt_count"]) for key in "abcdef"}


def test_appliers_that_are_killed_at_random_apply_everything_once(
    database_url: str, worker_url: str, postgres: Postgres
) -> None:
    """Two at a time, killed wherever they are."""
    keys = [str(n) for n in range(600)]
    put(postgres, *keys)
    for number in range(6):
        with python(APPLIER, worker_url, "none", "7") as one, python(APPLIER, worker_url, "none", "5") as other:
            wanted = (number + 1) * 40
            until(lambda wanted=wanted: sum(applications(database_url).values()) >= wanted)
            for child in (one, other):
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
        make_due(postgres)
    while statuses(database_url)["pending"]:
        make_due(postgres)
        apply_pending(postgres, TYPES, record, run_id="run-2")
    assert Counter(keys) == applications(database_url)
    assert Counter(processed=600) == statuses(database_url)


class Sender:
    """Sends signed webhooks without a pause, repeats one that was not acknowledged, and keeps account."""

    def __init__(self, port: int, name: str) -> None:
        self.acknowledged: dict[str, str] = {}
        self.wrong: list[str] = []
        self._url, self._name = f"http://127.0.0.1:{port}{WEBHOOK}", name
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last one is acknowledged."""
        self._is_over.set()
        self._thread.join()

    def go_on(self, count: int = 20) -> None:
        """Returns when so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        eventually(lambda: len(self.acknowledged) >= wanted or self.wrong)
        assert [] == self.wrong

    def _work(self) -> None:
        with httpx.Client(timeout=10, trust_env=False) as client:
            for number in itertools.count():
                key = f"{self._name}-{number}"
                deadline = time.monotonic() + SECONDS
                while not self._send(client, key):
                    if time.monotonic() > deadline:
                        self.wrong.append(f"{key} was not acknowledged")
                        return
                    time.sleep(0.05)
                if self._is_over.is_set():
                    return

    def _send(self, client: httpx.Client, key: str) -> bool:
        content = encoded(make_body(id=key))
        try:
            answer = client.post(self._url, content=content, headers=signed(content))
        except httpx.TransportError:
            return False
        if answer.status_code == 202:
            self.acknowledged[key] = answer.json()["delivery_id"]
        elif answer.status_code != 503:
            self.wrong.append(answer.text)
        return answer.status_code == 202


def test_what_was_acknowledged_survives_kills_of_intake_and_postgresql(tmp_path: Path) -> None:
    """Each under the id that was answered; those that were repeated are there once."""
    with own_postgres() as folder:
        server = EmbeddedServer((folder / "postmaster.pid").read_text().splitlines()[4])
        port = free_port()
        given = {**SECRETS, "PORT": str(port)}
        intake_url = server.url(role="pipeline_intake")
        senders: list[Sender] = []
        try:
            with running(intake_url, tmp_path, INBOX, **given) as intake:
                senders += [Sender(port, str(n)) for n in range(4)]
                senders[0].go_on()
                kill_9(intake)
            with running(intake_url, tmp_path, INBOX, **given):
                senders[0].go_on()
                before = postmaster(folder)
                kill_postgres(folder)
                embedded.start(folder)
                assert before != postmaster(folder)
                senders[0].go_on()
                for sender in senders:
                    sender.stop()
        finally:
            for sender in senders:
                sender.stop()
        assert [] == [it for sender in senders for it in sender.wrong]
        rows = kept(server.url())
        stored = {row["idempotency_key"]: str(row["delivery_id"]) for row in rows}
        assert len(rows) == len(stored)
        assert {key: value for sender in senders for key, value in sender.acknowledged.items()} == stored


def test_while_postgresql_is_away_nothing_is_acknowledged(tmp_path: Path) -> None:
    """503 with a time to come back; wrong signatures are refused all the same, and the next one after it is back is kept."""
    with own_postgres() as folder:
        server = EmbeddedServer((folder / "postmaster.pid").read_text().splitlines()[4])
        with running(server.url(role="pipeline_intake"), tmp_path, INBOX, **SECRETS) as intake:
            kill_postgres(folder)
            answer = send(intake, make_body(id="away"))
            assert 503 == answer.status_code
            assert answer.headers["retry-after"].isdigit()
            assert 401 == send(intake, make_body(), "another-secret-0").status_code
            embedded.start(folder)
            eventually(lambda: send(intake, make_body(id="back")).status_code == 202)
        assert ["back"] == [row["idempotency_key"] for row in kept(server.url())]


def test_ten_thousand_that_came_while_nobody_applied_are_applied_once(
    database_url: str, worker_url: str, postgres: Postgres
) -> None:
    """Two processes start on them at the same moment."""
    keys = [str(n) for n in range(10_000)]
    put(postgres, *keys)
    with python(APPLIER, worker_url, "none", "500") as one, python(APPLIER, worker_url, "none", "500") as other:
        counts = [int(output(child).split()[-1]) for child in (one, other)]
    assert 10_000 == sum(counts)
    assert Counter(keys) == applications(database_url)
    assert Counter(processed=10_000) == statuses(database_url)
