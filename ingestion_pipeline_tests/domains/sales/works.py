"""Sales jobs over a test's own database and folders: files received, jobs asked for, worked off, looked at."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ingestion_pipeline.domains.sales.jobs import RECEIVE_FILE, SalesOptions, ingest_job
from ingestion_pipeline.storage.jobs import Job, JobQueue
from ingestion_pipeline.storage.kept_files import kept_files
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.worker import worker

OWNER = "author"
LEDGER = """
select platform, kind, net_units, royalty::text as royalty, currency, source_sha256, sheet, row_number, owner_id,
    job_id::text as job_id, superseded_by
from sales.sales_events order by source_report, sheet, row_number, natural_key
"""
FILES = "select platform, status, reason, report, row_count, name from sales.report_files order by received_at"


def written_long_ago(file: Path) -> None:
    """Nobody is writing it any more."""
    os.utime(file, (1_700_000_000, 1_700_000_000))


@dataclass
class Works:
    postgres: Postgres
    owner: psycopg.Connection[Any]
    options: SalesOptions

    @property
    def queue(self) -> JobQueue:
        return JobQueue(self.postgres)

    def receive(self, platform: str, content: bytes, name: str, *, owner_id: str = OWNER) -> dict[str, Any]:
        """A payload that names the file."""
        sha256 = kept_files(self.options.files_url).keep(io.BytesIO(content))
        facts = {"owner_id": owner_id, "sha256": sha256, "platform": platform, "name": name}
        with self.postgres.transaction() as connection:
            connection.execute(RECEIVE_FILE, {**facts, "size_bytes": len(content), "exported_at": None})
        return {"file_sha256": sha256, "name": name}

    def ask(self, platform: str, payload: Mapping[str, Any], *, owner_id: str = OWNER) -> str:
        return self.queue.enqueue(ingest_job(platform, payload, owner_id=owner_id))[0]

    def work(self, **over: Any) -> None:
        worker(self.postgres, replace(self.options, **over)).work(seconds=60)

    def run(self, platform: str, payload: Mapping[str, Any], *, owner_id: str = OWNER, **over: Any) -> Job:
        """What becomes of a job."""
        job_id = self.ask(platform, payload, owner_id=owner_id)
        self.work(**over)
        return self.job(job_id)

    def send(self, platform: str, content: bytes, name: str) -> Job:
        """What becomes of a file."""
        return self.run(platform, self.receive(platform, content, name))

    def job(self, job_id: str) -> Job:
        found = self.queue.job(job_id)
        assert found is not None
        return found

    def drop(self, path: str, content: bytes) -> Path:
        """A file below the drop folder."""
        file = Path(str(self.options.drop_url), path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with self.owner.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement.encode()).fetchall()

    def ledger(self) -> list[dict[str, Any]]:
        return self.rows(LEDGER)

    def files(self) -> list[dict[str, Any]]:
        return self.rows(FILES)
