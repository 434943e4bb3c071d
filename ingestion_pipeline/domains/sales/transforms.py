"""What a report states about itself against what its rows add up to. Pure functions."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

Totals = Mapping[str, Mapping[str, Decimal]]

STATED, PARSED = "stated", "parsed"
_ROUNDING = Decimal("0.05")
_ROUNDING_RATIO = Decimal("0.001")
_WHOLE = ("net_units", "free_units", "pages_read")
_UNPAID_PAGES = "pages_without_royalty"
_WITH_PAGES = "royalty_with_pages"


class Disagreement(NamedTuple):
    quantity: str
    stated: Decimal
    parsed: Decimal


def totals_by_quantity(totals: Totals) -> dict[str, dict[str, Decimal]]:
    """Each quantity with what is `stated` and what was `parsed`; parsers may give them by side or by quantity."""
    found: dict[str, dict[str, Decimal]] = {}
    for outer, inner in totals.items():
        for name, value in inner.items():
            quantity, side = (name, outer) if outer in (STATED, PARSED) else (outer, name)
            found.setdefault(quantity, {})[side] = value
    return found


def disagreements(totals: Totals) -> list[Disagreement]:
    """Quantities, of `totals_by_quantity`, whose two sides differ by more than rounding.

    Rounding of money is 0.05 or 0.1 %, the larger; copies and pages have none. A sum of royalties with those for pages
    says nothing where the report pays pages without saying how much.
    """
    has_unpaid_pages = bool(totals.get(_UNPAID_PAGES, {}).get(PARSED))
    found = []
    for quantity, sides in sorted(totals.items()):
        if STATED not in sides or (has_unpaid_pages and quantity.startswith(_WITH_PAGES)):
            continue
        stated, parsed = sides[STATED], sides.get(PARSED, Decimal(0))
        is_whole = quantity.startswith(_WHOLE)
        allowed = Decimal(0) if is_whole else max(_ROUNDING, abs(stated) * _ROUNDING_RATIO)
        if abs(stated - parsed) > allowed:
            found.append(Disagreement(quantity, stated, parsed))
    return found
