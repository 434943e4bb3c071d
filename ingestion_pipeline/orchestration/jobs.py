"""Runs jobs: one Dagster job whose op claims due jobs, runs each with its handler and settles it.

Belongs here: from a claimed job to its end, leases, retries, cancellation. Does not belong here: the queue itself
(storage/jobs.py), what a kind of job does (domains/<d>/handlers.py), which kinds there are (domains/<d>/jobs.py).
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dagster as dg
import msgspec
import psycopg
import stamina
import structlog

from ingestion_pipeline.core import errors
from ingestion_pipeline.core.errors import (
    IngestionError,
    PermanentError,
    RateLimitedError,
    StoreUnavailableError,
    TransientError,
)
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.core.logs import redact
from ingestion_pipeline.orchestration.runs import (
    GOING_ON,
    SHORTEST_INTERVAL_SECONDS,
    URGENT,
    Outcome,
    pause_after_failures,
    run_job,
    runs_going_on,
)
from ingestion_pipeline.providers.addresses import without_internal
from ingestion_pipeline.providers.alerts import Words
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import Cache
from ingestion_pipeline.storage.jobs import LEASE, ClaimedJob, Ending, ErrorKind, JobQueue, Status, settle
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

JOB_RUNS = 2
"""How many runs work on jobs at the same time: one on all of them, one on those that are not long."""
RUN_SECONDS = 300.0
HEARTBEAT_SECONDS = 10.0
LONGEST_MESSAGE = 2_000
JOB_TAG, ATTEMPT_TAG, STEP_TAG = "ingestion/job", "ingestion/job_attempt", "ingestion/job_run"
SHORT_TAG = "ingestion/short_jobs"
"""Of a run that leaves long jobs to others."""
_BEGINNING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING)

_log = structlog.get_logger(__name__)


class JobCancelled(Exception):  # noqa: N818 - what happened, not an error
    """The job shall not go on: somebody cancelled it, or it was given to another worker. For handlers to let pass."""


@dataclass(frozen=True)
class JobContext:
    """What a handler works with.

    `job` is the row as it was claimed; `instance` records the runs that it starts; `find_repository` gives the code
    location, which only a run that was launched has.
    """

    job: ClaimedJob
    settings: Settings
    postgres: Postgres
    lake: Lake
    cache: Cache
    instance: dg.DagsterInstance
    find_repository: Callable[[], dg.RepositoryDefinition]
    attempt: "Attempt"

    @property
    def repository(self) -> dg.RepositoryDefinition:
        """This code location."""
        return self.find_repository()

    def is_cancelled(self) -> bool:
        """Shall the job end? Known within a heartbeat (10 s); costs nothing to ask."""
        return self.attempt.is_stopped.is_set()

    def stop_if_cancelled(self) -> None:
        """Raises JobCancelled if the job shall end."""
        if self.is_cancelled():
            raise JobCancelled(self.job.job_id)

    def stop_run_if_cancelled(self) -> None:
        """As `stop_if_cancelled`, for what a run of `run` calls: that run ends as cancelled, not as failed."""
        if self.is_cancelled():
            own = dg.RunsFilter(tags={ATTEMPT_TAG: str(self.job.attempt_id)}, statuses=[dg.DagsterRunStatus.STARTED])
            for run in self.instance.get_runs(own):
                self.instance.report_run_canceling(run)
            raise JobCancelled(self.job.job_id)

    def run(
        self, job_name: str, *, tags: Mapping[str, str] | None = None, resources: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Runs a job of this code location in this process, recorded like any other run; what it did.

        Its assets get the stores of this context, and `resources` before those: `settings` to change a setting.

        Raises:
            JobCancelled: before it begins, or when it did not succeed, if the job shall end.
            RateLimitedError, TransientError, PermanentError: the run failed, as its first failed step did.
        """
        self.stop_if_cancelled()
        given = {"settings": self.settings, "postgres": self.postgres, "lake": self.lake, "cache": self.cache}
        job = _with_resources(self.repository.get_job(job_name), {**given, **(resources or {})})
        own = {JOB_TAG: self.job.job_id, ATTEMPT_TAG: str(self.job.attempt_id), STEP_TAG: new_id()}
        outcome = Outcome()
        if not run_job(job, self.instance, outcome, tags={**(tags or {}), **own}):
            self.stop_if_cancelled()
            raise _failure(self.instance, job_name, own, outcome.problems)
        return outcome

    def complete(self, connection: psycopg.Connection[Any], output: Mapping[str, Any]) -> None:
        """Settles the job in the handler's own transaction: what that writes is there exactly once.

        The handler's return value is not looked at any more.

        Raises:
            JobCancelled: the job was given to another worker meanwhile; the transaction must not commit.
        """
        status = settle(connection, self.job.attempt_id, "completed", output=output, time_ms=self.attempt.elapsed_ms())
        if status is None:
            raise JobCancelled(self.job.job_id)
        self.attempt.is_settled = True


JobHandler = Callable[[JobContext, Any], Mapping[str, Any]]
"""Does one kind of job: takes the context and the input as the type's struct, returns `output_data`.

It may be called again for the same job, after a failure or when its process was killed: what it does must be the same
once or twice, or settled by `JobContext.complete`.
"""


@dataclass
class Attempt:
    """One attempt as the worker sees it, from two threads: the handler's, and the one that keeps the lease."""

    attempt_id: int
    started: float = field(default_factory=time.perf_counter)
    is_stopped: threading.Event = field(default_factory=threading.Event)
    is_lost: bool = False
    is_settled: bool = False

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000


@dataclass(kw_only=True)
class JobWorker:
    """Works on due jobs, one at a time, in this thread.

    Attributes:
        postgres: Where the queue is.
        handlers: What kinds of jobs it can do, and how.
        context_of: Makes the context of a claimed job.
        secrets: What no error message may hold.
        clean: Keeps out of error messages what else their reader must not know, such as internal addresses.
        run_id: The Dagster run in which it works.
        lease: After how long without a heartbeat others take its job.
        heartbeat_seconds: Between heartbeats.
    """

    postgres: Postgres
    handlers: Mapping[JobType, JobHandler]
    context_of: Callable[[ClaimedJob, Attempt], JobContext]
    secrets: frozenset[str] = frozenset()
    clean: Callable[[str], str] = without_internal
    run_id: str | None = None
    lease: timedelta = LEASE
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{new_id()[:8]}")

    def __post_init__(self) -> None:
        self._queue = JobQueue(self.postgres)
        self._by_name = {job_type.name: (job_type, handler) for job_type, handler in self.handlers.items()}
        self._limits = limits_of(self.handlers)
        self._attempt: Attempt | None = None

    def work(self, *, seconds: float) -> dict[Status, int]:
        """Goes on until nothing is due or `seconds` are over; how many attempts ended in which status."""
        deadline, ended = time.monotonic() + seconds, dict[Status, int]()
        with self._heartbeats():
            while time.monotonic() < deadline:
                claimed = self._queue.claim(self.name, self._limits, run_id=self.run_id, lease=self.lease)
                if not claimed:
                    break
                with structlog.contextvars.bound_contextvars(job_id=claimed[0].job_id, job_type=claimed[0].job_type):
                    status = self._run(claimed[0])
                if status is not None:
                    ended[status] = ended.get(status, 0) + 1
        return ended

    def _run(self, job: ClaimedJob) -> Status | None:
        """Runs one claimed job and settles it; its status then, or None if it is not ours any more."""
        attempt = self._attempt = Attempt(job.attempt_id)
        try:
            output = self._handle(job, attempt)
        except JobCancelled:
            if attempt.is_lost:
                message = "no heartbeat for longer than the lease: others may have the job"
                return self._settle(attempt, "lost", error_kind="lost", error_message=message)
            return self._settle(attempt, "cancelled", error_message="cancelled while it ran")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the job's end
            return self._failed(attempt, error)
        except BaseException as interrupt:
            message = f"interrupted: {type(interrupt).__name__}"  # a restart is no fault of the job
            at_once = timedelta(seconds=1)
            self._settle(attempt, "postponed", error_kind="transient", error_message=message, wait=at_once)
            raise
        if attempt.is_settled:
            return "COMPLETED"
        try:
            return self._settle(attempt, "completed", output=output)
        except (psycopg.DataError, TypeError, ValueError, msgspec.MsgspecError) as error:
            return self._failed(attempt, PermanentError(f"the output cannot be stored: {error}"))

    def _handle(self, job: ClaimedJob, attempt: Attempt) -> Mapping[str, Any]:
        job_type, handler = self._by_name[job.job_type]
        try:
            given = job_type.input_of(job.input_data)
        except msgspec.ValidationError as error:
            raise PermanentError(f"input_data: {error}") from error
        return handler(self.context_of(job, attempt), given)

    def _failed(self, attempt: Attempt, error: Exception) -> Status | None:
        if isinstance(error, RateLimitedError):
            wait = None if error.retry_after_seconds is None else timedelta(seconds=error.retry_after_seconds)
            return self._settle(attempt, "postponed", error_kind="transient", error_message=str(error), wait=wait)
        kind: ErrorKind = "permanent" if isinstance(error, PermanentError) else "transient"
        if isinstance(error, IngestionError):
            text = str(error)
            _log.warning("job failed", kind=kind, reason=text)
        else:
            text = f"an unexpected error ({type(error).__name__}); the job id finds it in the log"
            _log.error("job failed", kind=kind, exc_info=error)
        return self._settle(attempt, "failed", error_kind=kind, error_message=text)

    def _settle(
        self, attempt: Attempt, outcome: Ending, *, error_message: str | None = None, **told: Any
    ) -> Status | None:
        """Tries until the lease would be over: a lost connection is no reason to do the work again."""
        message = None if error_message is None else _storable(self.clean(redact(error_message, self.secrets)))
        status: Status | None = None
        seconds = self.lease.total_seconds()
        for trial in stamina.retry_context(on=StoreUnavailableError, attempts=None, timeout=seconds, wait_max=2.0):
            with trial:
                status = self._queue.settle(
                    attempt.attempt_id, outcome, error_message=message, time_ms=attempt.elapsed_ms(), **told
                )
        if status is None:
            _log.warning("the job was given to another worker: what came of it here does not count", outcome=outcome)
        return status

    @contextmanager
    def _heartbeats(self) -> Iterator[None]:
        """Keeps the lease of what is claimed in the block; tells the attempt when its job shall end."""
        is_over = threading.Event()

        def beat() -> None:
            succeeded = time.perf_counter()
            while not is_over.wait(self.heartbeat_seconds):
                attempt, now = self._attempt, time.perf_counter()
                held = self._held()
                if held is not None:
                    succeeded = now
                if attempt is None:
                    continue
                if held is not None and held.get(attempt.attempt_id, True):
                    attempt.is_stopped.set()
                elif now - max(succeeded, attempt.started) > self.lease.total_seconds():
                    attempt.is_lost = True
                    attempt.is_stopped.set()

        thread = threading.Thread(target=beat, name="job-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _held(self) -> dict[int, bool] | None:
        """What the heartbeat told; None if it failed: whatever the reason, the next one may not."""
        try:
            return self._queue.heartbeat(self.name, lease=self.lease)
        except StoreUnavailableError as error:
            _log.warning("no heartbeat: PostgreSQL is away", reason=str(error))
        except Exception:  # noqa: BLE001 - without heartbeats the job is lost
            _log.exception("no heartbeat")
        return None


def limits_of(types: Mapping[JobType, Any]) -> dict[str, int | None]:
    """Of each type by name, how many may run at the same time."""
    return {job_type.name: job_type.at_once for job_type in types}


def jobs_definitions(handlers: Mapping[JobType, JobHandler]) -> dg.Definitions:
    """The Dagster job that works on jobs, and the sensor that starts it."""
    short_ones = {job_type: handler for job_type, handler in handlers.items() if not job_type.is_long}

    @dg.op(description="Takes due jobs, most urgent first, runs each and settles it, until none is due.")
    def run_due_jobs(
        context: dg.OpExecutionContext,
        settings: dg.ResourceParam[Settings],
        postgres: dg.ResourceParam[Postgres],
        lake: dg.ResourceParam[Lake],
        cache: dg.ResourceParam[Cache],
    ) -> None:
        def context_of(job: ClaimedJob, attempt: Attempt) -> JobContext:
            context.log.info("job %s of type %s, attempt %s", job.job_id, job.job_type, job.attempt_count)
            return JobContext(
                job, settings, postgres, lake, cache, context.instance, lambda: context.repository_def, attempt
            )

        worker = JobWorker(
            postgres=postgres,
            handlers=short_ones if SHORT_TAG in context.run.tags else handlers,
            context_of=context_of,
            clean=Words(settings).clean,
            run_id=context.run_id,
        )
        ended = worker.work(seconds=RUN_SECONDS)
        context.add_output_metadata({status.lower(): count for status, count in ended.items()})

    @dg.job(description="Works on the queue of jobs (operations.jobs) until nothing is due.")
    def operations_jobs_job() -> None:
        run_due_jobs()

    @dg.sensor(
        job=operations_jobs_job,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=SHORTEST_INTERVAL_SECONDS,
        description="Gives lost jobs back to the queue, and starts a run whenever a job is due.",
    )
    def operations_jobs_sensor(
        context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
    ) -> dg.RunRequest | dg.SkipReason:
        queue = JobQueue(postgres)
        for job_id, status in queue.rescue(ended_runs=ended_runs(context.instance, queue.running_runs())).items():
            _log.warning("a job's worker is gone", job_id=job_id, status=status)
        going_on = runs_going_on(context.instance, operations_jobs_job.name)
        if len(going_on) >= JOB_RUNS or any(run.status in _BEGINNING for run in going_on):
            return dg.SkipReason(f"{len(going_on)} run(s) work on jobs, or will in a moment")
        is_short = any(SHORT_TAG not in run.tags for run in going_on)
        if not queue.due_count(limits_of(short_ones if is_short else handlers)):
            return dg.SkipReason("no job is due")
        request = dg.RunRequest(tags=URGENT | ({SHORT_TAG: "true"} if is_short else {}))
        return pause_after_failures(context.instance, operations_jobs_job.name) or request

    return dg.Definitions(jobs=[operations_jobs_job], sensors=[operations_jobs_sensor])


def ended_runs(instance: dg.DagsterInstance, run_ids: set[str]) -> list[str]:
    """Those of `run_ids` that are over, or that Dagster does not know."""
    if not run_ids:
        return []
    runs = instance.get_runs(dg.RunsFilter(run_ids=sorted(run_ids), statuses=GOING_ON))
    return sorted(run_ids - {run.run_id for run in runs})


def _with_resources(job: dg.JobDefinition, given: Mapping[str, Any]) -> dg.JobDefinition:
    fixed = {name: dg.ResourceDefinition.hardcoded_resource(value) for name, value in given.items()}
    return job.with_top_level_resources({**job.resource_defs, **fixed})


def _failure(
    instance: dg.DagsterInstance, job_name: str, tags: Mapping[str, str], problems: list[str]
) -> IngestionError:
    """The error of the run with `tags`: of the kind that its first failed step raised (orchestration/failures.py)."""
    text = f"{job_name} failed: {'; '.join(problems)}"
    for run in instance.get_runs(dg.RunsFilter(tags=dict(tags))):
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            said = entry.get_dagster_event().step_failure_data.user_failure_data
            if said is not None:
                facts = {name: str(value.value) for name, value in said.metadata.items()}
                if "error" not in facts:  # none of ours is a defect: its text may say anything
                    return PermanentError(f"{job_name} failed: an unexpected error; its run is {run.run_id}")
                return _error_like(facts, text)
    return TransientError(text)


def _error_like(facts: Mapping[str, str], text: str) -> IngestionError:
    kind = getattr(errors, facts["error"], PermanentError)
    if issubclass(kind, RateLimitedError):
        wait = facts["retry_after_seconds"]
        return RateLimitedError(facts["provider"], None if wait == "None" else float(wait))
    return TransientError(text) if issubclass(kind, TransientError) else PermanentError(text)


def _storable(text: str) -> str:
    """At most 2,000 characters, without what PostgreSQL's text cannot hold."""
    clean = text.replace("\0", "").encode(errors="replace").decode()
    return (clean if len(clean) <= LONGEST_MESSAGE else clean[: LONGEST_MESSAGE - 1] + "…") or "no reason given"
