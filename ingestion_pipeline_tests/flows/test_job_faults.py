"""Workers killed, stopped and cut off from PostgreSQL, for real: no job is lost and none is done twice.

Workers are processes of their own; each job writes one row into `public.effects`, which has no key, so that doing it
twice shows. A process is killed when it says where it is, never after a time.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.jobs import Job, JobQueue, NewJob
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python, until
from ingestion_pipeline_tests.command import SECONDS

LEASE_SECONDS = "0.5"
EFFECTS = "create table public.effects (job_id text not null, pid integer not null)"
WORKER = """
import os
import sys
from datetime import timedelta

import msgspec

from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.orchestration.jobs import JobContext, JobWorker
from ingestion_pipeline.storage.postgres import Postgres

configure_logging("critical", style="json")
url, step, lease = sys.argv[1], sys.argv[2], float(sys.argv[3])


class Nothing(msgspec.Struct):
    pass


def reached(name):
    # says where it is and waits there for a line, or for its end
    if name == step:
        print(name, flush=True)
        sys.stdin.readline()


def context_of(job, attempt):
    reached("claimed")
    return JobContext(job, None, postgres, None, None, None, None, attempt)


def handler(context, _):
    reached("running")
    with context.postgres.transaction() as connection:
        connection.execute("insert into public.effects values (%s, %s)", [context.job.job_id, os.getpid()])
        context.complete(connection, {"pid": os.getpid()})
        reached("settled but not committed")
    reached("settled")
    return {}


def plain(context, _):
    reached("before it is settled")
    return {"pid": os.getpid()}


postgres = Postgres(url)
worker = JobWorker(
    postgres=postgres,
    handlers={
        JobType(name="once", summary="", input_type=Nothing): handler,
        JobType(name="plain", summary="", input_type=Nothing): plain,
    },
    context_of=context_of,
    lease=timedelta(seconds=lease),
    heartbeat_seconds=lease / 5,
)
print("up", flush=True)
if step == "forever":
    while True:
        worker.work(seconds=3600)
worker.work(seconds=3600)
reached("worked off")
"""
FREE: dict[str, int | None] = {"once": None, "plain": None}


@dataclass
class Works:
    url: str
    queue: JobQueue
    owner: psycopg.Connection[Any]

    def add(self, **over: Any) -> str:
        return self.queue.enqueue(NewJob(**{"job_type": "once", "owner_id": "me", **over}))[0]

    def job(self, job_id: str) -> Job:
        found = self.queue.job(job_id)
        assert found is not None
        return found

    def outcomes(self, job_id: str) -> list[str | None]:
        return [attempt["outcome"] for attempt in self.queue.attempts(job_id)]

    def effects(self) -> list[str]:
        return [job_id for (job_id,) in self.owner.execute("select job_id from public.effects").fetchall()]

    def rescue(self) -> None:
        """As the sensor does; what is tried again is due at once."""
        self.queue.rescue()
        self.owner.execute("update operations.jobs set run_at = clock_timestamp() where status = 'RETRYING'")

    def work_off(self) -> None:
        """A worker that nobody disturbs does what is due."""
        with python(WORKER, self.url, "none", "30") as child:
            assert 0 == child.wait(120), child.communicate()


@pytest.fixture
def works(worker_url: str, database_url: str) -> Iterator[Works]:
    with psycopg.connect(database_url, autocommit=True) as owner, closing(Postgres(worker_url)) as postgres:
        owner.execute(EFFECTS)
        owner.execute("grant all on public.effects to pipeline_worker")
        yield Works(worker_url, JobQueue(postgres), owner)


def await_line(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdout is not None
    seen = []
    while (text := child.stdout.readline()) != f"{line}\n":
        assert text, "".join(seen)
        seen.append(text)


@pytest.mark.parametrize(
    ("step", "job_type", "left"),
    [
        ("claimed", "once", "RUNNING"),
        ("running", "once", "RUNNING"),
        ("settled but not committed", "once", "RUNNING"),
        ("before it is settled", "plain", "RUNNING"),
        ("settled", "once", "COMPLETED"),
        ("worked off", "plain", "COMPLETED"),
    ],
)
def test_a_worker_killed_at_any_step_loses_nothing_and_does_nothing_twice(
    works: Works, step: str, job_type: str, left: str
) -> None:
    """What it held is rescued when its lease is over and done by another; what it had settled stays settled."""
    job_id = works.add(job_type=job_type)
    with python(WORKER, works.url, step, LEASE_SECONDS) as child:
        await_line(child, step)
        os.kill(child.pid, signal.SIGKILL)
        assert -signal.SIGKILL == child.wait()
    assert left == works.job(job_id).status
    if left == "RUNNING":
        until(lambda: works.queue.rescue() == {job_id: "RETRYING"})
        works.rescue()
    assert {} == works.queue.rescue()
    works.work_off()
    job = works.job(job_id)
    lost = left == "RUNNING"
    assert ("COMPLETED", 1 + lost) == (job.status, job.attempt_count)
    assert ["lost"] * lost + ["completed"] == works.outcomes(job_id)
    assert [job_id] * (job_type == "once") == works.effects()


def test_a_job_that_kills_every_worker_fails_in_the_end(works: Works) -> None:
    """As lost, after its attempts: it does not take worker after worker with it for ever."""
    job_id = works.add(max_attempts=2)
    for status in ("RETRYING", "FAILED"):
        with python(WORKER, works.url, "running", LEASE_SECONDS) as child:
            await_line(child, "running")
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        until(lambda: works.queue.rescue() == {job_id: status})  # noqa: B023
        works.rescue()
    job = works.job(job_id)
    assert ("FAILED", "lost", 2, []) == (job.status, job.error_kind, job.attempt_count, works.effects())


def test_a_worker_that_was_only_stopped_cannot_settle_what_another_has_done(works: Works) -> None:
    """It wakes up, finds its job gone, and what it wrote in that transaction is rolled back."""
    job_id = works.add()
    with python(WORKER, works.url, "running", LEASE_SECONDS) as child:
        await_line(child, "running")
        os.kill(child.pid, signal.SIGSTOP)
        until(lambda: works.queue.rescue() == {job_id: "RETRYING"})
        works.rescue()
        works.work_off()
        done = works.job(job_id)
        os.kill(child.pid, signal.SIGCONT)
        child.communicate("go on\n", timeout=SECONDS)
        assert 0 == child.returncode
    assert done == works.job(job_id)
    assert ("COMPLETED", ["lost", "completed"], [job_id]) == (done.status, works.outcomes(job_id), works.effects())


def test_many_workers_that_are_killed_again_and_again_do_every_job_once(works: Works) -> None:
    """Three workers, of which one is killed whenever ten more jobs are done; a new one takes its place."""
    ids = [works.add(max_attempts=25, priority=number % 3) for number in range(100)]
    with ExitStack() as stack:
        children = [stack.enter_context(python(WORKER, works.url, "forever", LEASE_SECONDS)) for _ in range(3)]

        def done() -> int:
            works.rescue()
            return len(works.queue.jobs(status="COMPLETED", rows=1000))

        for goal in range(10, 100, 10):
            until(lambda: done() >= goal)  # noqa: B023
            children.pop(0).kill()
            children.append(stack.enter_context(python(WORKER, works.url, "forever", LEASE_SECONDS)))
        until(lambda: done() == len(ids))
    assert sorted(ids) == sorted(works.effects())
    for job_id in ids:
        outcomes = works.outcomes(job_id)
        assert ["lost"] * (len(outcomes) - 1) + ["completed"] == outcomes
        assert works.job(job_id).attempt_count == len(outcomes)


def test_a_worker_outlives_a_crash_of_postgresql() -> None:
    """kill -9 of the server while a handler works: the job is settled when the server is back, once."""
    with tempfile.TemporaryDirectory(prefix="jobs-", ignore_cleanup_errors=True) as home:
        folder = Path(home) / "postgres"
        server = embedded.start(folder)
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        url = server.url(role="pipeline_worker")
        with closing(Postgres(url)) as postgres:
            queue = JobQueue(postgres)
            job_id, _ = queue.enqueue(NewJob(job_type="plain", owner_id="me"))
            with python(WORKER, url, "before it is settled", "60") as child:
                await_line(child, "before it is settled")
                os.kill(int((folder / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
                assert child.stdin is not None
                child.stdin.write("go on\n")
                child.stdin.flush()
                embedded.start(folder)
                assert 0 == child.wait(120), child.communicate()
            job = queue.job(job_id)
            assert job is not None
            assert ("COMPLETED", 1) == (job.status, job.attempt_count)
        embedded.stop_when_unused(folder)
