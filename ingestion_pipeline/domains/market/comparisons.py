"""How two markets compare over a window of daily closes: the rows of market/comparisons.

Belongs here: statistics of pairs of symbols. Does not belong here: statistics of one symbol and the matrix of closes
(statistics.py), IO, Dagster.

Every definition is in docs/market.md. `pair_statistics` is the numeric kernel: arrays in, arrays out, pairs in the
order (0, 1), (0, 2) … (1, 2) …, no step once per pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ingestion_pipeline.domains.market.statistics import (
    METHOD_VERSION,
    ROUNDING,
    Array,
    DailyCloses,
    Floats,
    PriceSeries,
    base_rows,
    close_counts,
    daily_closes,
    dates,
    day_numbers,
    empty_frame,
    last_unadjusted_rows,
    price_series,
)
from ingestion_pipeline.domains.market.tables import BASE_PRICE_MAX_AGE_DAYS, COMPARISON_WINDOW_DAYS, COMPARISONS

_BLOCK_SYMBOLS = 500  # of one matrix product: few calls, and most of the lower triangle is left out
_MAX_CALENDARS = 12  # above this many patterns of days, sums over masks cost less than a product per pair of patterns
_LOST_PRECISION = 1e-4  # share of a sum of squares below which a variance from sums is not trusted


@dataclass(frozen=True)
class PairStatistics:
    """One value per pair, shape (n * (n - 1) / 2,); NaN where undefined. Fields are named like the columns."""

    price_ratio: Floats
    volume_ratio: Floats
    roi_spread_ratio: Floats
    return_correlation: Floats
    common_return_count: NDArray[np.int32]


def comparisons(
    closes: pd.DataFrame, *, as_of_days: Sequence[date], window_days: int = COMPARISON_WINDOW_DAYS
) -> pd.DataFrame:
    """Every pair of symbols that have a close in (as_of - window, as_of], first symbol before second.

    Args:
        closes: Columns symbol, day, close, adj_close (nullable), volume, as in market/ohlc_daily, in any order. It
            must reach back `window_days` + 7 days before the first as-of day.
        as_of_days: UTC days.
        window_days: Calendar days.

    Returns:
        The columns of market/comparisons, ordered by its key; undefined is NaN, never infinite. Symbols are
        categorical: two million rows of text would cost more than the statistics.

    Raises:
        ValueError: repeated (symbol, day); a window below one day.
    """
    if window_days < 1:
        raise ValueError(f"window_days is {window_days}, expected at least 1")
    days = day_numbers(as_of_days)
    if not len(days) or closes.empty:
        return empty_frame(COMPARISONS)
    daily = daily_closes(closes, first_day=int(days[0]) - window_days - BASE_PRICE_MAX_AGE_DAYS, last_day=int(days[-1]))
    plain, unadjusted = price_series(daily.close), last_unadjusted_rows(daily)
    adjusted = plain if np.isnan(daily.adj_close).all() else price_series(daily.adj_close)
    parts = [
        _pairs_as_of(int(day), daily, plain=plain, adjusted=adjusted, unadjusted=unadjusted, window_days=window_days)
        for day in days
    ]
    columns: dict[str, Any] = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    dtype = pd.CategoricalDtype(daily.symbols)
    for name in ("base_symbol", "quote_symbol"):
        columns[name] = pd.Categorical.from_codes(columns[name], dtype=dtype, validate=False)
    count = len(columns["price_ratio"])
    columns["window_days"] = np.full(count, window_days, np.int32)
    columns["method_version"] = pd.Categorical.from_codes(np.zeros(count, np.int8), [METHOD_VERSION])
    return pd.DataFrame({name: columns[name] for name in COMPARISONS.column_names}, copy=False)


def pair_statistics(returns: Floats, *, last_close: Floats, volume: Floats, total_return: Floats) -> PairStatistics:
    """Statistics of every pair of the columns of `returns`.

    Args:
        returns: (day, symbol), NaN on days without a return.
        last_close: (symbol,), positive.
        volume: (symbol,), not negative.
        total_return: (symbol,), NaN where there is no base price.
    """
    correlation, common = _correlations(returns)
    return PairStatistics(
        price_ratio=_combined(np.divide, last_close),
        volume_ratio=_combined(np.divide, volume),
        roi_spread_ratio=_combined(np.subtract, total_return),
        return_correlation=np.clip(correlation, -1, 1, out=correlation),
        common_return_count=common,
    )


def _combined(operation: np.ufunc, values: Floats) -> Floats:
    """`operation` of the values of the first and the second of every pair; NaN where infinite."""
    combined, filled = np.empty(len(values) * (len(values) - 1) // 2), 0
    with np.errstate(all="ignore"):
        for first, value in enumerate(values):
            following = values[first + 1 :]
            operation(value, following, out=combined[filled : filled + len(following)])
            filled += len(following)
    infinite = np.isinf(combined)
    if infinite.any():
        combined[infinite] = np.nan
    return combined


def paired(values: Array) -> tuple[Array, Array]:
    """The value of the first and of the second of every pair."""
    size = len(values)
    seconds = [values[first:] for first in range(1, size)] or [values[:0]]
    return np.repeat(values, np.arange(size)[::-1]), np.concatenate(seconds)


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _pairs_as_of(
    day: int,
    daily: DailyCloses,
    *,
    plain: PriceSeries,
    adjusted: PriceSeries,
    unadjusted: NDArray[np.int32],
    window_days: int,
) -> dict[str, Array]:
    """The pairs as of one day: columns by name, symbols as codes."""
    row = day - daily.first_day
    at, window = np.array([row]), slice(row + 1 - window_days, row + 1)
    active = np.flatnonzero(close_counts(plain, at, window_days=window_days)[0])
    base = base_rows(plain.last_row, at, window_days=window_days)[0]
    is_adjusted = unadjusted[row] < np.where(base < 0, window.start, base)
    returns = np.where(is_adjusted, adjusted.returns[window], plain.returns[window])
    unbased = np.flatnonzero(base < 0)  # their first close in the window has no return: the one before is too old
    first = (~np.isnan(daily.close[window, unbased])).argmax(axis=0)
    returns[first, unbased] = np.nan
    with np.errstate(all="ignore"):
        grown = [series.price[row] / series.price[row - window_days] - 1 for series in (adjusted, plain)]
    total = np.where(is_adjusted, *grown)
    total[(base < 0) | ~np.isfinite(total)] = np.nan
    pairs = pair_statistics(
        returns if len(active) == returns.shape[1] else returns[:, active],
        last_close=plain.price[row, active],
        volume=np.nansum(daily.volume[window, active], axis=0),
        total_return=total[active],
    )
    codes = active.astype(np.int16 if len(daily.symbols) <= np.iinfo(np.int16).max else np.int32)
    base_codes, quote_codes = paired(codes)
    return {
        "as_of_date": np.full(len(base_codes), dates(np.array(day))),
        "base_symbol": base_codes,
        "quote_symbol": quote_codes,
        **vars(pairs),
    }


def _correlations(returns: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Pearson correlation and number of common days of every pair of columns."""
    present = ~np.isnan(returns)
    size = returns.shape[1]
    if (present == present[:, :1]).all():
        days = present[:, 0] if size else np.zeros(len(present), bool)
        correlation = _upper_product(_standardised(returns if days.all() else returns[days]))
        return correlation, np.full(len(correlation), days.sum(), np.int32)
    packed = np.ascontiguousarray(np.packbits(present, axis=0).T)
    _, example, group = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    if len(example) > _MAX_CALENDARS:
        matrix, common = _masked_correlations(returns, present)
        return _above_diagonal(matrix), _above_diagonal(common)
    calendars = present[:, example].astype(np.int32)
    shared = (calendars.T @ calendars).ravel()
    first_group, second_group = paired(group)
    matrix = _grouped_correlations(returns, present[:, example], group)
    return _above_diagonal(matrix), shared[first_group * len(example) + second_group]


def _standardised(returns: Floats) -> Floats:
    """Columns centred and scaled to length one; NaN where there is no variance or fewer than two days."""
    if len(returns) < 2:  # noqa: PLR2004 - no variance of one value
        return np.full((1, returns.shape[1]), np.nan)
    with np.errstate(all="ignore"):
        centred = returns - returns.mean(axis=0)
        length = np.sqrt(np.einsum("ds,ds->s", centred, centred))
        highest = returns.max(axis=0)
        length[highest - returns.min(axis=0) <= ROUNDING * (1 + highest)] = np.nan
        centred /= length
    return np.asarray(centred)


def _upper_product(columns: Floats) -> Floats:
    """The values of `columns.T @ columns` above the diagonal, row after row.

    Products of some rows at a time leave out most of what is below the diagonal: half the work of the whole product.
    """
    size = columns.shape[1]
    values, filled = np.empty(size * (size - 1) // 2), 0
    buffer = np.empty(_BLOCK_SYMBOLS * size)  # one for all blocks: it stays in the cache
    for start in range(0, size, _BLOCK_SYMBOLS):
        some, rest = columns[:, start : start + _BLOCK_SYMBOLS], columns[:, start:]
        block = buffer[: some.shape[1] * rest.shape[1]].reshape(some.shape[1], rest.shape[1])
        np.matmul(some.T, rest, out=block)
        for row, products in enumerate(block):
            following = products[row + 1 :]
            values[filled : filled + len(following)] = following
            filled += len(following)
    return values


def _above_diagonal(matrix: Array) -> Array:
    return np.concatenate([row[first + 1 :] for first, row in enumerate(matrix)])


def _grouped_correlations(returns: Floats, calendars: NDArray[np.bool_], group: NDArray[np.intp]) -> Floats:
    """Correlations (symbol, symbol): one matrix product for each pair of groups.

    Args:
        returns: (day, symbol).
        calendars: (day, group), true on the days on which every symbol of the group has a return.
        group: Of each symbol.
    """
    correlation = np.empty((returns.shape[1], returns.shape[1]))
    members = [np.flatnonzero(group == one) for one in range(calendars.shape[1])]
    for one, some in enumerate(members):
        for other, others in enumerate(members[: one + 1]):
            days = calendars[:, one] & calendars[:, other]
            left = _standardised(returns[days][:, some])
            block = left.T @ (left if one == other else _standardised(returns[days][:, others]))
            correlation[np.ix_(some, others)] = block
            correlation[np.ix_(others, some)] = block.T
    return correlation


def _masked_correlations(returns: Floats, present: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int32]]:
    """Correlations and numbers of common days, (symbol, symbol), where nearly every symbol has its own days.

    Sums over common days are products with the 0/1 matrix of days. Where subtracting them loses precision (almost
    constant returns), the pair is computed by itself.
    """
    known, filled = present.astype(np.float64), np.where(present, returns, 0.0)
    count, total, square = known.T @ known, filled.T @ known, (filled * filled).T @ known
    with np.errstate(all="ignore"):
        variance = square - total * total / count
        correlation = (filled.T @ filled - total * total.T / count) / np.sqrt(variance * variance.T)
    defined = (count > 1) & (square > 0) & (square.T > 0)
    correlation[~defined] = np.nan
    lost = variance < _LOST_PRECISION * square
    for first, second in np.argwhere(np.triu((lost | lost.T) & defined, 1)):
        left, right = _standardised(returns[present[:, first] & present[:, second]][:, [first, second]]).T
        correlation[first, second] = left @ right
    return correlation, count.astype(np.int32)
