"""Dagster's instance for a process that makes many runs itself. Nothing about jobs, assets or what they did."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from sqlalchemy import Connection, Engine, event

POOL_RECYCLE_SECONDS = 3_600
POOL_OVERFLOW = 5


@contextmanager
def pooled_instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's instance over connections that are kept until the block ends.

    By itself it opens one for every event, up to half of the time of a run. The pool that it has for the webserver is
    never closed, so we do it: the embedded server stops only when nobody is connected.
    """
    engines: set[Engine] = set()

    def remember(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", remember)
    try:
        with dg.DagsterInstance.get() as instance:
            instance.optimize_for_webserver(
                statement_timeout=0, pool_recycle=POOL_RECYCLE_SECONDS, max_overflow=POOL_OVERFLOW
            )
            yield instance
    finally:
        event.remove(Engine, "engine_connect", remember)
        for engine in engines:
            engine.dispose()
