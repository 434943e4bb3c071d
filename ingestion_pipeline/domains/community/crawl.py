"""From the body of POST /ingest/crawl to items, or to the reasons why not, each by itself. Pure: no IO, no clock.

What a crawler sends is text of strangers: it is kept as it is and escaped where it is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ingestion_pipeline.core.urls import without_user
from ingestion_pipeline.domains.community.crawl_urls import UrlError, normalised_url
from ingestion_pipeline.intake.bodies import is_deeper, read_anyhow, require_storable
from ingestion_pipeline.intake.problems import FieldError, Problem, shown
from ingestion_pipeline.storage.rejects import Reject

SOURCE = "crawl"
MOST_ITEMS = 1_000
LONGEST_ID, LONGEST_TITLE, LONGEST_SUMMARY = 200, 500, 20_000
MOST_RAW_BYTES = 65_536
LONGEST_KEPT = 500
MOST_REJECTS_KEPT = 100
"""Of one request, the first: the answer has them all."""
FIELDS = ("externalId", "url", "title", "summary", "raw")
SOURCE_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$(?!\n)"

_ANY = msgspec.json.Decoder()


@dataclass(frozen=True)
class Item:
    """One item that can be stored; `raw` is JSON text."""

    external_id: str
    url: str
    title: str
    summary: str | None
    raw: str | None


@dataclass(frozen=True)
class Refused:
    """One item that cannot: everything that is wrong with it. `external_id` is None where it says none."""

    errors: Sequence[FieldError]
    external_id: str | None = None


def read_item(part: bytes, *, max_depth: int) -> Item | Refused:
    """One element of `items`."""
    try:
        require_storable(part, max_depth=max_depth)
        given = _ANY.decode(part)
    except Problem as problem:
        return Refused([FieldError("", problem.detail)], _readable_id(part, max_depth))
    except msgspec.DecodeError as error:
        return Refused([FieldError("", f"a JSON object ({error})")], _readable_id(part, max_depth))
    if not isinstance(given, dict):
        return Refused([FieldError("", "a JSON object", shown(given))])
    external_id = given.get("externalId")
    errors = [FieldError(shown(name), "no such field") for name in given if name not in FIELDS]
    errors += [
        *_text_errors(given, "externalId", LONGEST_ID),
        *_text_errors(given, "title", LONGEST_TITLE),
        *_text_errors(given, "summary", LONGEST_SUMMARY, is_optional=True),
    ]
    url, url_errors = _url(given.get("url"))
    raw = None if given.get("raw") is None else msgspec.json.encode(given["raw"])
    if raw is not None and len(raw) > MOST_RAW_BYTES:
        errors.append(FieldError("raw", f"at most {MOST_RAW_BYTES} bytes of JSON", f"{len(raw)} bytes"))
    errors += url_errors
    if errors:
        return Refused(errors, external_id if isinstance(external_id, str) else None)
    return Item(given["externalId"], url, given["title"], given.get("summary"), None if raw is None else raw.decode())


def reject_of(part: bytes, source_id: str, caller: str, refused: Refused, *, max_depth: int) -> Reject:
    """The item as it is kept in operations.rejects, shortened; the same item sent again is the same reject."""
    payload: Any = None if is_deeper(part, max_depth) else read_anyhow(part)
    kept = {str(name): _short(name, value) for name, value in payload.items()} if isinstance(payload, dict) else {}
    reason = "; ".join(f"{error.field or 'item'}: expected {error.expected}" for error in refused.errors)
    known = refused.external_id
    identity = f"{caller}\0{source_id}\0{known}".encode("utf-8", "backslashreplace") if known else part
    return Reject(SOURCE, reason[:LONGEST_KEPT], {"sourceId": source_id, "caller": caller, "item": kept}, identity)


def chosen(items: Sequence[Item | Refused]) -> Mapping[str, int]:
    """By external id, the place of the last item that can be stored: of several in one batch it wins."""
    return {item.external_id: index for index, item in enumerate(items) if isinstance(item, Item)}


def _url(value: Any) -> tuple[str, list[FieldError]]:
    if not isinstance(value, str):
        return "", [FieldError("url", "an http or https URL", None if value is None else shown(value))]
    try:
        return normalised_url(value), []
    except UrlError as error:
        return "", [FieldError("url", str(error), shown(without_user(value)))]


def _text_errors(given: Mapping[str, Any], name: str, longest: int, *, is_optional: bool = False) -> list[FieldError]:
    value = given.get(name)
    if value is None and is_optional:
        return []
    if not isinstance(value, str):
        return [FieldError(name, "text", None if value is None else shown(value))]
    if len(value) > longest or not (value.strip() or is_optional):
        return [FieldError(name, f"1 to {longest} characters", f"{len(value)} characters")]
    return []


def _readable_id(part: bytes, max_depth: int) -> str | None:
    payload = None if is_deeper(part, max_depth) else read_anyhow(part)
    external_id = payload.get("externalId") if isinstance(payload, dict) else None
    return external_id if isinstance(external_id, str) and len(external_id) <= LONGEST_ID else None


def _short(name: str, value: Any) -> Any:
    """What is kept of a field of a reject: no long text, no raw, no password."""
    if name == "url" and isinstance(value, str):
        value = without_user(value)
    if isinstance(value, str):
        return value if len(value) <= LONGEST_KEPT else f"{value[:LONGEST_KEPT]}… ({len(value)} characters)"
    return value if isinstance(value, int | float | bool | None) else "…"
