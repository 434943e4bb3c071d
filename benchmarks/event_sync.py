"""The hot log to the lake, beside a plain read of the same rows; and reading by watermark beside claiming row by row.

The plain read is the same COPY of the same rows, made into Arrow tables and dropped. Claiming is what S2 describes:
`for update skip locked` in batches, an update of each row to `processed`. Bloat is what a table weighs after its rows
were read, against its weight before: the sync updates nothing, claiming writes every row a second time.
"""

import tempfile
from collections.abc import Callable
from statistics import median

import psycopg

from benchmarks._measures import faster, peak_mb, seconds, share
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.events.sync import sync
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.database import database
from ingestion_pipeline.storage.event_reader import Batch, chunks
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

EVENTS, ROUNDS, BLOAT_EVENTS = 500_000, 3, 10_000_000
TARGET_PER_SECOND, WATERMARK_TARGET = 50_000, 5
ROWS_PER_TRANSACTION, CLAIMED_ROWS = 5_000, 1_000

INSERT = """
insert into events.event_log (
    event_id, event_type, event_category, schema_version, user_id, session_id, rule_id, event_data, metadata,
    occurred_at, received_at, caller, origin, address_hash
)
select
    events.time_ordered_id(), 'VIEW', 'interaction', 1, 'user-' || n %% 9973, 'session-' || n %% 19937,
    'rule-' || n %% 997,
    jsonb_build_object('page', '/rules/' || n %% 997, 'milliseconds', n %% 1000, 'referrer', 'search'),
    '{"userAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36"}',
    now() - n %% 3600 * interval '1 second', now(), 'benchmark', 'http', md5((n %% 49999)::text)
from generate_series(%s::int, %s::int) as n
"""
CLAIMED = """
create table claimed (like events.event_log including defaults);
alter table claimed add column processing_status text not null default 'pending';
insert into claimed select log.*, 'pending' from events.event_log as log;
create index on claimed (event_id) where processing_status = 'pending';
"""
CLAIM = """
update claimed set processing_status = 'processed'
where event_id in (
    select event_id from claimed where processing_status = 'pending' order by event_id limit %s for update skip locked
)
returning event_id, event_type, event_category, user_id, session_id, rule_id, event_data, metadata, occurred_at
"""


def fill(connection: psycopg.Connection[tuple[object, ...]], events: int) -> None:
    """Events in transactions as the intake makes them under load."""
    for first in range(0, events, ROWS_PER_TRANSACTION):
        connection.execute(INSERT, [first, min(first + ROWS_PER_TRANSACTION, events) - 1])
    connection.execute("analyze events.event_log")


def plain_read(postgres: Postgres) -> int:
    """Every row of the hot log, by watermark, as Arrow tables."""
    everything = Batch(0, "0", str(2**62), [], was_begun=False)
    return sum(rows.num_rows for rows in chunks(postgres, everything))


def claim_all(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    rows = 0
    while claimed := connection.execute(CLAIM, [CLAIMED_ROWS]).fetchall():
        rows += len(claimed)
    return rows


def megabytes(connection: psycopg.Connection[tuple[object, ...]], table: str) -> tuple[float, int]:
    """What a table and its partitions weigh without indexes, and how many dead rows they hold."""
    connection.execute("select pg_stat_force_next_flush()")
    row = connection.execute(
        "select sum(pg_table_size(relid)) / 1e6, sum(pg_stat_get_dead_tuples(relid)) from pg_partition_tree(%s)",
        [table],
    ).fetchone()
    assert row is not None
    return float(str(row[0])), int(str(row[1]))


def main(events: int = EVENTS, rounds: int = ROUNDS, bloat_events: int = BLOAT_EVENTS) -> None:
    configure_logging("warning")
    times: dict[str, list[float]] = {"read": [], "sync": [], "claim": []}
    for _ in range(rounds):
        on_fresh_log(events, lambda *stores: _round(times, *stores))
    read, ours, claim = (events / median(times[name]) for name in ("read", "sync", "claim"))
    print(f"{events:,} events, medians of {rounds} rounds")
    print(f"limit: plain read by watermark            {read:9,.0f} events/s")
    print(f"ours: read, enriched, in the lake, recorded {ours:7,.0f} events/s")
    print(f"    of the plain read      {share(ours / read)}")
    print(f"    of the promise         {share(ours / TARGET_PER_SECOND, 1)}  ({TARGET_PER_SECOND:,} events/s)")
    print(f"peer: skip locked and update              {claim:9,.0f} events/s")
    print(f"    watermark over it      {faster(read / claim, WATERMARK_TARGET)}")
    print(f"peak memory {peak_mb():,.0f} MB")
    on_fresh_log(bloat_events, _bloat)


def on_fresh_log(events: int, work: Callable[[Postgres, Lake, psycopg.Connection[tuple[object, ...]]], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        settings = Settings.from_environment({"INGESTION_HOME": folder, "DATABASE_URL": ""})
        with database(settings) as environment:
            owner = environment["DATABASE_URL"].replace("pipeline_worker@", "postgres@", 1)
            postgres = Postgres(environment["DATABASE_URL"])
            with psycopg.connect(owner, autocommit=True) as connection:
                connection.execute("select events.ensure_event_partitions()")
                fill(connection, events)
                work(postgres, Lake(settings), connection)
            postgres.close()


def _round(
    times: dict[str, list[float]], postgres: Postgres, lake: Lake, connection: psycopg.Connection[tuple[object, ...]]
) -> None:
    times["read"].append(seconds(lambda: plain_read(postgres)))
    times["sync"].append(seconds(lambda: sync(postgres, lake)))
    connection.execute(CLAIMED)
    times["claim"].append(seconds(lambda: claim_all(connection)))


def _bloat(postgres: Postgres, lake: Lake, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    before, _ = megabytes(connection, "events.event_log")
    report = sync(postgres, lake)
    after, dead = megabytes(connection, "events.event_log")
    print(f"bloat after {report.rows:,} events: {before:,.0f} MB before the sync, {after:,.0f} MB after it")
    print(f"    ratio {after / before:.2f} x  dead rows {dead:,}")


if __name__ == "__main__":
    main()
