"""What runs elsewhere have made invalid is forgotten here, each once, however late its transaction commits."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.intake.invalidations import Invalidations, invalidations
from ingestion_pipeline.intake.services import Services, services
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_ingestion
from ingestion_pipeline.storage.redis_cache import FallbackCache
from ingestion_pipeline.storage.warming import Stores, Warmer
from ingestion_pipeline_tests.intake.conftest import as_intake

KEYS = ("property:macro:UNRATE:recent", "property:comps:dallas:recent", "market:SPX:latest")


@pytest.fixture
def found(database_url: str, settings: Settings) -> Services:
    """Services that log in as the intake, with three keys in their cache."""
    given = settings.model_dump() | {"database_url": as_intake(database_url)}
    made = services(Settings(**given))
    fill(made)
    return made


def fill(made: Services) -> None:
    for key in KEYS:
        made.cache.set(key, 1, ttl_seconds=600)


def kept(made: Services) -> list[str]:
    return [key for key in KEYS if made.cache.get(key) is not None]


def record(connection: psycopg.Connection[Any], *patterns: str, event_type: str = "comps.upsert") -> None:
    event = IngestionEvent(
        event_type=event_type, source="test", processing_time_ms=1, cache_keys_invalidated=list(patterns)
    )
    record_ingestion(connection, event)


def reading(made: Services, steps: Callable[[Invalidations], Awaitable[None]], warmers: Sequence[Warmer] = ()) -> None:
    """Runs `steps` with a reader over an open pool."""

    async def run() -> None:
        await made.pool.open()
        reader = Invalidations(made, warmers)
        try:
            await steps(reader)
        finally:
            await reader.close()
            await made.pool.close()

    asyncio.run(run())


async def true(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not claim():  # noqa: ASYNC110 - what it is about tells nobody
            await asyncio.sleep(0.02)


def test_what_an_event_names_is_forgotten(found: Services, database_url: str) -> None:
    """By key or by pattern; an event that names nothing changes nothing."""

    async def steps(reader: Invalidations) -> None:
        await reader.read()
        with psycopg.connect(database_url) as connection:
            record(connection)
            record(connection, "property:macro:UNRATE*", "market:SPX:latest")
        await reader.read()
        assert ["property:comps:dallas:recent"] == kept(found)

    reading(found, steps)


def test_an_event_is_applied_once(found: Services, database_url: str) -> None:
    """What was loaded after it stays."""

    async def steps(reader: Invalidations) -> None:
        with psycopg.connect(database_url) as connection:
            record(connection, "property:*")
        await reader.read()
        fill(found)
        await reader.read()
        assert list(KEYS) == kept(found)

    reading(found, steps)


def test_an_event_that_commits_after_a_later_one_is_applied(found: Services, database_url: str) -> None:
    """Its id is the smaller one."""

    async def steps(reader: Invalidations) -> None:
        await reader.read()
        with psycopg.connect(database_url) as slow:
            record(slow, "property:macro:*")
            with psycopg.connect(database_url) as quick:
                record(quick, "market:*")
            await reader.read()
            assert list(KEYS[:2]) == kept(found)
        await reader.read()
        assert ["property:comps:dallas:recent"] == kept(found)

    reading(found, steps)


def test_an_event_that_was_open_when_the_process_started_is_applied(found: Services, database_url: str) -> None:
    """The newest ids are read again at the start."""

    async def steps(reader: Invalidations) -> None:
        with psycopg.connect(database_url) as slow:
            record(slow, "property:macro:*")
            with psycopg.connect(database_url) as quick:
                record(quick)
            await reader.read()
            assert list(KEYS) == kept(found)
        await reader.read()
        assert list(KEYS[1:]) == kept(found)

    reading(found, steps)


def test_an_event_that_was_rolled_back_is_not_asked_for_for_ever(
    found: Services, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a minute its id is given up."""

    async def steps(reader: Invalidations) -> None:
        await reader.read()
        with psycopg.connect(database_url) as connection:
            record(connection, "property:macro:*")
            connection.rollback()
            record(connection)
        await reader.read()
        assert 1 == len(reader._missing)
        monkeypatch.setattr("ingestion_pipeline.intake.invalidations.LATE_SECONDS", 0.0)
        await reader.read()
        assert {} == reader._missing

    reading(found, steps)


def test_ten_thousand_events_are_applied_in_one_reading(found: Services, database_url: str) -> None:
    """The daemon was stopped, then started."""

    async def steps(reader: Invalidations) -> None:
        await reader.read()
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "insert into operations.ingestion_events "
                "(event_type, source, processing_time_ms, cache_keys_invalidated) "
                "select 'comps.upsert', 'test', 1, array['property:comps:market-' || n % 50 || '*'] "
                "from generate_series(1, 10000) as n"
            )
            record(connection, "property:comps:dallas*")
        await reader.read()
        assert [KEYS[0], KEYS[2]] == kept(found)
        assert {} == reader._missing

    reading(found, steps)


def test_the_task_goes_on_after_an_outage_and_after_a_defect(
    found: Services, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded meanwhile is applied when PostgreSQL is back."""
    monkeypatch.setattr("ingestion_pipeline.intake.invalidations.READ_SECONDS", 0.02)
    deleted: list[str] = []
    delete = found.cache.delete

    def failing_once(*patterns: str) -> None:
        deleted.extend(patterns)
        if "defect" in patterns:
            raise ZeroDivisionError
        delete(*patterns)

    monkeypatch.setattr(found.cache, "delete", failing_once)

    async def steps(reader: Invalidations) -> None:
        await reader.start()
        with psycopg.connect(database_url) as connection:
            record(connection, "defect")
        await true(lambda: "defect" in deleted)
        with without_connections(database_url):
            await true(lambda: reader._is_away)
        with psycopg.connect(database_url) as connection:
            record(connection, "property:*", "market:*")
        await true(lambda: kept(found) == [])

    reading(found, steps)


@contextmanager
def without_connections(database_url: str) -> Iterator[None]:
    """The database takes nobody in, and has thrown out who was there."""
    server, _, name = database_url.partition("?")[0].rpartition("/")
    options = database_url.partition("?")[2]
    with psycopg.connect(f"{server}/postgres?{options}", autocommit=True) as owner:
        owner.execute(f"alter database {name} allow_connections false")
        owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        yield
        owner.execute(f"alter database {name} allow_connections true")


def test_a_cache_in_memory_is_warmed_after_the_worker_warmed_its_own(found: Services, database_url: str) -> None:
    """With the stores of the intake; a second event during the warming adds no second one."""
    seen: list[Stores] = []
    may_end = threading.Event()

    def fill_slowly(stores: Stores) -> int:
        seen.append(stores)
        assert may_end.wait(timeout=30)
        stores.cache.set("warm", stores.postgres.read("property_series", {"limit": 1}), ttl_seconds=60)
        return 1

    async def steps(reader: Invalidations) -> None:
        for _ in range(2):
            with psycopg.connect(database_url) as connection:
                record(connection, event_type="cache.warming")
            await reader.read()
        may_end.set()
        await true(lambda: found.cache.get("warm") == [])
        assert 1 == len(seen)

    reading(found, steps, [Warmer("test", fill_slowly)])


def test_a_cache_in_redis_is_not_warmed_twice(found: Services, database_url: str) -> None:
    """The worker has done it for everybody."""
    seen: list[Stores] = []
    shared = Services(**{**vars(found), "cache": FallbackCache(MemoryCache(), MemoryCache())})

    async def steps(reader: Invalidations) -> None:
        with psycopg.connect(database_url) as connection:
            record(connection, event_type="cache.warming")
        await reader.read()
        assert reader._warming is None

    reading(shared, steps, [Warmer("test", lambda stores: seen.append(stores) or 1)])


def test_it_is_a_part_of_the_intake_without_endpoints(found: Services) -> None:
    """Started with the others, and gone at the end."""

    async def run() -> None:
        domain = invalidations(found, [])
        assert [] == list(domain.endpoints)
        await found.pool.open()
        await domain.startup()
        tasks = [task for task in asyncio.all_tasks() if task.get_name() == "cache-invalidations"]
        await domain.shutdown()
        await found.pool.close()
        assert [True] == [task.done() for task in tasks]

    asyncio.run(run())
