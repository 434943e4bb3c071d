"""The intake with the endpoints of jobs and of market ingestion, in a process of its own, over a queue that tests work on.

`python -m ingestion_pipeline_tests.domains.operations.served_jobs` serves it.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import msgspec
import psycopg

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.domains.market import routes as market
from ingestion_pipeline.domains.market.jobs import MARKET_INGEST
from ingestion_pipeline.domains.operations.job_routes import job_endpoints
from ingestion_pipeline.intake.callers import token_digest
from ingestion_pipeline.intake.endpoints import HttpDomain
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.jobs import ClaimedJob, Job, JobQueue
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.intake.process import JWT_SECRET, Intake, running

SERVED = ("-m", "ingestion_pipeline_tests.domains.operations.served_jobs")
WAIT_SECONDS = 60.0
LIMITS: dict[str, int | None] = {"toy": None, "doll": None, "market_ingest": None}
TOKENS = {"writer": "{jobs:write}", "other": "{jobs:write}", "keeper": "{jobs:admin}", "feeder": "{ingest:write}"}


class Count(msgspec.Struct, forbid_unknown_fields=True):
    n: int = 1


def require_market(given: Count, market_slug: str | None, _: Settings) -> None:
    """More than a thousand are counted in a market only."""
    if given.n > 1_000 and market_slug is None:
        raise ContractError("toy", "market_slug", "None", "a market")


TYPES = [
    JobType(name="toy", summary="for tests", input_type=Count, max_attempts=2, check=require_market),
    JobType(name="doll", summary="not for persons", input_type=Count),
    MARKET_INGEST,
]


def jobs(services: Services) -> HttpDomain:
    return HttpDomain(endpoints=job_endpoints(services, TYPES, for_persons={"toy"}))


@dataclass
class Served:
    """A running intake, the queue behind it as workers see it, and the database as its owner does."""

    intake: Intake
    queue: JobQueue
    owner: psycopg.Connection[Any]

    def post(self, path: str, who: dict[str, str], body: Any = None) -> httpx.Response:
        headers = {"content-type": "application/json", **who} if body is not None else who
        content = msgspec.json.encode(body) if body is not None else b""
        return self.intake.client.post(path, content=content, headers=headers)

    def get(self, path: str, who: dict[str, str], **parameters: Any) -> httpx.Response:
        return self.intake.client.get(path, headers=who, params=parameters)

    def claimed(self) -> ClaimedJob:
        """The next job, as soon as there is one."""
        (job,) = eventually(lambda: self.queue.claim("w", LIMITS))
        return job

    def job(self, job_id: str) -> Job:
        found = self.queue.job(job_id)
        assert found is not None
        return found

    def clear(self) -> None:
        """No jobs, whatever state they are in."""
        self.owner.execute("truncate operations.jobs cascade")


@contextmanager
def served(server: EmbeddedServer, home: Path) -> Iterator[Served]:
    """The intake over a database of its own."""
    with migrated_database(server) as url, psycopg.connect(url, autocommit=True) as owner:
        for token, scopes in TOKENS.items():
            owner.execute(
                "insert into operations.app_tokens (name, digest, scopes) values (%s, %s, %s)",
                [token, token_digest(token).hex(), scopes],
            )
        settings = {"JOB_WAIT_SECONDS": str(WAIT_SECONDS), "INTAKE_CONNECTIONS": "4"}
        with (
            closing(Postgres(url.replace("postgres@", "pipeline_worker@", 1))) as postgres,
            running(url.replace("postgres@", "pipeline_intake@", 1), home, SERVED, **settings) as intake,
        ):
            yield Served(intake, JobQueue(postgres), owner)


def application(name: str) -> dict[str, str]:
    """The headers of one of TOKENS."""
    return {"x-app-token": name}


def person(subject: str) -> dict[str, str]:
    claims = {"sub": subject, "aud": "authenticated", "exp": int(time.time()) + 86_400}
    return {"authorization": f"Bearer {jwt.encode(claims, JWT_SECRET, algorithm='HS256')}"}


if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=[jobs, market.http]), tell=print)
