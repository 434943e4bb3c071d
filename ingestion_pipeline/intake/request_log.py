"""The log of requests: one row each in `operations.api_requests`, written in blocks behind the answers.

A request costs one line of text in memory. A task writes what has gathered every second, or sooner when there is much;
while PostgreSQL is away rows wait, up to a bound, and what does not fit is counted and dropped.
"""

import asyncio
from collections import deque
from contextlib import suppress

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.intake.exchange import Exchange

WRITE_SECONDS = 1.0
WRITE_ROWS = 500
MOST_WAITING = 50_000
ROWS_PER_BLOCK = 5_000
CONNECTION_SECONDS = 2.0
CLOSE_SECONDS = 3.0
_COLUMNS = (
    "occurred_at, request_id, method, path, status, duration_ms, "
    "request_bytes, response_bytes, caller, cache_hit, market"
)
# COPY does not go into a table with row-level security; this one is made once a connection
_STAGE = "create temporary table if not exists incoming_requests (like operations.api_requests) on commit delete rows"
_COPY = f"copy pg_temp.incoming_requests ({_COLUMNS}) from stdin"
_INSERT = f"insert into operations.api_requests ({_COLUMNS}) select {_COLUMNS} from pg_temp.incoming_requests"
_NULL = r"\N"
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": "\ufffd"})

_log = structlog.get_logger(__name__)


class RequestLog:
    """Takes exchanges from requests, gives blocks to PostgreSQL."""

    def __init__(self, pool: AsyncConnectionPool, *, most_waiting: int = MOST_WAITING) -> None:
        self._pool = pool
        self._most_waiting = most_waiting
        self._lines: deque[str] = deque()
        self._is_much = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        self._is_away = False
        self._is_over = False

    def add(self, exchange: Exchange, seconds: float) -> None:
        """Keeps `exchange`, which took `seconds`; never waits, never raises."""
        if len(self._lines) >= self._most_waiting:
            self.dropped += 1
            metrics.counter("request_log_dropped_total")
            if self.dropped == 1:
                _log.warning("request log is full: rows are dropped until PostgreSQL takes them again")
            return
        self._lines.append(_line(exchange, seconds))
        if len(self._lines) == WRITE_ROWS:
            self._is_much.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._write_until_over(), name="request-log")

    async def close(self) -> None:
        """Writes what still waits, as far as PostgreSQL takes it soon."""
        self._is_over = True
        self._is_much.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._task:
                    await self._task
                await self.write()
        if self._lines or self.dropped:
            _log.warning("requests are missing from the log", lost=len(self._lines) + self.dropped)

    async def write(self) -> None:
        """Writes everything that waits; what PostgreSQL cannot take now waits on."""
        while self._lines:
            block = [self._lines.popleft() for _ in range(min(ROWS_PER_BLOCK, len(self._lines)))]
            try:
                await self._write_block("".join(block).encode())
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                self._lines.extendleft(reversed(block))
                self._lose(error)
                return
            except psycopg.Error as error:
                _log.error("request log rows are refused", rows=len(block), reason=type(error).__name__)
            self._find()

    async def _write_until_over(self) -> None:
        while not self._is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._is_much.wait()
            self._is_much.clear()
            await self.write()

    async def _write_block(self, block: bytes) -> None:
        async with self._pool.connection(CONNECTION_SECONDS) as connection, connection.cursor() as cursor:
            await cursor.execute("set local synchronous_commit = off; set local client_min_messages = warning")
            await cursor.execute(_STAGE)
            async with cursor.copy(_COPY) as copy:
                await copy.write(block)
            await cursor.execute(_INSERT)

    def _lose(self, error: Exception) -> None:
        if not self._is_away:
            _log.warning("request log waits: PostgreSQL is away", reason=type(error).__name__)
        self._is_away = True

    def _find(self) -> None:
        if self.dropped:
            _log.warning("requests are missing from the log", lost=self.dropped)
        self._is_away, self.dropped = False, 0


def _line(exchange: Exchange, seconds: float) -> str:
    """A row as COPY's text format; id, method and path are of known characters."""
    cache_hit = _NULL if exchange.cache_hit is None else "tf"[not exchange.cache_hit]
    return (
        f"{utc_now().isoformat()}\t{exchange.request_id}\t{exchange.method}\t{exchange.path}\t{exchange.status}\t"
        f"{seconds * 1000:.3f}\t{exchange.request_bytes}\t{exchange.response_bytes}\t{_text(exchange.caller)}\t"
        f"{cache_hit}\t{_text(exchange.market)}\n"
    )


def _text(value: str | None) -> str:
    if value is None:
        return _NULL
    return value.encode("utf-8", "replace").decode().translate(_ESCAPES)
