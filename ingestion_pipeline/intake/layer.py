"""The one layer around the application: request id, no browsers, errors as problems, headers, request log, metrics.

Plain ASGI: what it adds to a request is a few microseconds.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.intake.endpoints import Answer
from ingestion_pipeline.intake.exchange import Exchange, joined_headers, method_of, request_id_of
from ingestion_pipeline.intake.problems import Problem, problem_of
from ingestion_pipeline.intake.services import Services

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

EXCHANGE = "ingestion_pipeline.exchange"  # the key in the scope
OPEN_TO_BROWSERS = frozenset({"/", "/health"})
SAFE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_INTERNAL_ERROR = 500

_log = structlog.get_logger(__name__)


class IntakeLayer:
    """Wraps an ASGI application; other scopes than `http` pass through."""

    def __init__(self, app: Application, *, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = self._exchange(scope)
        clear_contextvars()
        bind_contextvars(request_id=exchange.request_id)
        answering = _answering(exchange, send)
        try:
            _require_no_browser(exchange, scope["path"])
            await self._app(scope, receive, answering)
        except Exception as error:
            if exchange.status:  # half of an answer is out: only breaking off says so
                raise
            await self._refuse(error, scope["path"], exchange, answering)
        finally:
            exchange.status = exchange.status or _INTERNAL_ERROR
            seconds = time.perf_counter() - started
            self._services.request_log.add(exchange, seconds)
            _measure(exchange, seconds)

    def _exchange(self, scope: Scope) -> Exchange:
        headers = joined_headers(scope["headers"])
        peer = scope["client"][0] if scope.get("client") else ""
        exchange = Exchange(
            request_id_of(headers), method_of(scope["method"]), headers, self._services.addresses.of(peer, headers)
        )
        scope[EXCHANGE] = exchange
        return exchange

    async def _refuse(self, error: Exception, path: str, exchange: Exchange, send: Send) -> None:
        problem = problem_of(error)
        if problem.status == _INTERNAL_ERROR:
            _log.error("request failed", method=exchange.method, path=exchange.path, exc_info=error)
        elif problem is not error:
            _log.warning("request failed for now", path=exchange.path, reason=type(error).__name__)
        await send_answer(problem.answer(request_id=exchange.request_id, instance=path), send)


def _measure(exchange: Exchange, seconds: float) -> None:
    """Paths are templates and methods the known ones: a caller cannot make series."""
    method = exchange.method if exchange.method in _METHODS else "other"
    labels = {"method": method, "path": exchange.path, "status": str(exchange.status)}
    metrics.histogram("http_request_seconds", seconds, labels)
    metrics.counter("http_requests_total")


def _require_no_browser(exchange: Exchange, path: str) -> None:
    """A browser says where a page came from; servers do not. There are no CORS headers on any answer."""
    if b"origin" in exchange.headers and path not in OPEN_TO_BROWSERS:
        raise Problem(403, "this service is for servers; browsers may not call it", kind="browser-denied")


async def send_answer(answer: Answer, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _answering(exchange: Exchange, send: Send) -> Send:
    async def answering(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", exchange.request_id.encode()),
                *exchange.rate_headers,
                *SAFE_HEADERS,
            ]
        else:
            exchange.response_bytes += len(message.get("body", b""))
        await send(message)

    return answering
