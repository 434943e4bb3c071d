"""How often an address may call: exact moving windows, shared through Redis, in memory while Redis is away.

A request never fails because Redis does: the outage is logged once and asked about again every few seconds.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ingestion_pipeline.intake.addresses import limited_as
from ingestion_pipeline.settings import Settings

REDIS_TIMEOUT_SECONDS = 0.25
ASK_AGAIN_SECONDS = 5.0
MOST_ADDRESSES = 50_000
KEY_PREFIX = "ingestion:limits"

_log = structlog.get_logger(__name__)

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an address stands after a request: how many are left, and when the oldest one is forgotten."""

    limit: int
    remaining: int
    reset_seconds: float
    is_allowed: bool

    @property
    def headers(self) -> Headers:
        return (
            (b"ratelimit-limit", b"%d" % self.limit),
            (b"ratelimit-remaining", b"%d" % self.remaining),
            (b"ratelimit-reset", b"%d" % -int(-self.reset_seconds // 1)),
        )


class RateLimits:
    """The limits of the settings: `events` is EVENTS_RATE_LIMIT."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._memory = MemoryWindows()
        self._redis = None if settings.redis_url is None else RedisWindows(settings.redis_url.get_secret_value())
        self._retry_at = 0.0
        self._is_away = False

    def item(self, name: str) -> RateLimitItem | None:
        """The limit called `name`; None where it is 0."""
        text = getattr(self._settings, f"{name}_rate_limit")
        return None if text == "0" else parse(text)

    async def hit(self, name: str, item: RateLimitItem, address: str) -> Standing:
        """Counts a request of `address`, unless it is one too many."""
        address = limited_as(address)
        if self._redis and (not self._is_away or time.monotonic() >= self._retry_at):
            self._retry_at = time.monotonic() + ASK_AGAIN_SECONDS  # while away, one request asks
            try:
                standing = await self._redis.hit(name, item, address)
            except (RedisError, OSError) as error:
                self._lose(error)
            else:
                self._find()
                return standing
        return self._memory.hit(name, item, address)

    async def close(self) -> None:
        if self._redis:
            await self._redis.close()

    def _lose(self, error: Exception) -> None:
        if not self._is_away:
            _log.warning("rate limits are kept in memory: Redis is away", reason=type(error).__name__)
        self._is_away = True

    def _find(self) -> None:
        if self._is_away:
            _log.info("rate limits are shared again: Redis is back")
        self._is_away = False


class RedisWindows:
    """Moving windows in Redis or Valkey, exact across processes."""

    def __init__(self, url: str) -> None:
        options: Any = {
            "socket_timeout": REDIS_TIMEOUT_SECONDS,
            "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
        }
        self._storage = RedisStorage(f"async+{url}", implementation="redispy", key_prefix=KEY_PREFIX, **options)
        self._limiter = MovingWindowRateLimiter(self._storage)

    async def hit(self, name: str, item: RateLimitItem, address: str) -> Standing:
        """Raises RedisError or OSError when Redis cannot be asked."""
        is_allowed = await self._limiter.hit(item, name, address)
        stats = await self._limiter.get_window_stats(item, name, address)
        reset_seconds = min(max(0.0, stats.reset_time - time.time()), float(item.get_expiry()))
        return Standing(item.amount, max(0, stats.remaining), reset_seconds, is_allowed)

    async def close(self) -> None:
        await self._storage.bridge.get_connection().aclose()  # type: ignore[attr-defined]


class MemoryWindows:
    """Moving windows of this process; the address seen longest ago makes room.

    The library's own memory storage starts a thread per sweep and walks over every address; this is one deque each.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most_addresses: int = MOST_ADDRESSES) -> None:
        self._clock = clock
        self._most_addresses = most_addresses
        self._windows: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def hit(self, name: str, item: RateLimitItem, address: str) -> Standing:
        now, expiry = self._clock(), item.get_expiry()
        window = self._window((name, address))
        while window and window[0] <= now - expiry:
            window.popleft()
        is_allowed = len(window) < item.amount
        if is_allowed:
            window.append(now)
        return Standing(item.amount, item.amount - len(window), window[0] + expiry - now, is_allowed)

    def _window(self, key: tuple[str, str]) -> deque[float]:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = deque()
            if len(self._windows) > self._most_addresses:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(key)
        return window
