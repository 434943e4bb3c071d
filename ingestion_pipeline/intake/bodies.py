"""Request bodies: read within size and time, decoded into a type, refused with the field that is wrong.

What no store of ours can hold is refused here, once: NUL, lone surrogates, invalid UTF-8, numbers beyond a double's
range, nesting beyond the limit. Bodies of ordinary depth and spelling pay for a few C-speed passes, no second parse.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

import msgspec

from ingestion_pipeline.intake.problems import FieldError, Problem

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

CLOSE = (b"connection", b"close")  # what is left of the body will not be read
_NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(b'"[]{}')))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_NUMERIC = bytes.maketrans(b"123456789E", b"000000000e")
_HUGE_NUMBERS = (b"e000", b"e+000", b"0" * 300)  # as _NUMERIC spells them; a double ends at 309 digits
_EXPECTED = re.compile(r"Expected `?(?P<expected>[^,]*?)`?(?:, got `?(?P<seen>.*?)`?)?(?: - at `(?P<at>.*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`(?: - at `(?P<at>.*)`)?")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `(?P<at>.*)`)?")
_OTHER = re.compile(r"(?P<text>.*?)(?: - at `(?P<at>.*)`)?", re.DOTALL)


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Refuses a body that says it is not plain UTF-8 JSON (415)."""
    kind, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    charset = parameters.replace(b'"', b"").replace(b" ", b"")
    if kind.strip() != b"application/json" or charset not in (b"", b"charset=utf-8"):
        raise Problem(415, "the content type must be application/json", headers=(CLOSE,))
    if headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
        raise Problem(415, "the body must not be compressed", headers=(CLOSE, (b"accept-encoding", b"identity")))


def require_size(headers: Mapping[bytes, bytes], max_bytes: int) -> None:
    """Refuses a declared length beyond `max_bytes` before any of the body is read (413)."""
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit():
        raise Problem(400, "the content length must be a number", headers=(CLOSE,))
    if len(declared) > len(str(max_bytes)) or int(declared) > max_bytes:
        raise _too_large(max_bytes)


async def read_body(receive: Receive, *, max_bytes: int, timeout_seconds: float) -> bytes:
    """The whole body.

    Raises:
        Problem: it grows beyond `max_bytes` (413), is not complete within `timeout_seconds` (408), or breaks off (400).
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(400, "the connection ended before the body did", headers=(CLOSE,))
                part = message.get("body", b"")
                size += len(part)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                if not message.get("more_body", False):
                    return b"".join((*parts, part)) if parts else bytes(part)
                parts.append(part)
    except TimeoutError:
        raise Problem(408, f"the body was not complete after {timeout_seconds:g} s", headers=(CLOSE,)) from None


def require_storable(body: bytes, *, max_depth: int) -> None:
    """Refuses JSON text that nests too deeply or holds what PostgreSQL and the lake cannot store (422).

    `body` is JSON as far as the caller knows; text that is not may be let through and fails in `decode`.
    """
    require_text(body)
    if b"\\u" in body:
        _require_characters(body)
    if _has_huge_number(body) and _has_huge_number(_outside_strings(body)):
        _require_numbers(body)
    if is_deeper(body, max_depth):
        raise _too_deep(max_depth)


def require_text(body: bytes) -> None:
    """Refuses what is not UTF-8 (400)."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not UTF-8: byte {error.start} is wrong") from None


def is_deeper(text: bytes, max_depth: int) -> bool:
    """Does this JSON nest deeper?"""
    return text.count(b"[") + text.count(b"{") > max_depth and _is_deeper(text, max_depth)


def decode(body: bytes, decoder: msgspec.json.Decoder[T], *, max_depth: int = 500) -> T:
    """`body` as the decoder's type.

    Raises:
        Problem: it is not JSON (400), or not of that type (422, naming the field, what was seen and expected).
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise Problem(400, f"the body is not JSON: {str(error).removeprefix('JSON is malformed: ')}") from None
    except RecursionError:
        raise _too_deep(max_depth) from None


def read_anyhow(text: bytes | str) -> Any:
    """What `text` says as JSON, also where no store can hold it or msgspec refuses it; None where it cannot be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def field_error(message: str) -> FieldError:
    """What msgspec says of a value that does not fit, as the field, what was seen and what is expected."""
    if found := _MISSING.fullmatch(message):
        return FieldError(_path(found["at"], found["name"]), "a value", "nothing")
    if found := _UNKNOWN.fullmatch(message):
        return FieldError(_path(found["at"], found["name"]), "no such field")
    if found := _EXPECTED.fullmatch(message):
        return FieldError(_path(found["at"]), found["expected"].replace("`", ""), found["seen"])
    other = _OTHER.fullmatch(message)
    return FieldError(_path(other["at"] if other else None), other["text"] if other else message)


def _invalid(message: str) -> Problem:
    error = field_error(message)
    seen = "" if error.seen is None else f" is {error.seen}"
    return Problem(422, f"{error.field}{seen}: expected {error.expected}", errors=[error])


def _path(at: str | None, name: str | None = None) -> str:
    """`$.events[0]` and `ts` as `events[0].ts`."""
    path = (at or "").removeprefix("$").removeprefix(".")
    return ".".join(part for part in (path, name) if part) or "body"


def _require_characters(body: bytes) -> None:
    text = body.replace(b"\\\\", b"")  # a backslash that is itself escaped starts nothing
    if b"\\u0000" in text:
        raise _unstorable("the character NUL (\\u0000)")
    if _SURROGATE.search(text) and _SURROGATE.search(_SURROGATE_PAIR.sub(b"", text)):
        raise _unstorable("half of a surrogate pair")


def _has_huge_number(text: bytes) -> bool:
    """Exact outside strings; inside them a hexadecimal id may look like one."""
    spelled = text.translate(_NUMERIC)
    return any(pattern in spelled for pattern in _HUGE_NUMBERS)


def _require_numbers(body: bytes) -> None:
    """The slow way, for bodies in which something looks like a huge number."""
    try:
        json.loads(body, parse_float=_finite, parse_int=_short)
    except OverflowError:
        raise _unstorable("a number beyond the range of a double") from None
    except (ValueError, RecursionError):
        return  # not JSON, which is for `decode` to say


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise OverflowError
    return number


def _short(text: str) -> int:
    if len(text) > len(_HUGE_NUMBERS[-1]):
        raise OverflowError
    return 0


def _is_deeper(body: bytes, max_depth: int) -> bool:
    """Peels the innermost brackets off, one level a round; pairs that are left after `max_depth` rounds are deeper.

    Text that breaks off leaves brackets that nothing closes; text with wrong brackets is for `decode` to refuse.
    """
    structure = _without_escapes(body).translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = _outside_strings(structure)
    for _ in range(max_depth):
        if not structure:
            return False
        structure = structure.replace(b"[]", b"").replace(b"{}", b"")
    if b"[]" in structure or b"{}" in structure:
        return True
    is_malformed = b"[}" in structure or b"{]" in structure
    return not is_malformed and structure.count(b"[") + structure.count(b"{") > max_depth


def _outside_strings(text: bytes) -> bytes:
    return b"".join(_without_escapes(text).split(b'"')[::2])


def _without_escapes(text: bytes) -> bytes:
    """Every quotation mark left begins or ends a string."""
    return text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, f"the body is larger than {max_bytes} bytes", headers=(CLOSE,))


def _too_deep(max_depth: int) -> Problem:
    return Problem(422, f"the body nests deeper than {max_depth} levels", kind="too-deep")


def _unstorable(what: str) -> Problem:
    return Problem(422, f"the body holds {what}", kind="unstorable")
