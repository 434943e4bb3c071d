"""The health endpoint under 200 requests a second, beside GET /health on the same server; and what the mirror costs.

The load comes from another process; server, PostgreSQL and load share the machine. While it runs, scans of Dagster's
tables and transactions on our database are counted: there must be none of the first, and those must not grow with the
requests. The mirror is the real one: Dagster's instance in PostgreSQL, every asset of the code location.
"""

import tempfile
import time
from datetime import timedelta

import psycopg

from benchmarks._load import Load, drive_in_process
from benchmarks._measures import at_most, medians
from benchmarks._services import service
from benchmarks._stack import environment_of
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.settings import Settings, export
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres, normalised_url

PORT, CONNECTIONS, PER_SECOND = 18_789, 16, 200
MEDIAN_TARGET_MS, P99_TARGET_MS, MORE_TARGET_PER_SECOND = 10, 25, 5
_SCANS = "select coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::bigint, count(*) from pg_stat_user_tables"
_TRANSACTIONS = "select xact_commit + xact_rollback, 0 from pg_stat_database where datname = current_database()"


def main(seconds: float = 30.0, rounds: int = 9) -> None:
    configure_logging("warning")
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as home:
        settings = Settings.from_environment(environment_of(home))
        with database(settings) as environment:
            export(environment_of(home) | environment)
            mirror(environment, rounds)
            with service("intake", environment, port=PORT):
                measure(environment, PORT, seconds)


def mirror(environment: dict[str, str], rounds: int) -> None:
    """Prints what one look of the mirror costs; leaves one behind that does not fall silent while we measure."""
    import dagster as dg

    from ingestion_pipeline.definitions import defs
    from ingestion_pipeline.domains.operations.freshness import evaluate
    from ingestion_pipeline.orchestration.freshness import current_freshness, store_freshness

    settings = Settings.from_environment(environment)
    postgres, lake, graph = Postgres(environment["DATABASE_URL"]), Lake(settings), defs.get_repository_def().asset_graph
    now = utc_now() + timedelta(hours=1)
    with dg.DagsterInstance.get() as instance:
        assets = current_freshness(graph, instance, postgres, lake, now=now)
        spent = medians(
            {
                "read": lambda: current_freshness(graph, instance, postgres, lake, now=now),
                "stored": lambda: store_freshness(postgres, assets, now=now),
                "judged": lambda: evaluate(postgres, settings, assets, now=now),
            },
            rounds=rounds,
        )
    postgres.close()
    parts = ", ".join(f"{name} {value * 1e3:.0f} ms" for name, value in spent.items())
    print(f"mirror of {len(assets)} assets, every 30 s: {parts}")


def measure(environment: dict[str, str], port: int, seconds: float) -> None:
    """Prints what the endpoint of the intake at `port` does under load."""
    ours_url, dagster_url = (
        normalised_url(environment[name], driver="") for name in ("DATABASE_URL", "DAGSTER_PG_URL")
    )
    scans, tables = _count(dagster_url, _SCANS)
    before = _count(ours_url, _TRANSACTIONS)[0]
    time.sleep(seconds / 3)
    transactions, _ = _count(ours_url, _TRANSACTIONS)
    idle = (transactions - before) / (seconds / 3)
    load = _load("/api/health/data", port, seconds)
    transactions = _count(ours_url, _TRANSACTIONS)[0] - transactions
    scans = _count(dagster_url, _SCANS)[0] - scans
    limit = _load("/health", port, seconds)
    median, p99 = load.latency_ms(0.5), load.latency_ms(0.99)
    print(f"limit: GET /health at {PER_SECOND}/s          {_shown(limit)}")
    print(f"ours: GET /api/health/data at {PER_SECOND}/s  {_shown(load)}  {at_most(median / limit.latency_ms(0.5))}")
    print(f"    target p50 below {MEDIAN_TARGET_MS} ms  {_verdict(is_met=median < MEDIAN_TARGET_MS)}")
    print(f"    target p99 below {P99_TARGET_MS} ms  {_verdict(is_met=p99 < P99_TARGET_MS)}")
    more = transactions / load.seconds - idle
    print(f"transactions on our database: {idle:.1f}/s without requests, {more:+.1f}/s with them")
    print(f"    target at most {MORE_TARGET_PER_SECOND:+}/s  {_verdict(is_met=more <= MORE_TARGET_PER_SECOND)}")
    print(f"scans of Dagster's {tables} tables meanwhile: {scans}  target 0  {_verdict(is_met=scans == 0)}")
    fastest = drive_in_process(
        "benchmarks._load:repeated", ["GET", "/api/health/data"], port=port, seconds=seconds, connections=CONNECTIONS
    )
    print(f"as fast as it goes: {fastest}")


def _load(path: str, port: int, seconds: float) -> Load:
    load = drive_in_process(
        "benchmarks._load:repeated",
        ["GET", path],
        port=port,
        seconds=seconds,
        connections=CONNECTIONS,
        per_second=PER_SECOND,
    )
    if load.broken or set(load.statuses) != {200}:
        raise RuntimeError(f"not every request was answered with 200: {load}")
    return load


def _count(url: str, statement: str) -> tuple[int, int]:
    with psycopg.connect(url) as connection:
        first, second = connection.execute(statement.encode()).fetchone() or (0, 0)
    return int(first), int(second)


def _shown(load: Load) -> str:
    return f"p50 {load.latency_ms(0.5):5.2f} ms  p99 {load.latency_ms(0.99):5.2f} ms"


def _verdict(*, is_met: bool) -> str:
    return "met" if is_met else "MISSED"


if __name__ == "__main__":
    main()
