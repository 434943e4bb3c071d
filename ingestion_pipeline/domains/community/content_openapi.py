"""The endpoints of the community's content as OpenAPI describes them: bodies, parameters and answers. No behaviour."""

from typing import Any

from ingestion_pipeline.domains.community.crawl import (
    LONGEST_ID,
    LONGEST_SUMMARY,
    LONGEST_TITLE,
    MOST_ITEMS,
    SOURCE_ID,
)
from ingestion_pipeline.domains.community.crawl_urls import LONGEST_URL
from ingestion_pipeline.intake.endpoints import Response
from ingestion_pipeline.intake.schemas import object_schema, parameter

MAX_PAGE, DEFAULT_PAGE = 50, 20
LONGEST_QUERY, MOST_WORDS = 1_000, 32

_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_UUID = {"type": "string", "format": "uuid"}


_ITEM = {
    "type": "object",
    "required": ["externalId", "url", "title"],
    "additionalProperties": False,
    "properties": {
        "externalId": {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
        "url": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_URL,
            "description": "http or https, on a public host, without a user; kept in its normal form, never fetched",
        },
        "title": {"type": "string", "minLength": 1, "maxLength": LONGEST_TITLE},
        "summary": {"type": ["string", "null"], "maxLength": LONGEST_SUMMARY, "description": "Text; HTML is text"},
        "raw": {"description": "Any JSON of at most 64 KiB"},
    },
}
CRAWL = {
    "type": "object",
    "required": ["sourceId", "items"],
    "additionalProperties": False,
    "properties": {
        "sourceId": {"type": "string", "pattern": SOURCE_ID},
        "items": {"type": "array", "minItems": 1, "maxItems": MOST_ITEMS, "items": _ITEM},
    },
}
CRAWL_EXAMPLES = {
    "crawl": {
        "sourceId": "partner-1",
        "items": [
            {
                "externalId": "partner-123",
                "url": "https://example.com/rule",
                "title": "Example rule",
                "summary": "Optional summary",
                "raw": {"stars": 3},
            }
        ],
    }
}
_ERROR = {
    "type": "object",
    "required": ["field", "expected"],
    "properties": {"field": _TEXT, "expected": _TEXT, "seen": _TEXT},
}
_RESULT = {
    "type": "object",
    "required": ["index", "status"],
    "properties": {
        "index": _COUNT,
        "status": {"type": "string", "enum": ["created", "updated", "unchanged", "superseded", "removed", "rejected"]},
        "externalId": _TEXT,
        "revision": {"type": "integer", "minimum": 1},
        "supersededBy": _COUNT | {"description": "Index of the later item with the same externalId"},
        "errors": {"type": "array", "items": _ERROR},
    },
}
CRAWL_DESCRIPTION = (
    "Inserts or updates each item by sourceId and externalId, all in one transaction, and answers after the commit is "
    "on disk. A bad item is rejected with what is wrong and does not sink its batch; of several with the same "
    "externalId the last one counts."
)
CRAWL_RESPONSES = {
    200: Response(
        description="Durable: what became of each item, in their order",
        schema=object_schema(
            created=_COUNT,
            updated=_COUNT,
            unchanged=_COUNT,
            superseded=_COUNT,
            removed=_COUNT,
            rejected=_COUNT,
            requestId=_TEXT,
            results={"type": "array", "items": _RESULT},
        ),
    )
}

SEARCH_PARAMETERS = [
    parameter(
        "q",
        {"type": "string", "minLength": 1, "maxLength": LONGEST_QUERY},
        f"Words to look for, at most {MOST_WORDS}; quotes keep them together, `or` offers a choice, `-` leaves out",
        is_required=True,
    ),
    parameter("kind", {"type": "string", "enum": ["rule", "crawl"]}, "Only these"),
    parameter("tag", {"type": "string", "minLength": 1, "maxLength": 100}, "Only rules with this tag, spelled so"),
    parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}, "Results of one page"
    ),
    parameter("cursor", {"type": "string", "minLength": 1}, "`nextCursor` of the page before, of the same search"),
]
_HTML = _TEXT | {"description": "HTML: the text escaped, the words that were found in <mark>"}
SEARCH_RESPONSES = {
    200: Response(
        description="One page, best first",
        schema=object_schema(
            results={
                "type": "array",
                "items": object_schema(
                    kind={"type": "string", "enum": ["rule", "crawl"]},
                    id=_TEXT,
                    title=_TEXT | {"description": "Text of strangers: to be escaped where it is shown"},
                    titleHtml=_HTML,
                    snippetHtml=_HTML,
                    url=_TEXT_OR_NULL,
                    tags={"type": "array", "items": _TEXT},
                    rank={"type": "number"},
                ),
            },
            nextCursor=_TEXT_OR_NULL,
        ),
    )
}

REBUILD_RESPONSES = {
    200: Response(
        description="Readers see the new index.",
        schema=object_schema(ok={"const": True}, documents=_COUNT, job_id=_UUID),
    ),
    202: Response(
        description="The job goes on; `Location` is where to ask for it.",
        schema=object_schema(status={"const": "accepted"}, job_id=_UUID, job_status=_TEXT),
    ),
    409: Response(description="Somebody cancelled the job."),
    500: Response(description="The job failed."),
    502: Response(description="The job failed; it may succeed later."),
}


def wait(most_seconds: float) -> dict[str, Any]:
    """The parameter of an endpoint that waits for its job."""
    schema = {"type": "number", "minimum": 0, "maximum": most_seconds}
    return parameter("wait", schema, "Seconds to wait for the job; at most, and by default, JOB_WAIT_SECONDS")
