"""`ingestion-pipeline jobs …` on a database of a test's own: what it prints, what it refuses, what it does."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from ingestion_pipeline.commands.jobs import job_types, jobs
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.storage.jobs import JobQueue, NewJob
from ingestion_pipeline.storage.postgres import Postgres

NOBODYS = "00000000-0000-4000-8000-000000000000"
FREE: dict[str, int | None] = {"market_ingest": None}


@pytest.fixture
def queue(postgres: Postgres) -> JobQueue:
    return JobQueue(postgres)


@pytest.fixture
def command(
    worker_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Runs it as a worker's login; its own errors are raised, as `main` gets them."""
    for name, value in {
        "DATABASE_URL": worker_url,
        "INGESTION_HOME": str(tmp_path_factory.mktemp("home")),
        "DAGSTER_PG_URL": "",
        "LOG_LEVEL": "error",
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(jobs, list(arguments))
        if isinstance(result.exception, ConfigurationError):
            raise result.exception
        return result

    return run


def printed(result: Result) -> str:
    assert 0 == result.exit_code, result.output
    return result.output.strip()


def test_a_job_is_asked_for_listed_and_shown(command: Callable[..., Result], queue: JobQueue) -> None:
    """With everything that was given; in the name of who runs the command."""
    job_id = printed(
        command(
            *("submit", "market_ingest", "--input", '{"symbols": ["SPX"]}', "--market", "spx", "--priority", "5"),
            *("--unique-key", "k", "--run-at", "2026-01-02T03:04"),
        )
    )
    job = queue.job(job_id)
    assert job is not None
    assert ({"symbols": ["SPX"]}, "spx", 5, "k") == (job.input_data, job.market_slug, job.priority, job.unique_key)
    assert "2026-01-02T03:04:00+00:00" == job.run_at.isoformat()
    assert job.owner_id.startswith("cli")
    again = printed(command("submit", "market_ingest", "--unique-key", "k"))
    assert f"{job_id}  is not finished and has this key" == again
    (claimed,) = queue.claim("w", FREE)
    queue.settle(claimed.attempt_id, "failed", error_kind="transient", error_message="no answer")
    listed = printed(command("list"))
    assert f"{job_id}  {job.created_at:%Y-%m-%d %H:%M:%S}  RETRYING   market_ingest  spx  attempt 1 of 3" in listed
    assert "    transient: no answer" in listed
    shown = json.loads(printed(command("show", job_id)))
    assert ("RETRYING", "retrying", "w") == (
        shown["status"],
        shown["attempts"][0]["outcome"],
        shown["attempts"][0]["worker"],
    )


def test_the_list_can_be_chosen_from(command: Callable[..., Result], queue: JobQueue) -> None:
    """Jobs of everybody; none is said too."""
    assert "no jobs" == printed(command("list"))
    first, _ = queue.enqueue(NewJob(job_type="market_ingest", owner_id="me", market_slug="dallas"))
    second, _ = queue.enqueue(NewJob(job_type="prediction", owner_id="you"))
    queue.cancel(first)
    for arguments, expected in (
        (("--limit", "1"), second),
        (("--status", "CANCELLED"), first),
        (("--type", "prediction"), second),
        (("--market", "dallas"), first),
    ):
        (line,) = printed(command("list", *arguments)).splitlines()
        assert line.startswith(expected)


def test_a_job_is_cancelled_and_retried_and_that_is_audited(
    command: Callable[..., Result], queue: JobQueue, postgres: Postgres
) -> None:
    """Waiting, then running."""
    job_id, _ = queue.enqueue(NewJob(job_type="market_ingest", owner_id="me"))
    assert "cancelled" == printed(command("cancel", job_id))
    assert "it is in the queue again" == printed(command("retry", job_id))
    (claimed,) = queue.claim("w", FREE)
    assert "it runs and is asked to end" == printed(command("cancel", job_id))
    assert {claimed.attempt_id: True} == queue.heartbeat("w")
    with postgres.transaction() as connection:
        audited = connection.execute(
            "select action from operations.audit_log where details ->> 'job_id' = %s order by audit_id", [job_id]
        ).fetchall()
    assert [("job cancel",), ("job retry",), ("job cancel",)] == audited


def test_what_cannot_be_is_refused_with_what_is(command: Callable[..., Result], queue: JobQueue) -> None:
    """The state that it is in, or the key that is in the way."""
    job_id, _ = queue.enqueue(NewJob(job_type="market_ingest", owner_id="me", unique_key="k"))
    (claimed,) = queue.claim("w", FREE)
    with pytest.raises(ConfigurationError, match="it is RUNNING"):
        command("retry", job_id)
    queue.settle(claimed.attempt_id, "failed", error_kind="permanent", error_message="x")
    with pytest.raises(ConfigurationError, match="it is FAILED"):
        command("cancel", job_id)
    queue.enqueue(NewJob(job_type="market_ingest", owner_id="me", unique_key="k"))
    with pytest.raises(ConfigurationError, match="unique key"):
        command("retry", job_id)


@pytest.mark.parametrize("name", ["show", "cancel", "retry"])
@pytest.mark.parametrize("job_id", [NOBODYS, "17"])
def test_a_job_that_is_not_there_is_said(command: Callable[..., Result], name: str, job_id: str) -> None:
    """With where to find those that are."""
    with pytest.raises(ConfigurationError, match="jobs list"):
        command(name, job_id)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("market_ingests",), "market_ingest"),
        (
            ("?",),
            (
                "accuracy_check or cache_warming or data_sync or market_ingest or platform_ingest or prediction or "
                "rebuild_search or rollup"
            ),
        ),
        (("market_ingest", "--input", "{"), "JSON"),
        (("market_ingest", "--input", "[]"), "Expected `object`"),
        (("market_ingest", "--input", '{"symbols": 1}'), "symbols"),
        (("market_ingest", "--input", '{"symbols": ["SPXX"]}'), "input_data.symbols[0]: SPX"),
        (("cache_warming", "--input", '{"services": ["makro"]}'), "input_data.services[0]: macro or fundamentals"),
        (("prediction",), "--market="),
        (
            (
                "prediction",
                "--market",
                "dallas",
                "--input",
                '{"properties": [{"property_id": "\\u0000", "property_type": "house"}]}',
            ),
            "PostgreSQL",
        ),
        (("market_ingest", "--market", ""), "--market="),
        (("market_ingest", "--market", "San Antonio"), "--market="),
        (("market_ingest", "--market", "x" * 101), "--market="),
        (("market_ingest", "--unique-key", ""), "--unique-key="),
        (("market_ingest", "--unique-key", "x" * 301), "--unique-key="),
        (("market_ingest", "--unique-key", "a\x1bb"), "--unique-key="),
    ],
)
def test_a_job_that_no_worker_could_do_is_refused(
    command: Callable[..., Result], queue: JobQueue, arguments: tuple[str, ...], expected: str
) -> None:
    """Before it is in the queue."""
    with pytest.raises(ConfigurationError) as raised:
        command("submit", *arguments)
    assert expected in str(raised.value)
    assert [] == queue.jobs()


def test_an_error_cannot_steer_the_terminal(command: Callable[..., Result], queue: JobQueue) -> None:
    """What a source answered is shown without control characters."""
    queue.enqueue(NewJob(job_type="market_ingest", owner_id="me"))
    (claimed,) = queue.claim("w", FREE)
    queue.settle(claimed.attempt_id, "failed", error_kind="permanent", error_message="a\x1b[2Jb")
    assert "permanent: a\ufffd[2Jb" in printed(command("list"))


def test_no_two_types_have_one_name() -> None:
    """Whatever domain they are of."""
    names = {
        "market_ingest",
        "prediction",
        "accuracy_check",
        "data_sync",
        "platform_ingest",
        "cache_warming",
        "rollup",
    } | {"rebuild_search"}
    assert names == set(job_types())
