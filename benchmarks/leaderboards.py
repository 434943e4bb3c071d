"""All leaderboards of a day for 100,000 rules, beside reading the inputs alone.

Four periods, rules and authors, GLOBAL, tags and models. Ours is what the asset does, without Dagster: 30 days of
metrics of rules from PostgreSQL to Arrow, the ranked rows by Ibis on DuckDB, the day replaced by what differs. The peer
is the first step alone; the issue sets no ratio, TARGET is ours. Every rule has metrics on each day (a Zipf curve
of views): the most rows there can be. Three times the history are 90 days, of which all but 30 count in ALL_TIME only.
Last, what one late event costs: of 25 days ago, so that 26 days of boards are made again.
"""

import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from benchmarks._measures import at_most, medians, peak_mb, seconds
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.community.leaderboard_store import Inputs, boards, build_boards, read_inputs
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline.storage.postgres import Postgres

RULES, DAYS, HISTORY_DAYS, ROUNDS, TARGET, LATE_DAYS = 100_000, 30, 90, 3, 2.0, 25
DAY, HALF_LIFE_HOURS = date(2025, 6, 30), 48.0

_RULES = """
insert into community.rules
select
    'rule-' || n, 'author-' || mod(n, greatest(1, %(rules)s / 20)), 'Title ' || n, '',
    to_jsonb(array['tag-' || mod(n, 300), 'tag-' || mod(n * 7, 300), 'tag-' || mod(n * 13, 300)]),
    'model-' || mod(n, 20), 'published', '2025-01-01Z', '2025-01-01Z', 'event-' || n
from generate_series(1, %(rules)s) as n
"""
_METRICS = """
insert into community.rule_metrics_daily
select day, rule_id, author_id, views, 0, 0, 0, 0, 0, 0, views, views * 0.8, 0
from (
    select
        %(first)s::date + d as day, rule_id, author_id,
        100000 / (n + mod(d * 31, 97)) + abs(mod(hashint8(d * 7919 + n), 5)) as views
    from generate_series(0, %(days)s - 1) as d,
        (select rule_id, author_id, substr(rule_id, 6)::bigint as n from community.rules) as rules
) as counted
order by day, rule_id
"""
_LATE = """
update community.rule_metrics_daily set views = views + 1, points = points + 1, trending_score = trending_score + 0.8
where (day, rule_id) = (:day, 'rule-1')
"""


def main(rules: int = RULES, days: int = DAYS, history_days: int = HISTORY_DAYS, rounds: int = ROUNDS) -> None:
    configure_logging("warning", style="json")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        server = embedded.start(home / "postgres")
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        postgres = Postgres(server.url())
        lake = Lake(Settings.from_environment({"INGESTION_HOME": str(home)}))
        lake.engine.raw_sql("set enable_progress_bar = false")
        try:
            fill(postgres, rules=rules, first=DAY - timedelta(days=days - 1), days=days, with_rules=True)
            measure(postgres, lake, f"{rules:,} rules, {days} days", rounds)
            older = history_days - days
            fill(postgres, rules=rules, first=DAY - timedelta(days=history_days - 1), days=older, with_rules=False)
            measure(postgres, lake, f"{rules:,} rules, {history_days} days", rounds)
            print(f"boards after one late event of {LATE_DAYS} days ago: {late(postgres, lake):.1f} s")
        finally:
            postgres.close()
            embedded.stop_when_unused(home / "postgres")
    print(f"peak memory {peak_mb():,.0f} MB")


def fill(postgres: Postgres, *, rules: int, first: date, days: int, with_rules: bool) -> None:
    given = {"rules": rules, "first": first, "days": days}
    with postgres.transaction() as connection:
        if with_rules:
            connection.execute(_RULES.encode(), given)
        connection.execute(_METRICS.encode(), given)
    postgres.execute("analyze community.rule_metrics_daily")


def measure(postgres: Postgres, lake: Lake, title: str, rounds: int) -> None:
    works: dict[str, Callable[[], object]] = {
        "peer: reading the inputs alone": partial(read_inputs, postgres, DAY, DAY),
        "ours: read, rank, replace the day": partial(ours, postgres, lake),
    }
    spent = medians(works, rounds=rounds)
    inputs = read_inputs(postgres, DAY, DAY)
    rows = boards(inputs, lake.engine, day=DAY, half_life_hours=HALF_LIFE_HOURS).num_rows
    read, whole = spent.values()
    print(f"{title}: {_count(inputs):,} rows of inputs, {rows:,} places, medians of {rounds} rounds")
    for name, took in spent.items():
        print(f"  {name:<34} {took:6.2f} s")
    print(f"  {at_most(whole / read, TARGET)}")


def ours(postgres: Postgres, lake: Lake) -> None:
    """With every row of the day to be written: one built again writes what differs."""
    postgres.execute("delete from community.leaderboard_snapshots where day = :day", {"day": DAY})
    build(postgres, lake, 0)


def build(postgres: Postgres, lake: Lake, ages: int) -> None:
    """The boards of DAY and of so many days before it."""
    days = [DAY - timedelta(days=age) for age in range(ages, -1, -1)]
    build_boards(postgres, lake.engine, days, half_life_hours=HALF_LIFE_HOURS, labelled_since=days[0])


def late(postgres: Postgres, lake: Lake) -> float:
    """Seconds until the boards that an event of LATE_DAYS ago is on are made again."""
    build(postgres, lake, LATE_DAYS)
    postgres.execute(_LATE, {"day": DAY - timedelta(days=LATE_DAYS)})
    return seconds(partial(build, postgres, lake, LATE_DAYS))


def _count(inputs: Inputs) -> int:
    return sum(it.num_rows for it in (inputs.rule_days, inputs.rules, inputs.labels))


if __name__ == "__main__":
    main()
