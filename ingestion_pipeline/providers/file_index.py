"""What the bar files of one folder hold, and their bars, each file read once until it changes.

A file is known by path, size and time of change. Bars stay in memory up to a budget shared by the process; what each
file holds (symbols, intervals, days) is kept for good. A symlink that leaves the folder is refused.

Belongs here: folders, caches, intervals. Does not belong here: file formats (file_table.py), windows (file.py).
"""

import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, UnsafePathError
from ingestion_pipeline.providers.bars import DAY_SECONDS, MICROSECONDS, Instants
from ingestion_pipeline.providers.file_bytes import FileLimits
from ingestion_pipeline.providers.file_table import SymbolBars, read_symbols

VARIABLE = "INGESTION_FILE_PATH"
_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_NAMED_INTERVAL = re.compile(r"bars_(\d{1,3})([smhdw])_")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": DAY_SECONDS, "w": 7 * DAY_SECONDS}
_BUDGET_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True)
class FileVersion:
    path: Path
    size_bytes: int
    changed_ns: int
    limits: FileLimits


@dataclass(frozen=True, eq=False)
class Series:
    """The bars of one symbol in one file: their length, and the days since 1970 that have any, ascending."""

    version: FileVersion
    symbol: str
    interval_seconds: int
    days: NDArray[np.int64]


@dataclass
class Shelf:
    """Read files, the least recently used dropped first; and for each file ever read, what it holds."""

    budget_bytes: int = _BUDGET_BYTES
    _bars: "OrderedDict[FileVersion, dict[str, SymbolBars]]" = field(default_factory=OrderedDict)
    _series: dict[FileVersion, dict[str, Series]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def series(self, version: FileVersion) -> Mapping[str, Series]:
        with self._lock:
            if version not in self._series:
                self._load(version)
            return self._series[version]

    def bars(self, series: Series) -> SymbolBars:
        with self._lock:
            if series.version not in self._bars:
                self._load(series.version)
            self._bars.move_to_end(series.version)
            return self._bars[series.version][series.symbol]

    def _load(self, version: FileVersion) -> None:
        bars = read_symbols(version.path, version.limits)
        self._series[version] = {name: _described(version, name, held) for name, held in bars.items()}
        self._bars[version] = bars
        while len(self._bars) > 1 and sum(map(_held_bytes, self._bars.values())) > self.budget_bytes:
            self._bars.popitem(last=False)


SHELF = Shelf()


def checked_folder(folder: Path | None) -> Path:
    """The real path of the folder.

    Raises:
        ConfigurationError: unset, missing, or no folder.
    """
    if folder is None:
        raise ConfigurationError(VARIABLE, "", "a folder of bar files, since INGESTION_PROVIDER=file")
    if not folder.is_dir():
        raise ConfigurationError(VARIABLE, str(folder), "an existing folder")
    return folder.resolve()


def series_by_symbol(folder: Path, limits: FileLimits, shelf: Shelf = SHELF) -> dict[str, list[Series]]:
    """What every bar file of `folder` (a real path) holds, by symbol; unchanged files are not read again.

    Raises:
        UnsafePathError: a symlink leads out of the folder.
        ContractError: a file cannot be read as bars.
    """
    found: dict[str, list[Series]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(_SUFFIXES) and not path.name.startswith("."):
            for symbol, series in shelf.series(_version(path, folder, limits)).items():
                found.setdefault(symbol, []).append(series)
    if not found:
        raise ConfigurationError(VARIABLE, str(folder), f"a folder with at least one of *{', *'.join(_SUFFIXES)}")
    return found


def _version(path: Path, folder: Path, limits: FileLimits) -> FileVersion:
    real = path.resolve()
    if not real.is_relative_to(folder):
        raise UnsafePathError(str(path), str(folder))
    try:
        facts = os.stat(real)  # noqa: PTH116 - one call for kind, size and time
    except OSError as error:
        raise ContractError(str(path), "file", type(error).__name__, "a readable file") from None
    if not stat.S_ISREG(facts.st_mode):
        raise ContractError(str(path), "kind", "no regular file", "a regular file")
    return FileVersion(real, facts.st_size, facts.st_mtime_ns, limits)


def _described(version: FileVersion, symbol: str, bars: SymbolBars) -> Series:
    days = np.unique(bars.start_us // (DAY_SECONDS * MICROSECONDS))
    return Series(version, symbol, _interval_seconds(version.path, symbol, bars.start_us), days)


def _interval_seconds(path: Path, symbol: str, start_us: Instants) -> int:
    """From the name `bars_<interval>_`, else the most frequent distance between bars."""
    named = _NAMED_INTERVAL.match(path.name)
    if named and int(named[1]):
        return int(named[1]) * _UNIT_SECONDS[named[2]]
    steps = np.diff(start_us)
    steps = steps[steps >= MICROSECONDS] // MICROSECONDS
    if not len(steps):
        expected = "a file name such as bars_5m_NAME.csv, or bars at two times to infer it from"
        raise ContractError(str(path), f"interval of {symbol}", "unknown", expected)
    distances, counts = np.unique(steps, return_counts=True)
    return int(distances[counts.argmax()])


def _held_bytes(bars: Mapping[str, SymbolBars]) -> int:
    return sum(held.start_us.nbytes + held.numbers.nbytes for held in bars.values())
