"""Realtor.com's core inventory metrics (realtor.com/research/data): one row a region and month, of active listings.

A figure is of the month's last day. Shares are columns of newer files only; where they are missing they are counts over
active listings. The history files end with a footnote. A file stands by its values as of its newest month.
"""

import calendar
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.property.files import (
    BadCell,
    Figure,
    Header,
    PublishedFile,
    header_of,
    midnight_of,
    number,
    ragged,
    read_rows,
)
from ingestion_pipeline.domains.property.regions import Region, market_slugs, split_state

PUBLISHER = "realtor"
MONTH = "month_date_yyyymm"
METRICS: Mapping[str, str] = {
    "median_listing_price": "active_list_price_usd",
    "median_listing_price_per_square_foot": "active_price_per_sqft_usd",
    "active_listing_count": "active_listings_count",
    "new_listing_count": "active_new_listings_count",
    "pending_listing_count": "active_pending_count",
    "median_days_on_market": "active_days_on_market",
    "price_reduced_share": "active_price_reduced_ratio",
    "pending_ratio": "active_pending_ratio",
}
_SHARE, _REDUCED, _ACTIVE = "price_reduced_share", "price_reduced_count", "active_listing_count"
_MONTH = re.compile(r"(\d{4})(0[1-9]|1[0-2])")
_MANGLED = re.compile(r"\d{3},\d{3}")


class RealtorFile(PublishedFile):
    """Its figures are of active listings."""

    def figures(self) -> Iterator[Figure | BadCell]:
        rows = read_rows(self.path)
        next(rows)
        self.skipped = Counter()
        for row in rows:
            month = _month(row[0])
            if month is None:
                self.skipped["no month in the first column"] += 1
            elif len(row) != len(self.header.cells):
                yield ragged(row, self.header)
            else:
                yield from self._figures(row, month)

    def _figures(self, row: list[str], month: date) -> Iterator[Figure | BadCell]:
        region_id = _region(self.header, row, self.path).id
        for column, metric in METRICS.items():
            try:
                value = self._value(row, column)
            except ValueError as error:
                yield BadCell(f"{column} is {error}", {"region_id": region_id, "month": month})
                continue
            if value is not None:
                yield Figure(region_id, metric, month, value, self.revised_at)

    def _value(self, row: list[str], column: str) -> float | None:
        if column == _SHARE and _SHARE not in self.header:
            reduced, active = (number(self.header.cell(row, name)) for name in (_REDUCED, _ACTIVE))
            return reduced / active if reduced is not None and active else None
        return number(self.header.cell(row, column))


def realtor_file(path: Path) -> RealtorFile:
    """Takes a first look at a file: its regions and its newest month.

    Raises:
        ContractError: it is no such file.
    """
    rows = read_rows(path)
    header = header_of(rows, path, PUBLISHER)
    regions: dict[str, Region] = {}
    newest = date.min
    for row in rows:
        if (month := _month(row[0])) and len(row) == len(header.cells):
            region = _region(header, row, path)
            regions[region.id] = region
            newest = max(newest, month)
    if not regions:
        raise ContractError(path.name, "rows", "none with a month", f"{MONTH} such as 202606")
    return RealtorFile(path=path, header=header, markets=market_slugs(regions.values()), revised_at=midnight_of(newest))


def _region(header: Header, row: list[str], path: Path) -> Region:
    if "postal_code" in header:
        code = header.cell(row, "postal_code").removesuffix(".0").zfill(5)
        return Region(id=code, kind="zip", name=code, state=split_state(header.cell(row, "zip_name"))[1])
    if "cbsa_code" in header:
        name, state = split_state(header.cell(row, "cbsa_title"))
        return Region(id=header.cell(row, "cbsa_code"), kind="metro", name=name, state=state)
    if "county_fips" in header:
        name, state = split_state(header.cell(row, "county_name"))
        return Region(id=header.cell(row, "county_fips").zfill(5), kind="county", name=name, state=state)
    if "state_id" in header:
        return Region(id=header.cell(row, "state_id"), kind="state", name=header.cell(row, "state"))
    if "country" in header:
        return Region(id="country", kind="country", name="United States")
    expected = "postal_code, cbsa_code, county_fips, state_id or country"
    raise ContractError(path.name, "header", "no region", f"one of {expected}")


def _month(cell: str) -> date | None:
    """The last day of `202606`, also where a locale has made it `202,606`; None for anything else."""
    text = cell.strip()
    found = _MONTH.fullmatch(text.replace(",", "") if _MANGLED.fullmatch(text) else text)
    if found is None:
        return None
    year, month = int(found[1]), int(found[2])
    return date(year, month, calendar.monthrange(year, month)[1]) if year else None
