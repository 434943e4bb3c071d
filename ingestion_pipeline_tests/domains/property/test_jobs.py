"""What the kinds of property jobs refuse before a job is made, and where a job that is cancelled stops."""

from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.domains.property.handlers import prediction
from ingestion_pipeline.domains.property.jobs import PREDICTION
from ingestion_pipeline.orchestration.jobs import Attempt, JobCancelled, JobContext
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.jobs import JobQueue, NewJob
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

HOME = {"property_id": "house-1", "property_type": "single_family", "living_area_sqft": 1500}


@pytest.mark.parametrize("given", [{}, {"city": "!"}])
def test_a_prediction_without_a_market_is_refused(given: dict[str, Any], settings: Settings) -> None:
    """It could only fail."""
    with pytest.raises(ContractError, match="san-antonio") as raised:
        PREDICTION.check(PREDICTION.input_of(given), None, settings)
    assert "market_slug" == raised.value.field


@pytest.mark.parametrize(("given", "market_slug"), [({"city": "San Antonio"}, None), ({}, "dallas")])
def test_a_prediction_with_a_market_is_taken(
    given: dict[str, Any], market_slug: str | None, settings: Settings
) -> None:
    """Its own, or the city's."""
    PREDICTION.check(PREDICTION.input_of(given), market_slug, settings)


def test_a_cancelled_prediction_values_nothing(
    postgres: Postgres, settings: Settings, lake: Lake, instance: dg.DagsterInstance
) -> None:
    """Nothing is stored."""
    queue = JobQueue(postgres)
    queue.enqueue(NewJob(job_type="prediction", owner_id="me", market_slug="dallas"))
    (job,) = queue.claim("w", {"prediction": None})
    attempt, nothing = Attempt(job.attempt_id), dg.Definitions().get_repository_def
    context = JobContext(job, settings, postgres, lake, MemoryCache(), instance, nothing, attempt)
    attempt.is_stopped.set()
    with pytest.raises(JobCancelled):
        prediction(context, PREDICTION.input_of({"properties": [HOME]}))
    with postgres.transaction() as connection:
        assert (0,) == connection.execute("select count(*) from property.predictions").fetchone()
