"""S1's endpoints through a real server: bodies and answers word for word, over jobs that this test works on."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from ingestion_pipeline.domains.market.jobs import MARKET_INGEST
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.domains.operations.served_jobs import Served, application, person, served
from ingestion_pipeline_tests.intake.process import CRON_SECRET, TOKEN
from ingestion_pipeline_tests.intake.test_routing import refused

FEEDER, CRON = application("feeder"), {"authorization": f"Bearer {CRON_SECRET}"}
RESULT = {
    "marketsIngested": 2,
    "snapshotsIngested": 2,
    "aggregatesIngested": 120,
    "comparisonsIngested": 2,
    "roiStatsIngested": 2,
    "startedAt": "2024-01-15T10:00:00.000Z",
    "completedAt": "2024-01-15T10:00:05.000Z",
    "trigger": "manual",
}
"""As the seed prints it."""


@pytest.fixture(scope="module")
def _service(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("ingest")) as found:
        yield found


@pytest.fixture
def service(_service: Served) -> Served:
    _service.clear()
    return _service


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def asked(service: Served, pool: ThreadPoolExecutor, body: Any = None, **query: Any) -> Future[httpx.Response]:
    """POST /api/ingest, which waits in the background."""
    path = str(httpx.URL("/api/ingest", params=query)) if query else "/api/ingest"
    return pool.submit(service.post, path, FEEDER, body)


def settle(service: Served, ending: Any, **told: Any) -> Any:
    job = service.claimed()
    service.queue.settle(job.attempt_id, ending, **told)
    return MARKET_INGEST.input_of(job.input_data)


def test_an_ingest_is_answered_as_the_seed_prints_it(service: Served, pool: ThreadPoolExecutor) -> None:
    """The job gets what was asked for."""
    answer = asked(service, pool, {"symbols": ["eth-usd", "BTC-USD", "BTC-USD"]})
    given = settle(service, "completed", output=RESULT)
    assert (200, {"status": "success", "result": RESULT}) == (answer.result().status_code, answer.result().json())
    assert (["BTC-USD", "ETH-USD"], "manual") == (given.symbols, given.trigger)


@pytest.mark.parametrize("body", [None, {}, {"symbols": None}])
def test_without_symbols_all_markets_are_meant(service: Served, pool: ThreadPoolExecutor, body: Any) -> None:
    """An empty object, and no body at all, as the seed's first example has it."""
    answer = asked(service, pool, body)
    assert None is settle(service, "completed", output=RESULT).symbols
    assert 200 == answer.result().status_code


@pytest.mark.parametrize(
    "headers",
    [CRON, {"x-cron-secret": CRON_SECRET}, {"x-vercel-cron-secret": CRON_SECRET}],
    ids=["bearer", "x", "vercel"],
)
def test_a_cron_is_answered_as_an_ingest(service: Served, pool: ThreadPoolExecutor, headers: dict[str, str]) -> None:
    """Its job is the scheduler's and says so."""
    answer = pool.submit(service.get, "/api/cron", headers)
    given = settle(service, "completed", output={**RESULT, "trigger": "cron"})
    assert (200, "cron") == (answer.result().status_code, answer.result().json()["result"]["trigger"])
    assert ("cron", "scheduler") == (given.trigger, service.queue.jobs()[0].owner_id)


def test_what_takes_longer_is_202_with_the_address_of_the_job(service: Served) -> None:
    """Which the same caller, who may also look at jobs, can ask for."""
    answer = service.post("/api/ingest?wait=0", TOKEN, {})
    job_id = answer.json()["job_id"]
    assert (202, {"status": "accepted", "job_id": job_id, "job_status": "QUEUED"}) == (
        answer.status_code,
        answer.json(),
    )
    assert 200 == service.get(answer.headers["location"], TOKEN).status_code


def test_asking_again_while_it_goes_on_joins_the_job(service: Served) -> None:
    """In any order of the symbols; other symbols are another job."""
    first = service.post("/api/ingest?wait=0", FEEDER, {"symbols": ["SPX", "BTC-USD"]}).json()
    second = service.post("/api/ingest?wait=0", FEEDER, {"symbols": ["BTC-USD", "SPX"]}).json()
    other = service.post("/api/ingest?wait=0", FEEDER, {"symbols": ["SPX"]}).json()
    assert (first["job_id"], True) == (second["job_id"], other["job_id"] != first["job_id"])
    assert 2 == len(service.queue.jobs())


@pytest.mark.parametrize(
    ("ending", "told", "status", "detail"),
    [
        ("failed", {"error_kind": "permanent", "error_message": "mock: no market SPY"}, 500, "mock: no market SPY"),
        ("cancelled", {"error_message": "asked for"}, 409, "was cancelled"),
    ],
)
def test_a_job_that_failed_is_a_problem_that_says_why(
    service: Served, pool: ThreadPoolExecutor, ending: str, told: dict[str, Any], status: int, detail: str
) -> None:
    """Not a success with an error inside."""
    answer = asked(service, pool, {})
    settle(service, ending, **told)
    refused(answer.result(), status)
    assert detail in answer.result().json()["detail"]


def test_a_source_that_stays_away_is_502(service: Served, pool: ThreadPoolExecutor) -> None:
    """When every attempt has failed; until then the job goes on."""
    answer = asked(service, pool, {})
    for _ in range(MARKET_INGEST.max_attempts):
        settle(service, "failed", error_kind="transient", error_message="provider mock is unavailable: gone")
        service.owner.execute("update operations.jobs set run_at = now() where status = 'RETRYING'")
    refused(answer.result(), 502)
    assert "provider mock is unavailable: gone" in answer.result().json()["detail"]


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({"symbols": ["BTC-USD", "BTC-EUR"]}, "symbols[1]", "BTC-USD"),
        ({"symbols": ["?"]}, "symbols[0]", "BTC-USD or ETH-USD or SPX"),
        ({"symbols": []}, "symbols", "array"),
        ({"symbols": [""]}, "symbols[0]", "str"),
        ({"symbols": "BTC-USD"}, "symbols", "array"),
        ({"symbols": ["SPX"] * 1001}, "symbols", "array"),
        ({"markets": ["SPX"]}, "markets", "no such field"),
    ],
)
def test_unknown_symbols_and_wrong_bodies_are_422(service: Served, body: Any, field: str, expected: str) -> None:
    """Naming the nearest; no job is made."""
    answer = service.post("/api/ingest", FEEDER, body)
    refused(answer, 422)
    (error,) = answer.json()["errors"]
    assert field == error["field"]
    assert error["expected"].startswith(expected)
    assert [] == service.queue.jobs()


def test_others_are_refused(service: Served) -> None:
    """Each endpoint has its own callers."""
    for who, status in (({}, 401), (application("writer"), 403), (person("alice"), 401), (CRON, 401)):
        refused(service.post("/api/ingest?wait=0", who, {}), status)
    for who in ({}, FEEDER, TOKEN, person("alice"), {"x-cron-secret": CRON_SECRET + "x"}):
        refused(service.get("/api/cron", who), 401)
    refused(service.post("/api/ingest?wait=forever", FEEDER, {}), 422)
    assert [] == service.queue.jobs()


def test_the_document_shows_the_seed_s_answer(service: Served) -> None:
    """Its fields are those of the answer."""
    document = service.intake.get("/openapi.json").json()
    answer = document["paths"]["/api/ingest"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(RESULT) == list(answer["properties"]["result"]["properties"])
    assert msgspec.json.encode(document)
