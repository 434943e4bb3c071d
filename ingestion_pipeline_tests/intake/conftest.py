"""The intake with the sample domain, one a module: a server is more than a test should start for itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.intake.process import Intake, running


@pytest.fixture(scope="module")
def intake_database(server: EmbeddedServer) -> Iterator[str]:
    """The superuser's URL of a fresh, migrated database, shared by a module."""
    with migrated_database(server) as url:
        yield url


@pytest.fixture(scope="module")
def intake_url(intake_database: str) -> str:
    """The same database for the role of the intake."""
    return as_intake(intake_database)


@pytest.fixture(scope="module")
def intake(intake_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    """The sample domain's server, without rate limits."""
    with running(intake_url, tmp_path_factory.mktemp("intake")) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def as_intake(url: str) -> str:
    return url.replace("postgres@", "pipeline_intake@", 1)
