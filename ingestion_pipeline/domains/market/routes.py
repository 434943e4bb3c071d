"""The HTTP endpoints of the market domain: S1's ingestion on demand and by a cron, both by a job that is waited for."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.domains.market import routes_openapi as openapi
from ingestion_pipeline.domains.market.jobs import MARKET_INGEST, Symbols, first_unknown
from ingestion_pipeline.intake.bodies import decode
from ingestion_pipeline.intake.endpoints import SCHEDULER, Answer, Call, Endpoint, HttpDomain, json_answer
from ingestion_pipeline.intake.owners import owner_of
from ingestion_pipeline.intake.parameters import refused
from ingestion_pipeline.intake.problems import FieldError
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.waiting import enqueue_and_wait, output_or_problem, still_working, wait_seconds
from ingestion_pipeline.storage.jobs import NewJob

MAX_BODY_BYTES = 131_072


class IngestBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/ingest."""

    symbols: Symbols | None = None


_BODY = msgspec.json.Decoder(IngestBody)


def http(services: Services) -> HttpDomain:
    """The domain's part of the intake."""
    ingestion = Ingestion(services)
    shared: dict[str, Any] = {"parameters": [openapi.WAIT], "responses": openapi.RESPONSES}
    return HttpDomain(
        endpoints=[
            Endpoint(
                method="POST",
                path="/api/ingest",
                handler=ingestion.ingest,
                access=("ingest:write",),
                summary="Ingest market data now",
                description="Asked again while it goes on, it is the same job.",
                request_schema=openapi.INGEST,
                examples=openapi.INGEST_EXAMPLES,
                is_body_optional=True,
                max_body_bytes=MAX_BODY_BYTES,
                **shared,
            ),
            Endpoint(
                method="GET",
                path="/api/cron",
                handler=ingestion.cron,
                access=(SCHEDULER,),
                summary="Ingest market data, for a scheduler",
                **shared,
            ),
        ]
    )


class Ingestion:
    """Answers them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ingest(self, call: Call) -> Answer:
        """POST /api/ingest."""
        body = decode(call.body, _BODY) if call.body else IngestBody()
        symbols = None if body.symbols is None else self._known(body.symbols)
        return await self._ingested(call, symbols, "manual")

    async def cron(self, call: Call) -> Answer:
        """GET /api/cron."""
        return await self._ingested(call, None, "cron")

    async def _ingested(self, call: Call, symbols: list[str] | None, trigger: Literal["manual", "cron"]) -> Answer:
        seconds = wait_seconds(call, self._services)
        new = NewJob(
            job_type=MARKET_INGEST.name,
            owner_id=owner_of(call.caller),
            input_data={"symbols": symbols, "trigger": trigger},
            unique_key=digest({"symbols": symbols, "trigger": trigger}),
            max_attempts=MARKET_INGEST.max_attempts,
            request_id=call.request_id,
        )
        job = await enqueue_and_wait(self._services, new, seconds)
        result = output_or_problem(job)
        return still_working(job) if result is None else json_answer(200, {"status": "success", "result": result})

    def _known(self, symbols: Sequence[str]) -> list[str]:
        markets, asked = self._services.settings.ingestion_markets, [symbol.upper() for symbol in symbols]
        if unknown := first_unknown(asked, markets):
            index, _, near = unknown
            raise refused(FieldError(f"symbols[{index}]", " or ".join(near or markets), symbols[index]))
        return sorted(set(asked))
