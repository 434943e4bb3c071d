"""The valuation: each rule by itself, the laws that hold for any sales, the worked example, golden files."""

import math
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.property.valuation import (
    FILTERS,
    LARGEST_ADJUSTMENT_RATIO,
    LOOK_BACK_DAYS,
    haversine_km,
    trend,
    valuations,
    weighted_median,
)
from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline_tests.domains.property.sales import (
    NO_INDEX,
    TODAY,
    homes_frame,
    index_frame,
    make_home,
    make_sale,
    sales_frame,
    true_market,
)

GOLDEN = Path(__file__).parent / "golden" / "predictions"
KM = 1 / 111.195  # degrees of latitude


def valued(
    *sales: dict[str, Any], home: dict[str, Any] | None = None, index: pd.DataFrame = NO_INDEX, on: date = TODAY
) -> Any:
    """The valuation of one home."""
    [row] = valuations(homes_frame(home or make_home(), on=on), sales_frame(*sales), index).itertuples()
    return row


def five(**over: Any) -> list[dict[str, Any]]:
    """Five equal sales: enough for the first filter."""
    return [make_sale(subject_id=f"mls/{number}", **over) for number in range(5)]


def test_equal_homes_are_worth_what_they_sold_for() -> None:
    row = valued(*five())
    assert (400_000.0, 5, 0.0, 1) == (row.estimate_usd, row.comp_count, row.dispersion_ratio, row.filter_step)
    assert row.low_usd < 400_000 < row.high_usd


def test_without_sales_there_is_no_estimate_and_no_confidence() -> None:
    """It is said so, not guessed."""
    row = valued()
    assert (0, 0.0, "none") == (row.comp_count, row.confidence_ratio, row.time_adjustment)
    assert all(math.isnan(value) for value in (row.estimate_usd, row.low_usd, row.high_usd, row.dispersion_ratio))
    assert pd.isna(row.filter_step)


@pytest.mark.parametrize(
    "over",
    [
        {"market_slug": "austin"},
        {"property_type": "condo"},
        {"sale_date": TODAY + timedelta(days=1)},
        {"sale_date": TODAY - timedelta(days=LOOK_BACK_DAYS)},
        {"subject_id": "home"},
    ],
)
def test_other_markets_types_times_and_the_home_itself_do_not_count(over: dict[str, Any]) -> None:
    assert 0 == valued(make_sale(**over)).comp_count


def test_a_sale_of_the_day_itself_counts() -> None:
    """`valuation_date` is the last day of which sales are known."""
    assert 1 == valued(make_sale(sale_date=TODAY)).comp_count


@pytest.mark.parametrize(
    ("over", "step"),
    [
        ({}, 1),
        ({"sale_date": TODAY - timedelta(days=179)}, 1),
        ({"sale_date": TODAY - timedelta(days=180)}, 2),
        ({"sale_date": TODAY - timedelta(days=365)}, 3),
        ({"sale_date": TODAY - timedelta(days=730)}, 4),
        ({"latitude": 32.78 + 1.99 * KM}, 1),
        ({"latitude": 32.78 + 2.01 * KM}, 2),
        ({"latitude": 32.78 + 5.01 * KM}, 3),
        ({"latitude": 32.78 + 15.1 * KM}, 4),
        ({"living_area_sqft": 2400.0}, 1),
        ({"living_area_sqft": 2401.0}, 2),
        ({"living_area_sqft": 1399.0}, 3),
        ({"living_area_sqft": 999.0}, 4),
        ({"latitude": None, "longitude": None}, 1),
        ({"living_area_sqft": None}, 1),
    ],
)
def test_the_filter_widens_until_there_are_five(over: dict[str, Any], step: int) -> None:
    """In time, space and size; what a sale does not say keeps it in."""
    assert (5, step) == (valued(*five(**over)).comp_count, valued(*five(**over)).filter_step)


def test_four_sales_next_door_are_joined_by_those_farther_away() -> None:
    far = [make_sale(subject_id=f"far/{number}", latitude=32.78 + 4 * KM) for number in range(3)]
    row = valued(*five()[:4], *far)
    assert (7, 2) == (row.comp_count, row.filter_step)


def test_a_wider_filter_lowers_the_confidence() -> None:
    """Also fewer sales do."""
    near, far = valued(*five()), valued(*five(latitude=32.78 + 4 * KM))
    assert far.confidence_ratio == pytest.approx(near.confidence_ratio * FILTERS[1].confidence_ratio)
    assert valued(*five()[:2]).confidence_ratio < far.confidence_ratio
    assert (
        valued(*five(), *[make_sale(subject_id=f"more/{i}") for i in range(9)]).confidence_ratio > near.confidence_ratio
    )


def test_a_larger_home_is_worth_the_market_s_price_of_a_square_foot_more() -> None:
    """200 a square foot, of which 100 more; a bedroom more is 2 %, a bathroom more 3 %."""
    assert valued(*five(), home=make_home(living_area_sqft=2100.0)).estimate_usd == pytest.approx(420_000)
    assert valued(*five(), home=make_home(bedrooms=4.0)).estimate_usd == pytest.approx(408_000)
    assert valued(*five(), home=make_home(bathrooms=3.0)).estimate_usd == pytest.approx(412_000)
    assert valued(*five(bedrooms=None, bathrooms=None), home=make_home(bedrooms=9.0)).estimate_usd == 400_000


def test_adjustments_are_bounded() -> None:
    """A palace says little about a hut."""
    row = valued(*five(), home=make_home(living_area_sqft=100.0))
    assert row.estimate_usd == pytest.approx(400_000 * (1 - LARGEST_ADJUSTMENT_RATIO))


def test_prices_move_with_the_market_s_index() -> None:
    """The index has risen by 10 % since the sale; between two months it is interpolated, after the last it stands."""
    index = index_frame((TODAY - timedelta(days=60), 100.0), (TODAY - timedelta(days=20), 110.0))
    then = valued(*five(sale_date=TODAY - timedelta(days=60)), index=index)
    assert ("index", pytest.approx(440_000)) == (then.time_adjustment, then.estimate_usd)
    between = valued(*five(sale_date=TODAY - timedelta(days=40)), index=index)
    assert between.estimate_usd == pytest.approx(400_000 * math.sqrt(1.1))
    assert valued(*five(sale_date=TODAY - timedelta(days=5)), index=index).estimate_usd == 400_000


def test_an_index_of_later_days_is_not_known_yet() -> None:
    """Out of sample also in this."""
    known = [(TODAY - timedelta(days=60), 100.0), (TODAY - timedelta(days=20), 110.0)]
    later = (TODAY + timedelta(days=1), 500.0)
    sales = five(sale_date=TODAY - timedelta(days=60))
    assert valued(*sales, index=index_frame(*known, later)) == valued(*sales, index=index_frame(*known))


@pytest.mark.parametrize(
    "points",
    [
        [(TODAY - timedelta(days=20), 110.0)],
        [(TODAY - timedelta(days=300), 100.0), (TODAY - timedelta(days=121), 110.0)],
    ],
    ids=["one point", "too old"],
)
def test_an_index_that_says_too_little_is_not_used(points: list[tuple[date, float]]) -> None:
    row = valued(*five(), index=index_frame(*points))
    assert ("none", 400_000.0) == (row.time_adjustment, row.estimate_usd)


def test_without_an_index_the_sales_own_trend_is_used() -> None:
    """Ten per cent a year, found in monthly medians of the price of a square foot."""
    sales = [
        make_sale(
            subject_id=f"mls/{age}",
            sale_date=TODAY - timedelta(days=age),
            sale_price_usd=400_000 * math.exp(-0.10 * age / 365),
        )
        for age in range(0, 360, 8)
    ]
    row = valued(*sales)
    assert ("trend", pytest.approx(400_000, rel=1e-3)) == (row.time_adjustment, row.estimate_usd)


def test_one_wrong_price_moves_the_estimate_little() -> None:
    """A median, weighted; the mean would be 760,000."""
    sales = [make_sale(subject_id=f"mls/{i}", sale_price_usd=400_000.0 + 1000 * i) for i in range(9)]
    assert valued(*sales, make_sale(subject_id="mls/x", sale_price_usd=4e6)).estimate_usd < 410_000


def test_a_nearer_sale_counts_more() -> None:
    """Two streets away beats the other end of the circle."""
    near = [make_sale(subject_id=f"near/{i}", sale_price_usd=400_000.0) for i in range(3)]
    far = [make_sale(subject_id=f"far/{i}", sale_price_usd=500_000.0, latitude=32.78 + 1.9 * KM) for i in range(4)]
    assert valued(*near, *far).estimate_usd < 450_000


def test_what_is_unknown_of_the_home_is_not_needed() -> None:
    """A market and a type are enough for a rough answer."""
    bare = dict.fromkeys(("living_area_sqft", "bedrooms", "bathrooms", "latitude", "longitude"))
    assert 400_000 == valued(*five(), home=make_home(**bare)).estimate_usd
    assert valued(*five(), home=make_home(**bare)).confidence_ratio == valued(*five()).confidence_ratio


# --- laws ---

AMOUNTS = st.floats(1e4, 1e7)
SALES = st.lists(
    st.builds(
        lambda number, age, price, area, rooms, place: make_sale(
            subject_id=f"mls/{number}",
            sale_date=TODAY - timedelta(days=age),
            sale_price_usd=price,
            living_area_sqft=area,
            bedrooms=rooms,
            latitude=None if place is None else 32.78 + place,
            longitude=None if place is None else -96.80,
        ),
        st.integers(0, 10**6),
        st.integers(-400, 1200),
        AMOUNTS,
        st.none() | st.floats(100, 20_000),
        st.none() | st.integers(0, 9),
        st.none() | st.floats(-0.3, 0.3),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda sale: sale["subject_id"],
)
HOMES = st.builds(
    lambda area, rooms, place: make_home(
        living_area_sqft=area, bedrooms=rooms, latitude=place, longitude=place and -96.8
    ),
    st.none() | st.floats(100, 20_000),
    st.none() | st.integers(0, 9),
    st.none() | st.floats(32.5, 33.0),
)
LAW = settings(max_examples=80, deadline=None)


def numbers(row: Any) -> list[float]:
    return [row.estimate_usd, row.low_usd, row.high_usd]


@LAW
@given(sales=SALES, home=HOMES, order=st.randoms(use_true_random=False))
def test_the_order_of_sales_changes_nothing(sales: list[dict[str, Any]], home: dict[str, Any], order: Any) -> None:
    """To the last bit."""
    shuffled = sorted(sales, key=lambda _: order.random())
    assert repr(valued(*sales, home=home)) == repr(valued(*shuffled, home=home))


@LAW
@given(sales=SALES, home=HOMES, scale=st.floats(0.01, 100))
def test_scaling_all_prices_scales_the_estimate(
    sales: list[dict[str, Any]], home: dict[str, Any], scale: float
) -> None:
    """Dollars or cents; how sure one is stays the same."""
    before = valued(*sales, home=home)
    after = valued(*({**sale, "sale_price_usd": sale["sale_price_usd"] * scale} for sale in sales), home=home)
    assert numbers(after) == pytest.approx([value * scale for value in numbers(before)], rel=1e-6, nan_ok=True)
    assert after.confidence_ratio == pytest.approx(before.confidence_ratio, rel=1e-6)


@LAW
@given(sales=SALES, home=HOMES, later=SALES)
def test_sales_after_the_day_change_nothing(
    sales: list[dict[str, Any]], home: dict[str, Any], later: list[dict[str, Any]]
) -> None:
    after = [
        {**sale, "subject_id": f"later/{i}", "sale_date": TODAY + timedelta(days=1 + i)} for i, sale in enumerate(later)
    ]
    assert repr(valued(*sales, home=home)) == repr(valued(*sales, *after, home=home))


@LAW
@given(sales=SALES, home=HOMES)
def test_the_estimate_lies_among_the_adjusted_prices(sales: list[dict[str, Any]], home: dict[str, Any]) -> None:
    """And in its own range; without a trend, prices are adjusted by at most 40 %."""
    row = valued(*sales, home=home)
    prices = [sale["sale_price_usd"] for sale in sales if sale["sale_date"] <= TODAY]
    if not row.comp_count:
        return
    assert 0 < row.low_usd <= row.estimate_usd <= row.high_usd < math.inf
    assert 0 < row.confidence_ratio <= 1
    drift = math.exp(0.30 * LOOK_BACK_DAYS / 365) if row.time_adjustment == "trend" else 1
    most = 1 + LARGEST_ADJUSTMENT_RATIO
    assert min(prices) * (2 - most) / drift * 0.999999 <= row.estimate_usd <= max(prices) * most * drift * 1.000001


@LAW
@given(sales=SALES, price=AMOUNTS)
def test_a_home_s_own_sale_says_nothing_about_its_value(sales: list[dict[str, Any]], price: float) -> None:
    """Whatever it sold for."""
    own = make_sale(subject_id="home", sale_price_usd=price)
    assert repr(valued(*sales)) == repr(valued(*sales, own))


@LAW
@given(
    pairs=st.lists(st.tuples(st.floats(1, 1e6), st.floats(1e-6, 1)), min_size=1, max_size=20),
)
def test_half_of_the_weight_lies_on_either_side_of_a_weighted_median(pairs: list[tuple[float, float]]) -> None:
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    median = weighted_median(values, weights)
    half = weights.sum() / 2
    assert values.min() <= median <= values.max()
    assert weights[values < median].sum() <= half * (1 + 1e-9)
    assert weights[values > median].sum() <= half * (1 + 1e-9)


def test_equal_weights_give_the_ordinary_median() -> None:
    assert 2.5 == weighted_median(np.array([4.0, 1.0, 2.0, 3.0]), np.ones(4))
    assert 3.0 == weighted_median(np.array([9.0, 3.0, 1.0]), np.ones(3))


def test_distances_are_those_of_a_sphere() -> None:
    """Dallas to Houston 362 km; over the date line, and to the antipode, half of a circumference."""
    assert haversine_km(32.7767, -96.7970, np.array([29.7604]), np.array([-95.3698]))[0] == pytest.approx(
        361.9, abs=0.5
    )
    assert haversine_km(0, 179.5, np.array([0.0]), np.array([-179.5]))[0] == pytest.approx(111.19, abs=0.01)
    assert haversine_km(10, 20, np.array([-10.0]), np.array([-160.0]))[0] == pytest.approx(math.pi * 6371.0088)


def test_a_trend_needs_four_months_with_three_sales_each() -> None:
    ages = np.repeat([10, 40, 70], 3)
    assert trend(ages, np.log(100 - ages * 0.01)) is None
    assert trend(np.append(ages, [100, 100]), np.zeros(11)) is None
    assert 0 == trend(np.append(ages, [100, 100, 100]), np.zeros(12))
    assert trend(np.append(ages, [800, 800, 800]), np.zeros(12)) is None


def test_a_trend_is_bounded() -> None:
    """Thirty per cent a year, either way."""
    ages = np.repeat([10, 40, 70, 100], 3)
    assert trend(ages, -ages.astype(float)) == pytest.approx(0.30 / 365)
    assert trend(ages, ages.astype(float)) == pytest.approx(-0.30 / 365)


def test_the_truth_of_a_made_up_market_is_found() -> None:
    """Prices that differ from the truth by 10 % (standard deviation): a median error of 6.7 % cannot be beaten."""
    sales = true_market(1_500)
    recent = sales[pd.to_datetime(sales["sale_date"]) > pd.Timestamp(TODAY - timedelta(days=365))]
    subjects = recent.assign(valuation_date=[day - timedelta(days=1) for day in recent["sale_date"]])
    rows = valuations(subjects, sales, NO_INDEX)
    errors = rows["estimate_usd"] / recent["sale_price_usd"] - 1
    assert errors.abs().median() < 0.09
    assert abs(errors.median()) < 0.02
    inside = (rows["low_usd"] <= recent["sale_price_usd"]) & (recent["sale_price_usd"] <= rows["high_usd"])
    assert 0.75 < inside.mean() < 0.95


def test_every_subject_gets_its_own_row_in_its_own_place() -> None:
    """Whatever their order, days, markets and labels."""
    homes = pd.concat(
        [
            homes_frame(make_home(market_slug="austin"), on=TODAY),
            homes_frame(make_home(), on=TODAY - timedelta(days=40)),
            homes_frame(make_home(), on=TODAY),
        ]
    ).set_index(pd.Index([7, 3, 5]))
    rows = valuations(homes, sales_frame(*five()), NO_INDEX)
    assert [7, 3, 5] == list(rows.index)
    assert [0, 0, 5] == list(rows["comp_count"])


# --- examples ---


def test_the_worked_example_of_the_document() -> None:
    """docs/property.md computes it by hand; so does this."""
    sales = [
        make_sale(subject_id="a", sale_price_usd=400_000.0),
        make_sale(subject_id="b", sale_price_usd=430_000.0, living_area_sqft=2200.0, sale_date=TODAY - timedelta(90)),
        make_sale(subject_id="c", sale_price_usd=360_000.0, living_area_sqft=1800.0, bedrooms=2.0),
        make_sale(subject_id="d", sale_price_usd=416_000.0, bathrooms=3.0),
        make_sale(subject_id="e", sale_price_usd=399_000.0, latitude=None, longitude=None),
    ]
    row = valued(*sales)
    per_sqft = 200.0  # the median of 200, 195.45, 200, 208 and 199.50
    adjusted = {
        "a": 400_000.0,
        "b": 430_000 - 200 * per_sqft,
        "c": 360_000 + 200 * per_sqft + 0.02 * 360_000,
        "d": 416_000 * 0.97,
        "e": 399_000.0,
    }
    weights = {
        "a": 1 / (1 + (30 / 180) ** 2),
        "b": 1 / (1 + (90 / 180) ** 2 + 0.5**2),
        "c": 1 / (1 + (30 / 180) ** 2 + 0.5**2),
        "d": 1 / (1 + (30 / 180) ** 2),
        "e": 1 / (1 + 1 + (30 / 180) ** 2),
    }
    assert [390_000, 399_000, 400_000, 403_520, 407_200] == sorted(map(round, adjusted.values()))
    total = sum(weights.values())
    below = weights["b"] + weights["e"]
    assert below < total / 2 < below + weights["a"]  # so that a's is the weighted median
    count = total**2 / sum(weight**2 for weight in weights.values())
    dispersion = 1.4826 * 3_520 / 400_000  # a 0, e 1,000, d 3,520, c 7,200, b 10,000 away
    expected = math.sqrt((count * dispersion**2 + 3 * 0.20**2) / (count + 3))
    reach = math.exp(1.2816 * expected * math.sqrt(1 + 1 / count))
    assert (400_000.0, 5, 1, "none") == (row.estimate_usd, row.comp_count, row.filter_step, row.time_adjustment)
    assert row.dispersion_ratio == pytest.approx(dispersion)
    assert (row.low_usd, row.high_usd) == pytest.approx((400_000 / reach, 400_000 * reach))
    assert row.confidence_ratio == pytest.approx(count / (count + 2) / (1 + (expected / 0.25) ** 2))
    text = (PROJECT_ROOT / "docs" / "property.md").read_text()
    for figure in (f"{row.low_usd:,.0f}", f"{row.high_usd:,.0f}", f"{row.confidence_ratio:.2f}", f"{count:.2f}"):
        assert figure in text, figure


def golden_cases() -> list[Path]:
    return sorted(path for path in GOLDEN.iterdir() if path.is_dir())


@pytest.mark.parametrize("case", golden_cases(), ids=lambda path: path.name)
def test_golden(case: Path) -> None:
    """Known input, known output. After a change of the formula, which is a new METHOD_VERSION: look, then rewrite."""
    comps = pd.read_csv(case / "comps.csv").assign(sale_date=lambda rows: pd.to_datetime(rows["sale_date"]).dt.date)
    homes = pd.read_csv(case / "subjects.csv")
    homes = homes.assign(valuation_date=pd.to_datetime(homes["valuation_date"]).dt.date)
    index = pd.read_csv(case / "index.csv")
    results = valuations(homes, comps, index).astype({"filter_step": "float64"})
    found = pd.concat([homes[["subject_id"]], results], axis="columns")
    expected = pd.read_csv(case / "expect.csv", keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(expected, found, check_dtype=False, rtol=1e-6)
