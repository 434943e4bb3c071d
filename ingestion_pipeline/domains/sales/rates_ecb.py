"""The European Central Bank's reference rates (eurofxref-hist.csv, or the zip of it) as dollars per unit.

The file says what one euro is worth: one row a day, newest first, one column a currency, `N/A` where there is no rate.
A currency's dollars are the cross rate of the same day; without a dollar rate of the day there is none. Days without
rates (weekends, TARGET holidays) have no row. Any file of this shape will do.
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import pyarrow as pa

from ingestion_pipeline.core.errors import ContractError

MAX_CSV_BYTES = 64 * 1024 * 1024
RATES = pa.schema(
    [
        pa.field("currency", pa.string(), nullable=False),
        pa.field("rate_date", pa.date32(), nullable=False),
        pa.field("usd_per_unit", pa.decimal128(24, 12), nullable=False),
    ]
)
_PLACES = Decimal("0.000000000001")
_MOST, _LEAST = Decimal(10) ** 9, Decimal("0.000000001")
_CODE = re.compile(r"[A-Z]{3}")
_NONE = frozenset({"", "N/A", "-"})
_UNPACKING = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class _Places:
    """Where the columns are: of the dollar, and of every other currency."""

    usd: int
    others: Sequence[tuple[str, int]]


def ecb_rates(file: bytes, name: str) -> pa.Table:
    """`RATES` of the file, of every currency but the dollar, in the order of the file.

    Raises:
        ContractError: It is no such file, or a cell is neither a rate nor `N/A`; the text says which.
    """
    rows = csv.reader(io.StringIO(_text(file, name), newline=""), skipinitialspace=True)
    places = _places(next(rows, []), name)
    try:
        found = list(_rates(rows, places, name))
    except csv.Error as error:
        raise ContractError(name, f"line {rows.line_num}", str(error), "CSV") from None
    if not found:
        raise ContractError(name, "rows", "none", "at least one day with rates")
    currencies, days, values = zip(*found, strict=True)
    return pa.table([list(currencies), list(days), pa.array(values, RATES.field(2).type)], schema=RATES)


def _rates(rows: Iterable[list[str]], places: _Places, name: str) -> Iterator[tuple[str, date, Decimal]]:
    seen: set[date] = set()
    for number, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row):
            continue
        where = f"{name} line {number}"
        day = _day(row[0], where)
        if day in seen:
            raise ContractError(where, "Date", str(day), "each day once")
        seen.add(day)
        usd = _rate(row, places.usd, "USD", where)
        if usd is None:
            continue
        yield "EUR", day, usd.quantize(_PLACES, ROUND_HALF_EVEN)
        for code, place in places.others:
            rate = _rate(row, place, code, where)
            if rate is not None:
                yield code, day, (usd / rate).quantize(_PLACES, ROUND_HALF_EVEN)


def _text(file: bytes, name: str) -> str:
    """The CSV, out of its zip if it comes in one: only the first 64 MB are ever unpacked."""
    if file.startswith(_ZIP):
        try:
            with zipfile.ZipFile(io.BytesIO(file)) as archive:
                members = [it for it in archive.namelist() if it.lower().endswith(".csv")]
                if len(members) != 1:
                    raise ContractError(name, "zip", f"{len(members)} CSV files", "one, such as eurofxref-hist.csv")
                with archive.open(members[0]) as member:
                    file = member.read(MAX_CSV_BYTES + 1)
        except _UNPACKING as error:
            raise ContractError(name, "zip", type(error).__name__, "a zip file that can be unpacked") from None
    if len(file) > MAX_CSV_BYTES:
        raise ContractError(name, "size", f"over {MAX_CSV_BYTES} bytes", f"at most {MAX_CSV_BYTES} bytes")
    try:
        return file.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ContractError(name, "text", ascii(file[:40]), "UTF-8 text") from None


def _places(header: list[str], name: str) -> _Places:
    titles = [cell.strip() for cell in header]
    if not titles or titles[0] != "Date" or "USD" not in titles:
        expected = "Date, USD and other currencies, as in eurofxref-hist.csv"
        raise ContractError(name, "header", ascii(",".join(titles)[:80]), expected)
    codes = [(code, place) for place, code in enumerate(titles) if place and code]
    for code, _ in codes:
        if not _CODE.fullmatch(code):
            raise ContractError(name, "header", ascii(code[:40]), "currencies of three letters, such as GBP")
    if len({code for code, _ in codes}) != len(codes):
        raise ContractError(name, "header", "a currency twice", "each currency once")
    return _Places(dict(codes)["USD"], [(code, place) for code, place in codes if code not in ("USD", "EUR")])


def _day(cell: str, where: str) -> date:
    try:
        return date.fromisoformat(cell.strip())
    except ValueError:
        raise ContractError(where, "Date", ascii(cell[:40]), "a day such as 2026-03-31") from None


def _rate(row: list[str], place: int, code: str, where: str) -> Decimal | None:
    cell = row[place].strip() if place < len(row) else ""
    if cell in _NONE:
        return None
    try:
        rate = Decimal(cell)
        is_rate = _LEAST <= rate <= _MOST
    except InvalidOperation:
        is_rate = False
    if not is_rate:
        raise ContractError(where, code, ascii(cell[:40]), "what one euro is worth, or N/A")
    return rate
