"""A fixed clock, quick retries, and sources over a real HTTP server on loopback."""

from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
import stamina

pytest.register_assert_rewrite("provider_suite")

from provider_fakes import NOW, InProcessBreaker  # noqa: E402 - after the rewrite hook
from pytest_httpserver import HTTPServer  # noqa: E402

from ingestion_pipeline.core import clock  # noqa: E402
from ingestion_pipeline.core.ids import new_id  # noqa: E402
from ingestion_pipeline.providers.http import HttpLimits, HttpSource  # noqa: E402
from ingestion_pipeline.providers.rate import RateGate  # noqa: E402


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> datetime:
    monkeypatch.setattr(clock, "utc_now", lambda: NOW)
    return NOW


@pytest.fixture(autouse=True)
def quick_retries() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
def breaker() -> InProcessBreaker:
    return InProcessBreaker()


@pytest.fixture
def source(httpserver: HTTPServer, breaker: InProcessBreaker) -> Callable[..., HttpSource]:
    """Makes a source on the loopback server; keyword arguments replace the defaults."""

    def make(provider: str = "fake", *, path: str = "", **over) -> HttpSource:
        arguments = {
            "breaker": breaker,
            "rate": RateGate(f"{provider}-{new_id()}", "100000/minute"),
            "limits": HttpLimits(timeout_seconds=10.0),
        }
        return HttpSource(provider, httpserver.url_for(path), **(arguments | over))

    return make
