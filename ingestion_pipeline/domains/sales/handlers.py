"""What a job of type `platform_ingest` does: validate, fetch or parse, store, and say how much.

The ledger's rows, the file's row and the job's end are one transaction: a worker that is killed has done
all or nothing.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ingestion_pipeline.core.errors import PermanentError
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.domains.sales.contracts import QuarantineError, RowProblem
from ingestion_pipeline.domains.sales.jobs import PLATFORM_INGEST, PlatformIngest, SalesOptions, sales_options
from ingestion_pipeline.domains.sales.ledger import Stored, store_report
from ingestion_pipeline.domains.sales.platforms import PLATFORMS, Asked, Fetched, quarantine
from ingestion_pipeline.domains.sales.report_drop import queue_waiting
from ingestion_pipeline.orchestration.jobs import JobContext, JobHandler

SHOWN_PROBLEMS = 20


def platform_ingest(context: JobContext, given: PlatformIngest) -> Mapping[str, Any]:
    """Takes what is asked for into the ledger; answers with what was found and what it changed."""
    return ingest(context, given, sales_options(context.settings))


def ingest(context: JobContext, given: PlatformIngest, options: SalesOptions) -> Mapping[str, Any]:
    """One job, from its input to its output.

    Raises:
        QuarantineError: the file was set aside.
        PermanentError, TransientError: as platforms say.
    """
    try:
        payload = given.of_platform()
    except msgspec.ValidationError as error:
        raise PermanentError(f"payload: {error}") from error
    if not given.payload and given.platform != "gumroad":
        return {"platform": given.platform, "queued": queue_waiting(context.postgres, options, given.platform)}
    asked = Asked(
        owner_id=context.job.owner_id,
        job_id=context.job.job_id,
        options=options,
        postgres=context.postgres,
        go_on=context.stop_if_cancelled,
    )
    fetched = PLATFORMS[given.platform].fetch(payload, asked)
    context.stop_if_cancelled()
    try:
        with context.postgres.transaction() as connection:
            stored = store_report(connection, fetched.owner_id, fetched.report, fetched.file)
            output = summary(given.platform, fetched, stored)
            context.complete(connection, output)
    except QuarantineError as error:
        quarantine(context.postgres, fetched.owner_id, fetched.file, str(error))
        raise
    return output


def summary(platform: str, fetched: Fetched, stored: Stored) -> dict[str, Any]:
    """The job's output."""
    report = fetched.report
    return {
        "platform": platform,
        "report": report.report,
        "period_start": report.period and report.period.start,
        "period_end": report.period and report.period.end,
        "is_final": report.is_final,
        "events_count": report.rows.num_rows,
        "inserted": stored.inserted,
        "updated": stored.updated,
        "unchanged": stored.unchanged,
        "superseded": stored.superseded,
        "payments": stored.payments,
        "problems_count": len(report.problems),
        "problems": [_shown(problem) for problem in report.problems[:SHOWN_PROBLEMS]],
        "skipped": [{"sheet": it.sheet, "reason": it.reason} for it in report.left_out],
        **fetched.facts,
    }


def _shown(problem: RowProblem) -> dict[str, Any]:
    return {
        "sheet": problem.sheet,
        "row": problem.row_number,
        "column": problem.column,
        "seen": problem.seen,
        "expected": problem.expected,
    }


HANDLERS: Mapping[JobType, JobHandler] = {PLATFORM_INGEST: platform_ingest}
