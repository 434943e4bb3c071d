"""Smashwords' report: cuts, coupons, payments, accrued and credited."""

import io
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.sales import smashwords
from ingestion_pipeline.domains.sales.contracts import PAYMENTS, SALES_EVENTS, Period, QuarantineError
from ingestion_pipeline_tests.domains.sales import d2d_reports
from ingestion_pipeline_tests.domains.sales.smashwords_reports import HEADER, own_sale, payment, report, retailer_sale

NAME = "SmashWords_salesReport-2024-06-08.xls"
CREDITED = "2024-05-02 17:32"


def parse(content: bytes):
    return smashwords.parse(io.BytesIO(content), NAME)


def rows_of(*rows, **over):
    parsed = parse(report(rows, **over))
    assert parsed.problems == []
    return parsed.rows.to_pylist()


def keys_of(*rows):
    return [row["natural_key"] for row in rows_of(*rows)]


def test_a_sale_in_the_own_store_is_a_ledger_row():
    """Every column of the ledger: the author's money is what is left after the cuts."""
    parsed = parse(report([own_sale("1.99")]))
    assert parsed.rows.schema == SALES_EVENTS
    [row] = parsed.rows.to_pylist()
    assert len(row.pop("natural_key")) == 64
    assert row == {
        "platform": "smashwords",
        "storefront": "Smashwords.com",
        "country": None,
        "title_id": "11111",
        "edition_id": "9781732461123",
        "title": "The First Book",
        "author": "Inez Hot (NovelistInezHot)",
        "format": "ebook",
        "kind": "sale",
        "transaction_type": "Sale",
        "royalty_type": None,
        "units_sold": 1,
        "units_refunded": 0,
        "net_units": 1,
        "pages_read": 0,
        "list_price": None,
        "offer_price": Decimal("1.99"),
        "currency": "USD",
        "royalty": Decimal("1.39"),
        "reported_usd": Decimal("1.39"),
        "period_start": date(2024, 3, 17),
        "period_end": date(2024, 3, 17),
        "is_final": True,
        "source_report": "smashwords",
        "sheet": None,
        "row_number": 2,
    }
    assert (parsed.report, parsed.is_final) == ("smashwords", True)
    assert parsed.period == Period(start=date(2024, 3, 17), end=date(2024, 3, 17))


@pytest.mark.parametrize(
    ("location", "country"), [("country_CA", "CA"), ("country_GB", "GB"), ("_", None), ("", None), ("country_QQ", None)]
)
def test_a_location_is_a_country_when_it_says_so(location, country):
    assert rows_of(retailer_sale(location=location))[0]["country"] == country


def test_a_free_copy_is_no_sale():
    [row] = rows_of(own_sale("0", couponCode="GC22Z"))
    assert (row["kind"], row["units_sold"], row["royalty"]) == ("free", 1, 0)


def test_a_negative_quantity_is_a_refund():
    [row] = rows_of(retailer_sale("2.00", quantity=-2))
    assert (row["kind"], row["units_sold"], row["units_refunded"], row["net_units"]) == ("refund", 0, 2, -2)
    assert row["royalty"] == Decimal("-2.40")


def test_accrued_is_an_estimate_until_it_is_credited():
    """The columns that are filled when the store has paid are not part of the key: the sale counts once."""
    accrued, credited = parse(report([retailer_sale()])), parse(report([retailer_sale(credited=CREDITED)]))
    assert (accrued.is_final, credited.is_final) == (False, True)
    assert accrued.rows["reported_usd"].to_pylist() == [None]
    assert credited.rows["reported_usd"].to_pylist() == [Decimal("1.19")]
    assert accrued.rows["natural_key"] == credited.rows["natural_key"]


def test_equal_rows_are_separate_sales():
    """There is no id of a sale: as often as a row occurs, so many sales there were, in every export."""
    free = own_sale("0", couponCode="GC22Z")
    keys = keys_of(free, retailer_sale(), free, free)
    assert len(set(keys)) == 4
    assert keys_of(free, retailer_sale(), free, free) == keys
    assert keys_of(free, free) == [keys[0], keys[2]]


@pytest.mark.parametrize(
    "over",
    [
        {"channel": "Apple"},
        {"location": "country_US"},
        {"id": "22222"},
        {"couponCode": "GC22Z"},
        {"currency": "CAD"},
        {"date": "2024-03-21 0:00"},
        {"date": "2024-03-20 0:01"},
        {"type": "sale"},
    ],
)
def test_every_part_of_the_natural_key_counts(over):
    assert keys_of(retailer_sale() | over) != keys_of(retailer_sale())


def test_a_spreadsheet_may_rewrite_times():
    assert keys_of(own_sale(date="2024-03-17 05:18")) == keys_of(own_sale(date="2024-03-17 5:18"))


def test_payments_are_no_sales():
    """They are kept apart, as money received; nothing adds them to royalties."""
    parsed = parse(report([own_sale(), payment("14.34"), payment("17.97", id="11978", date="2024-06-01 0:00")]))
    assert parsed.rows.num_rows == 1
    assert parsed.totals["royalty USD"] == {"parsed": Decimal("1.39")}
    assert parsed.payments.schema == PAYMENTS
    first, second = parsed.payments.to_pylist()
    assert first["natural_key"] != second["natural_key"]
    assert {name: value for name, value in first.items() if value is not None and name != "natural_key"} == {
        "platform": "smashwords",
        "payment_id": "6518",
        "currency": "USD",
        "net": Decimal("14.34"),
        "payout_currency": "USD",
        "payout_amount": Decimal("14.34"),
        "status": "paid",
        "paid_on": date(2024, 5, 1),
        "row_number": 3,
    }


def test_net_that_is_not_amount_and_cuts_is_a_problem():
    """Cuts are negative: a positive one, or a shifted cell, does not add up."""
    parsed = parse(report([own_sale(), own_sale(smashwordsCut="0.24"), own_sale("2.99")]))
    assert parsed.rows["row_number"].to_pylist() == [2, 4]
    assert [(it.row_number, it.column, it.seen) for it in parsed.problems] == [(3, "net", "1.39")]
    assert parsed.totals["net"]["stated"] == parsed.totals["net"]["parsed"]


def test_a_cut_that_nobody_knows_does_not_hide_sales():
    """With one more column, net is taken as it is; the totals show the difference."""
    rows = [own_sale() | {"newCut": "-0.10", "net": "1.29"}]
    parsed = parse(report(rows, header=[*HEADER, "newCut"]))
    assert parsed.rows["royalty"].to_pylist() == [Decimal("1.29")]
    assert parsed.ignored_columns == {NAME: ["newCut"]}
    assert parsed.totals["net"] == {"stated": Decimal("1.29"), "parsed": Decimal("1.39")}


@pytest.mark.parametrize(
    ("over", "column", "expected"),
    [
        ({"type": "retail sale"}, "type", "one of sale, retailer sale, payment (nearest known: retailer sale"),
        ({"qty": "one"}, "qty", "a whole number"),
        ({"net": ""}, "net", "a number"),
        ({"date": ""}, "date", "a date"),
        ({"id": ""}, "id", "the id of a book"),
        ({"type": "retailer sale", "channel": ""}, "channel", "the name of a store"),
    ],
)
def test_a_bad_row_is_named_and_the_others_go_on(over, column, expected):
    parsed = parse(report([own_sale(), own_sale(**over), retailer_sale()]))
    assert parsed.rows["row_number"].to_pylist() == [2, 4]
    [problem] = parsed.problems
    assert (problem.row_number, problem.column) == (3, column)
    assert problem.expected.startswith(expected)


def test_an_unknown_currency_quarantines_the_file():
    with pytest.raises(QuarantineError, match="unknown currency 'EURO'"):
        parse(report([own_sale(currency="EURO")]))


def test_another_report_is_refused():
    with pytest.raises(QuarantineError, match="not a Smashwords sales report as we know it: column 'type'"):
        parse(d2d_reports.report([d2d_reports.sale()]))


@pytest.mark.parametrize(
    "title", ['"Quoted" and "open', '"', "=1+1", "a,b", "Ünï\N{RIGHT SINGLE QUOTATION MARK}s", '"Whole"']
)
def test_titles_are_kept_as_they_are(title):
    """The text is not quoted: a quotation mark at the beginning is one."""
    assert rows_of(own_sale(title=title), own_sale())[0]["title"] == title


@pytest.mark.parametrize("title", ['Say "no"', "a,b", "tab\tin it", "two\nlines"])
def test_a_file_that_a_spreadsheet_saved_is_read_as_well(title):
    assert rows_of(own_sale(title=title), own_sale(), is_quoted=True, line_end="\r\n")[0]["title"] == title


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("line_end", ["\r", "\n", "\r\n"])
def test_line_ends_and_encodings(encoding, line_end):
    rows = rows_of(own_sale(author="Inès Höt"), retailer_sale(), encoding=encoding, line_end=line_end)
    assert [row["author"] for row in rows] == ["Inès Höt", "Inez Hot (NovelistInezHot)"]


SALES = st.builds(
    lambda price, quantity, day, store, final: (
        own_sale(price, quantity, date=f"{day} 5:18")
        if store is None
        else retailer_sale(price, quantity, channel=store, date=f"{day} 0:00", credited=final)
    ),
    st.decimals("0.01", "99.99", places=2).map(str),
    st.integers(1, 9),
    st.dates(date(2009, 1, 1), date(2030, 1, 1)),
    st.sampled_from([None, "Kobo", "Apple", "Barnes & Noble"]),
    st.sampled_from(["", CREDITED]),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(SALES, max_size=10))
def test_law_what_is_rendered_is_parsed(rows):
    parsed = parse(report(rows))
    assert parsed.problems == []
    for row, found in zip(rows, parsed.rows.to_pylist(), strict=True):
        assert (found["royalty"], found["offer_price"]) == (Decimal(row["net"]), Decimal(row["price"]))
        assert (found["storefront"], found["units_sold"]) == (row["channel"], int(row["qty"]))
        assert found["is_final"] == bool(row["balanceAdjusted"])
    assert parsed.totals["net"]["stated"] == sum(Decimal(row["net"]) for row in rows)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(SALES, max_size=10), data=st.data())
def test_law_parts_of_the_time_are_the_whole(rows, data):
    """An export up to a day and one from that day on have together the keys of the export of all time."""
    cut = data.draw(st.dates(date(2009, 1, 1), date(2030, 1, 1))).isoformat()
    parts = [[row for row in rows if (row["date"] < cut) == is_before] for is_before in (True, False)]
    keys = [key for part in parts for key in keys_of(*part)]
    assert sorted(keys) == sorted(keys_of(*rows))
    assert len(set(keys)) == len(rows)


def test_a_cut_that_was_renamed_quarantines_the_file():
    """Without it `net` could not be checked any more, and nobody would be told."""
    header = ["retailerShare" if column == "retailerCut" else column for column in HEADER]
    row = {("retailerShare" if column == "retailerCut" else column): text for column, text in retailer_sale().items()}
    with pytest.raises(QuarantineError, match="no column 'retailerCut', but an unknown one 'retailerShare'"):
        parse(report([row], header=header))


def test_a_refund_that_pays_is_refused():
    """Copies came back, and money with them: one of the two is wrong."""
    parsed = parse(report([own_sale(), own_sale(quantity=-1, amount="1.99", net="1.63")]))
    assert [("net", "1.63")] == [(it.column, it.seen) for it in parsed.problems]
    assert 1 == parsed.rows.num_rows
