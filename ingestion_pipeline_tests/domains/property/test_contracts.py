"""The shape of deliveries: what senders may leave out, and how what is wrong is named."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from ingestion_pipeline.domains.property.contracts import (
    COMPS_UPSERT,
    DELIVERY_TYPES,
    FUNDAMENTALS_UPSERT,
    MACRO_UPDATE,
    MOST_COMPS,
    Comp,
    FundamentalsData,
    Observation,
)
from ingestion_pipeline.domains.property.metrics import METRICS
from ingestion_pipeline_tests.domains.property.deliveries import comp, fundamentals, macro


def read(event_type: str, data: Any) -> Any:
    return DELIVERY_TYPES[event_type].data_of(data)


def test_fundamentals_are_figures_of_a_day() -> None:
    """Whole numbers are numbers; `revised_at` has a time zone."""
    data = read(
        FUNDAMENTALS_UPSERT, fundamentals(metrics={"population_count": 7}, revised_at="2026-03-01T01:00:00+01:00")
    )
    assert (
        FundamentalsData(
            as_of=date(2026, 2, 28), metrics={"population_count": 7.0}, revised_at=datetime(2026, 3, 1, tzinfo=UTC)
        )
        == data
    )


def test_one_sale_may_be_the_data_itself() -> None:
    """Or one of a list."""
    sale = Comp(comp_id="a", property_type="condo", sale_date=date(2026, 1, 2), sale_price_usd=1.0)
    data = {"comp_id": "a", "property_type": "condo", "sale_date": "2026-01-02", "sale_price_usd": 1}
    assert [sale] == read(COMPS_UPSERT, data).comps
    assert [sale, sale] == read(COMPS_UPSERT, {"comps": [data, data]}).comps


def test_observations_may_be_written_as_fred_does() -> None:
    """Text, and "." for missing."""
    data = read(MACRO_UPDATE, macro(("2026-01-01", "4.1"), ("2026-02-01", "."), ("2026-03-01", None)))
    assert ["4.1", ".", None] == [it.value for it in data.observations]
    assert Observation(date(2026, 1, 1), "4.1") == data.observations[0]


def test_only_macro_series_need_no_market() -> None:
    """A rate of the country is of every market."""
    assert {FUNDAMENTALS_UPSERT: True, COMPS_UPSERT: True, MACRO_UPDATE: False} == {
        name: it.needs_market for name, it in DELIVERY_TYPES.items()
    }


@pytest.mark.parametrize(
    ("event_type", "data", "says"),
    [
        (FUNDAMENTALS_UPSERT, {}, "as_of"),
        (FUNDAMENTALS_UPSERT, [], "Expected `object`, got `array`"),
        (FUNDAMENTALS_UPSERT, fundamentals(metrics={}), r"length >= 1 - at `\$.metrics`"),
        (FUNDAMENTALS_UPSERT, fundamentals(metrics={"median_sale_price": 1}), "nearest is median_sale_price_usd"),
        (FUNDAMENTALS_UPSERT, fundamentals(metrics={"": 1}), "not a known metric"),
        (FUNDAMENTALS_UPSERT, fundamentals(metrics={"vacancy_ratio": "1"}), r"\$.metrics"),
        (FUNDAMENTALS_UPSERT, fundamentals(metrics={"vacancy_ratio": None}), r"\$.metrics"),
        (FUNDAMENTALS_UPSERT, fundamentals(metrics={"vacancy_ratio": True}), r"\$.metrics"),
        (FUNDAMENTALS_UPSERT, fundamentals(as_of="2026-02-30"), r"\$.as_of"),
        (FUNDAMENTALS_UPSERT, fundamentals(as_of=20260228), r"\$.as_of"),
        (FUNDAMENTALS_UPSERT, fundamentals(revised_at="2026-03-01T00:00:00"), r"\$.revised_at"),
        (FUNDAMENTALS_UPSERT, fundamentals(unit="usd"), "unknown field `unit`"),
        (COMPS_UPSERT, {"comps": []}, r"\$.comps"),
        (COMPS_UPSERT, {"comps": [comp()] * (MOST_COMPS + 1)}, r"length <= 5000 - at `\$.comps`"),
        (COMPS_UPSERT, {"comps": [comp(), comp(sale_price_usd="1")]}, r"\$.comps\[1\].sale_price_usd"),
        (COMPS_UPSERT, comp(comp_id=""), r"\$.comp_id"),
        (COMPS_UPSERT, comp(comp_id="x" * 201), r"\$.comp_id"),
        (COMPS_UPSERT, comp(property_type="<b>"), r"\$.property_type"),
        (COMPS_UPSERT, {"comps": [comp(), comp(property_type="ALL")]}, r"property_type is not .* - at `\$.comps\[1\]`"),
        (COMPS_UPSERT, comp(property_type="all/"), "stands for every type"),
        (COMPS_UPSERT, comp(price=1), "unknown field `price`"),
        (COMPS_UPSERT, "comps", "Expected"),
        (MACRO_UPDATE, macro(series_id="UN RATE"), r"\$.series_id"),
        (MACRO_UPDATE, macro(observations=[]), r"\$.observations"),
        (MACRO_UPDATE, macro(("yesterday", 1)), r"\$.observations\[0\].date"),
        (MACRO_UPDATE, macro(("2026-01-01", [])), r"\$.observations\[0\].value"),
    ],
)
def test_what_is_wrong_is_named(event_type: str, data: Any, says: str) -> None:
    """The field and its place, before anything of the delivery is stored."""
    with pytest.raises(msgspec.ValidationError, match=says):
        read(event_type, data)


def test_every_metric_says_its_unit_in_its_name() -> None:
    """Same quantity, same name everywhere."""
    suffixes = {"usd": "_usd", "count": "_count", "ratio": "_ratio"}
    assert [] == [name for name, it in METRICS.items() if it.unit in suffixes and not name.endswith(suffixes[it.unit])]
    assert {"usd", "count", "ratio", "days", "months"} == {it.unit for it in METRICS.values()}
    assert [] == [name for name, it in METRICS.items() if not it.lowest < it.highest]
