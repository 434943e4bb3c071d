"""From this process's metrics (core/metrics.py) to those of all, in PostgreSQL: one call of a SQL function for a batch.

Nothing waits for it and nothing fails because of it: what cannot be stored while PostgreSQL is away is added to what is
measured next; what it refuses is dropped, with a log line.
"""

from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.core.metrics import Metrics, Series, metrics
from ingestion_pipeline.storage.postgres import Postgres

CONNECTION_SECONDS = 2.0
_ADD = "select operations.add_metrics(%s)"
_SOON = "set local synchronous_commit = off"

_AWAY = (StoreUnavailableError, psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)

_log = structlog.get_logger(__name__)


def store_metrics(postgres: Postgres, *, measured: Metrics = metrics) -> None:
    """Stores what has gathered since the last time; keeps it while PostgreSQL is away."""
    if not (series := measured.take()):
        return
    try:
        with postgres.transaction() as connection:
            connection.execute(_SOON)
            connection.execute(_ADD, [_document(series)])
    except (StoreUnavailableError, psycopg.Error) as error:
        _keep(measured, series, error)


async def store_metrics_soon(pool: AsyncConnectionPool[Any], *, measured: Metrics = metrics) -> None:
    """The same where the connections are a pool's."""
    if not (series := measured.take()):
        return
    try:
        async with pool.connection(CONNECTION_SECONDS) as connection:
            await connection.execute(_SOON)
            await connection.execute(_ADD, [_document(series)])
    except (psycopg.Error, PoolTimeout) as error:
        _keep(measured, series, error)


def _keep(measured: Metrics, series: list[Series], error: Exception) -> None:
    if isinstance(error, _AWAY):
        measured.put_back(series)
        _log.debug("metrics wait", series=len(series), reason=type(error).__name__)
    else:
        _log.error("metrics are refused", series=len(series), reason=str(error))


def _document(series: list[Series]) -> Jsonb:
    return Jsonb(
        [
            {
                "name": one.name,
                "type": one.type,
                "labels": dict(one.labels),
                "value": one.value,
                "sample_count": one.sample_count,
                "bounds": one.bounds,
                "counts": one.counts,
            }
            for one in series
        ]
    )
