"""Files in request bodies: forms as browsers and curl write them, in whatever pieces they come; what is refused."""

import asyncio
import resource
import secrets
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.core.file_names import file_name
from ingestion_pipeline.intake import uploads
from ingestion_pipeline.intake.endpoints import Upload
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline.intake.uploads import (
    MOST_FIELDS,
    MOST_UPLOADS,
    MOST_UPLOADS_EACH,
    Receive,
    read_upload,
    require_type,
)

MOST = 100_000
BOUNDARY = "----WebKitFormBoundaryx7"
FORM = {b"content-type": f"multipart/form-data; boundary={BOUNDARY}".encode()}
BINARY = {b"content-type": b"application/octet-stream"}


@dataclass(frozen=True)
class Received:
    content: bytes
    name: str
    fields: Mapping[str, str]


def taken(upload: Upload) -> Received:
    with upload.file:
        content = upload.file.read()
    assert len(content) == upload.size_bytes
    return Received(content, upload.name, upload.fields)


def read(
    receive: Receive,
    headers: Mapping[bytes, bytes] = BINARY,
    *,
    name: str | None = None,
    sender: str = "one",
    idle_seconds: float = 10,
) -> Coroutine[Any, Any, Upload]:
    return read_upload(receive, headers, name=name, sender=sender, max_bytes=MOST, idle_seconds=idle_seconds)


def received(
    pieces: Iterable[bytes], headers: Mapping[bytes, bytes] = FORM, *, name: str | None = None, ends: bool = True
) -> Received:
    """What becomes of a body that comes in `pieces`."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": it, "more_body": True} for it in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False} if ends else {"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return taken(asyncio.run(read(receive, headers, name=name)))


def refused(*pieces: bytes, headers: Mapping[bytes, bytes] = FORM, ends: bool = True) -> tuple[int, str]:
    with pytest.raises(Problem) as caught:
        received(pieces, headers, ends=ends)
    return caught.value.status, caught.value.detail


def part(content: bytes, disposition: str, *more: str) -> bytes:
    head = "\r\n".join([f"--{BOUNDARY}", f"Content-Disposition: form-data; {disposition}", *more])
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def file_part(content: bytes, filename: str = "report.xlsx") -> bytes:
    return part(content, f'name="file"; filename="{filename}"', "Content-Type: application/octet-stream")


TRICKY = st.binary(max_size=300) | st.lists(
    st.sampled_from([b"\r\n", b"--", BOUNDARY.encode(), b"\r\n--" + BOUNDARY.encode()[:-1], b"-", b"\r", b"x"]),
    max_size=20,
).map(b"".join)


@given(content=TRICKY.filter(lambda it: it and b"\r\n--" + BOUNDARY.encode() not in b"\r\n" + it), data=st.data())
def test_a_file_is_the_same_however_the_body_is_cut(content: bytes, data: st.DataObject) -> None:
    """Also through the middle of a delimiter, and where the file nearly holds one."""
    body = form(part(b"v", 'name="note"'), file_part(content), part("é".encode(), 'name="other"'))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[first:last] for first, last in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    upload = received(pieces)
    assert content == upload.content
    assert ("report.xlsx", {"note": "v", "other": "é"}) == (upload.name, upload.fields)


def test_a_form_of_httpx_is_read() -> None:
    """As a client library writes it."""
    request = httpx.Request("POST", "http://x/", files={"file": ("März.csv", b"a,b\r\n1,2\r\n")}, data={"k": "v"})
    headers = {b"content-type": request.headers["content-type"].encode()}
    upload = received([request.read()], headers)
    assert ("März.csv", {"k": "v"}, b"a,b\r\n1,2\r\n") == (upload.name, upload.fields, upload.content)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("/etc/passwd", "passwd"),
        ("C:\\fakepath\\KDP_Orders-1.xlsx", "KDP_Orders-1.xlsx"),
        ("..", "upload"),
        ("a/..", "upload"),
        ("", "upload"),
        (".htaccess", "htaccess"),
        ("a\0b\nc\u202e.xlsx", "abc.xlsx"),
        ("x" * 300 + ".xlsx", "x" * 195 + ".xlsx"),
        ("y" * 300, "y" * 200),
        ("KDP 8月 2026.xlsx", "KDP 8月 2026.xlsx"),
    ],
)
def test_a_name_is_for_people_and_never_a_path(given_name: str, kept: str) -> None:
    """No folders, nothing that is not seen, not without end."""
    assert kept == file_name(given_name)


def test_the_body_itself_is_a_file() -> None:
    """Named by the query, or as a download is."""
    assert "a.csv" == received([b"1", b"2"], BINARY, name="x/a.csv").name
    headers = {**BINARY, b"content-disposition": b'attachment; filename="../b.csv"'}
    upload = received([b"1", b"2"], headers)
    assert ("b.csv", b"12") == (upload.name, upload.content)
    assert "upload" == received([b"1"], BINARY).name


@pytest.mark.parametrize(
    "filename",
    ["filename*=UTF-8''M%C3%A4rz.csv", "filename*=idna''%ff", "filename*=punycode''%ff", "filename*0*=nul\0l''x"],
)
def test_a_file_name_that_forms_may_not_hold_is_not_read(filename: str) -> None:
    """RFC 7578 forbids `filename*` in a form: whatever is in it, the plain one counts."""
    upload = received([form(part(b"x", f'name="file"; filename="plain.csv"; {filename}'))])
    assert ("plain.csv", b"x") == (upload.name, upload.content)


def test_a_form_holds_nothing_but_its_parts() -> None:
    """What stands before the first delimiter or after the last is read no further than parts could be long."""
    assert 400 == refused(b"x" * 1000, form(file_part(b"x")))[0]
    assert 413 == refused(form(file_part(b"x")), *[b"x" * 50_000] * 12)[0]
    assert 413 == refused(*[b"\r\n" * 25_000] * 12)[0]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (form(file_part(b"")), 400, "empty"),
        (form(part(b"x", 'name="note"')), 400, "no file"),
        (form(file_part(b"x"), file_part(b"y")), 400, "two files"),
        (form(file_part(b"x"))[:-20], 400, "ends in the middle"),
        (b"", 400, "ends in the middle"),
        (b"PK\x03\x04 no form at all", 400, "not the form"),
        (form(part(b"x", 'name="n"'), part(b"y", 'name="n"'), file_part(b"x")), 400, "field n twice"),
        (form(part(b"x", 'filename="a"')), 400, "not the form"),
        (form(b"--" + BOUNDARY.encode() + b"\r\n\r\n\r\nx\r\n"), 400, "not the form"),
        (f"--{BOUNDARY}junk\r\n\r\n".encode(), 400, "not the form"),
        (f"--{BOUNDARY}\r\nContent-Disposition: form-data; x={'y' * 9000}".encode(), 400, "not the form"),
        (form(*[part(b"x", f'name="f{n}"') for n in range(MOST_FIELDS + 1)]), 400, "more than 20 fields"),
        (form(part(b"x" * 10_001, 'name="note"'), file_part(b"x")), 400, "longer than 10000"),
        (form(part(b"\xff", 'name="note"'), file_part(b"x")), 400, "not UTF-8"),
        (form(part(b"eA==", 'name="file"; filename="a"', "Content-Transfer-Encoding: base64")), 400, "encodes"),
        (form(file_part(b"x" * (MOST + 1))), 413, "larger than 100000"),
    ],
)
def test_what_is_no_form_with_one_file_is_refused(body: bytes, status: int, says: str) -> None:
    """Saying what is wrong."""
    seen, detail = refused(body)
    assert status == seen, detail
    assert says in detail


@pytest.mark.parametrize(
    "content_type",
    [b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"x" * 257],
)
def test_a_form_must_name_its_boundary(content_type: bytes) -> None:
    """Where it ends cannot be guessed."""
    assert (400, True) == (
        (found := refused(b"x", headers={b"content-type": content_type}))[0],
        "boundary" in found[1],
    )


def test_a_file_beyond_the_limit_is_refused_declared_or_not() -> None:
    """Before the body is read where the length is declared; while it comes where it is not."""
    assert 413 == refused(headers={**BINARY, b"content-length": b"999999999999"})[0]
    assert 413 == refused(*[b"x" * 10_000] * 11, headers=BINARY)[0]
    assert MOST == len(received([b"x" * 10_000] * 10, BINARY).content)


def test_a_disk_that_is_full_is_told_to_be_away() -> None:
    """Also where the last bytes are the ones that no longer fit."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        assert 503 == refused(b"x" * 20_001, headers=BINARY)[0]
        assert 503 == refused(form(file_part(b"x" * 20_001)))[0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_body_that_breaks_off_is_no_file() -> None:
    """However much of it came."""
    assert (400, "the connection ended before the body did") == refused(b"x", headers=BINARY, ends=False)


def test_a_compressed_body_is_refused() -> None:
    """Its size would say nothing."""
    assert 415 == refused(b"x", headers={**BINARY, b"content-encoding": b"gzip"})[0]


def test_a_body_that_stops_coming_is_refused() -> None:
    """Nobody holds a place by sending nothing."""

    async def never() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    with pytest.raises(Problem) as caught:
        asyncio.run(read(never, idle_seconds=0.01))
    assert 408 == caught.value.status


def test_only_some_files_are_received_at_the_same_time() -> None:
    """The next is told to come back, also one of a sender who has two; there is room again when one is done."""

    async def main() -> None:
        gate = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gate.wait()
            return {"type": "http.request", "body": b"x"}

        async def refusal(sender: str) -> int:
            with pytest.raises(Problem) as caught:
                await read(receive, sender=sender)
            assert any(name == b"retry-after" for name, _ in caught.value.headers)
            return caught.value.status

        tasks = [asyncio.create_task(read(receive, sender=str(n // MOST_UPLOADS_EACH))) for n in range(MOST_UPLOADS)]
        await asyncio.sleep(0)
        assert (429, 503) == (await refusal("0"), await refusal("another"))
        gate.set()
        assert [b"x"] * MOST_UPLOADS == [taken(upload).content for upload in await asyncio.gather(*tasks)]
        assert [b"x"] * 2 == [taken(await read(receive, sender=sender)).content for sender in ("0", "another")]

    asyncio.run(main())
    assert not uploads._going_on


def test_another_type_is_refused_with_those_that_are_taken() -> None:
    """curl's --data-binary says that the file is a form."""
    with pytest.raises(Problem, match="text/csv") as caught:
        require_type({b"content-type": b"application/x-www-form-urlencoded"}, ["text/csv"])
    assert 415 == caught.value.status
    require_type({b"content-type": b"application/json"}, ["text/csv"])


def test_a_random_file_is_not_mistaken_for_its_form() -> None:
    """A megabyte of noise comes through as it is."""
    content = secrets.token_bytes(MOST)
    body = form(file_part(content))
    pieces = [body[first : first + 1_000] for first in range(0, len(body), 1_000)]
    assert content == received(pieces).content
