"""Zillow's wide files: regions of every kind, months as columns, blanks, and what is no such file."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ingestion_pipeline.core.errors import ConfigurationError, ContractError
from ingestion_pipeline.domains.property.zillow import zillow_file
from ingestion_pipeline_tests.domains.property.published import (
    REALTOR_METRO,
    REDFIN_METRO,
    ZILLOW_CITY,
    ZILLOW_METRO,
    ZILLOW_ZIP,
    changed,
    problems,
    values,
)

JULY = date(2026, 7, 31)


def test_metros_the_nation_and_names_with_commas() -> None:
    """A national row has no state; "New York, NY" is quoted; a blank is no value."""
    found = values(zillow_file(ZILLOW_METRO))
    index = "home_value_index_usd"
    assert found["united-states", index, date(2000, 1, 31)] == 122000.1234567
    assert found["new-york-ny-metro", index, JULY] == 706000.75
    assert ("dallas-tx-metro", index, date(2000, 1, 31)) not in found
    assert {
        "united-states",
        "new-york-ny-metro",
        "dallas-tx-metro",
        "winston-salem-nc-metro",
        "texarkana-tx-metro",
    } == {market for market, _, _ in found}
    assert 15 == len(found)


def test_cities_of_one_name_are_told_apart_by_their_county() -> None:
    """Franklin Township, NJ is several places; ZORI files are rents."""
    file = zillow_file(ZILLOW_CITY)
    rent, may = "rent_index_usd", date(2026, 5, 31)
    found = values(file)
    assert found["franklin-township-nj-somerset-county", rent, may] == 2400.5
    assert found["franklin-township-nj-gloucester-county", rent, may] == 1800.5
    assert found["coeur-dalene-id", rent, may] == 1500.5
    assert file.revised_at == datetime(2026, 6, 30, tzinfo=UTC)


def test_zip_codes_keep_or_get_back_their_leading_zero() -> None:
    """Spreadsheets take 01002 for a number."""
    assert {"zip-01001", "zip-01002", "zip-75201"} == {market for market, _, _ in values(zillow_file(ZILLOW_ZIP))}


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("Metro_zhvi_uc_sfrcondo_tier_0.33_0.67_sm_sa_month.csv", "home_value_index_usd"),
        ("State_zhvi.csv", "home_value_index_usd"),
        ("County_ZORI_uc_sfrcondomfr_sm_sa_month.csv", "rent_index_usd"),
    ],
)
def test_its_name_says_what_it_measures(tmp_path: Path, name: str, metric: str) -> None:
    """As Zillow names its files."""
    assert metric == zillow_file(changed(ZILLOW_METRO, tmp_path, name=name)).metric


@pytest.mark.parametrize(
    "name", ["Metro_zhvi_bdrmcnt_1_uc.csv", "Metro_zhvi_uc_sfrcondo_tier_0.0_0.33_sm.csv", "Metro_mlp_uc.csv", "x.csv"]
)
def test_a_file_of_something_else_is_not_taken_for_the_index(tmp_path: Path, name: str) -> None:
    """Cheap homes, one bedroom, list prices: the columns are the same. Who knows better says so."""
    copy = changed(ZILLOW_METRO, tmp_path, name=name)
    with pytest.raises(ConfigurationError, match="--metric"):
        zillow_file(copy)
    assert "rent_index_usd" == zillow_file(copy, metric="rent_index_usd").metric
    with pytest.raises(ConfigurationError, match="home_value_index_usd or rent_index_usd"):
        zillow_file(copy, metric="inventory_count")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("RegionID", "Region Id", r"RegionID \(nearest is 'Region Id'\)"),
        ("RegionName,RegionType", "Name,Type", "RegionName"),
        (",2000-01-31,2026-05-31,2026-06-30,2026-07-31", ",1/31/2000,5/31/2026,6/30/2026,7/31/2026", "2026-07-31"),
        (",msa,", ",galaxy,", "RegionType is 'galaxy'"),
    ],
)
def test_unknown_columns_are_named_with_the_nearest_known(tmp_path: Path, old: str, new: str, says: str) -> None:
    """What was found, and what it should have been."""
    with pytest.raises(ContractError, match=says):
        zillow_file(changed(ZILLOW_METRO, tmp_path, (old, new)))


@pytest.mark.parametrize(("path", "publisher"), [(REDFIN_METRO, "redfin"), (REALTOR_METRO, "realtor")])
def test_a_file_of_another_publisher_says_whose_it_is(path: Path, publisher: str) -> None:
    """And with which command it is imported."""
    with pytest.raises(ContractError, match=f"`import {publisher}`"):
        zillow_file(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b"<html><body>Access Denied</body></html>",
        b"\xff\xfeR\x00",
        b'"RegionID',
    ],
)
def test_what_is_no_csv_is_a_broken_contract(tmp_path: Path, content: bytes) -> None:
    """A picture, an error page, UTF-16, nothing."""
    path = tmp_path / "Metro_zhvi.csv"
    path.write_bytes(content)
    with pytest.raises(ContractError):
        zillow_file(path)


def test_a_missing_file_is_a_wrong_argument(tmp_path: Path) -> None:
    """A folder too."""
    for path in (tmp_path / "no_zhvi.csv", tmp_path):
        with pytest.raises(ConfigurationError, match="a file that can be read"):
            zillow_file(path)


def test_a_bad_cell_or_row_keeps_no_other_back(tmp_path: Path) -> None:
    """A word where a number belongs, an infinity, a line that was cut off in the middle of a number."""
    copy = changed(ZILLOW_METRO, tmp_path, ("370500.25", "n/a"), ("251000.5", "1e999"), (",,,121000.75\n", ",,,1"))
    file = zillow_file(copy)
    assert 13 == len(values(file))
    assert [
        "2026-06-30 is 'n/a', expected a number or nothing",
        "2026-06-30 is '1e999', expected a number or nothing",
    ] == (problems(file))
    ragged = zillow_file(changed(ZILLOW_METRO, tmp_path, (",,,121000.75\n", ",,12")))
    assert ["row has 8 columns, expected 9"] == problems(ragged)


def test_a_byte_order_mark_and_windows_lines_are_no_obstacle(tmp_path: Path) -> None:
    """As Excel saves it."""
    path = tmp_path / "Metro_zhvi.csv"
    path.write_bytes(b"\xef\xbb\xbf" + ZILLOW_METRO.read_bytes().replace(b"\n", b"\r\n"))
    assert values(zillow_file(ZILLOW_METRO)) == values(zillow_file(path))
