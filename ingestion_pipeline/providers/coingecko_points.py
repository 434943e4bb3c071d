"""Hourly bars from CoinGecko's price points, and the spans to ask for so that the points come hourly.

Belongs here: pure arithmetic, explained at the top of coingecko.py. Does not belong here: requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.bars import MICROSECONDS, Instants

INTERVAL_SECONDS = 3600
_HOUR = timedelta(hours=1)
_HOUR_US = INTERVAL_SECONDS * MICROSECONDS
_ON_TIME_US = _HOUR_US // 4
_SHORTEST_SPAN = timedelta(days=2, hours=1)
_LONGEST_SPAN_DAYS = 88
_HOURS_A_DAY = 24

Points = Sequence[tuple[int, float | None]]


@dataclass(frozen=True, eq=False)
class HourlyBars:
    """`prices` has the rows open, high, low, close, volume."""

    start_us: Instants
    prices: NDArray[np.float64]


def spans(window: Window, *, now: datetime) -> list[Window]:
    """What to ask for: the window's hours and the one after, in spans that are answered hourly, none in the future."""
    start = window.start.replace(minute=0, second=0, microsecond=0)
    end = min(window.end + 2 * _HOUR, now)
    if end <= start:
        return []
    return [_long_enough(span, now) for span in Window(start, end).split(days=_LONGEST_SPAN_DAYS)]


def hourly_bars(prices: Points, volumes: Points) -> HourlyBars:
    """The bar of every hour that has a price on time, and whose next hour has one."""
    at_us, price = _by_time(prices)
    is_on_time = at_us % _HOUR_US < _ON_TIME_US
    hours, first = np.unique(at_us[is_on_time] // _HOUR_US, return_index=True)
    points, price = at_us[is_on_time][first], price[is_on_time][first]
    opens = np.flatnonzero(np.diff(hours) == 1)
    start, end = price[opens], price[opens + 1]
    volume = _rolling_volume(volumes, points[opens + 1]) / _HOURS_A_DAY / np.where(end > 0, end, np.inf)
    values = np.stack((start, np.maximum(start, end), np.minimum(start, end), end, volume))
    return HourlyBars(hours[opens] * _HOUR_US, values)


def _long_enough(span: Window, now: datetime) -> Window:
    """Forward where there is time, else back: a span of under two days may be answered every five minutes."""
    end = max(span.end, min(span.start + _SHORTEST_SPAN, now))
    return Window(min(span.start, end - _SHORTEST_SPAN), end)


def _by_time(points: Points) -> tuple[Instants, NDArray[np.float64]]:
    known = {at: value for at, value in points if value is not None}
    at_ms = np.array(sorted(known), dtype=np.int64)
    return at_ms * 1000, np.array([known[at] for at in at_ms.tolist()], dtype=np.float64)


def _rolling_volume(volumes: Points, at_us: Instants) -> NDArray[np.float64]:
    known = {at * 1000: value for at, value in volumes if value is not None}
    return np.array([known.get(at, 0.0) for at in at_us.tolist()], dtype=np.float64)
