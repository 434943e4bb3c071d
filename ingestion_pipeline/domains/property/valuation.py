"""Comparable-sales valuation: what a home would have sold for, from what similar ones nearby did sell for. Pure.

The formula, its constants and a worked example are in docs/property.md; a changed one is a new METHOD_VERSION. After
Ecker, Isakson and Kennedy, "Principles for Calculating AVM Performance Metrics", and the sales comparison approach of
appraisers. Belongs here: from frames to frames. Does not belong here: how good it is (accuracy.py), stores.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

METHOD_VERSION = "1"
ENOUGH_COMPS = 5
DISTANCE_SCALE_KM, AGE_SCALE_DAYS, AREA_SCALE_RATIO = 2.0, 180.0, 0.20
FARTHEST = 1e6  # so that no weight is zero
BEDROOM_RATIO, BATHROOM_RATIO = 0.02, 0.03
LARGEST_ADJUSTMENT_RATIO = 0.40
PRIOR_DISPERSION_RATIO, PRIOR_COUNT = 0.20, 3.0
RANGE_DEVIATIONS = 1.2816  # 10 % of a normal distribution lie above
MAD_TO_DEVIATION = 1.4826
CONFIDENCE_COUNT, CONFIDENCE_DISPERSION_RATIO = 2.0, 0.25
INDEX_MAX_AGE_DAYS = 120
TREND_DAYS, TREND_BUCKET_DAYS, TREND_MIN_SALES, TREND_MIN_BUCKETS = 730, 30, 3, 4
TREND_LIMIT_PER_YEAR = 0.30
EARTH_RADIUS_KM = 6371.0088

TimeAdjustment = Literal["index", "trend", "none"]
Floats = NDArray[np.float64]
Days = NDArray[np.int64]


@dataclass(frozen=True)
class Filter:
    """One step of widening: which comps it lets through, and how much a valuation by it can be trusted."""

    days: int
    radius_km: float | None
    area_ratio: float | None
    confidence_ratio: float


FILTERS = (
    Filter(180, 2.0, 0.20, 1.00),
    Filter(365, 5.0, 0.30, 0.85),
    Filter(730, 15.0, 0.50, 0.65),
    Filter(1095, None, None, 0.40),
)
LOOK_BACK_DAYS = FILTERS[-1].days

SUBJECT_COLUMNS = (
    "subject_id",
    "market_slug",
    "property_type",
    "living_area_sqft",
    "bedrooms",
    "bathrooms",
    "latitude",
    "longitude",
)
COMP_COLUMNS = (*SUBJECT_COLUMNS, "sale_date", "sale_price_usd")
RESULT_COLUMNS = (
    "estimate_usd",
    "low_usd",
    "high_usd",
    "comp_count",
    "dispersion_ratio",
    "confidence_ratio",
    "filter_step",
    "time_adjustment",
)


@dataclass(frozen=True)
class Valuation:
    """One estimate, with the range in which four of five such homes would sell; no estimate without comps."""

    estimate_usd: float = float("nan")
    low_usd: float = float("nan")
    high_usd: float = float("nan")
    comp_count: int = 0
    dispersion_ratio: float = float("nan")
    confidence_ratio: float = 0.0
    filter_step: int | None = None
    time_adjustment: TimeAdjustment = "none"


def valuations(subjects: pd.DataFrame, comps: pd.DataFrame, index: pd.DataFrame) -> pd.DataFrame:
    """The valuation of each subject on its day, from the sales up to that day and never from its own.

    Args:
        subjects: SUBJECT_COLUMNS and `valuation_date`; what is unknown of a home is NaN.
        comps: COMP_COLUMNS; sales of other markets and types are not looked at, nor is their order.
        index: `market_slug`, `as_of_date`, `value`: a home value index of each market, may be empty.

    Returns:
        RESULT_COLUMNS, a row for each row of `subjects`, with its index.
    """
    found: dict[Any, Valuation] = {}
    groups = dict(iter(comps.groupby(["market_slug", "property_type"], sort=False)))
    indices = dict(iter(index.groupby("market_slug", sort=False)))
    for key, rows in subjects.groupby(["market_slug", "property_type"], sort=False):
        sales = Sales(groups.get(key, comps.iloc[:0]), indices.get(key[0], index.iloc[:0]))
        for subject in rows.sort_values("valuation_date").itertuples():
            found[subject.Index] = sales.valuation(subject, on=subject.valuation_date)
    results = pd.DataFrame([vars(found[label]) for label in subjects.index], columns=list(RESULT_COLUMNS))
    results["filter_step"] = results["filter_step"].astype("Int64")
    return results.set_index(subjects.index)


class Sales:
    """The sales of one market and property type, and what is known of how its prices moved."""

    def __init__(self, comps: pd.DataFrame, index: pd.DataFrame) -> None:
        comps = comps.sort_values(["sale_date", "subject_id"])
        self._ids = comps["subject_id"].to_numpy(dtype=object)
        self._days = _days(comps["sale_date"])
        self._values = {
            name: comps[name].to_numpy(dtype="float64")
            for name in ("sale_price_usd", "living_area_sqft", "bedrooms", "bathrooms", "latitude", "longitude")
        }
        index = index.sort_values("as_of_date")
        self._index_days, self._index_logs = _days(index["as_of_date"]), np.log(index["value"].to_numpy("float64"))
        self._trend: tuple[int, float | None] = (-1, None)

    def valuation(self, subject: Any, *, on: date) -> Valuation:
        """The value on the day `on` of `subject`, an object with the attributes SUBJECT_COLUMNS."""
        day = int(np.datetime64(on, "D").astype("int64"))
        sold = self._sold(day, without=subject.subject_id)
        if not sold.day.size:
            return Valuation()
        factors, time_adjustment = self._time_factors(sold, day)
        sold.sale_price_usd = sold.sale_price_usd * factors
        sqft_price = _median_or_nan(sold.sqft_prices)
        differences = _differences(subject, sold, day)
        choices = [_passing(it, differences) for it in FILTERS]
        step = next((i for i, chosen in enumerate(choices) if chosen.sum() >= ENOUGH_COMPS), len(FILTERS) - 1)
        chosen = choices[step]
        adjusted = _adjusted(subject, sold, sqft_price)[chosen]
        return _valuation(adjusted, differences.similarity[chosen], step, time_adjustment)

    def _sold(self, day: int, *, without: str) -> "_Sold":
        first, end = np.searchsorted(self._days, [day - LOOK_BACK_DAYS, day], side="right")
        kept = np.arange(first, end)[self._ids[first:end] != without]
        return _Sold(
            day=self._days[kept],
            is_whole=len(kept) == end - first,
            **{name: values[kept] for name, values in self._values.items()},
        )

    def _time_factors(self, sold: "_Sold", day: int) -> tuple[Floats, TimeAdjustment]:
        """By how much each price has moved since its sale: by the market's index, else by the sales' own trend."""
        known = int(np.searchsorted(self._index_days, day, side="right"))
        if known > 1 and day - self._index_days[known - 1] <= INDEX_MAX_AGE_DAYS:
            days, logs = self._index_days[:known], self._index_logs[:known]
            return np.exp(np.interp(day, days, logs) - np.interp(sold.day, days, logs)), "index"
        slope = self._slope(sold, day)
        if slope is None:
            return np.ones_like(sold.sale_price_usd), "none"
        return np.exp(slope * (day - sold.day)), "trend"

    def _slope(self, sold: "_Sold", day: int) -> float | None:
        if sold.is_whole and self._trend[0] == day:
            return self._trend[1]
        slope = trend(day - sold.day, np.log(sold.sqft_prices))
        if sold.is_whole:
            self._trend = (day, slope)
        return slope


@dataclass(kw_only=True)
class _Sold:
    """Sales as columns; the prices are adjusted for time as soon as it is known how. `is_whole`: none is left out."""

    day: Days
    sale_price_usd: Floats
    living_area_sqft: Floats
    bedrooms: Floats
    bathrooms: Floats
    latitude: Floats
    longitude: Floats
    is_whole: bool

    @property
    def sqft_prices(self) -> Floats:
        return self.sale_price_usd / self.living_area_sqft


@dataclass(frozen=True)
class _Differences:
    """How far each sale is from the subject: in space, time and size; NaN where that is unknown."""

    distance_km: Floats
    age_days: Days
    area_ratio: Floats

    @property
    def similarity(self) -> Floats:
        """1 for the same home today, falling with each difference; an unknown one counts as its scale."""
        distance = np.nan_to_num(self.distance_km / DISTANCE_SCALE_KM, nan=1.0)
        area = np.minimum(np.nan_to_num(self.area_ratio / AREA_SCALE_RATIO, nan=1.0), FARTHEST)
        similarity: Floats = 1 / (1 + distance**2 + (self.age_days / AGE_SCALE_DAYS) ** 2 + area**2)
        return similarity


def weighted_median(values: Floats, weights: Floats) -> float:
    """The value up to which half of the weight lies; the mean of two where they share it exactly."""
    order = np.lexsort((weights, values))
    values, shares = values[order], np.cumsum(weights[order]) / weights.sum()
    place = int(np.searchsorted(shares, 0.5 - 1e-12))
    is_shared = abs(shares[place] - 0.5) <= 1e-12  # noqa: PLR2004 - half
    return float(values[place : place + 2].mean() if is_shared else values[place])


def trend(age_days: Days, log_prices: Floats) -> float | None:
    """Robust growth of the logarithm of prices a day (Theil and Sen, over medians of 30 days).

    NaN prices and ages beyond TREND_DAYS are not looked at; None if fewer than four spans of 30 days have three sales.
    """
    is_used = np.isfinite(log_prices) & (age_days < TREND_DAYS)
    buckets, logs = age_days[is_used] // TREND_BUCKET_DAYS, log_prices[is_used]
    full = np.flatnonzero(np.bincount(buckets) >= TREND_MIN_SALES)
    if len(full) < TREND_MIN_BUCKETS:
        return None
    medians = np.array([np.median(logs[buckets == bucket]) for bucket in full])
    first, second = np.triu_indices(len(full), k=1)
    slopes = (medians[first] - medians[second]) / ((full[second] - full[first]) * TREND_BUCKET_DAYS)
    limit = TREND_LIMIT_PER_YEAR / 365
    return float(np.clip(np.median(slopes), -limit, limit))


def haversine_km(latitude: float, longitude: float, latitudes: Floats, longitudes: Floats) -> Floats:
    """Great-circle distances on a sphere of the Earth's mean radius; degrees in, NaN for NaN."""
    a, b = np.radians(latitude), np.radians(latitudes)
    half = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(np.radians(longitudes - longitude) / 2) ** 2
    distances: Floats = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1)))
    return distances


def _differences(subject: Any, sold: _Sold, day: int) -> _Differences:
    return _Differences(
        haversine_km(_number(subject.latitude), _number(subject.longitude), sold.latitude, sold.longitude),
        day - sold.day,
        np.abs(sold.living_area_sqft / _number(subject.living_area_sqft) - 1),
    )


def _passing(it: Filter, differences: _Differences) -> NDArray[np.bool_]:
    """Which sales `it` lets through; a difference that is unknown keeps no sale out."""
    passing: NDArray[np.bool_] = differences.age_days < it.days
    if it.radius_km is not None:
        passing &= ~(differences.distance_km > it.radius_km)
    if it.area_ratio is not None:
        passing &= ~(differences.area_ratio > it.area_ratio)
    return passing


def _adjusted(subject: Any, sold: _Sold, sqft_price: float) -> Floats:
    """Prices as if the homes had the size, bedrooms and bathrooms of the subject; what is unknown changes nothing."""
    area = sqft_price * (_number(subject.living_area_sqft) - sold.living_area_sqft) / sold.sale_price_usd
    bedrooms = BEDROOM_RATIO * (_number(subject.bedrooms) - sold.bedrooms)
    bathrooms = BATHROOM_RATIO * (_number(subject.bathrooms) - sold.bathrooms)
    ratio = np.nan_to_num(area) + np.nan_to_num(bedrooms) + np.nan_to_num(bathrooms)
    adjusted: Floats = sold.sale_price_usd * (1 + np.clip(ratio, -LARGEST_ADJUSTMENT_RATIO, LARGEST_ADJUSTMENT_RATIO))
    return adjusted


def _valuation(adjusted: Floats, weights: Floats, step: int, time_adjustment: TimeAdjustment) -> Valuation:
    estimate = weighted_median(adjusted, weights)
    dispersion = MAD_TO_DEVIATION * weighted_median(np.abs(adjusted / estimate - 1), weights)
    count = float(weights.sum() ** 2 / (weights**2).sum())
    drawn = (count * min(dispersion, 1.0) ** 2 + PRIOR_COUNT * PRIOR_DISPERSION_RATIO**2) / (count + PRIOR_COUNT)
    expected = float(np.sqrt(drawn))
    reach = float(np.exp(RANGE_DEVIATIONS * expected * np.sqrt(1 + 1 / count)))
    trust = count / (count + CONFIDENCE_COUNT) / (1 + (expected / CONFIDENCE_DISPERSION_RATIO) ** 2)
    return Valuation(
        estimate_usd=estimate,
        low_usd=estimate / reach,
        high_usd=estimate * reach,
        comp_count=len(adjusted),
        dispersion_ratio=dispersion,
        confidence_ratio=FILTERS[step].confidence_ratio * trust,
        filter_step=step + 1,
        time_adjustment=time_adjustment,
    )


def _median_or_nan(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _number(value: Any) -> float:
    return float("nan") if value is None or value is pd.NA else float(value)


def _days(dates: "pd.Series[Any]") -> Days:
    """Dates as days since 1970."""
    days: Days = pd.to_datetime(dates).to_numpy().astype("datetime64[D]").astype("int64")
    return days
