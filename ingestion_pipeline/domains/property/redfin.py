"""Redfin's market tracker (redfin.com/news/data-center): one row a region, period and type of property, tab-separated.

Only `All Residential` is taken: the other types overlap it. Of seasonally adjusted and plain rows the plain ones are
taken where there are any. Metro, city and county files are of months; those of ZIP codes are of three months that roll
on by one, so that a file is of one length: months where it has them. A row stands by its values as of LAST_UPDATED.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.property.files import (
    BadCell,
    Figure,
    Header,
    PublishedFile,
    day,
    header_of,
    midnight_of,
    number,
    ragged,
    read_rows,
)
from ingestion_pipeline.domains.property.regions import Kind, Region, market_slugs, split_state

PUBLISHER = "redfin"
METRICS: Mapping[str, str] = {
    "MEDIAN_SALE_PRICE": "median_sale_price_usd",
    "MEDIAN_LIST_PRICE": "median_list_price_usd",
    "MEDIAN_PPSF": "median_price_per_sqft_usd",
    "HOMES_SOLD": "homes_sold_count",
    "PENDING_SALES": "pending_sales_count",
    "NEW_LISTINGS": "new_listings_count",
    "INVENTORY": "inventory_count",
    "MONTHS_OF_SUPPLY": "months_of_supply",
    "MEDIAN_DOM": "median_days_on_market",
    "AVG_SALE_TO_LIST": "sale_to_list_ratio",
    "PRICE_DROPS": "price_drops_ratio",
}
ALL_RESIDENTIAL = "all residential"
DURATIONS = ("30", "90")
_KINDS: Mapping[str, Kind] = {
    "national": "country",
    "state": "state",
    "metro": "metro",
    "county": "county",
    "place": "city",
    "city": "city",
    "zip code": "zip",
    "neighborhood": "neighborhood",
}
_ZIP = "zip code:"
_METRO = " metro area"
_TRUE = {"t", "true", "1"}


@dataclass(kw_only=True)
class RedfinFile(PublishedFile):
    """`duration` (days) and `is_adjusted` say which rows are taken."""

    duration: str
    is_adjusted: bool

    def figures(self) -> Iterator[Figure | BadCell]:
        rows = read_rows(self.path)
        next(rows)
        self.skipped = Counter()
        for row in rows:
            if len(row) != len(self.header.cells):
                yield ragged(row, self.header)
            elif reason := _left_out(self.header, row, self.duration, is_adjusted=self.is_adjusted):
                self.skipped[reason] += 1
            else:
                yield from self._figures(row)

    def _figures(self, row: list[str]) -> Iterator[Figure | BadCell]:
        region_id = _region_id(self.header, row)
        as_of = day(self.header.cell(row, "PERIOD_END"), "PERIOD_END", self.path)
        revised_at = _instant(self.header.cell(row, "LAST_UPDATED")) or self.revised_at
        for column, metric in METRICS.items():
            try:
                value = number(self.header.cell(row, column))
            except ValueError as error:
                yield BadCell(f"{column} is {error}", {"region_id": region_id, "period_end": as_of})
                continue
            if value is not None:
                yield Figure(region_id, metric, as_of, value, revised_at)


def redfin_file(path: Path) -> RedfinFile:
    """Takes a first look at a file: its regions, the length of its periods, how it is adjusted.

    Raises:
        ContractError: it is no such file.
    """
    rows = read_rows(path)
    header = header_of(rows, path, PUBLISHER)
    if not any(column in header for column in METRICS):
        raise ContractError(path.name, "header", "no figures", f"some of {', '.join(METRICS)}")
    regions: dict[str, Region] = {}
    kinds: Counter[tuple[str, bool]] = Counter()
    newest = ""
    for row in rows:
        if len(row) != len(header.cells) or header.cell(row, "PROPERTY_TYPE").lower() != ALL_RESIDENTIAL:
            continue
        region = _region(header, row, path)
        regions[region.id] = region
        kinds[header.cell(row, "PERIOD_DURATION"), _is_adjusted(header, row)] += 1
        newest = max(newest, header.cell(row, "PERIOD_END")[:10])
    duration = next((it for it in DURATIONS if any(length == it for length, _ in kinds)), "")
    if not duration:
        seen = ", ".join(sorted({ascii(length) for length, _ in kinds})) or "no row of all residential property"
        raise ContractError(path.name, "PERIOD_DURATION", seen, f"{' or '.join(DURATIONS)} days")
    return RedfinFile(
        path=path,
        header=header,
        markets=market_slugs(regions.values()),
        revised_at=midnight_of(day(newest, "PERIOD_END", path)),
        duration=duration,
        is_adjusted=all(adjusted for length, adjusted in kinds if length == duration),
    )


def _left_out(header: Header, row: list[str], duration: str, *, is_adjusted: bool) -> str | None:
    kind = header.cell(row, "PROPERTY_TYPE")
    if kind.lower() != ALL_RESIDENTIAL:
        return f"property type {kind}"
    if (length := header.cell(row, "PERIOD_DURATION")) != duration:
        return f"period of {length} days"
    if _is_adjusted(header, row) != is_adjusted:
        return "seasonally adjusted" if not is_adjusted else "not seasonally adjusted"
    return None


def _is_adjusted(header: Header, row: list[str]) -> bool:
    return header.cell(row, "IS_SEASONALLY_ADJUSTED").lower() in _TRUE


def _region_id(header: Header, row: list[str]) -> str:
    return f"{header.cell(row, 'REGION_TYPE').lower()} {header.cell(row, 'TABLE_ID')}"


def _region(header: Header, row: list[str], path: Path) -> Region:
    kind = header.cell(row, "REGION_TYPE").lower()
    if kind not in _KINDS:
        raise ContractError(path.name, "REGION_TYPE", ascii(kind[:60]), f"one of {', '.join(_KINDS)}")
    text = header.cell(row, "REGION")
    if kind == "zip code":
        name = text.lower().removeprefix(_ZIP).strip()
    elif kind in {"metro", "county", "place", "city"}:
        name = split_state(text.removesuffix(_METRO))[0]
    else:
        name = text.rpartition(" - ")[2]
    city = header.cell(row, "CITY") or split_state(text.partition(" - ")[0])[0]
    return Region(
        id=_region_id(header, row), kind=_KINDS[kind], name=name, state=header.cell(row, "STATE_CODE"), city=city
    )


def _instant(cell: str) -> datetime | None:
    """LAST_UPDATED, such as `2026-07-05 14:22:30 Z` or `2026-07-05 14:22:30.123`."""
    try:
        instant = datetime.fromisoformat(cell.replace(" Z", "").replace("Z", ""))
    except ValueError:
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
