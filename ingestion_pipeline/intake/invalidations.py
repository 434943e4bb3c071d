"""Forgets what ingestion made invalid: every second the intake reads the new rows of operations.ingestion_events.

That is how a cache in this process's memory learns of what runs elsewhere have done; with Redis it repeats what they
have deleted there themselves. After a `cache.warming` a cache in memory is warmed here.

Ids are given before a transaction commits: an id that is missing among those read is asked for again for a minute.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from ingestion_pipeline.intake.endpoints import HttpDomain
from ingestion_pipeline.intake.owners import acting_as_operator
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import WARMING_EVENT, Stores, Warmer, warm_all

READ_SECONDS = 1.0
LATE_SECONDS = 60.0
"""How long after a later one the transaction of an ingestion may commit."""
READ_AGAIN = 1_000
"""How many ids before the newest are read at the start: their transactions may be open."""

_NEW = """
select ingestion_event_id, event_type, cache_keys_invalidated
from operations.ingestion_events
where ingestion_event_id > %s or ingestion_event_id = any(%s)
order by ingestion_event_id
"""
_NEWEST = "select coalesce(max(ingestion_event_id), 0) from operations.ingestion_events"

_log = structlog.get_logger(__name__)


def invalidations(services: Services, warmers: Sequence[Warmer]) -> HttpDomain:
    """The task, as a part of the intake without endpoints."""
    reader = Invalidations(services, warmers)
    return HttpDomain(endpoints=[], startup=reader.start, shutdown=reader.close)


class Invalidations:
    """Reads what ingestion has recorded since the last time, and applies it to the cache of this process."""

    def __init__(self, services: Services, warmers: Sequence[Warmer]) -> None:
        self._services = services
        self._warmers = warmers
        self._last: int | None = None
        self._missing: dict[int, float] = {}
        self._is_away = False
        self._task: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._read_forever(), name="cache-invalidations")

    async def close(self) -> None:
        for task in (self._task, self._warming):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def read(self) -> None:
        """Applies what is new.

        Raises:
            psycopg.Error, PoolTimeout: PostgreSQL is away; what is missed is read later.
        """
        rows = await self._new_rows()
        patterns = sorted({pattern for _, _, keys in rows for pattern in keys})
        if patterns:
            await asyncio.to_thread(self._services.cache.delete, *patterns)
        is_asked_for = any(event_type == WARMING_EVENT for _, event_type, _ in rows)
        if is_asked_for and isinstance(self._services.cache, MemoryCache):
            self._warm()

    async def _read_forever(self) -> None:
        while True:
            try:
                await self.read()
            except (psycopg.Error, PoolTimeout) as error:
                if not self._is_away:
                    _log.warning("invalidations cannot be read", reason=type(error).__name__)
                self._is_away = True
            except Exception:  # noqa: BLE001 - a cache that nobody invalidates any more would be worse
                _log.exception("invalidations could not be applied")
            else:
                self._is_away = False
            await asyncio.sleep(READ_SECONDS)

    async def _new_rows(self) -> list[tuple[Any, ...]]:
        async with acting_as_operator(self._services) as connection:
            if self._last is None:
                newest = await (await connection.execute(_NEWEST)).fetchone()
                self._last = max(0, (newest or (0,))[0] - READ_AGAIN)
            rows = await (await connection.execute(_NEW, [self._last, list(self._missing)])).fetchall()
        self._remember({row[0] for row in rows}, self._last)
        return rows

    def _remember(self, ids: set[int], last: int) -> None:
        """Notes which ids are missing; those that have been for too long were rolled back, or purged."""
        now = time.monotonic()
        self._last = max((last, *ids))
        awaited = {it: since for it, since in self._missing.items() if now - since < LATE_SECONDS}
        awaited |= dict.fromkeys(range(last + 1, self._last), now)
        self._missing = {it: since for it, since in awaited.items() if it not in ids}

    def _warm(self) -> None:
        if self._warming is None or self._warming.done():
            self._warming = asyncio.create_task(asyncio.to_thread(self._warm_all), name="cache-warming")

    def _warm_all(self) -> None:
        postgres = Postgres(self._services.database_url)
        try:
            warmed = warm_all(self._warmers, Stores(self._services.settings, postgres, self._services.cache))
        finally:
            postgres.close()
        _log.info("cache warmed", **warmed.counts)
