"""Every claim about the property tables: a frame that breaks it, and one that does not."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from ingestion_pipeline.domains.property.checks import (
    CHECKS,
    blank_series,
    distant_sales,
    early_vintages,
    implausible_figures,
    mixed_sources,
    odd_prices,
    recent_markets,
    silent_series,
    stale_markets,
    sudden_steps,
    unsold,
)
from ingestion_pipeline.domains.property.contracts import COMPS_UPSERT, FUNDAMENTALS_UPSERT
from ingestion_pipeline.domains.property.ingest import apply_comps, apply_fundamentals
from ingestion_pipeline.domains.property.tables import COMPS, FUNDAMENTALS, TABLES
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.property.deliveries import comp, deliver, fundamentals

NOW = datetime(2026, 7, 15, tzinfo=UTC)


def figure(**over: Any) -> dict[str, Any]:
    return {
        "market_slug": "dallas",
        "metric": "home_value_index_usd",
        "as_of_date": date(2026, 5, 31),
        "value": 370_000.0,
        "unit": "usd",
        "source": "Zillow",
    } | over


def sale(**over: Any) -> dict[str, Any]:
    return {
        "market_slug": "dallas",
        "property_type": "condo",
        "sale_date": date(2026, 5, 1),
        "sale_price_usd": 200_000.0,
        "living_area_sqft": 1_000.0,
        "latitude": 32.8,
        "longitude": -96.8,
        "received_at": pd.Timestamp("2026-05-02", tz="UTC"),
    } | over


def observed(*months: date, values: list[float | None] | None = None, **over: Any) -> pd.DataFrame:
    """One row a month, known and confirmed a month later."""
    rows = [
        {
            "series_id": "UNRATE",
            "observation_date": month,
            "vintage_date": month + timedelta(days=35),
            "confirmed_date": month + timedelta(days=36),
            "value": value,
            "received_at": pd.Timestamp(month, tz="UTC"),
        }
        | over
        for month, value in zip(months, values or [1.0] * len(months), strict=True)
    ]
    return pd.DataFrame(rows).astype({"value": "float64"})


MONTHS = [date(2026, month, 1) for month in range(1, 7)]


@pytest.mark.parametrize("over", [{"value": -1.0}, {"value": 1e11}, {"unit": "eur"}, {"metric": "moonlight"}])
def test_a_figure_out_of_its_bounds_is_found(over: dict[str, Any]) -> None:
    """Also one in another unit, and one that nobody knows."""
    rows = pd.DataFrame([figure(), figure(**over)])
    assert [1] == implausible_figures(rows).index.tolist()
    assert implausible_figures(rows.head(1)).empty


def test_a_series_of_two_sources_is_found() -> None:
    """Each source is shown once; another market's or metric's own source is no mixture."""
    good = [figure(), figure(market_slug="austin", source="acme"), figure(metric="rent_index_usd", source="acme")]
    assert mixed_sources(pd.DataFrame(good)).empty
    found = mixed_sources(pd.DataFrame([*good, figure(as_of_date=date(2026, 6, 30), source="acme")]))
    assert [("dallas", "home_value_index_usd", "Zillow"), ("dallas", "home_value_index_usd", "acme")] == list(
        found.itertuples(index=False, name=None)
    )


@pytest.mark.parametrize(
    ("value", "day", "unit", "is_found"),
    [
        (740_001.0, date(2026, 6, 30), "usd", True),
        (184_999.0, date(2026, 6, 30), "usd", True),
        (740_000.0, date(2026, 6, 30), "usd", False),
        (999_999.0, date(2026, 8, 31), "usd", False),
        (999_999.0, date(2026, 6, 30), "count", False),
    ],
)
def test_a_price_that_doubles_in_a_month_is_found(value: float, day: date, unit: str, is_found: bool) -> None:  # noqa: FBT001
    """Over a longer gap it may; a count may always."""
    rows = pd.DataFrame([figure(as_of_date=day, value=value, unit=unit), figure(unit=unit)])
    assert is_found == (len(sudden_steps(rows)) == 1)


def test_a_price_per_square_foot_beyond_belief_is_found() -> None:
    """Of its market and type, where there are enough to compare; without an area nothing is said."""
    usual = [sale() for _ in range(10)]
    odd = [sale(sale_price_usd=2_000_001.0), sale(sale_price_usd=19_999.0)]
    assert [10, 11] == odd_prices(pd.DataFrame([*usual, *odd])).index.tolist()
    assert odd_prices(pd.DataFrame([*usual[:8], odd[0]])).empty
    assert odd_prices(pd.DataFrame([*usual, sale(living_area_sqft=float("nan"), sale_price_usd=1e9)])).empty
    assert odd_prices(pd.DataFrame([*usual, sale(property_type="land", sale_price_usd=1e9)])).empty


def test_a_sale_far_from_its_market_is_found() -> None:
    """Swapped coordinates above all; one without any is nowhere."""
    rows = [sale(), sale(), sale(latitude=-96.8, longitude=32.8), sale(latitude=float("nan"), longitude=float("nan"))]
    assert [2] == distant_sales(pd.DataFrame(rows)).index.tolist()


def test_a_sale_of_tomorrow_is_found() -> None:
    """Received before it happened."""
    assert [1] == unsold(pd.DataFrame([sale(), sale(sale_date=date(2026, 5, 4))])).index.tolist()


@pytest.mark.parametrize(
    "over",
    [{"vintage_date": date(2025, 12, 31)}, {"confirmed_date": date(2026, 1, 1), "vintage_date": date(2026, 2, 1)}],
)
def test_a_value_known_before_its_day_is_found(over: dict[str, Any]) -> None:
    """Or confirmed before it was known."""
    assert 1 == len(early_vintages(observed(MONTHS[0], **over)))
    assert early_vintages(observed(*MONTHS)).empty


def test_a_series_that_has_stopped_is_found() -> None:
    """Four periods late, by its own rhythm; of the others nothing is said."""
    stopped = observed(*MONTHS, series_id="GONE")
    assert silent_series(stopped, now=NOW).empty
    later = NOW + timedelta(days=170)
    assert [("GONE", MONTHS[-1])] == [
        (row.series_id, row.observation_date) for row in silent_series(stopped, now=later).itertuples()
    ]
    yearly = observed(*[date(year, 1, 1) for year in (2023, 2024, 2025)], series_id="YEARLY")
    assert silent_series(yearly, now=later).empty
    assert silent_series(observed(MONTHS[0]), now=later).empty


def test_a_series_without_values_is_found() -> None:
    """A holiday is not; ten in a row are. What a revision has filled is not missing any more."""
    months = [date(2025, 1, 1) + timedelta(days=31 * number) for number in range(12)]
    blank = observed(*months, values=[1.0, 1.0, *[None] * 10])
    assert ["UNRATE"] == blank_series(blank)["series_id"].tolist()
    assert blank_series(observed(*months, values=[*[None] * 11, 1.0])).empty
    filled = observed(months[-1], values=[1.0], confirmed_date=date(2027, 1, 1))
    assert blank_series(pd.concat([blank, filled], ignore_index=True)).empty


def test_a_stale_market_is_found() -> None:
    """As the table says."""
    rows = pd.DataFrame({"market_slug": ["a", "b"], "is_stale": [True, False]})
    assert ["a"] == stale_markets(rows)["market_slug"].tolist()


def test_claims_hold_of_no_rows() -> None:
    """A new installation passes every check."""
    figures, sales, months = pd.DataFrame([figure()]), pd.DataFrame([sale()]), observed(MONTHS[0])
    found = [claim(figures.iloc[:0]) for claim in (implausible_figures, mixed_sources, sudden_steps)]
    found += [claim(sales.iloc[:0]) for claim in (odd_prices, distant_sales, unsold)]
    found += [early_vintages(months.iloc[:0]), silent_series(months.iloc[:0], now=NOW), blank_series(months.iloc[:0])]
    assert [0] * 9 == [len(it) for it in found]


def test_the_checks_see_whole_markets_that_received_something(postgres: Postgres) -> None:
    """Also what they had before; in the types of their table."""
    now = datetime.now(UTC)
    long_ago, cache = now - timedelta(days=300), MemoryCache()
    for day, received in (("2025-01-31", long_ago), ("2025-02-28", now)):
        deliver(postgres, FUNDAMENTALS_UPSERT, fundamentals(as_of=day), received=received)
    deliver(postgres, FUNDAMENTALS_UPSERT, fundamentals(as_of="2025-01-31"), received=long_ago, market_slug="austin")
    deliver(postgres, COMPS_UPSERT, comp(sale_date="2025-01-01", living_area_sqft=None), received=now)
    apply_fundamentals(postgres, cache, max_age_days=30, run_id="run-1")
    apply_comps(postgres, cache, run_id="run-1")
    (rows,) = recent_markets(FUNDAMENTALS, postgres, since=now - timedelta(days=2))
    assert [("dallas", 2)] == list(rows.groupby("market_slug").size().items())
    (sales,) = recent_markets(COMPS, postgres, since=now - timedelta(days=2))
    assert "float64" == str(sales["living_area_sqft"].dtype)
    assert [] == [claim for claim in (odd_prices, distant_sales, unsold) if len(claim(sales))]


def test_every_table_has_checks_named_after_it() -> None:
    """A check says of which table it is."""
    names = {spec.name: spec.asset_key.path[-1] for checks in CHECKS for spec in checks.check_specs}
    assert {table.name for table in TABLES} == set(names.values())
    assert [] == [name for name, table in names.items() if not name.startswith(f"{table}_")]
