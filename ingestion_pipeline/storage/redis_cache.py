"""The cache in Redis or Valkey, and what stands in for it while the server is away."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from os.path import commonprefix
from typing import Any, Self

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.storage.cache import Cache, encode, matcher, milliseconds

# Values are `ingestion:<key>`, leases `ingestion~<key>`: one SCAN finds both.
NAMESPACE, VALUE, LEASE = "ingestion", ":", "~"
# redis-py's own defaults take seconds per command against a dead server; a cache must cost less than it saves.
REDIS_TIMEOUT_SECONDS = 0.25
RETRY_AFTER_SECONDS = 5.0
_MAX_MISSED = 1_000
_BATCH = 500
_FILL = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[2], ARGV[2], 'px', ARGV[3])
redis.call('del', KEYS[1])
return 1
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

_log = structlog.get_logger(__name__)


class RedisCache:
    """One Redis or Valkey. Every failure of the server or the way to it is a StoreUnavailableError."""

    def __init__(self, client: redis.Redis, *, namespace: str = NAMESPACE) -> None:
        self._client = client
        self._namespace = namespace

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
            text = self._client.get(self._value(key))
        try:
            return None if text is None else json.loads(text)
        except ValueError:  # somebody else wrote here: not a value of ours
            return None

    def set(self, key: str, value: Any, *, ttl_seconds: float) -> None:
        text, ttl_ms = encode(value), milliseconds(ttl_seconds)
        with _redis_errors():
            self._client.set(self._value(key), text, px=ttl_ms)

    def delete(self, *patterns: str) -> None:
        exact = [pattern for pattern in patterns if "*" not in pattern]
        with _redis_errors():
            if exact:
                self._client.unlink(*map(self._value, exact), *map(self._lease, exact))
            if len(exact) < len(patterns):
                self._delete_matching([pattern for pattern in patterns if "*" in pattern])

    def _delete_matching(self, patterns: Sequence[str]) -> None:
        """One walk through the keys, however many patterns there are.

        SCAN, never KEYS: KEYS stops every other client while it walks; UNLINK frees memory in the background.
        """
        start = commonprefix([pattern.partition("*")[0] for pattern in patterns])  # noqa: RUF071 - no paths
        glob = f"{_escaped(self._namespace)}[{VALUE}{LEASE}]{_escaped(start)}*"
        matches, before = matcher(patterns), len(self._value(""))
        found = self._client.scan_iter(match=glob, count=_BATCH)
        gone = (key for key in found if matches(key.decode(errors="replace")[before:]))
        while batch := list(islice(gone, _BATCH)):
            self._client.unlink(*batch)

    def lease(self, key: str, *, ttl_seconds: float) -> str | None:
        token = new_id()
        with _redis_errors():
            is_ours = self._client.set(self._lease(key), token, nx=True, px=milliseconds(ttl_seconds))
        return token if is_ours else None

    def fill(self, key: str, value: Any, *, ttl_seconds: float, lease: str) -> bool:
        text, ttl_ms = encode(value), milliseconds(ttl_seconds)
        with _redis_errors():
            return bool(self._client.eval(_FILL, 2, self._lease(key), self._value(key), lease, text, ttl_ms))

    def release(self, key: str, lease: str) -> None:
        with _redis_errors():
            self._client.eval(_RELEASE, 1, self._lease(key), lease)

    def ping(self) -> None:
        with _redis_errors():
            self._client.ping()

    def close(self) -> None:
        self._client.close()

    def _value(self, key: str) -> str:
        return f"{self._namespace}{VALUE}{key}"

    def _lease(self, key: str) -> str:
        return f"{self._namespace}{LEASE}{key}"


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
        self._do(lambda store: store.set(key, value, ttl_seconds=ttl_seconds), stale=[key])

    def delete(self, *patterns: str) -> None:
        self._fallback.delete(*patterns)
        self._do(lambda store: store.delete(*patterns), stale=patterns)

    def lease(self, key: str, *, ttl_seconds: float) -> str | None:
        lease: str | None = self._do(lambda store: store.lease(key, ttl_seconds=ttl_seconds))
        return lease

    def fill(self, key: str, value: Any, *, ttl_seconds: float, lease: str) -> bool:
        """A lease of the store that has gone, or of the one that stood in for it, is worth nothing to the other."""
        return bool(self._do(lambda store: store.fill(key, value, ttl_seconds=ttl_seconds, lease=lease), stale=[key]))

    def release(self, key: str, lease: str) -> None:
        self._do(lambda store: store.release(key, lease))

    def ping(self) -> None:
        self._primary.ping()

    def _do(self, action: Callable[[Cache], Any], *, stale: Sequence[str] = ()) -> Any:
        """Runs `action` on the store of the moment; `stale` is what the primary must forget if it missed it."""
        if self._is_primary_there(stale):
            try:
                return action(self._primary)
            except StoreUnavailableError as error:
                self._lose_primary(error, stale)
        return action(self._fallback)

    def _is_primary_there(self, stale: Sequence[str]) -> bool:
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

    def _lose_primary(self, error: StoreUnavailableError, stale: Sequence[str]) -> None:
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
                self._primary.delete(*stale)
        except StoreUnavailableError:
            with self._lock:
                self._retry_at = self._clock() + self._retry_after_seconds
                self._remember(stale)
            return False
        self._fallback.delete("*")
        _log.info("cache_available")
        return True

    def _remember(self, stale: Sequence[str]) -> None:
        self._missed |= dict.fromkeys(stale)
        if len(self._missed) > _MAX_MISSED:
            self._missed = {"*": None}


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise StoreUnavailableError("Redis", str(error) or type(error).__name__) from error


def _escaped(pattern: str) -> str:
    """`pattern` for Redis, whose other special characters are ordinary ones in our keys."""
    return re.sub(r"([?\[\]^\\])", r"\\\1", pattern)
