"""Gumroad's sales, from the API and from the dashboard's CSV: the same ledger rows, each sale once."""

import io
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.sales import gumroad
from ingestion_pipeline.domains.sales.contracts import SALES_EVENTS, Period, QuarantineError
from ingestion_pipeline.domains.sales.gumroad_sales import parse_sales
from ingestion_pipeline_tests.domains.sales import d2d_reports
from ingestion_pipeline_tests.domains.sales.gumroad_reports import HEADER, Purchase, report, row, sale

NAME = "Sales.csv"


def parse(content: bytes):
    return gumroad.parse(io.BytesIO(content), NAME)


def from_api(*purchases, **over):
    parsed = parse_sales([sale(it, **over) for it in purchases])
    assert parsed.problems == []
    return parsed.rows.to_pylist()


def from_csv(*purchases, **over):
    parsed = parse(report([row(it, **over) for it in purchases]))
    assert parsed.problems == []
    return parsed.rows.to_pylist()


def without_place(rows):
    return [{name: value for name, value in it.items() if name not in {"row_number", "source_report"}} for it in rows]


def test_a_sale_of_the_api_is_a_ledger_row():
    """Every column of the ledger: cents are dollars exactly, the fee and the affiliate's part are taken off."""
    parsed = parse_sales([sale(Purchase(price=999, fee=130, affiliate=250, quantity=3))])
    assert parsed.rows.schema == SALES_EVENTS
    [found] = parsed.rows.to_pylist()
    assert len(found.pop("natural_key")) == 64
    assert found == {
        "platform": "gumroad",
        "storefront": "Gumroad",
        "country": "GB",
        "title_id": "firstbook",
        "edition_id": None,
        "title": "The First Book (EPUB)",
        "author": None,
        "format": "ebook",
        "kind": "sale",
        "transaction_type": "Sale",
        "royalty_type": None,
        "units_sold": 3,
        "units_refunded": 0,
        "net_units": 3,
        "pages_read": 0,
        "list_price": None,
        "offer_price": Decimal("3.33"),
        "currency": "USD",
        "royalty": Decimal("6.19"),
        "reported_usd": Decimal("6.19"),
        "period_start": date(2024, 3, 5),
        "period_end": date(2024, 3, 5),
        "is_final": True,
        "source_report": "gumroad_api",
        "sheet": None,
        "row_number": 1,
    }
    assert parsed.period == Period(start=date(2024, 3, 5), end=date(2024, 3, 5))
    assert parsed.totals == {"net_units": {"parsed": 3}, "royalty USD": {"parsed": Decimal("6.19")}}


WHOLE, PART = {"refunded": 999}, {"refunded": 333}
FATES = [
    ({}, "sale", "Sale", 1, "8.69"),
    ({"price": 0, "fee": 0}, "free", "Sale", 1, "0"),
    (WHOLE, "refund", "Refunded", 0, "0"),
    (PART, "sale", "Partially refunded", 1, "5.79"),
    ({"is_disputed": True}, "refund", "Charged back", 0, "0"),
    ({"is_disputed": True, "is_dispute_won": True}, "sale", "Sale", 1, "8.69"),
    ({"is_disputed": True, "is_dispute_won": True} | WHOLE, "refund", "Refunded", 0, "0"),
    ({"is_gift": True}, "sale", "Gift", 1, "8.69"),
    ({"is_recurring": True}, "sale", "Recurring charge", 1, "8.69"),
]


@pytest.mark.parametrize(("fate", "kind", "transaction", "net_units", "royalty"), FATES)
@pytest.mark.parametrize("read", [from_api, from_csv])
def test_what_became_of_a_sale(read, fate, kind, transaction, net_units, royalty):
    """Refunds, whole and partial, chargebacks, disputes lost and won, gifts: one row, with the day of the sale."""
    [found] = read(Purchase(**fate))
    assert (found["kind"], found["transaction_type"], found["net_units"]) == (kind, transaction, net_units)
    assert (found["units_sold"], found["royalty"]) == (1, Decimal(royalty))


@pytest.mark.parametrize("fate", [WHOLE, PART, {"is_disputed": True}])
@pytest.mark.parametrize("read", [from_api, from_csv])
def test_a_sale_that_was_refunded_later_replaces_itself(read, fate):
    """The key is the sale's id alone: what the trailing re-scan finds changes the row, it adds none."""
    assert read(Purchase(**fate))[0]["natural_key"] == read(Purchase())[0]["natural_key"]
    assert read(Purchase(id="other=="))[0]["natural_key"] != read(Purchase())[0]["natural_key"]


def test_a_sale_read_twice_counts_once_as_it_was_last():
    """A page that was read again after a restart."""
    parsed = parse_sales([sale(Purchase()), sale(Purchase(id="b")), sale(Purchase(refunded=999))])
    assert [(it["row_number"], it["kind"]) for it in parsed.rows.to_pylist()] == [(3, "refund"), (2, "sale")]


def test_a_partial_refund_in_another_currency_is_a_part_of_the_price():
    """`price` is US cents, what may still be refunded is in the product's currency."""
    over = {
        "currency_symbol": "€",
        "formatted_display_price": "€1,200.50 a month",
        "amount_refundable_in_currency": "600.25",
    }
    [found] = from_api(Purchase(price=1000, fee=100, refunded=1), **over)
    assert found["royalty"] == Decimal("4.50")


@pytest.mark.parametrize(
    "over",
    [
        {"amount_refundable_in_currency": None},
        {"amount_refundable_in_currency": ""},
        {"amount_refundable_in_currency": "0.00"},
        {"currency_symbol": "€", "formatted_display_price": "€9,99"},
        {"currency_symbol": "€", "formatted_display_price": "free"},
    ],
)
def test_a_partial_refund_of_unknown_amount_has_no_royalty(over):
    """Nothing is guessed: the CSV, or the next ping, may say."""
    [found] = from_api(Purchase(refunded=1), **over)
    assert (found["royalty"], found["transaction_type"]) == (None, "Partially refunded, amount unknown")


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"is_gift_receiver_purchase": True, "price": 0}, "1 receivers of gifts: the giver's row counts"),
        ({"is_bundle_product_purchase": True, "price": 0}, "1 products of bundles: the bundle's row counts"),
        ({"is_preorder_authorization": True}, "1 pre-order authorizations: not charged yet"),
        ({"free_trial_ends_on": "2024-03-12", "recurring_charge": False}, "1 free trials: nothing was charged"),
    ],
)
def test_what_is_no_sale_is_left_out_and_counted(over, reason):
    parsed = parse_sales([sale(Purchase(), **over), sale(Purchase(id="b"))])
    assert parsed.rows["row_number"].to_pylist() == [2]
    assert [it.reason for it in parsed.skipped] == [reason]


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"Free trial purchase?": "1"}, "1 free trials: nothing was charged"),
        ({"Pre-order authorization?": "1"}, "1 pre-order authorizations: not charged yet"),
    ],
)
def test_what_is_no_sale_in_the_csv_is_left_out_and_counted(over, reason):
    parsed = parse(report([row(Purchase()) | over, row(Purchase(id="b"))]))
    assert parsed.rows["row_number"].to_pylist() == [3]
    assert [it.reason for it in parsed.skipped] == [reason]


def test_a_charge_after_a_free_trial_is_a_sale():
    [found] = from_api(Purchase(is_recurring=True), free_trial_ends_on="2024-03-12")
    assert found["kind"] == "sale"


@pytest.mark.parametrize(
    ("broken", "column"),
    [
        ({"price": "9.99"}, "price"),
        ({"price": 9.99}, "price"),
        ({"price": None}, "price"),
        ({"price": -1}, "sale"),
        ({"quantity": 0}, "sale"),
        ({"id": ""}, "sale"),
        ({"created_at": "about 2 months ago"}, "created_at"),
        ({"refunded": "true"}, "refunded"),
        ({"product_permalink": "", "product_id": ""}, "sale"),
    ],
)
def test_a_broken_sale_is_named_and_the_others_go_on(broken, column):
    parsed = parse_sales([sale(Purchase(id="a")), sale(Purchase(), **broken), sale(Purchase(id="c"))])
    assert parsed.rows["row_number"].to_pylist() == [1, 3]
    [problem] = parsed.problems
    assert (problem.row_number, problem.column) == (2, column)


@pytest.mark.parametrize("odd", [None, 5, [], "sale", {}])
def test_what_is_no_object_is_a_problem(odd):
    parsed = parse_sales([odd])
    assert (parsed.rows.num_rows, len(parsed.problems), parsed.period) == (0, 1, None)


def test_keys_that_gumroad_adds_do_no_harm():
    assert from_api(Purchase(), tomorrow={"deep": [1]}) == from_api(Purchase())


@pytest.mark.parametrize(
    ("title", "book_format"),
    [
        ("The First Book (EPUB)", "ebook"),
        ("The First Book - audiobook", "audiobook"),
        ("The First Book, signed paperback", "paperback"),
        ("Hardcover: The First Book", "hardcover"),
        ("A course on writing", "other"),
    ],
)
def test_the_format_is_what_the_name_says(title, book_format):
    assert from_api(Purchase(title=title))[0]["format"] == book_format


def test_the_totals_of_the_csv_are_kept_for_a_check():
    """The last line is no sale; what it states stands beside what the rows add up to."""
    parsed = parse(report([row(Purchase()), row(Purchase(id="b", price=501, fee=80))]))
    assert parsed.rows.num_rows == 2
    assert parsed.totals["Sale Price ($)"] == {"stated": Decimal("15.00"), "parsed": Decimal("15.00")}
    assert parsed.totals["Net Total ($)"] == {"stated": Decimal("12.90"), "parsed": Decimal("12.90")}
    assert parsed.skipped == []


def test_a_csv_without_totals_may_be_cut_off():
    """The rows count, but the report says that its end is missing."""
    parsed = parse(report([row(Purchase())], has_totals=False))
    assert parsed.rows.num_rows == 1
    assert [it.reason for it in parsed.skipped] == ["1 line Totals: it is missing, the file may be cut off"]


@pytest.mark.parametrize("sale_id", ["-abc==", "=abc==", "A-m3CDDC5dlrSdKZp0RFhA=="])
def test_an_id_that_was_escaped_for_spreadsheets_is_the_same_id(sale_id):
    """Gumroad writes `'` before `-` and `=` into its CSV: the sale must not count a second time."""
    assert from_csv(Purchase(id=sale_id))[0]["natural_key"] == from_api(Purchase(id=sale_id))[0]["natural_key"]


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2024-03-05 23:34:56 UTC", date(2024, 3, 5)),
        ("2024-03-05 23:34:56 -0800", date(2024, 3, 6)),
        ("2024-03-05 23:34:56 +0000", date(2024, 3, 5)),
        ("23:34:56", date(2024, 3, 5)),
        ("", date(2024, 3, 5)),
    ],
)
def test_the_day_is_that_of_utc(time, day):
    [found] = parse(report([row(Purchase()) | {"Purchase Time (UTC timezone)": time}])).rows.to_pylist()
    assert found["period_start"] == day


@pytest.mark.parametrize(
    ("over", "column"),
    [
        ({"Purchase_ID": ""}, "Purchase ID"),
        ({"Product_ID": ""}, "Product ID"),
        ({"Quantity": "0"}, "Quantity"),
        ({"Purchase_Date": "soon"}, "Purchase Date"),
        ({"Sale Price ($)": "free"}, "Sale Price ($)"),
        ({"Sale Price ($)": "-5"}, "Sale Price ($)"),
        ({"Fees ($)": ""}, "Fees ($)"),
        ({"Dispute_Won?": "maybe"}, "Dispute Won?"),
    ],
)
def test_a_bad_row_is_named_and_the_others_go_on(over, column):
    rows = [row(Purchase(id="a")), row(Purchase(), **over), row(Purchase(id="c"))]
    parsed = parse(report(rows))
    assert parsed.rows["row_number"].to_pylist() == [2, 4]
    assert [(it.row_number, it.column) for it in parsed.problems] == [(3, column)]


def test_buyers_are_not_read():
    """No name or address of a buyer gets into the ledger, wherever it stands."""
    parsed = parse(report([row(Purchase())]))
    text = str([parsed, parse_sales([sale(Purchase())])]) + str(parsed.rows.to_pylist()) + str(from_api(Purchase()))
    assert "example.com" not in text
    assert "A Buyer" not in text


def test_custom_fields_may_have_the_names_of_columns():
    """They stand at the end: the first of two equal names is Gumroad's own."""
    lines = report([row(Purchase())], has_totals=False).decode().splitlines()
    content = f"{lines[0]},Quantity,Favourite colour\n{lines[1]},many,blue\n".encode()
    parsed = parse(content)
    assert parsed.rows["units_sold"].to_pylist() == [1]
    assert parsed.ignored_columns == {NAME: ["Quantity", "Favourite colour"]}


def test_another_report_is_refused():
    with pytest.raises(QuarantineError, match="not a Gumroad sales report as we know it: column 'Purchase ID'"):
        parse(d2d_reports.report([d2d_reports.sale()]))


def test_a_renamed_column_is_named_with_the_nearest():
    header = ["Fee ($)" if it == "Fees ($)" else it for it in HEADER]
    with pytest.raises(QuarantineError, match=r"'Fees \(\$\)' is missing.*nearest in the file: Fee \(\$\)"):
        parse(report([row(Purchase())], header=header))


def purchases():
    base = st.builds(
        Purchase,
        created_at=st.integers(1_330_000_000, 2_000_000_000).map(lambda it: datetime.fromtimestamp(it, UTC)),
        price=st.integers(0, 10**8),
        quantity=st.integers(1, 50),
        country=st.sampled_from(["United States", "Germany", "Côte d'Ivoire", "Atlantis"]),
        is_disputed=st.booleans(),
        is_dispute_won=st.booleans(),
        is_gift=st.booleans(),
        is_recurring=st.booleans(),
    )
    parts = st.tuples(base, st.fractions(0, 1), st.fractions(0, 1), st.fractions(0, 1))
    return parts.map(
        lambda it: replace(
            it[0],
            fee=int(it[0].price * it[1] / 2),
            affiliate=int(it[0].price * it[2] / 2),
            refunded=int(it[0].price * it[3]),
        )
    )


@settings(max_examples=80, deadline=None)
@given(bought=st.lists(purchases(), max_size=8))
def test_law_the_api_and_the_csv_agree(bought):
    """The same purchases, whichever way they come, are the same rows: reading both changes nothing."""
    named = [replace(it, id=f"id-{number}==") for number, it in enumerate(bought)]
    assert without_place(from_api(*named)) == without_place(from_csv(*named))


@settings(max_examples=80, deadline=None)
@given(bought=purchases())
def test_law_cents_are_exact_and_nobody_earns_more_than_was_paid(bought):
    [found] = from_api(bought)
    assert found["royalty"] == found["royalty"].quantize(Decimal("0.01"))
    assert 0 <= found["royalty"] <= Decimal(bought.price) / 100
    if not bought.refunded and not bought.is_disputed:
        assert found["royalty"] * 100 == bought.price - bought.fee - bought.affiliate


@settings(max_examples=40, deadline=None)
@given(bought=st.lists(purchases(), max_size=8), data=st.data())
def test_law_two_halves_are_the_whole(bought, data):
    named = [replace(it, id=f"id-{number}==") for number, it in enumerate(bought)]
    cut = data.draw(st.integers(0, len(named)))
    for read in (from_api, from_csv):
        assert without_place(read(*named[:cut]) + read(*named[cut:])) == without_place(read(*named))


def test_a_purchase_that_stands_twice_counts_once_and_is_told():
    """As it stands last."""
    parsed = parse(report([row(Purchase()), row(Purchase())]))
    assert 1 == parsed.rows.num_rows
    assert ["1 rows of a purchase that stands again below"] == [it.reason for it in parsed.skipped]
