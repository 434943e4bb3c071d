"""Columns of cells as typed values: exact decimals, whole numbers, dates, months, text.

Each function reads a whole column and answers its values and, as a mask, the rows whose cell says something that the
type cannot hold. An empty cell, and the words a platform writes for "not applicable", are null and not bad.
"""

import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_pipeline.domains.sales.contracts import MONEY
from ingestion_pipeline.domains.sales.workbooks import Column

NOT_APPLICABLE = frozenset(
    {"", "-", "\u2013", "\u2014", "n/a", "na", "n/d", "#n/a", "no aplica", "no disponible", "該当なし"}
)

Sign = Literal[".", ","]

_NUMBER = re.compile(r"[+-]?(\d[\d.,]*|[.,]\d+)(E[+-]?\d{1,2})?", re.IGNORECASE)

# Excel's day 0, with its leap day of 1900 counted; below 1982 and above 2119 a number is not a date of a sales report
_EXCEL_EPOCH = date(1899, 12, 30)
_SERIALS = range(30_000, 80_000)
_LARGEST = Decimal(10) ** 15
_SCALE = Decimal(1).scaleb(-MONEY.scale)

_MONTHS = {
    name: number
    for names in (
        "january february march april may june july august september october november december",
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "ene feb mar abr may jun jul ago sep oct nov dic",
    )
    for number, name in enumerate(names.split(), start=1)
} | {"sept": 9, "setiembre": 9}


@dataclass(frozen=True)
class Values:
    """One value a row; `bad` marks the rows whose cell cannot be one (their value is null)."""

    array: pa.Array
    bad: np.ndarray


def text_values(column: Column) -> pa.Array:
    """Trimmed text, null where nothing stands; a number without its needless decimals, a date in ISO."""
    whole = pc.and_(pc.equal(pc.round(column.number), column.number), pc.less(pc.abs(column.number), 1e15))
    numbers = pc.if_else(whole, pc.cast(pc.cast(pc.if_else(whole, column.number, None), pa.int64()), pa.string()), None)
    numbers = pc.coalesce(numbers, pc.cast(column.number, pa.string()))
    moments = pc.cast(pc.cast(column.moment, pa.date32(), safe=False), pa.string())
    text = pc.coalesce(pc.utf8_trim_whitespace(column.text), numbers, moments)
    return pc.if_else(pc.equal(text, ""), None, text)


def decimals(column: Column, *, sign: Sign | None) -> Values:
    """`MONEY` (half even to its scale).

    `sign` marks decimals where no cell of the column says which does; None: what "1,234" means is then not known.
    """
    return _decimals(column, lambda text, known: parse_decimal(text, sign=known), sign)


def whole_numbers(column: Column, *, sign: Sign | None) -> Values:
    """int64. "1,000" with a decimal comma is not known to be one: it is refused."""
    values = _decimals(column, _whole, sign)
    whole = pc.equal(pc.round(values.array), values.array)
    bad = values.bad | _mask(pc.invert(whole))
    return Values(pc.cast(pc.if_else(whole, values.array, None), pa.int64()), bad)


def proven_signs(column: Column) -> set[Sign]:
    """What marks decimals in a column, as its texts prove: "3,45" does, "1,234" does not."""
    seen = (_cleaned(text) for text in pc.unique(column.text.drop_null()).to_pylist())
    return {sign for text in seen if _NUMBER.fullmatch(text) and (sign := _proven_sign(text))}


def dates(column: Column) -> tuple[Values, Values]:
    """First and last day (date32): ISO day, ISO month, month by name, a date cell, or Excel's serial number."""
    days = pc.cast(column.moment, pa.date32(), safe=False)
    serial = pc.and_(pc.greater_equal(column.number, _SERIALS.start), pc.less(column.number, _SERIALS.stop))
    serials = pc.cast(pc.floor(pc.if_else(serial, column.number, None)), pa.int32())
    from_serial = pc.cast(pc.add(serials, pa.scalar((_EXCEL_EPOCH - date(1970, 1, 1)).days, pa.int32())), pa.date32())
    first_text, bad = _each_text(column.text, lambda text: _span(text)[0], pa.date32())
    last_text, _ = _each_text(column.text, lambda text: _span(text)[1], pa.date32())
    bad = bad | _mask(pc.invert(serial))
    known = pc.coalesce(days, from_serial)
    return Values(pc.coalesce(known, first_text), bad), Values(pc.coalesce(known, last_text), bad)


def parse_decimal(text: str, *, sign: Sign | None) -> Decimal | None:
    """A number as a person or a program of any language writes it.

    Where both signs stand, the last marks the decimals. One sign with groups of exactly three digits after it means
    what `sign` says, or thousands where it stands more than once.

    Raises:
        ValueError: It is no number, one that `MONEY` cannot hold, or `sign` would have to say what it means.
    """
    cleaned = _cleaned(text)
    if cleaned.casefold() in NOT_APPLICABLE:
        return None
    if not _NUMBER.fullmatch(cleaned):
        raise ValueError(text)
    decimal_sign = _proven_sign(cleaned) or sign
    if decimal_sign is None and ("." in cleaned or "," in cleaned):
        raise ValueError(text)
    thousands = "." if decimal_sign == "," else ","
    whole, _, fraction = cleaned.partition(decimal_sign or ".")
    if thousands in fraction or (
        thousands in whole and not re.fullmatch(rf"[+-]?\d{{1,3}}(\{thousands}\d{{3}})+", whole)
    ):
        raise ValueError(text)
    try:
        value = Decimal(f"{whole.replace(thousands, '')}.{fraction}" if fraction else whole.replace(thousands, ""))
    except InvalidOperation:
        raise ValueError(text) from None
    if abs(value) >= _LARGEST:
        raise ValueError(text)
    return value.quantize(_SCALE)


def _whole(text: str, sign: Sign | None) -> Decimal | None:
    if sign and _proven_sign(cleaned := _cleaned(text)) is None and sign in cleaned:
        raise ValueError(text)
    return parse_decimal(text, sign=sign)


def _decimals(column: Column, parse: Callable[[str, Sign | None], Decimal | None], sign: Sign | None) -> Values:
    signs = proven_signs(column)
    known = next(iter(signs)) if len(signs) == 1 else None if signs else sign
    finite = pc.and_(pc.is_finite(column.number), pc.less(pc.abs(column.number), float(_LARGEST)))
    rounded = pc.round(pc.if_else(finite, column.number, None), MONEY.scale, round_mode="half_to_even")
    from_numbers = pc.cast(pc.cast(rounded, pa.string()), MONEY)
    from_text, bad = _each_text(column.text, lambda text: parse(text, known), MONEY)
    bad |= _mask(pc.invert(finite)) | _mask(pc.is_valid(column.moment))
    return Values(pc.coalesce(from_numbers, from_text), bad)


def _cleaned(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).strip()
    return re.sub(r"(?<=\d)[\s'\u2019](?=\d{3})", "", plain).replace("\u2212", "-")


def _proven_sign(number: str) -> Sign | None:
    """What marks decimals in a number, where it says so by itself."""
    if "." in number and "," in number:
        return "." if number.rindex(".") > number.rindex(",") else ","
    sign: Sign = "," if "," in number else "."
    other: Sign = "." if sign == "," else ","
    if not re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}(\{sign}\d{{3}})+", number):
        return sign if sign in number else None
    return other if number.count(sign) > 1 else None


def month_of(text: str) -> date | None:
    """The first day of a month: "2026-03", "March 2026", "Mar-26", "marzo de 2026", "8月 2026", "2026年8月"."""
    folded = unicodedata.normalize("NFKC", text).strip().casefold()
    if match := re.fullmatch(r"(\d{4})[-/.](\d{1,2})", folded) or re.fullmatch(
        r"(\d{4})\s*年\s*(\d{1,2})\s*月", folded
    ):
        year, month = int(match[1]), int(match[2])
    elif match := re.fullmatch(r"(\d{1,2})\s*月[\s,]*(\d{4})\s*年?", folded):
        year, month = int(match[2]), int(match[1])
    elif match := re.fullmatch(r"([^\W\d]+)\.?(?:\s+del?\s+|[\s,/-]+)(\d{4}|\d{2})", folded):
        year, month = int(match[2]) + (2000 if len(match[2]) == 2 else 0), _MONTHS.get(match[1], 0)  # noqa: PLR2004
    else:
        return None
    return date(year, month, 1) if 1 <= month <= 12 and year >= 1990 else None  # noqa: PLR2004


def last_day(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])


def _span(text: str) -> tuple[date | None, date | None]:
    cleaned = unicodedata.normalize("NFKC", text).strip()
    if cleaned.casefold() in NOT_APPLICABLE:
        return None, None
    if match := re.fullmatch(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ]\d{1,2}:\d{2}.*)?", cleaned):
        day = date(int(match[1]), int(match[2]), int(match[3]))
        return day, day
    if re.fullmatch(r"\d{5}(\.\d+)?", cleaned) and int(float(cleaned)) in _SERIALS:
        day = _EXCEL_EPOCH + timedelta(days=int(float(cleaned)))
        return day, day
    if month := month_of(cleaned):
        return month, last_day(month)
    raise ValueError(text)


def _each_text(text: pa.Array, parse: Callable[[str], Any], kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Parses every different text once."""
    encoded = text.dictionary_encode()
    parsed: list[Any] = []
    refused: list[bool] = []
    for value in encoded.dictionary.to_pylist():
        try:
            parsed.append(parse(value))
            refused.append(False)
        except ValueError:
            parsed.append(None)
            refused.append(True)
    if not parsed:
        return pa.nulls(len(text), kind), np.zeros(len(text), dtype=bool)
    return pa.array(parsed, kind).take(encoded.indices), _mask(pa.array(refused).take(encoded.indices))


def _mask(array: pa.Array) -> np.ndarray:
    """Null is False."""
    mask: np.ndarray = pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False)
    return mask
