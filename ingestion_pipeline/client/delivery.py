"""The queue between `emit` and the service, and the background thread that empties it.

An event is in the queue until the service has taken or refused it. Its key was made when it was emitted, so that
sending it again after a lost answer is a duplicate to the service and counts once. Events leave in the order they came.

A forked child begins with an empty queue and its own thread: what the parent had queued stays the parent's.

Belongs here: when to send, what waits, what was lost. Does not belong here: what an answer means (http.py).
"""

import json
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import Any

from .events import instant
from .http import Answer, Service, Verdict

_log = logging.getLogger(__name__)
_MAX_BATCH_BYTES = 1_000_000

OnRejected = Callable[[Mapping[str, Any], str], object]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Events of this process so far: `sent` (taken by the service, duplicates too), `queued` (waiting or on their
    way), `dropped` (the queue was full, or the client closed), `rejected` (refused, each told to `on_rejected`).
    """

    sent: int
    queued: int
    dropped: int
    rejected: int


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may wait, how much goes out at once, how long the oldest waits for company."""

    queue: int
    queue_bytes: int
    batch: int
    interval_seconds: float
    exit_seconds: float


class Delivery:
    """Sends what it is offered, in batches, from one daemon thread a process, started with the first event."""

    def __init__(self, service: Service, limits: Limits, on_rejected: OnRejected | None) -> None:
        self._service = service
        self._limits = limits
        self._on_rejected = on_rejected
        self._closed = False
        self._begin()
        _deliveries.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._at_exit: Finalize | None = None
        self._queue: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._due_at = 0.0
        self._give_up_at = float("inf")
        self._flushing = 0
        self._hurry = False
        self._has_warned = False
        self._offered = self._settled = self._sent = self._dropped = self._rejected = 0

    def offer(self, event: bytes) -> None:
        """Queues one encoded event, or counts it as dropped. Neither blocks nor raises."""
        with self._changed:
            if self._closed or not self._has_room(len(event)):
                self._dropped += 1
                first = self._dropped == 1
            else:
                first = False
                self._append(event)
        if first:
            why = "the client is closed" if self._closed else "the queue is full"
            _log.warning("an event was dropped because %s; stats() counts the next ones without a warning", why)

    def refuse(self, event: Mapping[str, Any], reason: str) -> None:
        """Counts and tells an event that cannot be sent."""
        with self._changed:
            self._rejected += 1
        self._tell(event, reason)

    def flush(self, timeout_seconds: float) -> bool:
        """Waits until everything offered so far is settled; False when that took longer than `timeout_seconds`.

        Ends a back-off early, but not a wait that the service asked for.
        """
        if threading.current_thread() is self._thread:
            return False
        with self._changed:
            wanted = self._offered
            self._flushing += 1
            self._hurry = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._settled >= wanted, timeout_seconds)
            self._flushing -= 1
        return done

    def close(self, timeout_seconds: float | None = None) -> None:
        """Sends what is queued, for at most `timeout_seconds`, and stops. Warns when something is left."""
        seconds = self._limits.exit_seconds if timeout_seconds is None else timeout_seconds
        with self._changed:
            if self._closed:
                return
            self._closed = self._hurry = True
            self._give_up_at = time.monotonic() + seconds
            self._changed.notify_all()
        if self._at_exit is not None:
            self._at_exit.cancel()
        if self._thread is None:
            self._run()
        elif self._thread is not threading.current_thread():
            self._thread.join(seconds)
        self._service.close()
        if left := self.stats().queued:
            _log.warning("the client closed with %d events unsent", left)

    def stats(self) -> Stats:
        with self._changed:
            return Stats(
                sent=self._sent,
                queued=self._offered - self._settled,
                dropped=self._dropped,
                rejected=self._rejected,
            )

    def _has_room(self, size: int) -> bool:
        waiting = self._offered - self._settled
        return waiting < self._limits.queue and self._waiting_bytes + size <= self._limits.queue_bytes

    def _append(self, event: bytes) -> None:
        self._queue.append(event)
        self._offered += 1
        self._waiting_bytes += len(event)
        if len(self._queue) == 1:
            self._due_at = time.monotonic() + self._limits.interval_seconds
        if len(self._queue) in (1, self._limits.batch):
            self._changed.notify_all()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        if self._at_exit is None:
            # Runs at the end of the interpreter and, unlike atexit, of a multiprocessing child.
            self._at_exit = Finalize(None, self.close, exitpriority=0)
        thread = threading.Thread(target=self._run, name="analytics-delivery", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, now or at all: the next event tries again, close() sends without
            return
        self._thread = thread

    def _run(self) -> None:
        while batch := self._next_batch():
            self._deliver(batch)

    def _next_batch(self) -> list[bytes]:
        """The next events to send, as soon as they are due; empty when there is nothing more to do."""
        with self._changed:
            while not self._is_due():
                self._changed.wait(self._due_at - time.monotonic() if self._queue else None)
            if time.monotonic() >= self._give_up_at or not self._queue:
                return []
            batch = [self._queue.popleft()]
            size = len(batch[0])
            while self._queue and len(batch) < self._limits.batch and size + len(self._queue[0]) <= _MAX_BATCH_BYTES:
                batch.append(self._queue.popleft())
                size += len(batch[-1])
            self._due_at = time.monotonic() + self._limits.interval_seconds
            return batch

    def _is_due(self) -> bool:
        if self._closed:
            return True
        full = len(self._queue) >= self._limits.batch
        return bool(self._queue) and (full or self._flushing > 0 or time.monotonic() >= self._due_at)

    def _deliver(self, batch: Sequence[bytes]) -> None:
        """Tries until `batch` is settled; one that is refused as a whole is halved until the culprit is alone."""
        attempt = 0
        while time.monotonic() < self._give_up_at:
            attempt += 1
            self._hurry = False
            answer = self._service.post_events(batch, sent_at=instant())
            verdict = answer.verdict(attempt)
            if verdict is Verdict.TAKEN:
                return self._settle(batch, answer.rejections())
            if verdict is Verdict.REFUSED and len(batch) == 1:
                return self._settle(batch, [(0, answer.reason)])
            if verdict is Verdict.REFUSED:
                self._deliver(batch[: len(batch) // 2])
                return self._deliver(batch[len(batch) // 2 :])
            self._pause(answer, attempt)
        return None

    def _pause(self, answer: Answer, attempt: int) -> None:
        seconds = answer.pause_seconds(attempt)
        log = _log.warning if attempt == 1 else _log.debug
        log("events wait for another attempt in %.1f s: %s", seconds, answer.reason)
        again_at = time.monotonic() + seconds
        with self._changed:
            while (left := min(again_at, self._give_up_at) - time.monotonic()) > 0:
                if self._hurry and answer.retry_after_seconds is None:
                    return
                self._changed.wait(left)

    def _settle(self, batch: Sequence[bytes], rejections: Sequence[tuple[int, str]]) -> None:
        refused = [(batch[index], reason) for index, reason in rejections if 0 <= index < len(batch)]
        for event, reason in refused:
            self._tell(json.loads(event), reason)
        with self._changed:
            self._settled += len(batch)
            self._sent += len(batch) - len(refused)
            self._rejected += len(refused)
            self._waiting_bytes -= sum(map(len, batch))
            self._changed.notify_all()

    def _tell(self, event: Mapping[str, Any], reason: str) -> None:
        if self._on_rejected is None:
            log = _log.debug if self._has_warned else _log.warning
            self._has_warned = True
            log("event %s was rejected: %s; stats() counts the next ones without a warning", event.get("type"), reason)
            return
        try:
            self._on_rejected(event, reason)
        except Exception:  # noqa: BLE001 - the application's own code
            _log.exception("on_rejected failed")


_deliveries: "weakref.WeakSet[Delivery]" = weakref.WeakSet()


def _begin_in_child() -> None:
    for delivery in _deliveries:
        delivery._begin()  # noqa: SLF001 - the module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
