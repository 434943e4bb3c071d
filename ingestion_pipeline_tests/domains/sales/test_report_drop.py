"""Report files in the drop folder, and the sensor and schedules that start ingestion by themselves."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from pydantic import SecretStr

from ingestion_pipeline.core.errors import ConfigurationError, StoreUnavailableError
from ingestion_pipeline.domains.sales import report_drop
from ingestion_pipeline.domains.sales.ingestion_automation import JOBS, SCHEDULES, SENSORS
from ingestion_pipeline.domains.sales.report_drop import Taken, is_report, report_folder, take_reports
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import drop_folder
from ingestion_pipeline.storage.drop_folder import QUIET_TICKS, Marks
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales import smashwords_reports
from ingestion_pipeline_tests.domains.sales.kdp_reports import Sale, estimate_sheets, workbook
from ingestion_pipeline_tests.domains.sales.served_sales import options
from ingestion_pipeline_tests.domains.sales.works import Works, written_long_ago

BOOK = workbook(estimate_sheets([Sale()]))
NAME = "KDP_Dashboard-1.xlsx"


@pytest.fixture
def works(worker_url: str, database_url: str, tmp_path: Path) -> Iterator[Works]:
    (tmp_path / "drop").mkdir()
    with psycopg.connect(database_url, autocommit=True) as owner, closing(Postgres(worker_url)) as postgres:
        yield Works(postgres, owner, options(tmp_path))


def tick(works: Works, seen: Marks | None = None) -> Taken:
    return take_reports(works.postgres, works.options, report_folder(works.options), seen=seen or {})


def seen_quiet(works: Works, marks: Marks | None = None) -> Marks:
    """After as many ticks as a file must be quiet; nothing is taken in them."""
    for _ in range(QUIET_TICKS):
        seen = tick(works, marks)
        assert 0 == seen.reports
        marks = seen.left
    return marks or {}


def taken(works: Works) -> int:
    """How many the next tick takes of what lies there."""
    return tick(works, seen_quiet(works)).reports


def left(works: Works) -> list[str]:
    root = Path(str(works.options.drop_url))
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_dropped_report_becomes_a_job_and_moves_aside(works: Works) -> None:
    """Taken once it is quiet; the ledger is the account owner's, and says when the file was written."""
    file = works.drop(f"amazon_kdp/{NAME}", BOOK)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    marks = seen_quiet(works)
    assert ([f"amazon_kdp/{NAME}"], []) == (list(marks), works.queue.jobs())
    assert Taken(reports=1, strangers=[], left={}) == tick(works, marks)
    works.work()
    (job,) = works.queue.jobs()
    assert ("COMPLETED", "author", 1) == (job.status, job.owner_id, len(works.ledger()))
    (path,) = left(works)
    assert path.startswith("processed/")
    assert path.endswith(f"amazon_kdp/{NAME}")
    (row,) = works.rows("select name, exported_at from sales.report_files")
    assert (NAME, 1_700_000_000) == (row["name"], row["exported_at"].timestamp())


def test_a_report_that_still_grows_is_left(works: Works) -> None:
    """It changed between two looks: its time begins anew."""
    file = works.drop(f"amazon_kdp/{NAME}", BOOK[:100])
    marks = seen_quiet(works)
    file.write_bytes(BOOK)
    marks = seen_quiet(works, marks)
    assert [] == works.queue.jobs()
    assert 1 == tick(works, marks).reports


def test_a_report_that_grows_while_it_is_taken_is_taken_again(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came after it was read must not lie unread among the processed ones."""
    file = works.drop("smashwords/a.xls", smashwords_reports.report([smashwords_reports.own_sale()]))
    more = smashwords_reports.report([smashwords_reports.own_sale(), smashwords_reports.own_sale(title="Another")])
    marks = seen_quiet(works)
    kept = report_drop._kept

    def written_meanwhile(*arguments: Any) -> str:
        sha256 = kept(*arguments)
        file.write_bytes(more)
        return sha256

    with monkeypatch.context() as patched:
        patched.setattr(report_drop, "_kept", written_meanwhile)
        assert ["smashwords/a.xls"] == list(tick(works, marks).left)
    assert ["smashwords/a.xls"] == left(works)
    assert 1 == taken(works)
    works.work()
    assert 2 == len(works.ledger())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("amazon_kdp/a.xlsx", True),
        ("smashwords/2024/a.XLS", True),
        ("gumroad/Sales.csv", True),
        ("draft2digital/März.tsv", True),
        ("a.xlsx", False),
        ("kobo/a.xlsx", False),
        ("amazon_kdp/a.json", False),
        ("amazon_kdp/~$a.xlsx", False),
        ("amazon_kdp/a.xlsx.part", False),
        ("amazon_kdp", False),
    ],
)
def test_a_report_lies_in_the_folder_of_its_platform(path: str, *, expected: bool) -> None:
    """What programs leave while they write is no report."""
    assert expected == is_report(path)


def test_what_is_no_report_is_named(works: Works) -> None:
    """A folder that is spelled wrongly would wait for ever, and nobody would know."""
    works.drop("kdp/a.xlsx", BOOK)
    works.drop("amazon_kdp/.hidden.xlsx", BOOK)
    works.drop("amazon_kdp/a.zip", BOOK)
    assert Taken(reports=0, strangers=["amazon_kdp/a.zip", "kdp/a.xlsx"], left={}) == tick(works)


def test_a_link_is_not_followed(works: Works, tmp_path: Path) -> None:
    """Whoever may write into the folder reads nothing outside of it."""
    secret = tmp_path / "secret.csv"
    secret.write_bytes(smashwords_reports.report([smashwords_reports.own_sale()]))
    folder = Path(str(works.options.drop_url), "smashwords")
    folder.mkdir()
    (folder / "a.csv").symlink_to(secret)
    assert (0, []) == (taken(works), works.queue.jobs())


def test_a_report_that_cannot_be_read_is_a_failed_job_not_a_stuck_folder(works: Works) -> None:
    """The file is kept, quarantined and moved aside; the others are taken."""
    works.drop("amazon_kdp/bad.xlsx", b"no report")
    works.drop(f"amazon_kdp/{NAME}", BOOK)
    assert 2 == taken(works)
    works.work()
    assert ["COMPLETED", "FAILED"] == sorted(job.status for job in works.queue.jobs())
    assert {"quarantined", "ingested"} == {file["status"] for file in works.files()}
    assert all(path.startswith("processed/") for path in left(works))


def test_a_file_that_is_too_large_is_refused_with_its_reason(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves to `rejected/` with the reason beside it."""
    monkeypatch.setattr(report_drop, "MOST_FILE_BYTES", 100)
    works.drop("amazon_kdp/large.xlsx", b"x" * 101)
    assert 1 == taken(works)
    paths = left(works)
    assert 2 == len(paths)
    assert all(path.startswith("rejected/") for path in paths)
    assert "larger than" in Path(str(works.options.drop_url), paths[1]).read_text()


def test_the_same_report_dropped_again_is_stored_once(works: Works) -> None:
    """Under any name; nothing is overwritten in the folder."""
    for _ in range(2):
        works.drop(f"amazon_kdp/{NAME}", BOOK)
        assert 1 == taken(works)
        works.work()
    assert (1, 1, 2) == (len(works.files()), len(works.ledger()), len(left(works)))


def test_one_tick_takes_a_bounded_number(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is taken by the next."""
    monkeypatch.setattr(drop_folder, "FILES_PER_TICK", 3)
    for number in range(5):
        works.drop(f"amazon_kdp/{number}.xlsx", b"%d" % number)
    first = tick(works, seen_quiet(works))
    assert (3, 2) == (first.reports, len(first.left))
    assert 2 == tick(works, first.left).reports


def test_an_empty_payload_takes_what_waits(works: Works) -> None:
    """Of that platform only, now."""
    written_long_ago(works.drop(f"amazon_kdp/{NAME}", BOOK))
    works.drop("amazon_kdp/being_written.csv", b"half of it")
    written_long_ago(works.drop("smashwords/a.xls", smashwords_reports.report([smashwords_reports.own_sale()])))
    job = works.run("amazon_kdp", {})
    assert ("COMPLETED", {"platform": "amazon_kdp", "queued": 1}) == (job.status, job.output_data)
    assert ["amazon_kdp/being_written.csv", "smashwords/a.xls"] == [
        path for path in left(works) if not path.startswith("processed")
    ]
    assert {"amazon_kdp"} == {row["platform"] for row in works.ledger()}


def test_without_a_folder_an_empty_payload_names_the_setting(works: Works) -> None:
    """For good: the folder does not come by itself."""
    job = works.run("amazon_kdp", {}, drop_url=None)
    assert "FAILED" == job.status
    assert "SALES_DROP_URL" in str(job.error_message)
    with pytest.raises(ConfigurationError):
        report_folder(options(Path("x"), drop_url=None))


def test_a_folder_that_is_away_is_told(works: Works) -> None:
    """Not taken for an empty one."""
    Path(str(works.options.drop_url)).rmdir()
    with pytest.raises(StoreUnavailableError):
        tick(works)


def repository(works: Works, settings: Settings) -> dg.RepositoryDefinition:
    """As the code location has it."""

    @dg.op
    def nothing() -> None: ...

    @dg.job
    def operations_jobs_job() -> None:
        nothing()

    stores = {"postgres": works.postgres, "settings": settings}
    resources = {name: dg.ResourceDefinition.hardcoded_resource(value) for name, value in stores.items()}
    own = dg.Definitions(jobs=[operations_jobs_job], resources=resources)
    ingestion = dg.Definitions(jobs=JOBS, schedules=SCHEDULES, sensors=SENSORS)
    found = dg.Definitions.merge(ingestion, own)
    return found.get_repository_def()


def test_the_sensor_remembers_what_it_saw(works: Works, settings: Settings) -> None:
    """In its cursor, from one tick to the next."""
    settings = settings.model_copy(update={"sales_drop_url": works.options.drop_url})
    sensor = repository(works, settings).get_sensor_def("sales_drop_sensor")

    def tick(cursor: str | None) -> tuple[str | None, str]:
        stores = {"settings": settings, "postgres": works.postgres}
        found = sensor.evaluate_tick(dg.build_sensor_context(cursor=cursor, resources=stores))
        return found.cursor, str(found.skip_message)

    works.drop(f"amazon_kdp/{NAME}", BOOK)
    works.drop("kdp/b.xlsx", BOOK)
    cursor = None
    for _ in range(QUIET_TICKS):
        cursor, said = tick(cursor)
        assert "0 report(s) queued; 1 file(s)" in said
    assert "kdp/b.xlsx" in said
    _, said = tick(cursor)
    assert "1 report(s) queued; 0 file(s)" in said
    assert 1 == len(works.queue.jobs())


def test_the_schedule_starts_a_run_when_a_job_is_due(works: Works, settings: Settings) -> None:
    """Of a platform: other jobs are the sensor's."""
    schedule = repository(works, settings).get_schedule_def("sales_five_minutes_schedule")
    assert ("*/5 * * * *", "operations_jobs_job") == (schedule.cron_schedule, schedule.job_name)

    def requests() -> int:
        context = dg.build_schedule_context(resources={"postgres": works.postgres})
        return len(schedule.evaluate_tick(context).run_requests or [])

    works.owner.execute("insert into operations.jobs (job_type, owner_id) values ('market_ingest', 'x')")
    assert 0 == requests()
    works.ask("gumroad", {})
    assert 1 == requests()


@pytest.mark.parametrize(("token", "count"), [("a-token-of-gumroad", 1), (None, 0)])
def test_gumroad_is_asked_once_a_day_where_there_is_a_token(
    works: Works, settings: Settings, token: str | None, count: int
) -> None:
    """Asked twice while it is waiting, it is one job."""
    found = repository(works, settings.model_copy(update={"gumroad_access_token": token and SecretStr(token)}))
    for _ in range(2):
        assert found.get_job("sales_gumroad_job").execute_in_process().success
    assert count == len(works.queue.jobs())
    assert "20 4 * * *" == found.get_schedule_def("sales_gumroad_daily_schedule").cron_schedule
