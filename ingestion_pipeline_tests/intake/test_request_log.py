"""The log of requests: complete, in blocks, never in the way of an answer."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from psycopg_pool import AsyncConnectionPool

from benchmarks._load import drive, repeated
from ingestion_pipeline.intake.exchange import Exchange
from ingestion_pipeline.intake.request_log import RequestLog
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.intake.conftest import as_intake
from ingestion_pipeline_tests.intake.process import CRON_SECRET, Intake

NOWHERE = "postgresql://pipeline_intake@127.0.0.1:1/nothing"


def rows(url: str, where: str = "true") -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(f"select * from operations.api_requests where {where} order by 1").fetchall()


def exchange(**over: Any) -> Exchange:
    made = Exchange("id", "GET", {}, "192.0.2.1", path="/x", status=200)
    for name, value in over.items():
        setattr(made, name, value)
    return made


def pool(url: str) -> AsyncConnectionPool:
    return AsyncConnectionPool(url, min_size=1, max_size=2, open=False, timeout=1)


def test_every_request_is_one_row_refused_ones_too(intake: Intake, intake_database: str) -> None:
    """With its template, caller, sizes, cache hit and market; never with an address or a query."""
    ids = [f"logged-{number}" for number in range(6)]
    named = [{"x-request-id": it} for it in ids]
    intake.post("/sample/echo", b'{"name": "abc"}', headers=named[0])
    intake.get("/sample/markets/BTC-USD?secret=canary", headers=named[1])
    intake.client.post("/sample/cron", headers={**named[2], "x-cron-secret": CRON_SECRET})
    intake.client.post("/sample/echo", headers=named[3])
    intake.get("/nothing/canary", headers=named[4])
    intake.client.request("DELETE", "/broken", headers={**named[5], "x-forwarded-for": "9.9.9.9"})
    eventually(lambda: len(rows(intake_database, "request_id like 'logged-%'")) == 6)
    found = {row[1]: row for row in rows(intake_database, "request_id like 'logged-%'")}
    facts = {it: (*row[2:5], row[6], *row[8:]) for it, row in found.items()}
    assert {
        ids[0]: ("POST", "/sample/echo", 202, 15, "INGEST_APP_TOKEN", None, None),
        ids[1]: ("GET", "/sample/markets/{symbol}", 200, 0, None, True, "BTC-USD"),
        ids[2]: ("POST", "/sample/cron", 200, 0, "scheduler", None, None),
        ids[3]: ("POST", "/sample/echo", 401, 0, None, None, None),
        ids[4]: ("GET", "(unknown)", 404, 0, None, None, None),
        ids[5]: ("DELETE", "/broken", 405, 0, None, None, None),
    } == facts
    assert all(row[5] >= 0 and row[7] > 0 for row in found.values())
    assert not [word for word in ("canary", "127.0.0.1", "9.9.9.9") if word in str(found)]


def test_nothing_is_missing_under_load(intake: Intake, intake_database: str) -> None:
    """As many rows as answers."""
    load = asyncio.run(drive(repeated("GET", "/sample/markets/load"), port=intake.port, connections=16, seconds=2))
    answered = sum(load.statuses.values())
    assert answered > 500
    eventually(lambda: len(rows(intake_database, "market = 'load'")) == answered)


@pytest.mark.parametrize("text", ["a\tb\nc\rd", "\\N", "\\.", "a\0b", "\ud800", "'; drop table x; --", "é\u202e", ""])
def test_whatever_a_caller_is_called_it_is_one_row(database_url: str, text: str) -> None:
    async def scenario() -> None:
        async with pool(as_intake(database_url)) as opened:
            log = RequestLog(opened)
            log.add(exchange(caller=text, market=text, cache_hit=False), 0.5)
            log.add(exchange(), 0.5)
            await log.write()

    asyncio.run(scenario())
    one, other = rows(database_url)
    assert (len(text), len(text), False) == (len(one[8]), len(one[10]), one[9])
    assert text == one[8] or "\0" in text or "\ud800" in text
    assert (None, None, None) == other[8:]


def test_rows_wait_while_postgresql_is_away_and_no_longer(database_url: str) -> None:
    """Up to the bound; what does not fit is counted, warned of once, and an answer never waits for it."""

    async def away() -> RequestLog:
        opened = pool(NOWHERE)
        await opened.open(wait=False)
        log = RequestLog(opened, most_waiting=100)
        for number in range(250):
            log.add(exchange(request_id=f"r{number}"), 0.1)
        await log.write()
        await opened.close()
        return log

    with structlog.testing.capture_logs() as lines:
        log = asyncio.run(away())
    assert 150 == log.dropped
    assert 1 == sum("full" in line["event"] for line in lines)

    async def back() -> None:
        async with pool(as_intake(database_url)) as opened:
            log._pool = opened
            await log.write()

    asyncio.run(back())
    assert [f"r{number}" for number in range(100)] == [row[1] for row in rows(database_url)]


def test_the_last_rows_are_written_at_the_end(database_url: str) -> None:
    async def scenario() -> None:
        async with pool(as_intake(database_url)) as opened:
            log = RequestLog(opened)
            log.start()
            log.add(exchange(), 0.1)
            await log.close()

    asyncio.run(scenario())
    assert 1 == len(rows(database_url))


def test_logs_of_a_request_carry_its_id(intake: Intake, home: Path) -> None:
    """So that a line is found by what the caller was told."""
    intake.get("/broken?store=1", headers={"x-request-id": "find-me"})
    (line,) = [line for line in intake.lines() if line.get("request_id") == "find-me"]
    assert "warning" == line["level"]
    assert "geheim" not in str(line)
