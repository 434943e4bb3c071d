"""`ingestion-pipeline sales …`: have a report file taken into the ledger, and see which files there are."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ingestion_pipeline.commands.stores import command_settings, opened_postgres
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.file_names import file_name
from ingestion_pipeline.domains.sales.inputs import MOST_FILE_BYTES, PlatformName

if TYPE_CHECKING:
    from ingestion_pipeline.storage.jobs import Job

sales = typer.Typer(help="Sales of authors: report files and what became of them.", no_args_is_help=True)

DEFAULT_ROWS, MOST_ROWS = 20, 10_000
POLL_SECONDS = 0.25
COUNTS = ("inserted", "updated", "unchanged", "superseded", "payments")
_FILES = """
select
    owner_id, platform, name, sha256, status, report, period_start, period_end, row_count, problem_count, reason,
    received_at
from sales.report_files
where
    (%(platform)s::text is null or platform = %(platform)s)
    and (%(status)s::text is null or status = %(status)s)
    and (%(owner)s::text is null or owner_id = %(owner)s)
order by received_at desc, sha256
limit %(rows)s
"""

FileStatus = Literal["received", "ingested", "quarantined"]


@sales.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="The report as it was downloaded", exists=True, dir_okay=False)],
    *,
    platform: Annotated[PlatformName, typer.Option(help="Where it was downloaded")],
    owner: Annotated[str | None, typer.Option(help="Whose sales they are; SALES_OWNER without it")] = None,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for the end")] = 60.0,
) -> None:
    """Keep a report file and have it taken into the ledger; a worker of `up` does it within seconds."""
    from ingestion_pipeline.domains.sales.jobs import RECEIVE_FILE, ingest_job, sales_options
    from ingestion_pipeline.storage.jobs import ENQUEUE, JobQueue
    from ingestion_pipeline.storage.kept_files import kept_files

    settings = command_settings()
    found = file.stat()
    size, written = found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)
    if not 0 < size <= MOST_FILE_BYTES:
        raise ConfigurationError("FILE", str(file), f"a file of 1 to {MOST_FILE_BYTES:,} bytes; it has {size:,}")
    options = sales_options(settings)
    owner_id = owner or options.owner
    with opened_postgres(settings) as postgres:
        with file.open("rb") as content:
            sha256 = kept_files(options.files_url, s3_endpoint_url=options.s3_endpoint_url).keep(content)
        name = file_name(file.name)
        facts = {"owner_id": owner_id, "sha256": sha256, "platform": platform, "name": name, "size_bytes": size}
        new = ingest_job(platform, {"file_sha256": sha256, "name": name}, owner_id=owner_id)
        with postgres.transaction() as connection:
            connection.execute(RECEIVE_FILE, {**facts, "exported_at": written})
            row = connection.execute(ENQUEUE.encode(), new.parameters()).fetchone()
        job_id = str(row[0]) if row else ""
        queue, deadline = JobQueue(postgres), time.monotonic() + wait
        while (job := queue.job(job_id)) and not job.is_finished and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    _tell(job_id, job)


@sales.command()
def files(
    *,
    platform: Annotated[PlatformName | None, typer.Option(help="Only of this one")] = None,
    status: Annotated[FileStatus | None, typer.Option(help="Only these")] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this one")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="How many at most")] = DEFAULT_ROWS,
) -> None:
    """Report files, newest first; why one is in quarantine stands below it."""
    from psycopg.rows import dict_row

    chosen = {"platform": platform, "status": status, "owner": owner, "rows": limit}
    with (
        opened_postgres() as postgres,
        postgres.transaction() as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        rows = cursor.execute(_FILES, chosen).fetchall()
    for row in rows:
        period = f"{row['period_start']} to {row['period_end']}" if row["period_start"] else "-"
        counted = f"{row['row_count'] or 0} row(s), {row['problem_count'] or 0} problem(s)"
        typer.echo(
            f"{row['received_at']:%Y-%m-%d %H:%M:%S}  {row['status']:<11}  {row['platform']:<13}  "
            f"{row['report'] or '-':<15}  {period}  {counted}  {row['owner_id']}  {_shown(row['name'])}  "
            f"{row['sha256'][:12]}"
        )
        if row["reason"]:
            typer.echo(f"    {_shown(row['reason'])}")
    if not rows:
        typer.echo("no files")


def _shown(text: str) -> str:
    """`text` without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _tell(job_id: str, job: "Job | None") -> None:
    if job is None or not job.is_finished:
        typer.echo(f"{job_id}  is in the queue; `ingestion-pipeline jobs show {job_id}` tells what became of it")
        return
    if job.status != "COMPLETED":
        typer.echo(f"{job_id}  {job.status}: {_shown(job.error_message or '')}", err=True)
        raise typer.Exit(1)
    output = job.output_data or {}
    counts = ", ".join(f"{output.get(name, 0)} {name}" for name in COUNTS)
    period = f" {output['period_start']} to {output['period_end']}" if output.get("period_start") else ""
    typer.echo(f"{output.get('report')}{period}: {output.get('events_count', 0)} row(s): {counts}")
    for problem in output.get("problems", []):
        place = f"{problem['sheet'] or 'file'} row {problem['row']}, {problem['column']}"
        typer.echo(f"    {place}: {problem['seen']!r}, expected {problem['expected']}")
    for skipped in output.get("skipped", []):
        typer.echo(f"    left out: {skipped['sheet'] or 'rows'}: {skipped['reason']}")
