"""POST /api/cron/cache-warming: asks for the job that warms the cache, and waits for it."""

from ingestion_pipeline.domains.operations.warming_jobs import CACHE_WARMING, UNIQUE_KEY
from ingestion_pipeline.intake.endpoints import SCHEDULER, Answer, Call, Endpoint, Response, json_answer
from ingestion_pipeline.intake.owners import SCHEDULER_OWNER
from ingestion_pipeline.intake.schemas import ACCEPTED, object_schema, parameter
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.waiting import enqueue_and_wait, output_or_problem, still_working, wait_seconds
from ingestion_pipeline.storage.jobs import NewJob

_COUNTS = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
_WORDS = {"type": "object", "additionalProperties": {"type": "string"}}


_WARMED = object_schema(
    success={"type": "boolean"},
    job_id={"type": "string", "format": "uuid"},
    warmed=_COUNTS | {"description": "Values loaded, by service"},
    problems=_WORDS | {"description": "Why a service was not warmed"},
    health=_WORDS | {"description": "Status of each service of /api/health/data, where it is known"},
    processing_time_ms={"type": "number", "minimum": 0},
)


def warming_endpoints(services: Services) -> list[Endpoint]:
    async def warm(call: Call) -> Answer:
        seconds = wait_seconds(call, services)
        new = NewJob(
            job_type=CACHE_WARMING.name, owner_id=SCHEDULER_OWNER, unique_key=UNIQUE_KEY, request_id=call.request_id
        )
        job = await enqueue_and_wait(services, new, seconds)
        output = output_or_problem(job)
        return still_working(job) if output is None else json_answer(200, {**output, "job_id": job.job_id})

    return [
        Endpoint(
            method="POST",
            path="/api/cron/cache-warming",
            handler=warm,
            access=(SCHEDULER,),
            summary="Warm the cache",
            description="Loads macro series, fundamentals, comparable sales and market snapshots. Every six hours this "
            "happens by itself. A job that is not finished is joined, not started again.",
            parameters=[
                parameter(
                    "wait",
                    {"type": "number", "minimum": 0, "maximum": services.settings.job_wait_seconds},
                    "How many seconds to wait for the job; at most, and by default, JOB_WAIT_SECONDS",
                )
            ],
            responses={
                200: Response(description="It is warm.", schema=_WARMED),
                202: Response(description="The job goes on; `Location` is where to ask for it.", schema=ACCEPTED),
                409: Response(description="Somebody cancelled the job."),
                500: Response(description="The job failed."),
                502: Response(description="The job failed; it may succeed later."),
            },
        )
    ]
