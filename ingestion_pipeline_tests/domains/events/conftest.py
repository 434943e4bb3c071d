"""A hot log that a test sends events to."""

from collections.abc import Iterator

import pytest

from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.hot_log import HotLog, opened, rows


@pytest.fixture
def hot_log(database_url: str) -> Iterator[HotLog]:
    """In a database of the test's own."""
    with opened(database_url) as log:
        yield HotLog(database_url, log)


@pytest.fixture(scope="module")
def _module_log(server: EmbeddedServer) -> Iterator[HotLog]:
    with migrated_database(server) as url, opened(url) as log:
        yield HotLog(url, log)


@pytest.fixture
def shared_log(_module_log: HotLog) -> HotLog:
    """In a database that the tests of a module share, emptied for each: for tests that leave the schema alone."""
    for table in ("events.event_log", "events.event_keys", "events.intake_counts", "operations.rejects"):
        rows(_module_log.url, f"delete from {table}")
    return _module_log
