"""Names of regions as slugs of markets: one market one slug, two markets never one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.core.markets import MARKET_SLUG
from ingestion_pipeline.domains.property.regions import Region, market_slug, market_slugs, slug, split_state


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("St. Louis", "st-louis"),
        ("Coeur d'Alene", "coeur-dalene"),
        ("Doña Ana", "dona-ana"),
        ("  Winston--Salem ", "winston-salem"),
        ("29 Palms", "29-palms"),
    ],
)
def test_a_slug_is_plain_words(text: str, expected: str) -> None:
    """Without accents, apostrophes and runs of signs."""
    assert expected == slug(text)


@pytest.mark.parametrize(
    ("name", "state", "expected"),
    [
        ("Dallas", "TX", "dallas-tx-metro"),
        ("dallas-fort worth-arlington", "tx", "dallas-tx-metro"),
        ("Winston-Salem", "NC", "winston-salem-nc-metro"),
        ("louisville/jefferson county", "ky", "louisville-ky-metro"),
        ("scranton--wilkes-barre", "pa", "scranton-pa-metro"),
        ("Wilkes-Barre-Hazleton", "PA", "wilkes-barre-pa-metro"),
    ],
)
def test_a_metro_is_its_first_city(name: str, state: str, expected: str) -> None:
    """Publishers name two or three of its cities, or one."""
    assert expected == market_slug(Region(id="1", kind="metro", name=name, state=state))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Texarkana, TX-AR", ("Texarkana", "TX")),
        ("washington-arlington, dc-va-md-wv", ("washington-arlington", "dc")),
        ("Texas", ("Texas", "")),
        ("", ("", "")),
    ],
)
def test_the_state_is_the_first_of_those_named(name: str, expected: tuple[str, str]) -> None:
    """Behind the last comma."""
    assert expected == split_state(name)


def city(number: int, county: str = "") -> Region:
    return Region(id=str(number), kind="city", name="Franklin", state="NJ", county=county)


def test_regions_of_one_name_get_their_county_or_their_id() -> None:
    """All of them, so that no file's order decides which one is meant."""
    assert {"1": "franklin-nj"} == market_slugs([city(1)])
    assert {"1": "franklin-nj-sussex", "2": "franklin-nj-warren"} == market_slugs(
        [city(1, "Sussex"), city(2, "Warren")]
    )
    assert {"1": "franklin-nj-1", "2": "franklin-nj-2"} == market_slugs([city(1, "Sussex"), city(2, "Sussex")])
    assert {"1": "franklin-nj-1", "2": "franklin-nj-2"} == market_slugs([city(1), city(2, "Sussex")])


KINDS = st.sampled_from(["country", "state", "metro", "county", "city", "zip", "neighborhood"])
NAMES = st.text("Aé' -./1ñz", min_size=1, max_size=8).filter(slug)


REGIONS = st.builds(Region, id=st.integers(1, 99).map(str), kind=KINDS, name=NAMES, state=st.sampled_from(["", "TX"]))


@given(st.lists(REGIONS, unique_by=lambda region: region.id))
def test_every_region_has_a_slug_of_its_own_that_a_market_may_have(regions: list[Region]) -> None:
    """Whatever its name, in whatever order they come."""
    found = market_slugs(regions)
    assert found == market_slugs(reversed(regions))
    assert len(set(found.values())) == len(regions)
    assert [] == [it for it in found.values() if not MARKET_SLUG.fullmatch(it)]
