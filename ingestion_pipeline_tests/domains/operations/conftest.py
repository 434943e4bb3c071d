"""An intake with the inbox's endpoints, one a module; its inbox is empty when a test begins."""

from collections.abc import Iterator

import psycopg
import pytest

from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.domains.operations.deliveries import INBOX, SECRETS
from ingestion_pipeline_tests.intake.process import Intake, running


@pytest.fixture(scope="module")
def inbox_url(server: EmbeddedServer) -> Iterator[str]:
    """The superuser's URL of a migrated database that a module shares."""
    with migrated_database(server) as url:
        yield url


@pytest.fixture(scope="module")
def _served(inbox_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    as_intake = inbox_url.replace("postgres@", "pipeline_intake@", 1)
    with running(as_intake, tmp_path_factory.mktemp("inbox"), INBOX, **SECRETS) as intake:
        yield intake


@pytest.fixture
def inbox(_served: Intake, inbox_url: str) -> Intake:
    with psycopg.connect(inbox_url, autocommit=True) as connection:
        connection.execute("truncate operations.deliveries, operations.delivery_sources, operations.audit_log")
    return _served
