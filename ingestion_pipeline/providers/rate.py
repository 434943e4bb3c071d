"""How often we may ask one provider: a moving window, shared through Redis where there is one.

Redis down: the limit is kept in this process's memory for a while, with a warning; nothing fails. Each process then
counts for itself, and the provider's own 429 remains the last word.

Belongs here: counting and waiting before a request. Does not belong here: what a provider answers (http.py).
"""

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from limits import parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.errors import RateLimitedError

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_REDIS_TIMEOUT_SECONDS = 1.0
_REDIS_RETRY_SECONDS = 30.0
_SHORTEST_WAIT_SECONDS = 0.01


class RateGate:
    """Lets at most `limit` (such as `10/minute`) requests of `provider` pass, across all users of the same store."""

    def __init__(
        self,
        provider: str,
        limit: str,
        *,
        redis_url: str | None = None,
        max_wait_seconds: float = 90.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._provider = provider
        self._limit = parse(limit)
        self._max_wait_seconds = max_wait_seconds
        self._sleep = sleep
        self._memory = MovingWindowRateLimiter(_memory())
        self._shared = None if redis_url is None else MovingWindowRateLimiter(_redis(redis_url))
        self._shared_again_at = 0.0

    def wait(self, *, cost: int = 1) -> None:
        """Returns when a request of `cost` may be sent, and counts it.

        Raises:
            RateLimitedError: the wait would be longer than `max_wait_seconds`.
        """
        waited = 0.0
        while not self._hit(cost):
            pause = self._seconds_until_free()
            if waited + pause > self._max_wait_seconds:
                raise RateLimitedError(self._provider, round(pause, 3))
            self._sleep(pause)
            waited += pause

    def _hit(self, cost: int) -> bool:
        return bool(self._ask(lambda limiter: limiter.hit(self._limit, self._provider, cost=cost)))

    def _seconds_until_free(self) -> float:
        stats = self._ask(lambda limiter: limiter.get_window_stats(self._limit, self._provider))
        return max(stats.reset_time - clock.utc_now().timestamp(), _SHORTEST_WAIT_SECONDS)

    def _ask(self, question: Callable[[MovingWindowRateLimiter], _T]) -> _T:
        if self._shared is not None and time.monotonic() >= self._shared_again_at:
            try:
                return question(self._shared)
            except StorageError as error:
                # The URL may hold a password: name the kind of failure only.
                kind = type(error.storage_error).__name__
                _log.warning("rate limit of %s is kept in memory: Redis answered %s", self._provider, kind)
                self._shared_again_at = time.monotonic() + _REDIS_RETRY_SECONDS
        return question(self._memory)


@lru_cache(maxsize=1)
def _memory() -> MemoryStorage:
    # One per process: every client of a provider in this process counts against the same limit.
    return MemoryStorage()


@lru_cache(maxsize=4)
def _redis(url: str) -> RedisStorage:
    address = url.replace("unix://", "redis+unix://", 1) if url.startswith("unix://") else url
    return RedisStorage(
        address,
        wrap_exceptions=True,
        socket_connect_timeout=_REDIS_TIMEOUT_SECONDS,
        socket_timeout=_REDIS_TIMEOUT_SECONDS,
    )
