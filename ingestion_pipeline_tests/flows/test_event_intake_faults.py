"""The intake killed, stopped and doubled while applications send events: what was acknowledged is there, once."""

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.domains.events.sync import ALL_TIME, sync
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import eventually, free_port
from ingestion_pipeline_tests.flows.intake_process import Applications, batch_of, copied, kill_9, stored
from ingestion_pipeline_tests.intake.process import REAL, Intake, running

# The real intake, whose clock is moved by the seconds that a file holds.
MOVED_CLOCK = """
import sys
from datetime import timedelta
from pathlib import Path
from ingestion_pipeline.core import clock
real, moved = clock.utc_now, Path(sys.argv[1])
clock.utc_now = lambda: real() + timedelta(seconds=float(moved.read_text()))
from ingestion_pipeline.cli import main
sys.argv = ["ingestion-pipeline", "intake"]
main()
"""
BATCHES, EVENTS_PER_BATCH = 40, 20


@pytest.fixture
def intake_url(database_url: str) -> str:
    return database_url.replace("postgres@", "pipeline_intake@", 1)


def test_an_intake_killed_under_load_has_every_event_once(intake_url: str, database_url: str, tmp_path: Path) -> None:
    """Three times the whole of it; applications send again with the same keys what nobody acknowledged."""
    port = free_port()
    with Applications(port) as applications:
        for _ in range(3):
            with running(intake_url, tmp_path, REAL, PORT=str(port)) as intake:
                applications.go_on()
                kill_9(intake)
        with running(intake_url, tmp_path, REAL, PORT=str(port)):
            applications.go_on()
            applications.stop()
    assert ([], {202}) == (applications.wrong, set(applications.statuses))
    assert applications.broken
    assert applications.acknowledged == stored(database_url)


def test_a_worker_killed_under_load_comes_back_by_itself(intake_url: str, database_url: str, tmp_path: Path) -> None:
    """One of two: the other goes on, and a new one takes its place."""
    with running(intake_url, tmp_path, REAL, INTAKE_WORKERS="2") as intake:
        with Applications(intake.port) as applications:
            for _ in range(2):
                applications.go_on()
                before = set(intake.workers())
                before.pop().kill()
                eventually(partial(has_two_workers, intake, before))
                applications.go_on()
        assert ([], {202}) == (applications.wrong, set(applications.statuses))
    assert applications.acknowledged == stored(database_url)


def has_two_workers(intake: Intake, survivors: set[Any]) -> bool:
    now = [worker for worker in intake.workers() if worker.is_running() and worker.status() != "zombie"]
    return len(now) == 2 and survivors < set(now)


def test_sigterm_under_load_loses_nothing_that_was_acknowledged(
    intake_url: str, database_url: str, tmp_path: Path
) -> None:
    """It ends with 0, and soon: nobody had to kill it."""
    with (
        running(intake_url, tmp_path, REAL) as intake,
        Applications(intake.port, insist=False) as applications,
    ):
        applications.go_on()
        workers = intake.workers()
        intake.process.send_signal(signal.SIGTERM)
        assert 0 == intake.process.wait(30)
        assert not any(worker.is_running() for worker in workers)
    assert [] == applications.wrong
    assert applications.acknowledged.items() <= stored(database_url).items()


@pytest.fixture
def two_intakes(intake_url: str, tmp_path: Path) -> Iterator[list[Intake]]:
    """Two processes on one database."""
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with running(intake_url, tmp_path / "one", REAL) as one, running(intake_url, tmp_path / "other", REAL) as other:
        yield [one, other]


def test_two_intakes_that_get_the_same_keys_at_once_store_each_once(
    two_intakes: list[Intake], database_url: str
) -> None:
    """One of them accepts, the other calls it a duplicate, and both name the same id."""
    require_one_accepts(send_to_all(two_intakes), database_url)


def send_to_all(intakes: Sequence[Intake]) -> list[dict[str, tuple[str, str]]]:
    """Sends batches to every intake at once, in another order to each; what each answered, by key."""
    answers: list[dict[str, tuple[str, str]]] = [{} for _ in intakes]

    def send(place: int, batch: int) -> None:
        keys = [f"{batch}-{i}" for i in range(EVENTS_PER_BATCH)][:: 1 - 2 * (place % 2)]
        answer = intakes[place].post("/ingest/events", batch_of(*map(copied, keys)))
        assert 202 == answer.status_code, answer.text
        results = answer.json()["results"]
        answers[place] |= {key: (it["status"], it["id"]) for key, it in zip(keys, results, strict=True)}

    with ThreadPoolExecutor(4 * len(intakes)) as pool:
        sent = [pool.submit(send, place, batch) for batch in range(BATCHES) for place in range(len(intakes))]
    for each in sent:
        each.result()
    return answers


def require_one_accepts(answers: Sequence[dict[str, tuple[str, str]]], database_url: str) -> None:
    ids = stored(database_url)
    assert BATCHES * EVENTS_PER_BATCH == len(ids)
    for key, event_id in ids.items():
        assert [("accepted", event_id), ("duplicate", event_id)] == sorted(answer[key] for answer in answers)


class MovedClock:
    """The clock of an intake, moved to an instant; it goes on from there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def command(self) -> tuple[str, ...]:
        return ("-c", MOVED_CLOCK, str(self.file))

    def move(self, to: datetime) -> None:
        written = self.file.with_suffix(".new")
        written.write_text(str((to - datetime.now(UTC)).total_seconds()))
        written.replace(self.file)


@pytest.fixture
def midnight() -> datetime:
    """The one after the next: on both sides of it are days for which partitions are ready."""
    return datetime.combine(datetime.now(UTC).date() + timedelta(days=2), datetime.min.time(), UTC)


def days_of(database_url: str) -> dict[str, date]:
    """The day on which the event of each key was received."""
    with psycopg.connect(database_url, options="-c timezone=UTC") as connection:
        return dict(connection.execute("select idempotency_key, received_at::date from events.event_log").fetchall())


def test_a_key_is_one_key_across_midnight(
    intake_url: str, database_url: str, tmp_path: Path, midnight: datetime
) -> None:
    """The same process before and after: the partition changes, the key and the id do not."""
    clock = MovedClock(tmp_path / "clock")
    clock.move(midnight - timedelta(minutes=2))
    with running(intake_url, tmp_path, clock.command) as intake:
        before = intake.post("/ingest/events", batch_of(copied("a"), copied("b"))).json()
        clock.move(midnight + timedelta(minutes=3))
        after = intake.post("/ingest/events", batch_of(copied("b"), copied("c"), copied("a"))).json()
    assert ((2, 0), (1, 2)) == tuple((it["accepted"], it["duplicates"]) for it in (before, after))
    assert [it["id"] for it in before["results"]] == [after["results"][i]["id"] for i in (2, 0)]
    assert {"a": day_before(midnight), "b": day_before(midnight), "c": midnight.date()} == days_of(database_url)
    assert {"a", "b", "c"} == set(stored(database_url))


def day_before(instant: datetime) -> date:
    return instant.date() - timedelta(days=1)


def test_intakes_on_the_two_sides_of_midnight_share_their_keys(
    intake_url: str, database_url: str, tmp_path: Path, midnight: datetime
) -> None:
    """Clocks are never quite equal: one writes to the old day while the other writes to the new one."""
    homes = [tmp_path / "old", tmp_path / "new"]
    clocks = [MovedClock(home / "clock") for home in homes]
    for home, clock, offset in zip(homes, clocks, (-600, 600), strict=True):
        home.mkdir()
        clock.move(midnight + timedelta(seconds=offset))
    with (
        running(intake_url, homes[0], clocks[0].command) as old,
        running(intake_url, homes[1], clocks[1].command) as new,
    ):
        answers = send_to_all([old, new])
    require_one_accepts(answers, database_url)
    assert {day_before(midnight), midnight.date()} == set(days_of(database_url).values())


def test_a_view_repeated_across_midnight_counts_once(
    intake_url: str, tmp_path: Path, midnight: datetime, postgres: Postgres, lake: Lake
) -> None:
    """The address is hashed under another key by then, and still found; from another address it counts."""
    clock = MovedClock(tmp_path / "clock")
    addresses = ["203.0.113.1", "203.0.113.2"]
    with running(intake_url, tmp_path, clock.command) as intake:
        for minutes, seen in ((-2, addresses[:1]), (3, addresses), (9, addresses)):
            clock.move(midnight + timedelta(minutes=minutes))
            views = [{"type": "VIEW", "ruleId": "r1", "context": {"ip": address}} for address in seen]
            assert 202 == intake.post("/ingest/events", batch_of(*views)).status_code
    sync(postgres, lake)
    history = lake.read(EVENT_HISTORY, ALL_TIME).order_by("received_at", "event_id").to_pyarrow()
    counted = list(zip(history["occurred_at"].to_pylist(), history["is_counted"].to_pylist(), strict=True))
    assert [True, False, False, False, True] == sorted_counts(counted, midnight)


def sorted_counts(counted: list[tuple[datetime, bool]], midnight: datetime) -> list[bool]:
    """Before midnight, then three and nine minutes after it; of one instant the uncounted ones first."""
    return [
        is_counted
        for _, is_counted in sorted((round((at - midnight) / timedelta(minutes=1)), it) for at, it in counted)
    ]
