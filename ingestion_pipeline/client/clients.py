"""The two clients: the same emission and the same background thread, queries that block or that are awaited.

Belongs here: what an application calls. Does not belong here: how it is done (the other modules).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Literal, Self, Unpack

from .delivery import Delivery, Limits, OnRejected
from .http import Service
from .results import (
    Aggregation,
    AggregationFilter,
    DashboardMetrics,
    Event,
    EventFilter,
    aggregation,
    dashboard_metrics,
    event,
    parameters,
)
from .tracking import Tracking

Period = Literal["hourly", "daily", "weekly"]


class _Client(Tracking):
    def __init__(
        self,
        url: str,
        token: str,
        *,
        on_rejected: OnRejected | None = None,
        max_queue: int = 10_000,
        max_queue_bytes: int = 64_000_000,
        max_batch: int = 500,
        interval_seconds: float = 2.0,
        timeout_seconds: float = 10.0,
        exit_seconds: float = 5.0,
    ) -> None:
        """Connects to nothing yet.

        Args:
            url: of the intake service, such as `http://127.0.0.1:8787`.
            token: an application's token with the scopes `events:write` and, for queries, `events:read`.
            on_rejected: called with the event as sent and the reason, mostly from the background thread.
            max_queue: events that may wait; more are dropped and counted.
            max_queue_bytes: bytes of them.
            max_batch: events a request; the service takes at most 1000.
            interval_seconds: how long an event waits for others. The service allows 60 requests a minute by default.
            timeout_seconds: of connecting, of sending and of each wait for the answer.
            exit_seconds: how long the end of the process may be held up by events that are still queued.

        Raises:
            ValueError: `url` is none.
        """
        self._service = Service(url, token, timeout_seconds=timeout_seconds)
        limits = Limits(
            queue=max_queue,
            queue_bytes=max_queue_bytes,
            batch=max_batch,
            interval_seconds=interval_seconds,
            exit_seconds=exit_seconds,
        )
        super().__init__(Delivery(self._service, limits, on_rejected))


class AnalyticsClient(_Client):
    """For synchronous code. Threads may share one; a forked child may go on using it."""

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Waits until all events emitted before are taken or refused; False when the time was too short."""
        return self._delivery.flush(timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> None:
        """Sends what is queued (for `exit_seconds` by default) and stops. The end of the process does it too."""
        self._delivery.close(timeout_seconds)

    def query_events(self, **filters: Unpack[EventFilter]) -> Iterator[Event]:
        """Stored events, newest first, fetched page by page.

        Raises:
            AnalyticsError: no answer, or a problem.
        """
        return map(event, self._rows("/api/events", parameters(filters), "events"))

    def query_aggregations(self, period: Period, /, **filters: Unpack[AggregationFilter]) -> Iterator[Aggregation]:
        """Buckets of `period`, newest first, fetched page by page.

        Raises:
            AnalyticsError: no answer, or a problem.
        """
        wanted = {"period": period, **parameters(filters)}
        return map(aggregation, self._rows("/api/events/aggregations", wanted, "aggregations"))

    def get_dashboard_metrics(self) -> DashboardMetrics:
        """Today's figures and the realtime metrics.

        Raises:
            AnalyticsError: no answer, or a problem.
        """
        return dashboard_metrics(self._service.get("/api/events/dashboard", {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, path: str, wanted: dict[str, str], name: str) -> Iterator[dict[str, object]]:
        cursor: str | None = ""
        while cursor is not None:
            page = self._service.get(path, {**wanted, "cursor": cursor} if cursor else wanted)
            yield from page[name]
            cursor = page["nextCursor"]


class AsyncAnalyticsClient(_Client):
    """For asyncio. `emit` and `track_*` are plain calls that never wait; only these below are awaited.

    Events leave from a background thread as in `AnalyticsClient`: a busy or ended event loop holds none up.
    """

    async def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Waits until all events emitted before are taken or refused; False when the time was too short."""
        return await asyncio.to_thread(self._delivery.flush, timeout_seconds)

    async def close(self, timeout_seconds: float | None = None) -> None:
        """Sends what is queued (for `exit_seconds` by default) and stops. The end of the process does it too."""
        await asyncio.to_thread(self._delivery.close, timeout_seconds)

    async def query_events(self, **filters: Unpack[EventFilter]) -> AsyncIterator[Event]:
        """Stored events, newest first, fetched page by page.

        Raises:
            AnalyticsError: no answer, or a problem.
        """
        async for row in self._rows("/api/events", parameters(filters), "events"):
            yield event(row)

    async def query_aggregations(
        self, period: Period, /, **filters: Unpack[AggregationFilter]
    ) -> AsyncIterator[Aggregation]:
        """Buckets of `period`, newest first, fetched page by page.

        Raises:
            AnalyticsError: no answer, or a problem.
        """
        wanted = {"period": period, **parameters(filters)}
        async for row in self._rows("/api/events/aggregations", wanted, "aggregations"):
            yield aggregation(row)

    async def get_dashboard_metrics(self) -> DashboardMetrics:
        """Today's figures and the realtime metrics.

        Raises:
            AnalyticsError: no answer, or a problem.
        """
        return dashboard_metrics(await self._service.get_async("/api/events/dashboard", {}))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _rows(self, path: str, wanted: dict[str, str], name: str) -> AsyncIterator[dict[str, object]]:
        cursor: str | None = ""
        while cursor is not None:
            page = await self._service.get_async(path, {**wanted, "cursor": cursor} if cursor else wanted)
            for row in page[name]:
                yield row
            cursor = page["nextCursor"]
