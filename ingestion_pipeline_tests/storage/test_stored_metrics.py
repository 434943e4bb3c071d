"""Metrics of many processes in one place: added, not overwritten; kept while PostgreSQL is away; as the real roles."""

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from ingestion_pipeline.core.metrics import Metrics
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.metrics import store_metrics, store_metrics_soon
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline.storage.postgres import Postgres


def rows(url: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(statement.encode()).fetchall()


def series(url: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = rows(url, "select *, labels::text as words from operations.metrics")
    return {(row["name"], row["words"]): row for row in found}


def test_processes_add_to_the_same_series(postgres: Postgres, database_url: str) -> None:
    """Counters and histograms grow, a gauge is what was said last, nothing measured leaves nothing."""
    for value in (1, 2):
        measured = Metrics()
        measured.counter("ingestion_success_total", value, labels={"provider": "mock"})
        measured.gauge("queue_depth", value)
        measured.histogram("seconds", value, bounds=(1.0, 5.0))
        store_metrics(postgres, measured=measured)
        assert [] == measured.take()
    found = series(database_url)
    assert 3 == found["ingestion_success_total", '{"provider": "mock"}']["value"]
    assert 2 == found["queue_depth", "{}"]["value"]
    seconds = found["seconds", "{}"]
    assert (3, 2, [1.0, 5.0], [1, 1]) == tuple(
        seconds[name] for name in ("value", "sample_count", "bucket_bounds", "bucket_counts")
    )
    store_metrics(postgres, measured=Metrics())
    assert 3 == len(series(database_url))


def test_a_histogram_with_other_bounds_begins_anew(postgres: Postgres, database_url: str) -> None:
    """A release that changes bounds does not break what is stored."""
    for bounds in ((1.0, 5.0), (2.0,)):
        measured = Metrics()
        measured.histogram("seconds", 1.5, bounds=bounds)
        store_metrics(postgres, measured=measured)
    (row,) = series(database_url).values()
    assert ([2.0], [1], 1, 1.5) == (row["bucket_bounds"], row["bucket_counts"], row["sample_count"], row["value"])


def test_growth_is_kept_by_the_minute_and_caches_in_the_tables_of_the_seed(
    postgres: Postgres, database_url: str
) -> None:
    """cache_* counters are rows of cache_metrics, with the ratio of their reads; other counters are not."""
    measured = Metrics()
    macro = {"service": "macro"}
    measured.counter("cache_hit", 3, macro)
    measured.counter("cache_miss", 1, macro)
    measured.counter("cache_warm", 7, {"service": "comps"})
    measured.counter("api_retry_total", 2, {"service": "fred"})
    measured.gauge("cache_size", 5)
    store_metrics(postgres, measured=measured)
    kept = rows(database_url, "select metric_name, metric_value, tags from operations.cache_metrics order by 1")
    assert [
        ("cache_hit", 3, macro),
        ("cache_hit_ratio", 0.75, macro),
        ("cache_miss", 1, macro),
        ("cache_warm", 7, {"service": "comps"}),
    ] == [tuple(row.values()) for row in kept]
    minutes = rows(database_url, "select name, sum(value) from operations.metric_minutes group by 1 order by 1")
    assert [("api_retry_total", 2), ("cache_hit", 3), ("cache_miss", 1), ("cache_warm", 7)] == [
        tuple(row.values()) for row in minutes
    ]


def test_a_minute_of_a_cache_is_one_row_however_often_it_is_reported(postgres: Postgres, database_url: str) -> None:
    """Counts add up, and the ratio is that of the whole minute."""
    macro = {"service": "macro"}
    for hits, misses in ((1, 0), (0, 1), (2, 0)) * 10:
        measured = Metrics()
        measured.counter("cache_hit", hits, macro)
        measured.counter("cache_miss", misses, macro)
        store_metrics(postgres, measured=measured)
    kept = rows(database_url, "select * from operations.cache_metrics order by created_at, metric_name")
    minutes = {row["created_at"] for row in kept}
    assert len(minutes) <= 1 + len(rows(database_url, "select distinct minute from operations.metric_minutes"))
    assert 3 * len(minutes) == len(kept)
    assert {0} == {minute.second for minute in minutes}
    assert (30, 10) == tuple(
        sum(row["metric_value"] for row in kept if row["metric_name"] == name) for name in ("cache_hit", "cache_miss")
    )
    by_name = {row["metric_name"]: row["metric_value"] for row in kept if row["created_at"] == max(minutes)}
    assert by_name["cache_hit_ratio"] == pytest.approx(
        by_name["cache_hit"] / (by_name["cache_hit"] + by_name["cache_miss"])
    )


def test_the_intake_stores_its_own(database_url: str) -> None:
    """As its own role, over its pool."""
    measured = Metrics()
    measured.counter("http_total")

    async def store() -> None:
        url = database_url.replace("postgres@", "pipeline_intake@", 1)
        async with AsyncConnectionPool(url, open=False, min_size=1) as pool:
            await store_metrics_soon(pool, measured=measured)

    asyncio.run(store())
    assert 1 == series(database_url)["http_total", "{}"]["value"]


def test_writers_of_the_same_series_in_any_order_wait_and_add(worker_url: str, database_url: str) -> None:
    """Six threads, opposite orders, no deadlock: every one's share is there."""

    def work(names: list[str]) -> None:
        postgres = Postgres(worker_url)
        for _ in range(20):
            measured = Metrics()
            for name in names:
                measured.counter(name)
            store_metrics(postgres, measured=measured)
            assert [] == measured.take()
        postgres.close()

    names = [f"series_{letter}" for letter in "abcdefgh"]
    threads = [threading.Thread(target=work, args=(names[:: 1 if i % 2 else -1],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [120.0] * 8 == [row["value"] for row in series(database_url).values()]


def test_what_postgresql_refuses_is_dropped_and_said(
    postgres: Postgres, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One bad name does not keep all that follows from being stored."""
    measured = Metrics()
    measured.counter("Not a name")
    with caplog.at_level("ERROR"):
        store_metrics(postgres, measured=measured)
    assert "metrics are refused" in caplog.text
    measured.counter("good_total")
    store_metrics(postgres, measured=measured)
    assert [("good_total", "{}")] == list(series(database_url))


def test_while_postgresql_is_away_they_wait(spare: EmbeddedServer, spare_folder: Path) -> None:
    """Stored once when it is back."""
    ensure_database(spare.url(), "metrics")
    migrate(spare.url(database="metrics"))
    postgres = Postgres(spare.url(role="pipeline_worker", database="metrics"))
    measured = Metrics()
    measured.counter("events_total", 2)
    os.kill(int((spare_folder / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    store_metrics(postgres, measured=measured)
    measured.counter("events_total", 3)
    embedded.start(spare_folder)
    store_metrics(postgres, measured=measured)
    assert 5 == series(spare.url(database="metrics"))["events_total", "{}"]["value"]
    postgres.close()


def test_what_nobody_asks_for_is_removed(postgres: Postgres, database_url: str) -> None:
    """Old minutes, cache metrics, ingestion events and series go; what is recent stays."""
    with psycopg.connect(database_url) as connection:
        for days in (0, 400):
            connection.execute(
                "insert into operations.metrics (name, labels, type, updated_at) "
                "values ('a', jsonb_build_object('d', %(days)s::int), 'gauge', now() - make_interval(days => %(days)s))",
                {"days": days},
            )
            connection.execute(
                "insert into operations.metric_minutes values (now() - make_interval(days => %s), 'a', '{}', 1)", [days]
            )
            connection.execute(
                "insert into operations.cache_metrics (metric_name, metric_value, created_at) "
                "values ('cache_hit', 1, now() - make_interval(days => %s))",
                [days],
            )
            connection.execute(
                "insert into operations.ingestion_events (event_type, source, processing_time_ms, created_at) "
                "values ('macro.update', 'fred', 1, now() - make_interval(days => %s))",
                [days],
            )
    with postgres.transaction() as connection:
        assert (4,) == connection.execute("select operations.remove_old_metrics()").fetchone()
        assert (0,) == connection.execute("select operations.remove_old_metrics()").fetchone()
    for table in ("metrics", "metric_minutes", "cache_metrics", "ingestion_events"):
        assert [{"count": 1}] == rows(database_url, f"select count(*) from operations.{table}")
