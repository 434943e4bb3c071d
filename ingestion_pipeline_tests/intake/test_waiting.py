"""Waiting for jobs in the intake's own process: many waiters, one poller, time that is over, PostgreSQL away."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.intake.endpoints import Caller
from ingestion_pipeline.intake.owners import acting_as, acting_as_operator, is_operator, owner_of
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline.intake.services import Services, services
from ingestion_pipeline.intake.waiting import (
    enqueue,
    enqueue_and_wait,
    output_or_problem,
    still_working,
    wait_for,
)
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.jobs import Job, JobQueue, NewJob
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.intake.conftest import as_intake

FREE: dict[str, int | None] = {"toy": None}
MINE = NewJob(job_type="toy", owner_id="me")
WAITERS, JOBS = 200, 5


@pytest.fixture
def queue(postgres: Postgres) -> JobQueue:
    return JobQueue(postgres)


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Callable[[Callable[[Services], Awaitable[Any]]], Any]:
    """Runs a coroutine function with open services that log in as the intake."""

    def running(work: Callable[[Services], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            given = {
                "DATABASE_URL": as_intake(database_url),
                "INTAKE_DATABASE_URL": "",
                "INGESTION_HOME": str(tmp_path),
            }
            found = services(Settings.from_environment({**given, "JOB_WAIT_SECONDS": "60"}))
            await found.open()
            try:
                return await work(found)
            finally:
                await found.close()

        return asyncio.run(main())

    return running


def finish(queue: JobQueue, **told: Any) -> None:
    """The next job, by a worker."""
    (job,) = queue.claim("w", FREE)
    queue.settle(job.attempt_id, **{"outcome": "completed", "output": {"n": 1}, **told})


def test_many_waiters_are_answered_by_one_poller(run: Any, queue: JobQueue) -> None:
    """Each gets the end of its own job; PostgreSQL is not asked once a waiter."""

    async def work(found: Services) -> tuple[list[Job], list[Job], int]:
        jobs = [(await enqueue(found, MINE))[0] for _ in range(JOBS)]
        waits = [asyncio.create_task(wait_for(found, jobs[number % JOBS], 60)) for number in range(WAITERS)]
        await asyncio.sleep(0)
        before = found.pool.get_stats().get("requests_num", 0)
        for _ in jobs:
            await asyncio.to_thread(finish, queue)
        ended = list(await asyncio.gather(*waits))
        return jobs, ended, found.pool.get_stats()["requests_num"] - before

    jobs, ended, requests = run(work)
    assert [jobs[number % JOBS].job_id for number in range(WAITERS)] == [job.job_id for job in ended]
    assert {"COMPLETED"} == {job.status for job in ended}
    assert 1 <= requests < WAITERS


def test_when_the_time_is_over_the_job_is_told_as_it_was(run: Any) -> None:
    """Also when nobody wants to wait at all."""

    async def work(found: Services) -> list[Job]:
        return [await enqueue_and_wait(found, MINE, seconds) for seconds in (0, 0.6)]

    assert ["QUEUED", "QUEUED"] == [job.status for job in run(work)]


def test_a_job_that_is_finished_is_not_waited_for(run: Any, queue: JobQueue) -> None:
    """Whether that was known or not."""

    async def work(found: Services) -> tuple[Job, Job]:
        job, _ = await enqueue(found, MINE)
        await asyncio.to_thread(finish, queue)
        ended = await wait_for(found, job, 60)
        return ended, await wait_for(found, ended, 60)

    ended, again = run(work)
    assert "COMPLETED" == ended.status
    assert ended is again


def test_waiting_outlives_a_database_that_cannot_be_read(run: Any, queue: JobQueue, database_url: str) -> None:
    """The poller goes on, and once it can read again who still waits is answered; who cannot wait is told what is known."""

    async def work(found: Services) -> tuple[Job, Job]:
        job, _ = await enqueue(found, MINE)
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("revoke select on operations.jobs from pipeline_intake")
            patient = asyncio.create_task(wait_for(found, job, 60))
            impatient = await wait_for(found, job, 0.6)
            await asyncio.to_thread(finish, queue)
            owner.execute("grant select on operations.jobs to pipeline_intake")
        return impatient, await patient

    impatient, patient = run(work)
    assert ("QUEUED", "COMPLETED") == (impatient.status, patient.status)


def test_a_caller_that_goes_away_leaves_nothing_waiting(run: Any, queue: JobQueue) -> None:
    """The others are answered as if it had never been there."""

    async def work(found: Services) -> Job:
        job, _ = await enqueue(found, MINE)
        gone = asyncio.create_task(wait_for(found, job, 60))
        stays = asyncio.create_task(wait_for(found, job, 60))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await asyncio.to_thread(finish, queue)
        return await stays

    assert "COMPLETED" == run(work).status


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"outcome": "failed", "error_kind": "permanent", "error_message": "why"}, 500),
        ({"outcome": "cancelled", "error_message": "why"}, 409),
    ],
)
def test_a_job_that_failed_is_a_problem(run: Any, queue: JobQueue, told: dict[str, Any], status: int) -> None:
    """Which names the job, and, where there is one, the error."""

    async def work(found: Services) -> Job:
        job, _ = await enqueue(found, MINE)
        await asyncio.to_thread(lambda: finish(queue, **{**told, "output": None}))
        return await wait_for(found, job, 60)

    job = run(work)
    with pytest.raises(Problem) as raised:
        output_or_problem(job)
    assert status == raised.value.status
    assert job.job_id in raised.value.detail
    assert status == 409 or "why" in raised.value.detail


def test_a_job_that_goes_on_is_202_with_its_address(run: Any) -> None:
    """Whatever asks for it."""
    job: Job = run(lambda found: enqueue_and_wait(found, MINE, 0))
    assert None is output_or_problem(job)
    answer = still_working(job)
    assert (202, ((b"location", f"/api/jobs/{job.job_id}".encode()),)) == (answer.status, answer.headers)


@pytest.mark.parametrize(
    ("caller", "owner"),
    [
        (Caller("person", "alice"), "alice"),
        (Caller("application", "web"), "application:web"),
        (Caller("scheduler", "scheduler"), "scheduler"),
        (Caller("person", "scheduler"), "person:scheduler"),
        (Caller("person", "application:web"), "person:application:web"),
        (Caller("person", "person:scheduler"), "person:person:scheduler"),
        (Caller("person", "cli:root"), "person:cli:root"),
        (Caller("person", "cli"), "person:cli"),
        (Caller("person", "clive"), "clive"),
    ],
)
def test_callers_own_what_is_theirs(caller: Caller, owner: str) -> None:
    """No two of them own the same."""
    assert owner == owner_of(caller)


def test_only_an_application_with_the_scope_is_an_operator() -> None:
    """Or with every scope."""
    scopes = {"jobs:admin": True, "*": True, "jobs:write": False}
    found = {scope: is_operator(Caller("application", "web", frozenset({scope})), "jobs:admin") for scope in scopes}
    assert scopes == found
    assert not is_operator(Caller("person", "alice"), "jobs:admin")
    assert not is_operator(Caller("scheduler", "scheduler"), "jobs:admin")


def test_acting_as_somebody_ends_with_the_transaction(run: Any, queue: JobQueue) -> None:
    """The next one on the same connection sees nothing."""
    queue.enqueue(MINE)
    queue.enqueue(NewJob(job_type="toy", owner_id="you"))

    async def count(connection: psycopg.AsyncConnection[Any]) -> int:
        row = await (await connection.execute("select count(*) from operations.jobs")).fetchone()
        assert row is not None
        return int(row[0])

    async def work(found: Services) -> list[int]:
        counts = []
        for _ in range(6):  # more than there are connections
            async with acting_as(found, "me") as connection:
                counts.append(await count(connection))
            async with acting_as_operator(found) as connection:
                counts.append(await count(connection))
            async with found.pool.connection() as connection:
                counts.append(await count(connection))
        return counts

    assert [1, 2, 0] * 6 == run(work)
