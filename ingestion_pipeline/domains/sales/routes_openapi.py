"""The sales endpoints as OpenAPI describes them: S3's bodies and answers. No behaviour."""

from ingestion_pipeline.core.file_names import LONGEST_NAME
from ingestion_pipeline.domains.sales.inputs import LONGEST_PATH, PLATFORMS, SALE_ID, SHA256
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import object_schema

_TEXT = {"type": "string"}
_UUID = {"type": "string", "format": "uuid"}
_COUNT = {"type": "integer", "minimum": 0}
_INSTANT = {"type": ["string", "null"], "format": "date-time"}
STATUSES = ["queued", "processing", "retrying", "completed", "failed"]


_FILE = {
    "file_sha256": {"type": "string", "pattern": SHA256, "description": "A file that was uploaded before"},
    "path": {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_PATH,
        "description": "A file below the drop folder",
    },
    "name": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "description": "What the file is called"},
}
PAYLOAD = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **_FILE,
        "since": {"type": "string", "format": "date", "description": "gumroad: sales of this day and later"},
        "full": {"type": "boolean", "description": "gumroad: all sales"},
        "sale_id": {"type": "string", "pattern": SALE_ID, "description": "gumroad: one sale"},
    },
    "description": "One of them; none takes what waits in the drop folder, and of gumroad what is new",
}
MANUAL = {
    "type": "object",
    "required": ["platform"],
    "additionalProperties": False,
    "properties": {"platform": {"type": "string", "enum": list(PLATFORMS)}, "payload": PAYLOAD},
}
OF_PLATFORM = {"type": "object", "additionalProperties": False, "properties": {"payload": PAYLOAD}}
MANUAL_EXAMPLES = {"new": {"platform": "gumroad", "payload": {}}, "dropped": {"platform": "amazon_kdp", "payload": {}}}

PLATFORM = {
    "name": "platform",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "enum": list(PLATFORMS)},
}
NAME = {
    "name": "name",
    "in": "query",
    "required": False,
    "schema": _TEXT,
    "description": f"What a file is called that is sent as the body itself; {LONGEST_NAME} characters of it are kept",
}
EXPORTED_AT = {
    "name": "exported_at",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "format": "date-time"},
    "description": "When the file that is sent was exported; a form may say it in a part of this name. Now without it",
}
JOB_ID = {"name": "job_id", "in": "path", "required": True, "schema": _UUID}
SECRET = {"name": "secret", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}

_QUEUED = object_schema(
    jobId=_UUID, job_id=_UUID, status={"type": "string", "enum": STATUSES}, duplicate={"type": "boolean"}
)
QUEUED_RESPONSES = {
    202: Response(
        description="The job; `duplicate` if the same is not finished yet",
        schema=_QUEUED | {"properties": _QUEUED["properties"] | {"file_sha256": _TEXT}},
    ),
    409: Response(description="A setting that the platform's API needs is not there"),
    429: Response(description="Too many requests, or jobs of the caller that are not finished, or files on their way"),
}
UPLOAD_RESPONSES = QUEUED_RESPONSES | {
    404: Response(description="No such platform"),
    408: Response(description="The body did not arrive in time"),
    413: Response(description="The file is too large"),
}
STATUS_RESPONSES = {
    200: Response(
        description="The job",
        schema=object_schema(
            jobId=_UUID,
            job_id=_UUID,
            platform={"type": "string", "enum": list(PLATFORMS)},
            status={"type": "string", "enum": STATUSES},
            attempts=_COUNT,
            max_attempts=_COUNT,
            error={"type": ["string", "null"]},
            payload={"type": "object"},
            result={"type": ["object", "null"]},
            created_at=_INSTANT,
            updated_at=_INSTANT,
            started_at=_INSTANT,
            completed_at=_INSTANT,
        ),
    ),
    404: Response(description="There is no such job of the caller"),
}
CRON_RESPONSES = {200: Response(description="How many jobs were worked on", schema=object_schema(processed=_COUNT))}
PING = {"type": "object"}
PING_RESPONSES = {
    200: Response(description="The sale will be read back", schema=object_schema(received={"const": True})),
    404: Response(description="There is nothing at this path"),
}
