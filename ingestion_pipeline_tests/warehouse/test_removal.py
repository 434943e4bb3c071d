"""Erasure and retention reach the copy in the configured warehouse, here the emulator of BigQuery."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.events.copies import copied_batches
from ingestion_pipeline.domains.events.erasure import Mode, erase
from ingestion_pipeline.domains.events.retention import apply_retention
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.warehouse.history import History, make_event
from ingestion_pipeline_tests.warehouse.services import PROJECT

if TYPE_CHECKING:
    from ingestion_pipeline_tests.warehouse.places import BigQueryPlace


@pytest.fixture
def configured(bigquery: "BigQueryPlace", worker_url: str, tmp_path: Path) -> Settings:
    return Settings.from_environment(
        {
            "DATABASE_URL": worker_url,
            "INGESTION_HOME": str(tmp_path),
            "WAREHOUSE": "bigquery",
            "BIGQUERY_PROJECT_ID": PROJECT,
            "BIGQUERY_DATASET_ID": bigquery.dataset,
            "BIGQUERY_ENDPOINT": bigquery.endpoint,
        }
    )


@pytest.mark.parametrize("mode", ["erase", "anonymise"])
def test_a_person_leaves_the_warehouse(
    history: History, bigquery: "BigQueryPlace", configured: Settings, mode: Mode
) -> None:
    """In either mode; of the others nothing is missing."""
    history.add(1, [make_event(number) for number in range(1, 21)])
    list(copied_batches(history.postgres, history.lake, bigquery.warehouse()))
    theirs = sum(make_event(number)["user_id"] == "user-3" for number in range(1, 21))
    done = erase(history.postgres, history.lake, configured, "user-3", mode=mode, by="tests")
    assert theirs == done.removed["bigquery_events"] > 0
    left = bigquery.rows()
    assert (20 - theirs, False) == (len(left), "user-3" in set(left["user_id"]))


def test_what_has_expired_leaves_the_warehouse(
    history: History, bigquery: "BigQueryPlace", configured: Settings
) -> None:
    """By class, as the lake; also of a type that the registry has lost, after the longest."""
    now = utc_now()
    ages = {"VIEW": (300, 400), "user.login": (400, 800), "project.created": (800, 3000), "lost": (2000, 3000)}
    events = [
        make_event(number, event_type=kind, occurred_at=(at := now - timedelta(days=days)), day=at.date())
        for number, (kind, days) in enumerate((kind, days) for kind, both in ages.items() for days in both)
    ]
    history.add(1, events)
    list(copied_batches(history.postgres, history.lake, bigquery.warehouse()))
    report = apply_retention(history.postgres, history.lake, configured)
    assert (4, 4) == (report.lake_events, report.warehouse_events)
    assert sorted(ages) == sorted(bigquery.rows()["event_type"]) == sorted(history.rows()["event_type"])
