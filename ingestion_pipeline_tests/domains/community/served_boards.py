"""The intake with leaderboards and notifications in a process of its own, and the database behind it.

`python -m ingestion_pipeline_tests.domains.community.served_boards` serves it.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.domains.community import leaderboard_routes, notifications_routes
from ingestion_pipeline.intake.callers import token_digest
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.domains.operations.served_jobs import application, person
from ingestion_pipeline_tests.intake.process import Intake, running

SERVED = ("-m", "ingestion_pipeline_tests.domains.community.served_boards")
READER, STRANGER = application("boards"), application("others")
ADA, GRACE = person("ada"), person("grace")
BOARDS = "/api/leaderboards"
NOTIFICATIONS = "/api/community/notifications"
PREFERENCES = f"{NOTIFICATIONS}/preferences"


@dataclass
class Served:
    """A running intake, and what workers and the owner of the database see behind it."""

    intake: Intake
    postgres: Postgres
    owner: psycopg.Connection[Any]

    def get(self, path: str, who: dict[str, str] = READER, **parameters: Any) -> httpx.Response:
        return self.intake.client.get(path, headers=who, params=parameters)

    def put(self, body: Any, who: dict[str, str] = ADA) -> httpx.Response:
        headers = {"content-type": "application/json", **who}
        return self.intake.client.put(PREFERENCES, content=msgspec.json.encode(body), headers=headers)

    def clear(self) -> None:
        self.owner.execute(
            "truncate community.leaderboard_snapshots, community.rule_metrics_daily, community.author_metrics_daily, "
            "community.rules, community.notifications, community.notification_preferences cascade"
        )


@contextmanager
def served(server: EmbeddedServer, home: Path, **over: str) -> Iterator[Served]:
    """The intake over a database of its own."""
    with migrated_database(server) as url, psycopg.connect(url, autocommit=True) as owner:
        for token, scope in (("boards", "community:read"), ("others", "events:read")):
            owner.execute(
                "insert into operations.app_tokens (name, digest, scopes) values (%s, %s, array[%s])",
                [token, token_digest(token).hex(), scope],
            )
        with (
            closing(Postgres(url.replace("postgres@", "pipeline_worker@", 1))) as postgres,
            running(url.replace("postgres@", "pipeline_intake@", 1), home, SERVED, **over) as intake,
        ):
            yield Served(intake, postgres, owner)


if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(
        settings, lambda: create_app(settings, domains=[leaderboard_routes.http, notifications_routes.http]), tell=print
    )
