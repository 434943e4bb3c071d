"""Cells as values: what a person or a program of any language writes for one number, one day, one month."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domains.sales.cells import (
    Sign,
    dates,
    decimals,
    last_day,
    month_of,
    parse_decimal,
    text_values,
    whole_numbers,
)
from ingestion_pipeline.domains.sales.workbooks import Column

MONEY = st.decimals(min_value=-999_999_999, max_value=999_999_999, places=2)


def column(*cells: Any) -> Column:
    return Column(
        pa.array([cell if isinstance(cell, str) else None for cell in cells], pa.string()),
        pa.array([cell if isinstance(cell, int | float) else None for cell in cells], pa.float64()),
        pa.array([cell if isinstance(cell, datetime) else None for cell in cells], pa.timestamp("us")),
    )


@pytest.mark.parametrize(
    ("text", "with_point", "with_comma"),
    [
        ("6.99", "6.99", "6.99"),
        ("6,99", "6.99", "6.99"),
        ("1,234", "1234", "1.234"),
        ("1.234", "1.234", "1234"),
        ("0,123", "0.123", "0.123"),
        ("1,234.56", "1234.56", "1234.56"),
        ("1.234,56", "1234.56", "1234.56"),
        ("1.234.567", "1234567", "1234567"),
        ("1\u00a0234,50", "1234.50", "1234.50"),
        ("1'234.50", "1234.50", "1234.50"),
        ("\u22123,45", "-3.45", "-3.45"),
        ("\uff11\uff12", "12", "12"),
        ("+5", "5", "5"),
        (".5", "0.5", "0.5"),
        ("1E3", "1000", "1000"),
        ("3.004217196", "3.0042172", "3.0042172"),
    ],
)
def test_a_number_is_read_as_its_language_writes_it(text: str, with_point: str, with_comma: str):
    assert parse_decimal(text, sign=".") == Decimal(with_point)
    assert parse_decimal(text, sign=",") == Decimal(with_comma)


@pytest.mark.parametrize("text", ["N/A", "n/a", "-", "\u2014", " ", "該当なし", "No aplica"])
def test_words_for_not_applicable_are_no_number_and_no_fault(text: str):
    assert parse_decimal(text, sign=".") is None
    values = decimals(column(text), sign=".")
    assert (values.array.to_pylist(), values.bad.tolist()) == ([None], [False])


@pytest.mark.parametrize(
    "text", ["x", "1,23,4.5", "12,34.5", "1..2", "--1", "=1+1", "$5", "1 2", "1e99", "NaN", "9" * 16]
)
def test_what_is_no_number_is_refused(text: str):
    values = decimals(column(text), sign=".")
    assert (values.array.to_pylist(), values.bad.tolist()) == ([None], [True])


@given(MONEY, st.booleans())
def test_a_rendered_amount_is_read_back(value: Decimal, comma: bool):  # noqa: FBT001
    """With and without thousands signs, in both conventions."""
    english = f"{value:,.2f}"
    text = english.translate(str.maketrans(",.", ".,")) if comma else english
    assert parse_decimal(text, sign="," if comma else ".") == value
    assert parse_decimal(text.replace("." if comma else ",", ""), sign="," if comma else ".") == value


@given(st.lists(MONEY, min_size=1, max_size=50))
def test_an_amount_survives_excels_binary_number(amounts: list[Decimal]):
    values = decimals(column(*map(float, amounts)), sign=".")
    assert values.array.to_pylist() == amounts
    assert not values.bad.any()


def test_numbers_that_no_amount_can_be_are_refused():
    values = decimals(column(float("nan"), float("inf"), 1e16, datetime(2026, 3, 1), 7), sign=".")  # noqa: DTZ001
    assert values.bad.tolist() == [True, True, True, True, False]
    assert values.array.to_pylist() == [None, None, None, None, Decimal(7)]


def test_a_column_says_what_marks_its_decimals():
    """Written by a German Excel below English headers; what the language would say does not count then."""
    assert decimals(column("3,45", "2,415"), sign=".").array.to_pylist() == [Decimal("3.45"), Decimal("2.415")]
    assert decimals(column("3.45", "2.415"), sign=",").array.to_pylist() == [Decimal("3.45"), Decimal("2.415")]
    assert decimals(column("1,234.50", "2,415"), sign=",").array.to_pylist() == [Decimal("1234.50"), Decimal(2415)]


@pytest.mark.parametrize(("cells", "sign"), [(("3,45", "6.90", "2,415"), "."), (("7", "3", "2,415"), None)])
def test_a_number_that_could_be_two_is_refused(cells: tuple[str, ...], sign: Sign | None):
    assert decimals(column(*cells), sign=sign).bad.tolist() == [False, False, True]


def test_a_thousand_units_are_not_one():
    assert whole_numbers(column("1,000"), sign=",").bad.tolist() == [True]
    assert whole_numbers(column("1.000"), sign=",").array.to_pylist() == [1000]


def test_whole_numbers_have_no_fraction():
    values = whole_numbers(column(1.0, "2", "1,000", 2.5, "2.5", None, "N/A"), sign=".")
    assert values.array.to_pylist() == [1, 2, 1000, None, None, None, None]
    assert values.bad.tolist() == [False, False, False, True, True, False, False]


def test_a_day_is_read_in_every_form():
    cells = ["2026-03-01", "2026/3/1", "2026-03-01 00:00:00", 46082, 46082.75, "46082", datetime(2026, 3, 1, 23)]  # noqa: DTZ001
    first, last = dates(column(*cells))
    assert set(first.array.to_pylist()) == set(last.array.to_pylist()) == {date(2026, 3, 1)}
    assert not first.bad.any()


def test_a_month_is_a_span():
    first, last = dates(column("2026-02", "February 2026", "febrero de 2026", "2月 2026", "Feb-26"))
    assert set(first.array.to_pylist()) == {date(2026, 2, 1)}
    assert set(last.array.to_pylist()) == {date(2026, 2, 28)}


def test_what_is_no_day_is_refused():
    first, last = dates(column("01/03/2026", "2026-13-01", "2026-02-30", 3, "soon", None))
    assert first.bad.tolist() == last.bad.tolist() == [True, True, True, True, True, False]


@pytest.mark.parametrize(
    "text", ["", "March", "2026", "Smarch 2026", "13月 2026", "2026-00", "1850-01", "March 2026 x"]
)
def test_what_is_no_month_is_none(text: str):
    assert month_of(text) is None


@given(st.dates(min_value=date(1990, 1, 1), max_value=date(2099, 12, 31)))
def test_a_months_last_day_is_followed_by_the_next_month(day: date):
    assert month_of(f"{day:%Y-%m}") == day.replace(day=1)
    assert date.fromordinal(last_day(day).toordinal() + 1).day == 1


def test_text_is_what_a_person_sees():
    cells = [" x ", 1984, 1984.5, 9781980000001, datetime(2026, 3, 1), "   ", None]  # noqa: DTZ001
    assert text_values(column(*cells)).to_pylist() == ["x", "1984", "1984.5", "9781980000001", "2026-03-01", None, None]
