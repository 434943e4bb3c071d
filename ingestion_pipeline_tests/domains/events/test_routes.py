"""Emitting over HTTP, through the real service: one answer per event, each stored before it is acknowledged."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.hot_log import as_intake, rows, value
from ingestion_pipeline_tests.intake.process import REAL, Intake, running

VIEW = {"type": "VIEW", "ruleId": "r1"}
PAYMENT = {"type": "payment.completed", "userId": "u1", "data": {"payment_id": "p1", "amount": 9.5}}
PATHS = ("/ingest/events", "/api/events")
MAX_BATCH = 50


@pytest.fixture(scope="module")
def database(server: EmbeddedServer) -> Iterator[str]:
    with migrated_database(server) as url:
        yield url


@pytest.fixture(scope="module")
def module_intake(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    home = tmp_path_factory.mktemp("emit")
    with running(as_intake(database), home, REAL, EVENTS_MAX_BATCH=str(MAX_BATCH), MAX_BODY_BYTES="1000000") as found:
        yield found


@pytest.fixture
def intake(module_intake: Intake, database: str) -> Intake:
    """The service over an empty log."""
    for table in ("events.event_log", "events.event_keys", "operations.rejects"):
        rows(database, f"delete from {table}")
    return module_intake


def send(intake: Intake, body: Any, path: str = "/ingest/events", **options: Any) -> httpx.Response:
    return intake.post(path, body if isinstance(body, bytes) else json.dumps(body).encode(), **options)


def batch(*events: Any, **over: Any) -> dict[str, Any]:
    return {"events": list(events), **over}


def accepted(answer: httpx.Response) -> dict[str, Any]:
    assert (202, "application/json") == (answer.status_code, answer.headers["content-type"]), answer.text
    body: dict[str, Any] = answer.json()
    return body


def refused(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()


def log_rows(url: str) -> list[dict[str, Any]]:
    return rows(url, "select * from events.event_log order by event_id")


@pytest.mark.parametrize("path", PATHS)
def test_a_batch_answers_for_each_event(intake: Intake, database: str, path: str) -> None:
    """In order: accepted, duplicate, or rejected with the field and the reason; the good ones are stored."""
    keyed = {**VIEW, "idempotencyKey": "k"}
    answer = send(intake, batch(keyed, {"type": "NOSUCH"}, keyed, {**VIEW, "userId": 7}, PAYMENT), path)
    body = accepted(answer)
    assert (2, 1, 2, answer.headers["x-request-id"]) == (
        body["accepted"],
        body["duplicates"],
        body["rejected"],
        body["requestId"],
    )
    first, unknown, duplicate, wrong, last = body["results"]
    assert [0, 1, 2, 3, 4] == [result["index"] for result in body["results"]]
    assert ({**first, "index": 2, "status": "duplicate"}, "accepted", "accepted") == (
        duplicate,
        first["status"],
        last["status"],
    )
    assert unknown == {
        "index": 1,
        "status": "rejected",
        "field": "type",
        "reason": "type is 'NOSUCH', expected one of those in events.event_schemas",
    }
    assert ("rejected", "userId") == (wrong["status"], wrong["field"])
    assert {UUID(first["id"]), UUID(last["id"])} == {row["event_id"] for row in log_rows(database)}
    kept = rows(database, "select reason, payload -> 'event' as event from operations.rejects order by reason")
    assert [(unknown["reason"], {"type": "NOSUCH"}), (wrong["reason"], {**VIEW, "userId": 7})] == [
        (row["reason"], row["event"]) for row in kept
    ]


def test_an_event_needs_no_batch(intake: Intake, database: str) -> None:
    """POST /api/events takes one as it is; also one whose data speaks of events."""
    for event in (PAYMENT, {**VIEW, "data": {"events": ["x"]}}):
        assert 1 == accepted(send(intake, event, "/api/events"))["accepted"]
    assert 2 == len(log_rows(database))


def test_an_event_that_is_refused_by_itself_is_a_problem(intake: Intake, database: str) -> None:
    """It is kept all the same."""
    status, problem = refused(send(intake, {**PAYMENT, "data": {"payment_id": "p", "amount": -1}}, "/api/events"))
    assert (422, "data.amount") == (status, problem["errors"][0]["field"])
    assert 1 == value(database, "select count(*) from operations.rejects")


def test_a_duplicate_that_is_sent_by_itself_is_accepted_as_one(intake: Intake) -> None:
    """A client that tries again gets the answer that it missed."""
    event = {**VIEW, "idempotencyKey": "again"}
    first, second = (accepted(send(intake, event, "/api/events")) for _ in range(2))
    assert (0, 1, first["results"][0]["id"]) == (second["accepted"], second["duplicates"], second["results"][0]["id"])


def test_many_requests_with_one_key_at_once_store_one_event(intake: Intake, database: str) -> None:
    body = json.dumps(batch({**VIEW, "idempotencyKey": "same"})).encode()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: accepted(send(intake, body)), range(64)))
    assert (1, 63) == (sum(it["accepted"] for it in answers), sum(it["duplicates"] for it in answers))
    assert 1 == len({it["results"][0]["id"] for it in answers})
    assert 1 == len(log_rows(database))


BAD_PARTS = {
    "nul": b'{"type": "VIEW", "ruleId": "r\\u0000"}',
    "half of a surrogate pair": b'{"type": "VIEW", "ruleId": "r\\ud800"}',
    "the other half": b'{"type": "VIEW", "ruleId": "r1", "data": {"a": "\\udc00 and more text after it"}}',
    "beyond a double": b'{"type": "VIEW", "ruleId": "r1", "data": {"n": 1e400}}',
    "too many digits": b'{"type": "VIEW", "ruleId": "r1", "data": {"n": ' + b"9" * 5000 + b"}}",
    "too deep": b'{"type": "VIEW", "ruleId": "r1", "data": ' + b'{"a":' * 60 + b"1" + b"}" * 60 + b"}",
    "no object": b"[[[]]]",
    "null": b"null",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bad", BAD_PARTS.values(), ids=BAD_PARTS)
def test_one_bad_event_never_sinks_its_batch(intake: Intake, database: str, path: str, bad: bytes) -> None:
    """Whatever it holds."""
    body = b'{"events": [' + b", ".join([json.dumps(VIEW).encode(), bad, json.dumps(PAYMENT).encode()]) + b"]}"
    found = accepted(send(intake, body, path))
    assert (["accepted", "rejected", "accepted"], 2) == (
        [result["status"] for result in found["results"]],
        len(log_rows(database)),
    )
    assert [found["results"][1]["reason"]] == [
        row["reason"] for row in rows(database, "select reason from operations.rejects")
    ]


@pytest.mark.parametrize("bad", BAD_PARTS.values(), ids=BAD_PARTS)
def test_one_bad_event_by_itself_is_a_problem(intake: Intake, bad: bytes) -> None:
    status, _ = refused(send(intake, bad, "/api/events"))
    assert status in (400, 422)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", {400}),
        (b"{", {400}),
        (b'{"events": [', {400}),
        (b'{"events": [{"type": "VIEW"', {400}),
        (b'{"events": []} trailing', {400}),
        (b'["events"]', {422}),
        (b'"events"', {422}),
        (b'{"events": {}}', {422}),
        (b'{"events": null}', {422}),
        (b'{"events": []}', {422}),
        (b'{"events": [], "other": 1}', {422}),
        (b'{"events": [{"type": "COPY", "ruleId": "r"}], "sentAt": 5}', {422}),
        (b"\xff", {400}),
        (b"[" * 100_000, {400, 422}),
        (b'{"events": [' + b"0," * 400_000 + b"0]}", {413}),
        (b'{"events": [' + b"0," * MAX_BATCH + b"0]}", {413}),
        (b'{"a": "' + b"x" * 1_000_000 + b'"}', {413}),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_body_that_is_no_batch_is_a_problem(
    intake: Intake, database: str, path: str, body: bytes, expected: set[int]
) -> None:
    """Nothing of it is stored and the service goes on."""
    status, problem = refused(send(intake, body, path))
    assert status in expected, problem
    assert [] == log_rows(database)
    assert intake.is_up()


def test_as_many_events_as_the_setting_says(intake: Intake, database: str) -> None:
    assert MAX_BATCH == accepted(send(intake, batch(*[VIEW] * MAX_BATCH)))["accepted"]
    assert MAX_BATCH == len(log_rows(database))


@pytest.mark.parametrize("headers", [{"x-app-token": ""}, {"x-app-token": "wrong"}])
@pytest.mark.parametrize("path", PATHS)
def test_nobody_emits_without_a_token(intake: Intake, database: str, path: str, headers: dict[str, str]) -> None:
    status, _ = refused(send(intake, batch(VIEW), path, headers=headers))
    assert (401, []) == (status, log_rows(database))


def test_what_the_request_says_is_kept(intake: Intake, database: str) -> None:
    """The application's name, the user agent up to 512 characters, the hash of the address."""
    accepted(send(intake, batch(VIEW, {**VIEW, "context": {"userAgent": "own"}}), headers={"user-agent": "x" * 600}))
    first, second = log_rows(database)
    agents = {first["metadata"]["userAgent"], second["metadata"]["userAgent"]}
    assert {"x" * 512, "own"} == agents
    assert first["address_hash"] == second["address_hash"]
    assert (32, "http") == (len(first["address_hash"]), first["origin"])
    assert first["caller"]


def test_no_address_is_stored_anywhere(intake: Intake, database: str) -> None:
    """Not of accepted events, not of rejected ones, not in the log of requests, not in what the process prints."""
    given = {**VIEW, "context": {"ip": "203.0.113.77"}}
    broken = b'{"type": "VIEW", "ruleId": "r", "context": {"ip": "203.0.113.77", "x": 1e400}}'
    send(intake, b'{"events": [' + json.dumps(given).encode() + b"," + broken + b"]}")
    send(intake, {**given, "colour": 1}, "/api/events")
    assert 2 == value(database, "select count(*) from operations.rejects")
    eventually(lambda: value(database, "select count(*) from operations.api_requests where path = '/api/events'"))
    tables = rows(
        database,
        "select oid::regclass::text as name from pg_class where relkind = 'r' and relnamespace in "
        "('events'::regnamespace, 'operations'::regnamespace)",
    )
    assert len(tables) > 15
    for table in tables:
        for row in rows(database, f"select to_jsonb(t)::text as row from {table['name']} as t"):
            assert "203.0.113.77" not in row["row"], table
            assert "127.0.0.1" not in row["row"], table
    assert "203.0.113.77" not in intake.printed()


def test_one_address_has_one_hash_under_a_key_of_ours(intake: Intake, database: str) -> None:
    """The key of the day is in the database and nowhere else; yesterday's is there for views around midnight."""
    other = {**VIEW, "context": {"ip": "203.0.113.78"}}
    accepted(send(intake, batch(VIEW, other)))
    accepted(send(intake, batch(VIEW, other)))
    hashes = [row["address_hash"] for row in log_rows(database)]
    assert (2, 4) == (len(set(hashes)), len(hashes))
    assert value(database, "select count(*) from events.address_keys") in (2, 3)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(database, "select key from events.address_keys", role="pipeline_reader")


def test_the_senders_clock_corrects_the_time(intake: Intake, database: str) -> None:
    """An hour behind: what happened a minute before it was sent happened a minute ago; how far off is recorded."""
    sent_at = datetime.now(UTC) - timedelta(hours=1)
    event = {**VIEW, "ts": (sent_at - timedelta(minutes=1)).isoformat()}
    accepted(send(intake, batch(event, sentAt=sent_at.isoformat())))
    (row,) = log_rows(database)
    assert timedelta(minutes=1) == row["received_at"] - row["occurred_at"]
    assert abs(row["clock_skew_seconds"] - 3600) < 60


def test_a_new_type_is_known_without_a_restart(intake: Intake, database: str) -> None:
    """Refused first; registered; accepted: whoever mends a schema does not wait for a deployment."""
    event = {"type": "badge.earned", "data": {"level": 1}}
    status, problem = refused(send(intake, event, "/api/events"))
    assert (422, "type") == (status, problem["errors"][0]["field"])
    rows(
        database,
        "insert into events.event_schemas (event_type, event_category, retention_class, json_schema) values "
        "('badge.earned', 'content', 'content', '{\"properties\": {\"level\": {\"type\": \"integer\"}}}')",
    )
    eventually(lambda: send(intake, event, "/api/events").status_code == 202)
    status, problem = refused(send(intake, {**event, "data": {"level": "x"}}, "/api/events"))
    assert (422, "data.level") == (status, problem["errors"][0]["field"])


def test_what_only_the_database_refuses_is_answered_like_any_refusal(intake: Intake, database: str) -> None:
    rows(database, "alter table events.event_log add constraint not_r9 check (rule_id <> 'r9') not valid")
    found = accepted(send(intake, batch(VIEW, {**VIEW, "ruleId": "r9"}, VIEW)))
    assert ["accepted", "rejected", "accepted"] == [result["status"] for result in found["results"]]
    assert "not_r9" in found["results"][1]["reason"]
    status, _ = refused(send(intake, {**VIEW, "ruleId": "r9"}, "/api/events"))
    assert 422 == status
    rows(database, "alter table events.event_log drop constraint not_r9")


def test_the_address_comes_from_trusted_proxies_only(intake: Intake, database: str) -> None:
    """A header that anybody can send does not make another address."""
    accepted(send(intake, batch(VIEW)))
    accepted(send(intake, batch(VIEW), headers={"x-forwarded-for": "203.0.113.79"}))
    assert 1 == len({row["address_hash"] for row in log_rows(database)})
