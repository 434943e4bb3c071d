"""The job that warms the cache, the schedule and the endpoint that ask for it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg
import httpx
import pytest

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.domains.operations.warming_handlers import (
    operations_cache_warming_job,
    operations_cache_warming_schedule,
    warming_handlers,
)
from ingestion_pipeline.domains.operations.warming_jobs import CACHE_WARMING, JOB_TYPES
from ingestion_pipeline.orchestration.jobs import Attempt, JobContext, JobWorker
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache, warm
from ingestion_pipeline.storage.jobs import ClaimedJob, Job, JobQueue, NewJob
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import Stores, Warmer
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.property.served import Served, served
from ingestion_pipeline_tests.intake.process import CRON_SECRET

CRON = {"x-cron-secret": CRON_SECRET}
PATH = "/api/cron/cache-warming"


def warmer(service: str, *keys: str) -> Warmer:
    def fill(stores: Stores) -> int:
        return sum(warm(stores.cache, key, service=service, ttl_seconds=60, load=lambda: 1) for key in keys)

    return Warmer(service, fill)


def broken(_: Stores) -> int:
    raise StoreUnavailableError("Redis", "gone")


@pytest.fixture
def work(postgres: Postgres, settings: Settings, lake: Lake, instance: dg.DagsterInstance) -> Callable[..., Job]:
    """Runs a job over warmers; `cache` is what it warmed."""
    return lambda warmers, cache, **given: worked(postgres, settings, lake, instance, warmers, cache, given)


def worked(
    postgres: Postgres,
    settings: Settings,
    lake: Lake,
    instance: dg.DagsterInstance,
    warmers: list[Warmer],
    cache: MemoryCache,
    given: dict[str, Any],
) -> Job:
    queue = JobQueue(postgres)
    job_id, _ = queue.enqueue(NewJob(job_type="cache_warming", owner_id="me", input_data=given))
    worker_of(postgres, settings, lake, instance, warmers, cache, []).work(seconds=60)
    job = queue.job(job_id)
    assert job is not None
    return job


def worker_of(
    postgres: Postgres,
    settings: Settings,
    lake: Lake,
    instance: dg.DagsterInstance,
    warmers: list[Warmer],
    cache: MemoryCache,
    contexts: list[JobContext],
) -> JobWorker:
    """A worker that adds the contexts of its jobs to `contexts`."""

    def context_of(job: ClaimedJob, attempt: Attempt) -> JobContext:
        repository = dg.Definitions().get_repository_def
        contexts.append(JobContext(job, settings, postgres, lake, cache, instance, repository, attempt))
        return contexts[-1]

    return JobWorker(postgres=postgres, handlers=warming_handlers(warmers), context_of=context_of)


def events(postgres: Postgres) -> list[tuple[Any, ...]]:
    with postgres.transaction() as connection:
        return connection.execute(
            "select event_type, source, status, processed_records, provenance, job_id::text "
            "from operations.ingestion_events order by ingestion_event_id"
        ).fetchall()


def test_every_service_is_warmed_and_told_of(work: Callable[..., Job], postgres: Postgres) -> None:
    """Output and event have the counts."""
    cache = MemoryCache()
    job = work([warmer("macro", "a", "b"), warmer("comps", "c")], cache)
    assert job.output_data is not None, job.error_message
    assert job.output_data.pop("processing_time_ms") > 0
    counts = {"macro": 2, "comps": 1}
    assert {"success": True, "warmed": counts, "problems": {}, "health": {}} == job.output_data
    provenance = {"services": counts, "problems": {}}
    assert [("cache.warming", "cache-warming", "success", 3, provenance, job.job_id)] == events(postgres)
    assert all(cache.get(key) for key in ("a", "b", "c"))


def test_some_services_can_be_chosen(work: Callable[..., Job]) -> None:
    job = work([warmer("macro", "a"), warmer("comps", "c")], MemoryCache(), services=["comps"])
    assert job.output_data is not None, job.error_message
    assert {"comps": 1} == job.output_data["warmed"]


def test_an_unknown_service_fails_the_job_at_once(work: Callable[..., Job]) -> None:
    job = work([warmer("macro", "a")], MemoryCache(), services=["makro"])
    assert ("FAILED", "permanent") == (job.status, job.error_kind)
    assert "makro unknown, expected macro" in (job.error_message or "")


def test_a_service_that_fails_keeps_no_other_back(work: Callable[..., Job], postgres: Postgres) -> None:
    """The job is done; its answer and the event say what is missing."""
    job = work([Warmer("macro", broken), warmer("comps", "c")], MemoryCache())
    assert job.output_data is not None, job.error_message
    assert (False, {"comps": 1}) == (job.output_data["success"], job.output_data["warmed"])
    assert {"macro": "Redis cannot be reached: gone"} == job.output_data["problems"]
    assert "partial" == events(postgres)[0][2]


def test_a_defect_of_one_service_keeps_no_other_back_either(work: Callable[..., Job]) -> None:
    """Its text stays in the log: it may say more than the caller should know."""
    job = work([Warmer("macro", lambda _: 1 // 0), warmer("comps", "c")], MemoryCache())
    assert job.output_data is not None, job.error_message
    assert ({"comps": 1}, {"macro": "ZeroDivisionError"}) == (job.output_data["warmed"], job.output_data["problems"])


def test_nothing_warmed_is_a_failure_that_is_tried_again(work: Callable[..., Job], postgres: Postgres) -> None:
    """Of the job, and in the record; a service that has nothing to warm does not make it a success."""
    job = work([Warmer("macro", broken), warmer("comps")], MemoryCache())
    assert ("RETRYING", "transient") == (job.status, job.error_kind)
    assert "macro not warmed: Redis cannot be reached: gone" == job.error_message
    assert "failed" == events(postgres)[0][2]


def test_a_problem_is_told_without_our_addresses(work: Callable[..., Job]) -> None:
    """Whoever asked for the job is not told how to reach our stores."""

    def away(_: Stores) -> int:
        raise StoreUnavailableError("Redis", "Error 111 connecting to 10.1.2.3:6379")

    job = work([Warmer("macro", away), warmer("comps", "c")], MemoryCache())
    assert job.output_data is not None, job.error_message
    assert (
        "Redis cannot be reached: Error 111 connecting to (internal address):6379"
        == job.output_data["problems"]["macro"]
    )


def test_a_cancelled_job_warms_no_further_service(
    postgres: Postgres, settings: Settings, lake: Lake, instance: dg.DagsterInstance
) -> None:
    """It is asked between two of them."""
    cache, queue = MemoryCache(), JobQueue(postgres)

    def cancelling(_: Stores) -> int:
        (job,) = queue.jobs()
        queue.cancel(job.job_id)
        (context,) = contexts
        until(context.is_cancelled)
        return 1

    contexts: list[JobContext] = []
    worker = worker_of(
        postgres, settings, lake, instance, [Warmer("macro", cancelling), warmer("comps", "c")], cache, contexts
    )
    worker.heartbeat_seconds = 0.02
    queue.enqueue(NewJob(job_type="cache_warming", owner_id="me"))
    worker.work(seconds=60)
    (job,) = queue.jobs()
    assert ("CANCELLED", None) == (job.status, cache.get("c"))


def test_the_state_of_the_services_is_told(work: Callable[..., Job], postgres: Postgres) -> None:
    """S0's warming checks the health."""
    postgres.execute(
        "insert into operations.health_states (service, status, since, checked_at) "
        "values ('overall', 'YELLOW', now(), now())"
    )
    job = work([], MemoryCache())
    assert job.output_data is not None, job.error_message
    assert {"overall": "YELLOW"} == job.output_data["health"]


def test_the_schedule_asks_once(postgres: Postgres, instance: dg.DagsterInstance) -> None:
    """Every six hours, on by default; while a job waits there is no second one."""
    for _ in range(2):
        result = operations_cache_warming_job.execute_in_process(instance=instance, resources={"postgres": postgres})
        assert result.success
    assert [("cache_warming", "scheduler")] == [(job.job_type, job.owner_id) for job in JobQueue(postgres).jobs()]
    assert "0 */6 * * *" == operations_cache_warming_schedule.cron_schedule
    assert dg.DefaultScheduleStatus.RUNNING == operations_cache_warming_schedule.default_status


def test_the_type_is_known_to_both_processes() -> None:
    assert set(JOB_TYPES) == set(warming_handlers([]))


@pytest.fixture(scope="module")
def site(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("warming"), JOB_WAIT_SECONDS="60") as found:
        yield found


def call(site: Served, headers: dict[str, str] = CRON, **parameters: Any) -> httpx.Response:
    return site.intake.client.post(PATH, headers=headers, params=parameters, timeout=90)


def test_the_endpoint_answers_when_the_job_is_done(site: Served) -> None:
    """As S0's cron calls it: without a body, with the bearer secret."""
    queue = JobQueue(site.postgres)
    output = {"success": True, "warmed": {"macro": 3}, "problems": {}, "health": {}, "processing_time_ms": 12.5}
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(call, site, {"authorization": f"Bearer {CRON_SECRET}"})
        [job] = eventually(lambda: queue.claim("w", {CACHE_WARMING.name: 1}))
        assert "scheduler" == job.owner_id
        queue.settle(job.attempt_id, "completed", output=output)
        assert (200, output | {"job_id": job.job_id}) == (answer.result().status_code, answer.result().json())


def test_a_job_that_takes_longer_is_answered_with_its_address(site: Served) -> None:
    """And the next call joins it."""
    first, second = call(site, wait=0), call(site, wait=0)
    assert (202, 202) == (first.status_code, second.status_code)
    assert f"/api/jobs/{first.json()['job_id']}" == first.headers["location"] == second.headers["location"]
    queue = JobQueue(site.postgres)
    [job] = queue.claim("w", {CACHE_WARMING.name: 1})
    queue.settle(job.attempt_id, "completed", output={})


@pytest.mark.parametrize(("kind", "status"), [("permanent", 500), ("transient", 502)])
def test_a_failed_job_is_a_problem_that_says_why(site: Served, kind: Any, status: int) -> None:
    queue = JobQueue(site.postgres)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(call, site)
        for _ in range(3):  # of a transient failure there are three attempts
            [job] = eventually(lambda: queue.claim("w", {CACHE_WARMING.name: 1}))
            queue.settle(job.attempt_id, "failed", error_kind=kind, error_message="no cache left")
            site.postgres.execute("update operations.jobs set run_at = clock_timestamp() where status = 'RETRYING'")
            if kind == "permanent":
                break
        assert status == answer.result().status_code
        assert "no cache left" in answer.result().json()["detail"]


def test_only_the_scheduler_may_ask(site: Served) -> None:
    assert 401 == call(site, {}).status_code
    assert 401 == call(site, {"x-cron-secret": "guess"}).status_code
    assert 401 == site.intake.post(PATH).status_code
    assert 422 == call(site, wait=-1).status_code
