"""KDP's sheets saved as CSV, and what is set aside because nobody can read it."""

import io
from collections import Counter
from decimal import Decimal

import pytest

from ingestion_pipeline.domains.sales.contracts import (
    SALES_EVENTS,
    QuarantineError,
)
from ingestion_pipeline.domains.sales.kdp import parse
from ingestion_pipeline_tests.domains.sales.kdp_languages import JAPANESE, SPANISH
from ingestion_pipeline_tests.domains.sales.kdp_parsed import (
    DASHBOARD,
    MARCH,
    PRINTED,
    PRIOR_MONTH,
    SALES,
    parsed,
    quarantine,
    rows_of,
)
from ingestion_pipeline_tests.domains.sales.kdp_reports import (
    Order,
    Pages,
    Payment,
    Sale,
    Style,
    delimited,
    estimate_sheets,
    payment_rows,
    prior_month_sheets,
    total_rows,
)

CSV_SHEETS = estimate_sheets([*SALES, *PRINTED], [Pages()], [Order(free=3)], summary=True)


@pytest.mark.parametrize(
    "sheet", ["eBook Royalty", "Paperback Royalty", "Hardcover Royalty", "KENP Read", "Orders Processed"]
)
@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "cp1252"), ("\t", "utf-16")])
def test_a_sheet_saved_as_csv_gives_the_rows_of_the_workbook(sheet: str, delimiter: str, encoding: str):
    data = delimited(CSV_SHEETS[sheet], delimiter=delimiter, encoding=encoding)
    columns = [name for name in SALES_EVENTS.names if name not in ("sheet", "format", "source_report")]
    report = parse(io.BytesIO(data), f"KDP_Dashboard {sheet}.csv")
    assert rows_of(report, *columns) == rows_of(parsed({sheet: CSV_SHEETS[sheet]}), *columns)
    assert set(rows_of(report, "sheet")) == {None}


def test_other_sheets_saved_as_csv_are_recognised_by_their_columns():
    combined = parse(io.BytesIO(delimited(CSV_SHEETS["Combined Sales"])), "sales.csv")
    assert Counter(rows_of(combined, "format")) == {"ebook": 4, "paperback": 2, "hardcover": 1}
    payments = parse(io.BytesIO(delimited(payment_rows([Payment()]))), "export.csv")
    assert payments.payments["payout_currency"].to_pylist() == ["USD"]
    summary = parse(io.BytesIO(delimited(CSV_SHEETS["Summary"])), "summary.csv")
    assert (summary.rows.num_rows, len(summary.skipped)) == (0, 1)
    prior = prior_month_sheets(MARCH.start, SALES, language=SPANISH, style=Style(numbers="comma"))["Regalías de eBooks"]
    spanish = parse(io.BytesIO(delimited(prior, delimiter=";", encoding="cp1252")), "marzo.csv")
    assert (spanish.report, spanish.period, rows_of(spanish, "royalty")[0]) == (
        "kdp_prior_month",
        MARCH,
        Decimal("3.45000000"),
    )
    total = parse(io.BytesIO(delimited(total_rows(SALES, []))), PRIOR_MONTH.replace("xlsx", "csv"))
    assert (total.period, total.rows.num_rows) == (MARCH, 2)


def test_a_shift_jis_file_of_japan_is_read():
    rows = prior_month_sheets(MARCH.start, SALES, language=JAPANESE)["電子書籍のロイヤリティ"]
    report = parse(io.BytesIO(delimited(rows, encoding="cp932")), "report.csv")
    assert (report.period, report.rows.num_rows) == (MARCH, 2)


def test_an_unknown_sheet_is_named_with_the_nearest_known():
    sheets = estimate_sheets([Sale()])
    sheets["eBook Royaltys"] = sheets.pop("eBook Royalty")
    message = quarantine(sheets)
    assert "unknown sheet 'eBook Royaltys'" in message
    assert "nearest known: eBook Royalty" in message
    assert DASHBOARD in message


def test_an_unknown_header_is_named_with_the_nearest_known():
    sheets = estimate_sheets([Sale()])
    sheets["eBook Royalty"][0][14] = "Royaltie"
    message = quarantine(sheets)
    assert "lacks the column 'Royalty'" in message
    assert "'Royaltie' (nearest known: Royalty" in message


def test_a_sheet_without_a_header_row_of_kdp_is_refused():
    assert "no header row of KDP" in quarantine(
        {"eBook Royalty": [["Datum", "Titel", "Autor"], ["2026-03-01", "x", "y"]]}
    )


def test_an_unknown_currency_is_named_with_its_row():
    message = quarantine(estimate_sheets([Sale(), Sale(currency="UDS")]))
    assert "row 3: unknown currency 'UDS'" in message


def test_a_column_or_sheet_that_stands_twice_is_refused():
    sheets = estimate_sheets([Sale()])
    sheets["eBook Royalty"][0][12] = "Royalty"
    assert "'Royalty' stands twice" in quarantine(sheets)
    copied = estimate_sheets([Sale()])
    copied["Regalías de eBooks"] = estimate_sheets([Sale()], language=SPANISH)["Regalías de eBooks"]
    assert "'eBook Royalty' twice" in quarantine(copied)


def test_an_unused_sheet_is_no_reason_to_refuse():
    report = parsed({**estimate_sheets([Sale()]), "Sheet1": []})
    assert ("Sheet1", "the sheet is empty") in [(skipped.sheet, skipped.reason) for skipped in report.skipped]


def test_a_file_of_another_platform_is_refused():
    with pytest.raises(QuarantineError, match="no header row of KDP"):
        parse(io.BytesIO(b"Start Date,End Date,Publisher,Title ID\r\n2026-03-01,2026-03-31,x,1\r\n"), "d2d.csv")
