"""GET /api/health/data of a real intake: S0's document, in the states that a mirror and a database can be in."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import psycopg
import pytest
from psycopg.types.json import Jsonb

from ingestion_pipeline.domains.operations.health_openapi import HEALTH
from ingestion_pipeline.domains.operations.health_routes import HealthReport
from ingestion_pipeline.intake.endpoints import Call, Caller
from ingestion_pipeline.intake.services import services
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.databases import migrated_database
from ingestion_pipeline_tests.intake.conftest import as_intake
from ingestion_pipeline_tests.intake.process import REAL, Intake, running

SEED_FIELDS = {
    "macro": {"status", "source", "last_success_at", "freshness_seconds", "cache", "breaker"},
    "fundamentals": {"status", "source", "last_row_as_of", "max_allowed_staleness_days", "stale_markets"},
    "comps": {"status", "source", "last_row_as_of", "min_required_recent", "markets_below_min"},
}
SEED_METRICS = {
    "cache_hit_ratio",
    "api_retry_count_5m",
    "prediction_latency_ms_p50",
    "prediction_latency_ms_p95",
}


@pytest.fixture(scope="module")
def url(server: EmbeddedServer) -> Iterator[str]:
    with migrated_database(server) as url:
        yield url


@pytest.fixture(scope="module")
def intake(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    role_url = url.replace("postgres@", "pipeline_intake@", 1)
    with running(role_url, tmp_path_factory.mktemp("health"), REAL) as server:
        yield server


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Emptied of what tests say of health."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
        connection.execute("truncate operations.health_states, operations.circuit_breakers, operations.metric_minutes")
        connection.execute("delete from operations.ingestion_events")


def mirrored(
    database: psycopg.Connection[Any], age_seconds: int = 0, whole: str = "GREEN", **services: dict[str, Any]
) -> None:
    """What the sensor leaves behind, `age_seconds` ago."""
    for service, over in {**services, "overall": {"status": whole}}.items():
        database.execute(
            "insert into operations.health_states (service, status, since, reasons, details, checked_at) "
            "values (%(service)s, %(status)s, '2026-03-01 10:00Z', %(reasons)s, %(details)s, "
            "clock_timestamp() - make_interval(secs => %(age)s)) "
            "on conflict (service) do update set (status, reasons, details, checked_at) "
            "= (excluded.status, excluded.reasons, excluded.details, excluded.checked_at)",
            {
                "service": service,
                "status": over.get("status", "GREEN"),
                "reasons": over.get("reasons", []),
                "details": Jsonb(over.get("details", {})),
                "age": age_seconds,
            },
        )


def health(intake: Intake) -> dict[str, Any]:
    answer = intake.get("/api/health/data")
    body: dict[str, Any] = answer.json()
    jsonschema_rs.validate(HEALTH, body)
    assert (503 if body["status"] == "RED" else 200) == answer.status_code
    assert ("retry-after" in answer.headers) == (body["status"] == "RED")
    return body


def shows(intake: Intake, status: str) -> dict[str, Any]:
    """The document as soon as its status is `status`."""
    eventually(lambda: health(intake)["status"] == status)
    return health(intake)


SERVICES = {
    "macro": {"details": {"last_success_at": "2026-03-01T11:00:00+00:00"}},
    "fundamentals": {
        "status": "YELLOW",
        "reasons": ["stale in san-antonio"],
        "details": {"last_row_as_of": "2026-02-14T00:00:00+00:00", "stale_markets": ["san-antonio"]},
    },
    "comps": {"details": {"last_row_as_of": "2026-02-12T00:00:00+00:00", "markets_below_min": []}},
    "market": {},
}


def test_before_the_first_evaluation_nothing_is_known(intake: Intake, database: psycopg.Connection[Any]) -> None:
    """RED, because nobody can say that the data is good; every service of the seed is there, none of them GREEN."""
    body = shows(intake, "RED")
    assert "has not been evaluated yet" in body["reasons"][0]
    assert {"macro", "fundamentals", "comps"} == set(body["services"])
    assert {"UNKNOWN"} == {service["status"] for service in body["services"].values()}


def test_the_document_is_the_seeds(intake: Intake, database: psycopg.Connection[Any]) -> None:
    """Every field by its name; what the seed does not have is added beside it."""
    mirrored(database, whole="YELLOW", **SERVICES)
    body = shows(intake, "YELLOW")
    assert {"status", "as_of", "services", "metrics"} < set(body)
    for service, fields in SEED_FIELDS.items():
        assert fields <= set(body["services"][service]), service
    assert SEED_METRICS == set(body["metrics"])
    macro, fundamentals, comps = (body["services"][name] for name in ("macro", "fundamentals", "comps"))
    assert ("FRED", "2026-03-01T11:00:00Z") == (macro["source"], macro["last_success_at"])
    assert ({"used": True, "ttl_seconds": 300}, {"state": "CLOSED", "failures": 0}) == (
        macro["cache"],
        macro["breaker"],
    )
    assert ("2026-02-14T00:00:00Z", 30, ["san-antonio"]) == (
        fundamentals["last_row_as_of"],
        fundamentals["max_allowed_staleness_days"],
        fundamentals["stale_markets"],
    )
    assert ("2026-02-12T00:00:00Z", 10, []) == (
        comps["last_row_as_of"],
        comps["min_required_recent"],
        comps["markets_below_min"],
    )
    assert ("YELLOW", "2026-03-01T10:00:00Z", ["stale in san-antonio"]) == (
        fundamentals["status"],
        fundamentals["since"],
        fundamentals["reasons"],
    )
    assert "GREEN" == body["services"]["market"]["status"]


def test_ages_are_of_now(intake: Intake, database: psycopg.Connection[Any]) -> None:
    """freshness_seconds counts on between two looks of the mirror."""
    (start,) = database.execute("select now() - interval '150 seconds'").fetchone() or ()
    mirrored(database, macro={"details": {"last_success_at": start.isoformat()}})
    shows(intake, "GREEN")
    eventually(lambda: health(intake)["services"]["macro"]["freshness_seconds"] >= 152)


def test_live_figures_are_of_now(intake: Intake, database: psycopg.Connection[Any]) -> None:
    """Breakers, cache ratios, retries and latency of the moment, without waiting for the mirror."""
    mirrored(database, **SERVICES)
    database.execute("insert into operations.circuit_breakers values ('fred', 'half_open', 6, now(), now())")
    minutes = [
        ("now()", "cache_hit", "macro", 3),
        ("now() - interval '30 minutes'", "cache_miss", "macro", 1),
        ("now() - interval '2 hours'", "cache_miss", "macro", 100),
        ("now()", "cache_miss", "comps", 1),
        ("now()", "api_retry_total", "fred", 2),
        ("now() - interval '10 minutes'", "api_retry_total", "fred", 7),
    ]
    for at, name, service, value in minutes:
        database.execute(
            f"insert into operations.metric_minutes select date_trunc('minute', {at}), %s, %s, %s".encode(),
            [name, Jsonb({"service": service}), value],
        )
    for milliseconds in (100, 200, 300):
        database.execute(
            "insert into operations.ingestion_events (event_type, source, processing_time_ms) "
            "values ('api.prediction', 'test', %s)",
            [milliseconds],
        )
    eventually(lambda: health(intake)["metrics"]["prediction_latency_ms_p50"] == 200.0)
    body = shows(intake, "GREEN")
    assert {"state": "HALF_OPEN", "failures": 6} == body["services"]["macro"]["breaker"]
    metrics = body["metrics"]
    assert (0.75, 0.0, None) == tuple(metrics["cache_hit_ratio"][name] for name in ("macro", "comps", "fundamentals"))
    assert (2, 0, 0) == tuple(metrics["api_retry_count_5m"][name] for name in ("macro", "fundamentals", "comps"))
    assert 290.0 == metrics["prediction_latency_ms_p95"]


@pytest.mark.parametrize(("whole", "status"), [("GREEN", 200), ("YELLOW", 200), ("RED", 503)])
def test_statuses(intake: Intake, database: psycopg.Connection[Any], whole: str, status: int) -> None:
    """As the seed has them."""
    mirrored(database, whole=whole, **SERVICES)
    shows(intake, whole)
    assert status == intake.get("/api/health/data").status_code


def test_a_silent_mirror_is_red_at_once_and_nothing_is_green(intake: Intake, database: psycopg.Connection[Any]) -> None:
    """The daemon is dead: what was GREEN two minutes ago is only what was last known. It is trusted again when it is back."""
    mirrored(database, **SERVICES)
    shows(intake, "GREEN")
    mirrored(database, age_seconds=110, **SERVICES)
    assert "GREEN" == health(intake)["status"]
    mirrored(database, age_seconds=130, **SERVICES)
    body = shows(intake, "RED")
    assert "Dagster daemon" in body["reasons"][0]
    assert {("UNKNOWN", "GREEN"), ("UNKNOWN", "YELLOW")} == {
        (service["status"], service["last_known_status"]) for service in body["services"].values()
    }
    mirrored(database, **SERVICES)
    shows(intake, "GREEN")


def test_anybody_may_ask_but_no_browser(intake: Intake) -> None:
    """A monitor has no token."""
    assert 403 == intake.get("/api/health/data", headers={"origin": "https://evil.example"}).status_code
    assert b"" == intake.client.head("/api/health/data").content
    assert 405 == intake.client.post("/api/health/data").status_code


def test_a_statement_that_hangs_is_an_outage_and_not_a_hanging_answer(
    intake: Intake, database: psycopg.Connection[Any], url: str
) -> None:
    """Somebody holds the table: the answer comes at once all the same, and says what is wrong."""
    mirrored(database, **SERVICES)
    shows(intake, "GREEN")
    with psycopg.connect(url) as holder:
        holder.execute("lock table operations.health_states in access exclusive mode")
        body = shows(intake, "RED")
        assert "PostgreSQL" in body["reasons"][0]
        assert "GREEN" == body["services"]["macro"]["last_known_status"]
    shows(intake, "GREEN")


def test_a_busy_intake_is_no_outage_of_postgresql(
    url: str, database: psycopg.Connection[Any], settings: Settings
) -> None:
    """All of its connections are in use for longer than health waits; the figures come over a connection of their own."""
    mirrored(database, **SERVICES)
    given = settings.model_dump() | {"database_url": as_intake(url), "intake_connections": 2}
    made = services(Settings(**given))
    report = HealthReport(made)

    async def ask() -> bytes:
        await made.pool.open()
        async with made.pool.connection(), made.pool.connection():
            await report.refresh()
        answer = await report.health(Call("1", b"", {}, {}, {}, Caller("public", ""), "127.0.0.1"))
        await report.close()
        await made.pool.close()
        assert 200 == answer.status
        return answer.body

    assert "GREEN" == json.loads(asyncio.run(ask()))["status"]


def test_health_goes_on_over_a_new_connection(intake: Intake, database: psycopg.Connection[Any]) -> None:
    """Its connection was ended, by a restart or by somebody."""
    mirrored(database, **SERVICES)
    shows(intake, "GREEN")

    def connections() -> list[int]:
        found = database.execute(
            "select pid from pg_stat_activity "
            "where application_name = 'ingestion-pipeline-health' and datname = current_database()"
        )
        return [pid for (pid,) in found.fetchall()]

    (first,) = connections()
    database.execute("select pg_terminate_backend(%s)", [first])
    eventually(lambda: connections() not in ([], [first]))
    shows(intake, "GREEN")


def test_a_figure_that_makes_no_sense_is_red_and_not_the_answer_of_before(
    intake: Intake, database: psycopg.Connection[Any]
) -> None:
    """The last good answer must not be given for ever because of a defect."""
    mirrored(database, **SERVICES)
    shows(intake, "GREEN")
    mirrored(database, macro={"details": {"last_success_at": "yesterday"}})
    body = shows(intake, "RED")
    assert "could not be understood" in body["reasons"][0]
    mirrored(database, **SERVICES)
    shows(intake, "GREEN")


def test_with_several_workers_each_is_right(url: str, database: psycopg.Connection[Any], tmp_path: Path) -> None:
    """Each has its own task; a worker that was killed comes back with one."""
    mirrored(database, **SERVICES)
    role_url = url.replace("postgres@", "pipeline_intake@", 1)
    with running(role_url, tmp_path, REAL, INTAKE_WORKERS="2") as server:
        eventually(lambda: all(health(server)["status"] == "GREEN" for _ in range(10)))
        first = server.workers()[0].pid
        os.kill(first, signal.SIGKILL)
        eventually(lambda: first not in [it.pid for it in server.workers()] and len(server.workers()) == 2)
        eventually(lambda: _is_green(server))


def _is_green(server: Intake) -> bool:
    import httpx

    try:
        return health(server)["status"] == "GREEN"
    except httpx.TransportError:
        return False
