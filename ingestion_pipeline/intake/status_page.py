"""The status page: sections of all domains, read together every few seconds, however many readers there are.

A reader gets what is there and a newer page is made behind them; only who comes after a while waits for it, and not for
long. While PostgreSQL is away the page says so over what was last read. A section that cannot be read, or shown, says
that and leaves the others alone.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from html import escape

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.status_sections import Html, Section, say
from ingestion_pipeline.storage.scopes import AS_OPERATOR

FRESH_SECONDS = 5.0
USABLE_SECONDS = 15.0
"""Older than this it is not handed out without waiting for a newer one."""
WAIT_SECONDS = 1.0
GIVE_UP_SECONDS = 10.0
MOST_SHARE = 0.1
"""Of the time that may be spent with reading, however much there is to read."""

AWAY = "PostgreSQL cannot be reached."
UNREADABLE = "This cannot be read now; the log of the intake says why."
_TIMEOUT = "set local statement_timeout = '2s'"

_log = structlog.get_logger(__name__)


class StatusPage:
    """Give it to readers with `body`; `close` it after the last."""

    def __init__(self, services: Services, sections: Sequence[Section]) -> None:
        self._services = services
        self._sections = sections
        self._content = Html("")
        self._read_at: datetime | None = None
        self._made_at = self._due_at = float("-inf")
        self._has_failed = False
        self._making: asyncio.Task[None] | None = None

    async def body(self, *, is_postgres_there: bool) -> str:
        """The HTML of now."""
        if is_postgres_there and time.monotonic() >= self._due_at:
            await self._renewed()
        settings = self._services.settings
        dagster = f"http://{settings.webserver_host}:{settings.webserver_port}"
        is_old = self._has_failed or not is_postgres_there
        return (
            f"<header><h1>Ingestion pipeline</h1><nav>"
            f'<a href="/docs">API</a> <a href="/openapi.json">OpenAPI</a> '
            f'<a href="/api/health/data">Health as JSON</a> '
            f'<a href="{escape(dagster)}">Dagster</a></nav></header>'
            f"{self._banner(is_postgres_there=is_postgres_there)}"
            f'<main class="{"old" if is_old else "new"}">{self._content}</main>'
        )

    async def close(self) -> None:
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)

    def _banner(self, *, is_postgres_there: bool) -> Html:
        read = "" if self._read_at is None else f"{self._read_at:%Y-%m-%d %H:%M:%S} UTC"
        if not is_postgres_there:
            return say(f"{AWAY} {f'What follows is of {read}.' if read else 'Nothing was read before that.'}", "bad")
        if self._has_failed:
            return say(f"{UNREADABLE} {f'What follows is of {read}.' if read else ''}", "bad")
        if not read:
            return say("The figures are being read: look again in a moment.")
        return say(f"As of {read}; PostgreSQL answers.")

    async def _renewed(self) -> None:
        """Starts making the next page, unless somebody has; waits only where there is none to hand out."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make(), name="status-page")
        if time.monotonic() - self._made_at > USABLE_SECONDS:
            await asyncio.wait({self._making}, timeout=WAIT_SECONDS)

    async def _make(self) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS), self._services.pool.connection() as connection:
                await connection.execute(AS_OPERATOR)
                await connection.execute(_TIMEOUT)
                content = [await _shown(section, connection) for section in self._sections]
        except (psycopg.Error, PoolTimeout, TimeoutError) as error:
            self._has_failed = True
            _log.warning("the status page cannot be read", reason=type(error).__name__)
        else:
            self._content, self._read_at = Html("".join(content)), utc_now()
            self._made_at, self._has_failed = time.monotonic(), False
        took = time.monotonic() - started
        self._due_at = time.monotonic() + max(FRESH_SECONDS, took / MOST_SHARE)


async def _shown(section: Section, connection: AsyncConnection) -> Html:
    try:
        async with connection.transaction():
            cursor = await connection.cursor(row_factory=dict_row).execute(section.query.encode())
            content = section.render(await cursor.fetchall())
    except Exception as error:  # one section must not take the page with it
        if connection.closed:
            raise
        _log.warning("a section of the status page is missing", section=section.title, reason=str(error))
        content = say(UNREADABLE, "bad")
    return Html(f"<section><h2>{escape(section.title)}</h2>{content}</section>")
