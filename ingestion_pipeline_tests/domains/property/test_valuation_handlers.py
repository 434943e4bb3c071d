"""Jobs of type `prediction`, `accuracy_check` and `data_sync`, through the real queue and worker."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
import msgspec
import pandas as pd
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.property import assets, automation, valuation_assets, valuation_automation
from ingestion_pipeline.domains.property.handlers import HANDLERS, SHOWN_PREDICTIONS
from ingestion_pipeline.domains.property.jobs import JOB_TYPES, PREDICTION
from ingestion_pipeline.domains.property.predict import predict, subject_frame
from ingestion_pipeline.domains.property.valuation_tables import PREDICTION_ACCURACY, PREDICTIONS
from ingestion_pipeline.orchestration.jobs import JobContext, JobWorker
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.jobs import Job, JobQueue, NewJob
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.property.sales import make_home, make_sale, sales_frame
from ingestion_pipeline_tests.domains.property.stored import store_comps

TODAY = utc_now().date()
EVER = Window.of_days(TODAY, TODAY)


@dataclass
class Works:
    postgres: Postgres
    settings: Settings
    lake: Lake
    cache: MemoryCache
    instance: dg.DagsterInstance

    def run(self, job_type: str, given: dict[str, Any] | None = None, market_slug: str | None = "dallas") -> Job:
        """What becomes of a job."""
        queue = JobQueue(self.postgres)
        new = NewJob(job_type=job_type, owner_id="me", input_data=given or {}, market_slug=market_slug, max_attempts=1)
        job_id, _ = queue.enqueue(new)
        worker = JobWorker(
            postgres=self.postgres,
            handlers=HANDLERS,
            context_of=lambda job, attempt: JobContext(
                job,
                self.settings,
                self.postgres,
                self.lake,
                self.cache,
                self.instance,
                self.repository,
                attempt,
            ),
        )
        worker.work(seconds=60)
        job = queue.job(job_id)
        assert job is not None
        return job

    def repository(self) -> dg.RepositoryDefinition:
        given = {
            "settings": self.settings,
            "postgres": self.postgres,
            "lake": self.lake,
            "cache": self.cache,
            "fred": None,
        }
        return dg.Definitions(
            assets=[*assets.ASSETS, *valuation_assets.ASSETS],
            jobs=[automation.property_daily_job, *valuation_automation.JOBS],
            resources={name: dg.ResourceDefinition.hardcoded_resource(value) for name, value in given.items()},
            executor=dg.in_process_executor,
        ).get_repository_def()

    def predictions(self) -> pd.DataFrame:
        return self.postgres.rows(PREDICTIONS, EVER)

    def events(self) -> list[dict[str, Any]]:
        names = "event_type, source, market_slug, processed_records, processing_time_ms, job_id::text, "
        names += "cache_keys_invalidated, provenance"
        with self.postgres.transaction() as connection:
            cursor = connection.execute(f"select {names} from operations.ingestion_events order by ingestion_event_id")
            columns = [it.name for it in cursor.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture
def works(postgres: Postgres, settings: Settings, lake: Lake, instance: dg.DagsterInstance) -> Works:
    return Works(postgres, settings, lake, MemoryCache(), instance)


def sold(number: int, days_ago: int = 30, **over: Any) -> dict[str, Any]:
    return make_sale(subject_id=f"mls/{number}", sale_date=TODAY - timedelta(days=days_ago)) | over


def asked(**over: Any) -> dict[str, Any]:
    home = make_home(property_id="house-1", address="1 Main St")
    return {name: value for name, value in home.items() if name not in ("subject_id", "market_slug")} | over


def test_homes_are_valued_for_a_job(works: Works) -> None:
    """The output, the stored row and the event of S0 say the same; the market's cached predictions are forgotten."""
    store_comps(works.postgres, sales_frame(*(sold(number) for number in range(6))))
    works.cache.set("property:predictions:dallas:recent", 1, ttl_seconds=60)
    job = works.run("prediction", {"city": "Dallas", "properties": [asked(list_price_usd=320_000.0)]})
    assert ("COMPLETED", None) == (job.status, job.error_message)
    assert job.output_data is not None
    [shown] = job.output_data.pop("predictions")
    assert {
        "predictions_count": 1,
        "without_estimate_count": 0,
        "market_slug": "dallas",
        "valuation_date": TODAY.isoformat(),
        "method_version": "1",
    } == job.output_data
    [row] = works.predictions().to_dict("records")
    assert ("house-1", 400_000.0, 6) == (shown["subject_id"], shown["estimate_usd"], shown["comp_count"])
    assert (320_000.0, 0.25, "1 Main St") == (shown["price_usd"], shown["upside_ratio"], shown["address"])
    assert (400_000.0, TODAY, job.job_id, False) == (
        row["estimate_usd"],
        row["valuation_date"],
        str(row["job_id"]),
        row["is_out_of_sample"],
    )
    subject = row["subject"] if isinstance(row["subject"], dict) else json.loads(row["subject"])
    assert (2000.0, 320_000.0) == (subject["living_area_sqft"], subject["list_price_usd"])
    [event] = works.events()
    assert event.pop("processing_time_ms") > 0
    assert {
        "event_type": "api.prediction",
        "source": "predict-properties-api",
        "market_slug": "dallas",
        "processed_records": 1,
        "job_id": job.job_id,
        "cache_keys_invalidated": ["property:predictions:dallas*"],
        "provenance": {"city": "Dallas", "asked": 1, "method_version": "1"},
    } == event
    assert works.cache.get("property:predictions:dallas:recent") is None


def test_without_properties_the_market_s_recent_sales_are_valued(works: Works) -> None:
    """Those that fit the criteria, newest first, each without its own sale."""
    store_comps(
        works.postgres,
        sales_frame(
            *(sold(number, 30 + number) for number in range(6)),
            sold(6, 1, sale_price_usd=900_000.0),
            sold(7, 2, property_type="condo"),
            sold(8, 3, bedrooms=None),
            sold(9, 300),
        ),
    )
    criteria = {"property_type": "Single Family", "max_price_usd": 500_000.0, "min_bedrooms": 3}
    job = works.run("prediction", {"city": "Dallas", "investment_criteria": criteria})
    assert job.output_data is not None, job.error_message
    assert [f"mls/{number}" for number in range(6)] == [it["subject_id"] for it in job.output_data["predictions"]]
    assert 6 == job.output_data["predictions_count"] == len(works.predictions())
    assert {400_000.0} == set(works.predictions()["sale_price_usd"])


def test_the_own_sale_of_a_valued_home_does_not_count(works: Works) -> None:
    """Five sales: each is valued by the other four."""
    store_comps(works.postgres, sales_frame(*(sold(number) for number in range(5))))
    job = works.run("prediction")
    assert job.output_data is not None
    assert [4] * 5 == [it["comp_count"] for it in job.output_data["predictions"]]


@pytest.mark.parametrize(
    ("criteria", "fitting"),
    [
        ({}, [0, 1, 2]),
        ({"property_type": "CONDO"}, [1]),
        ({"min_price_usd": 400_000.0}, [0]),
        ({"max_price_usd": 399_999.0}, [1]),
        ({"min_bedrooms": 3, "max_bedrooms": 3}, [0, 1]),
        ({"max_bathrooms": 1.5}, [2]),
        ({"min_living_area_sqft": 1900.0, "max_living_area_sqft": 2100.0}, [0, 1]),
        ({"min_bedrooms": 10}, []),
    ],
)
def test_criteria_choose_among_the_properties(works: Works, criteria: dict[str, Any], fitting: list[int]) -> None:
    """The bounds are included; what does not say is not chosen."""
    properties = [
        asked(property_id="0", list_price_usd=400_000.0),
        asked(property_id="1", property_type="condo", list_price_usd=300_000.0),
        asked(property_id="2", bedrooms=None, bathrooms=1.0, living_area_sqft=None),
    ]
    job = works.run("prediction", {"properties": properties, "investment_criteria": criteria})
    assert job.output_data is not None, job.error_message
    assert [str(number) for number in fitting] == [it["subject_id"] for it in job.output_data["predictions"]]
    assert (0, len(fitting)) == (job.output_data["predictions_count"], job.output_data["without_estimate_count"])


def test_a_job_that_is_done_again_leaves_one_prediction(works: Works) -> None:
    """Its worker was killed after the predictions were stored and before the job was settled."""
    store_comps(works.postgres, sales_frame(*(sold(number) for number in range(6))))
    homes, queue = subject_frame([make_home(subject_id="house-1")]), JobQueue(works.postgres)
    jobs = [queue.enqueue(NewJob(job_type="prediction", owner_id="me", input_data={}))[0] for _ in range(2)]
    for job_id in (jobs[0], *jobs):
        predict(works.postgres, "dallas", homes, on=TODAY, job_id=job_id)
    assert sorted(jobs) == sorted(map(str, works.predictions()["job_id"]))


def test_a_home_without_comparable_sales_is_said_to_have_no_estimate(works: Works) -> None:
    job = works.run("prediction", {"properties": [asked()]})
    assert job.output_data is not None, job.error_message
    [shown] = job.output_data["predictions"]
    assert (None, None, 0, 0.0) == (
        shown["estimate_usd"],
        shown["upside_ratio"],
        shown["comp_count"],
        shown["confidence_ratio"],
    )
    assert works.predictions()["estimate_usd"].isna().all()


def test_a_market_that_nobody_knows_has_nothing_to_value(works: Works) -> None:
    job = works.run("prediction", {"city": "San  Antonio"}, market_slug=None)
    assert job.output_data is not None, job.error_message
    assert ("san-antonio", 0, []) == tuple(
        job.output_data[name] for name in ("market_slug", "predictions_count", "predictions")
    )


def test_a_job_without_a_market_fails_at_once(works: Works) -> None:
    """Trying again would not give it one."""
    job = works.run("prediction", {}, market_slug=None)
    assert ("FAILED", "permanent") == (job.status, job.error_kind)
    assert "san-antonio" in (job.error_message or "")


def test_the_output_shows_the_first_hundred_and_all_are_stored(works: Works) -> None:
    properties = [asked(property_id=str(number)) for number in range(SHOWN_PREDICTIONS + 5)]
    job = works.run("prediction", {"properties": properties})
    assert job.output_data is not None, job.error_message
    assert [str(number) for number in range(SHOWN_PREDICTIONS)] == [
        it["subject_id"] for it in job.output_data["predictions"]
    ]
    assert SHOWN_PREDICTIONS + 5 == len(works.predictions())


@pytest.mark.parametrize(
    "given",
    [
        {"properties": []},
        {"properties": [asked(living_area_sqft=0.0)]},
        {"properties": [asked(latitude=None)]},
        {"properties": [asked(latitude=91.0)]},
        {"properties": [asked(), asked(property_id="2"), asked(bedrooms=1)]},
        {"properties": [asked(nonsense=1)]},
        {"properties": [asked(list_price_usd=float("inf"))]},
        {"investment_criteria": {"max_price": 3}},
        {"investment_criteria": {"min_price_usd": -1}},
    ],
)
def test_input_that_cannot_be_is_refused_by_its_shape(given: dict[str, Any]) -> None:
    """By the intake, before there is a job."""
    with pytest.raises(msgspec.ValidationError):
        PREDICTION.input_of(given)


def test_accuracy_is_checked_through_the_assets(works: Works) -> None:
    """The run is Dagster's like any other; the answer has the figures of the market."""
    sales = [sold(number, 1 + number, sale_price_usd=400_000.0 + 1000 * (number % 7)) for number in range(40)]
    store_comps(works.postgres, sales_frame(*sales))
    job = works.run("accuracy_check")
    assert job.output_data is not None, job.error_message
    assert {"property/predictions": 40, "property/prediction_accuracy": 3} == job.output_data["rows"]
    assert (TODAY.isoformat(), "dallas") == (job.output_data["as_of_date"], job.output_data["market_slug"])
    assert ["all", "single_family"] == [it["property_type"] for it in job.output_data["accuracy"]]
    assert 0 < job.output_data["accuracy"][0]["mdape_ratio"] < 0.05
    assert 3 == len(works.postgres.rows(PREDICTION_ACCURACY, EVER))
    overall = works.run("accuracy_check", market_slug=None)
    assert overall.output_data is not None
    assert ["all"] == [it["market_slug"] for it in overall.output_data["accuracy"]]


def test_syncing_builds_every_property_asset(works: Works) -> None:
    """Now, instead of when the schedule would."""
    job = works.run("data_sync")
    assert job.output_data is not None, job.error_message
    assert {asset.key.path[-1] for asset in [*assets.ASSETS, *valuation_assets.ASSETS]} == {
        name.partition("/")[2] for name in job.output_data["rows"]
    }


def test_every_type_has_a_handler() -> None:
    """By the very types that the intake knows."""
    assert set(JOB_TYPES) == set(HANDLERS)
