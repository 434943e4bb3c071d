"""The intake with the administration endpoints: `python -m ingestion_pipeline_tests.domains.events.administered`.

Serves them whether the domain mounts them already or not.
"""

from dataclasses import replace

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.domains.events import routes
from ingestion_pipeline.domains.events.admin_routes import admin_endpoints
from ingestion_pipeline.intake.endpoints import HttpDomain
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.settings import Settings

ADMINISTERED = ("-m", "ingestion_pipeline_tests.domains.events.administered")


def events(services: Services) -> HttpDomain:
    domain = routes.http(services)
    endpoints = [*domain.endpoints, *admin_endpoints(services)]
    return replace(domain, endpoints=list({(each.method, each.path): each for each in endpoints}.values()))


if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=[events]), tell=print)
