"""`ingestion-pipeline sales …` on a database of a test's own: what it prints, what it refuses, what it does."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from ingestion_pipeline.commands.sales import sales
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.domains.sales.kdp_reports import Sale, estimate_sheets, workbook
from ingestion_pipeline_tests.domains.sales.served_sales import options
from ingestion_pipeline_tests.domains.sales.works import Works

NAME = "KDP_Dashboard-1.xlsx"


@pytest.fixture
def works(worker_url: str, database_url: str, tmp_path: Path) -> Iterator[Works]:
    with psycopg.connect(database_url, autocommit=True) as owner, closing(Postgres(worker_url)) as postgres:
        yield Works(postgres, owner, options(tmp_path))


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(workbook(estimate_sheets([Sale()])))
    return path


@pytest.fixture
def command(worker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs it as a worker's login; its own errors are raised, as `main` gets them."""
    for name, value in {
        "DATABASE_URL": worker_url,
        "INGESTION_HOME": str(tmp_path),
        "DAGSTER_PG_URL": "",
        "LOG_LEVEL": "error",
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(sales, list(arguments))
        if isinstance(result.exception, ConfigurationError):
            raise result.exception
        return result

    return run


def with_worker(works: Works, run: Callable[[], Result]) -> Result:
    """What `run` prints while a worker does what it asks for."""

    def work() -> None:
        until(lambda: bool(works.queue.jobs(status="QUEUED")))
        works.work()

    thread = threading.Thread(target=work)
    thread.start()
    result = run()
    thread.join()
    return result


def test_a_report_is_imported(works: Works, command: Callable[..., Result], report: Path) -> None:
    """The command says what came of it; the file is listed."""
    result = with_worker(works, lambda: command("import", str(report), "--platform", "amazon_kdp", "--owner", "inez"))
    assert 0 == result.exit_code, result.output
    assert "kdp_dashboard 2026-03-01 to 2026-03-01: 1 row(s): 1 inserted" in result.output
    assert {"inez"} == {row["owner_id"] for row in works.ledger()}
    listed = command("files").output
    assert all(word in listed for word in ("ingested", "amazon_kdp", "1 row(s), 0 problem(s)", "inez", NAME))
    assert "no files" in command("files", "--status", "quarantined").output
    assert "no files" in command("files", "--owner", "another").output


def test_a_file_that_cannot_be_read_is_told_and_listed_with_the_reason(
    works: Works, command: Callable[..., Result], report: Path
) -> None:
    """And the command fails."""
    report.write_bytes(b"no report")
    result = with_worker(works, lambda: command("import", str(report), "--platform", "amazon_kdp"))
    assert 1 == result.exit_code
    assert "FAILED" in result.output
    listed = command("files", "--platform", "amazon_kdp").output.splitlines()
    assert "quarantined" in listed[0]
    assert NAME in listed[1]


@pytest.mark.parametrize(("local", "kept"), [(b"r\xff.xlsx", "r.xlsx"), (b"a\x1b[2J.xlsx", "a[2J.xlsx")])
def test_a_file_may_be_called_anything(
    works: Works, command: Callable[..., Result], report: Path, local: bytes, kept: str
) -> None:
    """What no text may hold, and what a terminal would obey, is left out of its name."""
    file = report.rename(Path(os.fsdecode(os.fsencode(report.parent) + b"/" + local)))
    result = command("import", str(file), "--platform", "amazon_kdp", "--wait", "0")
    assert 0 == result.exit_code, result.output
    assert [kept] == [row["name"] for row in works.files()]
    assert kept in command("files").output


def test_a_reason_is_shown_without_what_a_terminal_would_obey(works: Works, command: Callable[..., Result]) -> None:
    """It may quote the file."""
    works.receive("amazon_kdp", b"x", NAME)
    works.owner.execute(
        "update sales.report_files set status = 'quarantined', settled_at = now(), reason = %s", ["found \x1b[2J"]
    )
    assert "found \ufffd[2J" in command("files").output


def test_a_file_of_the_future_was_exported_now(works: Works, command: Callable[..., Result], report: Path) -> None:
    """A wrong clock does not make it win against every later report."""
    os.utime(report, (4_000_000_000, 4_000_000_000))
    command("import", str(report), "--platform", "amazon_kdp", "--wait", "0")
    assert [{"it": True}] == works.rows("select exported_at <= clock_timestamp() as it from sales.report_files")


def test_without_a_worker_the_job_waits(works: Works, command: Callable[..., Result], report: Path) -> None:
    """The command says how to ask for it."""
    result = command("import", str(report), "--platform", "amazon_kdp", "--wait", "0")
    (job,) = works.queue.jobs()
    assert f"jobs show {job.job_id}" in result.output


def test_what_is_no_report_is_refused(command: Callable[..., Result], tmp_path: Path) -> None:
    """Before anything is kept."""
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ConfigurationError, match=r"empty\.csv"):
        command("import", str(tmp_path / "empty.csv"), "--platform", "gumroad")
    assert 2 == command("import", str(tmp_path / "none.csv"), "--platform", "gumroad").exit_code
    assert 2 == command("import", str(tmp_path / "empty.csv"), "--platform", "kobo").exit_code
    assert not (tmp_path / "reports").exists()
