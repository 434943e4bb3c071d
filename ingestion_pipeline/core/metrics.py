"""Counters, gauges and histograms of this process, gathered in memory until storage/metrics.py takes them. No IO.

Names are Prometheus': lower case with units (`_seconds`, `_total`); labels have few values (a service, an outcome),
never an id.
"""

import bisect
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MetricType = Literal["counter", "gauge", "histogram"]
SECONDS_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
Labels = tuple[tuple[str, str], ...]


@dataclass
class Series:
    """What has gathered in one series: `value` is a counter's growth, a gauge's last value, a histogram's sum."""

    name: str
    type: MetricType
    labels: Labels
    value: float = 0.0
    sample_count: int = 0
    bounds: tuple[float, ...] = ()
    counts: list[int] = field(default_factory=list)


class Metrics:
    """Takes measurements from any thread; `take` hands over what has gathered and starts anew."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, Labels], Series] = {}
        self._lock = threading.Lock()

    def counter(self, name: str, value: float = 1, labels: Mapping[str, str] | None = None) -> None:
        with self._lock:
            self._of(name, "counter", labels).value += value

    def gauge(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        with self._lock:
            self._of(name, "gauge", labels).value = value

    def histogram(
        self,
        name: str,
        value: float,
        labels: Mapping[str, str] | None = None,
        *,
        bounds: tuple[float, ...] = SECONDS_BOUNDS,
    ) -> None:
        """Counts `value` up to the first of `bounds` that is not below it; beyond the last one only in the total."""
        with self._lock:
            series = self._of(name, "histogram", labels)
            if not series.bounds:
                series.bounds, series.counts = bounds, [0] * len(bounds)
            series.value += value
            series.sample_count += 1
            if (place := bisect.bisect_left(series.bounds, value)) < len(series.bounds):
                series.counts[place] += 1

    def take(self) -> list[Series]:
        with self._lock:
            taken, self._series = self._series, {}
        return list(taken.values())

    def put_back(self, series: list[Series]) -> None:
        """Returns what could not be stored; what has been measured since is added to it."""
        with self._lock:
            newer, self._series = self._series, {(one.name, one.labels): one for one in series}
            for key, one in newer.items():
                if one.type == "gauge" or key not in self._series:
                    self._series[key] = one
                    continue
                kept = self._series[key]
                kept.value += one.value
                kept.sample_count += one.sample_count
                kept.counts = [a + b for a, b in zip(kept.counts, one.counts, strict=True)]

    def _of(self, name: str, kind: MetricType, labels: Mapping[str, str] | None) -> Series:
        key = (name, tuple(sorted((labels or {}).items())))
        if (found := self._series.get(key)) is None:
            found = self._series[key] = Series(name, kind, key[1])
        return found


metrics = Metrics()
"""This process's own."""
