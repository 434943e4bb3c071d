"""What endpoints work with: settings, a pool of connections, the cache. Opened when the application starts."""

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.intake.addresses import ClientAddresses
from ingestion_pipeline.intake.callers import Callers
from ingestion_pipeline.intake.rates import RateLimits
from ingestion_pipeline.intake.request_log import RequestLog
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import Cache, cache
from ingestion_pipeline.storage.postgres import CONNECT_TIMEOUT_SECONDS, normalised_url

CONNECTION_SECONDS = 3.0
RECONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Services:
    """`database_url` and `pool` log in as the intake's role; the pool's connections speak UTC.

    They commit where their block ends well, and raise psycopg's errors; one that means that PostgreSQL is away becomes
    503 by itself. `cache` may ask Redis and then blocks: call it with `asyncio.to_thread`.
    """

    settings: Settings
    database_url: str
    pool: AsyncConnectionPool[AsyncConnection]
    cache: Cache
    callers: Callers
    limits: RateLimits
    addresses: ClientAddresses
    request_log: RequestLog

    async def open(self) -> None:
        """Starts what works in the background; PostgreSQL may come later."""
        await self.pool.open(wait=False)
        await self.callers.start()
        self.request_log.start()

    async def close(self) -> None:
        await self.callers.close()
        await self.request_log.close()
        await self.limits.close()
        await self.pool.close(timeout=1)


def services(settings: Settings) -> Services:
    """The services of `settings`, not yet open.

    Raises:
        ConfigurationError: there is no database.
    """
    url = settings.intake_database_url or settings.database_url
    if url is None:
        raise ConfigurationError("DATABASE_URL", "", "the URL of a PostgreSQL database")
    database_url = normalised_url(url.get_secret_value(), driver="")
    pool: AsyncConnectionPool[AsyncConnection] = AsyncConnectionPool(
        database_url,
        kwargs={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "ingestion-pipeline-intake",
            "options": "-c timezone=UTC",
        },
        min_size=1,
        max_size=settings.intake_connections,
        timeout=CONNECTION_SECONDS,
        reconnect_timeout=RECONNECT_SECONDS,
        open=False,
    )
    return Services(
        settings=settings,
        database_url=database_url,
        pool=pool,
        cache=cache(settings),
        callers=Callers(settings, pool),
        limits=RateLimits(settings),
        addresses=ClientAddresses(settings.trusted_proxies),
        request_log=RequestLog(pool),
    )
