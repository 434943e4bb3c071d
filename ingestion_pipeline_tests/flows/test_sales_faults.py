"""Processes killed with -9 in each step of taking a report, for real: nothing is half written, nothing doubled.

A worker says where it is and waits there; it is killed then, never after a time.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python, until
from ingestion_pipeline_tests.command import SECONDS
from ingestion_pipeline_tests.domains.sales.kdp_reports import Sale, estimate_sheets, workbook
from ingestion_pipeline_tests.domains.sales.served_sales import AUTHOR, SERVED, options
from ingestion_pipeline_tests.domains.sales.works import Works
from ingestion_pipeline_tests.intake.process import running

LEASE_SECONDS = 0.5
BOOK = workbook(estimate_sheets([Sale(), Sale(marketplace="Amazon.de", currency="EUR")]))
NAME = "KDP_Dashboard-1.xlsx"
WORKER = """
import sys
from datetime import timedelta
from pathlib import Path

from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.sales import handlers, platforms, report_drop
from ingestion_pipeline.orchestration.jobs import JobContext, JobWorker
from ingestion_pipeline.storage.drop_folder import QUIET_TICKS, DropFolder
from ingestion_pipeline.storage.kept_files import FolderFiles
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.served_sales import options
from ingestion_pipeline_tests.domains.sales.worker import worker

configure_logging("critical", style="json")
url, home, step, lease = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])


def reached(name):
    if name == step:
        print(name, flush=True)
        sys.stdin.readline()


def before(name, function):
    def told(*arguments, **named):
        reached(name)
        return function(*arguments, **named)
    return told


def after(name, function):
    def told(*arguments, **named):
        found = function(*arguments, **named)
        reached(name)
        return found
    return told


handlers.ingest = before("claimed", handlers.ingest)
FolderFiles.opened = before("file found", FolderFiles.opened)
handlers.store_report = after("stored", before("parsed", handlers.store_report))
JobContext.complete = after("completed but not committed", JobContext.complete)
handlers.summary = before("summed up", handlers.summary)
platforms.quarantine = after("quarantined", before("to be quarantined", platforms.quarantine))
JobWorker._settle = before("to be settled", JobWorker._settle)
DropFolder.move_aside = before("to be moved", DropFolder.move_aside)

postgres = Postgres(url)
given = options(home)
if len(sys.argv) > 5:
    folder = report_drop.report_folder(given)
    seen = {file.path: (*file.mark, QUIET_TICKS) for file in folder.files()}
    report_drop.take_reports(postgres, given, folder, seen=seen)
worker(postgres, given, lease=timedelta(seconds=lease)).work(seconds=3600)
reached("worked off")
"""


@pytest.fixture
def works(worker_url: str, database_url: str, tmp_path: Path) -> Iterator[Works]:
    (tmp_path / "drop").mkdir()
    with psycopg.connect(database_url, autocommit=True) as owner, closing(Postgres(worker_url)) as postgres:
        yield Works(postgres, owner, options(tmp_path))


def killed_at(step: str, url: str, home: Path, *more: str) -> None:
    with python(WORKER, url, str(home), step, str(LEASE_SECONDS), *more) as child:
        await_line(child, step)
        os.kill(child.pid, signal.SIGKILL)
        assert -signal.SIGKILL == child.wait()


def await_line(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdout is not None
    seen = []
    while (text := child.stdout.readline()) != f"{line}\n":
        assert text, "".join(seen)
        seen.append(text)


def rescued(works: Works, job_id: str) -> None:
    """As the sensor does, and what is tried again is due at once."""
    until(lambda: works.queue.rescue() == {job_id: "RETRYING"})
    works.owner.execute("update operations.jobs set run_at = clock_timestamp() where status = 'RETRYING'")


def outcomes(works: Works, job_id: str) -> list[Any]:
    return [attempt["outcome"] for attempt in works.queue.attempts(job_id)]


@pytest.mark.parametrize(
    "step", ["claimed", "file found", "parsed", "stored", "summed up", "completed but not committed"]
)
def test_a_worker_killed_before_the_commit_has_done_nothing(
    works: Works, worker_url: str, tmp_path: Path, step: str
) -> None:
    """No row, no payment, no state of the file; another worker does it all, and both attempts are there."""
    job_id = works.ask("amazon_kdp", works.receive("amazon_kdp", BOOK, NAME))
    killed_at(step, worker_url, tmp_path)
    until(lambda: works.rows("select from pg_stat_activity where state like 'idle in transaction%'") == [])
    assert ([], ["received"]) == (works.ledger(), [file["status"] for file in works.files()])
    assert "RUNNING" == works.job(job_id).status
    rescued(works, job_id)
    works.work()
    job = works.job(job_id)
    assert ("COMPLETED", 2, ["lost", "completed"]) == (job.status, job.attempt_count, outcomes(works, job_id))
    assert (2, ["ingested"]) == (len(works.ledger()), [file["status"] for file in works.files()])
    assert job.output_data is not None
    assert 2 == job.output_data["inserted"]


def test_a_worker_killed_after_the_commit_has_done_all(works: Works, worker_url: str, tmp_path: Path) -> None:
    """One attempt; nobody does it again."""
    job_id = works.ask("amazon_kdp", works.receive("amazon_kdp", BOOK, NAME))
    killed_at("worked off", worker_url, tmp_path)
    assert {} == works.queue.rescue()
    works.work()
    assert ("COMPLETED", 1, 2) == (works.job(job_id).status, works.job(job_id).attempt_count, len(works.ledger()))


@pytest.mark.parametrize("step", ["to be quarantined", "quarantined", "to be settled"])
def test_a_worker_killed_while_it_quarantines_is_followed_by_one_that_does(
    works: Works, worker_url: str, tmp_path: Path, step: str
) -> None:
    """Set aside once, failed for good at the second attempt, with one reason in both places."""
    job_id = works.ask("amazon_kdp", works.receive("amazon_kdp", BOOK[:-1000], NAME))
    killed_at(step, worker_url, tmp_path)
    rescued(works, job_id)
    works.work()
    job = works.job(job_id)
    assert ("FAILED", "permanent", ["lost", "failed"]) == (job.status, job.error_kind, outcomes(works, job_id))
    assert [("quarantined", job.error_message)] == [(file["status"], file["reason"]) for file in works.files()]
    assert [] == works.ledger()


def test_a_report_that_kills_every_worker_fails_after_three_attempts(
    works: Works, worker_url: str, tmp_path: Path
) -> None:
    """It does not take workers with it for ever, and the reports behind it are taken."""
    job_id = works.ask("amazon_kdp", works.receive("amazon_kdp", BOOK, NAME))
    for status in ("RETRYING", "RETRYING", "FAILED"):
        killed_at("parsed", worker_url, tmp_path)
        until(lambda: works.queue.rescue() == {job_id: status})  # noqa: B023
        works.owner.execute("update operations.jobs set run_at = clock_timestamp() where status = 'RETRYING'")
    job = works.job(job_id)
    assert ("FAILED", "lost", 3, []) == (job.status, job.error_kind, job.attempt_count, works.ledger())
    assert "COMPLETED" == works.send("amazon_kdp", workbook(estimate_sheets([Sale()])), NAME).status


def test_a_sensor_killed_before_it_moves_a_file_takes_it_once(works: Works, worker_url: str, tmp_path: Path) -> None:
    """The next one finds the file where it was, and the job that is there already."""
    file = works.drop(f"amazon_kdp/{NAME}", BOOK)
    killed_at("to be moved", worker_url, tmp_path, "drop")
    assert file.exists()
    (job,) = works.queue.jobs()
    with python(WORKER, worker_url, str(tmp_path), "none", "30", "drop") as child:
        text, _ = child.communicate(timeout=SECONDS)
    assert (0, False) == (child.returncode, file.exists()), text
    assert [job.job_id] == [it.job_id for it in works.queue.jobs()]
    assert (2, "COMPLETED") == (len(works.ledger()), works.job(job.job_id).status)


def test_an_intake_killed_in_the_middle_of_a_file_keeps_nothing_of_it(
    works: Works, database_url: str, tmp_path: Path
) -> None:
    """Half a file is no file: none is kept, none is queued; sent again it is taken."""
    url = database_url.replace("postgres@", "pipeline_intake@", 1)
    head = (
        "POST /api/ingestion/platform/amazon_kdp HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n"
        f"authorization: {AUTHOR['authorization']}\r\ncontent-length: 50000000\r\n\r\n"
    )
    with (
        running(url, tmp_path, SERVED) as intake,
        socket.create_connection(("127.0.0.1", intake.port), timeout=30) as connection,
    ):
        connection.sendall(head.encode() + b"x" * 20_000_000)
        for process in [*intake.workers(), intake.process]:
            process.kill()
        intake.process.wait()
    assert [] == [path for path in (tmp_path / "reports").rglob("*") if path.is_file()]
    assert ([], []) == (works.files(), works.queue.jobs())
    with running(url, tmp_path, SERVED) as intake:
        answer = intake.client.post("/api/ingestion/platform/amazon_kdp", files={"file": (NAME, BOOK)}, headers=AUTHOR)
    assert 202 == answer.status_code
    works.work()
    assert 2 == len(works.ledger())
