"""PostgreSQL restarted, killed and away while the intake serves: 503 with a time to come back, then as before."""

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks._load import drive, repeated
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.intake.process import TOKEN, Intake, running
from ingestion_pipeline_tests.intake.test_routing import refused


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A PostgreSQL of this module's own, to be killed."""
    with tempfile.TemporaryDirectory(prefix="outage-", ignore_cleanup_errors=True) as home:
        found = Path(home) / "postgres"
        server = embedded.start(found)
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        yield found
        embedded.start(found)
        embedded.stop_when_unused(found)


@pytest.fixture
def spare(folder: Path) -> EmbeddedServer:
    return embedded.start(folder)


@pytest.fixture
def shaky(spare: EmbeddedServer, home: Path) -> Iterator[Intake]:
    with running(spare.url(role="pipeline_intake"), home) as server:
        yield server


def kill(folder: Path) -> None:
    os.kill(int((folder / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def test_away_is_503_and_back_is_200(shaky: Intake, folder: Path) -> None:
    """Health names the store; what needs no store goes on, tokens that are known are still known."""
    kill(folder)
    eventually(lambda: shaky.get("/health").status_code == 503)
    health = shaky.get("/health")
    assert (["PostgreSQL"], True) == (health.json()["unavailable"], "retry-after" in health.headers)
    answer = shaky.get("/sample/database")
    refused(answer, 503)
    assert "retry-after" in answer.headers
    assert 202 == shaky.post("/sample/echo", b'{"name": "a"}').status_code
    assert "cannot be reached" in shaky.get("/").text
    embedded.start(folder)
    eventually(shaky.is_up)
    assert eventually(lambda: shaky.get("/sample/database").is_success)


def test_killed_under_load_it_costs_503_and_no_connection(shaky: Intake, folder: Path) -> None:
    """Nothing but 200 and 503 is answered, and after its return 200 again; the log has what was asked meanwhile."""
    seen: list[int] = []
    killed: list[int] = []

    def kill_and_return(_: bytes, status: int, __: bytes) -> None:
        seen.append(status)
        if len(seen) == 300:
            kill(folder)
            killed.append(len(seen))
        elif killed and status == 503 and len(killed) == 1:
            killed.append(len(seen))
            asyncio.get_running_loop().run_in_executor(None, embedded.start, folder)

    load = asyncio.run(
        drive(repeated("GET", "/sample/database"), port=shaky.port, connections=8, seconds=8, on_answer=kill_and_return)
    )
    assert 2 == len(killed)
    assert ({200, 503}, 0) == (set(load.statuses), load.broken)
    eventually(lambda: shaky.get("/sample/database").is_success)

    def logged() -> Counter[int]:
        import psycopg

        with psycopg.connect(embedded.start(folder).url()) as connection:
            found = connection.execute(
                "select status, count(*) from operations.api_requests where path = '/sample/database' group by status"
            ).fetchall()
        return Counter(dict(found))

    eventually(lambda: logged()[503] >= load.statuses[503])


def test_the_intake_starts_before_postgresql(spare: EmbeddedServer, folder: Path, shaky: Intake) -> None:
    """A worker that begins while it is away takes its tokens and connections when it comes."""
    kill(folder)
    (worker,) = shaky.workers()
    worker.kill()
    eventually(lambda: [it.pid for it in shaky.workers()] not in ([], [worker.pid]))
    eventually(lambda: _status(shaky) == 503)
    embedded.start(folder)
    eventually(shaky.is_up)
    assert eventually(lambda: shaky.get("/sample/closed", headers=TOKEN).is_success)


def _status(intake: Intake) -> int:
    import httpx

    try:
        return intake.get("/health").status_code
    except httpx.TransportError:
        return 0
