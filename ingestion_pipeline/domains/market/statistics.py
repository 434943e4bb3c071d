"""Return and risk statistics of daily closes over calendar windows: the rows of market/roi_statistics.

Belongs here: daily closes as a matrix of days and symbols, the returns in it, statistics of one symbol. Does not belong
here: statistics of two symbols (comparisons.py), rollups of bars (transforms.py), IO, Dagster.

Every definition is in docs/market.md; a change of one is a new METHOD_VERSION. Longer than usual because the matrix and
the statistics share one rule on base prices and one on adjusted closes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.market.tables import BASE_PRICE_MAX_AGE_DAYS, ROI_STATISTICS, ROI_WINDOWS_DAYS

METHOD_VERSION = "1"
ROUNDING = 1e-12
"""Differences of growth factors below this are what is left of rounding: they count as none."""

_MEAN_YEAR_DAYS = 365.25
_BLOCK_ELEMENTS = 1 << 18  # one window of one block stays in the processor's cache

_NO_DATE = np.datetime64("NaT", "s")
_NAMES_SHOWN = 5

Array = NDArray[Any]
Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class DailyCloses:
    """Closes on consecutive UTC days. Matrices are (day, symbol), NaN where there is no close.

    `first_day` is in days since 1970-01-01; `symbols` ascend. `adj_close` is NaN wherever `close` is.
    """

    first_day: int
    symbols: NDArray[np.object_]
    close: Floats
    adj_close: Floats
    volume: Floats


@dataclass(frozen=True)
class PriceSeries:
    """One price series per column, on consecutive days. Matrices are (day, series).

    `price` is the last close so far, `last_row` its row (-1: none yet), `returns` the simple return since the close
    before (NaN on days without one), `close_count` the number of closes before the row (one row more than days).
    """

    price: Floats
    last_row: NDArray[np.int32]
    returns: Floats
    close_count: NDArray[np.int32]

    def columns(self, some: slice) -> "PriceSeries":
        return PriceSeries(
            self.price[:, some], self.last_row[:, some], self.returns[:, some], self.close_count[:, some]
        )


def roi_statistics(
    closes: pd.DataFrame,
    markets: pd.DataFrame,
    *,
    as_of_days: Sequence[date],
    risk_free_rate: float,
    windows: Sequence[int] = ROI_WINDOWS_DAYS,
) -> pd.DataFrame:
    """Statistics of each symbol's daily returns dated in (as_of - window, as_of].

    Args:
        closes: Columns symbol, day, close, adj_close (nullable), volume, as in market/ohlc_daily, in any order. It must
            reach back max(windows) + 7 days before the first as-of day.
        markets: Columns symbol, periods_per_year, for every symbol of `closes`.
        as_of_days: UTC days.
        risk_free_rate: Per year; 0.03 is 3 %.
        windows: Calendar days.

    Returns:
        The columns of market/roi_statistics, ordered by its key; undefined is NaN or NaT, never infinite. Symbols
        without a return in a window have no row; symbols without a base price have a row of NaN.

    Raises:
        ValueError: repeated (symbol, day); a symbol that `markets` lacks; a window below one day.
    """
    spans = sorted(set(windows))
    if not spans or spans[0] < 1:
        raise ValueError(f"windows are {list(windows)}, expected calendar days of at least 1")
    days = day_numbers(as_of_days)
    if not len(days) or closes.empty:
        return empty_frame(ROI_STATISTICS)
    daily = daily_closes(closes, first_day=int(days[0]) - spans[-1] - BASE_PRICE_MAX_AGE_DAYS, last_day=int(days[-1]))
    periods = _periods_per_year(markets, daily.symbols)
    statistics = _statistics(
        daily, days - daily.first_day, spans=spans, periods=periods, risk_free_rate=float(risk_free_rate)
    )
    as_of, symbol, span = np.nonzero(statistics["return_count"])
    columns = {
        "as_of_date": dates(days)[as_of],
        "symbol": pd.array(daily.symbols, dtype="str").take(symbol),
        "window_days": np.array(spans, np.int32)[span],
        **{name: values[as_of, symbol, span] for name, values in statistics.items()},
        "periods_per_year": periods[symbol],
        "risk_free_rate_ratio": np.full(len(symbol), float(risk_free_rate)),
        "method_version": pd.array([METHOD_VERSION], dtype="str").take(np.zeros(len(symbol), np.intp)),
    }
    return pd.DataFrame({name: columns[name] for name in ROI_STATISTICS.column_names})


def empty_frame(table: Table) -> pd.DataFrame:
    """No rows, with the column types that the full frame has."""
    types = {"text": "str", "date": "datetime64[s]", "float": "float64", "integer": "int32"}
    return pd.DataFrame({column.name: pd.Series(dtype=types[column.type]) for column in table.columns})


def day_numbers(days: Sequence[date]) -> Rows:
    """Distinct days since 1970-01-01, ascending."""
    return np.unique(np.array(list(days), dtype="datetime64[D]").astype(np.intp))


def dates(days: Array) -> NDArray[np.datetime64]:
    """Dates of days since 1970-01-01."""
    return days.astype("datetime64[D]").astype("datetime64[s]")


def daily_closes(closes: pd.DataFrame, *, first_day: int, last_day: int) -> DailyCloses:
    """The rows of `closes` between two days (both included) as matrices. Prices that are not positive are no closes.

    Raises:
        ValueError: repeated (symbol, day) between the two days.
    """
    codes, names = pd.factorize(closes["symbol"], sort=True)
    day_codes, distinct_days = pd.factorize(closes["day"])  # decoding each distinct day once: date objects are slow
    row = pd.to_datetime(pd.Series(distinct_days)).to_numpy().astype("datetime64[D]").astype(np.intp) - first_day
    symbols = np.asarray(names, dtype=object)
    shape = (last_day - first_day + 1, len(symbols))
    is_wanted = (row >= 0) & (row < shape[0])
    wanted = slice(None) if is_wanted.all() else is_wanted[day_codes]
    cells = (row * shape[1])[day_codes[wanted]] + codes[wanted]
    _require_distinct(cells, shape, first_day=first_day, symbols=symbols)

    def matrix(column: str) -> Floats:
        values = np.full(shape, np.nan)
        values.ravel()[cells] = closes[column].to_numpy(dtype=np.float64, na_value=np.nan)[wanted]
        return values

    close, adjusted, volume = matrix("close"), matrix("adj_close"), matrix("volume")
    with np.errstate(invalid="ignore"):
        close[~((close > 0) & (close < np.inf))] = np.nan  # upstream checks reject them: this keeps arithmetic defined
        adjusted[~((adjusted > 0) & (adjusted < np.inf) & (close > 0))] = np.nan
    volume[np.isnan(close)] = np.nan
    return DailyCloses(first_day, symbols, close, adjusted, volume)


def price_series(prices: Floats) -> PriceSeries:
    """Returns and last known prices of `prices` (day, series), NaN where there is no close."""
    observed = ~np.isnan(prices)
    last_row = _last_rows(observed)
    price = prices.copy()
    for row in range(1, len(price)):
        np.copyto(price[row], price[row - 1], where=~observed[row])
    returns = np.full_like(prices, np.nan)
    with np.errstate(all="ignore"):
        np.subtract(prices[1:] / price[:-1], 1, out=returns[1:])
    count = np.zeros((len(prices) + 1, prices.shape[1]), np.int32)
    np.cumsum(observed, axis=0, out=count[1:])
    return PriceSeries(price, last_row, returns, count)


def base_rows(last_row: NDArray[np.int32], rows: Rows, *, window_days: int) -> NDArray[np.int32]:
    """Rows of the base prices, (as-of, series): the last close at or before the window's start; -1: none or too old."""
    found = last_row[rows - window_days]
    return np.where(found >= (rows - window_days - BASE_PRICE_MAX_AGE_DAYS)[:, None], found, np.int32(-1))


def close_counts(series: PriceSeries, rows: Rows, *, window_days: int) -> NDArray[np.int32]:
    """Closes dated in the window, (as-of, series)."""
    return (series.close_count[rows + 1] - series.close_count[rows + 1 - window_days]).astype(np.int32)


def return_counts(series: PriceSeries, rows: Rows, *, window_days: int) -> NDArray[np.int32]:
    """Returns dated in the window, (as-of, series). Without a base price the first close in the window has none."""
    lacking = base_rows(series.last_row, rows, window_days=window_days) < 0
    counts: NDArray[np.int32] = np.maximum(close_counts(series, rows, window_days=window_days) - lacking, 0)
    return counts


def last_unadjusted_rows(daily: DailyCloses) -> NDArray[np.int32]:
    """Row of the last close without an adjusted close so far, (day, symbol); -1 where none.

    A symbol's adjusted closes are used only where this lies before the base price: one series never mixes both.
    """
    return _last_rows(np.isnan(daily.adj_close) & ~np.isnan(daily.close))


def _last_rows(marked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Row of the last true value so far in each column; -1 where none."""
    return _running_maximum(np.where(marked, np.arange(len(marked), dtype=np.int32)[:, None], np.int32(-1)))


def _running_maximum(values: Array) -> Array:
    """The maximum so far along the first axis, in place: ufunc.accumulate strides along it, several times slower."""
    for row in range(1, len(values)):
        np.maximum(values[row - 1], values[row], out=values[row])
    return values


def window_statistics(
    series: PriceSeries, rows: Rows, *, window_days: int, periods: Floats, risk_free: Floats
) -> dict[str, Array]:
    """Statistics of each series at each as-of row, by name, each (as-of, series).

    Args:
        series: Must reach back `window_days` + 7 rows before the first of `rows`.
        rows: As-of rows of `series`.
        window_days: Calendar days.
        periods: Daily returns a year, one per series.
        risk_free: Risk-free return a day, one per series.

    Returns:
        Floats, NaN where undefined; `max_drawdown_peak` and `_trough` are rows of `series`, -1 where undefined.
    """
    shape = (len(rows), series.price.shape[1])
    results: dict[str, Array] = {}
    for some_rows, some in _blocks(shape, window_days=window_days):
        part, at = series.columns(some), rows[some_rows]
        with np.errstate(all="ignore"):
            block = _growth(part, at, window_days=window_days)
            block |= _risk(part, at, window_days=window_days, periods=periods[some], risk_free=risk_free[some])
            block["calmar_ratio"] = block["annualised_return_ratio"] / -block["max_drawdown_ratio"]
        for name, values in block.items():
            results.setdefault(name, np.empty(shape, values.dtype))[some_rows, some] = values
    return _defined(results, series, rows, window_days=window_days)


def _defined(results: dict[str, Array], series: PriceSeries, rows: Rows, *, window_days: int) -> dict[str, Array]:
    """`results` without what is undefined: no base price, or not finite."""
    known = base_rows(series.last_row, rows, window_days=window_days) >= 0
    known &= close_counts(series, rows, window_days=window_days) > 0
    return {
        name: np.where(known & np.isfinite(values), values, np.nan)
        if values.dtype.kind == "f"
        else np.where(known, values, -1)
        for name, values in results.items()
    }


def _growth(series: PriceSeries, rows: Rows, *, window_days: int) -> dict[str, Array]:
    """Total and annualised return, the deepest fall from a running peak and where it began and ended."""
    start = rows - window_days
    growth = series.price[rows] / series.price[start]
    elapsed = series.last_row[rows] - series.last_row[start]
    path = series.price[start + np.arange(window_days + 1)[:, None]]
    peak = _running_maximum(path.copy())
    share = path / peak
    depth = share.min(axis=0)
    trough = (share <= depth + ROUNDING).argmax(axis=0)
    top = (path == np.take_along_axis(peak, trough[None], axis=0)[0]).argmax(axis=0)
    fell = depth < 1
    return {
        "total_return_ratio": growth - 1,
        "annualised_return_ratio": growth ** (_MEAN_YEAR_DAYS / elapsed) - 1,
        "max_drawdown_ratio": depth - 1,
        "max_drawdown_peak": np.where(fell, np.take_along_axis(series.last_row, start[:, None] + top, axis=0), -1),
        "max_drawdown_trough": np.where(fell, np.take_along_axis(series.last_row, start[:, None] + trough, axis=0), -1),
    }


def _risk(series: PriceSeries, rows: Rows, *, window_days: int, periods: Floats, risk_free: Floats) -> dict[str, Array]:
    """Volatility, Sharpe and Sortino ratio, best and worst day."""
    returns = series.returns[rows + np.arange(1 - window_days, 1)[:, None]]
    n = close_counts(series, rows, window_days=window_days)
    best, worst = np.fmax.reduce(returns, axis=0), np.fmin.reduce(returns, axis=0)
    absent = np.isnan(returns)
    np.copyto(returns, 0.0, where=absent)
    mean = returns.sum(axis=0) / n
    shortfall = np.minimum(returns - risk_free, 0)
    np.copyto(shortfall, 0.0, where=absent)
    downside = np.sqrt(np.einsum("nas,nas->as", shortfall, shortfall) / n)
    returns -= mean
    np.copyto(returns, 0.0, where=absent)
    deviation = np.sqrt(np.einsum("nas,nas->as", returns, returns) / (n - 1))
    deviation[best - worst <= ROUNDING * (1 + best)] = 0
    excess = np.where(n > 1, (mean - risk_free) * np.sqrt(periods), np.nan)
    return {
        "volatility_ratio": np.where(n > 1, deviation * np.sqrt(periods), np.nan),
        "sharpe_ratio": np.where(deviation > 0, excess / deviation, np.nan),
        "sortino_ratio": np.where(downside > ROUNDING, excess / downside, np.nan),
        "best_day_ratio": best,
        "worst_day_ratio": worst,
    }


def _statistics(
    daily: DailyCloses, rows: Rows, *, spans: Sequence[int], periods: NDArray[np.int32], risk_free_rate: float
) -> dict[str, Array]:
    """Statistics by column name, each (as-of, symbol, window), from adjusted or plain closes."""
    unadjusted = last_unadjusted_rows(daily)
    has_adjusted = ~np.isnan(daily.adj_close).all(axis=0)
    plain, adjusted = np.flatnonzero((unadjusted[-1] >= 0) | ~has_adjusted), np.flatnonzero(has_adjusted)
    series = price_series(np.concatenate([daily.close[:, plain], daily.adj_close[:, adjusted]], axis=1))
    observed = price_series(daily.close) if len(adjusted) else series
    owner = np.concatenate([plain, adjusted])
    adjusted_column = np.zeros(len(daily.symbols), np.intp)
    adjusted_column[adjusted] = len(plain) + np.arange(len(adjusted))
    plain_column = adjusted_column.copy()
    plain_column[plain] = np.arange(len(plain))
    yearly = periods[owner].astype(np.float64)
    daily_risk_free = (1 + risk_free_rate) ** (1 / yearly) - 1
    parts = []
    for span in spans:
        base = base_rows(observed.last_row, rows, window_days=span)
        found = window_statistics(series, rows, window_days=span, periods=yearly, risk_free=daily_risk_free)
        for end in ("peak", "trough"):
            row = found.pop(f"max_drawdown_{end}")
            found[f"max_drawdown_{end}_date"] = np.where(row < 0, _NO_DATE, dates(daily.first_day + row))
        chosen = np.where(unadjusted[rows] < base, adjusted_column, plain_column)
        part = {name: np.take_along_axis(values, chosen, axis=1) for name, values in found.items()}
        part["return_count"] = return_counts(observed, rows, window_days=span)
        parts.append(part)
    return {name: np.stack([part[name] for part in parts], axis=-1) for name in parts[0]}


def _blocks(shape: tuple[int, int], *, window_days: int) -> Iterator[tuple[slice, slice]]:
    """Slices of (as-of, series) whose windows fit the cache."""
    items = max(1, _BLOCK_ELEMENTS // window_days)
    width = min(items, shape[1])
    height = max(1, items // max(width, 1))
    for left in range(0, shape[1], max(width, 1)):
        for top in range(0, shape[0], height):
            yield slice(top, top + height), slice(left, left + width)


def _periods_per_year(markets: pd.DataFrame, symbols: NDArray[np.object_]) -> NDArray[np.int32]:
    known = dict(zip(markets["symbol"], markets["periods_per_year"], strict=True))
    if unknown := [symbol for symbol in symbols if symbol not in known]:
        raise ValueError(f"markets lacks {_some(unknown)}, which have closes")
    return np.array([known[symbol] for symbol in symbols], dtype=np.int32)


def _require_distinct(cells: Rows, shape: tuple[int, int], *, first_day: int, symbols: NDArray[np.object_]) -> None:
    """Raises unless each cell (row-major, of a day and a symbol) occurs once."""
    taken = np.zeros(shape[0] * shape[1], bool)
    taken[cells] = True
    if taken.sum() == len(cells):
        return
    repeated = np.flatnonzero(np.bincount(cells) > 1)
    days = np.datetime_as_string(dates(first_day + repeated // shape[1]), unit="D")
    names = [f"{symbol} {day}" for symbol, day in zip(symbols[repeated % shape[1]], days, strict=True)]
    raise ValueError(f"closes has several rows for {_some(names)}")


def _some(names: Sequence[object]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(map(str, names[:_NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")
