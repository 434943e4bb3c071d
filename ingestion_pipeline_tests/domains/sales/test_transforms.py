"""What a report states about itself against what its rows add up to."""

from decimal import Decimal

import pytest

from ingestion_pipeline.domains.sales.transforms import disagreements, totals_by_quantity


def test_totals_are_kept_by_quantity_however_a_parser_gives_them() -> None:
    """KDP's by side, the others' by quantity."""
    one, two = Decimal(1), Decimal(2)
    assert {"net": {"stated": one, "parsed": two}, "units": {"parsed": one}} == totals_by_quantity(
        {"stated": {"net": one}, "parsed": {"net": two, "units": one}}
    )
    by_quantity = {"net": {"stated": one, "parsed": two}, "units": {"parsed": one}}
    assert by_quantity == totals_by_quantity(by_quantity)


@pytest.mark.parametrize(
    ("quantity", "stated", "parsed", "is_found"),
    [
        ("royalty USD", "10.00", "10.05", False),
        ("royalty USD", "10.00", "10.06", True),
        ("royalty USD", "10000.00", "10009.99", False),
        ("royalty USD", "-10000.00", "-10010.01", True),
        ("Sale Price ($)", "10.00", "9.90", True),
        ("net_units", "10", "11", True),
        ("net_units ebook", "10000", "10001", True),
        ("pages_read", "10", "10", False),
        ("royalty_with_pages USD", "10.00", "0", True),
    ],
)
def test_what_differs_by_more_than_rounding_is_found(
    quantity: str, stated: str, parsed: str, *, is_found: bool
) -> None:
    """0.05 or 0.1 % of money, nothing of copies and pages."""
    totals = {quantity: {"stated": Decimal(stated), "parsed": Decimal(parsed)}}
    expected = [(quantity, Decimal(stated), Decimal(parsed))] if is_found else []
    assert expected == disagreements(totals)


def test_what_is_not_stated_or_not_known_is_no_disagreement() -> None:
    """And what is stated without any row that says so is one."""
    pages = {"pages_without_royalty": {"parsed": Decimal(5)}}
    assert [] == disagreements({"royalty USD": {"parsed": Decimal(3)}})
    assert [] == disagreements(pages | {"royalty_with_pages USD": {"stated": Decimal(3), "parsed": Decimal(0)}})
    assert [("royalty EUR", 3, 0)] == disagreements({"royalty EUR": {"stated": Decimal(3)}})
