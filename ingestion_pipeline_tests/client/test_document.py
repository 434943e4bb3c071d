"""The examples in docs/client.md run as they are printed, against a service."""

import json
import re

import pytest
from pytest_httpserver import HTTPServer

from ingestion_pipeline.client import AnalyticsClient
from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline_tests.children import output, python
from ingestion_pipeline_tests.client.conftest import FakeService
from ingestion_pipeline_tests.client.test_queries import AGGREGATION, DASHBOARD, event_row

DOCUMENT = (PROJECT_ROOT / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(EXAMPLES.index(example)))
def test_example_runs(service: FakeService, httpserver: HTTPServer, example: str) -> None:
    """In a process of its own, with warnings as errors; what it emits arrives."""
    pages = {"/api/events": {"events": [event_row(1)]}, "/api/events/aggregations": {"aggregations": [AGGREGATION]}}
    for path, page in pages.items():
        httpserver.expect_request(path, method="GET").respond_with_data(json.dumps({**page, "nextCursor": None}))
    httpserver.expect_request("/api/events/dashboard").respond_with_json(DASHBOARD)
    code = "import warnings\nwarnings.simplefilter('error')\n" + example.replace(
        "http://127.0.0.1:8787", service.url.rstrip("/")
    )
    with python(code) as child:
        printed = output(child)
    assert "Traceback" not in printed
    emitted = len(re.findall(r"\.(?:emit|track_\w+)\(", example))
    assert emitted == len(service.types())


def test_document_lists_every_method() -> None:
    tracking = [name for name in dir(AnalyticsClient) if name.startswith("track_")]
    assert len(tracking) == 7
    public = [name for name in dir(AnalyticsClient) if not name.startswith("_")]
    assert [] == [name for name in public if f"`{name}" not in DOCUMENT and f".{name}(" not in DOCUMENT]
