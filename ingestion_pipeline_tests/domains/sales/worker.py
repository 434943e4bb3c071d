"""A worker of sales jobs over the real queue."""

from datetime import timedelta
from typing import Any

from ingestion_pipeline.domains.sales import handlers
from ingestion_pipeline.domains.sales.jobs import PLATFORM_INGEST, SalesOptions
from ingestion_pipeline.orchestration.jobs import JobContext, JobWorker
from ingestion_pipeline.storage.jobs import LEASE
from ingestion_pipeline.storage.postgres import Postgres


def worker(postgres: Postgres, options: SalesOptions, *, lease: timedelta = LEASE) -> JobWorker:
    """As the code location has it, without Dagster around it."""
    nothing: Any = None

    def context_of(job: Any, attempt: Any) -> JobContext:
        return JobContext(job, nothing, postgres, nothing, nothing, nothing, nothing, attempt)

    return JobWorker(
        postgres=postgres,
        handlers={PLATFORM_INGEST: lambda context, given: handlers.ingest(context, given, options)},
        context_of=context_of,
        secrets=frozenset({options.gumroad_access_token or ""} - {""}),
        lease=lease,
        heartbeat_seconds=lease.total_seconds() / 5,
    )
