"""The commands of whoever looks after jobs: list them, look at one, ask for one, cancel it, have it tried again."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from ingestion_pipeline.commands.stores import opened_postgres, operator, uuid_of
from ingestion_pipeline.core.errors import ConfigurationError, ContractError
from ingestion_pipeline.core.markets import LONGEST_SLUG, SLUG_PATTERN
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    from ingestion_pipeline.core.jobs import JobType
    from ingestion_pipeline.storage.jobs import JobQueue
    from ingestion_pipeline.storage.postgres import Postgres

T = TypeVar("T")

jobs = typer.Typer(help="Jobs: what was asked for, what became of it.", no_args_is_help=True)

DEFAULT_ROWS, MOST_ROWS = 20, 10_000
MINUTE = "%Y-%m-%dT%H:%M"
KNOWN_ID = "the id of a job; `jobs list` shows them"

Id = Annotated[str, typer.Argument(help="The job's id")]
Market = Annotated[str | None, typer.Option("--market", help="The market that it is about")]
StatusOption = Literal["QUEUED", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED"]


@dataclass(frozen=True)
class _Stores:
    postgres: "Postgres"
    queue: "JobQueue"


@jobs.command("list")
def show_all(
    *,
    status: Annotated[StatusOption | None, typer.Option(help="Only these")] = None,
    job_type: Annotated[str | None, typer.Option("--type", help="Only of this type")] = None,
    market: Market = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="How many at most")] = DEFAULT_ROWS,
) -> None:
    """Jobs of everybody, newest first; the last error stands below them."""
    from ingestion_pipeline.intake.problems import printable

    with _stores() as stores:
        rows = stores.queue.jobs(status=status, job_type=job_type, market_slug=market, rows=limit)
    for job in rows:
        about = f"  {job.market_slug}" if job.market_slug else ""
        attempts = f"attempt {job.attempt_count} of {job.max_attempts}"
        typer.echo(
            f"{job.job_id}  {job.created_at:%Y-%m-%d %H:%M:%S}  {job.status:<9}  {job.job_type}{about}  {attempts}"
        )
        if job.error_message:
            typer.echo(f"    {job.error_kind or 'cancelled'}: {printable(job.error_message)}")
    if not rows:
        typer.echo("no jobs")


@jobs.command()
def show(job_id: Id) -> None:
    """One job with its attempts, as JSON."""
    with _stores() as stores:
        job = _found(stores.queue.job(_uuid(job_id)), job_id)
        attempts = stores.queue.attempts(job.job_id)
    typer.echo(json.dumps({**asdict(job), "attempts": attempts}, indent=2, default=str, ensure_ascii=False))


@jobs.command()
def submit(
    job_type: Annotated[str, typer.Argument(help="Such as market_ingest")],
    *,
    input_data: Annotated[str, typer.Option("--input", help="What it needs, as JSON")] = "{}",
    market: Market = None,
    unique_key: Annotated[
        str | None, typer.Option(help="While a job with it is not finished, no other is made")
    ] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher ones first")] = 0,
    run_at: Annotated[datetime | None, typer.Option(formats=[MINUTE], help="Not before this minute, UTC")] = None,
) -> None:
    """Ask for a job; a worker of `up` does it within seconds."""
    import psycopg

    from ingestion_pipeline.storage.jobs import NewJob

    kind = _type(job_type)
    _require_market(market)
    _require_key(unique_key)
    data = _input(kind, input_data, market)
    new = NewJob(
        job_type=kind.name,
        owner_id=operator(),
        input_data=data,
        market_slug=market,
        unique_key=unique_key,
        priority=priority,
        run_at=None if run_at is None else run_at.replace(tzinfo=UTC),
        max_attempts=kind.max_attempts,
    )
    with _stores() as stores:
        try:
            job_id, is_new = stores.queue.enqueue(new)
        except psycopg.DataError as error:
            raise ConfigurationError("--input", input_data, f"JSON that PostgreSQL can hold: {error}") from None
    typer.echo(job_id if is_new else f"{job_id}  is not finished and has this key")


@jobs.command()
def cancel(job_id: Id) -> None:
    """Cancel a job; one that runs is asked to end."""
    with _stores() as stores:
        status = _found(stores.queue.cancel(_uuid(job_id)), job_id)
        if status not in ("CANCELLED", "RUNNING"):
            raise ConfigurationError("JOB_ID", job_id, f"a job that is not finished: it is {status}")
        _audit(stores.postgres, "job cancel", job_id)
    typer.echo("cancelled" if status == "CANCELLED" else "it runs and is asked to end")


@jobs.command()
def retry(job_id: Id) -> None:
    """Have a failed or cancelled job tried again."""
    import psycopg

    with _stores() as stores:
        try:
            status = _found(stores.queue.retry(_uuid(job_id)), job_id)
        except psycopg.errors.UniqueViolation:
            expected = "a job whose unique key no unfinished job has"
            raise ConfigurationError("JOB_ID", job_id, expected) from None
        except psycopg.errors.CheckViolation:
            raise ConfigurationError("JOB_ID", job_id, "a job that was not tried so often: ask for a new one") from None
        if status != "QUEUED":
            raise ConfigurationError("JOB_ID", job_id, f"a job that failed or was cancelled: it is {status}")
        _audit(stores.postgres, "job retry", job_id)
    typer.echo("it is in the queue again")


def job_types() -> "dict[str, JobType]":
    """Every kind of job, by name."""
    from ingestion_pipeline.kinds import JOB_TYPES

    return {it.name: it for it in JOB_TYPES}


def _type(name: str) -> "JobType":
    types = job_types()
    if name not in types:
        raise ConfigurationError("TYPE", name, " or ".join(get_close_matches(name, types) or sorted(types)))
    return types[name]


def _input(kind: "JobType", text: str, market: str | None) -> dict[str, object]:
    import msgspec

    try:
        data = msgspec.json.decode(text.encode(), type=dict[str, object])
        kind.check(kind.input_of(data), market, Settings.from_environment())
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise ConfigurationError("--input", text, f"a JSON object that fits {kind.name}: {error}") from None
    except ContractError as error:
        option = "--market" if error.field == "market_slug" else "--input"
        raise ConfigurationError(option, error.seen, f"{error.field}: {error.expected}") from None
    return data


def _require_market(market: str | None) -> None:
    if market is not None and (len(market) > LONGEST_SLUG or not re.fullmatch(SLUG_PATTERN, market)):
        raise ConfigurationError("--market", market, "lower-case words with hyphens such as san-antonio")


def _require_key(unique_key: str | None) -> None:
    from ingestion_pipeline.domains.operations.job_openapi import LONGEST_KEY

    if unique_key is not None and not (1 <= len(unique_key) <= LONGEST_KEY and unique_key.isprintable()):
        raise ConfigurationError("--unique-key", unique_key, f"1 to {LONGEST_KEY} printable characters")


def _found(value: T | None, job_id: str) -> T:
    if value is None:
        raise ConfigurationError("JOB_ID", job_id, KNOWN_ID)
    return value


def _uuid(job_id: str) -> str:
    return str(uuid_of(job_id, option="JOB_ID", expected=KNOWN_ID))


def _audit(postgres: "Postgres", action: str, job_id: str) -> None:
    from ingestion_pipeline.storage.audit import write_audit

    with postgres.transaction() as connection:
        write_audit(connection, actor=operator(), action=action, details={"job_id": job_id})


@contextmanager
def _stores() -> Iterator[_Stores]:
    from ingestion_pipeline.storage.jobs import JobQueue

    with opened_postgres() as postgres:
        yield _Stores(postgres, JobQueue(postgres))
