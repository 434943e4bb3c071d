"""A hot log that a test sends events to."""

from collections.abc import Iterator

import pytest

from ingestion_pipeline_tests.hot_log import HotLog, opened


@pytest.fixture
def hot_log(database_url: str) -> Iterator[HotLog]:
    with opened(database_url) as log:
        yield HotLog(database_url, log)
