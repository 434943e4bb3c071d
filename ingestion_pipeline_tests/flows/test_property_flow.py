"""The walk of a delivery: kept in the inbox, seen by the sensor, applied by a real run, visible in its table.

Jobs, assets, checks and the sensor are those of the property domain, over this test's own stores and a Dagster instance
on which nothing was ever built. FRED is a server on loopback.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.domains.property.automation import webhook_drop_sensor
from ingestion_pipeline.domains.property.contracts import COMPS_UPSERT, FUNDAMENTALS_UPSERT, MACRO_UPDATE
from ingestion_pipeline.domains.property.definitions import defs
from ingestion_pipeline.providers.fred import fred_provider
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.breakers import PostgresBreaker
from ingestion_pipeline.storage.cache import Cache, MemoryCache
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.property.deliveries import comp, deliver, fundamentals, macro, query

KEY = "c0ffee" * 5 + "42"
RECEIVED = datetime.now(UTC) - timedelta(hours=1)
FIGURES = "select market_slug, value, revision from property.fundamentals order by 1"


@dataclass
class Walk:
    """The property domain in Dagster, over the stores of a test."""

    settings: Settings
    postgres: Postgres
    cache: Cache
    lake: Lake
    instance: dg.DagsterInstance

    def __post_init__(self) -> None:
        resources = {
            "settings": self.settings,
            "postgres": self.postgres,
            "cache": self.cache,
            "lake": self.lake,
            "fred": fred_provider(self.settings, breaker=PostgresBreaker(self.postgres)),
        }
        shared = dg.Definitions(
            resources={name: dg.ResourceDefinition.hardcoded_resource(it) for name, it in resources.items()},
            executor=dg.in_process_executor,
        )
        self.defs = dg.Definitions.merge(defs, shared)

    def tick(self) -> dg.RunRequest | dg.SkipReason:
        """What the sensor asks for now."""
        answer: Any = webhook_drop_sensor(
            dg.build_sensor_context(
                instance=self.instance,
                repository_def=self.defs.get_repository_def(),
                resources={"postgres": self.postgres},
            )
        )
        return answer

    def run(self, job: str, keys: list[dg.AssetKey] | None = None) -> dg.ExecuteInProcessResult:
        definition: Any = self.defs.resolve_job_def(job)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return definition.execute_in_process(
            instance=self.instance, run_config=quiet, raise_on_error=False, asset_selection=keys
        )

    def settle(self) -> set[str]:
        """Runs what the sensor asks for; the assets that were built."""
        request = self.tick()
        assert isinstance(request, dg.RunRequest)
        result = self.run("property_deliveries_job", list(request.asset_selection or []))
        assert [] == problems(result)
        return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}  # type: ignore[union-attr]


def problems(result: dg.ExecuteInProcessResult) -> list[str]:
    """The error texts of every failed step."""
    failed = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    return [str(event.event_specific_data.user_failure_data or event.event_specific_data.error) for event in failed]  # type: ignore[union-attr]


@pytest.fixture
def walk(
    settings: Settings, postgres: Postgres, lake: Lake, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield Walk(settings, postgres, MemoryCache(), lake, instance)


def test_a_delivery_walks_from_the_inbox_to_its_row(walk: Walk) -> None:
    """Only what waits is built; sent twice it is there once; a correction replaces it and its history stays."""
    assert isinstance(walk.tick(), dg.SkipReason)
    walk.cache.set("property:fundamentals:dallas:latest", {"old": True}, ttl_seconds=60)
    deliver(walk.postgres, FUNDAMENTALS_UPSERT, fundamentals(), fundamentals(), received=RECEIVED)
    assert {"property/fundamentals", "property/fundamentals_staleness"} == walk.settle()
    assert [("dallas", 400_000.0, 1)] == query(walk.postgres, FIGURES)
    assert walk.cache.get("property:fundamentals:dallas:latest") is None
    assert isinstance(walk.tick(), dg.SkipReason)

    later = fundamentals(metrics={"median_sale_price_usd": 410_000.0})
    deliver(walk.postgres, FUNDAMENTALS_UPSERT, later, received=RECEIVED + timedelta(minutes=30))
    deliver(walk.postgres, COMPS_UPSERT, {"comps": [comp(), comp(comp_id="bad", sale_price_usd=0)]}, received=RECEIVED)
    deliver(walk.postgres, MACRO_UPDATE, macro(), received=RECEIVED, market_slug=None)
    assert {"property/comps", "property/macro_observations"} == walk.settle() - {
        "property/fundamentals",
        "property/fundamentals_staleness",
    }
    assert [("dallas", 410_000.0, 2)] == query(walk.postgres, FIGURES)
    assert [(2,)] == query(walk.postgres, "select count(*) from property.fundamentals_revisions")
    assert [("sale-1",)] == query(walk.postgres, "select comp_id from property.comps")
    assert [("UNRATE", 4.1)] == query(walk.postgres, "select series_id, value from property.macro_latest")
    assert [("processed", 5)] == query(
        walk.postgres, "select status, count(*) from operations.deliveries group by status"
    )
    assert [("failed", 0), ("partial", 1), ("success", 4)] == [
        (status, count)
        for status in ("failed", "partial", "success")
        for ((count,),) in [
            query(walk.postgres, f"select count(*) from operations.ingestion_events where status = '{status}'")
        ]
    ]


def test_the_daily_run_builds_and_checks_everything(walk: Walk) -> None:
    """Staleness of every market; checks pass or warn on what was delivered."""
    deliver(walk.postgres, FUNDAMENTALS_UPSERT, fundamentals(as_of="2020-01-31"), received=RECEIVED)
    deliver(walk.postgres, COMPS_UPSERT, comp(), received=RECEIVED)
    deliver(walk.postgres, MACRO_UPDATE, macro(), received=RECEIVED, market_slug=None)
    result = walk.run("property_daily_job")
    assert [] == problems(result)
    built = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}  # type: ignore[union-attr]
    assert {
        "property/macro_observations",
        "property/fundamentals",
        "property/fundamentals_staleness",
        "property/comps",
    } <= built
    broken = {it.check_name: it.severity for it in result.get_asset_check_evaluations() if not it.passed}
    assert {"fundamentals_staleness_names_no_market": dg.AssetCheckSeverity.WARN} == broken
    assert [("dallas", True)] == query(
        walk.postgres, "select market_slug, is_stale from property.fundamentals_staleness"
    )


def observations(request: Request) -> Response:
    """FRED with one good series and one that was withdrawn."""
    if request.args["series_id"] != "UNRATE":
        body = '{"error_code": 400, "error_message": "Bad Request.  The series does not exist."}'
        return Response(body, 400, content_type="application/json")
    today = datetime.now(UTC).date().isoformat()
    body = (
        f'{{"realtime_start": "{today}", "realtime_end": "{today}", "count": 2, "offset": 0, "limit": 100000, '
        '"observations": [{"date": "2026-01-01", "value": "4.1"}, {"date": "2026-02-01", "value": "."}]}'
    )
    return Response(body, content_type="application/json")


@pytest.fixture
def with_fred(walk: Walk, httpserver: HTTPServer) -> Walk:
    httpserver.expect_request("/fred/series/observations").respond_with_handler(observations)
    given = {"FRED_API_KEY": KEY, "FRED_URL": httpserver.url_for("/fred"), "FRED_SERIES": "GONE,UNRATE"}
    url = walk.settings.database_url
    assert url is not None
    base = {"DATABASE_URL": url.get_secret_value(), "INGESTION_HOME": str(walk.settings.ingestion_home)}
    return Walk(Settings.from_environment(base | given), walk.postgres, walk.cache, walk.lake, walk.instance)


def test_the_hourly_run_fetches_the_series(
    with_fred: Walk, httpserver: HTTPServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A withdrawn series is named in a check and keeps no other back; the key is in no log, event or row."""
    result = with_fred.run("property_macro_job")
    assert [] == problems(result)
    checks = {it.check_name: it for it in result.get_asset_check_evaluations()}
    answered = checks["macro_observations_answered"]
    assert not answered.passed
    assert "does not exist" in str(answered.metadata["GONE"].value)
    assert [("2026-01-01", 4.1), ("2026-02-01", None)] == query(
        with_fred.postgres, "select observation_date::text, value from property.macro_latest order by 1"
    )
    assert [("failed", "GONE", 0), ("success", "UNRATE", 2)] == query(
        with_fred.postgres,
        "select status, provenance ->> 'series_id', processed_records from operations.ingestion_events order by 1",
    )
    said = capfd.readouterr()
    events = str([event.message for event in result.all_events]) + str(checks)
    logged = "".join(str(vars(it)) for it in caplog.records if it.name != "werkzeug")  # the server's own
    ours = "".join(line for line in (said.out + said.err).splitlines() if "werkzeug" not in line)
    assert KEY not in ours + logged + events
    assert KEY in str(httpserver.log[0][0].url)


def test_deliveries_do_not_wait_for_fred(with_fred: Walk, httpserver: HTTPServer) -> None:
    """Whoever sends a value every few seconds would have us ask FRED as often."""
    deliver(with_fred.postgres, MACRO_UPDATE, macro(series_id="OURS"), received=RECEIVED, market_slug=None)
    assert {"property/macro_observations"} == with_fred.settle()
    assert [("OURS",)] == query(with_fred.postgres, "select series_id from property.macro_latest")
    assert [] == httpserver.log
