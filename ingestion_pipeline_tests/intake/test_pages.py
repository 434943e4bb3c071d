"""Health and the status page."""

from datetime import UTC, datetime

from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.intake.process import Intake


def test_health_is_the_seed_s_body(intake: Intake) -> None:
    """Status and timestamp, for anybody."""
    answer = intake.get("/health")
    assert (200, {"status", "timestamp"}, "ok") == (answer.status_code, set(answer.json()), answer.json()["status"])
    assert datetime.fromisoformat(answer.json()["timestamp"]).tzinfo == UTC


def test_the_status_page_counts_the_last_hour(intake: Intake) -> None:
    """And loads nothing from elsewhere; the only other address on it is Dagster's."""
    for _ in range(3):
        intake.get("/sample/markets/page")
    eventually(lambda: "/sample/markets/{symbol}" in intake.get("/").text)
    page = intake.get("/").text
    assert "http://127.0.0.1:3000" in page
    assert '<a href="/docs">' in page
    assert "<script" not in page
    assert "src=" not in page
