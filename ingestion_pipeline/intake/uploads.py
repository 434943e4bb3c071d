"""Bodies that are a file: `multipart/form-data` with one file, or the file itself, streamed to a nameless file on disk.

Memory does not grow with the file, and a process that is killed leaves nothing behind. Belongs here: size, time, the
form around a file, the name it is called by. Does not belong here: what is in it.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from email.message import Message
from email.parser import HeaderParser
from enum import Enum
from typing import Any, BinaryIO, Protocol

from ingestion_pipeline.intake.bodies import CLOSE, require_json, require_size
from ingestion_pipeline.intake.endpoints import Upload
from ingestion_pipeline.intake.problems import Problem, unavailable

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
MOST_UPLOADS = 8
"""At the same time, of one process: each takes disk."""
UPLOAD_SECONDS = 900.0
MOST_FIELDS, MOST_FIELD_BYTES, MOST_HEAD_BYTES = 20, 10_000, 8_192
LONGEST_NAME = 200
_ENVELOPE_BYTES = MOST_FIELDS * (MOST_FIELD_BYTES + MOST_HEAD_BYTES)
_WRITE_BYTES = 1024**2
_LONGEST_BOUNDARY = 200

_going_on = 0


def type_of(headers: Mapping[bytes, bytes]) -> str:
    """The media type of the body, without parameters."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def require_type(headers: Mapping[bytes, bytes], file_types: Collection[str]) -> None:
    """Refuses a body that is neither JSON nor a file (415), naming what is taken."""
    try:
        require_json(headers)
    except Problem as problem:
        if type_of(headers) == "application/json":
            raise
        detail = f"the content type must be application/json, {' or '.join(file_types)}"
        raise Problem(415, detail, headers=problem.headers) from None


async def read_upload(
    receive: Receive, headers: Mapping[bytes, bytes], *, name: str | None, max_bytes: int, idle_seconds: float
) -> Upload:
    """The file that a request brings; `name` is what it is called where the body does not say.

    Raises:
        Problem: larger than `max_bytes` (413), nothing for `idle_seconds` (408), broken off, empty or no form (400),
            compressed (415), too many at the same time (503).
    """
    global _going_on  # noqa: PLW0603 - of this process, which has one thread that receives
    if headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
        raise Problem(415, "the body must not be compressed", headers=(CLOSE, (b"accept-encoding", b"identity")))
    require_size(headers, max_bytes + _ENVELOPE_BYTES)
    boundary = _boundary(headers) if type_of(headers) == MULTIPART else None
    if _going_on >= MOST_UPLOADS:
        raise unavailable(f"{MOST_UPLOADS} files are being received already", retry_after_seconds=10)
    _going_on += 1
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever answers the request
    try:
        sink: _Sink = _Plain(file, max_bytes) if boundary is None else _Multipart(boundary, file, max_bytes)
        await _receive_into(sink, receive, idle_seconds)
        given, fields = sink.finished()
        return Upload(file, file_name(given or name or _named(headers) or ""), _size(file), fields)
    except BaseException:
        file.close()
        raise
    finally:
        _going_on -= 1


def file_name(text: str) -> str:
    """What people may call a file: no folders, nothing unprintable, at most 200 characters."""
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    clean = "".join(c for c in last if c.isprintable()).strip().lstrip(".")
    if len(clean) > LONGEST_NAME:
        stem, dot, ending = clean.rpartition(".")
        clean = stem[: LONGEST_NAME - len(ending) - 1] + dot + ending if len(ending) < LONGEST_NAME // 2 else clean
    return clean[:LONGEST_NAME] or "upload"


class _Sink(Protocol):
    def write(self, data: bytes) -> None: ...

    def finished(self) -> tuple[str | None, Mapping[str, str]]:
        """The file's name and the other fields, once the body is over."""
        ...


class _Plain:
    """The body is the file."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file, self._max_bytes = file, max_bytes

    def write(self, data: bytes) -> None:
        if self._file.tell() + len(data) > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._file.write(data)

    def finished(self) -> tuple[str | None, Mapping[str, str]]:
        return None, {}


class _At(Enum):
    DELIMITER, AFTER_DELIMITER, HEAD, CONTENT, END = range(5)


class _Multipart:
    """RFC 7578: parts between delimiters; one of them is the file, the others are short text."""

    def __init__(self, boundary: bytes, file: BinaryIO, max_bytes: int) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._file, self._max_bytes = file, max_bytes
        self._rest = bytearray(b"\r\n")  # as if before the first delimiter
        self._at = _At.DELIMITER
        self._name: str | None = None
        self._field: str | None = None
        self._text = bytearray()
        self._fields: dict[str, str] = {}

    def write(self, data: bytes) -> None:
        self._rest += data
        while self._step():
            pass

    def finished(self) -> tuple[str | None, Mapping[str, str]]:
        if self._at is not _At.END:
            raise Problem(400, "the form ends in the middle: its last delimiter is missing")
        if self._name is None:
            raise Problem(400, "the form holds no file: expected a part `file` with a filename")
        return self._name, self._fields

    def _step(self) -> bool:
        """Goes on as far as what is there allows; False when more is needed."""
        if self._at is _At.DELIMITER:
            return self._skip_to_delimiter()
        if self._at is _At.AFTER_DELIMITER:
            return self._after_delimiter()
        if self._at is _At.HEAD:
            return self._head()
        if self._at is _At.CONTENT:
            return self._content()
        self._rest.clear()
        return False

    def _skip_to_delimiter(self) -> bool:
        found = self._rest.find(self._delimiter)
        if found < 0:
            del self._rest[: max(0, len(self._rest) - len(self._delimiter) + 1)]
            return False
        del self._rest[: found + len(self._delimiter)]
        self._at = _At.AFTER_DELIMITER
        return True

    def _after_delimiter(self) -> bool:
        if self._rest.startswith(b"--"):
            self._at = _At.END
            return True
        end = self._rest.find(b"\r\n")
        if end < 0:
            if len(self._rest) > MOST_HEAD_BYTES:
                raise _no_form()
            return False
        if self._rest[:end].strip(b" \t"):
            raise _no_form()
        del self._rest[:end]  # the line's end stays: a head may be empty
        self._at = _At.HEAD
        return True

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0 or end > MOST_HEAD_BYTES:
            if len(self._rest) > MOST_HEAD_BYTES:
                raise _no_form()
            return False
        head = _parsed(bytes(self._rest[:end]).lstrip())
        del self._rest[: end + 4]
        name, filename = head.get_param("name", header="content-disposition"), head.get_filename()
        if not isinstance(name, str):
            raise _no_form()
        if head.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
            raise Problem(400, "the form encodes its file: expected it as it is")
        if filename is None and name != "file":
            self._field = name
        elif self._name is not None:
            raise Problem(400, "the form holds two files: expected one")
        else:
            self._name, self._field = filename or "", None
        self._at = _At.CONTENT
        return True

    def _content(self) -> bool:
        found = self._rest.find(self._delimiter)
        end = found if found >= 0 else max(0, len(self._rest) - len(self._delimiter) + 1)
        self._take(bytes(self._rest[:end]))
        if found < 0:
            del self._rest[:end]
            return False
        del self._rest[: found + len(self._delimiter)]
        if self._field is not None:
            if len(self._fields) >= MOST_FIELDS:
                raise Problem(400, f"the form has more than {MOST_FIELDS} fields")
            self._fields[self._field] = _text(self._text)
            self._text.clear()
        self._at = _At.AFTER_DELIMITER
        return True

    def _take(self, data: bytes) -> None:
        if self._field is None:
            if self._file.tell() + len(data) > self._max_bytes:
                raise _too_large(self._max_bytes)
            self._file.write(data)
        elif len(self._text) + len(data) > MOST_FIELD_BYTES:
            raise Problem(400, f"a field of the form is longer than {MOST_FIELD_BYTES} bytes")
        else:
            self._text += data


async def _receive_into(sink: _Sink, receive: Receive, idle_seconds: float) -> None:
    """Writes in a thread, a megabyte at a time: the loop goes on for others."""
    waiting: list[bytes] = []
    size, has_more = 0, True
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            while has_more:
                async with asyncio.timeout(idle_seconds):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(400, "the connection ended before the body did", headers=(CLOSE,))
                waiting.append(message.get("body", b""))
                size += len(waiting[-1])
                has_more = message.get("more_body", False)
                if size >= _WRITE_BYTES or not has_more:
                    await asyncio.to_thread(sink.write, b"".join(waiting))
                    waiting.clear()
                    size = 0
    except TimeoutError:
        raise Problem(
            408, f"nothing came for {idle_seconds:g} s, or the file took too long", headers=(CLOSE,)
        ) from None
    except OSError as error:
        raise unavailable(f"the file cannot be stored: {error.strerror}", retry_after_seconds=60) from error


def _size(file: BinaryIO) -> int:
    size = file.tell()
    if not size:
        raise Problem(400, "the file is empty")
    file.seek(0)
    return size


def _boundary(headers: Mapping[bytes, bytes]) -> bytes:
    head = _parsed(b"content-type: " + headers.get(b"content-type", b""))
    boundary = head.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= _LONGEST_BOUNDARY or not boundary.isascii():
        raise Problem(400, "the content type of a form must name its boundary", headers=(CLOSE,))
    return boundary.encode()


def _named(headers: Mapping[bytes, bytes]) -> str | None:
    return _parsed(b"content-disposition: " + headers.get(b"content-disposition", b"")).get_filename()


def _parsed(head: bytes) -> Message:
    return HeaderParser().parsestr(head.decode("utf-8", errors="replace") + "\n\n")


def _text(data: bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Problem(400, "a field of the form is not UTF-8") from None


def _no_form() -> Problem:
    return Problem(400, "the body is not the form that its content type says", headers=(CLOSE,))


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, f"the file is larger than {max_bytes} bytes", headers=(CLOSE,))
