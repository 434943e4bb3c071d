"""GET /api/metrics and GET /metrics: one registry of all processes, in the seed's JSON and in Prometheus' text."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingestion_pipeline.core.metrics import Metrics
from ingestion_pipeline.domains.operations.metrics_openapi import JSON_RESPONSES
from ingestion_pipeline.domains.operations.metrics_routes import Measured, json_of, text_of
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.metrics import store_metrics
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.intake.process import REAL, TOKEN, Intake, running

AT = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def url(server: EmbeddedServer) -> Iterator[str]:
    with migrated_database(server) as url:
        yield url


@pytest.fixture(scope="module")
def intake(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    role_url = url.replace("postgres@", "pipeline_intake@", 1)
    with running(role_url, tmp_path_factory.mktemp("metrics"), REAL) as server:
        yield server


@pytest.fixture
def worker(url: str) -> Iterator[Postgres]:
    postgres = Postgres(url.replace("postgres@", "pipeline_worker@", 1))
    yield postgres
    postgres.close()


def samples(intake: Intake) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus would store."""
    answer = intake.get("/metrics", headers=TOKEN)
    assert 200 == answer.status_code, answer.text
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def entries(intake: Intake) -> list[dict[str, Any]]:
    answer = intake.get("/api/metrics", headers=TOKEN)
    body: list[dict[str, Any]] = answer.json()
    jsonschema_rs.validate(JSON_RESPONSES[200].schema, body)
    return body


def test_what_a_worker_measured_is_there_as_the_seed_prints_it(intake: Intake, worker: Postgres) -> None:
    """Type, name, value, timestamp and labels."""
    measured = Metrics()
    measured.counter("ingestion_success_total", 1, {"trigger": "manual", "provider": "mock"})
    measured.histogram("ingestion_duration_seconds", 2.0, {"provider": "mock"}, bounds=(1.0, 5.0))
    measured.histogram("ingestion_duration_seconds", 4.0, {"provider": "mock"}, bounds=(1.0, 5.0))
    store_metrics(worker, measured=measured)
    by_name = {entry["name"]: entry for entry in entries(intake)}
    success = by_name["ingestion_success_total"]
    assert {"type", "name", "value", "timestamp", "labels"} == set(success)
    assert ("counter", 1, {"trigger": "manual", "provider": "mock"}) == (
        success["type"],
        success["value"],
        success["labels"],
    )
    duration = by_name["ingestion_duration_seconds"]
    assert (3.0, 2, 6.0, {"1.0": 0, "5.0": 2, "+Inf": 2}) == tuple(
        duration[name] for name in ("value", "count", "sum", "buckets")
    )
    found = samples(intake)
    assert 1 == found["ingestion_success_total", (("provider", "mock"), ("trigger", "manual"))]
    assert 2 == found["ingestion_duration_seconds_bucket", (("le", "5.0"), ("provider", "mock"))]
    assert 6 == found["ingestion_duration_seconds_sum", (("provider", "mock"),)]


def test_requests_are_measured_by_template_and_status_and_callers_make_no_series(intake: Intake) -> None:
    """A path that nobody knows and a method that nobody has are each one series, however often they are made up."""
    for number in range(5):
        intake.get(f"/nothing/{number}")
        intake.client.request(f"MADE{number}", "/health")
    intake.get("/health")
    key = (("method", "GET"), ("path", "(unknown)"), ("status", "404"))
    eventually(lambda: samples(intake).get(("http_request_seconds_count", key), 0) >= 5)
    labels = [dict(labels) for (name, labels), _ in samples(intake).items() if name == "http_request_seconds_count"]
    assert {"GET", "other"} >= {it["method"] for it in labels}
    assert {"(unknown)", "/health", "/metrics", "/api/metrics"} >= {it["path"] for it in labels}


def test_queues_freshness_breakers_and_health_are_of_now(intake: Intake, url: str) -> None:
    """All that an alert rule needs, counted across everybody's rows."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into operations.jobs (job_type, owner_id, run_at) "
            "select 'prediction', owner, now() - interval '1 minute' from unnest(array['ada', 'bob']) as owner"
        )
        connection.execute(
            "insert into operations.jobs (job_type, owner_id, run_at) values ('prediction', 'ada', now() + interval '1 day')"
        )
        connection.execute(
            "insert into operations.deliveries (source, idempotency_key, event_type, payload, scheme, signed_by) "
            "values ('acme', 'k', 'comps.upsert', '{}', 'sha256', 'acme 1')"
        )
        connection.execute(
            "insert into operations.freshness_states values ('market/snapshots', 'market', 'WARN', now(), "
            "now() - interval '2 hours', now() - interval '3 hours', 'PASS', 'late', now())"
        )
        connection.execute("insert into operations.circuit_breakers values ('fred', 'open', 5, now(), now())")
        connection.execute(
            "insert into operations.health_states (service, status, since, checked_at) "
            "values ('overall', 'YELLOW', now(), now())"
        )
    found = samples(intake)
    depths = {labels[0][1]: value for (name, labels), value in found.items() if name == "queue_depth"}
    assert {"jobs": 2, "deliveries": 1, "events": 0} == depths
    ages = {labels[0][1]: value for (name, labels), value in found.items() if name == "queue_oldest_age_seconds"}
    assert 60 <= ages["jobs"] < 600
    assert 0 == ages["events"]
    snapshots = (("asset", "market/snapshots"),)
    assert 7200 <= found["asset_materialization_age_seconds", snapshots] < 7800
    assert 10_800 <= found["asset_data_age_seconds", snapshots] < 11_400
    assert 1 == found["asset_freshness_state", (*snapshots, ("data_state", "PASS"), ("state", "WARN"))]
    assert 1 == found["circuit_breaker_state", (("source", "fred"), ("state", "open"))]
    assert 5 == found["circuit_breaker_failures", (("source", "fred"),)]
    assert 1 == found["health_status", (("service", "overall"), ("status", "YELLOW"))]


@pytest.mark.parametrize("path", ["/metrics", "/api/metrics"])
def test_metrics_need_their_scope(intake: Intake, path: str) -> None:
    """They say how the business runs."""
    assert 401 == intake.get(path).status_code
    assert 401 == intake.get(path, headers={"x-app-token": "guess"}).status_code


def measured(name: str = "a", kind: str = "counter", value: float = 1.0, **over: Any) -> Measured:
    series: dict[str, Any] = {
        "name": name,
        "type": kind,
        "labels": {},
        "value": value,
        "sample_count": 0,
        "bounds": (),
        "counts": (),
        "at": AT,
    }
    return Measured(**(series | over))


def test_the_text_as_prometheus_specifies_it() -> None:
    """Counters end in _total, buckets add up, values of labels are escaped, every family says what it is."""
    text = text_of(
        [
            measured("api_retry_total", labels={"service": 'a"b\nc\\d'}),
            measured("cache_hit", labels={"service": "macro"}),
            measured("queue_depth", "gauge", 7),
            measured("seconds", "histogram", 9.0, sample_count=3, bounds=(1.0, 2.5), counts=(1, 1)),
        ]
    ).decode()
    assert (
        """# HELP api_retry_total Calls to an outside source that were made again.
# TYPE api_retry_total counter
api_retry_total{service="a\\"b\\nc\\\\d"} 1.0
# HELP cache_hit_total Cache hit.
# TYPE cache_hit_total counter
cache_hit_total{service="macro"} 1.0
# HELP queue_depth How many wait: jobs, deliveries, events that are not in the lake yet.
# TYPE queue_depth gauge
queue_depth 7.0
# HELP seconds Seconds.
# TYPE seconds histogram
seconds_bucket{le="1.0"} 1.0
seconds_bucket{le="2.5"} 2.0
seconds_bucket{le="+Inf"} 3.0
seconds_count 3.0
seconds_sum 9.0
"""
        == text
    )


def test_a_histogram_without_samples_has_no_mean() -> None:
    """Nothing is divided by nothing."""
    assert b'"value":0.0' in json_of([measured("seconds", "histogram", 0.0)])


def test_a_name_that_two_kinds_share_does_not_break_the_page() -> None:
    """A release that changes a metric's type leaves both kinds of rows for a while."""
    text = text_of([measured("depth", "gauge", 1), measured("depth_total", "counter", 2)]).decode()
    assert "depth 1.0" in text
    assert "depth_total 2.0" in text
