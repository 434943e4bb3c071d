"""The metrics of one process: what gathers, is taken, and comes back when it could not be stored."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.core.metrics import Metrics, Series


def taken(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], Series]:
    return {(one.name, one.labels): one for one in metrics.take()}


def test_a_series_is_a_name_with_its_labels_in_any_order() -> None:
    """Counters add, gauges keep the last value; other labels are another series."""
    metrics = Metrics()
    metrics.counter("reads_total", labels={"service": "macro", "store": "redis"})
    metrics.counter("reads_total", 2, labels={"store": "redis", "service": "macro"})
    metrics.counter("reads_total", labels={"service": "comps"})
    metrics.gauge("depth", 5)
    metrics.gauge("depth", 3)
    found = taken(metrics)
    assert 3 == found["reads_total", (("service", "macro"), ("store", "redis"))].value
    assert 1 == found["reads_total", (("service", "comps"),)].value
    assert 3 == found["depth", ()].value


def test_a_histogram_counts_up_to_the_bound_that_is_not_below() -> None:
    """As Prometheus has it, a value on a bound belongs to it; beyond the last one only total and sum grow."""
    metrics = Metrics()
    for value in (0.5, 1.0, 1.5, 99.0):
        metrics.histogram("seconds", value, bounds=(1.0, 2.0))
    (one,) = metrics.take()
    assert ([2, 1], 4, 102.0) == (one.counts, one.sample_count, one.value)


def test_taking_starts_anew() -> None:
    """What was taken is not taken twice."""
    metrics = Metrics()
    metrics.counter("events_total")
    assert 1 == len(metrics.take())
    assert [] == metrics.take()


def test_what_could_not_be_stored_is_added_to_what_came_since() -> None:
    """Nothing is lost or counted twice; of a gauge the newer value counts."""
    metrics = Metrics()
    metrics.counter("events_total", 2)
    metrics.gauge("depth", 9)
    metrics.histogram("seconds", 0.5, bounds=(1.0,))
    unstored = metrics.take()
    metrics.counter("events_total", 3)
    metrics.gauge("depth", 1)
    metrics.histogram("seconds", 5.0, bounds=(1.0,))
    metrics.counter("other_total")
    metrics.put_back(unstored)
    found = taken(metrics)
    assert (5, 1, 1) == tuple(found[name, ()].value for name in ("events_total", "depth", "other_total"))
    seconds = found["seconds", ()]
    assert ([1], 2, 5.5) == (seconds.counts, seconds.sample_count, seconds.value)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_putting_back_is_as_if_nothing_had_been_taken(steps: list[tuple[int, bool]]) -> None:
    """Whatever is measured between."""
    metrics, plain = Metrics(), Metrics()
    for value, fails in steps:
        for one in (metrics, plain):
            one.counter("c", value)
            one.gauge("g", value)
            one.histogram("h", value, bounds=(1.0, 3.0))
        if fails:
            metrics.put_back(metrics.take())
    assert taken(plain) == taken(metrics)


def test_threads_lose_nothing() -> None:
    """Eight threads measure while a ninth takes."""
    metrics, total = Metrics(), 0.0

    def measure() -> None:
        for _ in range(2_000):
            metrics.counter("events_total")

    threads = [threading.Thread(target=measure) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        total += sum(one.value for one in metrics.take())
    total += sum(one.value for one in metrics.take())
    assert 16_000 == total
