"""What every cache promises. A test class inherits the suite and says which cache it is about."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.storage.cache import Cache, Found, cached, invalidate, warm

MINUTE = 60.0
TTL = 10.0
# One store serves all examples of a test (each example overwrites what it reads), and the test is inherited.
INHERITED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
KEY_TEXT = st.text(alphabet="ab:*?[]^\\-é\n", max_size=6)
JSON_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=8,
)


class CacheSuite:
    """Subclasses provide the fixture `store` and `eventually`, which lets a little time pass until something is true."""

    def eventually(self, claim: Callable[[], bool]) -> None:
        raise NotImplementedError

    def test_absent_key_is_none(self, store: Cache):
        """A miss is None, not an error."""
        assert store.get("market:BTC-USD:latest") is None

    @settings(max_examples=40, deadline=None, suppress_health_check=INHERITED)
    @given(value=JSON_VALUES)
    def test_value_comes_back_equal(self, store: Cache, value: object):
        """Whatever JSON can say comes back as it was."""
        store.set("key", value, ttl_seconds=MINUTE)
        assert value == store.get("key")

    def test_stored_value_cannot_be_changed_from_outside(self, store: Cache):
        """The cache keeps a copy: neither what went in nor what came out is tied to it."""
        value = {"prices_usd": [1.5]}
        store.set("key", value, ttl_seconds=MINUTE)
        value["prices_usd"].append(2.5)
        store.get("key")["prices_usd"].append(3.5)
        assert store.get("key") == {"prices_usd": [1.5]}

    def test_set_replaces_value(self, store: Cache):
        """The last value wins."""
        store.set("key", 1, ttl_seconds=MINUTE)
        store.set("key", 2, ttl_seconds=MINUTE)
        assert store.get("key") == 2

    def test_value_expires(self, store: Cache):
        """After its lifetime a value is gone."""
        store.set("short", 1, ttl_seconds=0.05)
        store.set("long", 1, ttl_seconds=MINUTE)
        self.eventually(lambda: store.get("short") is None)
        assert store.get("long") == 1

    @pytest.mark.parametrize("value", [object(), {1, 2}, float("nan")])
    def test_value_that_json_cannot_say_is_refused(self, store: Cache, value: object):
        """What could not come back is not taken."""
        with pytest.raises((TypeError, ValueError)):
            store.set("key", value, ttl_seconds=MINUTE)

    @pytest.mark.parametrize("ttl_seconds", [0, -1])
    def test_lifetime_must_be_positive(self, store: Cache, ttl_seconds: float):
        """A lifetime of nothing is a mistake of the caller."""
        with pytest.raises(ValueError, match="ttl_seconds"):
            store.set("key", 1, ttl_seconds=ttl_seconds)

    def test_pattern_removes_matching_keys_only(self, store: Cache):
        """The seed's pattern `market:*:latest` removes the latest values of every market and nothing else."""
        for key in ("market:BTC-USD:latest", "market:SPX:latest", "market:SPX:aggregates", "other:SPX:latest"):
            store.set(key, key, ttl_seconds=MINUTE)
        store.delete("market:*:latest")
        assert store.get("market:BTC-USD:latest") is None
        assert store.get("market:SPX:latest") is None
        assert store.get("market:SPX:aggregates") == "market:SPX:aggregates"
        assert store.get("other:SPX:latest") == "other:SPX:latest"

    def test_several_patterns_at_once(self, store: Cache):
        """Keys and patterns together; what matches none of them stays."""
        keys = ["market:SPX:latest", "market:SPX:aggregates", "property:macro:UNRATE", "property:comps:dallas"]
        for key in keys:
            store.set(key, 1, ttl_seconds=MINUTE)
        store.delete("market:*:latest", "property:macro:UNRATE", "property:comps:*", "property:comps:austin")
        assert ["market:SPX:aggregates"] == [key for key in keys if store.get(key) is not None]

    def test_pattern_removes_more_keys_than_one_batch(self, store: Cache):
        """Thousands of keys go as well as three."""
        keys = [f"market:{number}:latest" for number in range(1_201)]
        for key in keys:
            store.set(key, 1, ttl_seconds=MINUTE)
        store.delete("market:*")
        assert [key for key in keys if store.get(key) is not None] == []

    def test_deleting_nothing_is_fine(self, store: Cache):
        """A pattern without a match is no error."""
        store.delete("market:*:latest")

    @settings(max_examples=60, deadline=None, suppress_health_check=INHERITED)
    @given(key=KEY_TEXT, pattern=KEY_TEXT)
    def test_only_the_star_is_special(self, store: Cache, key: str, pattern: str):
        """Every cache agrees about what a pattern matches, whatever else its store finds special."""
        store.set(key, 1, ttl_seconds=MINUTE)
        store.delete(pattern)
        assert star_matches(pattern, key) == (store.get(key) is None)

    def test_ping_answers(self, store: Cache):
        """A store that is there lets `ping` return."""
        store.ping()

    def test_a_lease_has_one_holder(self, store: Cache):
        """Until it is given back, filled or over; keys do not share it."""
        lease = store.lease("key", ttl_seconds=MINUTE)
        assert lease is not None
        assert store.lease("key", ttl_seconds=MINUTE) is None
        assert store.lease("other", ttl_seconds=MINUTE) is not None
        store.release("key", "somebody else's")
        assert store.lease("key", ttl_seconds=MINUTE) is None
        store.release("key", lease)
        assert store.lease("key", ttl_seconds=MINUTE) is not None

    def test_a_lease_ends_by_itself(self, store: Cache):
        """The next holder's value counts, not that of the one who came too late."""
        late = store.lease("key", ttl_seconds=0.05)
        assert late is not None
        leases: list[str | None] = []
        self.eventually(lambda: bool(leases.append(store.lease("key", ttl_seconds=MINUTE)) or leases[-1]))
        assert store.fill("key", "late", ttl_seconds=MINUTE, lease=late) is False
        assert store.get("key") is None
        assert store.fill("key", "in time", ttl_seconds=MINUTE, lease=leases[-1] or "") is True
        assert store.get("key") == "in time"

    def test_filling_ends_the_lease(self, store: Cache):
        """A lease is good for one value."""
        lease = store.lease("key", ttl_seconds=MINUTE) or ""
        assert store.fill("key", 1, ttl_seconds=MINUTE, lease=lease) is True
        assert store.fill("key", 2, ttl_seconds=MINUTE, lease=lease) is False
        assert store.get("key") == 1
        assert store.lease("key", ttl_seconds=MINUTE) is not None

    @pytest.mark.parametrize("pattern", ["market:SPX:latest", "market:*"])
    def test_deleting_a_key_ends_its_lease(self, store: Cache, pattern: str):
        """What is being loaded while a key is invalidated is outdated."""
        lease = store.lease("market:SPX:latest", ttl_seconds=MINUTE) or ""
        other = store.lease("other", ttl_seconds=MINUTE) or ""
        store.delete(pattern)
        assert store.fill("market:SPX:latest", 1, ttl_seconds=MINUTE, lease=lease) is False
        assert store.fill("other", 1, ttl_seconds=MINUTE, lease=other) is True
        assert store.get("market:SPX:latest") is None

    def test_cached_loads_once(self, store: Cache):
        """The second reader gets what the first one loaded, and both are told where it came from."""
        loads: list[int] = []
        found = [read(store, "key", lambda: loads.append(1) or ("a", 1)) for _ in range(2)]
        assert [(["a", 1], "miss"), (["a", 1], "hit")] == [(it.value, it.how) for it in found]
        assert len(loads) == 1

    def test_cached_has_one_loader_at_a_time(self, store: Cache):
        """Eight threads that miss together load once; seven wait and take the result."""
        start, loads = threading.Barrier(8), []

        def load() -> int:
            loads.append(1)
            return 7

        def wait_and_read() -> Found:
            start.wait(timeout=10)
            return read(store, "key", load)

        with ThreadPoolExecutor(8) as threads:
            found = [future.result() for future in [threads.submit(wait_and_read) for _ in range(8)]]
        assert [7] * 8 == [it.value for it in found]
        assert {"miss": 1, "hit": 7} == Counter(it.how for it in found)
        assert len(loads) == 1

    def test_cached_keys_do_not_wait_for_each_other(self, store: Cache):
        """A slow loader holds up its own key only."""
        is_loading, may_end = threading.Event(), threading.Event()

        def load_slowly() -> str:
            is_loading.set()
            assert may_end.wait(timeout=10)
            return "slow"

        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(read, store, "slow", load_slowly)
            assert is_loading.wait(timeout=10)
            assert read(store, "quick", lambda: "quick").value == "quick"
            may_end.set()
            assert slow.result().value == "slow"

    def test_failed_load_leaves_nothing_behind(self, store: Cache):
        """A loader's error reaches its caller; the next one loads again."""
        with pytest.raises(ZeroDivisionError):
            read(store, "key", lambda: 1 // 0)
        assert read(store, "key", lambda: 5).value == 5

    def test_none_is_not_kept(self, store: Cache):
        """None means "not there", so a loader that returns it is asked again."""
        assert read(store, "key", lambda: None).value is None
        assert read(store, "key", lambda: 5).value == 5

    def test_a_value_that_was_invalidated_while_it_was_loaded_is_not_kept(self, store: Cache):
        """Its reader may have it; the next one loads what is true now."""

        def overtaken() -> str:
            invalidate(store, ["market:*"], service="test")
            return "before"

        assert read(store, "market:SPX", overtaken).value == "before"
        assert Found("after", "miss") == read(store, "market:SPX", lambda: "after")

    def test_a_stale_value_is_served_while_the_source_is_down(self, store: Cache):
        """The source is not asked again before the lease of the load that failed ends."""
        now, asked = Now(), []
        read(store, "key", lambda: "old", now=now)

        def down() -> str:
            asked.append(1)
            raise StoreUnavailableError("PostgreSQL", "down")

        assert Found("old", "hit") == read(store, "key", down, now=now)
        now.seconds += TTL
        assert [Found("old", "stale")] * 3 == [read(store, "key", down, now=now) for _ in range(3)]
        assert len(asked) == 1
        store.delete("key")
        with pytest.raises(StoreUnavailableError):
            read(store, "key", down, now=now)

    def test_a_defect_is_not_hidden_by_a_stale_value(self, store: Cache):
        """Only a source that may come back is waited for; the next reader loads again."""
        now = Now()
        read(store, "key", lambda: "old", now=now)
        now.seconds += TTL
        with pytest.raises(ZeroDivisionError):
            read(store, "key", lambda: 1 // 0, now=now)
        assert Found("new", "miss") == read(store, "key", lambda: "new", now=now)

    def test_a_stale_value_is_renewed_by_one_reader_while_others_take_it(self, store: Cache):
        """Nobody waits for a value that is there."""
        now = Now()
        read(store, "key", lambda: "old", now=now)
        now.seconds += TTL
        is_loading, may_end = threading.Event(), threading.Event()

        def load() -> str:
            is_loading.set()
            assert may_end.wait(timeout=10)
            return "new"

        with ThreadPoolExecutor(1) as threads:
            renewing = threads.submit(read, store, "key", load, now=now)
            assert is_loading.wait(timeout=10)
            assert Found("old", "stale") == read(store, "key", load, now=now)
            may_end.set()
            assert Found("new", "miss") == renewing.result()
        assert Found("new", "hit") == read(store, "key", load, now=now)

    def test_a_value_whose_source_has_none_any_more_is_forgotten(self, store: Cache):
        """It is not served as a stale one later."""
        now = Now()
        read(store, "key", lambda: "old", now=now)
        now.seconds += TTL
        assert read(store, "key", lambda: None, now=now).value is None
        assert store.get("key") is None

    def test_warming_replaces_a_value_that_is_there(self, store: Cache):
        """Readers then hit; what somebody else loads at the moment is left to them."""
        read(store, "key", lambda: "old")
        assert warm(store, "key", service="test", ttl_seconds=TTL, load=lambda: "warm") is True
        assert Found("warm", "hit") == read(store, "key", lambda: "new")
        assert store.lease("key", ttl_seconds=MINUTE) is not None
        assert warm(store, "key", service="test", ttl_seconds=TTL, load=lambda: "warmer") is False
        assert Found("warm", "hit") == read(store, "key", lambda: "new")

    def test_warming_that_fails_leaves_the_value_alone(self, store: Cache):
        read(store, "key", lambda: "old")
        with pytest.raises(StoreUnavailableError):
            warm(store, "key", service="test", ttl_seconds=TTL, load=unavailable)
        assert Found("old", "hit") == read(store, "key", lambda: "new")
        assert store.lease("key", ttl_seconds=MINUTE) is not None

    def test_what_the_cache_did_is_counted(self, store: Cache):
        """Hits, misses (loads), stale ones, warmings and invalidations, by service."""
        metrics.take()
        now = Now()
        for _ in range(3):
            read(store, "key", lambda: 1, now=now)
        now.seconds += TTL
        read(store, "key", unavailable, now=now)
        warm(store, "other", service="test", ttl_seconds=TTL, load=lambda: 1)
        warm(store, "none", service="test", ttl_seconds=TTL, load=lambda: None)
        invalidate(store, ["key", "other*"], service="test")
        counted = {one.name: one.value for one in metrics.take() if one.labels == (("service", "test"),)}
        assert {
            "cache_miss": 1,
            "cache_hit": 2,
            "cache_stale": 1,
            "cache_warm": 1,
            "cache_invalidate": 2,
        } == counted


class Now:
    """The instant that `cached` takes for now; tests move it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=self.seconds)


def read(store: Cache, key: str, load: Callable[[], object], *, now: Callable[[], datetime] | None = None) -> Found:
    return cached(store, key, service="test", ttl_seconds=TTL, stale_seconds=MINUTE, load=load, now=now or Now())


def unavailable() -> object:
    raise StoreUnavailableError("PostgreSQL", "down")


def star_matches(pattern: str, text: str) -> bool:
    """The meaning of a pattern, spelt out."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(star_matches(pattern[1:], text[end:]) for end in range(len(text) + 1))
    return bool(text) and pattern[0] == text[0] and star_matches(pattern[1:], text[1:])
