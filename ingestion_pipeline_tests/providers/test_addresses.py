"""What is a public address, in every notation; connections that are kept to those; texts without the others."""

import pytest

from ingestion_pipeline.providers.addresses import INTERNAL, is_public, without_internal
from ingestion_pipeline_tests.children import output, python

INTERNAL_ADDRESSES = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "fec0::1",
    "feff::1",
    "3fff::1",
    "3fff:fff:ffff::1",
]
PUBLIC_ADDRESSES = [
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "[2606:4700::1111]",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
NO_ADDRESSES = ["localhost", "example.com", "", "127.1", "2130706433", "0x7f.1", "1.2.3.4.5", "999.1.1.1"]


@pytest.mark.parametrize("address", [*INTERNAL_ADDRESSES, *NO_ADDRESSES])
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_known(address: str) -> None:
    assert is_public(address)


GUARDED = """
import socket, sys
from ingestion_pipeline.providers.addresses import keep_to_public

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
has_refused = keep_to_public()
"""


def guarded(code: str) -> str:
    """What a process says whose connections are kept to public addresses, and in which `port` is open on loopback."""
    with python(GUARDED + code) as child:
        return output(child)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "::ffff:127.0.0.1", "0"]
)
def test_no_spelling_of_loopback_is_connected_to(host: str) -> None:
    """The port is open: it is the guard that refuses, and says so once."""
    said = guarded(f"""
try:
    socket.create_connection(({host!r}, port), timeout=5)
except PermissionError as error:
    print(error, has_refused(), has_refused())
""")
    assert "the address is not public True False\n" == said


@pytest.mark.parametrize(
    "call",
    [
        "socket.socket(socket.AF_UNIX).connect('/tmp/none')",
        "socket.socket().connect_ex(('127.0.0.1', port))",
        "socket.socket().connect(('localhost', port))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))",
        "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.1', port))",
        "asyncio.run(asyncio.open_connection('127.0.0.1', port))",
        "urllib.request.urlopen(f'http://127.0.0.1:{port}')",
        "httpx.post(f'http://127.0.0.1:{port}')",
        "requests.post(f'http://127.0.0.1:{port}')",
        "smtplib.SMTP('127.0.0.1', port)",
    ],
)
def test_every_way_to_connect_is_guarded(call: str) -> None:
    """Of the standard library and of the libraries that send notifications."""
    said = guarded(f"""
import asyncio, smtplib, urllib.request, httpx, requests
try:
    {call}
except Exception:
    print(has_refused())
""")
    assert "True\n" == said


def test_a_name_that_leads_elsewhere_a_moment_later_is_refused() -> None:
    """DNS rebinding: public when it is looked up first, loopback when it is connected to."""
    said = guarded("""
import httpx
answers = ["93.184.216.34", "127.0.0.1"]

def rebinding(host, service, *_, **__):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0) if len(answers) > 1 else answers[0], port))]

socket.getaddrinfo = rebinding
print(socket.getaddrinfo("rebind.example", port)[0][4][0])
try:
    httpx.post(f"http://rebind.example:{port}/")
except httpx.ConnectError as error:
    print(error, has_refused())
""")
    assert "93.184.216.34\nthe address is not public True\n" == said


def test_one_thread_is_not_told_of_the_refusal_of_another() -> None:
    said = guarded("""
import threading

def refused():
    try:
        socket.create_connection(("127.0.0.1", port))
    except PermissionError:
        print("thread", has_refused())

print("main", has_refused())
thread = threading.Thread(target=refused)
thread.start()
thread.join()
print("main", has_refused())
""")
    assert "main False\nthread True\nmain False\n" == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot reach 10.1.2.3: refused", f"cannot reach {INTERNAL}: refused"),
        ("10.1.2.3:5432", f"{INTERNAL}:5432"),
        ("(fe80::1) and [::1]", f"({INTERNAL}) and [{INTERNAL}]"),
        ("::ffff:10.0.0.1", INTERNAL),
        ("http://[fd00::1]:80/x", f"http://{INTERNAL}/x"),
        ("postgresql://worker:***@db/pipeline", f"postgresql://worker:***@{INTERNAL}/pipeline"),
        ("postgresql://worker@/x?host=/srv/home/postgres&a=b", f"postgresql://worker@/x?host={INTERNAL}&a=b"),
        ("host=db.prod port=5432", f"host={INTERNAL} port=5432"),
        ("redis at cache.prod.internal:6379 is gone", f"redis at {INTERNAL} is gone"),
        ("http://localhost:3000/runs", f"http://{INTERNAL}/runs"),
        ("connection to localhost:5432 failed", f"connection to {INTERNAL} failed"),
        ("db.example.com:5432 timed out", f"{INTERNAL} timed out"),
        ("pg1:5432 timed out", f"{INTERNAL} timed out"),
        ("printer.local.", f"{INTERNAL}."),
        (
            'connection to server at "pg1" (10.1.2.3), port 5432',
            f'connection to server at "{INTERNAL}" ({INTERNAL}), port 5432',
        ),
        ("failed to resolve host 'pg1': [Errno -2]", f"failed to resolve host '{INTERNAL}': [Errno -2]"),
        ('could not translate host name "PG1" to address', f'could not translate host name "{INTERNAL}" to address'),
        ("no route to host pg1, giving up", f"no route to host {INTERNAL}, giving up"),
        ("HTTPConnectionPool(host='minio', port=9000)", f"HTTPConnectionPool(host='{INTERNAL}', port=9000)"),
        ("Pool(host='10.1.2.3', port=9000)", f"Pool(host='{INTERNAL}', port=9000)"),
    ],
)
def test_internal_addresses_do_not_stay_in_a_text(text: str, expected: str) -> None:
    assert expected == without_internal(text, {"db.example.com", "pg1"})


@pytest.mark.parametrize(
    "text",
    [
        "https://api.binance.com/api/v3 answered 503 at 10:00:00",
        "8.8.8.8 and 2606:4700::1111",
        "version 1.2.3.4.5, pg1 is a word, std::vector, Alert::raise",
        "2026-03-02T10:00:00+00:00",
        "freshness of market/ohlc_daily is WARN",
        "locals of the local host, localhosts",
        "HTTPSConnectionPool(host='api.binance.com', port=443)",
        "a 'pg1-like' \"word pg1\", ghost pg1, host pg1.example.com",
        "s3://bucket/lake abfss://container@account.dfs.core.windows.net/lake",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert text == without_internal(text, {"pg1"})
