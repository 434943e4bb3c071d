"""Bodies that are a file: `multipart/form-data` with one file, or the file itself, streamed to a nameless file on disk.

Memory does not grow with the file, and a process that is killed leaves nothing behind. Belongs here: size, time, the
form around a file, the name it is called by. Does not belong here: what is in it.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Protocol

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MAX_BOUNDARY_LENGTH, MultipartParser, parse_options_header

from ingestion_pipeline.core.file_names import file_name
from ingestion_pipeline.intake.bodies import CLOSE, require_json, require_size
from ingestion_pipeline.intake.endpoints import Upload
from ingestion_pipeline.intake.problems import Problem, retry_after, shown, unavailable

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
MOST_UPLOADS = 8
"""At the same time, of one process: each takes disk."""
MOST_UPLOADS_EACH = 2
"""Of these, of one caller."""
UPLOAD_SECONDS = 900.0
RETRY_SECONDS = 10
MOST_FIELDS, MOST_FIELD_BYTES = 20, 10_000
MOST_HEADERS, MOST_HEAD_BYTES = 8, 4_096
_ENVELOPE_BYTES = MOST_FIELDS * (MOST_FIELD_BYTES + MOST_HEAD_BYTES)
"""What a form may hold beside its file."""
_WRITE_BYTES = 1024**2

_going_on: Counter[str] = Counter()
"""By sender; of this process, which has one thread that receives."""


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
    receive: Receive,
    headers: Mapping[bytes, bytes],
    *,
    name: str | None,
    sender: str,
    max_bytes: int,
    idle_seconds: float,
) -> Upload:
    """The file that `sender` brings; `name` is what it is called where the body does not say.

    Raises:
        Problem: larger than `max_bytes` (413), nothing for `idle_seconds` (408), broken off, empty or no form (400),
            compressed (415), too many at the same time (503), too many of the sender's (429).
    """
    if headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
        raise Problem(415, "the body must not be compressed", headers=(CLOSE, (b"accept-encoding", b"identity")))
    require_size(headers, max_bytes + _ENVELOPE_BYTES)
    boundary = _boundary(headers) if type_of(headers) == MULTIPART else None
    with _place(sender):
        return await _received(receive, headers, name, boundary, max_bytes, idle_seconds)


@contextmanager
def _place(sender: str) -> Iterator[None]:
    """One of those that receive at the same time."""
    if _going_on[sender] >= MOST_UPLOADS_EACH:
        detail = f"{MOST_UPLOADS_EACH} files of yours are being received already"
        raise Problem(429, detail, headers=(CLOSE, retry_after(RETRY_SECONDS)))
    if _going_on.total() >= MOST_UPLOADS:
        detail = f"{MOST_UPLOADS} files are being received already"
        raise Problem(503, detail, headers=(CLOSE, retry_after(RETRY_SECONDS)))
    _going_on[sender] += 1
    try:
        yield
    finally:
        _going_on.subtract([sender])
        if not _going_on[sender]:
            del _going_on[sender]


async def _received(
    receive: Receive,
    headers: Mapping[bytes, bytes],
    name: str | None,
    boundary: bytes | None,
    max_bytes: int,
    idle_seconds: float,
) -> Upload:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever answers the request
    try:
        sink: _Sink = _Plain(file, max_bytes) if boundary is None else _Form(boundary, file, max_bytes)
        await _receive_into(sink, file, receive, idle_seconds)
        given, fields = sink.finished()
        return Upload(file, file_name(given or name or _named(headers) or ""), _size(file), fields)
    except BaseException:
        with suppress(OSError):  # what a full disk could not take is lost in any case
            file.close()
        raise


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


class _Form:
    """RFC 7578: one part is the file, the others are short text, each named once."""

    def __init__(self, boundary: bytes, file: BinaryIO, max_bytes: int) -> None:
        self._file, self._max_bytes = file, max_bytes
        self._received = 0
        self._header, self._value = bytearray(), bytearray()
        self._head: dict[bytes, bytes] = {}
        self._name: str | None = None
        self._field: str | None = None
        self._text = bytearray()
        self._fields: dict[str, str] = {}
        self._is_over = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._head.clear,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_content,
                "on_part_data": lambda data, start, end: self._take(data[start:end]),
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
            max_header_count=MOST_HEADERS,
            max_header_size=MOST_HEAD_BYTES,
        )

    def write(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._max_bytes + _ENVELOPE_BYTES:
            raise _too_large(self._max_bytes)
        try:
            self._parser.write(data)
        except MultipartParseError:
            raise _no_form() from None

    def finished(self) -> tuple[str | None, Mapping[str, str]]:
        if not self._is_over:
            raise Problem(400, "the form ends in the middle: its last delimiter is missing")
        if self._name is None:
            raise Problem(400, "the form holds no file: expected a part `file` with a filename")
        return self._name, self._fields

    def _end_header(self) -> None:
        self._head[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_content(self) -> None:
        _, disposition = parse_options_header(self._head.get(b"content-disposition"))
        name, filename = disposition.get(b"name"), disposition.get(b"filename")
        if name is None:
            raise _no_form()
        if self._head.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit", b"7bit"):
            raise Problem(400, "the form encodes its file: expected it as it is")
        if filename is None and name != b"file":
            self._field = name.decode(errors="replace")
            if self._field in self._fields:
                raise Problem(400, f"the form has the field {shown(self._field)} twice")
        elif self._name is not None:
            raise Problem(400, "the form holds two files: expected one")
        else:
            self._name, self._field = (filename or b"").decode(errors="replace"), None

    def _take(self, data: bytes) -> None:
        if self._field is None:
            if self._file.tell() + len(data) > self._max_bytes:
                raise _too_large(self._max_bytes)
            self._file.write(data)
        elif len(self._text) + len(data) > MOST_FIELD_BYTES:
            raise Problem(400, f"a field of the form is longer than {MOST_FIELD_BYTES} bytes")
        else:
            self._text += data

    def _end_part(self) -> None:
        if self._field is None:
            return
        if len(self._fields) >= MOST_FIELDS:
            raise Problem(400, f"the form has more than {MOST_FIELDS} fields")
        self._fields[self._field] = _text(self._text)
        self._text.clear()

    def _end(self) -> None:
        self._is_over = True


async def _receive_into(sink: _Sink, file: BinaryIO, receive: Receive, idle_seconds: float) -> None:
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
        await asyncio.to_thread(file.flush)
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
    boundary = parse_options_header(headers.get(b"content-type"))[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH or not boundary.isascii():
        raise Problem(400, "the content type of a form must name its boundary", headers=(CLOSE,))
    return boundary


def _named(headers: Mapping[bytes, bytes]) -> str:
    _, disposition = parse_options_header(headers.get(b"content-disposition"))
    return disposition.get(b"filename", b"").decode(errors="replace")


def _text(data: bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Problem(400, "a field of the form is not UTF-8") from None


def _no_form() -> Problem:
    return Problem(400, "the body is not the form that its content type says", headers=(CLOSE,))


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, f"the file is larger than {max_bytes} bytes", headers=(CLOSE,))
