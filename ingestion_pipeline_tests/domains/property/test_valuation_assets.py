"""Sales valued out of sample and measured, in a real database: by the functions, and as assets with their checks."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import psycopg
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.operations.automation import remove_old
from ingestion_pipeline.domains.property import checks, predict
from ingestion_pipeline.domains.property.checks import recent_rows
from ingestion_pipeline.domains.property.predict import (
    measure_accuracy,
    predict_new_sales,
    remove_predictions_of_removed_jobs,
)
from ingestion_pipeline.domains.property.valuation import METHOD_VERSION, valuations
from ingestion_pipeline.domains.property.valuation_assets import ASSETS
from ingestion_pipeline.domains.property.valuation_checks import (
    CHECKS,
    disordered_ranges,
    disordered_shares,
    groundless_estimates,
    inaccurate,
)
from ingestion_pipeline.domains.property.valuation_tables import PREDICTION_ACCURACY, PREDICTIONS
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import Stores
from ingestion_pipeline_tests.domains.property.sales import NO_INDEX, TODAY, make_sale, sales_frame, true_market
from ingestion_pipeline_tests.domains.property.stored import store_comps, store_fundamentals

EVER = Window.of_days(TODAY, TODAY)
DAY = timedelta(days=1)


def predictions(postgres: Postgres) -> pd.DataFrame:
    return postgres.rows(PREDICTIONS, EVER).sort_values("subject_id").reset_index(drop=True)


def refreshed(postgres: Postgres) -> int:
    """How many sales were valued."""
    return sum(len(rows) for rows in predict_new_sales(postgres))


def test_each_sale_is_valued_as_of_the_day_before(postgres: Postgres) -> None:
    """By the sales up to then, never its own, with the price that it brought."""
    sales = true_market(60)
    store_comps(postgres, sales)
    assert 60 == refreshed(postgres)
    found = predictions(postgres).set_index("subject_id").loc[sales["subject_id"]].reset_index()
    subjects = sales.assign(valuation_date=[day - DAY for day in sales["sale_date"]])
    expected = valuations(subjects, sales, NO_INDEX)
    assert found["estimate_usd"].to_numpy() == pytest.approx(expected["estimate_usd"].to_numpy(), nan_ok=True)
    assert found["sale_price_usd"].to_numpy() == pytest.approx(sales["sale_price_usd"].to_numpy())
    assert [day - DAY for day in sales["sale_date"]] == list(found["valuation_date"])
    assert {(True, METHOD_VERSION, None)} == set(
        found[["is_out_of_sample", "method_version", "job_id"]].itertuples(index=False, name=None)
    )
    oldest = found.loc[found["valuation_date"].idxmin()]
    assert (0, 0.0, "none") == (oldest["comp_count"], oldest["confidence_ratio"], oldest["time_adjustment"])
    assert pd.isna(oldest["estimate_usd"])


def test_the_market_s_value_index_is_used(postgres: Postgres) -> None:
    """From property.fundamentals, where it is there."""
    store_comps(postgres, sales_frame(make_sale(), make_sale(subject_id="mls/2", sale_date=TODAY)))
    store_fundamentals(
        postgres,
        "dallas",
        "home_value_index_usd",
        (TODAY - timedelta(days=30), 100.0),
        (TODAY - timedelta(days=2), 110.0),
    )
    refreshed(postgres)
    row = predictions(postgres).iloc[1]
    assert ("mls/2", "index", 1) == (row["subject_id"], row["time_adjustment"], row["comp_count"])
    assert row["estimate_usd"] == pytest.approx(440_000)


def test_only_what_is_new_or_corrected_is_valued(postgres: Postgres) -> None:
    """A correction replaces its prediction; sales that become known later leave the others as they are."""
    store_comps(postgres, sales_frame(make_sale(), make_sale(subject_id="mls/2", sale_date=TODAY)))
    assert (2, 0) == (refreshed(postgres), refreshed(postgres))
    before = predictions(postgres)
    store_comps(postgres, sales_frame(make_sale(subject_id="mls/0", sale_price_usd=9e5)))
    assert 1 == refreshed(postgres)
    pd.testing.assert_frame_equal(before, predictions(postgres).iloc[1:].reset_index(drop=True))
    store_comps(postgres, sales_frame(make_sale(sale_price_usd=5e5)), revision=2)
    assert 1 == refreshed(postgres)
    after = predictions(postgres)
    assert [9e5, 5e5, 4e5] == list(after["sale_price_usd"])
    assert [1, 2, 1] == list(after["subject_revision"])


def test_a_sale_that_moves_to_another_market_is_valued_there(postgres: Postgres) -> None:
    """Its prediction moves with it."""
    store_comps(postgres, sales_frame(make_sale()))
    refreshed(postgres)
    store_comps(postgres, sales_frame(make_sale(market_slug="austin", property_type="condo")), revision=2)
    assert 1 == refreshed(postgres)
    assert [("austin", "condo")] == list(
        predictions(postgres)[["market_slug", "property_type"]].itertuples(index=False, name=None)
    )


def test_many_sales_are_stored_part_by_part(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that breaks off has kept what it did, and the next goes on there."""
    store_comps(postgres, true_market(25))
    monkeypatch.setattr(predict, "ROWS_PER_PART", 10)
    parts = predict_new_sales(postgres)
    assert 10 == len(next(parts))
    parts.close()
    assert 10 == len(predictions(postgres))
    assert [10, 5] == [len(part) for part in predict_new_sales(postgres)]


def test_accuracy_is_that_of_the_last_year(postgres: Postgres) -> None:
    """Measured twice it is stored once."""
    store_comps(postgres, true_market(300))
    refreshed(postgres)
    measure_accuracy(postgres, as_of=TODAY)
    rows = measure_accuracy(postgres, as_of=TODAY)
    stored = postgres.rows(PREDICTION_ACCURACY, EVER)
    assert {("dallas", "single_family"), ("dallas", "all"), ("all", "all")} == set(
        stored[["market_slug", "property_type"]].itertuples(index=False, name=None)
    )
    row = stored.iloc[0]
    assert (365, METHOD_VERSION, TODAY) == (row["window_days"], row["method_version"], row["as_of_date"])
    assert 0.03 < row["mdape_ratio"] < 0.20
    assert len(rows) == len(stored)
    assert measure_accuracy(postgres, as_of=TODAY - timedelta(days=9_000)).empty


def test_a_market_of_hostile_rows_is_valued_or_left_out_but_breaks_nothing(postgres: Postgres) -> None:
    """The extremes that the table takes: tiny and huge prices and areas, poles and antipodes, nothing known."""
    extremes: list[dict[str, Any]] = [
        {"sale_price_usd": 1e-9},
        {"sale_price_usd": 1e10, "living_area_sqft": 1e-9},
        {"sale_price_usd": 1e10, "living_area_sqft": 1e9, "bedrooms": 1000.0, "bathrooms": 1000.0},
        {"latitude": 90.0, "longitude": 180.0},
        {"latitude": -90.0, "longitude": -180.0},
        {"living_area_sqft": None, "bedrooms": None, "bathrooms": None, "latitude": None, "longitude": None},
        {"living_area_sqft": 1e-9, "sale_price_usd": 1e-9},
    ]
    sales = [
        make_sale(subject_id=f"mls/{number}", sale_date=TODAY - timedelta(days=number), **over)
        for number, over in enumerate(extremes * 3)
    ]
    store_comps(postgres, sales_frame(*sales))
    store_fundamentals(postgres, "dallas", "home_value_index_usd", (TODAY - 99 * DAY, 1e-9), (TODAY - 15 * DAY, 1e10))
    assert len(sales) == refreshed(postgres)
    measure_accuracy(postgres, as_of=TODAY)
    assert disordered_ranges(predictions(postgres)).empty
    assert groundless_estimates(predictions(postgres)).empty


def test_the_assets_record_what_they_did(
    postgres: Postgres, lake: Lake, instance: dg.DagsterInstance, settings: Settings
) -> None:
    """Rows, checks, an event that tells other processes which keys to forget; the own cache has forgotten them."""
    today = utc_now().date()
    store_comps(postgres, true_market(80).assign(sale_date=[today - i * DAY for i in range(1, 81)]))
    cache = MemoryCache()
    cache.set("property:predictions:dallas:recent", 1, ttl_seconds=60)
    cache.set("property:predictions:austin:recent", 1, ttl_seconds=60)
    result = dg.materialize(
        [*ASSETS, *CHECKS],
        selection=dg.AssetSelection.assets(*(asset.key for asset in ASSETS)),
        instance=instance,
        resources={"postgres": postgres, "cache": cache, "lake": lake, "settings": settings},
    )
    assert result.success
    rows = {
        it.asset_key.path[-1]: it.step_materialization_data.materialization.metadata["rows"].value
        for it in result.get_asset_materialization_events()
    }
    assert {"predictions": 80, "prediction_accuracy": 3} == rows
    assert 4 == len(result.get_asset_check_evaluations())
    assert all(it.passed for it in result.get_asset_check_evaluations())
    with postgres.transaction() as connection:
        events = connection.execute(
            "select event_type, processed_records, cache_keys_invalidated, dagster_run_id "
            "from operations.ingestion_events order by ingestion_event_id"
        ).fetchall()
    keys = ["property:predictions:dallas*"]
    assert [
        ("predictions.refresh", 80, keys, result.run_id),
        ("accuracy.refresh", 3, ["property:predictions:all*", *keys], result.run_id),
    ] == events
    assert cache.get("property:predictions:dallas:recent") is None
    assert cache.get("property:predictions:austin:recent") == 1


def test_the_checks_see_what_is_recent(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is kept, part by part, without the JSON of what was valued."""
    store_comps(postgres, true_market(25))
    refreshed(postgres)
    with postgres.transaction() as connection:
        connection.execute(
            "update property.predictions set made_at = made_at - interval '3 days' where prediction_id in "
            "(select prediction_id from property.predictions limit 10)"
        )
    monkeypatch.setattr(checks, "ROWS_PER_PART", 10)
    parts = list(recent_rows(PREDICTIONS, postgres, column="made_at", since=utc_now() - 2 * DAY))
    assert [10, 5] == [len(part) for part in parts]
    assert "subject" not in parts[0]
    assert "float64" == str(parts[0]["estimate_usd"].dtype)


def materialized_predictions(stores: Stores, lake: Lake, instance: dg.DagsterInstance) -> Mapping[str, Any]:
    """Builds that asset alone; what it says of it."""
    resources = vars(stores) | {"lake": lake}
    selection = dg.AssetSelection.assets(dg.AssetKey(list(PREDICTIONS.asset_key)))
    result = dg.materialize(ASSETS, selection=selection, instance=instance, resources=resources)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    return event.step_materialization_data.materialization.metadata


def test_the_market_that_a_sale_has_left_is_forgotten(
    postgres: Postgres, lake: Lake, instance: dg.DagsterInstance, settings: Settings
) -> None:
    """Its predictions showed the sale."""
    store_comps(postgres, sales_frame(make_sale()))
    refreshed(postgres)
    store_comps(postgres, sales_frame(make_sale(market_slug="austin")), revision=2)
    cache = MemoryCache()
    cache.set("property:predictions:dallas:recent", 1, ttl_seconds=60)
    materialized_predictions(Stores(settings, postgres, cache), lake, instance)
    assert cache.get("property:predictions:dallas:recent") is None
    with postgres.transaction() as connection:
        assert (["property:predictions:austin*", "property:predictions:dallas*"],) == connection.execute(
            "select cache_keys_invalidated from operations.ingestion_events"
        ).fetchone()


def test_what_a_job_predicted_goes_with_the_job(
    postgres: Postgres, database_url: str, lake: Lake, instance: dg.DagsterInstance, settings: Settings
) -> None:
    """Ninety days after its end; the sales' predictions stay."""
    store_comps(postgres, sales_frame(make_sale()))
    refreshed(postgres)
    with psycopg.connect(database_url) as owner:
        owner.execute("set session_replication_role = replica")  # the state is not reached by the functions
        row = owner.execute(
            "insert into operations.jobs (job_type, status, owner_id, output_data, finished_at) "
            "values ('prediction', 'COMPLETED', 'me', '{}', now() - interval '91 days') returning job_id::text"
        ).fetchone()
    assert row is not None
    home = predict.subject_frame([make_sale(subject_id="my-home")])
    predict.predict(postgres, "dallas", home, on=TODAY, job_id=row[0])
    assert 0 == remove_predictions_of_removed_jobs(postgres)
    assert 1 == remove_old(postgres, now=utc_now())["jobs"]
    built = materialized_predictions(Stores(settings, postgres, MemoryCache()), lake, instance)
    assert 1 == built["removed"].value
    assert ["mls/1"] == list(predictions(postgres)["subject_id"])


def prediction(**over: Any) -> dict[str, Any]:
    return {"estimate_usd": 2.0, "low_usd": 1.0, "high_usd": 3.0, "comp_count": 5, "confidence_ratio": 0.5} | over


NOTHING = {"estimate_usd": None, "low_usd": None, "high_usd": None, "comp_count": 0, "confidence_ratio": 0.0}


@pytest.mark.parametrize("over", [{"low_usd": 2.1}, {"high_usd": 1.9}, {"low_usd": 0.0}, {"low_usd": None}])
def test_a_prediction_outside_its_range_is_noticed(over: dict[str, Any]) -> None:
    rows = pd.DataFrame([prediction(), prediction(**over), NOTHING]).astype("float64")
    assert [1] == list(disordered_ranges(rows).index)


@pytest.mark.parametrize(
    "bad",
    [
        prediction(estimate_usd=None),
        prediction(confidence_ratio=0.0),
        prediction(comp_count=0),
        NOTHING | {"confidence_ratio": 0.1},
    ],
)
def test_an_estimate_without_grounds_is_noticed(bad: dict[str, Any]) -> None:
    rows = pd.DataFrame([prediction(), NOTHING, bad]).astype("float64")
    assert [2] == list(groundless_estimates(rows).index)


def figure(**over: Any) -> dict[str, Any]:
    row = {"as_of_date": TODAY, "prediction_count": 60, "valued_count": 50, "mdape_ratio": 0.2, "bias_ratio": 0.0}
    return row | {"ppe10_ratio": 0.3, "ppe20_ratio": 0.6} | over


@pytest.mark.parametrize("over", [{"mdape_ratio": 0.26}, {"bias_ratio": 0.11}, {"bias_ratio": -0.11}])
def test_bad_figures_are_noticed_where_there_are_enough_sales(over: dict[str, Any]) -> None:
    """Not those of few sales, nor those of last week."""
    rows = pd.DataFrame(
        [
            figure(),
            figure(**over),
            figure(valued_count=49, **over),
            figure(as_of_date=TODAY - timedelta(days=3), **over),
        ]
    )
    assert [1] == list(inaccurate(rows, today=TODAY).index)


@pytest.mark.parametrize("over", [{"ppe10_ratio": 0.7}, {"ppe20_ratio": 1.1}, {"valued_count": 61}])
def test_figures_that_cannot_be_are_noticed(over: dict[str, Any]) -> None:
    rows = pd.DataFrame([figure(), figure(ppe10_ratio=None, ppe20_ratio=None, valued_count=0), figure(**over)])
    assert [2] == list(disordered_shares(rows).index)


def test_every_check_is_of_the_domain_s_tables() -> None:
    assert {"predictions", "prediction_accuracy"} == {
        key.asset_key.path[-1] for check in CHECKS for key in check.check_keys
    }
