"""GET /api/health/data: whether the data can be trusted, in bytes that are ready before anybody asks.

A task reads the figures every second and makes the answer; a request only hands it out. So it costs next to nothing,
and is there while PostgreSQL is away: the answer then says that, with what was last known. The connection is its own:
that all of the intake's are in use says nothing of PostgreSQL.
"""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.operations.health import Judgement, Standing, settled
from ingestion_pipeline.domains.operations.health_document import Figures, credible, document
from ingestion_pipeline.domains.operations.health_openapi import DESCRIPTION, RESPONSES
from ingestion_pipeline.intake.endpoints import PUBLIC, Answer, Call, Endpoint
from ingestion_pipeline.intake.problems import retry_after
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.postgres import CONNECT_TIMEOUT_SECONDS

REFRESH_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""From when on PostgreSQL counts as away."""
GIVE_UP_SECONDS = 10.0
AWAY = "PostgreSQL cannot be reached, or does not answer in time; what follows is what was last known"
BROKEN = "the figures could not be understood; the log of the intake says why"
_AS_OPERATOR = "-c timezone=UTC -c app.scope=operator -c statement_timeout=2s"
_FIGURES = "select operations.health_figures()"

_log = structlog.get_logger(__name__)


class HealthReport:
    """The endpoint with the task behind it: `start` before the first call, `close` after the last."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._figures: Figures | None = None
        self._ground: Standing | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._asking: asyncio.Task[Figures] | None = None
        self._task: asyncio.Task[None] | None = None
        self._answer = Answer(503, b"")

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="GET",
                path="/api/health/data",
                handler=self.health,
                access=(PUBLIC,),
                summary="Whether the data can be trusted",
                description=DESCRIPTION,
                responses=RESPONSES,
            )
        ]

    async def start(self) -> None:
        await self.refresh()
        self._task = asyncio.create_task(self._refresh_forever(), name="health")

    async def close(self) -> None:
        for task in filter(None, (self._task, self._asking)):
            task.cancel()
            with suppress(asyncio.CancelledError, psycopg.Error, TimeoutError):
                await task
        await self._disconnect()

    async def health(self, _: Call) -> Answer:
        return self._answer

    async def refresh(self) -> None:
        """Makes the answer of the next second."""
        figures = await self._ask()
        if figures is not None:
            self._figures = figures
        seen = Judgement("RED", (AWAY,)) if figures is None else credible(figures)
        before, self._ground = self._ground, settled(self._ground, seen, now=utc_now(), is_critical=True)
        if before is None or before.status != self._ground.status:
            _log.info(
                "health can be told" if self._ground.status == "GREEN" else "health is not known", reasons=seen.reasons
            )
        self._answer = _answer(document(self._figures, self._ground, self._services.settings))

    async def _ask(self) -> Figures | None:
        """The figures; None when PostgreSQL does not give them soon. What it has not answered is not asked again."""
        asking = self._asking = self._asking or asyncio.create_task(self._read(), name="health-figures")
        done, _ = await asyncio.wait({asking}, timeout=ANSWER_SECONDS)
        if not done:
            return None
        self._asking = None
        try:
            return asking.result()
        except (psycopg.Error, TimeoutError):
            await self._disconnect()
            return None

    async def _read(self) -> Figures:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._services.database_url,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    application_name="ingestion-pipeline-health",
                    options=_AS_OPERATOR,
                )
            row = await (await self._connection.execute(_FIGURES)).fetchone()
        assert row is not None  # noqa: S101 - a function returns one row
        figures: Figures = row[0]
        return figures

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except Exception:  # noqa: BLE001 - the answer of before must not be given for ever
                _log.exception("the answer of the health endpoint could not be made")
                broken = Standing(status="RED", since=utc_now(), reasons=(BROKEN,))
                self._answer = _answer(document(None, broken, self._services.settings))


def _answer(body: dict[str, Any]) -> Answer:
    if body["status"] == "RED":
        return Answer(503, msgspec.json.encode(body), (retry_after(REFRESH_SECONDS),))
    return Answer(200, msgspec.json.encode(body))
