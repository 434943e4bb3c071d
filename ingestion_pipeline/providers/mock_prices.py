"""The prices of the mock provider: the same for a symbol and an instant, whatever window asks.

Two levels. Days: an EGARCH(1,1) process (Nelson 1991), so volatility clusters, with a factor that markets of one class
share, so they correlate. It is drawn once for a fixed span of days, so a later window never changes an earlier price.
Inside a day: a Brownian bridge from the day's open to its close, drawn from a generator of that symbol and day.

Belongs here: arrays of numbers. Does not belong here: markets, calendars, frames.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ingestion_pipeline.core.ids import seed
from ingestion_pipeline.providers.mock_markets import FIRST_DAY, REFERENCE_DAY, MockMarket

Floats = NDArray[np.float64]

# 64 blocks of 256 days reach from 2015 to 2059.
_BLOCK, _BLOCKS = 256, 64
CAPACITY_DAYS = _BLOCK * _BLOCKS
REFERENCE_INDEX = (REFERENCE_DAY - FIRST_DAY).days

_PERSISTENCE = 0.97  # of log variance, a day
_REACTION = 0.16  # of log variance, to the size of yesterday's shock
_SHARED = 0.55  # correlation of a market with the factor of its class
_MEAN_ABSOLUTE = float(np.sqrt(2 / np.pi))
_OVERNIGHT = 0.35  # share of an exchange day's move that happens while it is closed
_WICK = 0.6  # how far highs and lows reach beyond a bar's open and close, in bar volatilities
_SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True)
class DailyPath:
    """By days since FIRST_DAY: return and volatility of the day, as log ratios."""

    returns: Floats
    volatility: Floats


@dataclass(frozen=True)
class DayBars:
    """The bars of one day, as logarithms of prices at the n + 1 boundaries, wicks and volumes."""

    boundaries: Floats
    up_wicks: Floats
    down_wicks: Floats
    volumes: Floats


@lru_cache(maxsize=128)
def daily_path(market: MockMarket) -> DailyPath:
    """Drawn in full at once: a prefix computed at another length could differ in the last bit."""
    own = np.random.default_rng(seed("mock", market.symbol, "days")).standard_normal(CAPACITY_DAYS)
    shocks = _SHARED * _class_factor(market.asset_class == "crypto") + np.sqrt(1 - _SHARED**2) * own
    periods = 365 if market.asset_class == "crypto" else 252
    average = market.volatility_ratio / np.sqrt(periods)
    volatility = average * np.exp(_log_variance(shocks) / 2)
    drift = market.drift_ratio / periods - volatility**2 / 2
    return DailyPath(drift + volatility * shocks, volatility)


def decimals(market: MockMarket) -> int:
    """Digits after the point: cents on an exchange, else six significant digits at the reference price."""
    if market.asset_class != "crypto":
        return 2
    return max(2, _SIGNIFICANT_DIGITS - 1 - int(np.floor(np.log10(market.reference_price))))


def day_bars(market: MockMarket, index: int, log_open: float, log_close: float, *, bar_count: int) -> DayBars:
    """The bars of day `index` (days since FIRST_DAY), from `log_open` to `log_close` exactly."""
    draws = np.random.default_rng(seed("mock", market.symbol, "bars", index)).standard_normal((4, bar_count))
    volatility = float(daily_path(market).volatility[index])
    shape = _intraday_shape(bar_count, is_crypto=market.asset_class == "crypto")
    scale = volatility * shape / np.sqrt(np.sum(shape**2))
    walk = np.concatenate(([0.0], np.cumsum(draws[0] * scale)))
    elapsed = np.concatenate(([0.0], np.cumsum(scale**2)))
    elapsed /= elapsed[-1]
    boundaries = log_open + walk + elapsed * (log_close - log_open - walk[-1])
    boundaries[-1] = log_close
    average = market.volatility_ratio / np.sqrt(365 if market.asset_class == "crypto" else 252)
    activity = (volatility / average) * (0.4 + 0.75 * np.abs(draws[0])) * np.exp(0.35 * draws[3])
    return DayBars(
        boundaries,
        np.abs(draws[1]) * scale * _WICK,
        np.abs(draws[2]) * scale * _WICK,
        market.daily_volume * shape / np.sum(shape) * activity,
    )


def overnight_gap(market: MockMarket, index: int) -> float:
    """The part of the return of day `index` that happened before the open; zero where trading never stops."""
    if market.asset_class == "crypto":
        return 0.0
    return float(_OVERNIGHT * daily_path(market).returns[index])


@lru_cache(maxsize=2)
def _class_factor(is_crypto: bool) -> Floats:  # noqa: FBT001 - the only key of the cache
    name = "crypto" if is_crypto else "exchange"
    return np.random.default_rng(seed("mock", "factor", name)).standard_normal(CAPACITY_DAYS)


def _log_variance(shocks: Floats) -> Floats:
    """h[t] = p h[t-1] + r (|z[t-1]| - E|z|), around zero.

    Exact, but by blocks: inside a block a triangular matrix of powers does the recursion at once.
    """
    news = np.concatenate(([0.0], _REACTION * (np.abs(shocks[:-1]) - _MEAN_ABSOLUTE))).reshape(_BLOCKS, _BLOCK)
    inside = news @ _powers().T
    carried = np.empty(_BLOCKS)
    last = 0.0
    for block in range(_BLOCKS):
        carried[block] = last
        last = inside[block, -1] + _PERSISTENCE**_BLOCK * last
    decay = _PERSISTENCE ** np.arange(1, _BLOCK + 1)
    return np.asarray((inside + carried[:, None] * decay).reshape(-1), dtype=np.float64)


@lru_cache(maxsize=1)
def _powers() -> Floats:
    age = np.arange(_BLOCK)[:, None] - np.arange(_BLOCK)[None, :]
    return np.where(age >= 0, _PERSISTENCE ** np.maximum(age, 0), 0.0)


@lru_cache(maxsize=32)
def _intraday_shape(bar_count: int, *, is_crypto: bool) -> Floats:
    """Relative volatility through the day: a U on an exchange, a gentle wave with its top at 15 UTC elsewhere."""
    middle = (np.arange(bar_count) + 0.5) / bar_count
    if is_crypto:
        return np.asarray(1 + 0.3 * np.cos(2 * np.pi * (middle - 15 / 24)), dtype=np.float64)
    return np.asarray(0.7 + 2.4 * (middle - 0.5) ** 2, dtype=np.float64)
