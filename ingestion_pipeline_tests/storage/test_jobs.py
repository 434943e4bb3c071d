"""The queue in PostgreSQL keeps what the suite promises; who may see and add which jobs is proved as the roles."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.storage.jobs import ENQUEUE, JobQueue, NewJob, settle
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.storage.job_queue_suite import FREE, JobQueueSuite

MINE = NewJob(job_type="plain", owner_id="me")


@pytest.fixture
def queue(postgres: Postgres) -> JobQueue:
    """As the role of workers."""
    return JobQueue(postgres)


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


class TestJobsInPostgres(JobQueueSuite):
    @pytest.fixture(autouse=True)
    def _owner(self, owner: psycopg.Connection[Any]) -> None:
        self._connection = owner

    def make_due(self, job_id: str) -> None:
        self.change(self._connection, job_id, "run_at = clock_timestamp()")


# what else a worker can rely on


def test_a_settle_in_a_transaction_of_its_own_caller_is_part_of_it(queue: JobQueue, postgres: Postgres) -> None:
    """Rolled back, the job still runs; committed, it is there together with the rest."""
    job_id, _ = queue.enqueue(MINE)
    (claimed,) = queue.claim("w", FREE)
    with postgres.transaction() as connection:
        assert "COMPLETED" == settle(connection, claimed.attempt_id, "completed", output={})
        connection.rollback()
    assert (job := queue.job(job_id))
    assert "RUNNING" == job.status
    with postgres.transaction() as connection:
        assert "COMPLETED" == settle(connection, claimed.attempt_id, "completed", output={})
    assert (job := queue.job(job_id))
    assert "COMPLETED" == job.status


def test_output_that_jsonb_cannot_hold_leaves_the_job_running(queue: JobQueue) -> None:
    """The worker is told and can settle it otherwise."""
    job_id, _ = queue.enqueue(MINE)
    (claimed,) = queue.claim("w", FREE)
    with pytest.raises(psycopg.DataError):
        queue.settle(claimed.attempt_id, "completed", output={"a": "\0"})
    assert (job := queue.job(job_id))
    assert "RUNNING" == job.status


def test_the_newest_jobs_come_first_and_can_be_chosen(queue: JobQueue) -> None:
    """By state, type and market."""
    first, _ = queue.enqueue(MINE)
    second, _ = queue.enqueue(NewJob(job_type="other", owner_id="you", market_slug="dallas"))
    queue.cancel(first)
    assert [second, first] == [job.job_id for job in queue.jobs()]
    assert [second] == [job.job_id for job in queue.jobs(rows=1)]
    assert [first] == [job.job_id for job in queue.jobs(status="CANCELLED")]
    assert [second] == [job.job_id for job in queue.jobs(job_type="other")]
    assert [second] == [job.job_id for job in queue.jobs(market_slug="dallas")]


def test_a_server_that_is_away_is_a_transient_error() -> None:
    """Of ours, not the driver's."""
    with pytest.raises(StoreUnavailableError):
        JobQueue(Postgres("postgresql://pipeline_worker@127.0.0.1:1/nowhere")).enqueue(MINE)


# row-level security, as the intake


@pytest.fixture
def intake(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The role of the HTTP intake; every statement within one transaction."""
    with psycopg.connect(database_url.replace("postgres@", "pipeline_intake@", 1)) as connection:
        yield connection


def act_as(connection: psycopg.Connection[Any], name: str, value: str) -> None:
    connection.rollback()
    connection.execute("select set_config(%s, %s, true)", [name, value])


def seen(connection: psycopg.Connection[Any]) -> set[str]:
    return {job_id for (job_id,) in connection.execute("select job_id::text from operations.jobs").fetchall()}


def test_the_intake_sees_the_jobs_and_attempts_of_its_caller_only(
    queue: JobQueue, intake: psycopg.Connection[Any]
) -> None:
    """An operator's all, nobody's none."""
    mine, _ = queue.enqueue(MINE)
    yours, _ = queue.enqueue(NewJob(job_type="plain", owner_id="you"))
    queue.claim("w", FREE, most=2)
    attempts = "select job_id::text from operations.job_attempts order by 1"
    for setting, value, expected in (
        ("app.user_id", "me", {mine}),
        ("app.user_id", "you", {yours}),
        ("app.user_id", "", set()),
        ("app.user_id", "nobody", set()),
        ("app.scope", "operator", {mine, yours}),
        ("app.scope", "other", set()),
    ):
        act_as(intake, setting, value)
        assert expected == seen(intake)
        assert sorted(expected) == [job_id for (job_id,) in intake.execute(attempts).fetchall()]
    intake.rollback()
    assert set() == seen(intake)


def test_the_intake_enqueues_for_its_caller_only(queue: JobQueue, intake: psycopg.Connection[Any]) -> None:
    """For somebody else it is refused, also for an operator and for nobody; the key of another is no obstacle."""
    queue.enqueue(NewJob(job_type="plain", owner_id="you", unique_key="k"))
    for setting, value in (("app.user_id", "me"), ("app.user_id", ""), ("app.scope", "operator")):
        act_as(intake, setting, value)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            intake.execute(ENQUEUE.encode(), NewJob(job_type="plain", owner_id="you").parameters())
    act_as(intake, "app.user_id", "me")
    new = NewJob(job_type="plain", owner_id="me", unique_key="k").parameters()
    first = intake.execute(ENQUEUE.encode(), new).fetchone()
    assert first is not None
    assert True is first[1]
    assert (first[0], False) == intake.execute(ENQUEUE.encode(), new).fetchone()


@pytest.mark.parametrize("function", ["cancel_job", "retry_job"])
def test_the_intake_changes_the_jobs_of_its_caller_only(
    queue: JobQueue, intake: psycopg.Connection[Any], function: str
) -> None:
    """Another's job is not there; an operator may."""
    job_id, _ = queue.enqueue(MINE)
    if function == "retry_job":
        queue.cancel(job_id)
    statement = f"select operations.{function}(%s)".encode()
    for setting, value in (("app.user_id", "you"), ("app.user_id", ""), ("app.scope", "")):
        act_as(intake, setting, value)
        assert (None,) == intake.execute(statement, [job_id]).fetchone()
    changed = "CANCELLED" if function == "cancel_job" else "QUEUED"
    for setting, value in (("app.user_id", "me"), ("app.scope", "operator")):
        act_as(intake, setting, value)
        assert (changed,) == intake.execute(statement, [job_id]).fetchone()


@pytest.mark.parametrize(
    "statement",
    [
        "update operations.jobs set status = 'CANCELLED', finished_at = now()",
        "delete from operations.jobs",
        "select operations.settle_job(1, 'completed')",
        "select operations.claim_jobs('w', '{plain}', '{null}', 1, '30 s')",
        "select operations.rescue_jobs()",
        "select operations.heartbeat_jobs('w', '30 s')",
        "delete from operations.job_attempts",
    ],
)
def test_the_intake_cannot_do_the_work_of_workers(intake: psycopg.Connection[Any], statement: str) -> None:
    """Whatever it is told to."""
    act_as(intake, "app.scope", "operator")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        intake.execute(statement.encode())


def test_whoever_reads_figures_sees_jobs_and_changes_none(queue: JobQueue, database_url: str) -> None:
    """The role behind dashboards."""
    queue.enqueue(MINE)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role pipeline_reader")
        assert 1 == len(seen(connection))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("update operations.jobs set priority = 1")
