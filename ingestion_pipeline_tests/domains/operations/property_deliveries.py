"""The intake that takes the deliveries of the property domain, as a process of its own."""

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.domains.operations import webhooks_openapi
from ingestion_pipeline.domains.operations.webhooks import webhook_endpoints
from ingestion_pipeline.domains.property.contracts import DELIVERY_TYPES
from ingestion_pipeline.intake.endpoints import HttpDomain
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.settings import Settings

TYPES = tuple(DELIVERY_TYPES.values())


def inbox(services: Services) -> HttpDomain:
    return HttpDomain(endpoints=webhook_endpoints(services, TYPES), schemas=webhooks_openapi.schemas(TYPES))


if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=[inbox]), tell=print)
