"""Applications that send events to a real intake without a pause and keep account of what they were told."""

import itertools
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import psutil
import psycopg

from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.intake.process import JSON, TOKEN, Intake

CLIENTS, EVENTS_PER_REQUEST = 6, 10
REQUEST_SECONDS = 30.0
INSIST_SECONDS = 300.0
PAUSE_SECONDS = 0.05  # of an application that was refused

_names = itertools.count()


@dataclass
class Applications:
    """Clients of the intake on `port`; one that is refused repeats its batch, with the same keys, until it is taken.

    `acknowledged` is the id that was answered for each idempotency key, `statuses` counts answers, `broken` requests
    without one, `wrong` are answers that nobody should get.
    """

    port: int
    insist: bool = True
    acknowledged: dict[str, str] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._name = next(_names)
        self._changing = threading.Lock()
        self._is_over = threading.Event()
        self._deadline = float("inf")
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.insist = self.insist and kind is None
        self.stop()

    def stop(self) -> None:
        """Begins no batch any more; with `insist` those begun are sent until they are acknowledged."""
        self._deadline = time.monotonic() + INSIST_SECONDS
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, count: int = 500) -> None:
        """Returns when so many more events are acknowledged."""
        wanted = len(self.acknowledged) + count
        eventually(lambda: len(self.acknowledged) >= wanted or self.wrong, explain=lambda: self)
        assert [] == self.wrong

    def are_refused(self, count: int) -> None:
        """Returns when so many more requests are answered 503."""
        wanted = self.statuses[503] + count
        eventually(lambda: self.statuses[503] >= wanted, explain=lambda: self)

    def _work(self, number: int) -> None:
        url = f"http://127.0.0.1:{self.port}"
        with httpx.Client(base_url=url, headers=JSON | TOKEN, timeout=REQUEST_SECONDS, trust_env=False) as client:
            for batch in itertools.count():
                keys = [f"{self._name}-{number}-{batch}-{i}" for i in range(EVENTS_PER_REQUEST)]
                while not self._send(client, keys):
                    if self._is_over.is_set() and (not self.insist or time.monotonic() > self._deadline):
                        return
                    time.sleep(PAUSE_SECONDS)
                if self._is_over.is_set():
                    return

    def _send(self, client: httpx.Client, keys: list[str]) -> bool:
        try:
            answer = client.post("/ingest/events", content=batch_of(*map(copied, keys)))
        except httpx.TransportError:
            with self._changing:
                self.broken += 1
            return False
        with self._changing:
            self.statuses[answer.status_code] += 1
            if answer.status_code == 202:
                results = answer.json()["results"]
                self.acknowledged |= {key: result["id"] for key, result in zip(keys, results, strict=True)}
            elif answer.status_code != 503 or not answer.headers["retry-after"].isdigit():
                self.wrong.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer.status_code == 202


def copied(key: str, **over: Any) -> dict[str, Any]:
    """A COPY event with an idempotency key."""
    return {"type": "COPY", "ruleId": "r1", "userId": "u1", "idempotencyKey": key, **over}


def batch_of(*events: Any) -> bytes:
    return msgspec.json.encode({"events": events})


def stored(url: str) -> dict[str, str]:
    """The event id of each idempotency key in the hot log. Fails if one is there twice, or the counts do not add up."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("select idempotency_key, event_id::text from events.event_log").fetchall()
        counted = connection.execute(
            "select coalesce(sum(stored), 0), coalesce(sum(received - stored - duplicate - rejected), 0) "
            "from events.intake_counts"
        ).fetchone()
    found: dict[str, str] = dict(rows)
    assert (len(rows), 0) == counted
    assert len(rows) == len(found)
    return found


def kill_9(intake: Intake) -> None:
    """The whole intake, as when a machine loses power: first who would start its workers again."""
    workers = intake.workers()
    intake.process.kill()
    intake.process.wait()
    for worker in workers:
        worker.kill()
    psutil.wait_procs(workers)


@contextmanager
def own_postgres() -> Iterator[Path]:
    """The folder of a migrated server that a test may hurt."""
    with tempfile.TemporaryDirectory(prefix="hurt-", ignore_cleanup_errors=True) as home:
        folder = Path(home) / "postgres"
        server = embedded.start(folder)
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        yield folder
        embedded.start(folder)
        eventually(lambda: embedded.stop_when_unused(folder))


def postmaster(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().split()[0])


def shut_down(folder: Path) -> None:
    """As an administrator does before starting it again: connections are cut off, nothing needs recovery."""
    process = psutil.Process(postmaster(folder))
    process.send_signal(signal.SIGINT)
    process.wait()


def kill_postgres(folder: Path) -> None:
    """Every process of the server; it returns when they are gone. A backend alone could still commit for a moment."""
    server = psutil.Process(postmaster(folder))
    processes = [server, *server.children()]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def kill_committer(folder: Path) -> None:
    """One process of the server, that of a connection which stores events: the server cuts all off and recovers."""
    server = EmbeddedServer((folder / "postmaster.pid").read_text().splitlines()[4])
    with psycopg.connect(server.url(), autocommit=True) as connection:
        query = "select pid from pg_stat_activity where application_name = 'ingestion-intake' limit 1"
        (pid,) = connection.execute(query).fetchone()
    os.kill(pid, signal.SIGKILL)
