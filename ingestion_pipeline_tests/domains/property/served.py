"""The intake with what reads property data, keeps its cache true and warms it, as a process of its own.

`python -m ingestion_pipeline_tests.domains.property.served` serves it.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.domains.operations.warming import warming_endpoints
from ingestion_pipeline.domains.property import routes
from ingestion_pipeline.domains.property.reads import WARMERS
from ingestion_pipeline.intake.callers import token_digest
from ingestion_pipeline.intake.endpoints import HttpDomain
from ingestion_pipeline.intake.invalidations import invalidations
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.intake.process import Intake, running

SERVED = ("-m", "ingestion_pipeline_tests.domains.property.served")
READER, STRANGER = {"x-app-token": "token-that-reads-property"}, {"x-app-token": "token-that-reads-events"}


def keeping(services: Services) -> HttpDomain:
    return invalidations(services, WARMERS)


def warming(services: Services) -> HttpDomain:
    return HttpDomain(endpoints=warming_endpoints(services))


@dataclass
class Served:
    """A running intake and the database behind it as the worker sees it."""

    intake: Intake
    postgres: Postgres

    def get(self, path: str, headers: dict[str, str] = READER, **parameters: Any) -> httpx.Response:
        return self.intake.client.get(f"/api/property/{path}", headers=headers, params=parameters)


@contextmanager
def served(server: EmbeddedServer, home: Path, **over: str) -> Iterator[Served]:
    """The intake over a database of its own."""
    with migrated_database(server) as url:
        with psycopg.connect(url) as owner:
            for headers, scope in ((READER, "property:read"), (STRANGER, "events:read")):
                owner.execute(
                    "insert into operations.app_tokens (name, digest, scopes) values (%s, %s, array[%s])",
                    [scope.replace(":", "-"), token_digest(headers["x-app-token"]).hex(), scope],
                )
        with (
            closing(Postgres(url.replace("postgres@", "pipeline_worker@", 1))) as postgres,
            running(url.replace("postgres@", "pipeline_intake@", 1), home, SERVED, **over) as intake,
        ):
            yield Served(intake, postgres)


if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=[routes.http, keeping, warming]), tell=print)
