"""Hourly and daily aggregations of 20 million events, beside hand-written DuckDB SQL; and what serves them.

Ours is what the assets do, without Dagster: the days in parts, two expressions a part through Ibis on DuckDB, a
replacement in PostgreSQL. The peer is one statement a grain over all the same Parquet files, with the same columns and
figures, as Arrow ("compute"), and copied into a table of PostgreSQL ("stored"). Six numeric properties of five types;
half of the events have one or two.

Also: peak memory under a COMPUTE_MEMORY_LIMIT of 1 GB; one bucket of 10,000 events by the asset in a Dagster run and by
aggregate_events_hourly(); a dashboard's queries over the aggregates of 100 million events (a year of hours).
"""

import json
import statistics
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from benchmarks._measures import at_most, medians, peak_mb_of, seconds
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.aggregations import event_aggregations
from ingestion_pipeline.domains.events.tables import (
    EVENT_AGGREGATIONS_DAILY,
    EVENT_AGGREGATIONS_HOURLY,
    EVENT_HISTORY,
)
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline.storage.postgres import Postgres, copy_rows

EVENTS_PER_DAY, DAYS, USERS, ROUNDS, QUERIES = 2_000_000, 10, 1_000_000, 3, 300
FIRST_DAY = date(2025, 1, 6)
TARGETS = ((EVENT_AGGREGATIONS_HOURLY, "hour"), (EVENT_AGGREGATIONS_DAILY, "day"))
MEMORY_LIMIT = "1GB"
PROPERTIES = {
    "VOTE": ["value"],
    "payment.completed": ["amount"],
    "project.created": ["budget"],
    "review.posted": ["rating"],
    "search.performed": ["results_count", "search_time_ms"],
}

EVENTS = """
with numbered as (
    select i, hash(i, '{day}', 1) % 100 as kind, hash(i, '{day}', 2) as who, hash(i, '{day}', 3) as what
    from range({count}) r(i)
), typed as (
    select *, case when kind < 45 then 'VIEW' when kind < 55 then 'COPY' when kind < 62 then 'SAVE'
        when kind < 70 then 'VOTE' when kind < 85 then 'search.performed' when kind < 90 then 'user.login'
        when kind < 94 then 'payment.completed' when kind < 97 then 'review.posted' else 'project.created' end
        as event_type
    from numbered
)
select uuid()::varchar as event_id, event_type,
    case when event_type in ('payment.completed', 'project.created') then 'transaction'
        when event_type = 'user.login' then 'user_activity' when event_type = 'review.posted' then 'content'
        else 'interaction' end as event_category,
    1::bigint as schema_version,
    case when who % 10 > 0 then 'usr_' || lpad(to_hex(hash((power(who % 1000003 / 1000003.0, 2) * {users})::bigint)),
        16, '0') end as user_id,
    'ses_' || lpad(to_hex(hash(who % ({count} // 4 + 1), '{day}')), 16, '0') as session_id,
    case when kind < 70 then 'rule_' || what % 50000 end as rule_id,
    case event_type when 'VOTE' then '{{"value": ' || (what % 3)::bigint - 1 || '}}'
        when 'search.performed' then '{{"query": "word ' || what % 5000 || '", "filters": {{"a": ["x", "y"]}}, '
            || '"results_count": ' || what % 400 || ', "search_time_ms": ' || what % 90000 / 100.0 || '}}'
        when 'payment.completed' then '{{"payment_id": "p' || i || '", "amount": ' || what % 1000000 / 100.0
            || ', "currency": "EUR"}}'
        when 'review.posted' then '{{"review_id": "r' || i || '", "rating": ' || what % 6 || '}}'
        when 'project.created' then '{{"project_id": "j' || i || '", "budget": ' || what % 100000 || '}}'
        else '{{"source": "web"}}' end as event_data,
    '{{"locale": "en"}}' as metadata, moment as occurred_at, moment as received_at, 0.0::double as lateness_seconds,
    null::double as clock_skew_seconds, 'benchmark' as caller, null::varchar as country, null::varchar as address_hash,
    'desktop' as device_type, 'Firefox' as browser, 'Linux' as operating_system, null::varchar as user_role,
    null::bigint as user_tenure_days, i % 50 > 0 as is_counted, if(i % 50 > 0, null, 'repeat_view') as uncounted_reason,
    1::bigint as batch_number, date '{day}' as day
from (select *, make_timestamptz({start} + (what % {span})::bigint) as moment from typed)
"""

PEER = """
with events as (
    select event_type, event_category, {bucket} as bucket_start, user_id, session_id, occurred_at, is_counted,
        event_data
    from read_parquet('{files}', hive_partitioning = true)
), counts as (
    select bucket_start, event_type, event_category, count(*) filter (is_counted) as event_count,
        count(*) filter (not is_counted) as uncounted_count,
        count(distinct user_id) filter (is_counted) as unique_users,
        count(distinct session_id) filter (is_counted) as unique_sessions,
        min(occurred_at) as first_event_at, max(occurred_at) as last_event_at
    from events group by all
), numbers as (
    select bucket_start, event_type, event_category, unnest(case event_type {cases} end) as p
    from events where is_counted and event_type in ({types})
), figures as (
    select bucket_start, event_type, event_category, p.name as name, count(*) as n, sum(p.value::decimal(38, 9)) as sum,
        min(p.value) as min, max(p.value) as max, quantile_cont(p.value, [0.5, 0.95]) as quantiles
    from numbers where p.value is not null group by all
), properties as (
    select bucket_start, event_type, event_category, json_group_object(name, {{'count': n, 'sum': sum::double,
        'min': min, 'max': max, 'p50': quantiles[1], 'p95': quantiles[2]}}) as properties
    from figures group by all
)
select counts.*, coalesce(properties, '{{}}')::varchar as properties
from counts left join properties using (bucket_start, event_type, event_category)
"""
BUCKETS = {"hour": "date_trunc('hour', occurred_at)", "day": "day::timestamptz"}

DASHBOARD = {
    "today by type": (
        "select event_type, event_category, event_count, unique_users from event_aggregations_daily "
        "where bucket_start = %(day)s order by event_count desc limit 10"
    ),
    "one type, 30 days": (
        "select bucket_start, event_count, unique_users, properties from event_aggregations_daily "
        "where event_type = %(type)s and bucket_start >= %(month)s and bucket_start < %(end)s order by bucket_start"
    ),
    "one type, 7 days of hours": (
        "select bucket_start, event_count from event_aggregations_hourly "
        "where event_type = %(type)s and bucket_start >= %(week)s and bucket_start < %(end)s order by bucket_start"
    ),
    "all types, 24 hours": (
        "select event_type, sum(event_count) from event_aggregations_hourly "
        "where bucket_start >= %(day)s and bucket_start < %(end)s group by 1 order by 2 desc"
    ),
}


def settings_of(folder: str) -> Settings:
    return Settings.from_environment(
        {
            "INGESTION_HOME": folder,
            "LAKE_URL": "",
            "COMPUTE_ENGINE": "duckdb",
            "COMPUTE_MEMORY_LIMIT": MEMORY_LIMIT,
        }
    )


def window_of(days: int) -> Window:
    return Window.of_days(FIRST_DAY, FIRST_DAY + timedelta(days=days - 1))


def events_of(day: date, count: int, users: int, *, span_seconds: int = 86_400) -> pa.Table:
    start = int(Window.of_days(day, day).start.timestamp() * 1_000_000)
    statement = EVENTS.format(day=day, count=count, users=users, start=start, span=span_seconds * 1_000_000)
    with duckdb.connect(config={"preserve_insertion_order": False}) as connection:
        connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
        return connection.sql(statement).to_arrow_table()


def fill(lake: Lake, *, events_per_day: int, days: int, users: int) -> None:
    """Writes events/event_history, a commit a day."""
    for part in window_of(days).split(days=1):
        lake.replace(EVENT_HISTORY, events_of(part.first_day, events_per_day, users), part)


def ours(lake: Lake, days: int, postgres: Postgres | None = None) -> list[pd.DataFrame]:
    answers = []
    for target, grain in TARGETS:
        for part in lake.chunks(EVENT_HISTORY, window_of(days)):
            answers.append(event_aggregations(lake.read(EVENT_HISTORY, part), PROPERTIES, grain=grain))
            if postgres is not None:
                postgres.replace(target, answers[-1], part)
    return answers


def peer(lake: Lake, postgres: Postgres | None = None, memory_limit: str = "4GB") -> dict[str, pa.Table]:
    answers = {}
    options = {"memory_limit": memory_limit, "preserve_insertion_order": False, "temp_directory": lake.root + "-spill"}
    with duckdb.connect(config=options) as connection:
        connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
        for target, grain in TARGETS:
            rows = answers[grain] = connection.sql(peer_statement(lake, grain)).to_arrow_table()
            if postgres is not None:
                with postgres.transaction() as transaction, transaction.cursor() as cursor:
                    cursor.execute(f"truncate {target.qualified_name}")
                    copy_rows(cursor, target.qualified_name, rows.select(list(target.column_names)))
    return answers


def peer_statement(lake: Lake, grain: str) -> str:
    value = "{{'name': '{name}', 'value': try_cast(json_extract(event_data, '/{name}')::varchar as double)}}"
    cases = " ".join(
        f"when '{kind}' then [{', '.join(value.format(name=name) for name in names)}]"
        for kind, names in PROPERTIES.items()
    )
    types = ", ".join(f"'{kind}'" for kind in PROPERTIES)
    files = f"{lake.uri(EVENT_HISTORY)}/*/*.parquet"
    return PEER.format(bucket=BUCKETS[grain], files=files, cases=cases, types=types)


def is_equal(lake: Lake, days: int) -> bool:
    """Our rows beside the peer's."""
    answers = peer(lake)
    own = ours(lake, days)
    half = len(own) // len(TARGETS)
    for frames, (target, grain) in zip((own[:half], own[half:]), TARGETS, strict=True):
        mine, its = (
            rows.sort_values(list(target.key)).reset_index(drop=True)
            for rows in (pd.concat(frames), answers[grain].to_pandas())
        )
        columns = [name for name in target.column_names if name != "properties"]
        pd.testing.assert_frame_equal(mine[columns], its[columns], check_dtype=False, check_exact=True)
        if mine["properties"].map(json.loads).tolist() != its["properties"].map(json.loads).tolist():
            return False
    return True


def peaks_mb(folder: str, days: int) -> dict[str, float]:
    start = f"from benchmarks.event_aggregations import *; lake = Lake(settings_of({folder!r}))"
    return {
        "libraries alone": peak_mb_of(start),
        "ours, one day": peak_mb_of(f"{start}; ours(lake, 1)"),
        "ours, all days": peak_mb_of(f"{start}; ours(lake, {days})"),
        "hand-written, all days": peak_mb_of(f"{start}; peer(lake, memory_limit={MEMORY_LIMIT!r})"),
    }


def bucket_seconds(folder: str, server: embedded.EmbeddedServer, count: int) -> dict[str, float]:
    """One hour of `count` events: the asset in a Dagster run (the second; the first imports), and the function."""
    import dagster as dg

    from ingestion_pipeline.domains.events.derived_assets import event_aggregations_hourly as asset

    home = Path(folder) / "bucket"
    day = Window.of_days(FIRST_DAY, FIRST_DAY)
    lake, postgres = Lake(settings_of(str(home))), Postgres(server.url())
    rows = events_of(FIRST_DAY, count, count, span_seconds=3600)
    lake.replace(EVENT_HISTORY, rows, day)
    columns = ["event_id", "event_type", "event_category", "schema_version", "user_id", "session_id", "event_data",
               "metadata", "occurred_at", "received_at", "caller"]  # fmt: skip
    with postgres.transaction() as connection, connection.cursor() as cursor:
        hot = rows.select(columns).append_column("origin", pa.repeat("http", rows.num_rows))
        copy_rows(cursor, "events.event_log", hot)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

    def run() -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            dg.materialize(
                [asset],
                instance=instance,
                partition_key=str(FIRST_DAY),
                resources={"postgres": postgres, "lake": lake},
                run_config=quiet,
            )

    run()
    call = "select events.aggregate_events_hourly(:hour)"
    found = {
        "asset, in a run": statistics.median(seconds(run) for _ in range(3)),
        "asset, its work": statistics.median(
            seconds(lambda: event_aggregations(lake.read(EVENT_HISTORY, day), PROPERTIES, grain="hour"))
            for _ in range(3)
        ),
        "function": statistics.median(seconds(lambda: postgres.execute(call, {"hour": day.start})) for _ in range(3)),
    }
    postgres.close()
    return found


def fill_aggregates(postgres: Postgres, *, days: int, types: int, events_per_bucket: int) -> int:
    """The aggregates of `days` days; returns how many events they stand for."""
    figures = json.dumps({"amount": {"count": 9, "sum": 9.5, "min": 0.5, "max": 2.5, "p50": 1.0, "p95": 2.25}})
    statement = """
        insert into {table}
        select bucket, 'type.' || kind, 'interaction', {events}, 3, {events} / 3, {events} / 2, bucket, bucket, %s
        from generate_series(%s::timestamptz, %s::timestamptz, interval '1 {unit}') as bucket,
            generate_series(1, {types}) as kind
        order by bucket
    """
    window = window_of(days)
    for (target, unit), share in zip(TARGETS, (1, 24), strict=True):
        with postgres.transaction() as connection:
            connection.execute(f"truncate {target.qualified_name}")
            text = statement.format(
                table=target.qualified_name, unit=unit, types=types, events=events_per_bucket * share
            )
            connection.execute(text, [figures, window.start, window.end - timedelta(hours=1)])
    return days * 24 * types * events_per_bucket


def query_ms(url: str, *, days: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each dashboard query, of days and types taken in turns."""
    import psycopg

    found = {}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("analyze")
        for name, statement in DASHBOARD.items():

            def ask(number: int, statement: str = statement) -> float:
                end = window_of(days - number % 30).end
                before = {"day": 1, "week": 7, "month": 30}
                parameters: dict[str, Any] = {key: end - timedelta(days=it) for key, it in before.items()}
                parameters |= {"end": end, "type": f"type.{number % 20 + 1}"}
                return seconds(lambda: connection.execute(statement, parameters).fetchall())

            found[name] = statistics.median(ask(number) for number in range(rounds)) * 1_000
    return found


def main(
    events_per_day: int = EVENTS_PER_DAY,
    days: int = DAYS,
    users: int = USERS,
    rounds: int = ROUNDS,
    bucket: int = 10_000,
    aggregated_days: int = 365,
    queries: int = QUERIES,
) -> None:
    configure_logging("warning")
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        lake = Lake(settings_of(folder))
        lake.engine.raw_sql("set enable_progress_bar = false")
        fill(lake, events_per_day=events_per_day, days=days, users=users)
        server = embedded.start(Path(folder) / "postgres")
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        postgres = Postgres(server.url())
        works: dict[str, Callable[[], object]] = {
            "ours, compute": partial(ours, lake, days),
            "peer, compute": partial(peer, lake),
            "ours, stored": partial(ours, lake, days, postgres),
            "peer, stored": partial(peer, lake, postgres),
        }
        spent = medians(works, rounds=rounds)
        print(f"{events_per_day * days:,} events, {users:,} users, {days} days, medians of {rounds} rounds")
        for what in ("compute", "stored"):
            own, its = spent[f"ours, {what}"], spent[f"peer, {what}"]
            print(f"{what:<8} ours {own:6.2f} s  hand-written SQL {its:6.2f} s  {at_most(own / its, 1.25)}")
        print(f"same rows as the peer: {is_equal(lake, days)}")
        for name, peak in peaks_mb(folder, days).items():
            print(f"peak memory, limit {MEMORY_LIMIT}: {name:<23} {peak:7,.0f} MB")
        for name, spent_seconds in bucket_seconds(folder, server, bucket).items():
            print(f"an hour of {bucket:,} events: {name:<16} {spent_seconds:6.3f} s  {at_most(spent_seconds, 1)}")
        per_bucket = max(1, -(-100_000_000 // (365 * 24 * 20)))
        events = fill_aggregates(postgres, days=aggregated_days, types=20, events_per_bucket=per_bucket)
        for name, median in query_ms(server.url(), days=aggregated_days, rounds=queries).items():
            print(f"aggregates of {events:,} events: {name:<26} {median:6.2f} ms  {at_most(median / 5, 1)}")
        postgres.close()
        embedded.stop_when_unused(Path(folder) / "postgres")


if __name__ == "__main__":
    main()
