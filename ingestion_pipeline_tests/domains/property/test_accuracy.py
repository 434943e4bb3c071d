"""The accuracy figures: their definitions, their window, their levels."""

import math
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domains.property.accuracy import WINDOW_DAYS, prediction_accuracy
from ingestion_pipeline.domains.property.valuation_tables import PREDICTION_ACCURACY

TODAY = date(2026, 3, 2)
COLUMNS = ["market_slug", "property_type", "valuation_date", "estimate_usd", "sale_price_usd"]


def prediction(estimate: float, price: float = 100.0, **over: Any) -> dict[str, Any]:
    row = {"market_slug": "dallas", "property_type": "condo", "valuation_date": TODAY, "estimate_usd": estimate}
    return row | {"sale_price_usd": price} | over


def figures(*predictions: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(list(predictions), columns=COLUMNS).astype({"estimate_usd": "float64"})
    rows = prediction_accuracy(frame, as_of=TODAY, method_version="1")
    return rows.set_index(["market_slug", "property_type"])


def test_the_figures_are_those_of_the_industry() -> None:
    """Errors of +5, -10, +20, +30 and -5 %: both bounds belong to the share."""
    row = figures(*map(prediction, (105.0, 90.0, 120.0, 130.0, 95.0))).loc[("dallas", "condo")]
    errors = [0.05, -0.10, 0.20, 0.30, -0.05]
    mean = sum(errors) / 5
    assert row["mdape_ratio"] == pytest.approx(0.10)
    assert row["bias_ratio"] == pytest.approx(0.05)
    assert row["error_stddev_ratio"] == pytest.approx(math.sqrt(sum((it - mean) ** 2 for it in errors) / 4))
    assert (5, 5, 0.6, 0.8) == (row["prediction_count"], row["valued_count"], row["ppe10_ratio"], row["ppe20_ratio"])


def test_sales_without_an_estimate_are_counted_but_have_no_error() -> None:
    """Whoever values only the easy half is seen to."""
    row = figures(prediction(110.0), prediction(math.nan)).loc[("dallas", "condo")]
    assert (2, 1, pytest.approx(0.10)) == (row["prediction_count"], row["valued_count"], row["mdape_ratio"])
    assert math.isnan(row["error_stddev_ratio"])


def test_without_any_estimate_there_are_no_figures() -> None:
    row = figures(prediction(math.nan)).loc[("dallas", "condo")]
    assert (1, 0) == (row["prediction_count"], row["valued_count"])
    names = ["mdape_ratio", "ppe10_ratio", "ppe20_ratio", "bias_ratio", "error_stddev_ratio"]
    assert row[names].isna().all()


def test_there_are_figures_of_a_market_s_types_of_the_market_and_of_all() -> None:
    rows = figures(prediction(110.0), prediction(120.0, property_type="house"), prediction(130.0, market_slug="austin"))
    assert {
        ("dallas", "condo"): 1,
        ("dallas", "house"): 1,
        ("dallas", "all"): 2,
        ("austin", "condo"): 1,
        ("austin", "all"): 1,
        ("all", "all"): 3,
    } == rows["prediction_count"].to_dict()


def test_a_type_or_market_called_all_has_no_row_beside_that_of_all() -> None:
    """Stored before such names were refused: each key is there once, with every sale."""
    rows = figures(prediction(110.0), prediction(120.0, property_type="all"), prediction(130.0, market_slug="all"))
    assert {
        ("dallas", "condo"): 1,
        ("dallas", "all"): 2,
        ("all", "condo"): 1,
        ("all", "all"): 3,
    } == rows["prediction_count"].to_dict()


def test_the_window_is_a_year_that_ends_with_the_day() -> None:
    days = [TODAY - timedelta(days=WINDOW_DAYS - 1), TODAY, TODAY - timedelta(days=WINDOW_DAYS), TODAY + timedelta(1)]
    rows = figures(*(prediction(110.0, valuation_date=day) for day in days))
    assert 2 == rows.loc[("dallas", "condo"), "prediction_count"]


def test_nothing_predicted_gives_no_rows() -> None:
    found = prediction_accuracy(pd.DataFrame([], columns=COLUMNS), as_of=TODAY, method_version="1")
    assert (0, list(PREDICTION_ACCURACY.column_names)) == (len(found), list(found.columns))


@settings(max_examples=60, deadline=None)
@given(
    estimates=st.lists(st.floats(1, 1e6), min_size=1, max_size=30),
    scale=st.floats(0.01, 100),
    order=st.randoms(use_true_random=False),
)
def test_neither_currency_nor_order_changes_a_figure(estimates: list[float], scale: float, order: Any) -> None:
    """And a share within 10 % is never above that within 20 %."""
    before = figures(*(prediction(it, 1000.0) for it in estimates)).loc[("dallas", "condo")]
    shuffled = sorted(estimates, key=lambda _: order.random())
    # a power of two, which changes no digit: an error of exactly 10 % stays one
    factor = 2.0 ** round(math.log2(scale))
    after = figures(*(prediction(it * factor, 1000.0 * factor) for it in shuffled)).loc[("dallas", "condo")]
    names = ["mdape_ratio", "ppe10_ratio", "ppe20_ratio", "bias_ratio", "error_stddev_ratio"]
    assert before[names].tolist() == pytest.approx(after[names].tolist(), nan_ok=True)
    assert 0 <= before["ppe10_ratio"] <= before["ppe20_ratio"] <= 1
