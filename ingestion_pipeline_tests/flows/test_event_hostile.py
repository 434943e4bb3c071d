"""Events that mean harm, sent to the real intake: refused within limits, the process alive, its memory bounded."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from ingestion_pipeline_tests.flows.intake_process import batch_of, copied, stored
from ingestion_pipeline_tests.intake.process import REAL, TOKEN, Intake, running

MEGABYTE = 1024 * 1024
MILLION = 1_000_000
BOUND = 400 * MEGABYTE  # what the largest bodies, eight at a time, may add to the process for good
HEAD = f"POST /ingest/events HTTP/1.1\r\nhost: x\r\nx-app-token: {TOKEN['x-app-token']}\r\ncontent-type: application/json\r\n"

# one event each, as it is sent
BAD = {
    "unknown type": b'{"type": "NO-SUCH"}',
    "no type": b'{"ruleId": "r1"}',
    "no rule": b'{"type": "VIEW"}',
    "unknown field": b'{"type": "COPY", "ruleId": "r1", "surprise": 1}',
    "number for text": b'{"type": "COPY", "ruleId": 7}',
    "empty text": b'{"type": "COPY", "ruleId": ""}',
    "long text": b'{"type": "COPY", "ruleId": "' + b"x" * 201 + b'"}',
    "number for time": b'{"type": "COPY", "ruleId": "r1", "ts": 0}',
    "time without zone": b'{"type": "COPY", "ruleId": "r1", "ts": "2026-01-01T00:00:00"}',
    "time long ago": b'{"type": "COPY", "ruleId": "r1", "ts": "0001-01-01T00:00:00Z"}',
    "broken schema": b'{"type": "VOTE", "ruleId": "r1", "data": {"value": 5}}',
    "wrong category": b'{"type": "COPY", "ruleId": "r1", "category": "content"}',
    "unknown version": b'{"type": "COPY", "ruleId": "r1", "schemaVersion": 99}',
    "huge version": b'{"type": "COPY", "ruleId": "r1", "schemaVersion": ' + b"9" * 30 + b"}",
    "huge number": b'{"type": "COPY", "ruleId": "r1", "data": {"a": 1e999}}',
    "NUL": b'{"type": "COPY", "ruleId": "r1", "data": {"a": "\\u0000"}}',
    "half a surrogate pair": b'{"type": "COPY", "ruleId": "r1", "data": {"a": "\\ud800"}}',
    "100 deep": b'{"type": "COPY", "ruleId": "r1", "data": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}",
    "text": b'"COPY"',
    "list": b"[]",
    "null": b"null",
}
# whole bodies, with what may be answered
REFUSED = {
    "a million events": (b'{"events": [' + b'{"type": "COPY"},' * (200_000 - 1) + b'{"type": "COPY"}]}', {413}),
    "a million elements": (b'{"events": [' + b"1," * (MILLION - 1) + b"1]}", {413}),
    "a million elements in one event": (
        b'{"events": [{"type": "COPY", "ruleId": "r1", "data": {"a": [' + b"1," * (MILLION - 1) + b"1]}}]}",
        {413, 422},
    ),
    "10 MB": (b'{"events": [{"type": "' + b"x" * 10 * MEGABYTE + b'"}]}', {413}),
    "10 MB of spaces": (b" " * 10 * MEGABYTE, {413}),
    "10,000 deep in one event": (
        b'{"events": [{"type": "COPY", "ruleId": "r1", "data": {"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}]}",
        {422},
    ),
    "10,000 deep lists": (b"[" * 10_000 + b"]" * 10_000, {422}),
    "10,000 deep objects": (b'{"events":' * 10_000 + b"1" + b"}" * 10_000, {400, 422}),
    "NaN": (b'{"events": [{"type": "COPY", "ruleId": "r1", "data": {"a": NaN}}]}', {400}),
    "infinity": (b'{"events": [{"type": "COPY", "ruleId": "r1", "data": {"a": -Infinity}}]}', {400}),
    "no UTF-8": (b'{"events": [{"type": "COPY\xff"}]}', {400}),
    "no events": (b'{"events": []}', {422}),
    "events that are no list": (b'{"events": {}}', {422}),
    "another field": (b'{"events": [{"type": "COPY"}], "x": 1}', {422}),
    "two bodies": (b'{"events": [1]}{"events": [1]}', {400}),
}


@pytest.fixture
def intake(database_url: str, tmp_path: Path) -> Iterator[Intake]:
    """The real intake; whatever a test does, the same process takes events afterwards."""
    with running(database_url.replace("postgres@", "pipeline_intake@", 1), tmp_path, REAL) as server:
        before = [worker.pid for worker in server.workers()]
        yield server
        answer = server.post("/ingest/events", batch_of(copied("afterwards")))
        assert (202, 1) == (answer.status_code, answer.json()["accepted"])
        assert before == [worker.pid for worker in server.workers()]


@pytest.mark.parametrize("path", ["/ingest/events", "/api/events"])
def test_a_bad_event_is_refused_by_itself_whatever_is_wrong_with_it(
    intake: Intake, database_url: str, path: str
) -> None:
    """Between good ones, which are stored; the bad ones are kept with their reasons, and the counts add up."""
    events = [it for name, bad in BAD.items() for it in (json.dumps(copied(name)).encode(), bad)]
    answer = intake.post(path, b'{"events": [' + b",".join(events) + b"]}")
    assert 202 == answer.status_code, answer.text[:500]
    results = answer.json()["results"]
    assert ["accepted", "rejected"] * len(BAD) == [it["status"] for it in results]
    assert [] == [it for it in results if it["status"] == "rejected" and not it["reason"]]
    assert set(BAD) == set(stored(database_url))
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("select count(*) from operations.rejects where source = 'events'").fetchone()
    assert (len(BAD),) == kept


def test_a_body_that_is_no_batch_is_refused_whole(intake: Intake, database_url: str) -> None:
    """With a problem that says why, and nothing stored."""
    answers = {name: intake.post("/ingest/events", body) for name, (body, _) in REFUSED.items()}
    wrong = {name: it.status_code for name, it in answers.items() if it.status_code not in REFUSED[name][1]}
    assert {} == wrong
    assert [] == [name for name, it in answers.items() if not it.json()["detail"]]
    assert {} == stored(database_url)


def test_the_largest_bodies_leave_memory_bounded(intake: Intake) -> None:
    """Each of them eight times, eight at once, and as large a batch of events that are all kept as rejects."""
    bodies = [body for body, _ in REFUSED.values() if len(body) > MEGABYTE]
    bodies.append(
        b'{"events": [' + b",".join([b'{"type": "NO-SUCH", "data": {"a": "' + b"x" * 4_500 + b'"}}'] * 1_000) + b"]}"
    )
    (worker,) = intake.workers()
    before = worker.memory_info().rss
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: intake.post("/ingest/events", body, timeout=120), bodies * 8))
    assert {202, 413, 422} >= {answer.status_code for answer in answers}
    assert worker.memory_info().rss - before < BOUND
