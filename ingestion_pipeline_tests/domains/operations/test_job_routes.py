"""The endpoints of jobs through a real server: what is taken, what is refused, who sees what."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.operations.job_routes import MAX_PERSON_BODY_BYTES, MOST_AN_HOUR, MOST_UNFINISHED
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.jobs import NewJob
from ingestion_pipeline_tests.domains.operations.served_jobs import LIMITS, Served, application, person, served
from ingestion_pipeline_tests.intake.process import CRON_SECRET, TOKEN
from ingestion_pipeline_tests.intake.test_routing import refused

WRITER, OTHER, KEEPER = application("writer"), application("other"), application("keeper")
ALICE, BOB = person("alice"), person("bob")
CRON = {"x-cron-secret": CRON_SECRET}
NOBODYS = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def _service(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("jobs")) as found:
        yield found


@pytest.fixture
def service(_service: Served) -> Served:
    """Without jobs."""
    _service.clear()
    return _service


def submitted(service: Served, who: dict[str, str], **body: Any) -> str:
    answer = service.post("/api/jobs", who, {"job_type": "toy", **body})
    assert 202 == answer.status_code, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def test_a_job_is_taken_done_and_shown(service: Served) -> None:
    """S0's fields, from asking to the result; the worker's host is nobody's business."""
    asked = {"job_type": "toy", "market_slug": "san-antonio", "input_data": {"n": 2}, "priority": 3}
    answer = service.post("/api/jobs", WRITER, asked)
    taken = answer.json()
    assert (202, f"/api/jobs/{taken['job_id']}") == (answer.status_code, answer.headers["location"])
    assert ("QUEUED", {"n": 2}, None, False) == (
        taken["status"],
        taken["input_data"],
        taken["output_data"],
        taken["duplicate"],
    )
    assert ("application:writer", "san-antonio", 3, 2) == (
        taken["owner_id"],
        taken["market_slug"],
        taken["priority"],
        taken["max_attempts"],
    )
    assert answer.headers["x-request-id"] == taken["request_id"]
    job = service.claimed()
    assert job.job_id == taken["job_id"]
    service.queue.settle(job.attempt_id, "completed", output={"predictions_count": 5}, time_ms=1200.0)
    shown = service.get(answer.headers["location"], WRITER).json()
    assert ("COMPLETED", {"predictions_count": 5}, 1200.0, None) == (
        shown["status"],
        shown["output_data"],
        shown["processing_time_ms"],
        shown["error_message"],
    )
    (attempt,) = shown["attempts"]
    assert (1, "completed") == (attempt["attempt"], attempt["outcome"])
    assert "worker" not in {*shown, *attempt}


def test_a_unique_key_is_answered_with_the_unfinished_job(service: Served) -> None:
    """Of the same caller; another caller's key is another key."""
    first = service.post("/api/jobs", WRITER, {"job_type": "toy", "unique_key": "k"}).json()
    second = service.post("/api/jobs", WRITER, {"job_type": "toy", "unique_key": "k"}).json()
    others = service.post("/api/jobs", OTHER, {"job_type": "toy", "unique_key": "k"}).json()
    assert (first["job_id"], False, True) == (second["job_id"], first["duplicate"], second["duplicate"])
    assert (True, False) == (others["job_id"] != first["job_id"], others["duplicate"])


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({"job_type": "toi"}, "job_type", "toy"),
        ({"job_type": "x" * 300}, "job_type", "doll or market_ingest or toy"),
        ({}, "job_type", "a value"),
        ({"job_type": "toy", "input_data": {"n": "many"}}, "input_data.n", "int"),
        ({"job_type": "toy", "input_data": {"m": 1}}, "input_data.m", "no such field"),
        ({"job_type": "toy", "input_data": [1]}, "input_data", "object"),
        ({"job_type": "toy", "input_data": {"n": 1001}}, "market_slug", "a market"),
        ({"job_type": "market_ingest", "input_data": {"symbols": ["SPX-"]}}, "input_data.symbols[0]", "SPX"),
        ({"job_type": "toy", "owner_id": "alice"}, "owner_id", "no such field"),
        ({"job_type": "toy", "priority": 101}, "priority", "int"),
        ({"job_type": "toy", "priority": 1.5}, "priority", "int"),
        ({"job_type": "toy", "market_slug": "San Antonio"}, "market_slug", "str"),
        ({"job_type": "toy", "unique_key": ""}, "unique_key", "str"),
        ({"job_type": "toy", "run_at": "2026-01-01T00:00:00"}, "run_at", "datetime"),
        ({"job_type": "toy", "run_at": 0}, "run_at", "datetime"),
        ({"job_type": "toy", "run_at": "1999-01-01T00:00:00Z"}, "run_at", "an instant"),
        ({"job_type": "toy", "run_at": "2099-01-01T00:00:00Z"}, "run_at", "an instant within a year"),
    ],
)
def test_what_is_wrong_is_named(service: Served, body: Any, field: str, expected: str) -> None:
    """And no job is made."""
    answer = service.post("/api/jobs", WRITER, body)
    refused(answer, 422)
    (error,) = answer.json()["errors"]
    assert field == error["field"]
    assert error["expected"].startswith(expected)
    assert [] == service.queue.jobs()


def test_a_body_that_cannot_be_read_is_refused(service: Served) -> None:
    """As everywhere in the intake."""
    for content, status in ((b"{", 400), (b"[]", 422), (b'{"job_type": "' + b"x" * 300_000 + b'"}', 413)):
        headers = {**WRITER, "content-type": "application/json"}
        refused(service.intake.client.post("/api/jobs", content=content, headers=headers), status)


def test_a_job_can_be_put_off(service: Served) -> None:
    """It is not due before its time."""
    run_at = utc_now() + timedelta(hours=1)
    job_id = submitted(service, WRITER, run_at=run_at.isoformat())
    assert (run_at, []) == (service.job(job_id).run_at, service.queue.claim("w", LIMITS))


# who may


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ({}, 401),
        (application("nobody"), 401),
        (application("feeder"), 403),
        (CRON, 401),
    ],
)
def test_others_are_refused(service: Served, who: dict[str, str], status: int) -> None:
    """On every endpoint; who is answered with a job's address elsewhere sees no more than that job."""
    job_id = submitted(service, WRITER)
    refused(service.post("/api/jobs", who, {"job_type": "toy"}), status)
    refused(service.get("/api/jobs", who), status)
    refused(service.get(f"/api/jobs/{job_id}", who), 404 if who in (CRON, application("feeder")) else status)
    refused(service.post(f"/api/jobs/{job_id}/cancel", who), status)
    refused(service.post(f"/api/jobs/{job_id}/retry", who), status)
    assert ["QUEUED"] == [job.status for job in service.queue.jobs()]


@pytest.mark.parametrize(("mine", "yours"), [(ALICE, BOB), (WRITER, OTHER), (ALICE, WRITER), (WRITER, ALICE)])
def test_the_job_of_another_is_not_there(service: Served, mine: dict[str, str], yours: dict[str, str]) -> None:
    """Not to be seen, listed, cancelled or retried; the same answer as for a job that never was."""
    job_id = submitted(service, mine)
    for wanted in (job_id, NOBODYS, "no-uuid"):
        answers = [
            service.get(f"/api/jobs/{wanted}", yours),
            service.post(f"/api/jobs/{wanted}/cancel", yours),
            service.post(f"/api/jobs/{wanted}/retry", yours),
        ]
        for answer in answers:
            refused(answer, 404)
            assert "there is no such job" == answer.json()["detail"]
    assert ([], [job_id]) == (listed(service, yours), listed(service, mine))
    assert "QUEUED" == service.job(job_id).status


def listed(service: Served, who: dict[str, str], **parameters: Any) -> list[str]:
    answer = service.get("/api/jobs", who, **parameters)
    assert 200 == answer.status_code, answer.text
    return [job["job_id"] for job in answer.json()["jobs"]]


@pytest.mark.parametrize("who", [KEEPER, TOKEN])
def test_an_operator_sees_and_changes_the_jobs_of_all(service: Served, who: dict[str, str]) -> None:
    """Who did it to which job is in the audit log; what they ask for themselves is their own."""
    jobs = [submitted(service, ALICE), submitted(service, WRITER)]
    assert set(jobs) == set(listed(service, who))
    assert 200 == service.get(f"/api/jobs/{jobs[0]}", who).status_code
    service.owner.execute("truncate operations.audit_log")
    assert 200 == service.post(f"/api/jobs/{jobs[0]}/cancel", who).status_code
    assert 202 == service.post(f"/api/jobs/{jobs[0]}/retry", who).status_code
    audited = service.owner.execute("select actor, action, details ->> 'job_id' from operations.audit_log").fetchall()
    name = "keeper" if who == KEEPER else "INGEST_APP_TOKEN"
    assert [(name, "job cancel", jobs[0]), (name, "job retry", jobs[0])] == audited
    assert f"application:{name}" == service.job(submitted(service, who)).owner_id


def test_a_person_is_nobody_else_whatever_their_name(service: Served) -> None:
    """A `sub` that is spelled like an application or the scheduler gives no access to theirs."""
    submitted(service, WRITER)
    service.queue.enqueue(NewJob(job_type="toy", owner_id="scheduler"))
    service.queue.enqueue(NewJob(job_type="toy", owner_id="cli:root"))
    service.queue.enqueue(NewJob(job_type="toy", owner_id="cli"))
    for name in ("application:writer", "scheduler", "operator", "cli:root", "cli"):
        assert [] == listed(service, person(name))
        own = submitted(service, person(name))
        assert [own] == listed(service, person(name))


def test_a_person_may_ask_for_some_types_only(service: Served) -> None:
    """And not be more urgent than everybody."""
    refused(service.post("/api/jobs", ALICE, {"job_type": "doll"}), 403)
    refused(service.post("/api/jobs", ALICE, {"job_type": "toy", "priority": 1}), 422)
    assert 202 == service.post("/api/jobs", ALICE, {"job_type": "toy", "priority": -1}).status_code
    assert 202 == service.post("/api/jobs", WRITER, {"job_type": "doll", "priority": 1}).status_code


def test_a_person_may_have_so_many_unfinished_jobs(service: Served) -> None:
    """Then it is 429; others are not affected, and finished ones do not count."""
    ids = [service.queue.enqueue(NewJob(job_type="toy", owner_id="alice"))[0] for _ in range(MOST_UNFINISHED)]
    answer = service.post("/api/jobs", ALICE, {"job_type": "toy"})
    refused(answer, 429)
    assert "60" == answer.headers["retry-after"]
    assert 202 == service.post("/api/jobs", BOB, {"job_type": "toy"}).status_code
    service.queue.cancel(ids[0])
    assert 202 == service.post("/api/jobs", ALICE, {"job_type": "toy"}).status_code


@pytest.mark.parametrize("who", [ALICE, WRITER])
def test_nobody_is_due_before_who_asked_earlier(service: Served, who: dict[str, str]) -> None:
    """An instant that is over means now."""
    before = utc_now()
    job_id = submitted(service, who, run_at="2000-01-02T03:04:05Z")
    assert before - timedelta(seconds=1) < service.job(job_id).run_at


def test_what_a_person_can_keep_is_bounded(service: Served) -> None:
    """Jobs that are cancelled at once count too, and many that come together do not slip through."""
    service.owner.execute(
        "insert into operations.jobs (job_type, owner_id, run_at) "
        "select 'toy', 'alice', now() + interval '1 hour' from generate_series(1, %s)",
        [MOST_AN_HOUR - 1],
    )
    service.owner.execute(
        "update operations.jobs set status = 'CANCELLED', finished_at = clock_timestamp() where owner_id = 'alice'"
    )
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.post("/api/jobs", ALICE, {"job_type": "toy"}), range(8)))
    assert [202] + [429] * 7 == sorted(answer.status_code for answer in answers)
    assert {"600"} == {answer.headers["retry-after"] for answer in answers if answer.status_code == 429}
    assert 202 == service.post("/api/jobs", BOB, {"job_type": "toy"}).status_code


def test_a_retry_needs_room_as_a_new_job_does(service: Served) -> None:
    """A person cannot have more unfinished jobs than they may by way of finished ones; an operator may."""
    job_id = submitted(service, ALICE)
    service.queue.cancel(job_id)
    for _ in range(MOST_UNFINISHED):
        service.queue.enqueue(NewJob(job_type="toy", owner_id="alice"))
    answer = service.post(f"/api/jobs/{job_id}/retry", ALICE)
    refused(answer, 429)
    assert "CANCELLED" == service.job(job_id).status
    assert 202 == service.post(f"/api/jobs/{job_id}/retry", KEEPER).status_code


def test_what_a_person_asks_for_is_small(service: Served) -> None:
    """An application may say more."""
    body = {"job_type": "toy", "unique_key": "k", "input_data": {"n": 1}, "market_slug": "dallas"}
    content = msgspec.json.encode(body) + b" " * MAX_PERSON_BODY_BYTES
    for who, status in ((ALICE, 413), (WRITER, 202)):
        headers = {"content-type": "application/json", **who}
        assert status == service.intake.client.post("/api/jobs", content=content, headers=headers).status_code


@pytest.mark.parametrize(("who", "owner"), [(application("feeder"), "application:feeder"), (CRON, "scheduler")])
def test_who_was_answered_with_the_address_of_a_job_can_look_there(
    service: Served, who: dict[str, str], owner: str
) -> None:
    """POST /api/ingest and GET /api/cron say where their job is; of another there is nothing."""
    method = "GET" if who == CRON else "POST"
    path = "/api/cron" if who == CRON else "/api/ingest"
    accepted = service.intake.client.request(method, path, params={"wait": 0}, headers=who)
    assert 202 == accepted.status_code
    shown = service.get(accepted.headers["location"], who)
    assert (200, owner) == (shown.status_code, shown.json()["owner_id"])
    refused(service.get(f"/api/jobs/{submitted(service, WRITER)}", who), 404)


def test_a_job_whose_worker_is_gone_does_not_name_its_host(service: Served) -> None:
    """Neither in the job nor in its attempts."""
    job_id = submitted(service, ALICE)
    service.queue.claim("secret-host:4711", LIMITS)
    service.owner.execute("update operations.jobs set lease_until = now() - interval '1 second'")
    assert {job_id: "RETRYING"} == service.queue.rescue()
    answer = service.get(f"/api/jobs/{job_id}", ALICE)
    assert "the process that worked on it is gone" in answer.json()["error_message"]
    assert "secret-host" not in answer.text


# the list


def test_the_list_is_paged_and_can_be_chosen_from(service: Served) -> None:
    """Newest first, each once, also when jobs are added while somebody pages."""
    ids = [submitted(service, WRITER, market_slug="dallas" if n % 2 else "austin") for n in range(5)]
    service.queue.cancel(ids[0])
    assert list(reversed(ids)) == listed(service, WRITER)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = service.get("/api/jobs", WRITER, limit=2, **cursor).json()
        seen += [job["job_id"] for job in page["jobs"]]
        cursor = {"cursor": page["next_cursor"]}
        submitted(service, WRITER)
    assert list(reversed(ids)) == seen
    assert None is page["next_cursor"]
    assert [ids[0]] == listed(service, WRITER, status="CANCELLED")
    assert [ids[3], ids[1]] == listed(service, WRITER, market_slug="dallas")
    assert [] == listed(service, WRITER, job_type="doll")


@pytest.mark.parametrize(
    "parameters",
    [{"status": "DONE"}, {"limit": "0"}, {"limit": "501"}, {"limit": "x"}, {"cursor": "x"}, {"owner_id": "alice"}],
)
def test_wrong_parameters_are_refused(service: Served, parameters: dict[str, str]) -> None:
    """Naming the parameter."""
    answer = service.get("/api/jobs", WRITER, **parameters)
    refused(answer, 422)
    assert list(parameters) == [error["field"] for error in answer.json()["errors"]]


# cancel, retry, wait


def test_cancelling(service: Served) -> None:
    """At once while it waits, by request while it runs, too late when it is finished."""
    waiting = submitted(service, WRITER)
    answer = service.post(f"/api/jobs/{waiting}/cancel", WRITER)
    assert (200, "CANCELLED") == (answer.status_code, answer.json()["status"])
    running = submitted(service, WRITER)
    job = service.claimed()
    answer = service.post(f"/api/jobs/{running}/cancel", WRITER)
    assert (202, "RUNNING") == (answer.status_code, answer.json()["status"])
    assert None is not answer.json()["cancel_requested_at"]
    service.queue.settle(job.attempt_id, "completed", output={})
    answer = service.post(f"/api/jobs/{running}/cancel", WRITER)
    refused(answer, 409)
    assert "COMPLETED" in answer.json()["detail"]


def test_retrying(service: Served) -> None:
    """What failed or was cancelled; nothing else, and not past an unfinished job with the same key."""
    job_id = submitted(service, WRITER, unique_key="k")
    job = service.claimed()
    refused(service.post(f"/api/jobs/{job_id}/retry", WRITER), 409)
    service.queue.settle(job.attempt_id, "failed", error_kind="permanent", error_message="x")
    second = submitted(service, WRITER, unique_key="k")
    refused(service.post(f"/api/jobs/{job_id}/retry", WRITER), 409)
    service.queue.cancel(second)
    answer = service.post(f"/api/jobs/{job_id}/retry", WRITER)
    assert (202, "QUEUED", f"/api/jobs/{job_id}") == (
        answer.status_code,
        answer.json()["status"],
        answer.headers["location"],
    )


def test_a_job_is_not_retried_for_ever(service: Served) -> None:
    """After a thousand attempts a new one has to be asked for."""
    job_id = submitted(service, WRITER)
    job = service.claimed()
    service.queue.settle(job.attempt_id, "failed", error_kind="permanent", error_message="x")
    service.owner.execute("alter table operations.jobs disable trigger user")
    service.owner.execute("update operations.jobs set attempt_count = 1000, max_attempts = 1000")
    service.owner.execute("alter table operations.jobs enable trigger user")
    answer = service.post(f"/api/jobs/{job_id}/retry", WRITER)
    refused(answer, 409)
    assert "tried too often" in answer.json()["detail"]


def test_one_can_wait_for_the_end_of_a_job(service: Served) -> None:
    """The answer comes when it is finished; without time, at once."""
    job_id = submitted(service, ALICE)
    assert "QUEUED" == service.get(f"/api/jobs/{job_id}", ALICE, wait=0).json()["status"]
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(service.get, f"/api/jobs/{job_id}", ALICE, wait=25)
        service.queue.settle(service.claimed().attempt_id, "completed", output={"n": 1})
        shown = asked.result().json()
    assert ("COMPLETED", {"n": 1}, 1) == (shown["status"], shown["output_data"], len(shown["attempts"]))


@pytest.mark.parametrize("wait", ["-1", "x", "nan", "inf", "61", ""])
def test_how_long_one_can_wait_is_bounded(service: Served, wait: str) -> None:
    """By JOB_WAIT_SECONDS."""
    job_id = submitted(service, WRITER)
    refused(service.get(f"/api/jobs/{job_id}", WRITER, wait=wait), 422)
