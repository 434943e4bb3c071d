"""S3's cron endpoint: what it waits for, what it counts, and the line of each call in cron_logs."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingestion_pipeline.domains.sales.cron import PATH as CRON_PATH
from ingestion_pipeline.domains.sales.cron import Cron
from ingestion_pipeline.domains.sales.jobs import ingest_job
from ingestion_pipeline.intake.endpoints import Call, Caller
from ingestion_pipeline.intake.services import services
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.sales.served_sales import CRON, Served

RUNNING = "select from operations.cron_logs where status = 'running'"
LOGS = """
select status, processed_count, error_message, finished_at is not null as ended
from operations.cron_logs order by cron_log_id
"""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_the_cron_waits_for_due_jobs_and_counts_them(service: Served, pool: ThreadPoolExecutor) -> None:
    """Ten of twelve at most, and each that fails counts as one that was worked on; a line in cron_logs."""
    for number in range(12):
        service.queue.enqueue(ingest_job("amazon_kdp", {"file_sha256": f"{number:064}"}, owner_id="author"))
    answer = pool.submit(service.post, CRON_PATH, CRON)
    eventually(lambda: service.rows("select from operations.cron_logs where status = 'running'"))
    service.work()
    assert (200, {"processed": 10}) == (answer.result().status_code, answer.result().json())
    (log,) = service.rows(
        "select path, status, processed_count, finished_at >= started_at as ended from operations.cron_logs"
    )
    assert {"path": CRON_PATH, "status": "success", "processed_count": 10, "ended": True} == log


@pytest.mark.parametrize("header", [CRON, {"x-vercel-cron-secret": CRON["authorization"].removeprefix("Bearer ")}])
def test_the_cron_has_nothing_to_do(service: Served, header: dict[str, str]) -> None:
    """Jobs of other kinds are not its business; it answers at once."""
    service.owner.execute("insert into operations.jobs (job_type, owner_id) values ('market_ingest', 'x')")
    assert {"processed": 0} == service.post(CRON_PATH, header).json()


def test_the_cron_does_not_wait_for_ever(service: Served) -> None:
    """No worker: what was not worked on is not counted, and stays due."""
    service.queue.enqueue(ingest_job("amazon_kdp", {"file_sha256": "0" * 64}, owner_id="author"))
    assert {"processed": 0} == service.post(CRON_PATH, CRON).json()
    assert "QUEUED" == service.queue.jobs()[0].status


def test_a_job_is_counted_by_one_call(service: Served, pool: ThreadPoolExecutor) -> None:
    """A second call answers at once, while the first still waits for the job."""
    service.queue.enqueue(ingest_job("amazon_kdp", {"file_sha256": "0" * 64}, owner_id="author"))
    first = pool.submit(service.post, CRON_PATH, CRON)
    eventually(lambda: service.rows(RUNNING))
    assert {"processed": 0} == service.post(CRON_PATH, CRON).json()
    assert 1 == len(service.rows(RUNNING))
    service.work()
    assert {"processed": 1} == first.result().json()
    assert [1, 0] == [row["processed_count"] for row in service.rows(LOGS)]


def test_a_call_that_fails_says_so_in_the_log(service: Served) -> None:
    """What the database said, and no count."""
    service.queue.enqueue(ingest_job("amazon_kdp", {"file_sha256": "0" * 64}, owner_id="author"))
    service.owner.execute("revoke select on operations.job_attempts from pipeline_intake")
    try:
        assert 500 == service.post(CRON_PATH, CRON).status_code
    finally:
        service.owner.execute("grant select on operations.job_attempts to pipeline_intake")
    (log,) = service.rows(LOGS)
    assert ("failed", None, True) == (log["status"], log["processed_count"], log["ended"])
    assert "InsufficientPrivilege: permission denied for table job_attempts" in log["error_message"]


def test_a_call_that_is_cancelled_says_so_in_the_log(service: Served, server: EmbeddedServer) -> None:
    """As when the server stops while it waits."""
    service.queue.enqueue(ingest_job("amazon_kdp", {"file_sha256": "0" * 64}, owner_id="author"))
    url = server.url(role="pipeline_intake", database=service.owner.info.dbname)
    settings = Settings.from_environment({"DATABASE_URL": url, "JOB_WAIT_SECONDS": "60"})
    call = Call("request-1", b"", {}, {}, {}, Caller("scheduler", "scheduler"), "127.0.0.1")

    async def main() -> None:
        found = services(settings)
        await found.open()
        try:
            task = asyncio.create_task(Cron(found).run(call))
            await asyncio.to_thread(eventually, lambda: service.rows(RUNNING))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            await found.close()

    asyncio.run(main())
    expected = {"status": "failed", "processed_count": None, "error_message": "CancelledError", "ended": True}
    assert [expected] == service.rows(LOGS)


def test_a_call_whose_process_was_killed_does_not_run_for_ever(service: Served) -> None:
    """The next call fails it and does its own work."""
    service.owner.execute(
        "insert into operations.cron_logs (path, started_at) values (%s, now() - interval '1 hour')", [CRON_PATH]
    )
    answer = service.post(CRON_PATH, CRON)
    assert {"processed": 0} == answer.json()
    lost, own = service.rows(LOGS)
    assert ("failed", True) == (lost["status"], lost["ended"])
    assert "is gone" in lost["error_message"]
    assert ("success", 0) == (own["status"], own["processed_count"])


def test_the_log_names_the_request(service: Served) -> None:
    """As the answer and the request log do."""
    answer = service.post(CRON_PATH, CRON)
    assert [{"request_id": answer.headers["x-request-id"]}] == service.rows(
        "select request_id from operations.cron_logs"
    )
