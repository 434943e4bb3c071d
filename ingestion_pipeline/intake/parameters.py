"""The parameters of a query: read into a type, refused by name; cursors that mean nothing to who holds them."""

import base64
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from ingestion_pipeline.intake.bodies import field_error
from ingestion_pipeline.intake.endpoints import Call
from ingestion_pipeline.intake.problems import FieldError, Problem, shown

T = TypeVar("T")

NO_CURSOR = FieldError("cursor", "the nextCursor of an earlier page")
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def query_of(call: Call, kind: type[T], *, max_page: int) -> T:
    """The query of `call`; the problem names the parameter that is wrong. `limit` is the number of rows of a page."""
    given: dict[str, object] = dict(call.query)
    limit = call.query.get("limit", "")
    if limit.isascii() and limit.isdigit() and len(limit) <= len(str(max_page)):
        given["limit"] = int(limit)
    try:
        query = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise refused(field_error(str(error))) from None
    for name in ("from_", "to"):
        require_storable(name.removesuffix("_"), getattr(query, name, None))
    return query


def require_storable(name: str, instant: datetime | None) -> None:
    """Refuses an instant that no event can have."""
    if instant is not None and not _FIRST <= instant <= _LAST:
        raise refused(FieldError(name, "an instant of the years 2000 to 2099", instant.isoformat()))


def refused(error: FieldError) -> Problem:
    """The problem of one wrong parameter or field."""
    seen = "" if error.seen is None else f" is {shown(error.seen)}"
    return Problem(422, f"{error.field}{seen}: expected {error.expected}", errors=[error])


def cursor_of(position: object) -> str:
    """An opaque text for a position; `position_of` gives it back."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position_of(text: str, kind: Any) -> Any:
    """What `cursor_of` was given, as `kind`.

    Raises:
        Problem: 422, it is none of ours.
    """
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise refused(NO_CURSOR) from None
