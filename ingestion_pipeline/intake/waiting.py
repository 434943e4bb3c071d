"""Asks for a job and waits for its end: how endpoints answer at once what is done elsewhere.

However many requests wait, one task asks PostgreSQL for all of them. A request that has waited long enough is answered
202 with the address of its job.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ingestion_pipeline.intake.endpoints import Answer, Call, json_answer
from ingestion_pipeline.intake.owners import acting_as, acting_as_operator
from ingestion_pipeline.intake.parameters import refused
from ingestion_pipeline.intake.problems import FieldError, Problem
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.jobs import ENQUEUE, FINISHED, JOB, JOB_COLUMNS, Job, NewJob

POLL_SECONDS = 0.25
_FINISHED = f"select {JOB_COLUMNS} from operations.jobs where job_id = any(%s::uuid[]) and status = any(%s)"
_pollers: WeakKeyDictionary[AsyncConnectionPool, "Poller"] = WeakKeyDictionary()


async def enqueue(
    services: Services, new: NewJob, *, before: Callable[[AsyncConnection], Awaitable[None]] | None = None
) -> tuple[Job, bool]:
    """The job, and whether it is a new one, in the name of its owner.

    `before` is called first in the same transaction: what it raises keeps the job out.
    """
    async with (
        acting_as(services, new.owner_id) as connection,
        connection.cursor(row_factory=class_row(Job)) as cursor,
    ):
        if before is not None:
            await before(connection)
        row = await (await connection.execute(ENQUEUE.encode(), new.parameters())).fetchone()
        assert row is not None  # noqa: S101 - the function returns a row or raises
        job = await (await cursor.execute(JOB.encode(), [row[0]])).fetchone()
    assert job is not None  # noqa: S101 - the same transaction added or saw it
    return job, row[1]


async def enqueue_and_wait(services: Services, new: NewJob, wait_seconds: float) -> Job:
    """The job, finished if that took at most `wait_seconds` and JOB_WAIT_SECONDS."""
    job, _ = await enqueue(services, new)
    return await wait_for(services, job, wait_seconds)


async def wait_for(services: Services, job: Job, wait_seconds: float) -> Job:
    """`job` as it is when it is finished, or when the time is over; as it was, while PostgreSQL is away."""
    seconds = min(wait_seconds, services.settings.job_wait_seconds)
    if job.is_finished or seconds <= 0:
        return job
    poller = _pollers.setdefault(services.pool, Poller())
    return await poller.finished(services, job.job_id, seconds) or job


def wait_seconds(call: Call, services: Services) -> float:
    """The parameter `wait` of the query; as long as JOB_WAIT_SECONDS allows without one.

    Raises:
        Problem: 422, it is no number of seconds.
    """
    most = services.settings.job_wait_seconds
    text = call.query.get("wait")
    if text is None:
        return most
    with suppress(ValueError):
        if 0 <= (seconds := float(text)) <= most:
            return seconds
    raise refused(FieldError("wait", f"0 to {most:g} seconds", text))


def output_or_problem(job: Job) -> Mapping[str, Any] | None:
    """The output of a completed job, None while it is not finished.

    Raises:
        Problem: it failed: 502 where trying again may help, 500 where it cannot; 409 if it was cancelled.
    """
    if job.status == "COMPLETED":
        return job.output_data or {}
    if job.status == "CANCELLED":
        raise Problem(409, f"job {job.job_id} was cancelled", kind="job-cancelled")
    if job.status == "FAILED":
        status = 500 if job.error_kind == "permanent" else 502
        raise Problem(status, f"job {job.job_id} failed: {job.error_message}", kind="job-failed")
    return None


def still_working(job: Job) -> Answer:
    """202: the job goes on, and `Location` says where to ask for it."""
    body = {"status": "accepted", "job_id": job.job_id, "job_status": job.status}
    return json_answer(202, body, (job_address(job.job_id),))


def job_address(job_id: str) -> tuple[bytes, bytes]:
    """The header that says where a job is."""
    return b"location", f"/api/jobs/{job_id}".encode()


class Poller:
    """Looks for the ends of all jobs that somebody waits for, while somebody does."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[Job]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def finished(self, services: Services, job_id: str, seconds: float) -> Job | None:
        """The job once it is finished; None if that takes longer than `seconds`."""
        future: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll(services), name="job-poller")
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return None
        finally:
            self._waiting[job_id].discard(future)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def _poll(self, services: Services) -> None:
        while self._waiting:
            with suppress(psycopg.Error, PoolTimeout):  # away: those who wait are answered 202 in time
                for job in await self._ended(services):
                    for future in self._waiting.get(job.job_id, ()):
                        if not future.done():
                            future.set_result(job)
            await asyncio.sleep(POLL_SECONDS)

    async def _ended(self, services: Services) -> list[Job]:
        async with (
            acting_as_operator(services) as connection,
            connection.cursor(row_factory=class_row(Job)) as cursor,
        ):
            await cursor.execute(_FINISHED.encode(), [list(self._waiting), list(FINISHED)])
            return await cursor.fetchall()
