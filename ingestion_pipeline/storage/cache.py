"""A cache that is never needed: values read through it, counted, and served stale while their source is away.

Belongs here: what a cache promises, the one in memory, how one is chosen, read-through. Does not belong here: Redis
(redis_cache.py), which values are cached, for how long and what makes them stale (their domain), and anything of which
the cache would hold the only copy.

Keys are colon-separated words such as `market:BTC-USD:latest`; a pattern is a key in which `*` stands for any text.
Values are what JSON can say and come back as JSON says them: tuples as lists. `None` means "not there".
"""

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import structlog

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import TransientError
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.settings import Settings

MAX_ENTRIES = 10_000
LEASE_SECONDS = 30.0  # a load that takes longer is not kept; a source that failed is asked again after it
WAIT_SECONDS = 10.0  # for the load of another process
POLL_SECONDS = 0.02

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

    def delete(self, *patterns: str) -> None:
        """Removes every key that matches one of `patterns`, and ends the leases of such keys."""
        ...

    def lease(self, key: str, *, ttl_seconds: float) -> str | None:
        """The right to load `key`, which one holder has at a time; None while somebody else has it."""
        ...

    def fill(self, key: str, value: Any, *, ttl_seconds: float, lease: str) -> bool:
        """Keeps `value` and ends the lease; does nothing if the lease has ended, which says that `value` is outdated.

        Raises:
            TypeError, ValueError: as `set`.
        """
        ...

    def release(self, key: str, lease: str) -> None:
        """Ends the lease without a value."""
        ...

    def ping(self) -> None:
        """Returns when the store behind the cache answers.

        Raises:
            StoreUnavailableError: it does not.
        """
        ...


@dataclass(frozen=True)
class Found:
    """A value and where it came from: the cache, its source, or the cache although its lifetime is over."""

    value: Any
    how: Literal["hit", "miss", "stale"]

    @property
    def is_hit(self) -> bool:
        return self.how == "hit"


def cache(settings: Settings) -> Cache:
    """Redis with memory behind it where `REDIS_URL` is set, else memory alone."""
    if settings.redis_url is None:
        return MemoryCache()
    from ingestion_pipeline.storage.redis_cache import FallbackCache, RedisCache

    return FallbackCache(RedisCache.from_url(settings.redis_url.get_secret_value()), MemoryCache())


def cached(
    store: Cache,
    key: str,
    *,
    service: str,
    ttl_seconds: float,
    load: Callable[[], Any],
    stale_seconds: float = 0.0,
    now: Callable[[], datetime] = utc_now,
) -> Found:
    """The cached value, or what `load` returns, which is then kept. It has passed through JSON on either way.

    A key has one loader at a time, in this process and, where there is Redis, in all of them. Others take the value
    whose lifetime is over if there is one, else wait for the loader's. A key that is invalidated during a load does not
    get the value of that load. A loader that returns None leaves nothing behind.

    Args:
        store: Where the value is kept.
        key: Its name.
        service: Counts `cache_hit`, `cache_miss` (a load) and `cache_stale` under this name.
        ttl_seconds: Its lifetime.
        load: Asks the source.
        stale_seconds: How long beyond its lifetime it is served while `load` raises a TransientError or is under way.
        now: The clock.

    Raises:
        Exception: what `load` raises, where nothing stale can be served instead.
    """
    reading = _Reading(store, key, load, ttl_seconds, stale_seconds, now)
    found = reading.result()
    metrics.counter(f"cache_{found.how}", labels={"service": service})
    return found


def warm(
    store: Cache,
    key: str,
    *,
    service: str,
    ttl_seconds: float,
    load: Callable[[], Any],
    stale_seconds: float = 0.0,
    now: Callable[[], datetime] = utc_now,
) -> bool:
    """Loads the value whether it is there or not, unless somebody does so already; True if there was one.

    Arguments and errors are those of `cached`; counts `cache_warm`.
    """
    lease = store.lease(key, ttl_seconds=LEASE_SECONDS)
    if lease is None:
        return False
    value = _Reading(store, key, load, ttl_seconds, stale_seconds, now).loaded(lease)
    if value is not None:
        metrics.counter("cache_warm", labels={"service": service})
    return value is not None


def invalidate(store: Cache, patterns: Iterable[str], *, service: str) -> None:
    """Forgets every key that matches one of `patterns`; counts `cache_invalidate`, once a pattern."""
    if patterns := list(patterns):
        store.delete(*patterns)
        metrics.counter("cache_invalidate", len(patterns), {"service": service})


class MemoryCache:
    """This process's own cache; what was used longest ago makes room at `max_entries`."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._leases: dict[str, tuple[float, str]] = {}
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
        text, ttl_ms = encode(value), milliseconds(ttl_seconds)
        with self._lock:
            self._keep(key, text, ttl_ms)

    def delete(self, *patterns: str) -> None:
        matches = matcher(patterns)
        with self._lock:
            for kept in (self._entries, self._leases):
                for key in [key for key in kept if matches(key)]:
                    del kept[key]

    def lease(self, key: str, *, ttl_seconds: float) -> str | None:
        with self._lock:
            expires_at, _ = self._leases.get(key, (0.0, ""))
            if expires_at > self._clock():
                return None
            token = new_id()
            self._leases[key] = (self._clock() + ttl_seconds, token)
            return token

    def fill(self, key: str, value: Any, *, ttl_seconds: float, lease: str) -> bool:
        text, ttl_ms = encode(value), milliseconds(ttl_seconds)
        with self._lock:
            is_held = self._holds(key, lease)
            if is_held:
                del self._leases[key]
                self._keep(key, text, ttl_ms)
            return is_held

    def release(self, key: str, lease: str) -> None:
        with self._lock:
            if self._holds(key, lease):
                del self._leases[key]

    def ping(self) -> None:
        """Memory always answers."""

    def __len__(self) -> int:
        return len(self._entries)

    def _keep(self, key: str, text: str, ttl_ms: int) -> None:
        self._entries[key] = (self._clock() + ttl_ms / 1000, text)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def _holds(self, key: str, lease: str) -> bool:
        expires_at, token = self._leases.get(key, (0.0, ""))
        return token == lease and expires_at > self._clock()


def matcher(patterns: Iterable[str]) -> Callable[[str], object]:
    """What is true of keys that match one of `patterns`."""
    either = "|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in patterns)
    return re.compile(either, flags=re.DOTALL).fullmatch


def encode(value: Any) -> str:
    """`value` as JSON text.

    Raises:
        TypeError, ValueError: JSON cannot say it.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def milliseconds(ttl_seconds: float) -> int:
    """A lifetime as Redis takes it.

    Raises:
        ValueError: it is not positive.
    """
    if ttl_seconds <= 0:
        raise ValueError(f"ttl_seconds={ttl_seconds!r}: expected a positive number")
    return max(1, round(ttl_seconds * 1000))


@dataclass(frozen=True)
class _Entry:
    """What is kept under a key that is read through: the value, and until when it is fresh."""

    value: Any
    fresh_until: float


@dataclass(frozen=True)
class _Reading:
    """One read through the cache; the fields are the arguments of `cached`."""

    store: Cache
    key: str
    load: Callable[[], Any]
    ttl_seconds: float
    stale_seconds: float
    now: Callable[[], datetime]

    def result(self) -> Found:
        stale = self._kept()
        if stale and self._is_fresh(stale):
            return Found(stale.value, "hit")
        with _only_loader(self.store, self.key, waits=stale is None) as is_only:
            if (entry := self._kept()) and self._is_fresh(entry):
                return Found(entry.value, "hit")
            stale = entry or stale
            lease = self.store.lease(self.key, ttl_seconds=LEASE_SECONDS) if is_only else None
            if lease is None and stale:
                return Found(stale.value, "stale")
            if lease is None:
                entry, lease = self._awaited()
                if entry:
                    return Found(entry.value, "hit")
            return self._loaded_or(stale, lease)

    def loaded(self, lease: str | None, *, keeps_lease: bool = False) -> Any:
        """What `load` returns, kept as far as the lease allows; `keeps_lease` leaves it held by a load that failed."""
        try:
            value = json.loads(encode(self.load()))
        except BaseException as error:
            if lease and not (keeps_lease and isinstance(error, TransientError)):
                self.store.release(self.key, lease)
            raise
        if value is None:
            self.store.delete(self.key)  # also what is stale: the source has nothing any more
        elif lease:
            kept = {"value": value, "fresh_until": self.now().timestamp() + self.ttl_seconds}
            self.store.fill(self.key, kept, ttl_seconds=self.ttl_seconds + self.stale_seconds, lease=lease)
        return value

    def _loaded_or(self, stale: _Entry | None, lease: str | None) -> Found:
        """After a failure the lease stays held: while stale values are served nobody asks the source before it ends."""
        try:
            return Found(self.loaded(lease, keeps_lease=stale is not None), "miss")
        except TransientError as error:
            if stale is None:
                raise
            _log.warning("stale value served", key=self.key, reason=str(error))
            return Found(stale.value, "stale")

    def _awaited(self) -> tuple[_Entry | None, str | None]:
        """What another process loads, or its lease when that has ended; neither when it takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            if found := self._kept():
                return found, None
            if lease := self.store.lease(self.key, ttl_seconds=LEASE_SECONDS):
                return None, lease
        return None, None

    def _kept(self) -> _Entry | None:
        kept = self.store.get(self.key)
        if not isinstance(kept, dict) or set(kept) != {"value", "fresh_until"}:
            return None  # nothing, or not written by us
        return _Entry(**kept)

    def _is_fresh(self, entry: _Entry) -> bool:
        return self.now().timestamp() < entry.fresh_until


_loaders: dict[tuple[int, str], tuple[threading.Lock, int]] = {}
_loaders_lock = threading.Lock()


@contextmanager
def _only_loader(store: Cache, key: str, *, waits: bool) -> Iterator[bool]:
    """Holds the lock of one key in this process, and says so; without waiting, False while another thread holds it."""
    name = (id(store), key)
    with _loaders_lock:
        lock, users = _loaders.get(name, (threading.Lock(), 0))
        _loaders[name] = (lock, users + 1)
    is_held = False
    try:
        is_held = lock.acquire(blocking=waits)
        yield is_held
    finally:
        if is_held:
            lock.release()
        with _loaders_lock:
            users = _loaders[name][1] - 1
            if users:
                _loaders[name] = (lock, users)
            else:
                del _loaders[name]
