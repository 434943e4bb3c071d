"""S3's endpoints: ask for sales of a platform, send a report file, see what became of it.

Callers see their own jobs, filtered here and by row-level security; another's job is not there. Not here: what the
scheduler calls (cron.py), Gumroad's pings (pings.py).
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.sales import routes_openapi as openapi
from ingestion_pipeline.domains.sales.cron import PATH, Cron
from ingestion_pipeline.domains.sales.inputs import MOST_FILE_BYTES, PLATFORMS
from ingestion_pipeline.domains.sales.jobs import (
    PLATFORM_INGEST,
    RECEIVE_FILE,
    PlatformIngest,
    SalesOptions,
    ingest_job,
    sales_options,
)
from ingestion_pipeline.domains.sales.pings import Pings
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
from ingestion_pipeline.intake.owners import acting_as, owner_of
from ingestion_pipeline.intake.parameters import refused
from ingestion_pipeline.intake.problems import FieldError, Problem, retry_after
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.uploads import MULTIPART
from ingestion_pipeline.intake.waiting import enqueue
from ingestion_pipeline.storage.jobs import ENQUEUE, UNFINISHED
from ingestion_pipeline.storage.kept_files import kept_files

SCOPE = "sales:write"
ACCESS = (SCOPE, PERSON)
MAX_BODY_BYTES = 65_536
FILE_TYPES = (
    MULTIPART,
    "application/octet-stream",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.ms-excel",
    "text/csv",
    "text/tab-separated-values",
)
RATE = "300/minute"
"""How many requests an address may make, and how many pings."""
MOST_UNFINISHED = {"person": 100, "application": 1_000}
"""How many unfinished jobs of platforms a caller may have."""
EXPORTED_AT = "exported_at"
_FIRST_EXPORT = datetime(2000, 1, 1, tzinfo=UTC)
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
    where owner_id = %s and job_type = '{PLATFORM_INGEST.name}' and status in {UNFINISHED} and unique_key is not null
    limit %s
) as counted
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
    cron, pings = Cron(services), Pings(services, options)
    return [
        Endpoint(
            method="POST",
            path="/api/ingestion/manual",
            handler=ingestion.manual,
            access=ACCESS,
            limit="sales",
            rate=RATE,
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
            limit="sales",
            rate=RATE,
            summary="Send a report of a platform, or ask for its sales to be ingested",
            description="A file as the part `file` of multipart/form-data, with a part `exported_at` if that is known, "
            "or as the body itself; or JSON as above.",
            request_schema=openapi.OF_PLATFORM,
            is_body_optional=True,
            max_body_bytes=MAX_BODY_BYTES,
            file_types=FILE_TYPES,
            max_file_bytes=MOST_FILE_BYTES,
            parameters=[openapi.PLATFORM, openapi.NAME, openapi.EXPORTED_AT],
            responses=openapi.UPLOAD_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path=PATH,
            handler=cron.run,
            access=(SCHEDULER,),
            summary="Work through up to 10 due jobs, for a scheduler",
            description="Workers do them at once in any case; this waits for them, JOB_WAIT_SECONDS at most, and "
            "counts those that ended meanwhile. While another call waits it answers 0 at once.",
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
            limit="sales_pings",
            rate=RATE,
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
        if unknown := sorted(set(upload.fields) - {EXPORTED_AT}):
            raise refused(FieldError(unknown[0], "no other part than `file` and `exported_at`"))
        exported_at = _exported_at(upload.fields.get(EXPORTED_AT, call.query.get(EXPORTED_AT)))
        await self._require_room(call.caller, owner)
        sha256 = await asyncio.to_thread(self._files.keep, upload.file)
        facts = {
            "owner_id": owner,
            "sha256": sha256,
            "platform": platform,
            "name": upload.name,
            "size_bytes": upload.size_bytes,
            "exported_at": exported_at,
        }
        payload = {"file_sha256": sha256, "name": upload.name}
        new = ingest_job(platform, payload, owner_id=owner, request_id=call.request_id)
        async with acting_as(self._services, owner) as connection:
            await connection.execute(RECEIVE_FILE, facts)
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
        most = MOST_UNFINISHED[caller.kind]
        async with acting_as(self._services, owner) as connection:
            found = await connection.execute(_UNFINISHED.encode(), [owner, most])
            (count,) = await found.fetchone() or (0,)
        if count >= most:
            detail = f"{most} jobs of yours are not finished: wait for some of them"
            raise Problem(429, detail, headers=(retry_after(60),))


def _exported_at(text: str | None) -> datetime | None:
    """When a file was exported, as its sender says; UTC where that names no zone.

    Raises:
        Problem: 422, it is no instant, or one that has not been yet.
    """
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
        instant = instant.replace(tzinfo=instant.tzinfo or UTC)
        is_known = _FIRST_EXPORT <= instant <= utc_now()
    except (ValueError, OverflowError):
        is_known = False
    if not is_known:
        raise refused(FieldError(EXPORTED_AT, "an instant since 2000 and not in the future", text))
    return instant


def _queued(job_id: str, status: str, *, is_new: bool, **more: Any) -> Answer:
    """S3's answer: the job is there; a new one is queued."""
    words = {"QUEUED": "queued", "RUNNING": "processing", "RETRYING": "retrying"}
    address = (b"location", f"/api/ingestion/status/{job_id}".encode())
    body = {"jobId": job_id, "job_id": job_id, "status": words.get(status, "queued"), "duplicate": not is_new, **more}
    return json_answer(202, body, (address,))


def _no_job() -> Problem:
    return Problem(404, "there is no such job")
