"""FRED's series in the table: vintages, failures that keep no other series back, and what is recorded of each fetch."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import stamina
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.core.errors import (
    ConfigurationError,
    IngestionError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.domains.property.ingest import Report, failed_series, sync_fred
from ingestion_pipeline.providers.fred import FredProvider, FredSource
from ingestion_pipeline.providers.rate import RateGate
from ingestion_pipeline.storage.breakers import PostgresBreaker
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.property.deliveries import query

VINTAGES = (
    "select observation_date::text, vintage_date::text, confirmed_date::text, value from property.macro_observations "
    "order by 1, 2"
)


@dataclass
class FakeFred:
    """Answers with `series` as of `today`; a series may be a status instead."""

    today: str = "2026-03-02"
    series: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        series_id = request.args["series_id"]
        self.asked.append(series_id)
        found = self.series.get(series_id, 400)
        if isinstance(found, int):
            body: dict[str, Any] = {"error_code": found, "error_message": "Bad Request.  The series does not exist."}
            return Response(json.dumps(body), found, content_type="application/json")
        body = {
            "realtime_start": self.today,
            "count": len(found),
            "observations": [{"date": day, "value": value} for day, value in found.items()],
        }
        return Response(json.dumps(body), content_type="application/json")


@pytest.fixture(autouse=True)
def quick_retries() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
def theirs(httpserver: HTTPServer) -> FakeFred:
    fake = FakeFred()
    httpserver.expect_request("/series/observations").respond_with_handler(fake)
    return fake


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def sync(httpserver: HTTPServer, postgres: Postgres, cache: MemoryCache) -> Callable[..., Report]:
    def run(*series_ids: str) -> Report:
        source = FredSource(
            httpserver.url_for(""),
            key="k" * 32,
            breaker=PostgresBreaker(postgres),
            rate=RateGate(new_id(), "10000/minute"),
        )
        return sync_fred(postgres, cache, FredProvider(source), series_ids, run_id="run-1")

    return run


def test_a_revision_is_a_new_vintage_and_the_same_value_is_not(
    postgres: Postgres, theirs: FakeFred, sync: Callable[..., Report], cache: MemoryCache
) -> None:
    """The value of today and what was said before; what is cached is forgotten when something changed."""
    theirs.series["UNRATE"] = {"2026-01-01": "4.0", "2026-02-01": "."}
    assert {"new": 2} == dict(sync("UNRATE").rows)
    cache.set("property:macro:UNRATE:recent", 1, ttl_seconds=60)
    assert {"known": 2} == dict(sync("UNRATE").rows)
    theirs.today = "2026-03-03"
    assert {"same": 2} == dict(sync("UNRATE").rows)
    assert 1 == cache.get("property:macro:UNRATE:recent")
    theirs.today, theirs.series["UNRATE"] = "2026-04-01", {"2026-01-01": "4.1", "2026-02-01": "3.9", "2026-03-01": "4"}
    assert {"revised": 2, "new": 1} == dict(sync("UNRATE").rows)
    assert cache.get("property:macro:UNRATE:recent") is None
    assert [
        ("2026-01-01", "2026-03-02", "2026-03-03", 4.0),
        ("2026-01-01", "2026-04-01", "2026-04-01", 4.1),
        ("2026-02-01", "2026-03-02", "2026-03-03", None),
        ("2026-02-01", "2026-04-01", "2026-04-01", 3.9),
        ("2026-03-01", "2026-04-01", "2026-04-01", 4.0),
    ] == query(postgres, VINTAGES)
    assert [("2026-01-01", 4.1), ("2026-02-01", 3.9), ("2026-03-01", 4.0)] == query(
        postgres, "select observation_date::text, value from property.macro_latest order by 1"
    )


def test_a_value_that_goes_back_is_a_vintage_again(
    postgres: Postgres, theirs: FakeFred, sync: Callable[..., Report]
) -> None:
    """A correction of a correction, also within a day."""
    for today, value in (("2026-03-02", "1"), ("2026-03-03", "2"), ("2026-03-04", "1"), ("2026-03-04", "3")):
        theirs.today, theirs.series["X"] = today, {"2026-01-01": value}
        sync("X")
    assert [("2026-03-02", 1.0), ("2026-03-03", 2.0), ("2026-03-04", 3.0)] == [
        (vintage, value) for _, vintage, _, value in query(postgres, VINTAGES)
    ]


def test_a_bad_series_keeps_no_other_back_and_is_named_until_it_answers(
    postgres: Postgres, theirs: FakeFred, sync: Callable[..., Report]
) -> None:
    """Withdrawn or empty; its old values stay."""
    theirs.series |= {"A": {"2026-01-01": "1"}, "EMPTY": {}, "B": {"2026-01-01": "2"}}
    report = sync("A", "GONE", "EMPTY", "B")
    assert (2, 2, {"new": 2}) == (report.series, report.failed_series, dict(report.rows))
    failed = failed_series(postgres, ["A", "GONE", "EMPTY", "B"])
    assert ["EMPTY", "GONE"] == sorted(failed)
    assert "does not exist" in failed["GONE"]
    assert "EMPTY.observations is empty" in failed["EMPTY"]
    assert {} == failed_series(postgres, ["A"])

    theirs.series |= {"A": {}, "GONE": {"2026-01-01": "3"}}
    assert 1 == sync("A", "GONE").failed_series
    assert ["A", "EMPTY"] == sorted(failed_series(postgres, ["A", "GONE", "EMPTY", "B"]))
    assert [(3,)] == query(postgres, "select count(*) from property.macro_latest")


def test_a_series_that_cannot_be_fetched_now_is_asked_for_again(
    postgres: Postgres, theirs: FakeFred, sync: Callable[..., Report]
) -> None:
    """The others are stored first; then Dagster retries."""
    theirs.series |= {"A": 500, "B": {"2026-01-01": "2"}}
    with pytest.raises(ProviderUnavailableError):
        sync("A", "B")
    assert [("B",)] == query(postgres, "select series_id from property.macro_latest")
    assert ["A"] == list(failed_series(postgres, ["A", "B"]))


def test_no_more_is_asked_while_fred_limits_us(
    postgres: Postgres, theirs: FakeFred, sync: Callable[..., Report]
) -> None:
    """Going on turns a limit into a ban."""
    theirs.series |= {"A": {"2026-01-01": "1"}, "B": 429, "C": {"2026-01-01": "3"}}
    with pytest.raises(RateLimitedError):
        sync("A", "B", "C")
    assert {"A", "B"} == set(theirs.asked)
    assert [("A",)] == query(postgres, "select series_id from property.macro_latest")


def test_no_more_is_asked_while_its_breaker_is_open(theirs: FakeFred, sync: Callable[..., Report]) -> None:
    """Five failures open it; the rest of the series is left alone."""
    theirs.series = dict.fromkeys(("A", "B", "C", "D"), 500)
    with pytest.raises(IngestionError):
        sync("A", "B", "C", "D")
    assert ["A"] * 3 + ["B"] * 2 == theirs.asked


def test_when_nothing_is_right_the_run_fails(theirs: FakeFred, sync: Callable[..., Report]) -> None:
    """A wrong key refuses every series."""
    with pytest.raises(ConfigurationError, match="FRED_SERIES"):
        sync("GONE", "TOO")
    assert ["GONE", "TOO"] == theirs.asked


def test_each_fetch_is_recorded(postgres: Postgres, theirs: FakeFred, sync: Callable[..., Report]) -> None:
    """With its source, series, vintage, time taken, and why it failed."""
    theirs.series["A"] = {"2026-01-01": "1"}
    sync("A", "GONE")
    sync("A")
    rows = query(
        postgres,
        "select event_type, source, status, provenance ->> 'series_id', processed_records, cache_keys_invalidated, "
        "processing_time_ms > 0, error_message is null from operations.ingestion_events order by ingestion_event_id",
    )
    assert [
        ("macro.update", "FRED", "success", "A", 1, ["property:macro:A*"], True, True),
        ("macro.update", "FRED", "failed", "GONE", 0, [], False, False),
        ("macro.update", "FRED", "success", "A", 1, [], True, True),
    ] == rows
