"""Draft2Digital's reports: every variant that FORMATS E3 documents, damaged ones, and the laws of the parser."""

import io
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.sales import draft2digital
from ingestion_pipeline.domains.sales.contracts import SALES_EVENTS, Period, QuarantineError, natural_keys
from ingestion_pipeline.domains.sales.delimited_rows import keys
from ingestion_pipeline_tests.domains.sales import d2d_reports
from ingestion_pipeline_tests.domains.sales.d2d_reports import apple_window, report, sale

MARCH = date(2024, 3, 5)


def parse(content: bytes, name: str = "d2d.csv"):
    return draft2digital.parse(io.BytesIO(content), name)


def rows_of(*rows, **format_):
    parsed = parse(report(rows, **format_))
    assert parsed.problems == []
    return parsed.rows.to_pylist()


def without_place(rows):
    return [{name: value for name, value in row.items() if name != "row_number"} for row in rows]


def test_an_ebook_sale_is_a_ledger_row():
    """Every column of the ledger, from one row of the report."""
    parsed = parse(report([sale(MARCH, sold=3, returned=1, currency="EUR", Country="DE")]))
    assert parsed.rows.schema == SALES_EVENTS
    [row] = parsed.rows.to_pylist()
    assert (
        row.pop("natural_key")
        == parse(report([sale(MARCH, sold=9, returned=0, currency="EUR", Country="DE")])).rows["natural_key"][0].as_py()
    )
    assert row == {
        "platform": "draft2digital",
        "storefront": "Kobo Books",
        "country": "DE",
        "title_id": "100200",
        "edition_id": "9781732461123",
        "title": "The First Book",
        "author": "Inez Hot",
        "format": "ebook",
        "kind": "sale",
        "transaction_type": "Retail",
        "royalty_type": "60%",
        "units_sold": 3,
        "units_refunded": 1,
        "net_units": 2,
        "pages_read": 0,
        "list_price": Decimal("4.99"),
        "offer_price": Decimal("4.99"),
        "currency": "EUR",
        "royalty": Decimal("5.988"),
        "reported_usd": Decimal("6.5868"),
        "period_start": MARCH,
        "period_end": MARCH,
        "is_final": True,
        "source_report": "d2d_ebook",
        "sheet": None,
        "row_number": 2,
    }
    assert (parsed.report, parsed.period, parsed.is_final) == ("d2d_ebook", Period(start=MARCH, end=MARCH), True)
    assert parsed.totals == {"net_units": {"parsed": 2}, "royalty EUR": {"parsed": Decimal("5.988")}}
    assert parsed.payments.num_rows == 0


def test_the_optional_column_changes_nothing():
    one, other = (rows_of(sale(), header=it) for it in (d2d_reports.EBOOK, d2d_reports.EBOOK_PER_UNIT))
    assert one == other


def test_a_print_report_is_told_by_its_isbn_column():
    """The print edition of a title is another row of the ledger than its ebook."""
    parsed = parse(report([sale()], header=d2d_reports.PRINT))
    [row] = parsed.rows.to_pylist()
    assert (row["format"], row["source_report"], row["edition_id"]) == ("paperback", "d2d_print", "9781732461130")
    assert row["natural_key"] != rows_of(sale())[0]["natural_key"]


def test_apple_reports_windows_across_months():
    [row] = rows_of(apple_window(date(2024, 2, 25), days=35))
    assert (row["period_start"], row["period_end"]) == (date(2024, 2, 25), date(2024, 3, 30))


@pytest.mark.parametrize(
    ("others", "start", "end"),
    [
        ([], date(2024, 3, 30), date(2024, 3, 30)),
        ([sale(MARCH), sale(date(2024, 3, 9))], MARCH, date(2024, 3, 9)),
        ([sale(MARCH, date(2024, 3, 31))], MARCH, date(2024, 3, 31)),
        ([apple_window(date(2024, 3, 31), days=28)], date(2024, 3, 30), date(2024, 4, 27)),
    ],
)
def test_the_period_of_a_report_is_of_its_rows_within_a_month(others, start, end):
    """A window that begins in the month before does not make it a report of that month too."""
    assert parse(report([apple_window(date(2024, 2, 25)), *others])).period == Period(start=start, end=end)


@pytest.mark.parametrize(
    ("text", "is_final"), [("True", True), ("TRUE", True), ("Yes", True), ("1", True), ("False", False), ("", False)]
)
def test_verified_is_final(text, is_final):
    parsed = parse(report([sale(Verified=text)]))
    assert (parsed.rows["is_final"][0].as_py(), parsed.is_final) == (is_final, is_final)


def test_a_verified_row_replaces_its_estimate():
    """Amounts change until a vendor confirms: they are not part of the natural key."""
    estimate = rows_of(sale(Verified="False", Publisher_Share="5.5"))[0]
    final = rows_of(sale(Verified="True", Publisher_Share="5.988", Units_Sold="3", Net_Unit_Sales="3"))[0]
    assert estimate["natural_key"] == final["natural_key"]
    assert (estimate["royalty"], final["royalty"]) == (Decimal("5.5"), Decimal("5.988"))


@pytest.mark.parametrize(
    "over",
    [
        {"Start Date": "2024-03-04"},
        {"End Date": "2024-03-06"},
        {"Title ID": "7"},
        {"Distributor": "Apple"},
        {"Vendor": "Kobo Plus"},
        {"Country": "CA"},
        {"Sales Model": "Subscription"},
        {"Currency Code": "CAD"},
        {"Offer Price Per Unit": "3.99"},
    ],
)
def test_every_part_of_the_natural_key_counts(over):
    assert rows_of(sale() | over)[0]["natural_key"] != rows_of(sale())[0]["natural_key"]


def test_without_a_title_id_the_isbn_is_the_title():
    [row] = rows_of(sale(Title_ID=""))
    assert row["title_id"] == row["edition_id"] == "9781732461123"


@pytest.mark.parametrize(
    ("text", "edition"),
    [
        ("9781732461123.0", "9781732461123"),
        ("978-1-7324611-2-3", "9781732461123"),
        ('="9781732461123"', "9781732461123"),
        ("123456789x", "123456789X"),
        ("9.78173E+12", None),
        ("", None),
        ("n/a", None),
    ],
)
def test_an_isbn_survives_a_spreadsheet(text, edition):
    """Excel adds `.0`, or rounds: a rounded one is no ISBN any more."""
    assert rows_of(sale(Ebook_ISBN=text))[0]["edition_id"] == edition


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (sale(), "sale"),
        (sale(sold=0, returned=2), "refund"),
        (sale(List_Price_Per_Unit="0", offer="0"), "free"),
        (sale(List_Price_Per_Unit="0.00", offer="0", sold=40), "free"),
        (sale(sold=0, Publisher_Share="-1.25"), "adjustment"),
    ],
)
def test_the_kind_follows_from_units_and_price(row, kind):
    assert rows_of(row)[0]["kind"] == kind


def test_a_refund_takes_money_back():
    [row] = rows_of(sale(sold=0, returned=2))
    assert (row["units_sold"], row["units_refunded"], row["net_units"]) == (0, 2, -2)
    assert row["royalty"] == Decimal("-5.988")


def test_returns_may_be_written_as_negative_numbers():
    [row] = rows_of(sale(sold=3, returned=1, Units_Returned="-1"))
    assert (row["units_refunded"], row["net_units"]) == (1, 2)


def test_rows_without_dates_at_the_end_are_left_out_and_counted():
    parsed = parse(report([sale(), {"Title": "Total", "Publisher Share": "5.988"}, {"Title": "generated by D2D"}, {}]))
    assert parsed.rows.num_rows == 1
    assert [it.reason for it in parsed.skipped] == ["2 rows without dates below the last sale"]
    assert parsed.problems == []


def test_a_row_without_dates_between_sales_is_a_problem():
    parsed = parse(report([sale(), sale(Start_Date="", End_Date=""), sale(MARCH + timedelta(1))]))
    assert parsed.rows["row_number"].to_pylist() == [2, 4]
    assert [(it.row_number, it.column, it.seen) for it in parsed.problems] == [(3, "Start Date", "")]


@pytest.mark.parametrize(
    ("distributor", "vendor", "storefront"),
    [
        ("Smashwords", "Smashwords Store", "Smashwords Store"),
        ("Smashwords", "Kobo", "Smashwords: Kobo"),
        ("smashwords", "Library", "Smashwords: Library"),
        ("Smashwords", "", "Smashwords"),
        ("Apple", "", "Apple"),
        ("Apple", "Apple Books", "Apple Books"),
    ],
)
def test_what_smashwords_sold_is_marked(distributor, vendor, storefront):
    assert rows_of(sale(Distributor=distributor, Vendor=vendor))[0]["storefront"] == storefront


DAY_FORMATS = ["%Y-%m-%d", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m/%d/%y", "%b %d, %Y", "%d %B %Y"]
DAY_FORMATS += [
    "%A, %B %d, %Y",
    "%a %d-%b-%y",
    "%Y-%m-%d 00:00:00",
    "%Y-%m-%dT00:00:00Z",
    "%m/%d/%Y 12:00:00 AM",
    "%Y%m%d",
]


@pytest.mark.parametrize("day_format", DAY_FORMATS)
def test_dates_are_read_however_they_are_written(day_format):
    """One of the days is after the 12th, which decides for the whole file."""
    days = [date(2024, 3, 5), date(2024, 3, 25)]
    assert [row["period_start"] for row in rows_of(*(sale(it, day_format=day_format) for it in days))] == days


@pytest.mark.parametrize("text", ["2024-11", "11/2024", "November 2024", "Nov. 2024", "nov-2024", "2024/11"])
def test_a_month_is_its_days(text):
    """The first as Start Date, the last as End Date; beside other dates too."""
    rows = rows_of(sale() | {"Start Date": text, "End Date": text}, sale() | {"End Date": text}, sale())
    found = [(row["period_start"], row["period_end"]) for row in rows]
    assert found == [(date(2024, 11, 1), date(2024, 11, 30)), (MARCH, date(2024, 11, 30)), (MARCH, MARCH)]


@pytest.mark.parametrize(
    ("other", "day"),
    [("25.03.2024", date(2024, 3, 5)), ("03.25.2024", date(2024, 5, 3)), ("05.03.2024", date(2024, 3, 5))],
)
def test_points_are_a_hint_of_day_first_and_no_more(other, day):
    rows = rows_of(sale(Start_Date="05.03.2024", End_Date="05.03.2024"), sale(Start_Date=other, End_Date=other))
    assert rows[0]["period_start"] == day


@pytest.mark.parametrize(("other", "order"), [("25/03/2024", "%d/%m/%Y"), ("03/25/2024", "%m/%d/%Y")])
def test_day_or_month_first_is_decided_once_for_a_file(other, order):
    """A row that could be either follows the row that could not."""
    rows = rows_of(sale(Start_Date="05/03/2024", End_Date="05/03/2024"), sale(Start_Date=other, End_Date=other))
    expected = date(2024, 3, 5) if order == "%d/%m/%Y" else date(2024, 5, 3)
    assert [row["period_start"] for row in rows] == [expected, date(2024, 3, 25)]


def test_a_file_that_never_says_is_read_month_first():
    [row] = rows_of(sale(Start_Date="05/03/2024", End_Date="05/03/2024"))
    assert row["period_start"] == date(2024, 5, 3)


def test_dates_in_both_orders_are_refused():
    with pytest.raises(QuarantineError, match=r"day first \('25/03/2024'\) and month first \('03/25/2024'\)"):
        parse(
            report(
                [sale(day_format="%d/%m/%Y", start=date(2024, 3, 25)), sale(date(2024, 3, 25), day_format="%m/%d/%Y")]
            )
        )


def test_decimal_commas_are_decided_once_for_a_file():
    """As a German spreadsheet saves it: semicolons, commas, points between thousands."""
    cells = {"Publisher Share": "1.234,56", "Offer Price Per Unit": "4,99", "List Price Per Unit": "1.000"}
    cells |= {"Publisher Share USD (estimated)": "1.300,5", "Royalty Percent": "60%", "Units Sold": "1.002"}
    cells |= {"Net Unit Sales": "1.002"}
    [row] = rows_of(sale() | cells, delimiter=";")
    assert (row["royalty"], row["offer_price"], row["list_price"]) == (
        Decimal("1234.56"),
        Decimal("4.99"),
        Decimal(1000),
    )
    assert (row["units_sold"], row["reported_usd"]) == (1002, Decimal("1300.5"))


def test_commas_and_points_as_marks_are_refused():
    with pytest.raises(QuarantineError, match=r"comma \('4,99'\) and a point"):
        parse(report([sale(Offer_Price_Per_Unit="4,99")]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$1,234.50", "1234.5"),
        ("(2.10)", "-2.1"),
        ("\N{MINUS SIGN}2.10", "-2.1"),
        ("1E-3", "0.001"),
        (".5", "0.5"),
        ("+7", "7"),
        ("2.4499999999999997", "2.45"),
        ("1,23,456.5", "123456.5"),
    ],
)
def test_amounts_are_exact(text, value):
    """Eight decimals are kept; what binary numbers leave beyond them is rounded off."""
    assert rows_of(sale(Publisher_Share=text))[0]["royalty"] == Decimal(value)


@pytest.mark.parametrize(
    ("cells", "column", "expected"),
    [
        ({"Publisher_Share": "much"}, "Publisher Share", "a number"),
        ({"Publisher_Share": ""}, "Publisher Share", "a number"),
        ({"Publisher_Share": "1,2,3"}, "Publisher Share", "a number"),
        ({"Publisher_Share": "1e99"}, "Publisher Share", "a number below"),
        ({"Publisher_Share": "NaN1"}, "Publisher Share", "a number"),
        ({"Publisher_Share": "=1+1"}, "Publisher Share", "a number"),
        ({"Units_Sold": "2.5"}, "Units Sold", "a whole number"),
        ({"Net_Unit_Sales": "7"}, "Net Unit Sales", "Units Sold less Units Returned"),
        ({"Start_Date": "yesterday"}, "Start Date", "a date"),
        ({"Start_Date": "2024-02-30"}, "Start Date", "a date"),
        ({"Start_Date": "2024-13"}, "Start Date", "a date"),
        ({"Start_Date": "202411"}, "Start Date", "a date"),
        ({"Start_Date": "5 Floreal 2024"}, "Start Date", "a date"),
        ({"Start_Date": "0024-02-03"}, "Start Date", "a date from 1990"),
        ({"End_Date": "2024-03-01"}, "End Date", "a day not before Start Date"),
        ({"Title_ID": "", "Ebook_ISBN": ""}, "Title ID", "an id, or an ISBN"),
        ({"Distributor": "", "Vendor": ""}, "Vendor", "the name of a store"),
        ({"Verified": "perhaps"}, "Verified", "true or false"),
        ({"Currency_Code": ""}, "Currency Code", "an ISO 4217 code"),
    ],
)
def test_a_bad_row_is_named_and_the_others_go_on(cells, column, expected):
    parsed = parse(report([sale(), sale(**cells), sale(MARCH + timedelta(1))]))
    assert parsed.rows["row_number"].to_pylist() == [2, 4]
    [problem] = parsed.problems
    assert (problem.row_number, problem.column) == (3, column)
    assert problem.expected.startswith(expected)
    assert problem.seen == cells.get(column.replace(" ", "_"), "")


def test_an_unknown_currency_quarantines_the_file():
    with pytest.raises(QuarantineError, match=r"d2d.csv: unknown currency 'USX' \(nearest known: .*USD"):
        parse(report([sale(), sale(currency="USX")]))


def test_a_missing_column_is_named_with_the_nearest():
    """A new version of the report is not half read."""
    header = ["Publisher's Share" if it == "Publisher Share" else it for it in d2d_reports.EBOOK]
    with pytest.raises(
        QuarantineError, match=r"column 'Publisher Share' is missing.*nearest in the file: Publisher's Share"
    ):
        parse(report([sale()], header=header))


@pytest.mark.parametrize(("header", "found"), [(["Ebook ISBN", "Paperback ISBN"], "both"), ([], "neither")])
def test_a_report_is_of_one_kind(header, found):
    columns = [it for it in d2d_reports.EBOOK if "ISBN" not in it]
    with pytest.raises(QuarantineError, match=found):
        parse(report([sale()], header=columns + header))


def test_added_columns_are_ignored_and_listed():
    parsed = parse(report([sale()], header=["My notes", *d2d_reports.EBOOK, "Series"]))
    assert parsed.ignored_columns == {"d2d.csv": ["My notes", "Series"]}
    assert parsed.rows.num_rows == 1


def test_headers_are_found_by_name_in_any_order_and_case():
    header = [f" {it.upper()} " for it in reversed(d2d_reports.EBOOK)]
    row = {f" {name.upper()} ": text for name, text in sale().items()}
    assert without_place(parse(report([row], header=header)).rows.to_pylist()) == without_place(rows_of(sale()))


@pytest.mark.parametrize(
    "title", ['=HYPERLINK("http://x")', "+1", "-2", "@SUM(A1)", "'quoted", 'He said "no"', "a,b;c\td", "Zeile\nzwei"]
)
def test_words_are_kept_as_they_are(title):
    """Nothing is evaluated, nothing is stripped: escaping is for those who export to a spreadsheet."""
    assert rows_of(sale(Title=title))[0]["title"] == title


def test_a_header_alone_is_a_period_without_sales():
    parsed = parse(report([]), "D2D_Sales_2024-02.csv")
    assert (parsed.rows.num_rows, parsed.period) == (0, Period(start=date(2024, 2, 1), end=date(2024, 2, 29)))
    assert parsed.is_final


def test_equal_rows_of_a_file_count_each():
    """Two rows that differ in nothing but amounts are two sales; a second export of both changes nothing."""
    rows = [sale(), sale(Royalty_Percent="0.5", Publisher_Share="3"), sale(MARCH + timedelta(1))]
    first, again = (parse(report(rows)).rows["natural_key"].to_pylist() for _ in range(2))
    assert len(set(first)) == 3
    assert first == again


def test_more_bad_rows_than_good_sense_quarantine_the_file():
    with pytest.raises(QuarantineError, match="more than 1,000 rows cannot be read; the last is row 1002: Units Sold"):
        parse(report(sale(Units_Sold="?") for _ in range(1200)))


RETAILERS = st.sampled_from([("Kobo", "Kobo Books"), ("Apple", "Apple Books"), ("Smashwords", "Smashwords Store")])
SALES = st.builds(
    lambda day, span, sold, returned, cents, currency, country, retailer, title: sale(
        day,
        day + timedelta(days=span),
        sold=sold,
        returned=returned,
        offer=str(Decimal(cents).scaleb(-2)),
        currency=currency,
        Country=country,
        Distributor=retailer[0],
        Vendor=retailer[1],
        Title=title,
    ),
    st.dates(date(2010, 1, 1), date(2035, 12, 31)),
    st.integers(0, 40),
    st.integers(0, 10**6),
    st.integers(0, 50),
    st.integers(0, 10**7),
    st.sampled_from(["USD", "EUR", "GBP", "JPY"]),
    st.sampled_from(["US", "DE", "GB", "JP"]),
    RETAILERS,
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1).filter(lambda it: it.strip() == it),
)
FORMATS = st.fixed_dictionaries(
    {
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
        "delimiter": st.sampled_from([",", ";", "\t"]),
        "line_end": st.sampled_from(["\n", "\r\n", "\r"]),
        "header": st.permutations(d2d_reports.EBOOK),
    }
)


def rendered_again(row) -> dict[str, str]:
    """What `sale` was given, from a ledger row."""
    return {
        "Start Date": row["period_start"].isoformat(),
        "End Date": row["period_end"].isoformat(),
        "Title": row["title"],
        "Vendor": row["storefront"],
        "Country": row["country"],
        "Units Sold": str(row["units_sold"]),
        "Units Returned": str(row["units_refunded"]),
        "Net Unit Sales": str(row["net_units"]),
        "Currency Code": row["currency"],
        "Offer Price Per Unit": str(row["offer_price"].normalize()),
        "Publisher Share": str(row["royalty"].normalize()),
    }


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(SALES, max_size=12), format_=FORMATS)
def test_law_what_is_rendered_is_parsed(rows, format_):
    """Whatever the encoding, delimiter, line ends and order of columns: parse after render loses nothing."""
    parsed = parse(report(rows, **format_))
    assert parsed.problems == []
    assert parsed.rows["row_number"].to_pylist() == list(range(2, len(rows) + 2))
    for row, found in zip(rows, parsed.rows.to_pylist(), strict=True):
        again = rendered_again(found)
        for column in ("Offer Price Per Unit", "Publisher Share"):
            assert Decimal(again.pop(column)) == Decimal(row[column])
        assert again == {column: row[column] for column in again}
    assert parsed.totals["net_units"]["parsed"] == sum(int(row["Net Unit Sales"]) for row in rows)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(SALES, max_size=12, unique_by=lambda it: it["Start Date"]), data=st.data())
def test_law_two_halves_are_the_whole(rows, data):
    """Exports of parts of the time give the rows of the export of all of it, with the same keys."""
    cut = data.draw(st.integers(0, len(rows)))
    halves = [parse(report(part)).rows.to_pylist() for part in (rows[:cut], rows[cut:])]
    assert without_place([row for half in halves for row in half]) == without_place(
        parse(report(rows)).rows.to_pylist()
    )


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["", "1", None])), min_size=1, max_size=40
    )
)
def test_law_keys_are_the_contract_s(parts):
    """Keys of columns are the keys of rows, whatever repeats."""
    columns = [pa.array(column, pa.string()) for column in zip(*parts, strict=True)]
    assert keys(["d2d", *columns]).to_pylist() == natural_keys(["d2d", *row] for row in parts)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(SALES, max_size=8))
def test_law_keys_are_distinct_and_repeatable(rows):
    """However many rows look alike, each counts once, in this export and in the next."""
    doubled = [*rows, *rows]
    keys = parse(report(doubled)).rows["natural_key"].to_pylist()
    assert len(set(keys)) == len(keys) == 2 * len(rows)
    assert parse(report(doubled)).rows["natural_key"].to_pylist() == keys
    assert parse(report(rows)).rows["natural_key"].to_pylist() == keys[: len(rows)]


def test_a_free_copy_may_state_neither_money_nor_currency():
    """It is worth nothing in any."""
    free = sale(List_Price_Per_Unit="0", offer="0", Publisher_Share="", Currency_Code="")
    [found] = rows_of(free)
    assert (found["kind"], found["royalty"], found["currency"]) == ("free", Decimal(0), "USD")
    assert ["Publisher Share"] == [it.column for it in parse(report([sale(), sale(Publisher_Share="")])).problems]
