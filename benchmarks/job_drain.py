"""10,000 queued jobs, each a report file of its own, drained by one worker: jobs per second, memory that stays flat.

Beside the same files parsed and stored in a loop, without a queue, and beside the same worker with jobs that do
nothing. The reports are Smashwords', one sale each, of a hundred authors and two years. Memory is taken after a tenth,
after half and at the end.
"""

import io
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks._measures import at_most, seconds, share
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.sales.handlers import ingest
from ingestion_pipeline.domains.sales.jobs import PLATFORM_INGEST, RECEIVE_FILE, Payload, SalesOptions, ingest_job
from ingestion_pipeline.domains.sales.ledger import store_report
from ingestion_pipeline.domains.sales.platforms import PLATFORMS, Asked
from ingestion_pipeline.orchestration.jobs import JobContext, JobHandler, JobWorker
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.jobs import ENQUEUE
from ingestion_pipeline.storage.kept_files import kept_files
from ingestion_pipeline.storage.postgres import Postgres

JOBS, AUTHORS, MONTHS = 10_000, 100, 24
TARGET = 1.1
PLATFORM = "smashwords"
HEADER = (
    "type\tchannel\tlocation\tid\tisbn\ttitle\tauthor\tprice\tqty\tamount\tcouponCode\tretailerCut\tsmashwordsCut\t"
    "affiliateCut\ttransFee\tvat\tnet\tcurrency\tamountFinal (USD)\tdate\tbalanceAdjusted"
)
ROW = (
    "sale\tSmashwords.com\t\t{number}\t\tBook {number}\tAda Writer\t1.99\t1\t1.99\t\t\t-0.24\t0\t-0.36\t\t1.39\tUSD\t"
    "1.39\t{month}-17 5:18\t{month}-17 5:18"
)
IDLE = """
insert into operations.jobs (job_type, owner_id, input_data)
select 'platform_ingest', 'benchmark', '{"platform": "gumroad"}' from generate_series(1, %s)
"""
UNSTORE = """
truncate operations.jobs cascade;
truncate sales.sales_events, sales.ledger_months;
update sales.report_files set status = 'received', settled_at = null
"""


class Report(NamedTuple):
    author: str
    sha256: str


class Mark(NamedTuple):
    """Seconds until so many jobs were taken, and the memory that was held then."""

    elapsed: float
    resident_mb: float


def queue_reports(postgres: Postgres, options: SalesOptions, count: int) -> list[Report]:
    """Kept, received and queued, as an upload does it."""
    files = kept_files(options.files_url)
    reports = []
    for number in range(count):
        month = f"{2023 + number // AUTHORS % MONTHS // 12}-{number // AUTHORS % 12 + 1:02}"
        content = "\r".join([HEADER, ROW.format(number=number, month=month), ""]).encode()
        report = Report(f"author {number % AUTHORS}", files.keep(io.BytesIO(content)))
        facts = {"owner_id": report.author, "sha256": report.sha256, "platform": PLATFORM, "name": "report.xls"}
        job = ingest_job(PLATFORM, {"file_sha256": report.sha256}, owner_id=report.author)
        with postgres.transaction() as connection:
            connection.execute(RECEIVE_FILE, {**facts, "size_bytes": len(content), "exported_at": None})
            connection.execute(ENQUEUE.encode(), job.parameters())
        reports.append(report)
    return reports


def resident_mb() -> float:
    """What this process holds now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1e3


def drain(postgres: Postgres, handler: JobHandler, every: int) -> list[Mark]:
    """Works until nothing is due; a mark at each `every` jobs, and one at the end."""
    marks: list[Mark] = []
    taken, started = 0, time.perf_counter()

    def mark() -> None:
        marks.append(Mark(time.perf_counter() - started, resident_mb()))

    def counted(context: JobContext, given: Any) -> Any:
        nonlocal taken
        if taken and taken % every == 0:
            mark()
        taken += 1
        return handler(context, given)

    nothing: Any = None

    def context_of(job: Any, attempt: Any) -> JobContext:
        return JobContext(job, nothing, postgres, nothing, nothing, nothing, nothing, attempt)

    worker = JobWorker(postgres=postgres, handlers={PLATFORM_INGEST: counted}, context_of=context_of)
    worker.work(seconds=7200)
    mark()
    return marks


def store_in_a_loop(postgres: Postgres, options: SalesOptions, reports: Sequence[Report]) -> None:
    """The work of the jobs, by nobody's order."""
    for author, sha256 in reports:
        asked = Asked(owner_id=author, job_id="", options=options, postgres=postgres, go_on=lambda: None)
        fetched = PLATFORMS[PLATFORM].fetch(Payload(file_sha256=sha256), asked)
        with postgres.transaction() as connection:
            store_report(connection, author, fetched.report, replace(fetched.file, job_id=None))


def measured(jobs: int) -> tuple[list[Mark], float, float]:
    """The marks of the worker; seconds of the loop, and of the worker with jobs that do nothing."""
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings.from_environment({"INGESTION_HOME": folder, "DATABASE_URL": ""})
        options = SalesOptions(files_url=str(Path(folder, "reports")), owner="benchmark")
        with database(settings) as environment, closing(Postgres(environment["DATABASE_URL"])) as postgres:
            owner = environment["DATABASE_URL"].replace("pipeline_worker@", "postgres@", 1)
            reports = queue_reports(postgres, options, jobs)
            with psycopg.connect(owner, autocommit=True) as connection:
                connection.execute("checkpoint")
                marks = drain(postgres, lambda context, given: ingest(context, given, options), max(1, jobs // 10))
                done = "select count(*) from operations.jobs where status = 'COMPLETED'"
                assert (jobs,) == connection.execute(done).fetchone()
                assert (jobs,) == connection.execute("select count(*) from sales.sales_events").fetchone()
                connection.execute(UNSTORE)
                connection.execute("checkpoint")
                loop = seconds(lambda: store_in_a_loop(postgres, options, reports))
                connection.execute(IDLE, [jobs])
                connection.execute("checkpoint")
                idle = seconds(lambda: drain(postgres, lambda *_: {}, jobs))
    return marks, loop, idle


def main(jobs: int = JOBS) -> None:
    configure_logging("critical")
    marks, loop, idle = measured(jobs)
    first, middle, last = marks[0], marks[len(marks) // 2 - 1], marks[-1]
    ours = jobs / last.elapsed
    last_tenth = jobs / 10 / (last.elapsed - marks[-2].elapsed)
    print(f"ours: {jobs:,} queued reports of one row, one worker {ours:,.0f} jobs/s")
    print(f"      first tenth {jobs / 10 / first.elapsed:,.0f} jobs/s, last tenth {last_tenth:,.0f} jobs/s")
    print(f"peer: the same reports in a loop {jobs / loop:,.0f}/s  {share(ours * loop / jobs)}")
    print(f"peer: the same worker, jobs that do nothing {jobs / idle:,.0f} jobs/s")
    print(f"memory: {first.resident_mb:,.0f} MB after a tenth, {middle.resident_mb:,.0f} after half, ", end="")
    print(f"{last.resident_mb:,.0f} at the end  {at_most(last.resident_mb / first.resident_mb, TARGET)}")


if __name__ == "__main__":
    main()
