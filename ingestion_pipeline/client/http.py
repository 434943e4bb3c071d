"""Requests of the client and what an answer means: taken, refused, or to be tried again later.

Belongs here: httpx. Does not belong here: queues and when to send (delivery.py).
"""

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import httpx

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 600.0
_ATTEMPTS_AT_A_SERVER_ERROR = 8
_REFUSALS = frozenset({400, 413, 422})


class AnalyticsError(Exception):
    """The service did not answer a query, or answered with a problem.

    Attributes:
        status: HTTP status; None when there was no answer.
        retry_after_seconds: how long the service asks to wait, if it does.
    """

    def __init__(self, reason: str, *, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Verdict(Enum):
    """TAKEN: the service has the events. REFUSED: it will never take them as they are. LATER: try again."""

    TAKEN = "taken"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Of one request: `status` is None when none came, `body` is None when it is no JSON object."""

    status: int | None
    body: Mapping[str, Any] | None
    reason: str
    retry_after_seconds: float | None = None

    def verdict(self, attempt: int) -> Verdict:
        """What is to be done with the events after this answer to the `attempt`-th try (from 1).

        Only an answer about the events themselves gives them up; a wrong token or address can be mended while they
        wait. An internal error that comes again and again is taken for the fault of an event.
        """
        if self.status is not None and self.status // 100 == 2 and self.body and "accepted" in self.body:  # noqa: PLR2004
            return Verdict.TAKEN
        if self.status in _REFUSALS or (self.status == 500 and attempt >= _ATTEMPTS_AT_A_SERVER_ERROR):  # noqa: PLR2004
            return Verdict.REFUSED
        return Verdict.LATER

    def pause_seconds(self, attempt: int) -> float:
        """How long to wait after this answer: what the service asked for, else exponential; both with jitter."""
        if self.retry_after_seconds is not None:
            return self.retry_after_seconds * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, hides nothing
        ceiling = min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 10), _LONGEST_BACKOFF_SECONDS)
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311

    def rejections(self) -> list[tuple[int, str]]:
        """Index and reason of every event of a taken batch that was rejected."""
        results = (self.body or {}).get("results")
        if not isinstance(results, list):
            return []
        return [
            (result["index"], str(result.get("reason", "")))
            for result in results
            if isinstance(result, dict) and result.get("status") == "rejected" and isinstance(result.get("index"), int)
        ]


class Service:
    """The intake service at `url`: one pool of connections a process, made anew after a fork."""

    def __init__(self, url: str, token: str, *, timeout_seconds: float) -> None:
        address = httpx.URL(url)
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError(f"the service's url is {url!r}, expected http(s)://host[:port]")
        self._options: dict[str, Any] = {
            "base_url": address,
            "headers": {"x-app-token": token, "user-agent": "ingestion-pipeline-client"},
            "timeout": timeout_seconds,
            "verify": httpx.create_ssl_context(),
        }
        self._connect()

    def post_events(self, events: Sequence[bytes], *, sent_at: str) -> Answer:
        """Sends encoded events as one request. Raises nothing: a failure is an answer without a status."""
        body = b'{"sentAt":"%s","events":[%s]}' % (sent_at.encode(), b",".join(events))
        try:
            return _answer(self._connected().post("/api/events", content=body, headers=_JSON))
        except (httpx.HTTPError, RuntimeError, OSError) as error:  # RuntimeError: closed meanwhile
            return _no_answer(error)

    def get(self, path: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """The JSON object at `path`.

        Raises:
            AnalyticsError: no answer, or a problem.
        """
        try:
            return _object(_answer(self._connected().get(path, params=parameters)))
        except httpx.HTTPError as error:
            raise AnalyticsError(_no_answer(error).reason) from error

    async def get_async(self, path: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """As `get`; the connection is the call's own, so that any event loop may make it."""
        try:
            async with httpx.AsyncClient(**self._options) as client:
                return _object(_answer(await client.get(path, params=parameters)))
        except httpx.HTTPError as error:
            raise AnalyticsError(_no_answer(error).reason) from error

    def close(self) -> None:
        self._client.close()

    def _connect(self) -> None:
        self._client = httpx.Client(**self._options)  # noqa: TID251 - this folder lives without the package
        self._process_id = os.getpid()

    def _connected(self) -> httpx.Client:  # noqa: TID251
        if self._process_id != os.getpid():
            self._connect()
        return self._client


_JSON = {"content-type": "application/json"}


def _answer(response: httpx.Response) -> Answer:
    try:
        body = response.json()
    except ValueError:
        body = None
    found = body if isinstance(body, dict) else None
    said = (found or {}).get("detail") or (found or {}).get("title") or response.reason_phrase
    return Answer(
        status=response.status_code,
        body=found,
        reason=f"HTTP {response.status_code}: {said}",
        retry_after_seconds=_retry_after_seconds(response.headers.get("retry-after")),
    )


def _no_answer(error: Exception) -> Answer:
    return Answer(status=None, body=None, reason=f"no answer: {type(error).__name__}")


def _object(answer: Answer) -> Mapping[str, Any]:
    if answer.status is None or answer.status >= 300 or answer.body is None:  # noqa: PLR2004
        raise AnalyticsError(answer.reason, status=answer.status, retry_after_seconds=answer.retry_after_seconds)
    return answer.body


def _retry_after_seconds(header: str | None) -> float | None:
    """Seconds from a Retry-After header in either of its forms (RFC 9110 §10.2.3); None when it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_SECONDS)
