"""The service's own endpoints: health, the status page, the OpenAPI document and a page that shows it.

Pages are whole: no script, no style and no font comes from elsewhere, so that they work on a machine without internet.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import msgspec
import psycopg
from psycopg_pool import PoolTimeout

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.intake.documentation import documentation
from ingestion_pipeline.intake.endpoints import HTML, PUBLIC, Answer, Call, Endpoint, HttpDomain, Response, json_answer
from ingestion_pipeline.intake.problems import retry_after
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.status_page import StatusPage
from ingestion_pipeline.intake.status_sections import Section
from ingestion_pipeline.intake.status_style import STATUS_STYLE

HEALTH_SECONDS = 1.0
POSTGRES_SECONDS = 1.0
CSP = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
_HEALTH = {
    "type": "object",
    "required": ["status", "timestamp"],
    "properties": {
        "status": {"enum": ["ok", "unavailable"]},
        "timestamp": {"type": "string", "format": "date-time"},
        "unavailable": {"type": "array", "items": {"type": "string"}},
    },
}
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}td.n,th.n{text-align:right}
code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#f5f5f5;padding:.8rem;overflow:auto}
.ok{color:#0a6b2d}.bad{color:#b00020}.method{font-weight:600}details{margin:.6rem 0}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#e8e8e8}th,td{border-color:#333}pre{background:#22252b}
a{color:#8ab4f8}.ok{color:#6fcf97}.bad{color:#ff8a80}}
"""


def service_domain(
    services: Services, document: Callable[[], dict[str, Any]], sections: Sequence[Section] = ()
) -> HttpDomain:
    """The endpoints that exist whatever the domains are; `sections` are what they show on the status page, in order."""
    status = StatusPage(services, sections)
    pages = _Pages(services, document, status)
    page = {200: Response(description="The page.", content_type="text/html")}
    return HttpDomain(
        endpoints=[
            Endpoint(
                method="GET",
                path="/health",
                handler=pages.health,
                access=(PUBLIC,),
                summary="Whether the service can do its work",
                description="200 when PostgreSQL answers, 503 with the store that is away when it does not.",
                responses={
                    200: Response(description="It can.", schema=_HEALTH),
                    503: Response(description="It cannot.", schema=_HEALTH),
                },
            ),
            Endpoint(
                method="GET", path="/", handler=pages.status, access=(PUBLIC,), summary="Status page", responses=page
            ),
            Endpoint(
                method="GET", path="/docs", handler=pages.docs, access=(PUBLIC,), summary="This API", responses=page
            ),
            Endpoint(
                method="GET",
                path="/openapi.json",
                handler=pages.openapi,
                access=(PUBLIC,),
                summary="This API as an OpenAPI document",
                responses={200: Response(description="The document.", schema={"type": "object"})},
            ),
        ],
        shutdown=status.close,
    )


class _Pages:
    def __init__(self, services: Services, document: Callable[[], dict[str, Any]], status: StatusPage) -> None:
        self._services = services
        self._document = document
        self._status = status
        self._ask = asyncio.Lock()
        self._asked_at = float("-inf")
        self._is_there = False

    async def health(self, _: Call) -> Answer:
        is_there = await self._is_postgres_there()
        body: dict[str, Any] = {"status": "ok" if is_there else "unavailable", "timestamp": utc_now()}
        if is_there:
            return json_answer(200, body)
        return json_answer(503, {**body, "unavailable": ["PostgreSQL"]}, (retry_after(HEALTH_SECONDS),))

    async def status(self, _: Call) -> Answer:
        body = await self._status.body(is_postgres_there=await self._is_postgres_there())
        return _page("Ingestion pipeline", body, _STYLE + STATUS_STYLE)

    async def docs(self, _: Call) -> Answer:
        return _page("API of the ingestion pipeline", documentation(self._document()))

    async def openapi(self, _: Call) -> Answer:
        return Answer(200, msgspec.json.encode(self._document()))

    async def _is_postgres_there(self) -> bool:
        """Asked at most once a second, by one call for all."""
        async with self._ask:
            if time.monotonic() - self._asked_at > HEALTH_SECONDS:
                self._is_there = await self._ping()
                self._asked_at = time.monotonic()
            return self._is_there

    async def _ping(self) -> bool:
        try:
            async with asyncio.timeout(POSTGRES_SECONDS), self._services.pool.connection() as connection:
                await connection.execute("select 1")
        except (psycopg.Error, PoolTimeout, TimeoutError):
            return False
        return True


def _page(title: str, body: str, style: str = _STYLE) -> Answer:
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
        f"<body>{body}</body></html>"
    )
    return Answer(200, text.encode(), (CSP,), HTML)
