"""Realtor.com's inventory files: with and without shares, months that a locale has mangled, a footnote at the end."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.property.realtor import realtor_file
from ingestion_pipeline.domains.property.zillow import zillow_file
from ingestion_pipeline_tests.domains.property.published import (
    REALTOR_COUNTY,
    REALTOR_METRO,
    REALTOR_ZIP,
    ZILLOW_METRO,
    changed,
    problems,
    values,
)

JUNE, JULY = date(2026, 6, 30), date(2026, 7, 31)


def test_figures_of_active_listings_have_names_of_their_own() -> None:
    """They measure other homes than Redfin's figures of the same name."""
    assert {
        "active_list_price_usd": 435_000.0,
        "active_price_per_sqft_usd": 210.0,
        "active_listings_count": 30_000.0,
        "active_new_listings_count": 9_000.0,
        "active_pending_count": 12_000.0,
        "active_days_on_market": 52.0,
        "active_price_reduced_ratio": 0.32,
        "active_pending_ratio": 0.4,
    } == {
        metric: value
        for (market, metric, _), value in values(realtor_file(REALTOR_METRO)).items()
        if "dallas" in market
    }


def test_without_shares_they_are_counts_over_active_listings() -> None:
    """Older files; no active listing, no share."""
    found = values(realtor_file(REALTOR_ZIP))
    assert found["zip-20874", "active_price_reduced_ratio", JUNE] == 30 / 119
    assert ("zip-01002", "active_price_reduced_ratio", date(2026, 5, 31)) not in found


def test_mangled_months_lost_zeros_and_the_footnote() -> None:
    """`202,606` is June 2026, 1002 is ZIP 01002, the footnote is left out and counted."""
    file = realtor_file(REALTOR_ZIP)
    found = values(file)
    assert found["zip-01001", "active_list_price_usd", JUNE] == 520_000.0
    assert {"zip-20874", "zip-01001", "zip-01002"} == {market for market, _, _ in found}
    assert {"no month in the first column": 1} == dict(file.skipped)
    assert [] == problems(file)
    assert datetime(2026, 6, 30, tzinfo=UTC) == file.revised_at


def test_a_metro_is_the_market_that_it_is_at_zillow() -> None:
    """ "dallas-fort worth-arlington, tx" is "Dallas, TX"."""
    markets = set(realtor_file(REALTOR_METRO).markets.values())
    assert {"dallas-tx-metro", "winston-salem-nc-metro"} == markets
    assert markets < set(zillow_file(ZILLOW_METRO).markets.values())


def test_counties_have_their_word_and_their_zero() -> None:
    """A parish in Louisiana."""
    assert {"48113": "dallas-county-tx", "01001": "autauga-county-al", "22071": "orleans-parish-la"} == dict(
        realtor_file(REALTOR_COUNTY).markets
    )


@pytest.mark.parametrize(
    ("columns", "cells", "slug"),
    [
        ("state,state_id,", "texas,tx,", "texas"),
        ("country,", "united states,", "united-states"),
    ],
)
def test_states_and_the_nation(tmp_path: Path, columns: str, cells: str, slug: str) -> None:
    """Their files have other keys."""
    copy = changed(
        REALTOR_COUNTY,
        tmp_path,
        ("county_fips,county_name,", columns),
        ('48113,"dallas, tx",', cells),
        ('1001,"autauga, al",', cells),
        ('22071,"orleans, la",', cells),
    )
    assert {slug} == set(realtor_file(copy).markets.values())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("median_listing_price,", "median_list_price,", r"median_listing_price \(nearest is 'median_list"),
        ("cbsa_code", "code", "header is no region"),
        ("202607", "Jul-26", "rows is none with a month"),
    ],
)
def test_what_is_not_known_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    """With what was expected."""
    with pytest.raises(ContractError, match=says):
        realtor_file(changed(REALTOR_METRO, tmp_path, (old, new)))


def test_a_bad_cell_or_row_keeps_no_other_back(tmp_path: Path) -> None:
    """A word in a column, a row that was cut off."""
    file = realtor_file(changed(REALTOR_METRO, tmp_path, ("435000.0", "NA")))
    assert ["active_list_price_usd"] == [
        metric for metric in ("active_list_price_usd",) if ("dallas-tx-metro", metric, JULY) not in values(file)
    ]
    assert ["median_listing_price is 'NA', expected a number or nothing"] == problems(file)
    cut = tmp_path / "cut.csv"
    cut.write_text(REALTOR_METRO.read_text()[:-40])
    assert 1 == len(problems(realtor_file(cut)))
    assert 8 == len(values(realtor_file(cut)))
