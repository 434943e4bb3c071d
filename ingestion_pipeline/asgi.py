"""The HTTP process: every domain's endpoints in one application. Never imports Dagster.

Belongs here: which domains there are. Does not belong here: how a request is received (intake/), what an endpoint does
(domains/<d>/routes.py), how the process is run (intake/server.py).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI

from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.community import routes as community
from ingestion_pipeline.domains.community import status as community_status
from ingestion_pipeline.domains.events import routes as events
from ingestion_pipeline.domains.market import routes as market
from ingestion_pipeline.domains.market import status as market_status
from ingestion_pipeline.domains.operations import routes as operations
from ingestion_pipeline.domains.operations import status as operations_status
from ingestion_pipeline.domains.property import routes as property_data
from ingestion_pipeline.domains.sales import routes as sales
from ingestion_pipeline.intake.endpoints import CALLER_KINDS, HttpDomain
from ingestion_pipeline.intake.invalidations import invalidations
from ingestion_pipeline.intake.layer import IntakeLayer
from ingestion_pipeline.intake.openapi import openapi
from ingestion_pipeline.intake.pages import service_domain
from ingestion_pipeline.intake.routing import EndpointRoute
from ingestion_pipeline.intake.services import Services, services
from ingestion_pipeline.kinds import DELIVERY_TYPES, JOB_TYPES, WARMERS
from ingestion_pipeline.settings import Settings

TITLE, VERSION = "Ingestion pipeline", "1"
DESCRIPTION = (
    "Where applications send events and jobs, and ask for what became of them. Refusals are RFC 9457 problems."
)

Domain = Callable[[Services], HttpDomain]
DOMAINS: tuple[Domain, ...] = (
    events.http,
    market.http,
    property_data.http,
    sales.http,
    *community.PARTS,
    partial(operations.http, job_types=JOB_TYPES, delivery_types=DELIVERY_TYPES),
    partial(invalidations, warmers=WARMERS),
)
STATUS_SECTIONS = (
    operations_status.HEALTH,
    operations_status.QUEUES,
    operations_status.RATES,
    operations_status.FRESHNESS,
    community_status.LEADERBOARDS,
    market_status.MARKETS,
    operations_status.PATHS,
)


def create_app(settings: Settings | None = None, *, domains: Sequence[Domain] = DOMAINS) -> FastAPI:
    """The application, whose parts open when it is started.

    Raises:
        ConfigurationError: a setting is wrong, or there is no database.
    """
    settings = settings or Settings.from_environment()
    configure_logging(settings.log_level, style=settings.log_format, secrets=settings.secrets())
    found = services(settings)
    parts = [domain(found) for domain in domains]
    parts.append(service_domain(found, lambda: document, STATUS_SECTIONS))
    document = openapi(TITLE, VERSION, DESCRIPTION, parts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await found.open()
            stack.push_async_callback(found.close)
            for part in parts:
                await part.startup()
                stack.push_async_callback(part.shutdown)
            yield

    app = FastAPI(
        title=TITLE,
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry={"auto_configure": False},
    )
    app.openapi = lambda: document  # type: ignore[method-assign]
    app.router.redirect_slashes = False
    app.router.routes.append(EndpointRoute([endpoint for part in parts for endpoint in part.endpoints], found))
    app.add_middleware(IntakeLayer, services=found)
    return app


def application_scopes(database_url: str, *, domains: Sequence[Domain] = DOMAINS) -> frozenset[str]:
    """Every scope that a token can be given."""
    found = services(Settings.from_environment({"DATABASE_URL": database_url}))
    parts = [domain(found) for domain in domains]
    return frozenset(scope for part in parts for endpoint in part.endpoints for scope in endpoint.access) - CALLER_KINDS
