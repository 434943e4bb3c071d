"""What a refusal looks like, and which error becomes which status."""

import json
import math

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg_pool import PoolTimeout

from ingestion_pipeline.core.errors import (
    CircuitOpenError,
    ConfigurationError,
    RateLimitedError,
    StoreUnavailableError,
)
from ingestion_pipeline.intake.problems import FieldError, Problem, problem_of, shown, unavailable

MARKS = {"request_id": "r", "instance": "/x"}


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (StoreUnavailableError("PostgreSQL", "canary"), 503, b"2"),
        (CircuitOpenError("canary"), 503, b"2"),
        (RateLimitedError("canary", 17.2), 503, b"18"),
        (psycopg.OperationalError("canary"), 503, b"2"),
        (psycopg.errors.AdminShutdown("canary"), 503, b"2"),
        (psycopg.InterfaceError("canary"), 503, b"2"),
        (PoolTimeout("canary"), 503, b"2"),
        (ConfigurationError("CRON_SECRET", "canary", "a secret"), 500, None),
        (psycopg.errors.UndefinedTable("canary"), 500, None),
        (ZeroDivisionError("canary"), 500, None),
    ],
)
def test_an_error_has_one_status_and_tells_nothing(error: Exception, status: int, retry_after: bytes | None) -> None:
    """What can be tried again says when; no text of an error reaches a caller."""
    problem = problem_of(error)
    assert (status, retry_after) == (problem.status, dict(problem.headers).get(b"retry-after"))
    assert b"canary" not in problem.answer(**MARKS).body


def test_a_problem_stays_itself() -> None:
    problem = unavailable("busy", retry_after_seconds=0.2)
    assert problem is problem_of(problem)
    assert ((b"retry-after", b"1"),) == problem.headers


def test_the_document_has_the_standard_s_fields() -> None:
    answer = Problem(422, "count is b: expected int", errors=[FieldError("count", "int", "b")]).answer(**MARKS)
    assert b"application/problem+json" == answer.content_type
    assert {
        "type": "urn:problem:unprocessable-entity",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "count is b: expected int",
        "instance": "/x",
        "request_id": "r",
        "errors": [{"field": "count", "expected": "int", "seen": "b"}],
    } == json.loads(answer.body)


@given(st.text(alphabet=st.characters(), max_size=300), st.sampled_from([math.nan, math.inf, "\ud800", "\0", b"\xff"]))
def test_whatever_was_seen_the_document_is_json(text: str, odd: object) -> None:
    """Lone surrogates, NUL and NaN are what breaks others."""
    error = FieldError(text, text, shown(odd))
    answer = Problem(400, text, errors=[error]).answer(request_id="r", instance=text)
    document = json.loads(answer.body)
    assert len(document["errors"][0]["field"]) <= 80
    assert document["detail"].isprintable() or document["detail"] == ""
