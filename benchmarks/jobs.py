"""Jobs that do nothing, fetched and finished by four workers, beside Procrastinate on the same embedded PostgreSQL.

Both commit when a job is taken and again when it is finished, and keep a history of it. A worker of ours is a thread
with a connection; Procrastinate's four are asyncio tasks of one worker, as it recommends. Jobs of a type that may run
eight at once are measured apart: claimers of such a type take turns, which Procrastinate has nothing like.
"""

import asyncio
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from statistics import median
from typing import Any

import msgspec
import procrastinate
import psycopg

from benchmarks._measures import PROJECT_ROOT, seconds, share
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.orchestration.jobs import JobWorker
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.jobs import JobQueue
from ingestion_pipeline.storage.postgres import Postgres

JOBS, WORKERS, ROUNDS = 2_000, 4, 3
TARGET = 1.0
ENQUEUE = """
insert into operations.jobs (job_type, owner_id, input_data)
select %s, 'benchmark', '{"n": 1}' from generate_series(1, %s)
"""
DEFER = """
insert into procrastinate_jobs (queue_name, task_name, args, status)
select 'default', 'nothing', '{"n": 1}', 'todo' from generate_series(1, %s)
"""


class Number(msgspec.Struct):
    n: int


TYPES = {"free": JobType(name="free", summary="", input_type=Number)}
TYPES["limited"] = JobType(name="limited", summary="", input_type=Number, at_once=8)


LIMITS = {name: it.at_once for name, it in TYPES.items()}


def by_the_queue(url: str, workers: int) -> None:
    """Claim and settle, nothing in between: what the SQL functions can do."""

    def work(number: int) -> None:
        with closing(Postgres(url)) as postgres:
            queue = JobQueue(postgres)
            while claimed := queue.claim(f"w{number}", LIMITS):
                queue.settle(claimed[0].attempt_id, "completed", output={})

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))


def by_workers(url: str, workers: int) -> None:
    """Our worker, with input, heartbeats and output."""

    def work(_: int) -> None:
        with closing(Postgres(url)) as postgres:
            context: Any = lambda *_: None  # noqa: E731
            handlers = dict.fromkeys(TYPES.values(), lambda *_: {"done": True})
            JobWorker(postgres=postgres, handlers=handlers, context_of=context).work(seconds=3600)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))


def by_procrastinate(url: str, workers: int) -> None:
    """The peer, until nothing is left."""

    async def work() -> None:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=workers + 2))

        @app.task(name="nothing")
        async def nothing(n: int) -> dict[str, bool]:  # noqa: ARG001
            return {"done": True}

        async with app.open_async():
            await app.run_worker_async(
                concurrency=workers, wait=False, listen_notify=False, install_signal_handlers=False
            )

    asyncio.run(work())


def add_ours(connection: psycopg.Connection[Any], count: int, *, job_type: str = "free") -> None:
    connection.execute("truncate operations.jobs cascade")
    connection.execute(ENQUEUE, [job_type, count])


def add_theirs(connection: psycopg.Connection[Any], count: int) -> None:
    connection.execute("truncate procrastinate_jobs cascade")
    connection.execute(DEFER, [count])


def left(connection: psycopg.Connection[Any], statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    return int(row[0]) if row else 0


def measured(owner: str, worker: str, jobs: int, workers: int, rounds: int) -> dict[str, float]:
    """Median seconds of each way to work off `jobs` jobs."""
    ours = "select count(*) from operations.jobs where status <> 'COMPLETED'"
    theirs = "select count(*) from procrastinate_jobs where status <> 'succeeded'"
    ways: dict[str, tuple[Callable[..., None], str, Callable[[str, int], None], str]] = {
        "queue": (add_ours, ours, by_the_queue, worker),
        "worker": (add_ours, ours, by_workers, worker),
        "limited": (partial(add_ours, job_type="limited"), ours, by_workers, worker),
        "procrastinate": (add_theirs, theirs, by_procrastinate, owner),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with psycopg.connect(owner, autocommit=True) as connection:
        for _ in range(rounds):
            for name, (add, unfinished, work, url) in ways.items():
                add(connection, jobs)
                connection.execute("vacuum analyze")
                connection.execute("checkpoint")
                times[name].append(seconds(lambda: work(url, workers)))  # noqa: B023
                assert left(connection, unfinished) == 0
    return {name: median(spent) for name, spent in times.items()}


def main(jobs: int = JOBS, workers: int = WORKERS, rounds: int = ROUNDS) -> None:
    configure_logging("critical")
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings.from_environment({"INGESTION_HOME": folder, "DATABASE_URL": ""})
        with database(settings) as environment:
            worker = environment["DATABASE_URL"]
            owner = worker.replace("pipeline_worker@", "postgres@", 1)
            schema = (PROJECT_ROOT / procrastinate.__path__[0] / "sql" / "schema.sql").read_text()
            with psycopg.connect(owner, autocommit=True) as connection:
                connection.execute("create extension if not exists plpgsql")
                connection.execute(schema.encode())
            times = measured(owner, worker, jobs, workers, rounds)
    rates = {name: jobs / spent for name, spent in times.items()}
    peer = rates["procrastinate"]
    print(f"{jobs:,} jobs, {workers} workers, medians of {rounds} rounds")
    print(f"peer: Procrastinate worker        {peer:8,.0f} jobs/s")
    print(f"ours: worker                      {rates['worker']:8,.0f} jobs/s  {share(rates['worker'] / peer, TARGET)}")
    print(f"ours: worker, eight at once       {rates['limited']:8,.0f} jobs/s  {share(rates['limited'] / peer)}")
    print(f"ours: claim and settle alone      {rates['queue']:8,.0f} jobs/s  {share(rates['queue'] / peer)}")


if __name__ == "__main__":
    main()
