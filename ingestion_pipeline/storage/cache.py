"""A cache that is never needed: Redis or Valkey where there is one, memory where there is none or it is away.

Belongs here: the caches, how one is chosen, read-through. Does not belong here: which values are cached, for how long
and what makes them stale (their domain), and anything of which the cache would hold the only copy.

Keys are colon-separated words such as `market:BTC-USD:latest`; a pattern is a key in which `*` stands for any text.
Values are what JSON can say and come back as JSON says them: tuples as lists. `None` means "not there".
"""

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.settings import Settings

KEY_PREFIX = "ingestion:"
# redis-py's own defaults take seconds per command against a dead server; a cache must cost less than it saves.
REDIS_TIMEOUT_SECONDS = 0.25
RETRY_AFTER_SECONDS = 5.0
MAX_ENTRIES = 10_000
_MAX_MISSED = 1_000
_BATCH = 500

_log = structlog.get_logger(__name__)


class Cache(Protocol):
    """Implementations pass storage/cache_suite.py in the tests."""

    def get(self, key: str) -> Any | None:
        """The value, or None where there is none, it has expired or it cannot be read."""
        ...

    def set(self, key: str, value: Any, *, ttl_seconds: float) -> None:
        """Keeps `value` for `ttl_seconds`, which must be positive.

        Raises:
            TypeError, ValueError: JSON cannot say `value`, or the lifetime is not positive.
        """
        ...

    def delete(self, pattern: str) -> None:
        """Removes every key that matches `pattern`."""
        ...

    def ping(self) -> None:
        """Returns when the store behind the cache answers.

        Raises:
            StoreUnavailableError: it does not.
        """
        ...


def cache(settings: Settings) -> Cache:
    """Redis with memory behind it where `REDIS_URL` is set, else memory alone."""
    if settings.redis_url is None:
        return MemoryCache()
    return FallbackCache(RedisCache.from_url(settings.redis_url.get_secret_value()), MemoryCache())


def cached(store: Cache, key: str, *, ttl_seconds: float, load: Callable[[], Any]) -> Any:
    """The cached value, or what `load` returns, which is then kept.

    In one process a key has one loader at a time; other threads wait and take its result. A loader that raises, or
    returns None, leaves nothing behind and the next thread tries. The value has passed through JSON on either way.
    """
    if (value := store.get(key)) is not None:
        return value
    with _only_loader(store, key):
        if (value := store.get(key)) is not None:
            return value
        text = _encode(load())
        if (value := json.loads(text)) is not None:
            store.set(key, value, ttl_seconds=ttl_seconds)
        return value


class MemoryCache:
    """This process's own cache; what was used longest ago makes room at `max_entries`."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._max_entries = max_entries
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, key: str) -> Any | None:
        with self._lock:
            expires_at, text = self._entries.get(key, (0.0, ""))
            if not text:
                return None
            if expires_at <= self._clock():
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
        return json.loads(text)

    def set(self, key: str, value: Any, *, ttl_seconds: float) -> None:
        text, ttl_ms = _encode(value), _milliseconds(ttl_seconds)
        with self._lock:
            self._entries[key] = (self._clock() + ttl_ms / 1000, text)
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)

    def delete(self, pattern: str) -> None:
        matches = re.compile(re.escape(pattern).replace(r"\*", ".*"), flags=re.DOTALL).fullmatch
        with self._lock:
            for key in [key for key in self._entries if matches(key)]:
                del self._entries[key]

    def ping(self) -> None:
        """Memory always answers."""

    def __len__(self) -> int:
        return len(self._entries)


class RedisCache:
    """Redis or Valkey. Every failure of the server or the way to it is a StoreUnavailableError."""

    def __init__(self, client: redis.Redis, *, prefix: str = KEY_PREFIX) -> None:
        self._client = client
        self._prefix = prefix

    @classmethod
    def from_url(cls, url: str) -> Self:
        client = redis.Redis.from_url(
            url,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        return cls(client)

    def get(self, key: str) -> Any | None:
        with _redis_errors():
            text = self._client.get(self._prefix + key)
        try:
            return None if text is None else json.loads(text)
        except ValueError:  # somebody else wrote here: not a value of ours
            return None

    def set(self, key: str, value: Any, *, ttl_seconds: float) -> None:
        text, ttl_ms = _encode(value), _milliseconds(ttl_seconds)
        with _redis_errors():
            self._client.set(self._prefix + key, text, px=ttl_ms)

    def delete(self, pattern: str) -> None:
        # SCAN, never KEYS: KEYS stops every other client while it walks; UNLINK frees memory in the background.
        with _redis_errors():
            batch: list[bytes] = []
            for key in self._client.scan_iter(match=_redis_glob(self._prefix + pattern), count=_BATCH):
                batch.append(key)
                if len(batch) == _BATCH:
                    self._client.unlink(*batch)
                    batch = []
            if batch:
                self._client.unlink(*batch)

    def ping(self) -> None:
        with _redis_errors():
            self._client.ping()

    def close(self) -> None:
        self._client.close()


class FallbackCache:
    """`primary`, and `fallback` while the primary is away; reading and writing never fail because a store does.

    An outage is logged once and asked about again every `retry_after_seconds`. What was invalidated or written
    meanwhile is removed from the primary before it is used again, so that no value from before the outage comes back.
    That memory is this process's: a process that ends during the outage leaves the rest to the values' lifetimes.
    """

    def __init__(
        self,
        primary: Cache,
        fallback: Cache,
        *,
        retry_after_seconds: float = RETRY_AFTER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._primary = primary
        self._fallback = fallback
        self._retry_after_seconds = retry_after_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._retry_at: float | None = None  # None: the primary is there
        self._is_returning = False
        self._missed: dict[str, None] = {}

    def get(self, key: str) -> Any | None:
        return self._do(lambda store: store.get(key))

    def set(self, key: str, value: Any, *, ttl_seconds: float) -> None:
        self._do(lambda store: store.set(key, value, ttl_seconds=ttl_seconds), stale=key)

    def delete(self, pattern: str) -> None:
        self._fallback.delete(pattern)
        self._do(lambda store: store.delete(pattern), stale=pattern)

    def ping(self) -> None:
        self._primary.ping()

    def _do(self, action: Callable[[Cache], Any], *, stale: str | None = None) -> Any:
        """Runs `action` on the store of the moment; `stale` is what the primary must forget if it missed it."""
        if self._is_primary_there(stale):
            try:
                return action(self._primary)
            except StoreUnavailableError as error:
                self._lose_primary(error, stale)
        return action(self._fallback)

    def _is_primary_there(self, stale: str | None) -> bool:
        with self._lock:
            if self._retry_at is None:
                return True
            self._remember(stale)
            if self._is_returning or self._clock() < self._retry_at:
                return False
            self._is_returning = True
        try:
            return self._return_to_primary()
        finally:
            self._is_returning = False

    def _lose_primary(self, error: StoreUnavailableError, stale: str | None) -> None:
        with self._lock:
            is_new = self._retry_at is None
            self._retry_at = self._clock() + self._retry_after_seconds
            self._remember(stale)
        if is_new:
            _log.warning("cache_unavailable", store=error.store, reason=error.reason, fallback="memory")

    def _return_to_primary(self) -> bool:
        """Applies what was missed; one thread at a time, while the others stay with the fallback."""
        stale: list[str] = []
        try:
            self._primary.ping()
            while True:
                with self._lock:
                    stale, self._missed = list(self._missed), {}
                    if not stale:
                        self._retry_at = None
                        break
                for pattern in stale:
                    self._primary.delete(pattern)
        except StoreUnavailableError:
            with self._lock:
                self._retry_at = self._clock() + self._retry_after_seconds
                for pattern in stale:
                    self._remember(pattern)
            return False
        self._fallback.delete("*")
        _log.info("cache_available")
        return True

    def _remember(self, stale: str | None) -> None:
        if stale is not None:
            self._missed[stale] = None
        if len(self._missed) > _MAX_MISSED:
            self._missed = {"*": None}


_loaders: dict[tuple[int, str], tuple[threading.Lock, int]] = {}
_loaders_lock = threading.Lock()


@contextmanager
def _only_loader(store: Cache, key: str) -> Iterator[None]:
    """Holds the lock of one key; the lock exists only while somebody holds or awaits it."""
    name = (id(store), key)
    with _loaders_lock:
        lock, users = _loaders.get(name, (threading.Lock(), 0))
        _loaders[name] = (lock, users + 1)
    try:
        with lock:
            yield
    finally:
        with _loaders_lock:
            users = _loaders[name][1] - 1
            if users:
                _loaders[name] = (lock, users)
            else:
                del _loaders[name]


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise StoreUnavailableError("Redis", str(error) or type(error).__name__) from error


def _encode(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _milliseconds(ttl_seconds: float) -> int:
    if ttl_seconds <= 0:
        raise ValueError(f"ttl_seconds={ttl_seconds!r}: expected a positive number")
    return max(1, round(ttl_seconds * 1000))


def _redis_glob(pattern: str) -> str:
    """`pattern` for Redis, whose other special characters are ordinary ones in our keys."""
    return re.sub(r"([?\[\]^\\])", r"\\\1", pattern)
