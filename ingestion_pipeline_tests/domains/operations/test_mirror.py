"""The sensor that mirrors freshness and evaluates health, over the real definitions, stores and Dagster events."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.freshness import FreshnessState
from psycopg.rows import dict_row

from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.operations.freshness import evaluate, operations_freshness_sensor
from ingestion_pipeline.domains.operations.health import Standing
from ingestion_pipeline.orchestration.freshness import AssetFreshness
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.orchestration.mirrored import becomes

REPOSITORY = defs.get_repository_def()
SERVICES = {"macro", "fundamentals", "comps", "market", "events"}
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
TICK = timedelta(seconds=30)


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def tick(
    own_instance: dg.DagsterInstance, settings: Settings, postgres: Postgres, lake: Lake
) -> Callable[[], dg.SkipReason]:
    """One evaluation of the sensor, as the daemon makes it."""

    def tick() -> dg.SkipReason:
        context = dg.build_sensor_context(
            instance=own_instance,
            repository_def=REPOSITORY,
            resources={"settings": settings, "postgres": postgres, "lake": lake},
        )
        answer = operations_freshness_sensor(context)
        assert isinstance(answer, dg.SkipReason)
        return answer

    return tick


def states(url: str) -> dict[str, dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute("select * from operations.health_states").fetchall()
    return {row["service"]: row for row in rows}


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def asset(key: str = "property/macro_observations", state: Any = "PASS", **over: Any) -> AssetFreshness:
    given = {
        "asset_key": key,
        "asset_group": key.partition("/")[0],
        "state": state,
        "last_materialized_at": NOW,
        "data_as_of": NOW,
        "data_state": "PASS",
        "has_data_time": True,
        "reason": None if state == "PASS" else "last built 9 days ago",
    }
    return AssetFreshness(**(given | over))


@pytest.fixture
def check(postgres: Postgres, settings: Settings) -> Callable[..., Standing]:
    """One evaluation of given assets at a given check."""

    def check(number: int, *assets: AssetFreshness) -> Standing:
        return evaluate(postgres, settings, list(assets), now=NOW + number * TICK)

    return check


def test_a_fresh_installation_is_yellow_and_says_that_nothing_came_yet(
    tick: Callable[[], dg.SkipReason], database_url: str
) -> None:
    """Not RED: nothing is broken. Not GREEN: nothing is known. From the first tick on, and for as long as it lasts."""
    for _ in range(3):
        assert "YELLOW" in str(tick().skip_message)
        found = states(database_url)
        whole = found.pop("overall")
        assert set(found) >= SERVICES
        assert {("UNKNOWN", ("never ingested",))} == {(it["status"], tuple(it["reasons"])) for it in found.values()}
        assert ("YELLOW", "macro is UNKNOWN: never ingested") == (
            whole["status"],
            next(reason for reason in whole["reasons"] if reason.startswith("macro")),
        )


def test_every_asset_of_the_code_location_belongs_to_a_service(
    tick: Callable[[], dg.SkipReason], database_url: str
) -> None:
    """What is mirrored is shown."""
    tick()
    keys = {key.to_user_string() for key in REPOSITORY.asset_graph.get_all_asset_keys()}
    shown = {key for state in states(database_url).values() for key in state["details"].get("assets", {})}
    policies = REPOSITORY.asset_graph
    served = {key for key in keys if policies.get(dg.AssetKey.from_user_string(key)).freshness_policy}
    assert served == shown


def test_a_broken_asset_is_seen_through_to_health(
    tick: Callable[[], dg.SkipReason], own_instance: dg.DagsterInstance, database_url: str, lake: Lake
) -> None:
    """From Dagster's event to the status of the service, on the second look."""
    key = dg.AssetKey(["market", "snapshots"])
    execute(
        database_url,
        "insert into market.markets values ('BTC-USD', 'b', 'BTC', 'USD', 'crypto', '24/7', 365, '2015-01-01', 'mock');"
        "insert into market.snapshots (symbol, as_of, price, provider) values ('BTC-USD', now(), 1, 'mock')",
    )
    graph = REPOSITORY.asset_graph
    for other in graph.get_all_asset_keys():
        if other.path[0] == "market":
            own_instance.report_runless_asset_event(dg.AssetMaterialization(other))
            becomes(own_instance, other, FreshnessState.PASS)
    tick()
    assert "GREEN" == states(database_url)["market"]["status"]
    becomes(own_instance, key, FreshnessState.FAIL)
    tick()
    assert ("GREEN", "RED", 1) == tuple(
        states(database_url)["market"][name] for name in ("status", "candidate", "candidate_checks")
    )
    tick()
    market = states(database_url)["market"]
    assert ("RED", None) == (market["status"], market["candidate"])
    assert ["market/snapshots: last built 0 minutes ago"] == market["reasons"]


def test_two_services_down_are_red_and_come_back_after_three_checks(
    check: Callable[..., Standing], database_url: str
) -> None:
    """The hysteresis lives in the database: each check may be made by another process."""
    good = asset(), asset("market/price_bars"), asset("sales/ledger")
    bad = asset(state="FAIL"), asset("market/price_bars", "FAIL"), asset("sales/ledger")
    found = [check(number, *assets).status for number, assets in enumerate([good, bad, bad, good, good, good])]
    assert ["YELLOW", "YELLOW", "RED", "RED", "RED", "YELLOW"] == found  # fundamentals and comps: never ingested
    whole = states(database_url)["overall"]
    assert (NOW + 5 * TICK, NOW + 5 * TICK) == (whole["since"], whole["checked_at"])


def test_everything_good_is_green(check: Callable[..., Standing], database_url: str) -> None:
    """And a service whose assets are gone leaves."""
    good = [asset(f"property/{name}") for name in ("macro_observations", "fundamentals", "comps")]
    assert "GREEN" == check(0, *good, asset("sales/ledger")).status
    check(1, *good)
    assert {"macro", "fundamentals", "comps", "overall"} == set(states(database_url))


def test_an_open_breaker_of_fred_degrades_macro(check: Callable[..., Standing], database_url: str) -> None:
    """While the data is still fresh."""
    check(0, asset())
    execute(
        database_url,
        "insert into operations.circuit_breakers values ('fred', 'open', 5, now(), now() + interval '1 minute')",
    )
    check(1, asset())
    check(2, asset())
    assert ("YELLOW", ["the breaker of its source is OPEN"]) == tuple(
        states(database_url)["macro"][name] for name in ("status", "reasons")
    )


def test_stale_markets_come_from_their_table(check: Callable[..., Standing], database_url: str) -> None:
    """One of two is YELLOW and named."""
    execute(
        database_url,
        "insert into property.fundamentals_staleness "
        "select name, '2026-01-01', now(), 60, 30, name = 'san-antonio', 1, now() "
        "from unnest(array['dallas', 'san-antonio']) as name",
    )
    check(0, asset("property/fundamentals"))
    found = states(database_url)["fundamentals"]
    assert ("YELLOW", ["san-antonio"]) == (found["status"], found["details"]["stale_markets"])


def test_markets_below_the_least_number_of_sales(
    check: Callable[..., Standing], database_url: str, settings: Settings
) -> None:
    """COMPS_MIN_RECENT within COMPS_RECENT_DAYS: old sales do not count, the least number is enough."""
    today, old = date(2026, 3, 1), date(2025, 1, 1)
    counts = {"austin": 10, "dallas": 9, "el-paso": 200, "waco": 0}
    assert (10, 180) == (settings.comps_min_recent, settings.comps_recent_days)
    for market, count in counts.items():
        for sold, sales in ((today, count), (old, 20)):
            execute(
                database_url,
                "insert into property.comps (source, comp_id, market_slug, property_type, sale_date, sale_price_usd, "
                f"revision, revised_at, received_at, provenance) select 'x', '{market} {sold} ' || n, '{market}', "
                f"case n % 2 when 0 then 'condo' else 'house' end, '{sold}', 1, 1, now(), now(), '{{}}' "
                f"from generate_series(1, {sales}) as n",
            )
    check(0, asset("property/comps"))
    found = states(database_url)["comps"]
    assert ("YELLOW", ["dallas", "waco"]) == (found["status"], found["details"]["markets_below_min"])


def test_fred_is_missed_although_a_sender_delivers(postgres: Postgres, settings: Settings, database_url: str) -> None:
    """Each configured series by its last answer; without a key FRED is not asked, and nothing is missed."""
    asked = Settings(**settings.model_dump() | {"fred_api_key": "k", "fred_series": ("DGS10", "UNRATE", "HOUST")})
    answers = [
        ("DGS10", "success", "1 hour", None),
        ("UNRATE", "success", "4 hours", None),
        ("UNRATE", "failed", "1 hour", None),
        ("HOUST", "success", "1 hour", "8e8ba7a6-8e86-4d5a-8d1c-4b39dfc8e7a5"),
    ]
    with psycopg.connect(database_url) as connection:
        for series, status, age, delivery in answers:
            connection.execute(
                "insert into operations.ingestion_events "
                "(event_type, source, status, processing_time_ms, provenance, delivery_id, created_at) "
                "values ('macro.update', 'FRED', %s, 1, jsonb_build_object('series_id', %s::text), %s, %s - %s::interval)",
                [status, series, delivery, NOW, age],
            )
    evaluate(postgres, settings, [asset()], now=NOW)
    assert "GREEN" == states(database_url)["macro"]["status"]
    for number in (1, 2):
        evaluate(postgres, asked, [asset()], now=NOW + number * TICK)
    macro = states(database_url)["macro"]
    assert ("YELLOW", ["FRED has not answered for HOUST, UNRATE"]) == (macro["status"], macro["reasons"])
