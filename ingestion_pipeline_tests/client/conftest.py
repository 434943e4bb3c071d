"""A service that answers as it is told to, and clients that are closed when a test ends."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.client import AnalyticsClient

Answering = Callable[[Request], Response]


class FakeService:
    """Takes every event, unless an answer was put in line with `then`; keeps each request's body and time."""

    def __init__(self, server: HTTPServer) -> None:
        self.server = server
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.tokens: list[str | None] = []
        self._line: list[Answering] = []
        self._lock = threading.Lock()
        server.expect_request("/api/events", method="POST").respond_with_handler(self._answer)

    @property
    def url(self) -> str:
        return self.server.url_for("/")

    def then(self, *answers: Answering) -> None:
        self._line.extend(answers)

    def batches(self) -> list[list[dict[str, Any]]]:
        return [body["events"] for body in self.bodies]

    def key_batches(self) -> list[list[str]]:
        return [[event["idempotencyKey"] for event in batch] for batch in self.batches()]

    def types(self) -> list[str]:
        return [event["type"] for batch in self.batches() for event in batch]

    def _answer(self, request: Request) -> Response:
        with self._lock:
            self.bodies.append(json.loads(request.get_data()))
            self.times.append(time.monotonic())
            self.tokens.append(request.headers.get("x-app-token"))
            answer = self._line.pop(0) if self._line else taken
        return answer(request)


def taken(request: Request, *, rejected: dict[int, str] | None = None) -> Response:
    """202, as the intake says it: everything accepted but the indexes in `rejected`."""
    count = len(json.loads(request.get_data())["events"])
    reasons = rejected or {}
    results = [
        {"index": index, "status": "rejected", "reason": reasons[index], "field": "type"}
        if index in reasons
        else {"index": index, "status": "accepted", "id": "0"}
        for index in range(count)
    ]
    body = {"accepted": count - len(reasons), "duplicates": 0, "rejected": len(reasons), "results": results}
    return Response(json.dumps(body), 202, content_type="application/json")


def status(code: int, **headers: str) -> Answering:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Response(json.dumps({"title": "no"}), code, named, content_type="application/problem+json")


def dropped(request: Request) -> Response:
    """The connection ends without an answer."""
    request.environ["werkzeug.socket"].shutdown(2)
    return Response()


@pytest.fixture
def httpserver() -> Iterator[HTTPServer]:
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def service(httpserver: HTTPServer) -> FakeService:
    return FakeService(httpserver)


@pytest.fixture
def connect(service: FakeService) -> Iterator[Callable[..., AnalyticsClient]]:
    """Makes clients of `service` that send at once, unless told otherwise."""
    clients: list[AnalyticsClient] = []

    def connected(**over: Any) -> AnalyticsClient:
        arguments = {"url": service.url, "token": "secret", "interval_seconds": 0.0, **over}
        clients.append(AnalyticsClient(**arguments))
        return clients[-1]

    yield connected
    for client in clients:
        client.close(0)
