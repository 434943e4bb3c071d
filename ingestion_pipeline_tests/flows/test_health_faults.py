"""Health while its parts fail for real: PostgreSQL killed and hanging, the mirror killed, the intake killed; and back."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from benchmarks._load import drive, repeated
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline_tests.children import python
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.intake.process import REAL, Intake, running

PATH = "/api/health/data"
MIRROR = """
import sys, time
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.operations.freshness import evaluate
from ingestion_pipeline.orchestration.freshness import AssetFreshness
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.postgres import Postgres

settings, postgres = Settings.from_environment({"DATABASE_URL": sys.argv[1]}), Postgres(sys.argv[1])
while True:
    now = utc_now()
    assets = [
        AssetFreshness(
            asset_key=f"property/{name}", asset_group="property", state="PASS", last_materialized_at=now,
            data_as_of=now, data_state="PASS", has_data_time=True, reason=None,
        )
        for name in ("macro_observations", "fundamentals", "comps")
    ]
    evaluate(postgres, settings, assets, now=now)
    time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A PostgreSQL of this module's own, to be killed."""
    with tempfile.TemporaryDirectory(prefix="health-", ignore_cleanup_errors=True) as home:
        found = Path(home) / "postgres"
        server = embedded.start(found)
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        yield found
        embedded.start(found)
        embedded.stop_when_unused(found)


@pytest.fixture
def intake(folder: Path, tmp_path: Path) -> Iterator[Intake]:
    with running(embedded.start(folder).url(role="pipeline_intake"), tmp_path, REAL) as server:
        yield server


@contextmanager
def mirror(folder: Path) -> Iterator[None]:
    """A process that does what the sensor does, of good assets; killed (-9) at the end."""
    with python(MIRROR, embedded.start(folder).url(role="pipeline_worker")) as process:
        try:
            yield
        finally:
            assert process.poll() is None, process.communicate()[0]


def health(intake: Intake) -> dict[str, Any]:
    try:
        body: dict[str, Any] = intake.get(PATH).json()
    except httpx.TransportError:
        return {"status": "no answer"}
    return body


def becomes(intake: Intake, status: str) -> dict[str, Any]:
    eventually(lambda: health(intake)["status"] == status, explain=intake.printed)
    return health(intake)


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))


def is_unknown(body: dict[str, Any]) -> None:
    """Nothing looks GREEN, and what was known last is told."""
    assert "RED" == body["status"]
    assert {("UNKNOWN", "GREEN")} == {(it["status"], it["last_known_status"]) for it in body["services"].values()}


def test_postgresql_killed_and_back(intake: Intake, folder: Path) -> None:
    """It says so at once, with what it knew last; it is believed again when PostgreSQL and the mirror are back."""
    with mirror(folder):
        before = becomes(intake, "GREEN")
    postmaster(folder).kill()
    body = becomes(intake, "RED")
    assert "PostgreSQL" in body["reasons"][0]
    is_unknown(body)
    assert before["services"]["macro"]["last_success_at"] <= body["services"]["macro"]["last_success_at"]
    embedded.start(folder)
    with mirror(folder):
        after = becomes(intake, "GREEN")
    assert "last_known_status" not in after["services"]["macro"]


def test_under_load_every_question_is_answered_through_a_kill(intake: Intake, folder: Path) -> None:
    """200 or 503, never an error of its own and never a connection that ends."""
    with mirror(folder):
        becomes(intake, "GREEN")
    seen: list[int] = []

    def kill_and_return(_: bytes, status: int, __: bytes) -> None:
        seen.append(status)
        if len(seen) == 500:
            postmaster(folder).kill()
        elif status == 503 and 503 not in seen[:-1]:
            asyncio.get_running_loop().run_in_executor(None, embedded.start, folder)

    load = asyncio.run(
        drive(repeated("GET", PATH), port=intake.port, connections=8, seconds=6, on_answer=kill_and_return)
    )
    assert ({200, 503}, 0) == (set(load.statuses), load.broken)
    with mirror(folder):
        becomes(intake, "GREEN")


def test_postgresql_that_hangs_is_away(intake: Intake, folder: Path) -> None:
    """Connections stay open and nothing comes: the answer is as quick as ever and says that."""
    with mirror(folder):
        becomes(intake, "GREEN")
    server = postmaster(folder)
    stopped = [*server.children(recursive=True), server]
    for process in stopped:
        process.suspend()
    try:
        body = becomes(intake, "RED")
        assert "does not answer in time" in body["reasons"][0]
        is_unknown(body)
    finally:
        for process in reversed(stopped):
            process.resume()
    with mirror(folder):
        becomes(intake, "GREEN")


def test_a_dead_daemon_is_red_two_minutes_later_and_green_again_with_a_new_one(intake: Intake, folder: Path) -> None:
    """Its last word was that all is well: that is not believed for ever."""
    with mirror(folder):
        becomes(intake, "GREEN")
    with psycopg.connect(embedded.start(folder).url()) as connection:  # two minutes pass
        connection.execute("update operations.health_states set checked_at = checked_at - interval '121 seconds'")
    body = becomes(intake, "RED")
    assert "Dagster daemon" in body["reasons"][0]
    is_unknown(body)
    with mirror(folder):
        becomes(intake, "GREEN")


def test_an_intake_that_starts_while_postgresql_is_away_answers(intake: Intake, folder: Path) -> None:
    """It has never known anything: every service of the seed is UNKNOWN."""
    with mirror(folder):
        becomes(intake, "GREEN")
    postmaster(folder).kill()
    (worker,) = intake.workers()
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: [it.pid for it in intake.workers()] not in ([], [worker.pid]))
    body = becomes(intake, "RED")
    assert {"macro": "UNKNOWN", "fundamentals": "UNKNOWN", "comps": "UNKNOWN"} == {
        name: service["status"] for name, service in body["services"].items()
    }
    assert "PostgreSQL" in body["reasons"][0]
    embedded.start(folder)
    with mirror(folder):
        becomes(intake, "GREEN")
