"""What the clients ask and what they make of the answers."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.client import AnalyticsClient, AnalyticsError, AsyncAnalyticsClient
from ingestion_pipeline_tests.client.conftest import FakeService

Connect = Callable[..., AnalyticsClient]
AT = "2026-11-01T10:00:00.000000Z"
NOON = datetime(2026, 11, 1, 10, tzinfo=UTC)
DASHBOARD = {
    "generatedAt": AT,
    "today": {"events": 3, "uniqueUsers": 2, "uniqueSessions": 1},
    "byCategory": {"interaction": 3},
    "topTypes": [{"type": "VIEW", "count": 3}],
    "realtime": [{"name": "events", "dimensions": {"type": "VIEW"}, "value": 3.0, "updatedAt": AT, "expiresAt": AT}],
    "activeUsers": {"day": 2, "week": 5, "month": 9},
}


def event_row(number: int) -> dict[str, Any]:
    return {
        "id": str(number),
        "type": "VIEW",
        "category": "interaction",
        "userId": None,
        "sessionId": "s",
        "ruleId": "r",
        "data": {"n": number},
        "metadata": {},
        "timestamp": AT,
        "createdAt": AT,
        "processingStatus": "processed",
        "retryCount": 0,
        "errorMessage": None,
        "addedLater": "ignored",
    }


AGGREGATION = {
    "period": "daily",
    "bucketStart": AT,
    "type": "VIEW",
    "category": "interaction",
    "count": 3,
    "uncountedCount": 1,
    "uniqueUsers": 2,
    "uniqueSessions": 2,
    "firstEventAt": AT,
    "lastEventAt": AT,
    "properties": {"amount": {"p50": 1.0}},
}


@pytest.fixture
def asked(httpserver: HTTPServer) -> list[dict[str, str]]:
    """The query strings that were asked for; the events come in two pages."""
    questions: list[dict[str, str]] = []

    def events(request: Request) -> Response:
        questions.append(dict(request.args))
        last = "cursor" in request.args
        rows = [event_row(3)] if last else [event_row(1), event_row(2)]
        return Response(json.dumps({"events": rows, "nextCursor": None if last else "further"}))

    def aggregations(request: Request) -> Response:
        questions.append(dict(request.args))
        return Response(json.dumps({"aggregations": [AGGREGATION], "nextCursor": None}))

    httpserver.expect_request("/api/events", method="GET").respond_with_handler(events)
    httpserver.expect_request("/api/events/aggregations", method="GET").respond_with_handler(aggregations)
    httpserver.expect_request("/api/events/dashboard", method="GET").respond_with_json(DASHBOARD)
    return questions


def test_events_come_page_by_page(connect: Connect, asked: list[dict[str, str]]) -> None:
    client = connect()
    found = list(client.query_events(event_type="VIEW", user_id="u", start=NOON, status="processed", page_size=2))
    question = {"type": "VIEW", "userId": "u", "from": AT, "status": "processed", "limit": "2"}
    assert asked == [question, {**question, "cursor": "further"}]
    assert [event.data["n"] for event in found] == [1, 2, 3]
    assert (found[0].timestamp, found[0].user_id, found[0].rule_id) == (NOON, None, "r")


def test_page_is_fetched_when_it_is_needed(connect: Connect, asked: list[dict[str, str]]) -> None:
    assert next(connect().query_events()).id == "1"
    assert asked == [{}]


def test_aggregations_are_typed(connect: Connect, asked: list[dict[str, str]]) -> None:
    [found] = connect().query_aggregations("daily", category="interaction", end=NOON)
    assert asked == [{"period": "daily", "category": "interaction", "to": AT}]
    assert (found.period, found.bucket_start, found.count, found.uncounted_count) == ("daily", NOON, 3, 1)
    assert found.properties == {"amount": {"p50": 1.0}}


@pytest.mark.usefixtures("asked")
def test_dashboard_is_typed(connect: Connect) -> None:
    found = connect().get_dashboard_metrics()
    assert (found.generated_at, found.today["events"], found.by_category) == (NOON, 3, {"interaction": 3})
    assert [(row.type, row.count) for row in found.top_types] == [("VIEW", 3)]
    assert [(row.name, row.dimensions, row.value, row.expires_at) for row in found.realtime] == [
        ("events", {"type": "VIEW"}, 3.0, NOON)
    ]
    assert (found.active_users.day, found.active_users.week, found.active_users.month) == (2, 5, 9)


def test_asynchronous_client_does_the_same(service: FakeService, asked: list[dict[str, str]]) -> None:
    async def use() -> None:
        async with AsyncAnalyticsClient(service.url, "secret", interval_seconds=3600) as client:
            client.init_session(user_id="u1")
            client.track_user_login()
            assert await client.flush()
            assert [event.data["n"] async for event in client.query_events()] == [1, 2, 3]
            assert [row.count async for row in client.query_aggregations("daily")] == [3]
            assert (await client.get_dashboard_metrics()).today["events"] == 3
            client.emit("VIEW")
        assert client.stats().sent == 2

    asyncio.run(use())
    asyncio.run(use())
    assert service.types() == ["user.login", "VIEW"] * 2


def test_problem_is_raised_with_its_words(connect: Connect, httpserver: HTTPServer) -> None:
    problem = {"title": "Unprocessable", "detail": "limit is 'x', expected 1 to 500"}
    httpserver.expect_request("/api/events", method="GET").respond_with_json(problem, status=422)
    with pytest.raises(AnalyticsError, match="limit is 'x', expected 1 to 500") as raised:
        list(connect().query_events())
    assert (raised.value.status, raised.value.retry_after_seconds) == (422, None)


def test_wait_that_the_service_asks_for_is_told(connect: Connect, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/events/dashboard").respond_with_json({}, status=503, headers={"Retry-After": "7"})
    with pytest.raises(AnalyticsError) as raised:
        connect().get_dashboard_metrics()
    assert (raised.value.status, raised.value.retry_after_seconds) == (503, 7)


def test_answer_that_is_no_object_is_an_error(connect: Connect, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/events/dashboard").respond_with_data("<html>", content_type="text/html")
    with pytest.raises(AnalyticsError, match="HTTP 200"):
        connect().get_dashboard_metrics()


def test_service_that_is_away_is_an_error(service: FakeService, httpserver: HTTPServer) -> None:
    httpserver.stop()
    with AnalyticsClient(service.url, "secret") as client, pytest.raises(AnalyticsError, match="no answer"):
        client.get_dashboard_metrics()

    async def ask() -> None:
        async with AsyncAnalyticsClient(service.url, "secret") as client:
            with pytest.raises(AnalyticsError, match="no answer"):
                await client.get_dashboard_metrics()

    asyncio.run(ask())


@pytest.mark.usefixtures("asked")
def test_unknown_filter_is_named(connect: Connect) -> None:
    with pytest.raises(TypeError, match="unknown filter 'colour'"):
        connect().query_events(colour="red")  # type: ignore[call-arg]


def test_instants_need_a_time_zone(connect: Connect) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        connect().query_events(start=datetime(2026, 1, 1))  # noqa: DTZ001
