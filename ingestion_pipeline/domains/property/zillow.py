"""Zillow's ZHVI and ZORI files (zillow.com/research/data): one row a region, one column a month.

The whole history is revised every month, so a file stands by all of its values as of its newest month: importing one
of an earlier month later changes nothing. Blank is missing. What a file measures only its name says.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ingestion_pipeline.core.errors import ConfigurationError, ContractError
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
from ingestion_pipeline.domains.property.regions import Kind, Region, market_slugs

PUBLISHER = "zillow"
METRICS = ("home_value_index_usd", "rent_index_usd")
_KINDS: Mapping[str, Kind] = {
    "country": "country",
    "state": "state",
    "msa": "metro",
    "county": "county",
    "city": "city",
    "zip": "zip",
    "neighborhood": "neighborhood",
}
_MONTH = re.compile(r"\d{4}-\d{2}-\d{2}")
_MIDDLE_TIER = "0.33_0.67"


@dataclass(kw_only=True)
class ZillowFile(PublishedFile):
    """Its figures are all of one `metric`; `months` says of which month a column is, by its place."""

    metric: str
    months: Mapping[int, date]

    def figures(self) -> Iterator[Figure | BadCell]:
        rows = read_rows(self.path)
        next(rows)
        for row in rows:
            if len(row) != len(self.header.cells):
                yield ragged(row, self.header)
                continue
            region_id = self.header.cell(row, "RegionID")
            for place, month in self.months.items():
                try:
                    value = number(row[place].strip())
                except ValueError as error:
                    yield BadCell(f"{month} is {error}", {"region_id": region_id})
                    continue
                if value is not None:
                    yield Figure(region_id, self.metric, month, value, self.revised_at)


def zillow_file(path: Path, *, metric: str | None = None) -> ZillowFile:
    """Takes a first look at a file: its regions, months and metric.

    Raises:
        ContractError: it is no such file.
        ConfigurationError: its name does not say what it measures, and neither does `metric`.
    """
    rows = read_rows(path)
    header = header_of(rows, path, PUBLISHER)
    months = {place: date.fromisoformat(it) for place, it in enumerate(header.cells) if _MONTH.fullmatch(it)}
    if not months:
        seen = ", ".join(map(ascii, header.cells[-2:]))
        raise ContractError(path.name, "last columns", seen, "months such as 2026-07-31")
    regions = {it.id: it for row in rows if len(row) == len(header.cells) and (it := _region(header, row, path))}
    return ZillowFile(
        path=path,
        header=header,
        markets=market_slugs(regions.values()),
        revised_at=midnight_of(max(months.values())),
        metric=_metric(path, metric),
        months=months,
    )


def _region(header: Header, row: list[str], path: Path) -> Region:
    kind = header.cell(row, "RegionType").lower()
    if kind not in _KINDS:
        raise ContractError(path.name, "RegionType", ascii(kind[:60]), f"one of {', '.join(_KINDS)}")
    name, state = header.cell(row, "RegionName"), header.cell(row, "State") or header.cell(row, "StateName")
    if kind == "msa":
        name = name.rpartition(",")[0] or name
    return Region(
        id=header.cell(row, "RegionID"),
        kind=_KINDS[kind],
        name=name,
        state=state,
        city=header.cell(row, "City"),
        county=header.cell(row, "CountyName"),
    )


def _metric(path: Path, metric: str | None) -> str:
    if metric is not None:
        if metric not in METRICS:
            raise ConfigurationError("--metric", metric, " or ".join(METRICS))
        return metric
    name = path.name.lower()
    if "zori" in name:
        return "rent_index_usd"
    if "zhvi" in name and "bdrmcnt" not in name and ("tier" not in name or _MIDDLE_TIER in name):
        return "home_value_index_usd"
    expected = "a name with zhvi (all homes, middle tier) or zori in it, as Zillow names its files; or --metric"
    raise ConfigurationError("FILE", path.name, expected)
