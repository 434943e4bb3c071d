"""The intake with the sales endpoints, as the tests of what it answers use it."""

from collections.abc import Iterator

import pytest

from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.domains.sales.served_sales import Served, served


@pytest.fixture(scope="module")
def _service(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("sales")) as found:
        yield found


@pytest.fixture
def service(_service: Served) -> Served:
    """Without jobs, files, logs, sales."""
    _service.clear()
    return _service
