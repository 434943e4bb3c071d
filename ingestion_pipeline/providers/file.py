"""Bars from files in one folder: CSV, CSV.gz or Parquet (columns in file_table.py).

A symbol may lie in several files; where they overlap, the finest interval of a day wins that day, and two files of the
same interval are both returned. Files of another source can be read as they come: prices are in the quote asset that
the symbol names, or US dollars.

Belongs here: windows over what the folder holds. Does not belong here: the folder itself (file_index.py).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.errors import ProviderUnavailableError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.providers.bars import (
    DAY_SECONDS,
    MICROSECONDS,
    QUOTE_LOOKBACK,
    VALUE_COLUMNS,
    bars_frame,
    empty_bars,
    is_finished,
    latest_quote,
    microseconds,
)
from ingestion_pipeline.providers.base import Market, Quote
from ingestion_pipeline.providers.file_bytes import FileLimits
from ingestion_pipeline.providers.file_index import SHELF, Series, Shelf, checked_folder, series_by_symbol
from ingestion_pipeline.providers.symbols import asset_class, market, unknown_symbol

if TYPE_CHECKING:
    import pandas as pd

_DAY_US = DAY_SECONDS * MICROSECONDS
_EPOCH = date(1970, 1, 1)
LONGEST_GAP_DAYS = 31


class FileProvider:
    """Implements MarketDataProvider over `folder`, the only folder that it reads."""

    name = "file"

    def __init__(self, folder: Path | None, *, limits: FileLimits | None = None, shelf: Shelf = SHELF) -> None:
        """Raises ConfigurationError where `folder` is unset or missing."""
        self._folder = checked_folder(folder)
        self._limits = limits or FileLimits()
        self._shelf = shelf

    def fetch_markets(self, symbols: Sequence[str]) -> list[Market]:
        index = self._index()
        return [
            market(symbol, name=symbol, kind=asset_class(symbol), first_day=_date(min(it.days[0] for it in held)))
            for symbol, held in ((symbol, self._held(symbol, index)) for symbol in symbols)
        ]

    def fetch_bars(self, symbol: str, window: Window) -> "pd.DataFrame":
        return self._bars(symbol, self._held(symbol, self._index()), window)

    def fetch_quotes(self, symbols: Sequence[str]) -> list[Quote]:
        index = self._index()
        return [self._quote(symbol, self._held(symbol, index)) for symbol in symbols]

    def symbols(self) -> list[str]:
        """Every symbol in the folder, ascending."""
        return sorted(self._index())

    def coverage(self, symbols: Sequence[str]) -> list[Window]:
        """The spans of days on which any of `symbols` has bars, ascending; a gap of over 31 days ends a span."""
        index = self._index()
        held = [series.days for symbol in symbols for series in self._held(symbol, index)]
        if not held:
            return []
        days = np.unique(np.concatenate(held))
        spans = np.split(days, np.flatnonzero(np.diff(days) > LONGEST_GAP_DAYS) + 1)
        return [Window.of_days(_date(span[0]), _date(span[-1])) for span in spans]

    def _index(self) -> dict[str, list[Series]]:
        return series_by_symbol(self._folder, self._limits, self._shelf)

    def _held(self, symbol: str, index: dict[str, list[Series]]) -> list[Series]:
        if symbol not in index:
            raise unknown_symbol(self.name, symbol, index)
        return index[symbol]

    def _bars(self, symbol: str, held: Sequence[Series], window: Window) -> "pd.DataFrame":
        start, end = microseconds(window.start), microseconds(window.end)
        finest = _finest(held, start // _DAY_US, -(-end // _DAY_US))
        starts, values, intervals = [], [], []
        for series in held:
            bars = self._shelf.bars(series)
            first, last = np.searchsorted(bars.start_us, (start, end))
            inside = bars.start_us[first:last]
            is_wanted = is_finished(inside, series.interval_seconds, now=clock.utc_now())
            is_wanted &= _is_finest(inside // _DAY_US, finest, series.interval_seconds)
            starts.append(inside[is_wanted])
            values.append(bars.numbers[:, first:last][:, is_wanted])
            intervals.append(np.full(int(is_wanted.sum()), series.interval_seconds, dtype=np.int64))
        if not sum(map(len, starts)):
            return empty_bars(symbol)
        named = dict(zip(VALUE_COLUMNS, np.concatenate(values, axis=1), strict=True))
        return bars_frame(symbol, np.concatenate(starts), interval_seconds=np.concatenate(intervals), values=named)

    def _quote(self, symbol: str, held: Sequence[Series]) -> Quote:
        now = clock.utc_now()
        today = (now.date() - _EPOCH).days
        # The last two days: the very last may hold unfinished bars only.
        for day in sorted(
            {int(day) for series in held for day in series.days[series.days <= today][-2:]}, reverse=True
        ):
            window = Window.of_days(_date(day) - QUOTE_LOOKBACK, _date(day))
            bars = self._bars(symbol, held, window)
            if not bars.empty:
                return latest_quote(symbol, bars, provider=self.name)
        raise ProviderUnavailableError(self.name, f"no finished bar of {symbol} at {now:%Y-%m-%d %H:%M} UTC")


def _finest(held: Sequence[Series], first_day: int, end_day: int) -> dict[int, int]:
    """The shortest interval that any file has for each day of the window, whatever part of the day the window asks."""
    finest: dict[int, int] = {}
    for series in held:
        a, b = np.searchsorted(series.days, (first_day, end_day))
        for day in series.days[a:b].tolist():
            finest[day] = min(finest.get(day, series.interval_seconds), series.interval_seconds)
    return finest


def _is_finest(days: NDArray[np.int64], finest: dict[int, int], interval_seconds: int) -> NDArray[np.bool_]:
    present = np.unique(days)
    chosen = present[[finest[day] == interval_seconds for day in present.tolist()]]
    return np.isin(days, chosen)


def _date(day: int | np.int64) -> date:
    return _EPOCH + timedelta(days=int(day))
