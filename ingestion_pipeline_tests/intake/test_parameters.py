"""A parameter or field that is wrong is named, and what stood there is shown, not handed back."""

from ingestion_pipeline.intake.parameters import refused
from ingestion_pipeline.intake.problems import FieldError


def test_what_stood_there_is_shortened() -> None:
    """However long it is; control characters go, too."""
    problem = refused(FieldError("job_type", "toy", "z\x1b" * 100_000))
    assert problem.detail.startswith("job_type is z\ufffdz")
    assert problem.detail.endswith("…: expected toy")
    assert len(problem.detail) < 120
    assert "job_type is toys: expected toy" == refused(FieldError("job_type", "toy", "toys")).detail
