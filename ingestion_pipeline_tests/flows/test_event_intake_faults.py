"""The intake killed, stopped and doubled while applications send events: what was acknowledged is there, once."""

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
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


def test_workers_killed_under_load_come_back_by_themselves(intake_url: str, database_url: str, tmp_path: Path) -> None:
    """First one of two, then the other; the server is never gone."""
    with running(intake_url, tmp_path, REAL, INTAKE_WORKERS="2") as intake:
        with Applications(intake.port) as applications:
            for worker in intake.workers():
                applications.go_on()
                worker.kill()
                eventually(partial(is_replaced, intake, worker))
            applications.go_on()
        assert ([], {202}) == (applications.wrong, set(applications.statuses))
    assert applications.acknowledged == stored(database_url)


def is_replaced(intake: Intake, killed: psutil.Process) -> bool:
    now = intake.workers()
    return len(now) == 2 and killed not in now


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

    def __init__(self, file: Path, to: datetime) -> None:
        self.file = file
        self.move(to)

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
    clock = MovedClock(tmp_path / "clock", midnight - timedelta(minutes=2))
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
    clocks = [
        MovedClock(tmp_path / "behind", midnight - timedelta(minutes=10)),
        MovedClock(tmp_path / "ahead", midnight + timedelta(minutes=10)),
    ]
    with (
        running(intake_url, tmp_path, clocks[0].command) as behind,
        running(intake_url, tmp_path, clocks[1].command) as ahead,
    ):
        answers = send_to_all([behind, ahead])
        require_one_accepts(answers, database_url)
        for place, intake in enumerate((behind, ahead)):
            assert 202 == intake.post("/ingest/events", batch_of(copied(f"own-{place}"))).status_code
    days = days_of(database_url)
    assert (day_before(midnight), midnight.date()) == (days["own-0"], days["own-1"])


def test_a_view_repeated_across_midnight_counts_once(
    intake_url: str, tmp_path: Path, midnight: datetime, postgres: Postgres, lake: Lake
) -> None:
    """The address is hashed under another key by then, and still found; from another address it counts."""
    clock = MovedClock(tmp_path / "clock", midnight)
    with running(intake_url, tmp_path, clock.command) as intake:
        for minutes, addresses in ((-2, (1,)), (3, (1, 2)), (7, (1, 2))):
            clock.move(midnight + timedelta(minutes=minutes))
            views = [
                {"type": "VIEW", "ruleId": "r1", "sessionId": f"{n} {minutes}", "context": {"ip": f"203.0.113.{n}"}}
                for n in addresses
            ]
            assert 202 == intake.post("/ingest/events", batch_of(*views)).status_code
    sync(postgres, lake)
    history = lake.read(EVENT_HISTORY, ALL_TIME).to_pyarrow()
    counted = history.filter(history["is_counted"])
    assert (5, {"1 -2", "2 3"}) == (history.num_rows, set(counted["session_id"].to_pylist()))
