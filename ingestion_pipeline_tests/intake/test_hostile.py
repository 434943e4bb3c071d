"""Input that means harm, against the real server: a clear refusal, the process alive, its memory bounded."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.intake.process import APP_TOKEN, CRON_SECRET, JWT_SECRET, Intake, running
from ingestion_pipeline_tests.intake.test_routing import refused

MEGABYTE = 1024 * 1024
HEAD = f"POST /sample/echo HTTP/1.1\r\nhost: x\r\nx-app-token: {APP_TOKEN}\r\ncontent-type: application/json\r\n"


@pytest.fixture(autouse=True)
def _stays_up(intake: Intake) -> Iterator[None]:
    """Whatever a test does, the same process answers afterwards."""
    before = [worker.pid for worker in intake.workers()]
    yield
    assert intake.is_up()
    assert before == [worker.pid for worker in intake.workers()]
    for secret in (APP_TOKEN, CRON_SECRET, JWT_SECRET):
        assert secret not in intake.printed()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"name": "a"', 400),
        (b'{"name": "a"} x', 400),
        (b"\xef\xbb\xbf{}", 400),
        (b'{"name": "\xff\xfe"}', 400),
        (b'{"name": "\xed\xa0\x80"}', 400),
        (b'{"name": NaN}', 400),
        (b'{"name": "a", "data": Infinity}', 400),
        (b'{"name": "a", "data": [1,]}', 400),
        (b'{"name": "a\x00b"}', 400),
        (b"\x00" * 100, 400),
        (b'{"name": "a", "data": [1, 2}', 400),
        (b'{"name": "a", "data": [' + b'{"a": 1}, ' * 100, 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"name": 1}', 422),
        (b'{"name": "a", "surprise": 1}', 422),
        (b'{"name": "a\\u0000b"}', 422),
        (b'{"name": "\\ud800"}', 422),
        (b'{"name": "a", "data": {"b": "\\udc00\\ud800"}}', 422),
        (b'{"name": "a", "data": 1e999}', 422),
        (b'{"name": "a", "data": -1E+999}', 422),
        (b'{"name": "a", "count": ' + b"9" * 400 + b"}", 422),
        (b'{"name": "a", "count": 99999999999999999999}', 422),
        (b'{"name": "a", "data": ' + b"9" * 100_000 + b"}", 422),
        (b'{"name": "a", "data": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 422),
        (b"[" * 10_000, 422),
        (b'{"name": "a", "data": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}", 422),
    ],
    ids=lambda value: value[:30].decode("latin-1") if isinstance(value, bytes) else value,
)
def test_a_body_that_cannot_be_used_is_refused_with_the_reason(intake: Intake, body: bytes, status: int) -> None:
    assert refused(intake.post("/sample/echo", body), status)["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\\ud83d\\ude00 \\\\u0000 \\\\ud800"}',
        b'{"name": "[[[[ {{{{ 1e999 \\" ]]", "data": "' + b"[" * 1000 + b'"}',
        b'{"name": "a", "data": ' + b"[" * 31 + b"]" * 31 + b"}",
        b'{"name": "a", "data": [' + b",".join([b'{"a": [1]}'] * 1000) + b"]}",
        b'{"name": "a", "data": [1.7e308, 5e-324, "3e123456", 1e-999]}',
    ],
)
def test_what_only_looks_harmful_is_let_through(intake: Intake, body: bytes) -> None:
    """Escaped backslashes, brackets in strings, nesting at the limit, many shallow objects."""
    answer = intake.post("/sample/echo", body)
    assert (202, json.loads(body)["name"]) == (answer.status_code, answer.json()["name"])


def test_a_refusal_names_the_field_what_was_seen_and_what_is_expected(intake: Intake) -> None:
    document = refused(intake.post("/sample/echo", b'{"name": "a", "count": "b"}'), 422)
    assert [{"field": "count", "seen": "str", "expected": "int"}] == document["errors"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/jsonx"},
        {"content-encoding": "gzip"},
        {"content-encoding": "br"},
    ],
)
def test_what_is_not_plain_json_is_415(intake: Intake, headers: dict[str, str]) -> None:
    """A compressed body could be a bomb; nothing is ever unpacked."""
    refused(intake.post("/sample/echo", b'{"name": "a"}', headers=headers), 415)


def test_plain_json_may_say_its_charset(intake: Intake) -> None:
    headers = {"content-type": 'application/json; charset="UTF-8"', "content-encoding": "identity"}
    assert 202 == intake.post("/sample/echo", b'{"name": "a"}', headers=headers).status_code


def test_ten_megabytes_are_413_before_they_are_read(intake: Intake) -> None:
    """Declared: refused at once. The limit itself is let through as far as JSON goes."""
    answer = intake.exchange(f"{HEAD}content-length: {10 * MEGABYTE}\r\n\r\n".encode(), seconds=10)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    assert 400 == intake.post("/sample/echo", b" " * 5_000_000).status_code
    refused(intake.post("/sample/echo", b" " * 5_000_001), 413)


def test_a_body_without_a_length_is_counted(intake: Intake) -> None:
    """Chunked, 10 MB: refused when it passes the limit, wherever the rest stays."""
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    answer = intake.exchange(f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode() + chunk * 160, seconds=10)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_an_endpoint_has_its_own_limit_and_may_do_without_a_body(intake: Intake) -> None:
    assert 200 == intake.post("/sample/small").status_code
    assert 200 == intake.post("/sample/small", b" " * 100).status_code
    refused(intake.post("/sample/small", b" " * 101), 413)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(b"h%d: 1\r\n" % i for i in range(5000)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /sample/echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-odd: a\x00b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["header", "path", "many", "tls", "two lengths", "negative length", "nul", "http2"],
)
def test_what_is_no_request_ends_the_connection(intake: Intake, data: bytes) -> None:
    """With a 4xx or without an answer; never with 5xx."""
    answer = intake.exchange(data, seconds=15)
    assert answer[:10] in (b"", b"HTTP/1.1 4", b"HTTP/1.0 4"), answer[:100]


@pytest.mark.parametrize(
    "text",
    [
        "'; drop table operations.api_requests; --",
        "$(touch /tmp/pwned)",
        "${jndi:ldap://x}",
        "{{7*7}}%s%n",
        "<script>alert(1)</script>",
        "..%2f..%2f..%2fetc%2fpasswd",
        "\u202egnp.exe",
    ],
)
def test_injection_strings_are_only_text(intake: Intake, text: str) -> None:
    """In paths, queries, headers and bodies; a path comes back as JSON, never as markup."""
    assert text == intake.post("/sample/echo", json.dumps({"name": text}).encode()).json()["name"]
    header = {"user-agent": text.encode(), "x-forwarded-for": text.encode(), "x-request-id": text.encode()}
    assert 200 == intake.get("/sample/limited", params={"q": text}, headers=header).status_code
    answer = intake.get(f"/nothing/{text}")
    assert "application/problem+json" == answer.headers["content-type"]
    assert 404 == answer.status_code


def test_a_log_line_is_one_line_whatever_is_sent(intake: Intake) -> None:
    """A caller cannot write lines of the log: what is logged of a request is encoded."""
    intake.get("/broken", headers={"x-request-id": b"a%0a{}", "user-agent": 'x\\n{"level":"critical"}'})
    intake.get("/broken%0a%7B%22level%22%3A%22critical%22%7D")
    assert "critical" not in {line["level"] for line in intake.lines()}


def test_no_problem_repeats_a_credential(intake: Intake) -> None:
    for headers in (
        {"x-app-token": "wrong-credential-77"},
        {"authorization": "Bearer wrong-credential-77"},
        {"x-cron-secret": "wrong-credential-77"},
    ):
        for path in ("/sample/closed", "/sample/cron"):
            for method in ("GET", "POST"):
                assert "credential-77" not in intake.client.request(method, path, headers=headers).text
    assert "credential-77" not in intake.printed()


def test_memory_stays_bounded_under_the_largest_bodies(intake: Intake) -> None:
    """The deepest and longest that are let in, eight at a time."""
    bodies = [b"[" * 4_000_000, b'{"name": "' + b"x" * 4_900_000 + b'"}', b"[" + b"[]," * 1_600_000 + b"[]]"]
    bodies.append(b'{"name": "a", "data": [' + b"1e308," * 700_000 + b"1]}")
    (worker,) = intake.workers()
    before = worker.memory_info().rss
    problems: list[object] = []

    def send(number: int) -> None:
        try:
            for turn in range(3):
                answer = intake.post("/sample/echo", bodies[(number + turn) % len(bodies)], timeout=120)
                assert answer.status_code in (202, 400, 422), answer.text[:200]
        except Exception as problem:  # noqa: BLE001
            problems.append(problem)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == problems
    assert worker.memory_info().rss - before < 600 * MEGABYTE


def test_a_body_that_trickles_is_408(intake_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its deadline is for the whole body, so that a byte now and then keeps nothing open."""
    with running(intake_url, tmp_path_factory.mktemp("slow"), BODY_TIMEOUT_SECONDS="1") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(f"{HEAD}content-length: 1000\r\n\r\n".encode())
            answers: list[bytes] = []
            reader = threading.Thread(target=lambda: answers.append(connection.recv(65_536)))
            reader.start()
            while reader.is_alive():
                try:
                    connection.sendall(b" ")
                except OSError:
                    break
                time.sleep(0.1)
            reader.join()
        assert answers[0].startswith(b"HTTP/1.1 408 ")
        assert server.is_up()


def test_a_head_that_trickles_is_cut_off(intake: Intake) -> None:
    """Slow-loris: forty connections that never finish their heads are closed, and nobody else notices them."""
    connections = [socket.create_connection(("127.0.0.1", intake.port), timeout=30) for _ in range(40)]
    for connection in connections:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-a")
    assert intake.is_up()
    for connection in connections:
        with connection, suppress(ConnectionResetError):
            assert b"" == connection.recv(1000)


def test_idle_connections_do_not_add_up(intake: Intake) -> None:
    """Those that have said nothing at all are closed too; until then others are served."""
    connections = [socket.create_connection(("127.0.0.1", intake.port), timeout=30) for _ in range(200)]
    (worker,) = intake.workers()
    assert intake.is_up()
    for connection in connections:
        assert b"" == connection.recv(1000)
        connection.close()
    eventually(lambda: len(psutil.Process(worker.pid).net_connections()) < 50)
