"""Refusals: RFC 9457 problem documents, and the one place where errors become statuses.

A problem says what was wrong with the request, field by field, and never holds a secret: headers are not repeated, and
what was seen of a body is shortened. Errors of ours and of the stores are mapped here and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
import psycopg
from psycopg_pool import PoolTimeout, TooManyRequests

from ingestion_pipeline.core.errors import IngestionError, RateLimitedError, TransientError
from ingestion_pipeline.intake.endpoints import Answer

PROBLEM_JSON = b"application/problem+json"
RETRY_AFTER_SECONDS = 2
_LONGEST_SEEN = 80
_STORE_AWAY = (TransientError, psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, TooManyRequests)

PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "expected"],
                "properties": {
                    "field": {"type": "string"},
                    "seen": {"type": "string"},
                    "expected": {"type": "string"},
                },
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: where (`events[0].ts`), what stood there, what is expected."""

    field: str
    expected: str
    seen: str | None = None


class Problem(Exception):  # noqa: N818 - the standard's word
    """Raised wherever a request must be refused; becomes the answer.

    Args:
        status: 400 to 599.
        detail: one sentence for the person who wrote the client.
        errors: the fields that are wrong.
        headers: such as `retry-after`.
        kind: last word of the problem's type; that of the status when None.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: tuple[tuple[bytes, bytes], ...] = (),
        kind: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.kind = kind

    def answer(self, *, request_id: str, instance: str) -> Answer:
        """The document; `instance` is the path that was asked for."""
        title = HTTPStatus(self.status).phrase
        document: dict[str, object] = {
            "type": f"urn:problem:{self.kind or title.lower().replace(' ', '-')}",
            "title": title,
            "status": self.status,
            "detail": printable(self.detail),
            "instance": printable(instance),
            "request_id": request_id,
        }
        if self.errors:
            document["errors"] = [_error(error) for error in self.errors]
        return Answer(self.status, msgspec.json.encode(document), self.headers, PROBLEM_JSON)


def unavailable(detail: str, *, retry_after_seconds: float = RETRY_AFTER_SECONDS) -> Problem:
    """503 with Retry-After: nothing was done, the same request may succeed later."""
    return Problem(503, detail, headers=(retry_after(retry_after_seconds),))


def retry_after(seconds: float) -> tuple[bytes, bytes]:
    return b"retry-after", str(max(1, -int(-seconds // 1))).encode()


def problem_of(error: Exception) -> Problem:
    """The problem that `error` is to a caller; 500 for what nobody foresaw."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RateLimitedError):
        return unavailable("a source asks us to wait", retry_after_seconds=error.retry_after_seconds or 1)
    if isinstance(error, _STORE_AWAY):
        return unavailable("a store cannot be reached; nothing was done")
    if isinstance(error, IngestionError):
        return Problem(500, "the service is not set up for this request")
    return Problem(500, "an unexpected error; the request id finds it in the log")


def shown(value: object) -> str:
    """`value` for a problem: printable, at most 80 characters."""
    text = printable(value if isinstance(value, str) else repr(value))
    return text if len(text) <= _LONGEST_SEEN else text[: _LONGEST_SEEN - 1] + "…"


def printable(text: str) -> str:
    """`text` without what no JSON document or log line may hold: lone surrogates, NUL, control characters."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _error(error: FieldError) -> dict[str, str]:
    document = {"field": shown(error.field), "expected": shown(error.expected)}
    return document if error.seen is None else document | {"seen": shown(error.seen)}
