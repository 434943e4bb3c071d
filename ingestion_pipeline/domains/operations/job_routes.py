"""The endpoints of jobs: ask for one, see what became of it, cancel it, have it tried again.

Callers see their own jobs, filtered here and by row-level security; `jobs:admin` sees all. Another's job is not there.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.core.markets import LONGEST_SLUG, SLUG_PATTERN
from ingestion_pipeline.domains.operations import job_openapi as openapi
from ingestion_pipeline.intake.bodies import decode, field_error
from ingestion_pipeline.intake.endpoints import PERSON, SCHEDULER, Answer, Call, Caller, Endpoint, json_answer
from ingestion_pipeline.intake.owners import acting_as, acting_as_operator, is_operator, owner_of
from ingestion_pipeline.intake.parameters import cursor_of, position_of, query_of, refused, require_storable
from ingestion_pipeline.intake.problems import FieldError, Problem, retry_after
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.waiting import enqueue, job_address, wait_for, wait_seconds
from ingestion_pipeline.storage.audit import AUDIT, audit_row
from ingestion_pipeline.storage.jobs import ATTEMPTS, JOB_COLUMNS, JOBS, UNFINISHED, Job, NewJob

ADMIN = "jobs:admin"
ACCESS = ("jobs:write", ADMIN, PERSON)
SHOW_ACCESS = (*ACCESS, "ingest:write", "sales:write", SCHEDULER)
"""Also those who are answered with a job's address elsewhere."""
MAX_BODY_BYTES = 262_144
MAX_PERSON_BODY_BYTES = 32_768
MOST_UNFINISHED, MOST_AN_HOUR = 100, 200
"""How many unfinished jobs a person may have, and how many they may ask for in an hour."""
LATEST_RUN = timedelta(days=366)
FOR_PERSONS = ("prediction",)
"""The types that persons may ask for, unless the composition says otherwise."""

_Slug = Annotated[str, msgspec.Meta(pattern=SLUG_PATTERN, max_length=LONGEST_SLUG)]
_Priority = Annotated[int, msgspec.Meta(ge=-openapi.HIGHEST_PRIORITY, le=openapi.HIGHEST_PRIORITY)]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]

_OWN_JOB = (
    f"select {JOB_COLUMNS} from operations.jobs "
    "where job_id = %(job_id)s and (%(owner_id)s::text is null or owner_id = %(owner_id)s)"
)
_TAKE_TURNS = "select pg_advisory_xact_lock(hashtextextended('jobs of ' || %s, 0))"
_COUNTS = """
select
    (
        select count(*) from (
            select from operations.jobs
            where owner_id = %(owner)s and status = any(%(unfinished)s) limit %(most_unfinished)s
        ) as unfinished
    ),
    (
        select count(*) from (
            select from operations.jobs
            where owner_id = %(owner)s and created_at > clock_timestamp() - interval '1 hour' limit %(most_an_hour)s
        ) as new
    )
"""


class JobBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/jobs."""

    job_type: str
    market_slug: _Slug | None = None
    input_data: dict[str, Any] = {}
    unique_key: Annotated[str, msgspec.Meta(min_length=1, max_length=openapi.LONGEST_KEY)] | None = None
    priority: _Priority = 0
    run_at: _Instant | None = None


class JobsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of GET /api/jobs."""

    status: Literal["QUEUED", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED"] | None = None
    job_type: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    market_slug: _Slug | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=openapi.MAX_PAGE)] = openapi.DEFAULT_PAGE
    cursor: str | None = None


class Place(msgspec.Struct, array_like=True):
    """Where a page ended."""

    created_at: _Instant
    job_id: UUID


_BODY = msgspec.json.Decoder(JobBody)


def job_endpoints(
    services: Services, types: Sequence[JobType], *, for_persons: Collection[str] = FOR_PERSONS
) -> list[Endpoint]:
    """The endpoints; applications may ask for jobs of `types`, persons for those of them in `for_persons`."""
    jobs = Jobs(services, types, for_persons)
    return [
        Endpoint(
            method="POST",
            path="/api/jobs",
            handler=jobs.submit,
            access=ACCESS,
            summary="Ask for a job",
            description=openapi.submit_description(types),
            request_schema=openapi.submit_schema(types),
            max_body_bytes=MAX_BODY_BYTES,
            responses=openapi.SUBMIT_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/jobs",
            handler=jobs.page,
            access=ACCESS,
            summary="Jobs, newest first",
            parameters=openapi.LIST_PARAMETERS,
            responses=openapi.LIST_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/jobs/{job_id}",
            handler=jobs.one,
            access=SHOW_ACCESS,
            summary="One job with its attempts",
            parameters=[*openapi.JOB_PARAMETERS, openapi.WAIT],
            responses=openapi.SHOW_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path="/api/jobs/{job_id}/cancel",
            handler=jobs.cancel,
            access=ACCESS,
            summary="Cancel a job",
            parameters=openapi.JOB_PARAMETERS,
            responses=openapi.CANCEL_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path="/api/jobs/{job_id}/retry",
            handler=jobs.retry,
            access=ACCESS,
            summary="Have a failed or cancelled job tried again",
            parameters=openapi.JOB_PARAMETERS,
            responses=openapi.RETRY_RESPONSES,
        ),
    ]


class Jobs:
    """Answers them."""

    def __init__(self, services: Services, types: Sequence[JobType], for_persons: Collection[str]) -> None:
        self._services = services
        self._types = {it.name: it for it in types}
        self._for_persons = for_persons

    async def submit(self, call: Call) -> Answer:
        """POST /api/jobs."""
        body = decode(call.body, _BODY)
        job_type = self._type(body, call.caller)
        if call.caller.kind == "person" and len(call.body) > MAX_PERSON_BODY_BYTES:
            raise Problem(413, f"the body of a person is larger than {MAX_PERSON_BODY_BYTES} bytes")
        owner = owner_of(call.caller)
        new = NewJob(
            job_type=job_type.name,
            owner_id=owner,
            input_data=body.input_data,
            market_slug=body.market_slug,
            unique_key=body.unique_key,
            priority=body.priority,
            run_at=_run_at(body),
            max_attempts=job_type.max_attempts,
            request_id=call.request_id,
        )
        job, is_new = await enqueue(self._services, new, before=lambda it: _require_room(it, call.caller))
        answer = json_answer(202, document(job) | {"duplicate": not is_new}, (job_address(job.job_id),))
        answer.market = body.market_slug
        return answer

    async def page(self, call: Call) -> Answer:
        """GET /api/jobs."""
        query = query_of(call, JobsQuery, max_page=openapi.MAX_PAGE)
        place = None if query.cursor is None else position_of(query.cursor, Place)
        chosen = {
            "owner_id": _owner_or_all(call.caller),
            "status": query.status,
            "job_type": query.job_type,
            "market_slug": query.market_slug,
            "before": place and place.created_at,
            "before_id": place and place.job_id,
            "rows": query.limit + 1,
        }
        async with self._acting(call.caller) as connection, connection.cursor(row_factory=class_row(Job)) as cursor:
            rows = await (await cursor.execute(JOBS.encode(), chosen)).fetchall()
        page = rows[: query.limit]
        is_last = len(rows) <= query.limit
        following = None if is_last else cursor_of((page[-1].created_at, page[-1].job_id))
        return json_answer(200, {"jobs": [document(job) for job in page], "next_cursor": following})

    async def one(self, call: Call) -> Answer:
        """GET /api/jobs/{job_id}."""
        seconds = wait_seconds(call, self._services) if "wait" in call.query else 0.0
        job = await wait_for(self._services, await self._own(call), seconds)
        async with self._acting(call.caller) as connection, connection.cursor(row_factory=dict_row) as cursor:
            attempts = await (await cursor.execute(ATTEMPTS, [job.job_id])).fetchall()
        for attempt in attempts:
            del attempt["worker"]  # names a host
        return json_answer(200, document(job) | {"attempts": attempts})

    async def cancel(self, call: Call) -> Answer:
        """POST /api/jobs/{job_id}/cancel."""
        status = await self._change(call, "cancel")
        job = await self._own(call)
        if status not in ("CANCELLED", "RUNNING"):
            raise Problem(409, f"the job is {status}: there is nothing to cancel")
        return json_answer(200 if status == "CANCELLED" else 202, document(job))

    async def retry(self, call: Call) -> Answer:
        """POST /api/jobs/{job_id}/retry."""
        try:
            status = await self._change(call, "retry")
        except psycopg.errors.UniqueViolation:
            raise Problem(409, "an unfinished job has the same unique key") from None
        except psycopg.errors.CheckViolation:
            raise Problem(409, "the job has been tried too often: ask for a new one") from None
        job = await self._own(call)
        if status != "QUEUED":
            raise Problem(409, f"the job is {status}: only failed and cancelled jobs are tried again by hand")
        return json_answer(202, document(job), (job_address(job.job_id),))

    def _type(self, body: JobBody, caller: Caller) -> JobType:
        job_type = self._types.get(body.job_type)
        if job_type is None:
            near = get_close_matches(body.job_type, self._types, n=1) or sorted(self._types)
            raise refused(FieldError("job_type", " or ".join(near), body.job_type))
        if caller.kind == "person":
            if job_type.name not in self._for_persons:
                raise Problem(403, f"jobs of type {job_type.name} are for applications")
            if body.priority > 0:
                raise refused(FieldError("priority", "at most 0 for a person", str(body.priority)))
        try:
            given = job_type.input_of(body.input_data)
            job_type.check(given, body.market_slug, self._services.settings)
        except msgspec.ValidationError as error:
            wrong = field_error(str(error))
            field = "input_data" if wrong.field == "body" else f"input_data.{wrong.field}"
            raise refused(FieldError(field, wrong.expected, wrong.seen)) from None
        except ContractError as error:
            raise refused(FieldError(error.field, error.expected, error.seen)) from None
        return job_type

    async def _own(self, call: Call) -> Job:
        parameters = {"job_id": _uuid(call), "owner_id": _owner_or_all(call.caller)}
        async with self._acting(call.caller) as connection, connection.cursor(row_factory=class_row(Job)) as cursor:
            job: Job | None = await (await cursor.execute(_OWN_JOB.encode(), parameters)).fetchone()
        if job is None:
            raise _no_job()
        return job

    async def _change(self, call: Call, change: Literal["cancel", "retry"]) -> str:
        """The status that the SQL function tells; what an operator does is audited."""
        job_id = _uuid(call)
        async with self._acting(call.caller) as connection:
            if change == "retry":
                await _require_room(connection, call.caller)
            found = await connection.execute(f"select operations.{change}_job(%s)".encode(), [job_id])
            (status,) = await found.fetchone() or (None,)
            if status is None:
                raise _no_job()
            if is_operator(call.caller, ADMIN):
                row = audit_row(
                    actor=call.caller.name,
                    action=f"job {change}",
                    details={"job_id": str(job_id), "status": status},
                    request_id=call.request_id,
                )
                await connection.execute(AUDIT, row)
        return str(status)

    def _acting(self, caller: Caller) -> Any:
        if is_operator(caller, ADMIN):
            return acting_as_operator(self._services)
        return acting_as(self._services, owner_of(caller))


def document(job: Job) -> dict[str, Any]:
    """A job as answers show it: S0's fields and ours, without the worker, which names a host."""
    return {name: getattr(job, name) for name in openapi.JOB_FIELDS}


def _run_at(body: JobBody) -> datetime | None:
    """An instant that is over means now: it would be due before what others have waited for longer."""
    require_storable("run_at", body.run_at)
    now = utc_now()
    if body.run_at is None or body.run_at <= now:
        return None
    if body.run_at > now + LATEST_RUN:
        raise refused(FieldError("run_at", "an instant within a year", body.run_at.isoformat()))
    return body.run_at


async def _require_room(connection: AsyncConnection, caller: Caller) -> None:
    """Refuses a person who has, or asks for, too much (429). Requests of one person take turns from here on."""
    if caller.kind != "person":
        return
    owner = owner_of(caller)
    await connection.execute(_TAKE_TURNS, [owner])
    most = {"most_unfinished": MOST_UNFINISHED, "most_an_hour": MOST_AN_HOUR}
    found = await connection.execute(_COUNTS, {"owner": owner, "unfinished": list(UNFINISHED), **most})
    unfinished_count, new_count = await found.fetchone() or (0, 0)
    if unfinished_count >= MOST_UNFINISHED:
        detail = f"{MOST_UNFINISHED} jobs of yours are not finished: wait for some of them, or cancel them"
        raise Problem(429, detail, headers=(retry_after(60),))
    if new_count >= MOST_AN_HOUR:
        raise Problem(429, f"you asked for {MOST_AN_HOUR} jobs within an hour", headers=(retry_after(600),))


def _owner_or_all(caller: Caller) -> str | None:
    return None if is_operator(caller, ADMIN) else owner_of(caller)


def _uuid(call: Call) -> UUID:
    try:
        return UUID(call.path["job_id"])
    except ValueError:
        raise _no_job() from None


def _no_job() -> Problem:
    return Problem(404, "there is no such job")
