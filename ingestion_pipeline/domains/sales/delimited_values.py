"""From the text of a cell to a date, an exact decimal, a count, a word.

Here: how a cell is understood. Not here: reading files (delimited.py), rows (delimited_rows.py). A parser takes a text
and returns a value, or raises ValueError with what was expected. What a text alone does not say - day or month first,
comma or point - is decided once for a file, never per row.
"""

import calendar
import re
from collections.abc import Callable, Iterable
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from ingestion_pipeline.domains.sales.contracts import CURRENCIES, MONEY, QuarantineError, nearest

DecimalMark = Literal[".", ","]
DayOrder = Literal["day first", "month first"]
DayOfMonth = Literal["first", "last"]

_PLACES = Decimal(1).scaleb(-MONEY.scale)
_LARGEST = Decimal(10) ** (MONEY.precision - MONEY.scale - 2)  # sums of rows fit as well
_LARGEST_COUNT = 10**12
_FIRST_YEAR, _LAST_YEAR = 1990, 2100
_NOTHING = {"", "n/a", "na", "-", "--", "null", "none", "nan"}
_YES, _NO = {"true", "yes", "1", "y", "t", "x", "verified"}, {"false", "no", "0", "n", "f", "estimated", ""}
_DECORATION = str.maketrans(
    "", "", "$€£¥'\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE} \t"
)
_MARKS: tuple[tuple[DecimalMark, str, str], ...] = ((".", r"\.", ","), (",", ",", r"\."))
_NUMBERS: dict[DecimalMark, re.Pattern[str]] = {
    mark: re.compile(
        rf"[-+]?(\d{{1,3}}({group}\d{{3}})+|\d{{1,2}}({group}\d\d)+{group}\d{{3}}|\d+|(?={point}\d))"
        rf"({point}\d*)?(E[-+]?\d{{1,3}})?",
        re.IGNORECASE | re.ASCII,
    )
    for mark, point, group in _MARKS
}
_ESCAPED = re.compile(r"'(?=[=+\-@])")  # how exports keep a spreadsheet from evaluating a cell
_TIME_OF_DAY = re.compile(r"[T ,]+\d{1,2}:\d{2}.*$", re.IGNORECASE)
_DAY_NAME = re.compile(r"^(mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})\2(\d{1,2})|(\d\d)(\d\d))")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{2})")
_NAMED_DAY_FIRST = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?[-/ .]*([a-z]{3,9})\.?[-/ ,]*(\d{4}|\d{2})", re.IGNORECASE)
_NAMED_MONTH_FIRST = re.compile(r"([a-z]{3,9})\.?[-/ ]*(\d{1,2})(?:st|nd|rd|th)?[-/ ,]+(\d{4}|\d{2})", re.IGNORECASE)
_YEAR_MONTH = re.compile(r"(\d{4})[-/.](\d{1,2})")
_MONTH_YEAR = re.compile(r"(\d{1,2}(?=[-/.])|[a-z]{3,9}(?=[-/., ]))[-/., ]+(\d{4})", re.IGNORECASE)
_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)


def is_blank(text: str) -> bool:
    """Whether a cell says nothing: empty, `N/A`, `-`."""
    return text.strip().casefold() in _NOTHING


def words(text: str) -> str | None:
    """The text without space around it; None where there is none. Nothing else is changed."""
    return text.strip() or None


def identifier(text: str) -> str | None:
    """An id: without the `'` that exports put before `=`, `+`, `-`, `@`, the `="..."` and the `.0` of Excel.

    Not the id of a book but a number that Excel has rounded (`9.78E+12`) is None.
    """
    bare = _ESCAPED.sub("", text.strip(), count=1)
    if bare.startswith('="') and bare.endswith('"'):
        bare = bare[2:-1]
    bare = re.sub(r"^(\d+)\.0+$", r"\1", bare)
    return None if is_blank(bare) or re.fullmatch(r"\d[.,]\d+E\+\d+", bare, re.IGNORECASE) else bare


def isbn(text: str) -> str | None:
    """An ISBN or EAN without hyphens; None where the cell holds none."""
    bare = re.sub(r"[-\s]", "", identifier(text) or "").upper()
    return bare if re.fullmatch(r"\d{9}[\dX]|\d{13}", bare) else None


def currency(text: str, *, name: str) -> str:
    """An ISO 4217 code.

    Raises:
        ValueError: the cell is blank.
        QuarantineError: nobody knows this currency.
    """
    if is_blank(text):
        raise ValueError("an ISO 4217 code such as USD")
    code = text.strip().upper()
    if code not in CURRENCIES:
        raise QuarantineError(f"{name}: unknown currency {text[:20]!r}{nearest(code, CURRENCIES)}")
    return code


def truth(text: str) -> bool:
    """True or false, as people and programs write it; blank is false."""
    folded = text.strip().casefold()
    if folded in _YES | _NO:
        return folded in _YES
    raise ValueError("true or false")


def decimal_mark(texts: Iterable[str], *, name: str) -> DecimalMark:
    """Which character marks decimals in a file whose numbers are `texts`; a point where nothing says so.

    Raises:
        QuarantineError: some numbers have a comma, others a point.
    """
    seen: dict[DecimalMark, str] = {}
    for text in texts:
        bare = _bare_number(text)
        marks = [mark for mark, pattern in _NUMBERS.items() if pattern.fullmatch(bare)]
        if len(marks) == 1:
            seen.setdefault(marks[0], text[:20])
    if len(seen) > 1:
        raise QuarantineError(f"{name}: decimals are marked by a comma ({seen[',']!r}) and a point ({seen['.']!r})")
    return next(iter(seen), ".")


def amounts(mark: DecimalMark) -> Callable[[str], Decimal | None]:
    """A parser of numbers; blank is None. Eight decimals are kept; what Excel left beyond them is rounded off."""
    thousands = "." if mark == "," else ","

    pattern = _NUMBERS[mark]

    def parse(text: str) -> Decimal | None:
        if is_blank(text):
            return None
        bare = _bare_number(text)
        if not pattern.fullmatch(bare):
            raise ValueError("a number")
        value = Decimal(bare.replace(thousands, "").replace(mark, "."))
        if abs(value) >= _LARGEST:
            raise ValueError(f"a number below {_LARGEST:.0e}")
        return value.quantize(_PLACES, ROUND_HALF_EVEN)

    return parse


def required_amounts(mark: DecimalMark) -> Callable[[str], Decimal]:
    """A parser of numbers; blank is refused."""
    parse = amounts(mark)

    def parse_required(text: str) -> Decimal:
        value = parse(text)
        if value is None:
            raise ValueError("a number")
        return value

    return parse_required


def counts(mark: DecimalMark, *, blank: int = 0) -> Callable[[str], int]:
    """A parser of whole numbers, also written as `3.0`."""
    parse = amounts(mark)

    def parse_count(text: str) -> int:
        try:
            value = parse(text)
        except ValueError:
            raise ValueError("a whole number") from None
        if value is None:
            return blank
        if value != value.to_integral_value() or abs(value) > _LARGEST_COUNT:
            raise ValueError("a whole number")
        return int(value)

    return parse_count


def day_order(texts: Iterable[str], *, name: str) -> DayOrder:
    """Whether days or months come first in the dates of a file; where no date says so, a month (a report of the US).

    Raises:
        QuarantineError: some dates can only be day first, others only month first.
    """
    day_first = month_first = points = ""
    for text in texts:
        match = _YEAR_LAST.fullmatch(_bare_day(text))
        if match is None:
            continue
        first, mark, second, _ = match.groups()
        day_first = day_first or (text if int(first) > len(_MONTHS) else "")
        month_first = month_first or (text if int(second) > len(_MONTHS) else "")
        points = points or (text if mark == "." else "")
    if day_first and month_first:
        raise QuarantineError(f"{name}: dates are written day first ({day_first!r}) and month first ({month_first!r})")
    return "day first" if day_first or (points and not month_first) else "month first"


def days(order: DayOrder, *, of_month: DayOfMonth | None = None) -> Callable[[str], date]:
    """A parser of dates: ISO, with month names, with day names, with a time of day, or numbers in `order`.

    A month without a day (`2024-03`, `March 2024`) is refused, or is its day `of_month`.
    """

    def parse(text: str) -> date:
        bare = _bare_day(text)
        try:
            found = (_day_of_month(bare, of_month) if of_month else None) or date(*_year_month_day(bare, order))
        except (ValueError, TypeError):
            raise ValueError("a date such as 2024-03-31") from None
        if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
            raise ValueError(f"a date from {_FIRST_YEAR} to {_LAST_YEAR}")
        return found

    return parse


def _bare_number(text: str) -> str:
    bare = text.translate(_DECORATION).replace("\N{MINUS SIGN}", "-")
    return f"-{bare[1:-1]}" if bare.startswith("(") and bare.endswith(")") else bare


def _bare_day(text: str) -> str:
    return _DAY_NAME.sub("", _TIME_OF_DAY.sub("", text.strip()))


def _year_month_day(text: str, order: DayOrder) -> tuple[int, int, int]:
    if match := _YEAR_FIRST.fullmatch(text):
        year, month, day = match[1], match[3] or match[5], match[4] or match[6]
    elif match := _YEAR_LAST.fullmatch(text):
        first, _, second, year = match.groups()
        day, month = (first, second) if order == "day first" else (second, first)
    elif match := _NAMED_DAY_FIRST.fullmatch(text):
        day, month, year = match.groups()
    elif match := _NAMED_MONTH_FIRST.fullmatch(text):
        month, day, year = match.groups()
    else:
        raise ValueError(text)
    return int(year) + (2000 if len(year) == 2 else 0), _month(month), int(day)  # noqa: PLR2004 - 24 is 2024


def _day_of_month(text: str, which: DayOfMonth) -> date | None:
    """None where the text is not a month without a day."""
    if match := _YEAR_MONTH.fullmatch(text):
        year, month = int(match[1]), _month(match[2])
    elif match := _MONTH_YEAR.fullmatch(text):
        year, month = int(match[2]), _month(match[1])
    else:
        return None
    first = date(year, month, 1)
    return first if which == "first" else first.replace(day=calendar.monthrange(year, month)[1])


def _month(text: str) -> int:
    if text.isdigit():
        return int(text)
    folded = text.casefold()
    for number, name in enumerate(_MONTHS, 1):
        if name.startswith(folded) or folded == name[:4]:
            return number
    raise ValueError(text)
