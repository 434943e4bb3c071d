"""Files of publishers, read row by row whatever their size: plain or gzip, told apart by their columns.

Belongs here: what all publishers' files have in common. Does not belong here: one publisher's columns (zillow.py,
redfin.py, realtor.py), what is stored (imports.py).
"""

import csv
import gzip
import math
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ingestion_pipeline.core.errors import ConfigurationError, ContractError

GZIP_MAGIC = b"\x1f\x8b"
SHOWN_COLUMNS, SHOWN_CELLS = 6, 12
LONGEST_CELL = 60
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "zillow": ("RegionID", "SizeRank", "RegionName", "RegionType", "StateName"),
    "redfin": (
        "PERIOD_BEGIN",
        "PERIOD_END",
        "PERIOD_DURATION",
        "REGION_TYPE",
        "TABLE_ID",
        "IS_SEASONALLY_ADJUSTED",
        "REGION",
        "CITY",
        "STATE",
        "STATE_CODE",
        "PROPERTY_TYPE",
    ),
    "realtor": ("month_date_yyyymm", "median_listing_price", "active_listing_count", "median_days_on_market"),
}


class Figure(NamedTuple):
    """One value of one region; which market that is `PublishedFile.markets` says."""

    region_id: str
    metric: str
    as_of: date
    value: float
    revised_at: datetime


class BadCell(NamedTuple):
    """A cell or row that says nothing that we understand."""

    reason: str
    payload: Mapping[str, object]


class Header:
    """The columns of a file, found whatever their case."""

    def __init__(self, cells: Sequence[str]) -> None:
        self.cells = [cell.strip() for cell in cells]
        self._places = {name.lower(): place for place, name in reversed(list(enumerate(self.cells)))}

    def __contains__(self, name: object) -> bool:
        return str(name).lower() in self._places

    def cell(self, row: Sequence[str], name: str) -> str:
        """The cell of `row` in the column `name`; "" where the file has no such column."""
        place = self._places.get(name.lower())
        return "" if place is None else row[place].strip()


@dataclass(kw_only=True)
class PublishedFile(ABC):
    """What a first look at a file found.

    `markets` has the slug of each region, by its id; `revised_at` is as of when the file stands by its values;
    `skipped` counts the rows that the last reading left out on purpose, by why.
    """

    path: Path
    header: Header
    markets: Mapping[str, str]
    revised_at: datetime
    skipped: Counter[str] = field(default_factory=Counter)

    @abstractmethod
    def figures(self) -> Iterator[Figure | BadCell]:
        """Every value of the file; blanks are left out."""


def read_rows(path: Path) -> Iterator[list[str]]:
    """The rows of a CSV or TSV, gzip or not, its header first; empty lines are left out.

    It is tabs that separate where the first line has any.

    Raises:
        ConfigurationError: there is no such file, or it cannot be read.
        ContractError: a truncated or damaged gzip, no text in UTF-8, or no CSV.
    """
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        with (gzip.open if is_gzip else open)(path, "rt", encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            delimiter = "\t" if "\t" in first else ","
            yield from filter(None, csv.reader(chain([first], text), delimiter=delimiter, strict=True))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ContractError(path.name, "gzip", str(error), "a whole file: download it again") from None
    except UnicodeDecodeError as error:
        raise ContractError(path.name, "encoding", f"byte {error.start} is no UTF-8", "text in UTF-8") from None
    except csv.Error as error:
        raise ContractError(path.name, "rows", str(error), "CSV") from None
    except OSError as error:
        raise ConfigurationError("FILE", str(path), f"a file that can be read: {error.strerror}") from None


def header_of(rows: Iterator[list[str]], path: Path, publisher: str) -> Header:
    """The header of a file of `publisher`.

    Raises:
        ContractError: columns are missing; names what was found and what that is nearest to.
    """
    header = Header(next(rows, []))
    missing = [name for name in COLUMNS[publisher] if name not in header]
    if missing:
        raise ContractError(path.name, "header", _shown(header.cells), _expected(header, publisher, missing))
    return header


def _shown(cells: Sequence[str]) -> str:
    names = ", ".join(ascii(cell[:LONGEST_CELL]) for cell in cells[:SHOWN_COLUMNS])
    return f"{names} and {len(cells) - SHOWN_COLUMNS} more" if len(cells) > SHOWN_COLUMNS else names or "empty"


def _expected(header: Header, publisher: str, missing: Sequence[str]) -> str:
    others = [name for name, columns in COLUMNS.items() if all(column in header for column in columns)]
    if others:
        return f"the columns of a {publisher} file; this is one of {others[0]}: `import {others[0]}`"
    found = {cell.lower(): cell for cell in header.cells}
    nearest = {name: get_close_matches(name.lower(), found, n=1) for name in missing}
    hints = [
        f"{name} (nearest is {found[near[0]][:LONGEST_CELL]!a})" if near else name for name, near in nearest.items()
    ]
    return f"the columns of a {publisher} file: {', '.join(hints)}"


def number(cell: str) -> float | None:
    """The number in `cell`; None where it is blank.

    Raises:
        ValueError: it is something else.
    """
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{cell[:LONGEST_CELL]!a}, expected a number or nothing")
    return value


def ragged(row: Sequence[str], header: Header) -> BadCell:
    """A row that has not the columns of its header: cut off, or of something else."""
    return BadCell(f"row has {len(row)} columns, expected {len(header.cells)}", {"row": list(row[:SHOWN_CELLS])})


def midnight_of(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def day(cell: str, name: str, path: Path) -> date:
    """The day in `cell` as YYYY-MM-DD; a time behind it is cut off.

    Raises:
        ContractError: it is something else.
    """
    try:
        return date.fromisoformat(cell[:10])
    except ValueError:
        raise ContractError(path.name, name, ascii(cell[:LONGEST_CELL]), "a day such as 2026-07-31") from None
