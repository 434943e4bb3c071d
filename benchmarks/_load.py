"""Load for an HTTP server: many kept-alive connections, prepared request bytes, counts and latencies.

A client that costs less than the server: one protocol object a connection, answers read by their Content-Length. Run it
in a process of its own (`drive_in_process`) so that it is not measured with the server.
"""

import asyncio
import itertools
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from benchmarks._measures import PROJECT_ROOT

_CONTENT_LENGTH = b"content-length: "
_DRAIN_SECONDS = 10.0

OnAnswer = Callable[[bytes, int, bytes], object]


@dataclass
class Load:
    """What came of a load. Latencies in seconds, from the moment a request was due to the end of its answer."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0  # requests whose connection ended before the answer did
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return sum(self.statuses.values()) / self.seconds

    def latency_ms(self, share: float) -> float:
        """The latency that `share` of the answers stayed below: 0.5 is the median."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items()))
        latencies = ", ".join(f"p{share * 100:g} {self.latency_ms(share):.1f}" for share in (0.5, 0.9, 0.99, 1))
        return f"{self.per_second:,.0f} requests/s ({statuses}; broken {self.broken}); latency ms: {latencies}"


def request(method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """The bytes of one HTTP/1.1 request; JSON unless `headers` say otherwise."""
    lines = {"host": "localhost", "content-type": "application/json", **(headers or {})}
    if body or method not in ("GET", "HEAD"):
        lines["content-length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def drive(
    requests: Iterable[bytes],
    *,
    port: int,
    host: str = "127.0.0.1",
    connections: int = 32,
    seconds: float = 5.0,
    per_second: float | None = None,
    on_answer: OnAnswer | None = None,
) -> Load:
    """Sends `requests` for `seconds`, or until they end, and waits for the answers under way.

    Each connection has one request under way. Without `per_second` the next follows the answer; with it requests are
    due at even intervals, and one that starts late has its waiting counted as latency. A broken connection is opened
    again. `on_answer` is given each request with its status and body.
    """
    load = Load()
    source = iter(requests)
    started = time.perf_counter()
    pace = _pace(started, per_second)
    workers = [
        _Connection(source, pace, load, on_answer).run(host, port, until=started + seconds) for _ in range(connections)
    ]
    await asyncio.gather(*workers)
    load.seconds = time.perf_counter() - started
    return load


def drive_in_process(target: str, arguments: Sequence[Any] = (), **options: Any) -> Load:
    """`drive` in another Python process, with what the function `target` (`module:name`) returns for `arguments`."""
    command = [sys.executable, "-m", "benchmarks._load"]
    given = pickle.dumps((target, tuple(arguments), options))
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, cwd=PROJECT_ROOT, check=True)
    load: Load = pickle.loads(done.stdout)
    return load


def repeated(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Iterator[bytes]:
    """One request for ever; a target of `drive_in_process`."""
    return itertools.repeat(request(method, path, body=body, headers=headers))


class _Connection(asyncio.Protocol):
    def __init__(self, source: Iterator[bytes], pace: Iterator[float], load: Load, on_answer: OnAnswer | None) -> None:
        self._source = source
        self._pace = pace
        self._load = load
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    async def run(self, host: str, port: int, *, until: float) -> None:
        loop = asyncio.get_running_loop()
        while (due := next(self._pace) or time.perf_counter()) < until:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            sent = next(self._source, None)
            if sent is None:
                break
            try:
                if self._transport is None or self._transport.is_closing():
                    self._received = b""
                    self._transport, _ = await loop.create_connection(lambda: self, host, port)
                self._answer = loop.create_future()
                self._transport.write(sent)
                status, body = await asyncio.wait_for(self._answer, _DRAIN_SECONDS)
            except (OSError, TimeoutError):
                self._load.broken += 1
                if self._transport:
                    self._transport.abort()
                await asyncio.sleep(0.01)
                continue
            self._load.latencies.append(time.perf_counter() - due)
            self._load.statuses[status] += 1
            if self._on_answer:
                self._on_answer(sent, status, body)
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        start = head.find(_CONTENT_LENGTH)
        length = int(head[start + len(_CONTENT_LENGTH) :].split(b"\r", 1)[0]) if start >= 0 else 0
        if len(self._received) < end + 4 + length:
            return
        body, self._received = self._received[end + 4 : end + 4 + length], self._received[end + 4 + length :]
        if self._transport and b"connection: close" in head:
            self._transport.close()
        if self._answer and not self._answer.done():
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())


def _pace(started: float, per_second: float | None) -> Iterator[float]:
    """When the next request is due; 0 for at once."""
    if per_second is None:
        return itertools.repeat(0.0)
    return (started + number / per_second for number in itertools.count())


def main() -> None:
    target, arguments, options = pickle.load(sys.stdin.buffer)
    module, _, name = target.partition(":")
    requests = getattr(import_module(module), name)(*arguments)
    sys.stdout.buffer.write(pickle.dumps(asyncio.run(drive(requests, **options))))


if __name__ == "__main__":
    # as a module of its own name, so that what is pickled is found by the parent
    import_module("benchmarks._load").main()
