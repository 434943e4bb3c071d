"""The client against the real intake in a process of its own, and what is in PostgreSQL afterwards."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.client import AnalyticsClient, AnalyticsError, AsyncAnalyticsClient
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.client.test_tracking import TRACKED
from ingestion_pipeline_tests.command import free_port
from ingestion_pipeline_tests.intake.process import APP_TOKEN, REAL, Intake, running


@pytest.fixture
def intake_url(database_url: str) -> str:
    return database_url.replace("postgres@", "pipeline_intake@", 1)


@pytest.fixture
def intake(intake_url: str, tmp_path: Path) -> Iterator[Intake]:
    with running(intake_url, tmp_path, REAL) as server:
        yield server


def address(intake: Intake) -> str:
    return f"http://127.0.0.1:{intake.port}"


def stored(database_url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "select event_type, user_id, session_id, idempotency_key from events.event_log order by event_id"
        ).fetchall()


def test_what_is_tracked_is_stored_and_can_be_read(intake: Intake, database_url: str) -> None:
    """Every tracking method; one event that the registry does not know; one that is sent twice."""
    told: list[tuple[str, str]] = []
    with AnalyticsClient(
        address(intake), APP_TOKEN, on_rejected=lambda event, reason: told.append((event["type"], reason))
    ) as client:
        session = client.init_session(user_id="u1", context={"userAgent": "Mozilla/5.0 Firefox/140.0"})
        for track in TRACKED.values():
            track(client)
        client.emit("no.such.type")
        again = client.emit("VIEW", rule_id="r1", context={"ip": "203.0.113.9"})
        client.emit("VIEW", rule_id="r1", idempotency_key=again)
        assert client.flush(60)
        now = client.stats()
        assert (now.sent, now.queued, now.dropped, now.rejected) == (9, 0, 0, 1)
        found = list(client.query_events(user_id="u1", page_size=3))
        client.get_dashboard_metrics()
        assert list(client.query_aggregations("daily")) == []
    assert [("no.such.type", True)] == [(name, "no.such.type" in reason) for name, reason in told]
    expected = [*TRACKED, "VIEW"]
    assert sorted(event.type for event in found) == sorted(expected)
    assert {event.session_id for event in found} == {session}
    assert {event.processing_status for event in found} == {"pending"}
    [view] = [event for event in found if event.type == "VIEW"]
    assert "ip" not in view.metadata
    assert next(event for event in found if event.type == "search.performed").data["results_count"] == 12
    rows = stored(database_url)
    assert sorted(row[0] for row in rows) == sorted(expected)
    assert {row[1:3] for row in rows} == {("u1", session)}


def test_asynchronous_client_end_to_end(intake: Intake) -> None:
    async def use() -> list[str]:
        async with AsyncAnalyticsClient(address(intake), APP_TOKEN) as client:
            client.track_profile_viewed("u2", user_id="u1")
            assert await client.flush(60)
            return [event.type async for event in client.query_events(user_id="u1")]

    assert asyncio.run(use()) == ["profile.viewed"]


def test_wrong_token_keeps_events_and_tells_queries(intake: Intake) -> None:
    client = AnalyticsClient(address(intake), "wrong", interval_seconds=0)
    client.emit("VIEW", rule_id="r")
    with pytest.raises(AnalyticsError) as raised:
        next(client.query_events())
    assert raised.value.status == 401
    assert client.flush(0.1) is False
    assert client.stats().queued == 1
    client.close(0)


def test_rate_limit_delays_but_loses_nothing(intake_url: str, database_url: str, tmp_path: Path) -> None:
    """The client waits as long as the answer says."""
    with (
        running(intake_url, tmp_path, REAL, EVENTS_RATE_LIMIT="2/second") as intake,
        AnalyticsClient(address(intake), APP_TOKEN, interval_seconds=0, max_batch=10) as client,
    ):
        for _ in range(60):
            client.emit("VIEW", rule_id="r")
        assert client.flush(60)
        assert client.stats().sent == 60
    assert len(stored(database_url)) == 60


def test_intake_killed_while_events_flow_stores_each_once(intake_url: str, database_url: str, tmp_path: Path) -> None:
    """Requests whose answer was lost are sent again with the same keys."""
    port = free_port()
    with AnalyticsClient(f"http://127.0.0.1:{port}", APP_TOKEN, interval_seconds=0, max_batch=20) as client:
        keys = [client.emit("VIEW", rule_id="r") for _ in range(1000)]
        with running(intake_url, tmp_path, REAL, PORT=str(port)) as intake:
            until(lambda: client.stats().sent > 100)
            for worker in intake.workers():
                worker.kill()
            intake.process.kill()
        keys += [client.emit("COPY", rule_id="r") for _ in range(100)]
        with running(intake_url, tmp_path, REAL, PORT=str(port)):
            assert client.flush(60)
            assert client.stats().sent == 1100
    assert sorted(keys) == sorted(row[3] for row in stored(database_url))
