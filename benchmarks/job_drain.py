"""10,000 queued jobs of a platform, each a report of its own, drained by one worker: jobs per second, memory flat.

Beside the same worker with jobs that do nothing. Memory is taken after the first tenth and at the end.
"""

import io
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from benchmarks._measures import seconds, share
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.sales.handlers import sales_handlers
from ingestion_pipeline.domains.sales.jobs import PLATFORM_INGEST, RECEIVE_FILE, SalesOptions, ingest_job
from ingestion_pipeline.orchestration.jobs import JobContext, JobHandler, JobWorker
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.jobs import ENQUEUE
from ingestion_pipeline.storage.kept_files import kept_files
from ingestion_pipeline.storage.postgres import Postgres

JOBS = 10_000
TARGET = 1.3
HEADER = (
    "type\tchannel\tlocation\tid\tisbn\ttitle\tauthor\tprice\tqty\tamount\tcouponCode\tretailerCut\tsmashwordsCut\t"
    "affiliateCut\ttransFee\tvat\tnet\tcurrency\tamountFinal (USD)\tdate\tbalanceAdjusted"
)
ROW = (
    "sale\tSmashwords.com\t\t{number}\t\tBook {number}\tAda Writer\t1.99\t1\t1.99\t\t\t-0.24\t0\t-0.36\t\t1.39\tUSD\t"
    "1.39\t2024-03-17 5:18\t2024-03-17 5:18"
)


def queue_reports(postgres: Postgres, options: SalesOptions, count: int) -> None:
    files = kept_files(options.files_url)
    for number in range(count):
        content = "\r".join([HEADER, ROW.format(number=number), ""]).encode()
        sha256 = files.keep(io.BytesIO(content))
        facts = {"owner_id": "benchmark", "sha256": sha256, "platform": "smashwords", "name": "report.xls"}
        new = ingest_job("smashwords", {"file_sha256": sha256}, owner_id="benchmark")
        with postgres.transaction() as connection:
            connection.execute(RECEIVE_FILE, {**facts, "size_bytes": len(content), "exported_at": None})
            connection.execute(ENQUEUE.encode(), new.parameters())


def resident_mb() -> float:
    """What this process holds now; its peak where the system does not say."""
    status = Path("/proc/self/status")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3


def drained(postgres: Postgres, handler: JobHandler, marks: list[float], every: int) -> float:
    """Seconds until nothing is due; `marks` get the memory after each `every` jobs."""
    done = 0

    def counted(context: JobContext, given: Any) -> Any:
        nonlocal done
        done += 1
        if done % every == 0:
            marks.append(resident_mb())
        return handler(context, given)

    nothing: Any = None

    def context_of(job: Any, attempt: Any) -> JobContext:
        return JobContext(job, nothing, postgres, nothing, nothing, nothing, nothing, attempt)

    worker = JobWorker(postgres=postgres, handlers={PLATFORM_INGEST: counted}, context_of=context_of)
    return seconds(lambda: worker.work(seconds=7200))


def main(jobs: int = JOBS) -> None:
    configure_logging("critical")
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings.from_environment({"INGESTION_HOME": folder, "DATABASE_URL": ""})
        options = SalesOptions(files_url=str(Path(folder, "reports")), owner="benchmark")
        (handler,) = sales_handlers(lambda _: options).values()
        with database(settings) as environment, closing(Postgres(environment["DATABASE_URL"])) as postgres:
            owner = environment["DATABASE_URL"].replace("pipeline_worker@", "postgres@", 1)
            queue_reports(postgres, options, jobs)
            marks: list[float] = []
            ours = drained(postgres, handler, marks, max(1, jobs // 10))
            with psycopg.connect(owner, autocommit=True) as connection:
                (left,) = connection.execute(
                    "select count(*) from operations.jobs where status <> 'COMPLETED'"
                ).fetchone() or (None,)
                assert left == 0
                connection.execute("truncate operations.jobs cascade")
                connection.execute(
                    "insert into operations.jobs (job_type, owner_id, input_data) select 'platform_ingest', 'b', "
                    """'{"platform": "gumroad"}' from generate_series(1, %s)""",
                    [jobs],
                )
            idle = drained(postgres, lambda *_: {}, [], jobs)
    grown = marks[-1] / marks[0]
    print(f"ours: {jobs:,} reports of one row, one worker  {jobs / ours:,.0f} jobs/s")
    print(f"peer: the same worker, jobs that do nothing  {jobs / idle:,.0f} jobs/s  {share(idle / ours)}")
    print(f"memory after a tenth {marks[0]:,.0f} MB, at the end {marks[-1]:,.0f} MB")
    print(f"      ratio {grown:.2f} x  target at most {TARGET:g} x  {'met' if grown <= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
