"""Redfin's market tracker: both spellings of its header, types that overlap, periods that roll, half a download."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.property.files import Figure
from ingestion_pipeline.domains.property.redfin import redfin_file
from ingestion_pipeline_tests.domains.property.published import (
    REDFIN_METRO,
    REDFIN_ZIP,
    ZILLOW_METRO,
    changed,
    problems,
    values,
)

JUNE, JULY = date(2026, 6, 30), date(2026, 7, 31)


def test_one_series_is_taken_of_the_many_that_overlap() -> None:
    """All Residential, plain, of months; the others are counted, not added."""
    file = redfin_file(REDFIN_METRO)
    found = values(file)
    prices = {day: value for (_, metric, day), value in found.items() if metric == "median_sale_price_usd"}
    assert {JUNE: 410_000.0, JULY: 415_000.0} == prices
    assert {"dallas-tx-metro"} == {market for market, _, _ in found}
    assert {
        "property type Single Family Residential": 1,
        "property type Condo/Co-op": 1,
        "seasonally adjusted": 1,
        "period of 90 days": 1,
    } == dict(file.skipped)


def test_every_figure_has_our_name_and_a_blank_is_none() -> None:
    """Eleven of the fourteen are taken; price drops were missing in June."""
    found = values(redfin_file(REDFIN_METRO))
    assert {
        "median_sale_price_usd": 415_000.0,
        "median_list_price_usd": 439_900.0,
        "median_price_per_sqft_usd": 212.5,
        "homes_sold_count": 5120.0,
        "pending_sales_count": 5300.0,
        "new_listings_count": 7100.0,
        "inventory_count": 21_000.0,
        "months_of_supply": 4.1,
        "median_days_on_market": 48.0,
        "sale_to_list_ratio": 0.975,
        "price_drops_ratio": 0.31,
    } == {metric: value for (_, metric, day), value in found.items() if day == JULY}
    assert ("dallas-tx-metro", "price_drops_ratio", JUNE) not in found


def test_lower_case_headers_and_rolling_quarters_of_zip_codes() -> None:
    """A file of three months that roll on by one is taken as it is, by the last day of each."""
    file = redfin_file(REDFIN_ZIP)
    assert ("90", {"zip-01001"}) == (file.duration, set(file.markets.values()))
    assert {JUNE, JULY} == {day for _, _, day in values(file)}


def test_a_row_stands_as_of_its_last_update(tmp_path: Path) -> None:
    """Where that is missing, as of the newest period of the file."""
    (instant,) = {it.revised_at for it in redfin_file(REDFIN_METRO).figures() if isinstance(it, Figure)}
    assert datetime(2026, 8, 16, 14, 22, 30, 123000, UTC) == instant
    without = redfin_file(changed(REDFIN_METRO, tmp_path, ("2026-08-16 14:22:30.123 Z", "")))
    assert {datetime(2026, 7, 31, tzinfo=UTC)} == {it.revised_at for it in without.figures() if isinstance(it, Figure)}


def test_adjusted_rows_are_taken_where_there_are_no_others(tmp_path: Path) -> None:
    """Some national files are adjusted only."""
    file = redfin_file(changed(REDFIN_ZIP, tmp_path, ("\tfalse\t", "\ttrue\t")))
    assert file.is_adjusted
    assert 21 == len(values(file))


@pytest.mark.parametrize(
    ("region_type", "region", "slug"),
    [
        ("national", "United States", "united-states"),
        ("state", "Texas", "texas"),
        ("county", "Dallas County, TX", "dallas-county-tx"),
        ("place", "Dallas, TX", "dallas-tx"),
        ("neighborhood", "Dallas, TX - Deep Ellum", "deep-ellum-dallas-tx"),
    ],
)
def test_regions_of_every_type(tmp_path: Path, region_type: str, region: str, slug: str) -> None:
    """The same slugs as in the other publishers' files."""
    replacements = (('"metro"', f'"{region_type}"'), ('"Dallas, TX metro area"', f'"{region}"'))
    assert {slug} == set(redfin_file(changed(REDFIN_METRO, tmp_path, *replacements)).markets.values())


@pytest.mark.parametrize("kept", [10, 100, 400, -9, -1])
def test_half_a_download_is_a_broken_contract(tmp_path: Path, kept: int) -> None:
    """At whichever byte it ended."""
    path = tmp_path / REDFIN_METRO.name
    path.write_bytes(REDFIN_METRO.read_bytes()[:kept])
    with pytest.raises(ContractError, match="gzip"):
        redfin_file(path)


def test_damage_inside_is_a_broken_contract(tmp_path: Path) -> None:
    """The checksum tells."""
    content = bytearray(REDFIN_METRO.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / REDFIN_METRO.name
    path.write_bytes(content)
    with pytest.raises(ContractError):
        redfin_file(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("PERIOD_END", "PERIOD_ENDING", r"PERIOD_END \(nearest is 'PERIOD_ENDING'\)"),
        ("\t30\t", "\t7\t", "PERIOD_DURATION"),
        ("2026-07-31", "July 31", "PERIOD_END is 'July 31'"),
        ('"metro"', '"borough"', "REGION_TYPE is 'borough'"),
        ("All Residential", "Everything", "no row of all residential"),
    ],
)
def test_what_is_not_known_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    """With what was expected."""
    replacements = [(old, new)] if new != "\t7\t" else [(old, new), ("\t90\t", "\t28\t")]
    with pytest.raises(ContractError, match=says):
        list(redfin_file(changed(REDFIN_METRO, tmp_path, *replacements)).figures())


def test_a_file_of_zillow_says_whose_it_is() -> None:
    """And with which command it is imported."""
    with pytest.raises(ContractError, match="`import zillow`"):
        redfin_file(ZILLOW_METRO)


def test_a_bad_cell_keeps_no_other_back(tmp_path: Path) -> None:
    """Named with its column."""
    file = redfin_file(changed(REDFIN_METRO, tmp_path, ("\t415000\t", "\t$415K\t")))
    assert ["MEDIAN_SALE_PRICE is '$415K', expected a number or nothing"] == problems(file)
    assert 20 == len(values(file))
