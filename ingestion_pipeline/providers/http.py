"""The only HTTP client: time-outs, retries, rate limit, circuit breaker, bounded bodies, strict JSON, checked shapes.

Every failure leaves as an error of core/errors.py. No text of an error or log line holds a header, a query string or a
key, and none of httpx's own exceptions (whose texts may) ever leaves this module.

Belongs here: how any HTTP source is asked. Does not belong here: one source's paths, shapes and error codes, which its
own module passes in as `explain` and `pause_seconds`.

Known limit: the deadline covers the body; a head that trickles is bounded by the time-out of each read only.
"""

import logging
import re
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

import httpx
import stamina
from pydantic import TypeAdapter, ValidationError

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.errors import (
    ConfigurationError,
    ContractError,
    IngestionError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.providers.http_body import BodyReader, OversizedBodyError, UnreadableBodyError
from ingestion_pipeline.providers.rate import RateGate

# httpx logs every full URL at INFO; a base URL may hold a password.
logging.getLogger("httpx").setLevel(logging.WARNING)

T = TypeVar("T")
Params = Mapping[str, str | int]

MAX_BODY_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 3
_TOO_MANY = {418, 429}
_REQUEST_TIMEOUT = 408
_SERVICE_UNAVAILABLE = 503


class CircuitBreaker(Protocol):
    """Remembers, across processes, whether a source is worth asking."""

    def before_call(self, name: str) -> None:
        """Raises CircuitOpenError while the source is not to be asked."""
        ...

    def record(self, name: str, *, ok: bool) -> None:
        """What became of a call that `before_call` let pass. Called exactly once for each."""
        ...


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a source said. `body` is parsed JSON, or None where an error answer held none."""

    status: int
    path: str
    params: Params
    headers: Mapping[str, str]
    body: object


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """`max_wait_seconds`: a longer Retry-After is not slept here but raised, for the orchestrator to postpone."""

    timeout_seconds: float = 10.0
    deadline_seconds: float = 60.0
    max_body_bytes: int = MAX_BODY_BYTES
    max_wait_seconds: float = 30.0


@dataclass(eq=False)
class _BusyError(ProviderUnavailableError):
    retry_after_seconds: float | None = field(default=None)


def _no_error(_: Answer) -> IngestionError | None:
    return None


def _no_pause(_: Answer) -> float:
    return 0.0


class HttpSource:
    """One source. `headers` are secret; `explain` turns its own error answers into ours, None where it is none."""

    def __init__(
        self,
        provider: str,
        base_url: str,
        *,
        breaker: CircuitBreaker,
        rate: RateGate,
        limits: HttpLimits | None = None,
        headers: Mapping[str, str] | None = None,
        explain: Callable[[Answer], IngestionError | None] = _no_error,
        pause_seconds: Callable[[Answer], float] = _no_pause,
    ) -> None:
        limits = limits or HttpLimits()
        secrets = dict(headers or {})
        self._provider = provider
        self._breaker = breaker
        self._rate = rate
        self._max_wait_seconds = limits.max_wait_seconds
        self._explain = explain
        self._pause_seconds = pause_seconds
        self._quiet_until = 0.0
        self._bodies = BodyReader(
            provider=provider,
            max_bytes=limits.max_body_bytes,
            deadline_seconds=limits.deadline_seconds,
            secrets=tuple(secrets.values()),
        )
        self._client = httpx.Client(
            base_url=_checked_url(provider, base_url),
            timeout=limits.timeout_seconds,
            headers={"accept": "application/json", "accept-encoding": "gzip", **secrets},
            # A redirect would carry our key to another host.
            follow_redirects=False,
        )
        weakref.finalize(self, self._client.close)

    def fetch(self, path: str, shape: TypeAdapter[T], *, params: Params | None = None, cost: int = 1) -> T:
        """GETs `path` and returns its JSON in `shape`; `cost` counts against the rate limit.

        Raises:
            ContractError: no JSON after a few attempts, another shape, too large, or an unexplained 4xx.
            TransientError: unreachable, 5xx, rate limited, or the breaker is open.
            IngestionError: whatever `explain` makes of the source's own errors.
        """
        retries = stamina.retry_context(
            self._backoff, attempts=_ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=8.0, wait_jitter=1.0
        )
        for attempt in retries:
            if attempt.num > 1:
                metrics.counter("api_retry_total", labels={"service": self._provider})
            with attempt:
                answer = self._attempt(path, params or {}, cost)
        try:
            return shape.validate_python(answer.body)
        except ValidationError as error:
            raise self._wrong_shape(path, error) from None

    def _backoff(self, error: Exception) -> bool | float:
        wait = getattr(error, "retry_after_seconds", None)
        if wait is not None:
            return float(wait) if wait <= self._max_wait_seconds else False
        if isinstance(error, OversizedBodyError):
            return False
        return isinstance(error, ProviderUnavailableError | RateLimitedError | UnreadableBodyError)

    def _attempt(self, path: str, params: Params, cost: int) -> Answer:
        self._keep_quiet()
        self._rate.wait(cost=cost)
        self._breaker.before_call(self._provider)
        is_ok = False
        try:
            answer = self._exchange(path, params)
            is_ok = True
        except (ProviderUnavailableError, UnreadableBodyError):
            raise
        except IngestionError:
            # It answered: what is wrong is our request or our pace, and the next caller need not be kept away.
            is_ok = True
            raise
        finally:
            self._breaker.record(self._provider, ok=is_ok)
        return answer

    def _keep_quiet(self) -> None:
        """Does not ask at all while the source wants no requests: going on turns a 429 into a ban."""
        remaining = self._quiet_until - time.monotonic()
        if remaining > self._max_wait_seconds:
            raise RateLimitedError(self._provider, round(remaining, 3))
        if remaining > 0:
            time.sleep(remaining)

    def _exchange(self, path: str, params: Params) -> Answer:
        try:
            with self._client.stream("GET", path, params=httpx.QueryParams(params)) as response:
                self._refuse_failure(response, path)
                body = self._bodies.read(response, path)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            # The text of a protocol error may quote a header; its type says enough.
            raise ProviderUnavailableError(self._provider, f"GET {path}: {type(error).__name__}") from None
        answer = self._answer(response, path, params, body)
        self._quiet_for(self._pause_seconds(answer))
        explained = self._explain(answer)
        if explained is not None:
            raise explained
        if not response.is_success:
            seen = f"{response.status_code} {self._bodies.excerpt(body)}"
            raise ContractError(f"{self._provider} {path}", "status", seen, "200")
        return answer

    def _refuse_failure(self, response: httpx.Response, path: str) -> None:
        status = response.status_code
        wait = _retry_after_seconds(response.headers.get("retry-after"))
        if status in _TOO_MANY:
            self._quiet_for(wait or 0.0)
            raise RateLimitedError(self._provider, wait)
        if response.is_server_error or status == _REQUEST_TIMEOUT:
            reason = f"GET {path}: status {status}"
            raise _BusyError(self._provider, reason, wait if status == _SERVICE_UNAVAILABLE else None)

    def _answer(self, response: httpx.Response, path: str, params: Params, body: bytes) -> Answer:
        try:
            parsed = self._bodies.parse(body, path)
        except UnreadableBodyError:
            if response.is_success:
                raise
            parsed = None
        status, headers = response.status_code, response.headers
        return Answer(status=status, path=path, params=params, headers=headers, body=parsed)

    def _quiet_for(self, seconds: float) -> None:
        self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)

    def _wrong_shape(self, path: str, error: ValidationError) -> ContractError:
        problem = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"])) or "body"
        return ContractError(
            f"{self._provider} {path}", where, self._bodies.excerpt(str(problem["input"])), problem["msg"]
        )


def _checked_url(provider: str, base_url: str) -> httpx.URL:
    expected = "a URL such as https://api.example.com"
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ConfigurationError(f"{provider.upper()}_URL", "(unreadable)", expected) from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(f"{provider.upper()}_URL", f"{url.scheme}://{url.host}", expected)
    return url


def _retry_after_seconds(value: str | None) -> float | None:
    """Retry-After as seconds: a number or an HTTP date (RFC 9110, 10.2.3); None where it is neither."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d{1,3})?\s*", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        return max((until - clock.utc_now()).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
