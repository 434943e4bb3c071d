"""What the job `cache_warming` does, and the schedule that asks for it every six hours.

In memory-only mode the cache of a run ends with it: the intake warms its own when it reads the event that is recorded
here (intake/invalidations.py).
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ingestion_pipeline.core.errors import PermanentError, TransientError
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.domains.operations.warming_jobs import CACHE_WARMING, UNIQUE_KEY, CacheWarmingInput
from ingestion_pipeline.orchestration.jobs import JobContext, JobHandler
from ingestion_pipeline.orchestration.schedules import plain_schedule
from ingestion_pipeline.providers.alerts import Words
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_ingestion
from ingestion_pipeline.storage.jobs import JobQueue, NewJob
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import WARMING_EVENT, Stores, Warmer, warm_all

SOURCE = "cache-warming"
OWNER = "scheduler"
EVERY_SIX_HOURS = "0 */6 * * *"
_HEALTH = "select service, status from operations.health_states order by service"


def warming_handlers(warmers: Sequence[Warmer]) -> Mapping[JobType, JobHandler]:
    """The handler over `warmers`, which are those of all domains."""

    def cache_warming(context: JobContext, given: CacheWarmingInput) -> Mapping[str, Any]:
        """Warms what is asked for; a service that fails keeps no other back.

        Raises:
            PermanentError: a service is unknown.
            TransientError: nothing was warmed, and something failed.
        """
        started, chosen = time.perf_counter(), _chosen(warmers, given.services)
        stores = Stores(context.settings, context.postgres, context.cache)
        warmed = warm_all(chosen, stores, before=context.stop_if_cancelled)
        words = Words(context.settings)
        problems = {service: words.clean(problem) for service, problem in warmed.problems.items()}
        has_failed = bool(problems) and not sum(warmed.counts.values())
        elapsed_ms = (time.perf_counter() - started) * 1000
        with context.postgres.transaction() as connection:
            output = {
                "success": not problems,
                "warmed": warmed.counts,
                "problems": problems,
                "health": dict(connection.execute(_HEALTH).fetchall()),
                "processing_time_ms": round(elapsed_ms, 1),
            }
            event = IngestionEvent(
                event_type=WARMING_EVENT,
                source=SOURCE,
                status="failed" if has_failed else "partial" if problems else "success",
                processed_records=sum(warmed.counts.values()),
                processing_time_ms=elapsed_ms,
                provenance={"services": warmed.counts, "problems": problems},
                job_id=context.job.job_id,
            )
            record_ingestion(connection, event)
            if not has_failed:
                context.complete(connection, output)
        if has_failed:
            raise TransientError("; ".join(f"{service} not warmed: {problem}" for service, problem in problems.items()))
        return output

    return {CACHE_WARMING: cache_warming}


def _chosen(warmers: Sequence[Warmer], services: Sequence[str] | None) -> list[Warmer]:
    known = {warmer.service for warmer in warmers}
    unknown = sorted(set(services or ()) - known)
    if unknown:
        raise PermanentError(f"services: {', '.join(unknown)} unknown, expected {', '.join(sorted(known))}")
    return [warmer for warmer in warmers if services is None or warmer.service in services]


@dg.op(description="Asks for a job of type cache_warming, unless one is waiting.")
def request_cache_warming(context: dg.OpExecutionContext, postgres: dg.ResourceParam[Postgres]) -> None:
    job_id, is_new = JobQueue(postgres).enqueue(
        NewJob(job_type=CACHE_WARMING.name, owner_id=OWNER, unique_key=UNIQUE_KEY)
    )
    context.log.info("job %s is %s", job_id, "new" if is_new else "waiting already")


@dg.job(description="Asks for the cache to be warmed.")
def operations_cache_warming_job() -> None:
    request_cache_warming()


operations_cache_warming_schedule = plain_schedule(
    "operations_cache_warming_schedule",
    operations_cache_warming_job,
    EVERY_SIX_HOURS,
    description="Asks for the cache to be warmed every six hours.",
)
