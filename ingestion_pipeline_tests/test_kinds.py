"""What the lists of kinds promise each other: the intake takes only what a worker can do."""

from ingestion_pipeline.definitions import HANDLERS
from ingestion_pipeline.domains.operations.warming_jobs import SERVICES
from ingestion_pipeline.kinds import JOB_TYPES, WARMERS


def test_every_job_type_has_a_handler() -> None:
    """And no handler is left that nobody can ask for."""
    assert set(JOB_TYPES) == set(HANDLERS)
    assert len(JOB_TYPES) == len({it.name for it in JOB_TYPES})


def test_the_services_that_can_be_asked_for_are_those_that_are_warmed() -> None:
    """Whatever domain they are of."""
    assert set(SERVICES) == {warmer.service for warmer in WARMERS}
