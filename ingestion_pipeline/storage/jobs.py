"""The job queue: what can be asked of `operations.jobs`, each a call of one SQL function (sql/functions/jobs_*.sql).

Belongs here: rows in and out, for the intake (async, the statements) and for workers (`JobQueue`). Does not belong
here: which kinds of jobs there are (core/jobs.py), how one is run (orchestration/jobs.py).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import psycopg
from psycopg.rows import class_row, dict_row

from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.scopes import AS_OPERATOR

Status = Literal["QUEUED", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED"]
ErrorKind = Literal["transient", "permanent", "lost"]
Ending = Literal["completed", "failed", "postponed", "cancelled", "lost"]

UNFINISHED: tuple[Status, ...] = ("QUEUED", "RUNNING", "RETRYING")
FINISHED: tuple[Status, ...] = ("COMPLETED", "FAILED", "CANCELLED")
LEASE = timedelta(seconds=30)

ENQUEUE = """
select job_id::text, is_new
from operations.enqueue_job(
    %(job_type)s, %(input_data)s::jsonb, %(owner_id)s, market_slug => %(market_slug)s, unique_key => %(unique_key)s,
    priority => %(priority)s, run_at => %(run_at)s, max_attempts => %(max_attempts)s, request_id => %(request_id)s
)
"""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to be enqueued. With a `unique_key`, an unfinished job of that owner, type and key is returned instead."""

    job_type: str
    owner_id: str
    input_data: Mapping[str, Any] = field(default_factory=dict)
    market_slug: str | None = None
    unique_key: str | None = None
    priority: int = 0
    run_at: datetime | None = None
    max_attempts: int = 3
    request_id: str | None = None

    def parameters(self) -> dict[str, Any]:
        """What ENQUEUE takes."""
        return {**vars(self), "input_data": msgspec.json.encode(self.input_data).decode()}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row of operations.jobs."""

    job_id: str
    job_type: str
    status: Status
    market_slug: str | None
    input_data: dict[str, Any]
    output_data: dict[str, Any] | None
    owner_id: str
    request_id: str | None
    unique_key: str | None
    priority: int
    attempt_count: int
    max_attempts: int
    postponed_count: int
    run_at: datetime
    worker: str | None
    dagster_run_id: str | None
    cancel_requested_at: datetime | None
    error_kind: ErrorKind | None
    error_message: str | None
    processing_time_ms: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


@dataclass(frozen=True, kw_only=True)
class ClaimedJob(Job):
    """A job that a worker has taken: `attempt_id` is what it heartbeats and settles."""

    attempt_id: int


JOB_COLUMNS = ", ".join("job_id::text" if it.name == "job_id" else it.name for it in fields(Job))
_CLAIMED_COLUMNS = ", ".join(f"(job).{it.name}{'::text' if it.name == 'job_id' else ''}" for it in fields(Job))
_CLAIM = f"""
select attempt_id, {_CLAIMED_COLUMNS}
from operations.claim_jobs(%s, %s, %s, most => %s, lease => %s, run_id => %s)
"""
JOB = f"select {JOB_COLUMNS} from operations.jobs where job_id = %s"
ATTEMPTS = """
select attempt, worker, dagster_run_id, started_at, finished_at, outcome, error_kind, error_message
from operations.job_attempts
where job_id = %s
order by attempt_id
"""
JOBS = f"""
select {JOB_COLUMNS}
from operations.jobs
where
    (%(owner_id)s::text is null or owner_id = %(owner_id)s)
    and (%(status)s::text is null or status = %(status)s)
    and (%(job_type)s::text is null or job_type = %(job_type)s)
    and (%(market_slug)s::text is null or market_slug = %(market_slug)s)
    and (
        %(before)s::timestamptz is null
        or (created_at, job_id) < (%(before)s::timestamptz, %(before_id)s::uuid)
    )
order by created_at desc, job_id desc
limit %(rows)s
"""
_SETTLE = """
select operations.settle_job(%s, %s, output => %s::jsonb, kind => %s, message => %s, wait => %s, time_ms => %s)
"""


class JobQueue:
    """What workers and operators ask of the queue.

    Raises:
        StoreUnavailableError: from every method, when the server cannot be reached.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def enqueue(self, new: NewJob) -> tuple[str, bool]:
        """The id of the job, and whether it is a new one."""
        with self._postgres.transaction() as connection:
            row = connection.execute(ENQUEUE.encode(), new.parameters()).fetchone()
        assert row is not None  # noqa: S101 - the function returns a row or raises
        return row[0], row[1]

    def claim(
        self,
        worker: str,
        limits: Mapping[str, int | None],
        *,
        most: int = 1,
        run_id: str | None = None,
        lease: timedelta = LEASE,
    ) -> list[ClaimedJob]:
        """Takes due jobs of the types in `limits`, most urgent first.

        Args:
            worker: Who takes them; no two workers have one name.
            limits: Of each type, how many may run at the same time, everywhere.
            most: How many to take.
            run_id: The Dagster run of the worker.
            lease: After how long without a heartbeat the jobs count as lost.
        """
        parameters = [worker, list(limits), list(limits.values()), most, lease, run_id]
        with (
            self._postgres.transaction() as connection,
            connection.cursor(row_factory=class_row(ClaimedJob)) as cursor,
        ):
            return cursor.execute(_CLAIM.encode(), parameters).fetchall()

    def heartbeat(self, worker: str, *, lease: timedelta = LEASE) -> dict[int, bool]:
        """Extends the leases of `worker`; for each attempt that is still its own, whether it shall be cancelled."""
        with self._postgres.transaction() as connection:
            rows = connection.execute("select * from operations.heartbeat_jobs(%s, %s)", [worker, lease]).fetchall()
        return dict(rows)

    def settle(
        self,
        attempt_id: int,
        outcome: Ending,
        *,
        output: Mapping[str, Any] | None = None,
        error_kind: ErrorKind | None = None,
        error_message: str | None = None,
        wait: timedelta | None = None,
        time_ms: float | None = None,
    ) -> Status | None:
        """Ends an attempt; the job's status then, or None if the attempt was over already.

        Args:
            attempt_id: Of the claimed job.
            outcome: How it ended. A failed one is tried again unless `error_kind` is permanent or no attempt is left.
            output: Of a completed one.
            error_kind: Of a failed one.
            error_message: Of any other than a completed one.
            wait: Until the next attempt; a back-off by default.
            time_ms: How long the handler took.

        Raises:
            psycopg.DataError: the output holds what JSON in PostgreSQL cannot.
        """
        with self._postgres.transaction() as connection:
            return settle(
                connection,
                attempt_id,
                outcome,
                output=output,
                error_kind=error_kind,
                error_message=error_message,
                wait=wait,
                time_ms=time_ms,
            )

    def rescue(self, *, ended_runs: Collection[str] = ()) -> dict[str, Status]:
        """Ends the attempts whose lease is over, or whose Dagster run has ended; the status of each such job now."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "select job_id::text, status from operations.rescue_jobs(%s)", [list(ended_runs)]
            ).fetchall()
        return dict(rows)

    def cancel(self, job_id: str) -> Status | None:
        """As `cancel_job` says, for operators: any job."""
        status: Status | None = self._as_operator("select operations.cancel_job(%s)", job_id)
        return status

    def retry(self, job_id: str) -> Status | None:
        """As `retry_job` says, for operators: any job.

        Raises:
            psycopg.errors.UniqueViolation: an unfinished job has its unique key.
        """
        status: Status | None = self._as_operator("select operations.retry_job(%s)", job_id)
        return status

    def job(self, job_id: str) -> Job | None:
        with self._postgres.transaction() as connection, connection.cursor(row_factory=class_row(Job)) as cursor:
            return cursor.execute(JOB.encode(), [job_id]).fetchone()

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """Of one job, oldest first."""
        with self._postgres.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(ATTEMPTS, [job_id]).fetchall()

    def jobs(
        self, *, status: str | None = None, job_type: str | None = None, market_slug: str | None = None, rows: int = 50
    ) -> list[Job]:
        """The newest jobs, of every owner."""
        chosen = {"status": status, "job_type": job_type, "market_slug": market_slug, "rows": rows}
        with self._postgres.transaction() as connection, connection.cursor(row_factory=class_row(Job)) as cursor:
            return cursor.execute(
                JOBS.encode(), {"owner_id": None, "before": None, "before_id": None, **chosen}
            ).fetchall()

    def due_count(self, limits: Mapping[str, int | None]) -> int:
        """How many jobs a worker could claim now."""
        return int(self._value("select operations.due_job_count(%s, %s)", list(limits), list(limits.values())))

    def running_runs(self) -> set[str]:
        """The Dagster runs that hold a job."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "select distinct dagster_run_id from operations.jobs "
                "where status = 'RUNNING' and dagster_run_id is not null"
            ).fetchall()
        return {run_id for (run_id,) in rows}

    def _as_operator(self, statement: str, job_id: str) -> Any:
        with self._postgres.transaction() as connection:
            connection.execute(AS_OPERATOR)
            row = connection.execute(statement.encode(), [job_id]).fetchone()
        return row[0] if row else None

    def _value(self, statement: str, *parameters: Any) -> Any:
        with self._postgres.transaction() as connection:
            row = connection.execute(statement.encode(), parameters).fetchone()
        return row[0] if row else None


def settle(
    connection: psycopg.Connection[Any],
    attempt_id: int,
    outcome: Ending,
    *,
    output: Mapping[str, Any] | None = None,
    error_kind: ErrorKind | None = None,
    error_message: str | None = None,
    wait: timedelta | None = None,
    time_ms: float | None = None,
) -> Status | None:
    """`JobQueue.settle` in the transaction of `connection`: what else it writes is there exactly if this is."""
    encoded = None if output is None else msgspec.json.encode(output).decode()
    parameters = [attempt_id, outcome, encoded, error_kind, error_message, wait, time_ms]
    row = connection.execute(_SETTLE, parameters).fetchone()
    return row[0] if row else None
