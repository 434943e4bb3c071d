"""The intake with the sales endpoints in a process of its own, and the worker behind it in this one.

`python -m ingestion_pipeline_tests.domains.sales.served_sales` serves it.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
from psycopg.rows import dict_row

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.domains.sales import routes
from ingestion_pipeline.domains.sales.jobs import SalesOptions
from ingestion_pipeline.intake.callers import token_digest
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.jobs import Job, JobQueue
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.domains.operations.served_jobs import application, person
from ingestion_pipeline_tests.domains.sales.worker import worker
from ingestion_pipeline_tests.intake.process import CRON_SECRET, Intake, running

SERVED = ("-m", "ingestion_pipeline_tests.domains.sales.served_sales")
PING_SECRET = "ping-canary-7f3a9c"
TOKEN = "gumroad-token-canary"
OWNER = "author"
WAIT_SECONDS = 5.0
AUTHOR, READER, UPLOADER = person(OWNER), person("reader"), application("uploader")
CRON = {"authorization": f"Bearer {CRON_SECRET}"}
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@dataclass
class Served:
    """A running intake, and what workers and the owner of the database see behind it."""

    intake: Intake
    queue: JobQueue
    postgres: Postgres
    owner: psycopg.Connection[Any]
    options: SalesOptions

    def post(self, path: str, who: dict[str, str], body: Any = None) -> httpx.Response:
        if body is None:
            return self.intake.client.post(path, headers=who)
        headers = {"content-type": "application/json", **who}
        return self.intake.client.post(path, content=msgspec.json.encode(body), headers=headers)

    def send(self, platform: str, content: bytes, name: str, who: dict[str, str] = AUTHOR) -> httpx.Response:
        """A file as the part of a form."""
        return self.intake.client.post(
            f"/api/ingestion/platform/{platform}", files={"file": (name, content)}, headers=who
        )

    def status(self, job_id: str, who: dict[str, str] = AUTHOR) -> httpx.Response:
        return self.intake.client.get(f"/api/ingestion/status/{job_id}", headers=who)

    def work(self, **over: Any) -> None:
        """A worker does what is due."""
        worker(self.postgres, replace(self.options, **over)).work(seconds=60)

    def done(self, answer: httpx.Response, who: dict[str, str] = AUTHOR) -> dict[str, Any]:
        """What became of the job that `answer` is about."""
        assert 202 == answer.status_code, answer.text
        self.work()
        found: dict[str, Any] = self.status(answer.json()["job_id"], who).json()
        return found

    def job(self, job_id: str) -> Job:
        found = self.queue.job(job_id)
        assert found is not None
        return found

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.owner.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement.encode(), parameters or None).fetchall()

    def clear(self) -> None:
        """No jobs, files, logs, sales."""
        self.owner.execute(
            "truncate operations.jobs, operations.cron_logs, sales.report_files, sales.sales_events, sales.payments, "
            "sales.ledger_months cascade"
        )


@contextmanager
def served(server: EmbeddedServer, home: Path) -> Iterator[Served]:
    """The intake over a database of its own; files are kept below `home`."""
    with migrated_database(server) as url, psycopg.connect(url, autocommit=True) as owner:
        owner.execute(
            "insert into operations.app_tokens (name, digest, scopes) values (%s, %s, %s), (%s, %s, %s)",
            [
                *("uploader", token_digest("uploader").hex(), "{sales:write}"),
                *("other", token_digest("other").hex(), "{ingest:write}"),
            ],
        )
        (home / "drop").mkdir()
        with (
            closing(Postgres(url.replace("postgres@", "pipeline_worker@", 1))) as postgres,
            running(
                url.replace("postgres@", "pipeline_intake@", 1),
                home,
                SERVED,
                JOB_WAIT_SECONDS=str(WAIT_SECONDS),
                SALES_DROP_URL=str(home / "drop"),
                GUMROAD_ACCESS_TOKEN=TOKEN,
                GUMROAD_PING_SECRET=PING_SECRET,
            ) as intake,
        ):
            yield Served(intake, JobQueue(postgres), postgres, owner, options(home))


def options(home: Path, **over: Any) -> SalesOptions:
    """Of a pipeline in `home`."""
    given = {"files_url": str(home / "reports"), "owner": OWNER, "drop_url": str(home / "drop")}
    return SalesOptions(**{**given, "gumroad_access_token": TOKEN, **over})


if __name__ == "__main__":
    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=[routes.http]), tell=print)
