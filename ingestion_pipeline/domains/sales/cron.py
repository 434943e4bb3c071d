"""S3's cron endpoint: waits for due jobs of platforms, which workers do, and writes `operations.cron_logs`.

One call at a time: each job is counted once, by the call that saw it end.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg

from ingestion_pipeline.domains.sales.jobs import PLATFORM_INGEST
from ingestion_pipeline.intake.endpoints import Answer, Call, json_answer
from ingestion_pipeline.intake.owners import acting_as_operator
from ingestion_pipeline.intake.services import Services

PATH = "/api/ingestion/cron"
JOBS_PER_CALL = 10
POLL_SECONDS = 0.25
LATE_SECONDS = 60
"""After its time to wait, a call that still says `running` has lost its process."""
_ONE_AT_A_TIME = "select pg_advisory_xact_lock(hashtextextended('operations.cron_logs', 0))"
_END_LOST = """
update operations.cron_logs
set finished_at = clock_timestamp(), status = 'failed', error_message = 'the process that answered this call is gone'
where path = %(path)s and status = 'running' and started_at < clock_timestamp() - make_interval(secs => %(seconds)s)
"""
_START = """
insert into operations.cron_logs (path, request_id)
values (%(path)s, %(request_id)s)
returning
    cron_log_id, started_at,
    exists (select from operations.cron_logs where path = %(path)s and status = 'running') as is_second
"""
_END = """
update operations.cron_logs
set finished_at = clock_timestamp(), processed_count = %s, status = %s, error_message = %s
where cron_log_id = %s
"""
_DUE = f"""
select job_id from operations.jobs
where job_type = '{PLATFORM_INGEST.name}' and status in ('QUEUED', 'RETRYING') and run_at <= clock_timestamp()
order by priority desc, run_at, created_at
limit {JOBS_PER_CALL}
"""
_WORKED_ON = """
select count(distinct jobs.job_id)
from operations.jobs as jobs
left join operations.job_attempts as attempts
    on jobs.job_id = attempts.job_id and attempts.finished_at >= %s
where
    jobs.job_id = any(%s)
    and (attempts.job_id is not null or jobs.status in ('COMPLETED', 'FAILED', 'CANCELLED'))
"""


class Cron:
    """Answers the scheduler."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._wait_seconds = services.settings.job_wait_seconds

    async def run(self, call: Call) -> Answer:
        """POST /api/ingestion/cron."""
        seconds = self._wait_seconds + LATE_SECONDS
        facts = {"path": PATH, "request_id": call.request_id, "seconds": seconds}
        async with acting_as_operator(self._services) as connection:
            await connection.execute(_ONE_AT_A_TIME)
            await connection.execute(_END_LOST, facts)
            begun = await connection.execute(_START, facts)
            log_id, started_at, is_second = await begun.fetchone() or (0, None, True)
            due = await (await connection.execute(_DUE.encode())).fetchall()
        jobs = [] if is_second else [job_id for (job_id,) in due]
        try:
            processed = await self._worked_on(started_at, jobs)
        except BaseException as error:  # also when the server stops, or the caller is gone
            with suppress(psycopg.Error):
                await asyncio.shield(self._end(log_id, None, f"{type(error).__name__}: {error}".removesuffix(": ")))
            raise
        await self._end(log_id, processed, None)
        return json_answer(200, {"processed": processed})

    async def _end(self, log_id: int, processed: int | None, message: str | None) -> None:
        status = "success" if message is None else "failed"
        async with acting_as_operator(self._services) as connection:
            await connection.execute(_END, [processed, status, message, log_id])

    async def _worked_on(self, started_at: Any, jobs: list[UUID]) -> int:
        """How many of `jobs` had an attempt that ended, once that is all of them or JOB_WAIT_SECONDS are over."""
        deadline = time.monotonic() + self._wait_seconds
        processed = 0
        while processed < len(jobs):
            async with acting_as_operator(self._services) as connection:
                found = await connection.execute(_WORKED_ON, [started_at, jobs])
                (processed,) = await found.fetchone() or (0,)
            if processed == len(jobs) or time.monotonic() >= deadline:
                break
            await asyncio.sleep(POLL_SECONDS)
        return processed
