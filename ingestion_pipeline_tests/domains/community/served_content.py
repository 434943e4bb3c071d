"""The intake with the endpoints of the community's content, as a process of its own.

`python -m ingestion_pipeline_tests.domains.community.served_content` serves it.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
from psycopg.rows import dict_row

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.domains.community.content_routes import http
from ingestion_pipeline.intake.callers import token_digest
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.intake.process import CRON_SECRET, JSON, JWT_SECRET, Intake, running

SERVED = ("-m", "ingestion_pipeline_tests.domains.community.served_content")
CRAWLER, READER, STRANGER = ({"x-app-token": f"token-{name}"} for name in ("crawler", "reader", "stranger"))
SCOPES = {"token-crawler": "crawl:write", "token-reader": "search:read", "token-stranger": "events:read"}
SCHEDULER = {"x-cron-secret": CRON_SECRET}


@dataclass
class Served:
    """A running intake, and the database behind it as the worker sees it and as its owner does."""

    intake: Intake
    postgres: Postgres
    url: str

    def crawl(self, *items: Any, source: str = "partner-1", who: dict[str, str] = CRAWLER) -> httpx.Response:
        body = json.dumps({"sourceId": source, "items": list(items)}).encode()
        return self.intake.client.post("/ingest/crawl", content=body, headers={**JSON, **who})

    def search(self, q: str, who: dict[str, str] = READER, **parameters: Any) -> httpx.Response:
        return self.intake.client.get("/api/search", headers=who, params={"q": q, **parameters})

    def found(self, q: str, **parameters: Any) -> list[str]:
        """The ids that a search finds."""
        answer = self.search(q, **parameters)
        assert 200 == answer.status_code, answer.text
        return [result["id"] for result in answer.json()["results"]]

    def rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def served(server: EmbeddedServer, home: Path, **over: str) -> Iterator[Served]:
    """The intake over a database of its own."""
    with migrated_database(server) as url:
        with psycopg.connect(url) as owner:
            for token, scope in SCOPES.items():
                owner.execute(
                    "insert into operations.app_tokens (name, digest, scopes) values (%s, %s, array[%s])",
                    [scope.replace(":", "-"), token_digest(token).hex(), scope],
                )
        with (
            closing(Postgres(url.replace("postgres@", "pipeline_worker@", 1))) as postgres,
            running(url.replace("postgres@", "pipeline_intake@", 1), home, SERVED, **over) as intake,
        ):
            yield Served(intake, postgres, url)


def make_item(**over: Any) -> dict[str, Any]:
    """An item as a crawler sends it."""
    return {"externalId": "1", "url": "https://example.com/1", "title": "A rule about refactoring", **over}


def person(subject: str) -> dict[str, str]:
    claims = {"sub": subject, "aud": "authenticated", "exp": int(time.time()) + 600}
    return {"authorization": f"Bearer {jwt.encode(claims, JWT_SECRET, algorithm='HS256')}"}


if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=[http]), tell=print)
