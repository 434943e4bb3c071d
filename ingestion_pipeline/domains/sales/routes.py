"""S3's endpoints: ask for sales of a platform, send a report file, see what became of it; and Gumroad's pings.

Callers see their own jobs, filtered here and by row-level security; another's job is not there.
"""

import asyncio
import hmac
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from ingestion_pipeline.domains.sales import routes_openapi as openapi
from ingestion_pipeline.domains.sales.jobs import (
    PLATFORM_INGEST,
    PLATFORMS,
    RECEIVE_FILE,
    PlatformIngest,
    SalesOptions,
    ingest_job,
    sales_options,
)
from ingestion_pipeline.intake.bodies import decode, field_error
from ingestion_pipeline.intake.endpoints import (
    PERSON,
    PUBLIC,
    SCHEDULER,
    Answer,
    Call,
    Caller,
    Endpoint,
    HttpDomain,
    Upload,
    json_answer,
)
from ingestion_pipeline.intake.owners import acting_as, acting_as_operator, owner_of
from ingestion_pipeline.intake.parameters import refused
from ingestion_pipeline.intake.problems import FieldError, Problem, retry_after
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.uploads import FORM, MULTIPART, type_of
from ingestion_pipeline.intake.waiting import enqueue
from ingestion_pipeline.storage.jobs import ENQUEUE, UNFINISHED
from ingestion_pipeline.storage.kept_files import kept_files

SCOPE = "sales:write"
ACCESS = (SCOPE, PERSON)
MAX_FILE_BYTES = 200 * 1024**2
MAX_BODY_BYTES = 65_536
FILE_TYPES = (
    MULTIPART,
    "application/octet-stream",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.ms-excel",
    "text/csv",
    "text/tab-separated-values",
)
JOBS_PER_CRON = 10
CRON_POLL_SECONDS = 0.25
MOST_UNFINISHED = 100
"""How many unfinished jobs of platforms a person may have."""
_SALE_ID = re.compile(r"[A-Za-z0-9_=-]{1,200}")
_STATUS = """
select
    job_id::text, platform, status, attempts, max_attempts, error_message, payload, result, created_at, updated_at,
    started_at, completed_at
from sales.ingestion_jobs
where job_id = %s and user_id = %s
"""
_KNOWN_FILE = "select from sales.report_files where owner_id = %s and platform = %s and sha256 = %s"
_UNFINISHED = f"""
select count(*) from (
    select from operations.jobs
    where owner_id = %s and job_type = '{PLATFORM_INGEST.name}' and status = any(%s) limit {MOST_UNFINISHED}
) as counted
"""
_CRON_START = "insert into operations.cron_logs (path, request_id) values (%s, %s) returning cron_log_id, started_at"
_CRON_END = """
update operations.cron_logs
set finished_at = clock_timestamp(), processed_count = %s, status = %s, error_message = %s
where cron_log_id = %s
"""
_DUE = f"""
select job_id from operations.jobs
where job_type = '{PLATFORM_INGEST.name}' and status in ('QUEUED', 'RETRYING') and run_at <= clock_timestamp()
order by priority desc, run_at, created_at
limit {JOBS_PER_CRON}
"""
_WORKED_ON = """
select count(distinct jobs.job_id)
from operations.jobs as jobs
left join operations.job_attempts as attempts
    on jobs.job_id = attempts.job_id and attempts.finished_at >= %s
where
    jobs.job_id = any(%s)
    and (attempts.job_id is not null or jobs.status in ('COMPLETED', 'FAILED', 'CANCELLED'))
"""


class ManualBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/ingestion/manual."""

    platform: str
    payload: dict[str, Any] = {}


class PlatformBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/ingestion/platform/{platform}."""

    payload: dict[str, Any] = {}


_MANUAL, _PLATFORM = msgspec.json.Decoder(ManualBody), msgspec.json.Decoder(PlatformBody)


def sales_endpoints(services: Services, options: SalesOptions) -> list[Endpoint]:
    ingestion = Ingestion(services, options)
    pings = Pings(services, options)
    return [
        Endpoint(
            method="POST",
            path="/api/ingestion/manual",
            handler=ingestion.manual,
            access=ACCESS,
            summary="Ask for sales of a platform to be ingested",
            request_schema=openapi.MANUAL,
            examples=openapi.MANUAL_EXAMPLES,
            max_body_bytes=MAX_BODY_BYTES,
            responses=openapi.QUEUED_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path="/api/ingestion/platform/{platform}",
            handler=ingestion.of_platform,
            access=ACCESS,
            summary="Send a report of a platform, or ask for its sales to be ingested",
            description="A file as the part `file` of multipart/form-data, or as the body itself; or JSON as above.",
            request_schema=openapi.OF_PLATFORM,
            is_body_optional=True,
            max_body_bytes=MAX_BODY_BYTES,
            file_types=FILE_TYPES,
            max_file_bytes=MAX_FILE_BYTES,
            parameters=[openapi.PLATFORM, openapi.NAME],
            responses=openapi.UPLOAD_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path="/api/ingestion/cron",
            handler=ingestion.cron,
            access=(SCHEDULER,),
            summary="Work through up to 10 due jobs, for a scheduler",
            description="Workers do them at once in any case; this waits for them, JOB_WAIT_SECONDS at most.",
            responses=openapi.CRON_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/ingestion/status/{job_id}",
            handler=ingestion.status,
            access=ACCESS,
            summary="What became of a job",
            parameters=[openapi.JOB_ID],
            responses=openapi.STATUS_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path="/api/ingestion/gumroad/ping/{secret}",
            handler=pings.receive,
            access=(PUBLIC,),
            summary="Gumroad says that a sale was made or changed",
            description="Nothing that it says is believed: the sale is read back from Gumroad.",
            request_schema=openapi.PING,
            takes_form=True,
            max_body_bytes=MAX_BODY_BYTES,
            parameters=[openapi.SECRET],
            responses=openapi.PING_RESPONSES,
        ),
    ]


def http(services: Services) -> HttpDomain:
    """The domain's part of the intake."""
    return HttpDomain(endpoints=sales_endpoints(services, sales_options(services.settings)))


class Ingestion:
    """Answers for platforms, jobs and the scheduler."""

    def __init__(self, services: Services, options: SalesOptions) -> None:
        self._services, self._options = services, options
        self._files = kept_files(options.files_url, s3_endpoint_url=options.s3_endpoint_url)

    async def manual(self, call: Call) -> Answer:
        """POST /api/ingestion/manual."""
        body = decode(call.body, _MANUAL)
        if body.platform not in PLATFORMS:
            raise refused(FieldError("platform", " or ".join(PLATFORMS), body.platform))
        return await self._asked(call, body.platform, body.payload)

    async def of_platform(self, call: Call) -> Answer:
        """POST /api/ingestion/platform/{platform}."""
        platform = call.path["platform"]
        if platform not in PLATFORMS:
            raise Problem(404, f"there is no such platform: there are {', '.join(PLATFORMS)}")
        if call.upload is not None:
            return await self._uploaded(call, platform, call.upload)
        body = decode(call.body, _PLATFORM) if call.body else PlatformBody()
        return await self._asked(call, platform, body.payload)

    async def status(self, call: Call) -> Answer:
        """GET /api/ingestion/status/{job_id}."""
        try:
            job_id = UUID(call.path["job_id"])
        except ValueError:
            raise _no_job() from None
        owner = owner_of(call.caller)
        async with acting_as(self._services, owner) as connection, connection.cursor(row_factory=dict_row) as cursor:
            row = await (await cursor.execute(_STATUS, [job_id, owner])).fetchone()
        if row is None:
            raise _no_job()
        error = row.pop("error_message")
        if row["status"] == "completed":
            error = None
        elif row["status"] == "failed":
            error = error or "the job was cancelled"
        return json_answer(200, {"jobId": row["job_id"], **row, "error": error})

    async def cron(self, call: Call) -> Answer:
        """POST /api/ingestion/cron."""
        async with acting_as_operator(self._services) as connection:
            cursor = await connection.execute(_CRON_START, ["/api/ingestion/cron", call.request_id])
            log_id, started_at = await cursor.fetchone() or (None, None)
            jobs = [job_id for (job_id,) in await (await connection.execute(_DUE.encode())).fetchall()]
        try:
            processed = await self._worked_on(started_at, jobs)
        except Exception as error:
            await self._end_cron(log_id, 0, f"{type(error).__name__}: {error}")
            raise
        await self._end_cron(log_id, processed, None)
        return json_answer(200, {"processed": processed})

    async def _end_cron(self, log_id: int, processed: int, message: str | None) -> None:
        status = "success" if message is None else "failed"
        async with acting_as_operator(self._services) as connection:
            await connection.execute(_CRON_END, [processed, status, message, log_id])

    async def _worked_on(self, started_at: Any, jobs: list[UUID]) -> int:
        """How many of `jobs` had an attempt that ended, once that is all of them or JOB_WAIT_SECONDS are over."""
        deadline = time.monotonic() + self._services.settings.job_wait_seconds
        processed = 0
        while processed < len(jobs):
            async with acting_as_operator(self._services) as connection:
                found = await connection.execute(_WORKED_ON, [started_at, jobs])
                (processed,) = await found.fetchone() or (0,)
            if processed == len(jobs) or time.monotonic() >= deadline:
                break
            await asyncio.sleep(CRON_POLL_SECONDS)
        return processed

    async def _asked(self, call: Call, platform: str, payload: Mapping[str, Any]) -> Answer:
        """A job without a file of its own."""
        owner = owner_of(call.caller)
        await self._judge(call.caller, owner, platform, payload)
        await self._require_room(call.caller, owner)
        new = ingest_job(platform, payload, owner_id=owner, request_id=call.request_id)
        job, is_new = await enqueue(self._services, new)
        return _queued(job.job_id, job.status, is_new=is_new)

    async def _uploaded(self, call: Call, platform: str, upload: Upload) -> Answer:
        """Keeps the file, then its row and the job together."""
        owner = owner_of(call.caller)
        if unknown := sorted(upload.fields):
            raise refused(FieldError(unknown[0], "no other part than `file`"))
        await self._require_room(call.caller, owner)
        sha256 = await asyncio.to_thread(self._files.keep, upload.file)
        facts = {"owner_id": owner, "sha256": sha256, "platform": platform, "name": upload.name}
        payload = {"file_sha256": sha256, "name": upload.name}
        new = ingest_job(platform, payload, owner_id=owner, request_id=call.request_id)
        async with acting_as(self._services, owner) as connection:
            await connection.execute(RECEIVE_FILE, {**facts, "size_bytes": upload.size_bytes, "exported_at": None})
            row = await (await connection.execute(ENQUEUE.encode(), new.parameters())).fetchone()
        assert row is not None  # noqa: S101 - the function returns a row or raises
        return _queued(row[0], "QUEUED", is_new=row[1], file_sha256=sha256)

    async def _judge(self, caller: Caller, owner: str, platform: str, payload: Mapping[str, Any]) -> None:
        """Refuses what the platform does not take, and what is not the caller's."""
        try:
            given = PlatformIngest(platform, dict(payload)).of_platform()  # type: ignore[arg-type]
        except msgspec.ValidationError as error:
            wrong = field_error(str(error))
            field = "payload" if wrong.field == "body" else f"payload.{wrong.field}"
            raise refused(FieldError(field, wrong.expected, wrong.seen)) from None
        if given.is_of_account:
            if caller.kind == "person" and owner != self._options.owner:
                raise Problem(403, "the drop folder and the account of Gumroad are not yours: send a file")
            if platform == "gumroad" and given.path is None and not self._options.gumroad_access_token:
                raise Problem(409, "GUMROAD_ACCESS_TOKEN is not set: send the dashboard's CSV", kind="not-configured")
            return
        async with acting_as(self._services, owner) as connection:
            found = await connection.execute(_KNOWN_FILE, [owner, platform, given.file_sha256])
            if await found.fetchone() is None:
                expected = f"a file that was sent to /api/ingestion/platform/{platform}"
                raise refused(FieldError("payload.file_sha256", expected, given.file_sha256))

    async def _require_room(self, caller: Caller, owner: str) -> None:
        if caller.kind != "person":
            return
        async with acting_as(self._services, owner) as connection:
            found = await connection.execute(_UNFINISHED.encode(), [owner, list(UNFINISHED)])
            (count,) = await found.fetchone() or (0,)
        if count >= MOST_UNFINISHED:
            detail = f"{MOST_UNFINISHED} jobs of yours are not finished: wait for some of them"
            raise Problem(429, detail, headers=(retry_after(60),))


class Pings:
    """Answers Gumroad, which signs nothing: the path is the secret, and the sale is read back."""

    def __init__(self, services: Services, options: SalesOptions) -> None:
        self._services, self._options = services, options
        self._secret = options.gumroad_ping_secret

    async def receive(self, call: Call) -> Answer:
        """POST /api/ingestion/gumroad/ping/{secret}. Answers at once: Gumroad waits 5 s."""
        if not self._secret or not hmac.compare_digest(call.path["secret"].encode(), self._secret.encode()):
            raise Problem(404, "there is nothing at this path")
        sale_id = _sale_id(call)
        if sale_id is None:
            raise refused(FieldError("sale_id", "the id of a sale"))
        new = ingest_job("gumroad", {"sale_id": sale_id}, owner_id=self._options.owner, request_id=call.request_id)
        await enqueue(self._services, new)
        return json_answer(200, {"received": True})


def _sale_id(call: Call) -> str | None:
    if type_of(call.headers) == FORM:
        try:
            fields = dict(parse_qsl(call.body.decode(), keep_blank_values=True, max_num_fields=1_000))
        except ValueError:
            raise Problem(400, "the body is no form of at most 1,000 fields") from None
        found: Any = fields.get("sale_id")
    else:
        found = decode(call.body, msgspec.json.Decoder(dict[str, Any])).get("sale_id")
    return found if isinstance(found, str) and _SALE_ID.fullmatch(found) else None


def _queued(job_id: str, status: str, *, is_new: bool, **more: Any) -> Answer:
    """S3's answer: the job is there; a new one is queued."""
    words = {"QUEUED": "queued", "RUNNING": "processing", "RETRYING": "retrying"}
    address = (b"location", f"/api/ingestion/status/{job_id}".encode())
    body = {"jobId": job_id, "job_id": job_id, "status": words.get(status, "queued"), "duplicate": not is_new, **more}
    return json_answer(202, body, (address,))


def _no_job() -> Problem:
    return Problem(404, "there is no such job")
