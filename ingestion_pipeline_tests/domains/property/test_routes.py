"""What applications read of property data, through a real server that logs in as the intake does."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import jsonschema_rs
import psycopg
import pytest

from ingestion_pipeline.domains.property.predict import measure_accuracy, predict, predict_new_sales, subject_frame
from ingestion_pipeline.storage.ingestion_events import IngestionEvent, record_ingestion
from ingestion_pipeline.storage.jobs import JobQueue, NewJob
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.property.sales import make_sale, sales_frame
from ingestion_pipeline_tests.domains.property.served import STRANGER, Served, served
from ingestion_pipeline_tests.domains.property.stored import (
    store_comps,
    store_fundamentals,
    store_macro,
    store_staleness,
)

DAY = timedelta(days=1)
FIRST = date(2026, 1, 1)
PATHS = ["macro/UNRATE", "markets/dallas/fundamentals", "markets/dallas/comps", "markets/dallas/predictions"]
ROWS = {"macro": "observations", "fundamentals": "fundamentals", "comps": "comps", "predictions": "predictions"}


@pytest.fixture(scope="module")
def site(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A series of 1,200 days with a revision and a gap; figures, 130 sales and their predictions of one market."""
    with served(server, tmp_path_factory.mktemp("property")) as found:
        _fill(found.postgres)
        yield found


def _fill(postgres: Postgres) -> None:
    days = [FIRST - number * DAY for number in range(1_200)]
    store_macro(postgres, "UNRATE", *((day, 4.0) for day in days), vintage=FIRST)
    store_macro(postgres, "UNRATE", (FIRST, 4.5), (FIRST - DAY, None), vintage=FIRST + DAY)
    months = [(FIRST - 30 * number * DAY, 300_000.0 - number) for number in range(12)]
    store_fundamentals(postgres, "dallas", "median_sale_price_usd", *months)
    store_fundamentals(postgres, "dallas", "inventory_count", (FIRST - DAY, 7.0))
    store_staleness(postgres, "dallas", FIRST)
    sales = [
        make_sale(
            subject_id=f"mls/{number:03}",
            sale_date=FIRST - (number // 2) * DAY,
            property_type="condo" if number % 10 == 0 else "single_family",
        )
        for number in range(130)
    ]
    store_comps(postgres, sales_frame(*sales))
    list(predict_new_sales(postgres))
    measure_accuracy(postgres, as_of=FIRST)


def rows(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    name = next(name for name in ROWS.values() if name in answer.json())
    return list(answer.json()[name])


def test_a_series_is_read_as_it_is_today(site: Served) -> None:
    """Newest first, the revision instead of what it revised, missing as null."""
    answer = site.get("macro/UNRATE").json()
    assert ("UNRATE", True, 1_000) == (answer["series_id"], answer["has_more"], len(answer["observations"]))
    newest, before = answer["observations"][:2]
    assert ("2026-01-01", 4.5, "2026-01-02") == tuple(
        newest[it] for it in ("observation_date", "value", "vintage_date")
    )
    assert ("2025-12-31", None) == (before["observation_date"], before["value"])


def test_a_part_of_a_series_is_read_by_days(site: Served) -> None:
    """`from` belongs to it, `to` does not; with it the pages are walked."""
    part = rows(site.get("macro/UNRATE", **{"from": "2025-12-01", "to": "2025-12-04"}))
    assert ["2025-12-03", "2025-12-02", "2025-12-01"] == [it["observation_date"] for it in part]
    seen, to = [], "9999-12-31"
    while True:
        page = site.get("macro/UNRATE", to=to, limit=500).json()
        seen += [it["observation_date"] for it in page["observations"]]
        to = seen[-1]
        if not page["has_more"]:
            break
    assert [(FIRST - number * DAY).isoformat() for number in range(1_200)] == seen


def test_the_newest_figure_of_each_metric_is_read(site: Served) -> None:
    answer = site.get("markets/dallas/fundamentals").json()
    assert [("inventory_count", 7.0, "2025-12-31"), ("median_sale_price_usd", 300_000.0, "2026-01-01")] == [
        (it["metric"], it["value"], it["as_of_date"]) for it in answer["fundamentals"]
    ]
    assert ("2026-01-01", False, 30) == tuple(
        answer["staleness"][it] for it in ("last_as_of_date", "is_stale", "max_age_days")
    )


def test_the_history_of_a_metric_is_read(site: Served) -> None:
    found = site.get("markets/dallas/fundamentals", metric="median_sale_price_usd", limit=2)
    assert [300_000.0, 299_999.0] == [it["value"] for it in rows(found)]
    assert found.json()["has_more"] is True
    later = site.get(
        "markets/dallas/fundamentals", metric="median_sale_price_usd", **{"from": "2025-11-01", "to": "2026-01-01"}
    )
    assert [299_999.0, 299_998.0] == [it["value"] for it in rows(later)]


@pytest.mark.parametrize(("what", "identity"), [("comps", "comp_id"), ("predictions", "prediction_id")])
def test_pages_are_walked_with_the_cursor(site: Served, what: str, identity: str) -> None:
    """Every row once, newest first; also from the cached first page."""
    page = site.get(f"markets/dallas/{what}").json()
    assert 100 == len(page[what])
    seen = [it[identity] for it in page[what]]
    while page["next_cursor"]:
        page = site.get(f"markets/dallas/{what}", limit=12, cursor=page["next_cursor"]).json()
        seen += [it[identity] for it in page[what]]
    assert 130 == len(seen) == len(set(seen))
    if what == "comps":
        assert sorted(seen, key=lambda it: (int(it) // 2, -int(it))) == seen


def test_sales_are_chosen_by_type_and_day(site: Served) -> None:
    """A type is found however it is spelled."""
    condos = rows(site.get("markets/dallas/comps", property_type="Condo"))
    assert (13, {"condo"}) == (len(condos), {it["property_type"] for it in condos})
    recent = rows(site.get("markets/dallas/comps", **{"from": "2025-12-31", "to": "2026-01-01"}))
    assert ["003", "002"] == [it["comp_id"] for it in recent]


def test_predictions_come_with_their_accuracy(site: Served) -> None:
    answer = site.get("markets/dallas/predictions").json()
    assert ["all", "condo", "single_family"] == [it["property_type"] for it in answer["accuracy"]]
    assert 130 == answer["accuracy"][0]["prediction_count"]
    assert answer["predictions"][0]["subject"]["living_area_sqft"] == 2000.0


def test_what_a_job_predicts_is_for_its_owner_alone(site: Served) -> None:
    """It is in the output of the job: no other reader sees it, nor the roles that they log in as."""
    job_id, _ = JobQueue(site.postgres).enqueue(NewJob(job_type="prediction", owner_id="me", input_data={}))
    store_comps(site.postgres, sales_frame(make_sale(subject_id="mls/el-paso", market_slug="el-paso")))
    list(predict_new_sales(site.postgres))
    home = subject_frame([make_sale(subject_id="my-home", market_slug="el-paso")])
    predict(site.postgres, "el-paso", home, on=FIRST, job_id=job_id)
    for parameters in ({}, {"limit": "10"}):
        found = rows(site.get("markets/el-paso/predictions", **parameters))
        assert ["mls/el-paso"] == [it["subject_id"] for it in found]
    seen = "select subject_id from property.predictions where market_slug = 'el-paso' order by 1"
    for role, subjects in {"intake": 1, "reader": 1, "worker": 2}.items():
        with psycopg.connect(site.postgres.url.replace("pipeline_worker@", "postgres@", 1)) as connection:
            connection.execute(f"set role pipeline_{role}")
            assert subjects == len(connection.execute(seen).fetchall()), role


@pytest.mark.parametrize("path", PATHS)
def test_the_first_page_comes_from_the_cache(site: Served, path: str) -> None:
    """The same answer, which says where it came from; with a parameter it does not."""
    first, second = site.get(path), site.get(path)
    assert "hit" == second.headers["x-cache"]
    assert first.json() == second.json()
    chosen = {"metric": "inventory_count"} if path.endswith("fundamentals") else {"limit": 1}
    assert "x-cache" not in site.get(path, **chosen).headers


@pytest.mark.parametrize("path", PATHS)
def test_answers_are_what_the_document_says(site: Served, path: str) -> None:
    document = site.intake.get("/openapi.json").json()
    template = f"/api/property/{path}".replace("UNRATE", "{series_id}").replace("dallas", "{market_slug}")
    schema = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    answer = site.get(path).json()
    jsonschema_rs.validate(schema, answer)
    assert set(schema["required"]) == set(answer)
    name = next(name for name in ROWS.values() if name in answer)
    assert set(schema["properties"][name]["items"]["required"]) == set(answer[name][0])


@pytest.mark.parametrize(
    "path",
    [
        "macro/NOTHING",
        "macro/*",
        "macro/UN*",
        "markets/nowhere/fundamentals",
        "markets/nowhere/comps",
        "markets/nowhere/predictions",
        "markets/*/comps",
        "markets/Dallas/comps",
        "markets/dallas--tx/comps",
        "markets/%2e%2e/comps",
    ],
)
def test_what_is_not_there_is_404(site: Served, path: str) -> None:
    """A pattern is no name: it reaches neither the database nor the cache."""
    rows(site.get("macro/UNRATE"))
    answer = site.get(path)
    assert (404, "application/problem+json") == (answer.status_code, answer.headers["content-type"])
    assert "hit" == site.get("macro/UNRATE").headers["x-cache"]


@pytest.mark.parametrize(
    ("path", "parameters", "field"),
    [
        ("macro/UNRATE", {"limit": "0"}, "limit"),
        ("macro/UNRATE", {"limit": "5001"}, "limit"),
        ("macro/UNRATE", {"from": "yesterday"}, "from"),
        ("macro/UNRATE", {"from": "2026-02-30"}, "from"),
        ("macro/UNRATE", {"nonsense": "1"}, "nonsense"),
        ("markets/dallas/fundamentals", {"metric": "median"}, "metric"),
        ("markets/dallas/fundamentals", {"from": "2026-01-01"}, "metric"),
        ("markets/dallas/comps", {"property_type": ""}, "property_type"),
        ("markets/dallas/comps", {"cursor": "x"}, "cursor"),
        ("markets/dallas/comps", {"cursor": "WyIyMDI2LTAxLTAxIiwibWxzIl0"}, "cursor"),
        ("markets/dallas/predictions", {"cursor": "WyIyMDI2LTAxLTAxIiwibWxzIl0"}, "cursor"),
        ("markets/dallas/predictions", {"job_id": "x"}, "job_id"),
    ],
)
def test_a_wrong_parameter_is_named(site: Served, path: str, parameters: dict[str, str], field: str) -> None:
    answer = site.get(path, **parameters)
    assert (422, [field]) == (answer.status_code, [it["field"] for it in answer.json()["errors"]])


@pytest.mark.parametrize("path", PATHS)
def test_only_applications_with_the_scope_may_read(site: Served, path: str) -> None:
    assert 403 == site.get(path, STRANGER).status_code
    assert 401 == site.get(path, {}).status_code


def test_the_request_log_knows_the_market_and_the_cache(site: Served) -> None:
    """S0's figures of requests."""
    site.get("markets/dallas/comps")
    site.get("markets/dallas/comps")

    def logged() -> list[tuple[str, bool]]:
        with site.postgres.transaction() as connection:
            return connection.execute(
                "select market, cache_hit from operations.api_requests where path like '%%/comps' and status = 200 "
                "and cache_hit order by occurred_at desc limit 1"
            ).fetchall()

    assert [("dallas", True)] == eventually(logged)


def test_ingestion_by_another_process_is_seen_within_seconds(site: Served) -> None:
    """The cache of this process forgets what the event names."""
    store_fundamentals(site.postgres, "austin", "inventory_count", (FIRST, 1.0))
    assert [1.0] == [it["value"] for it in rows(site.get("markets/austin/fundamentals"))]
    store_fundamentals(site.postgres, "austin", "inventory_count", (FIRST, 2.0))
    assert [1.0] == [it["value"] for it in rows(site.get("markets/austin/fundamentals"))]
    event = IngestionEvent(
        event_type="market.fundamentals.upsert",
        source="test",
        processing_time_ms=1,
        cache_keys_invalidated=["property:fundamentals:austin*"],
    )
    with site.postgres.transaction() as connection:
        record_ingestion(connection, event)
    assert [2.0] == eventually(
        lambda: [it["value"] for it in rows(site.get("markets/austin/fundamentals")) if it["value"] == 2.0]
    )


def test_reads_need_no_right_to_write(site: Served) -> None:
    """The intake's role can read property data and change none of it."""
    url = site.postgres.url.replace("pipeline_worker@", "pipeline_intake@", 1)
    for table in ("macro_observations", "fundamentals", "comps", "predictions", "prediction_accuracy"):
        with psycopg.connect(url) as connection:
            connection.execute(f"select from property.{table}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"delete from property.{table}")
