"""What every cache promises. A test class inherits the suite and says which cache it is about."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_pipeline.storage.cache import Cache, cached

MINUTE = 60.0
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

    def test_cached_loads_once(self, store: Cache):
        """The second reader gets what the first one loaded."""
        loads: list[int] = []
        for _ in range(2):
            value = cached(store, "key", ttl_seconds=MINUTE, load=lambda: loads.append(1) or ("a", 1))
            assert value == ["a", 1]
        assert len(loads) == 1

    def test_cached_has_one_loader_at_a_time(self, store: Cache):
        """Eight threads that miss together load once; seven wait and take the result."""
        start, loads = threading.Barrier(8), []

        def load() -> int:
            loads.append(1)
            return 7

        def read() -> object:
            start.wait(timeout=10)
            return cached(store, "key", ttl_seconds=MINUTE, load=load)

        with ThreadPoolExecutor(8) as threads:
            values = [future.result() for future in [threads.submit(read) for _ in range(8)]]
        assert values == [7] * 8
        assert len(loads) == 1

    def test_cached_keys_do_not_wait_for_each_other(self, store: Cache):
        """A slow loader holds up its own key only."""
        is_loading, may_end = threading.Event(), threading.Event()

        def load_slowly() -> str:
            is_loading.set()
            assert may_end.wait(timeout=10)
            return "slow"

        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(cached, store, "slow", ttl_seconds=MINUTE, load=load_slowly)
            assert is_loading.wait(timeout=10)
            assert cached(store, "quick", ttl_seconds=MINUTE, load=lambda: "quick") == "quick"
            may_end.set()
            assert slow.result() == "slow"

    def test_failed_load_leaves_nothing_behind(self, store: Cache):
        """A loader's error reaches its caller; the next one loads again."""
        with pytest.raises(ZeroDivisionError):
            cached(store, "key", ttl_seconds=MINUTE, load=lambda: 1 // 0)
        assert cached(store, "key", ttl_seconds=MINUTE, load=lambda: 5) == 5

    def test_none_is_not_kept(self, store: Cache):
        """None means "not there", so a loader that returns it is asked again."""
        assert cached(store, "key", ttl_seconds=MINUTE, load=lambda: None) is None
        assert cached(store, "key", ttl_seconds=MINUTE, load=lambda: 5) == 5


def star_matches(pattern: str, text: str) -> bool:
    """The meaning of a pattern, spelt out."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(star_matches(pattern[1:], text[end:]) for end in range(len(text) + 1))
    return bool(text) and pattern[0] == text[0] and star_matches(pattern[1:], text[1:])
