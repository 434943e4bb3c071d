"""Jobs as workers run them: every way in which a handler can end, leases, cancellation, runs inside a job, the sensor."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dagster as dg
import msgspec
import psycopg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import (
    ContractError,
    PermanentError,
    ProviderUnavailableError,
    RateLimitedError,
    StoreUnavailableError,
    TransientError,
)
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.orchestration import runs
from ingestion_pipeline.orchestration.failures import explained_failures
from ingestion_pipeline.orchestration.jobs import (
    JOB_RUNS,
    JOB_TAG,
    Attempt,
    JobCancelled,
    JobContext,
    JobHandler,
    JobWorker,
    ended_runs,
    jobs_definitions,
)
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.settings import PROJECT_ROOT, Settings
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.jobs import ClaimedJob, Job, JobQueue, NewJob
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import until

CANARY = "geheim-canary-42"


class Count(msgspec.Struct, forbid_unknown_fields=True):
    n: int = 1


TOY = JobType(name="toy", summary="for tests", input_type=Count)
LONG = JobType(name="long", summary="for tests", input_type=Count, is_long=True)


@dg.op
def toy_op(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Fails as its run's tag says."""
    errors = {
        "transient": ProviderUnavailableError("toys", "sold out"),
        "permanent": ContractError("toys", "weight", "heavy", "a number"),
        "limited": RateLimitedError("toys", 7.0),
        "limited without end": RateLimitedError("toys"),
        "defect": ZeroDivisionError("by zero"),
    }
    context.log.info("%s", settings.ingestion_markets)
    if (name := context.run.tags.get("toy/fails")) == "unexplained":
        raise ZeroDivisionError("unexplained")
    with explained_failures():
        if name:
            raise errors[name]
    context.log_event(dg.AssetMaterialization("toys", metadata={"rows": 3, "markets": str(settings.ingestion_markets)}))


@dg.job
def toy_job() -> None:
    toy_op()


def nesting(context: JobContext, _: Count) -> Mapping[str, Any]:
    """A handler that runs a job of its code location."""
    return {"rows": context.run("toy_job").assets["toys"].rows}


DEFINITIONS = dg.Definitions.merge(
    jobs_definitions({TOY: nesting}),
    dg.Definitions(jobs=[toy_job], resources=RESOURCES, executor=dg.in_process_executor),
)
"""As the code location has them."""


@dataclass
class Works:
    """A queue with one type of jobs, and a worker whose handler a test gives."""

    queue: JobQueue
    postgres: Postgres
    settings: Settings
    lake: Lake
    instance: dg.DagsterInstance
    owner: psycopg.Connection[Any]
    heartbeat_seconds: float = 0.02
    lease: timedelta = timedelta(seconds=30)
    contexts: list[JobContext] = field(default_factory=list)

    def add(self, **over: Any) -> str:
        return self.queue.enqueue(NewJob(**{"job_type": "toy", "owner_id": "me", **over}))[0]

    def worker(self, handler: JobHandler, **over: Any) -> JobWorker:
        repository = dg.Definitions(
            jobs=[toy_job], resources={"settings": dg.ResourceDefinition.hardcoded_resource("not this one")}
        ).get_repository_def()

        def context_of(job: ClaimedJob, attempt: Attempt) -> JobContext:
            context = JobContext(
                job, self.settings, self.postgres, self.lake, MemoryCache(), self.instance, lambda: repository, attempt
            )
            self.contexts.append(context)
            return context

        return JobWorker(
            postgres=self.postgres,
            handlers={TOY: handler},
            context_of=context_of,
            secrets=frozenset({CANARY}),
            lease=self.lease,
            heartbeat_seconds=self.heartbeat_seconds,
            **over,
        )

    def run(self, handler: JobHandler, **over: Any) -> Job:
        """What became of a new job that `handler` was given."""
        job_id = self.add(**over)
        self.worker(handler).work(seconds=60)
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        found = self.queue.job(job_id)
        assert found is not None
        return found

    def rescue(self) -> None:
        """The lease is over and the job goes back, between two heartbeats."""
        with self.owner.transaction():
            self.owner.execute("update operations.jobs set lease_until = now() - interval '1 second'")
            assert self.owner.execute("select status from operations.rescue_jobs()").fetchall() == [("RETRYING",)]


@pytest.fixture
def works(
    postgres: Postgres, settings: Settings, lake: Lake, instance: dg.DagsterInstance, database_url: str
) -> Iterator[Works]:
    with psycopg.connect(database_url, autocommit=True) as owner:
        yield Works(JobQueue(postgres), postgres, settings, lake, instance, owner)


def raising(error: BaseException) -> JobHandler:
    def handler(_: JobContext, __: Count) -> Mapping[str, Any]:
        raise error

    return handler


# how a handler can end


def test_a_handler_gets_its_input_and_its_return_value_is_kept(works: Works) -> None:
    """With the time that it took."""
    job = works.run(lambda _, given: {"n": given.n + 1}, input_data={"n": 41})
    assert ("COMPLETED", {"n": 42}, None) == (job.status, job.output_data, job.error_message)
    assert job.processing_time_ms is not None
    assert job.processing_time_ms > 0


@pytest.mark.parametrize(
    "error",
    [TransientError("later"), StoreUnavailableError("PostgreSQL", "gone")],
)
def test_a_transient_error_is_tried_again(works: Works, error: Exception) -> None:
    """With the reason in the row."""
    job = works.run(raising(error))
    assert ("RETRYING", "transient", 1) == (job.status, job.error_kind, job.attempt_count)
    assert str(error) in (job.error_message or "")


def test_an_unknown_error_is_tried_again_and_not_quoted(works: Works) -> None:
    """Its text may hold anything; whoever asked for the job is told where to look."""
    job = works.run(raising(ValueError("row of somebody else")))
    assert ("RETRYING", "transient", 1) == (job.status, job.error_kind, job.attempt_count)
    assert "an unexpected error (ValueError); the job id finds it in the log" == job.error_message


@pytest.mark.parametrize("error", [PermanentError("never"), ContractError("toys.csv", "weight", "'heavy'", "a number")])
def test_a_permanent_error_fails_at_once(works: Works, error: Exception) -> None:
    """Attempts that are left are not used."""
    job = works.run(raising(error))
    assert ("FAILED", "permanent", str(error)) == (job.status, job.error_kind, job.error_message)


@pytest.mark.parametrize(("asked", "waits"), [(90.0, 90.0), (None, 30.0)])
def test_a_rate_limit_postpones_without_an_attempt(works: Works, asked: float | None, waits: float) -> None:
    """As long as the source said; half a minute when it did not say."""
    job = works.run(raising(RateLimitedError("toys", asked)))
    (attempt,) = works.queue.attempts(job.job_id)
    assert ("RETRYING", 0, 1, "postponed") == (
        job.status,
        job.attempt_count,
        job.postponed_count,
        attempt["outcome"],
    )
    assert abs((job.run_at - attempt["finished_at"]).total_seconds() - waits) < 1


def test_input_that_does_not_fit_fails_for_good(works: Works) -> None:
    """The handler is not called; the reason names the field."""
    job = works.run(raising(AssertionError("called")), input_data={"n": "many"})
    assert ("FAILED", "permanent", 1) == (job.status, job.error_kind, job.attempt_count)
    assert "`int`, got `str` - at `$.n`" in (job.error_message or "")


@pytest.mark.parametrize("output", [{"a": object()}, {"a": "\0"}, {("a", "b"): 1}])
def test_output_that_cannot_be_stored_fails_for_good(works: Works, output: dict[Any, Any]) -> None:
    """It would be the same the next time."""
    job = works.run(lambda _, __: output)
    assert ("FAILED", "permanent") == (job.status, job.error_kind)
    assert "the output cannot be stored" in (job.error_message or "")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"no login with {CANARY}", "no login with ***"),
        ("postgresql://me:geheim42@db/x is away", "postgresql://me:***@(internal address)/x is away"),
        ("Error 111 connecting to 10.1.2.3:6379", "Error 111 connecting to (internal address):6379"),
        ("nul \0 inside", "nul  inside"),
        ("half \ud800 of a pair", "half ? of a pair"),
        ("", "no reason given"),
        ("x" * 5000, "x" * 1999 + "…"),
    ],
)
def test_an_error_is_kept_without_secrets_and_as_text_that_can_be_stored(works: Works, text: str, kept: str) -> None:
    """Whatever a provider puts into its message."""
    assert kept == works.run(raising(PermanentError(text))).error_message


def test_an_interrupted_attempt_is_postponed_and_the_worker_ends(works: Works) -> None:
    """The run was cancelled in the UI, or the machine shuts down: others go on at once, and no attempt is spent."""
    job_id = works.add()
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        works.worker(raising(dg.DagsterExecutionInterruptedError())).work(seconds=60)
    job = works.job(job_id)
    (attempt,) = works.queue.attempts(job_id)
    assert ("RETRYING", 0, "postponed") == (job.status, job.attempt_count, attempt["outcome"])
    assert (job.run_at - attempt["finished_at"]).total_seconds() < 2


def test_a_worker_goes_on_until_nothing_is_due(works: Works) -> None:
    """Most urgent first; what is not due is left."""
    seen: list[int] = []

    def handler(_: JobContext, given: Count) -> Mapping[str, Any]:
        seen.append(given.n)
        return {}

    for n in (1, 3, 2):
        works.add(priority=n, input_data={"n": n})
    assert {"COMPLETED": 3} == works.worker(handler).work(seconds=60)
    assert [3, 2, 1] == seen


def test_a_worker_takes_no_further_job_when_its_time_is_over(works: Works) -> None:
    """What it has begun it finishes."""
    jobs = [works.add(), works.add()]
    worker = works.worker(lambda _, __: {})
    assert {} == worker.work(seconds=0)
    assert ["QUEUED", "QUEUED"] == [works.job(job_id).status for job_id in jobs]


# leases and cancellation


def waiting_until_stopped(begun: threading.Event) -> JobHandler:
    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        begun.set()
        until(context.is_cancelled)
        context.stop_if_cancelled()
        return {}

    return handler


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_handler_sees_that_its_job_is_cancelled(works: Works) -> None:
    """With a heartbeat; it ends, and the job is cancelled."""
    begun, job_id = threading.Event(), works.add()
    worker = works.worker(waiting_until_stopped(begun))
    thread = in_background(lambda: worker.work(seconds=60))
    assert begun.wait(60)
    assert "RUNNING" == works.queue.cancel(job_id)
    thread.join(60)
    assert ["cancelled"] == [it["outcome"] for it in works.queue.attempts(job_id)]
    assert "CANCELLED" == works.job(job_id).status


def test_a_handler_that_ends_well_although_cancelled_has_completed_its_job(works: Works) -> None:
    """What was done was done."""

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        works.queue.cancel(context.job.job_id)
        until(context.is_cancelled)
        return {"done": True}

    job = works.run(handler)
    assert ("COMPLETED", {"done": True}) == (job.status, job.output_data)


def test_a_handler_whose_job_was_given_to_another_ends_and_settles_nothing(works: Works) -> None:
    """As if it were cancelled; the other's result stands."""
    begun, job_id = threading.Event(), works.add()
    worker = works.worker(waiting_until_stopped(begun))
    thread = in_background(lambda: worker.work(seconds=60))
    assert begun.wait(60)
    works.rescue()
    thread.join(60)
    assert ("RETRYING", "lost") == (works.job(job_id).status, works.job(job_id).error_kind)
    assert ["lost"] == [it["outcome"] for it in works.queue.attempts(job_id)]


def test_heartbeats_go_on_after_an_error_that_nobody_foresaw(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails is one that fails: the next one tells the handler that its job is cancelled."""
    real, errors = JobQueue.heartbeat, [RuntimeError("never seen before")]

    def failing_once(queue: JobQueue, *arguments: Any, **options: Any) -> dict[int, bool]:
        if errors:
            raise errors.pop()
        return real(queue, *arguments, **options)

    monkeypatch.setattr(JobQueue, "heartbeat", failing_once)

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        until(lambda: not errors)
        works.queue.cancel(context.job.job_id)
        until(context.is_cancelled)
        context.stop_if_cancelled()
        return {}

    assert "CANCELLED" == works.run(handler).status


def test_a_handler_without_a_heartbeat_for_longer_than_the_lease_ends(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may have its job: it is tried again, not cancelled, for nobody asked for that."""

    def failing(*_: Any, **__: Any) -> dict[int, bool]:
        raise StoreUnavailableError("PostgreSQL", "gone")

    monkeypatch.setattr(JobQueue, "heartbeat", failing)
    works.lease = timedelta(seconds=0.1)

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        until(context.is_cancelled)
        context.stop_if_cancelled()
        return {}

    job = works.run(handler, max_attempts=2)
    assert ("RETRYING", "lost", 1) == (job.status, job.error_kind, job.attempt_count)


def test_heartbeats_keep_the_lease_of_a_long_job(works: Works) -> None:
    """It moves on while the handler works."""

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        def lease() -> Any:
            (found,) = works.owner.execute("select lease_until from operations.jobs").fetchone() or (None,)
            return found

        first = lease()
        until(lambda: lease() > first)
        return {}

    assert "COMPLETED" == works.run(handler).status


# exactly once


@pytest.fixture
def effects(works: Works) -> str:
    works.owner.execute("create table public.effects (job_id uuid)")
    works.owner.execute("grant all on public.effects to pipeline_worker")
    return "insert into public.effects values (%s)"


def test_what_a_handler_writes_and_the_end_of_its_job_are_one_transaction(works: Works, effects: str) -> None:
    """Both are there."""

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        with context.postgres.transaction() as connection:
            connection.execute(effects.encode(), [context.job.job_id])
            context.complete(connection, {"n": 1})
        return {"not": "looked at"}

    job = works.run(handler)
    assert ("COMPLETED", {"n": 1}) == (job.status, job.output_data)
    assert (1,) == works.owner.execute("select count(*) from public.effects").fetchone()


def test_who_lost_a_job_writes_nothing(works: Works, effects: str) -> None:
    """Neither is there: the transaction is rolled back."""

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        with context.postgres.transaction() as connection:
            connection.execute(effects.encode(), [context.job.job_id])
            works.rescue()
            context.complete(connection, {"n": 1})
        return {}

    job = works.run(handler)
    assert ("RETRYING", None) == (job.status, job.output_data)
    assert (0,) == works.owner.execute("select count(*) from public.effects").fetchone()


def test_a_transaction_that_fails_after_the_job_was_settled_in_it_is_a_failed_attempt(
    works: Works, effects: str
) -> None:
    """The settling was rolled back too."""

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        with context.postgres.transaction() as connection:
            context.complete(connection, {"n": 1})
            connection.execute("select 1 / 0")
        return {}

    job = works.run(handler)
    assert ("RETRYING", None, "transient") == (job.status, job.output_data, job.error_kind)


# runs inside a job


def test_a_run_inside_a_job_is_recorded_with_the_job_and_gets_its_stores(works: Works) -> None:
    """And what the handler gives it instead."""
    other = works.settings.model_copy(update={"ingestion_markets": ("SPX",)})

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        first = context.run("toy_job")
        second = context.run("toy_job", tags={"toy/second": "yes"}, resources={"settings": other})
        return {"rows": [first.assets["toys"].rows, second.assets["toys"].rows]}

    job = works.run(handler)
    assert ("COMPLETED", {"rows": [3, 3]}) == (job.status, job.output_data)
    runs = works.instance.get_run_records(dg.RunsFilter(tags={JOB_TAG: job.job_id}), ascending=True)
    assert ["SUCCESS", "SUCCESS"] == [record.dagster_run.status.value for record in runs]
    assert [None, "yes"] == [record.dagster_run.tags.get("toy/second") for record in runs]
    seen = []
    for record in runs:
        (made,) = works.instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        seen.append(made.asset_materialization.metadata["markets"].value)
    assert [str(works.settings.ingestion_markets), "('SPX',)"] == seen


@pytest.mark.parametrize(
    ("fails", "status", "kind", "text"),
    [
        ("transient", "RETRYING", "transient", "toys is unavailable: sold out"),
        ("permanent", "FAILED", "permanent", "toys: weight is heavy, expected a number"),
        ("limited", "RETRYING", "transient", "limits our requests; wait 7 s"),
        ("limited without end", "RETRYING", "transient", "limits our requests"),
        ("defect", "FAILED", "permanent", "toy_job failed: an unexpected error; its run is "),
        ("unexplained", "RETRYING", "transient", "toy_job failed"),
    ],
)
def test_a_job_fails_as_the_run_inside_it_failed(works: Works, fails: str, status: str, kind: str, text: str) -> None:
    """What may pass is tried again, what cannot is not."""
    job = works.run(lambda context, _: vars(context.run("toy_job", tags={"toy/fails": fails})))
    assert (status, kind) == (job.status, job.error_kind)
    assert text in (job.error_message or "")
    assert ("by zero" in (job.error_message or "")) is False
    assert fails.startswith("limited") == (job.attempt_count == 0)


def test_no_run_begins_in_a_job_that_was_cancelled(works: Works) -> None:
    """The handler need not ask between its runs."""

    def handler(context: JobContext, _: Count) -> Mapping[str, Any]:
        context.attempt.is_stopped.set()
        with pytest.raises(JobCancelled):
            context.run("toy_job")
        return {}

    job = works.run(handler)
    assert [] == works.instance.get_runs(dg.RunsFilter(tags={JOB_TAG: job.job_id}))


def test_a_run_that_goes_on_is_cancelled_with_its_job(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not failed, which would raise an alert; the heartbeat told it while the run asked."""

    @dg.op
    def endless_op() -> None:
        with explained_failures():
            works.queue.cancel(works.contexts[0].job.job_id)
            until(works.contexts[0].is_cancelled)
            works.contexts[0].stop_run_if_cancelled()

    @dg.job
    def endless_job() -> None:
        endless_op()

    repository = dg.Definitions(jobs=[endless_job]).get_repository_def()
    monkeypatch.setattr(JobContext, "repository", property(lambda _: repository))
    job = works.run(lambda context, _: vars(context.run("endless_job")))
    (attempt,) = works.queue.attempts(job.job_id)
    assert ("CANCELLED", "cancelled") == (job.status, attempt["outcome"])
    (run,) = works.instance.get_runs(dg.RunsFilter(tags={JOB_TAG: job.job_id}))
    assert dg.DagsterRunStatus.CANCELED == run.status


# the Dagster job and its sensor


@dataclass
class Stack:
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    resources: dict[str, Any]

    def run(self, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_job_def("operations_jobs_job")
        return job.execute_in_process(instance=self.instance, resources=self.resources, tags=tags)

    def begin(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """The run that was asked for, in that state."""
        job = self.definitions.resolve_job_def("operations_jobs_job")
        return self.instance.create_run_for_job(job, status=status, tags=request.tags)

    def tick(self) -> dg.RunRequest | dg.SkipReason:
        sensor = self.definitions.get_repository_def().get_sensor_def("operations_jobs_sensor")
        context = dg.build_sensor_context(self.instance, resources={"postgres": self.resources["postgres"]})
        answer = sensor(context)
        assert isinstance(answer, dg.RunRequest | dg.SkipReason)
        return answer


@pytest.fixture
def stack(works: Works) -> Iterator[Stack]:
    resources = {
        "settings": works.settings,
        "postgres": works.postgres,
        "lake": works.lake,
        "cache": MemoryCache(),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        fixed = {name: dg.ResourceDefinition.hardcoded_resource(value) for name, value in resources.items()}
        definitions = dg.Definitions.merge(
            jobs_definitions({TOY: lambda _, given: {"n": given.n}, LONG: lambda _, __: {}}),
            dg.Definitions(jobs=[toy_job], resources=fixed, executor=dg.in_process_executor),
        )
        yield Stack(definitions, instance, resources)


def test_one_run_works_off_what_is_due(works: Works, stack: Stack) -> None:
    """Every job knows in which run it was done."""
    ids = [works.add(input_data={"n": n}) for n in (1, 2)]
    done = stack.run()
    assert done.success
    jobs = [works.job(job_id) for job_id in ids]
    assert [("COMPLETED", done.run_id)] * 2 == [(job.status, job.dagster_run_id) for job in jobs]
    (output,) = [event for event in done.all_events if event.event_type_value == "STEP_OUTPUT"]
    assert 2 == output.step_output_data.metadata["completed"].value


def test_a_launched_run_finds_the_jobs_of_its_code_location(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Dagster's launcher starts it, with its own resources; the inner run is a run like any other."""
    monkeypatch.setenv("DATABASE_URL", works.postgres.url)
    monkeypatch.setenv("INGESTION_HOME", str(works.settings.ingestion_home))
    job_id = works.add()
    repository = ReconstructableRepository.for_module(__name__, "DEFINITIONS", str(PROJECT_ROOT))
    job = repository.get_reconstructable_job("operations_jobs_job")
    assert dg.execute_job(job, instance=works.instance).success
    assert ("COMPLETED", {"rows": 3}) == (works.job(job_id).status, works.job(job_id).output_data)
    (run,) = works.instance.get_runs(dg.RunsFilter(tags={JOB_TAG: job_id}))
    assert ("toy_job", dg.DagsterRunStatus.SUCCESS) == (run.job_name, run.status)


def test_the_sensor_asks_for_a_run_when_a_job_is_due(works: Works, stack: Stack) -> None:
    """And for none when none is, or when enough runs work on them."""
    assert isinstance(stack.tick(), dg.SkipReason)
    works.add()
    for number in range(JOB_RUNS):
        request = stack.tick()
        assert isinstance(request, dg.RunRequest)
        assert "5" == request.tags["dagster/priority"]
        stack.begin(request, dg.DagsterRunStatus.STARTED)
        assert (number + 1) == stack.instance.get_runs_count()
    assert isinstance(stack.tick(), dg.SkipReason)


def test_the_sensor_waits_for_a_run_that_begins(works: Works, stack: Stack) -> None:
    """What is due it will take: a second process for the same jobs would find nothing."""
    works.add()
    request = stack.tick()
    assert isinstance(request, dg.RunRequest)
    stack.begin(request, dg.DagsterRunStatus.STARTING)
    assert isinstance(stack.tick(), dg.SkipReason)


def test_the_sensor_pauses_after_runs_that_failed(works: Works, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that die before they take a job would be started anew with every look."""
    now = utc_now()
    monkeypatch.setattr(runs, "utc_now", lambda: now)
    works.add()
    request = stack.tick()
    assert isinstance(request, dg.RunRequest)
    stack.begin(request, dg.DagsterRunStatus.FAILURE)
    assert isinstance(stack.tick(), dg.SkipReason)
    now += timedelta(minutes=1)
    assert isinstance(stack.tick(), dg.RunRequest)


def test_one_run_is_kept_free_of_long_jobs(works: Works, stack: Stack) -> None:
    """The second one is for the others only, and is not started for long ones; when the first is over there is one."""
    long_id = works.add(job_type="long")
    first = stack.tick()
    assert isinstance(first, dg.RunRequest)
    begun = stack.begin(first, dg.DagsterRunStatus.STARTED)
    assert isinstance(stack.tick(), dg.SkipReason)
    short_id = works.add()
    second = stack.tick()
    assert isinstance(second, dg.RunRequest)
    done = stack.run(second.tags)
    assert done.success
    assert ["QUEUED", "COMPLETED"] == [works.job(job_id).status for job_id in (long_id, short_id)]
    stack.begin(second, dg.DagsterRunStatus.STARTED)
    stack.instance.report_run_failed(begun)
    third = stack.tick()
    assert isinstance(third, dg.RunRequest)
    assert stack.run(third.tags).success
    assert "COMPLETED" == works.job(long_id).status


def test_the_sensor_gives_back_what_an_ended_run_held(works: Works, stack: Stack) -> None:
    """Before the lease is over; what a living run holds is left alone."""
    job = stack.definitions.resolve_job_def("operations_jobs_job")
    ended = stack.instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE)
    living = stack.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    ids = []
    for run_id in (ended.run_id, living.run_id, "nobody's"):
        ids.append(works.add())
        assert 1 == len(works.queue.claim(run_id, {"toy": None}, run_id=run_id))
    stack.tick()
    assert ["RETRYING", "RUNNING", "RETRYING"] == [works.job(job_id).status for job_id in ids]
    assert [] == ended_runs(stack.instance, set())


def test_the_sensor_looks_every_five_seconds_and_is_on() -> None:
    """Nobody has to switch it on."""
    (sensor,) = jobs_definitions({TOY: raising(ValueError())}).sensors or ()
    assert isinstance(sensor, dg.SensorDefinition)
    assert (1, dg.DefaultSensorStatus.RUNNING) == (sensor.minimum_interval_seconds, sensor.default_status)
