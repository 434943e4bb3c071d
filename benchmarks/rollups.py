"""Daily rollups of 20 million events over 30 days and 100,000 rules (Zipf), beside hand-written DuckDB SQL.

Ours is what the assets compute: day by day, one expression that judges and counts, three small ones over what it gives,
through Ibis on DuckDB. The peer is written by hand for the same rows and figures, in one statement over all days and
day by day; what counts is the quicker of the two. Both keep caps, last votes, flags and decay exact; their rows are
compared, all of all days.

Also: the same for three and ten times the events a day (60 and 200 million) on the same memory limit, each day made,
rolled up and removed in turn, beside what ours took for all days in one warm process; and one day rolled up again in
PostgreSQL after one late event, with one day of history and with all.

The memory limit is DuckDB's (COMPUTE_MEMORY_LIMIT): it bounds what its operators hold. The process has the libraries,
what is being read and the rows that come out on top of it; the peak that is printed is of the whole process.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks._measures import PROJECT_ROOT, at_most, medians, peak_mb, peak_mb_of, seconds
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.abuse import limits_of
from ingestion_pipeline.domains.community.rollup_days import (
    locked_day,
    rolled_authors,
    rolled_rules,
    stored_metrics,
)
from ingestion_pipeline.domains.community.rollup_rows import replaced
from ingestion_pipeline.domains.community.rollup_tables import (
    AUTHOR_METRICS_DAILY,
    EXCLUDED_EVENTS_DAILY,
    RULE_EVENTS,
    RULE_METRICS_DAILY,
)
from ingestion_pipeline.domains.community.rollups import author_metrics, excluded_events, rule_events, rule_metrics
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.engine import released
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline.storage.postgres import Postgres, copy_rows

EVENTS_PER_DAY, DAYS, RULES, ROUNDS = 666_667, 30, 100_000, 3
FIRST_DAY = date(2026, 3, 2)
MEMORY_LIMIT = "1GB"
KEYS, PRECISION = ("rule_id", "reason", "author_id"), 1e-9
LIMITS = limits_of(Settings.from_environment())
NO_DONATIONS = {"author_id": pa.string(), "donations": pa.int64(), "donations_net": pa.string()}

EVENTS = """
with numbered as (
    select hash(i, '{day}', 1) % 1000 as kind, hash(i, '{day}', 2) as who, hash(i, '{day}', 3) as what,
        hash(i, '{day}', 4) as instant
    from range({count}) r(i)
), typed as (
    select *, case when kind < 780 then 'VIEW' when kind < 850 then 'COPY' when kind < 890 then 'SAVE'
        when kind < 900 then 'FORK' when kind < 980 then 'VOTE' else 'search.performed' end as event_type,
        (power(who % 1000003 / 1000003.0, 2) * {count} / 4)::bigint as person
    from numbered
)
select uuid()::varchar as event_id, event_type, 'interaction' as event_category, 1::bigint as schema_version,
    case when who % 10 > 2 then 'usr_' || lpad(to_hex(hash(person)), 16, '0') end as user_id,
    'ses_' || (who % ({count} // 4 + 1))::varchar as session_id,
    case when kind < 980 then 'rule_' || least({rules} - 1,
        floor(exp(ln({rules} + 1) * (what % 1000003 / 1000003.0)) - 1)::bigint) end as rule_id,
    case event_type when 'VOTE' then '{{"value": ' || case when what % 10 < 7 then 1 when what % 10 < 9 then -1
        else 0 end || '}}' else '{{"source": "web"}}' end as event_data,
    '{{"locale": "en", "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) '
        || if(what % 200 = 0, 'Headless', '') || 'Chrome/' || 100 + who % 4000 || '.0.0.0 Safari/537.36"}}' as metadata,
    make_timestamptz({start} + (instant % 86400000000)::bigint) as occurred_at, occurred_at as received_at,
    0.0::double as lateness_seconds, null::double as clock_skew_seconds, 'benchmark' as caller,
    null::varchar as country,
    lpad(to_hex(hash(if(who % 500 = 0, who % 7, person), '{day}')), 16, '0') as address_hash,
    if(what % 100 = 0, 'bot', 'desktop') as device_type, 'Firefox' as browser, 'Linux' as operating_system,
    null::varchar as user_role, null::bigint as user_tenure_days,
    event_type <> 'VIEW' or who % 20 > 0 as is_counted,
    if(event_type = 'VIEW' and who % 20 = 0, 'repeat_view', null) as uncounted_reason,
    1::bigint as batch_number, date '{day}' as day
from typed
order by occurred_at
"""

PEER = """
create or replace temp table counts as
with events as (
    select day, rule_id, event_type, event_id, user_id, address_hash, occurred_at, is_counted,
        case when event_type = 'VOTE' then sign(coalesce(try_cast(event_data ->> '$.value' as double), 1)) else 1 end
            as direction,
        device_type is not distinct from 'bot' or coalesce(
            regexp_matches(metadata ->> '$.userAgent', '{agents}', 'i'), false) as is_bot
    from read_parquet({files}, hive_partitioning = true)
    where event_type in ('VIEW', 'COPY', 'SAVE', 'FORK', 'VOTE')
), busy as (
    select day, address_hash from events where address_hash is not null group by all having count(*) > {most}
), judged as (
    select events.*, case when events.rule_id is null then 'no_rule' when not is_counted then 'repeat_view'
            when is_bot then 'bot' when busy.address_hash is not null then 'address_rate'
            when event_type = 'VOTE' and user_id = author_id then 'self_vote' end as reason,
        case event_type when 'VIEW' then events.address_hash
            when 'VOTE' then coalesce('u' || user_id, 'a' || events.address_hash) end as who
    from events left join busy using (day, address_hash) left join rules using (rule_id)
), placed as (
    select *, row_number() over (partition by day, rule_id, who order by occurred_at, event_id) as place
    from judged where event_type = 'VIEW' and reason is null and who is not null
    union all
    select *, -row_number() over (partition by day, rule_id, who order by occurred_at desc, event_id desc) as place
    from judged where event_type = 'VOTE' and reason is null and who is not null
    union all
    select *, 0 as place from judged
    where event_type not in ('VIEW', 'VOTE') or reason is not null or who is null
), final as (
    select * replace (case when reason is not null then reason when place > 5 then 'view_cap'
        when place < -1 then 'repeat_vote' when direction = 0 then 'withdrawn_vote' end as reason)
    from placed
)
select day, rule_id, reason, count(*) filter (event_type = 'VIEW') as views,
    count(*) filter (event_type = 'COPY') as copies, count(*) filter (event_type = 'SAVE') as saves,
    count(*) filter (event_type = 'FORK') as forks, count(*) filter (event_type = 'VOTE') as votes,
    count(*) filter (event_type = 'VOTE' and direction > 0) as votes_up, count(*) filter (direction < 0) as votes_down,
    count(distinct user_id) filter (reason is null) as unique_users,
    sum(case event_type when 'VIEW' then 1 when 'COPY' then 3 when 'SAVE' then 4 when 'FORK' then 5 else 2 end
        * direction * power(2.0, -(86400000000 - epoch_us(occurred_at) % 86400000000) / 3600000000.0 / {half_life}))
        filter (reason is null) as score
from final group by all
"""
PEER_RULES = """
create or replace temp table metrics as
select day, rule_id, any_value(author_id) as author_id, coalesce(sum(views) filter (reason is null), 0) as views,
    coalesce(sum(copies) filter (reason is null), 0) as copies,
    coalesce(sum(saves) filter (reason is null), 0) as saves,
    coalesce(sum(forks) filter (reason is null), 0) as forks,
    coalesce(sum(votes_up) filter (reason is null), 0) as votes_up,
    coalesce(sum(votes_down) filter (reason is null), 0) as votes_down,
    coalesce(sum(unique_users) filter (reason is null), 0) as unique_users,
    coalesce(sum(views + 3 * copies + 4 * saves + 5 * forks + 2 * (votes_up - votes_down)) filter (reason is null), 0)
        as points,
    coalesce(sum(score) filter (reason is null), 0) as trending_score,
    coalesce(sum(views + copies + saves + forks + votes) filter (reason is not null), 0) as excluded_events
from counts left join rules using (rule_id) where rule_id is not null group by day, rule_id
"""
PEER_REASONS = """
select day, reason, sum(views + copies + saves + forks + votes) as events, sum(views) as views, sum(copies) as copies,
    sum(saves) as saves, sum(forks) as forks, sum(votes) as votes
from counts where reason is not null group by all
"""
PEER_AUTHORS = """
select day, author_id, count(*) as rules, sum(views) as views, sum(copies) as copies, sum(saves) as saves,
    sum(forks) as forks, sum(votes_up) as votes_up, sum(votes_down) as votes_down, sum(points) as points,
    sum(trending_score) as trending_score
from metrics where author_id is not null group by all
"""


def settings_of(folder: str) -> Settings:
    return Settings.from_environment(
        {"LAKE_URL": f"{folder}/lake", "INGESTION_HOME": folder, "COMPUTE_MEMORY_LIMIT": MEMORY_LIMIT}
    )


def days_of(days: int) -> list[date]:
    return [FIRST_DAY + timedelta(days=number) for number in range(days)]


def fill(lake: Lake, days: Sequence[date], *, events_per_day: int, rules: int) -> None:
    """The history of `days`."""
    for day in days:
        words = {"day": day, "count": events_per_day, "rules": rules}
        start = int((day - date(1970, 1, 1)) / timedelta(microseconds=1))
        with duckdb.connect(config={"memory_limit": "4GB", "preserve_insertion_order": False}) as connection:
            connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
            rows = connection.sql(EVENTS.format(start=start, **words)).to_arrow_table()
        lake.replace(EVENT_HISTORY, rows, Window.of_days(day, day))


def authors_of(rules: int) -> pa.Table:
    names = {"rule_id": [f"rule_{i}" for i in range(rules)], "author_id": [f"author_{i % 9_000}" for i in range(rules)]}
    return pa.table(names)


def ours(lake: Lake, days: Sequence[date], rules: pa.Table) -> list[pa.Table]:
    """The three tables of each day, one after another."""
    nothing, found = pa.schema(NO_DONATIONS).empty_table(), []
    for day in days:
        with released(lake.engine):
            known, events = ibis.memtable(rules), lake.read(RULE_EVENTS, Window.of_days(day, day))
            counts = rule_events(lake.engine, events, known, LIMITS)
            metrics = lake.engine.to_pyarrow(rule_metrics(counts, known))
            found += [metrics, lake.engine.to_pyarrow(excluded_events(counts))]
            found.append(lake.engine.to_pyarrow(author_metrics(ibis.memtable(metrics), ibis.memtable(nothing))))
    return found


def peer(lake: Lake, parts: Sequence[Sequence[date]], rules: pa.Table) -> list[pa.Table]:
    """The same of each of `parts`, by hand."""
    options = {"memory_limit": MEMORY_LIMIT, "preserve_insertion_order": False, "temp_directory": lake.root + "-spill"}
    found = []
    with duckdb.connect(config=options) as connection:
        connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
        connection.register("rules", rules)
        for days in parts:
            files = [f"{lake.uri(EVENT_HISTORY)}/day={day}/*.parquet" for day in days]
            words = {"agents": "|".join(LIMITS.user_agents), "most": LIMITS.events_per_address}
            connection.execute(PEER.format(files=files, half_life=LIMITS.half_life_hours, **words))
            connection.execute(PEER_RULES)
            statements = ("select * from metrics", PEER_REASONS, PEER_AUTHORS)
            found += [connection.sql(statement).to_arrow_table() for statement in statements]
    return found


def is_equal(lake: Lake, days: Sequence[date], rules: pa.Table) -> bool:
    """Our rows of rules, reasons and authors beside the peer's, of each day: counts exactly, scores to nine digits."""
    for day in days:
        both = zip(ours(lake, [day], rules), peer(lake, [[day]], rules), KEYS, strict=True)
        if not all(_same(mine, its, key) for mine, its, key in both):
            return False
    return True


def _same(mine: pa.Table, its: pa.Table, key: str) -> bool:
    own, by_hand = mine.sort_by(key), its.sort_by(key)
    counts = [name for name in by_hand.column_names if name not in ("day", "trending_score")]
    if not all(own[name].equals(by_hand[name].cast(own[name].type)) for name in counts):
        return False
    if "trending_score" not in by_hand.column_names or not own.num_rows:
        return own.num_rows == by_hand.num_rows
    scores = by_hand["trending_score"]
    difference = pc.max(pc.abs(pc.subtract(own["trending_score"], scores))).as_py()
    return bool(difference <= PRECISION * max(1.0, pc.max(pc.abs(scores)).as_py()))


def larger(folder: str, *, events_per_day: int, days: int, rules: int) -> tuple[float, float]:
    """Seconds of rolling up, and the most megabytes; each day is made, rolled up and removed."""
    spent, peak = run(f"print(*rolled_in_turn({folder!r}, {events_per_day}, {days}, {rules}))").split()[-2:]
    return float(spent), float(peak)


def rolled_in_turn(folder: str, events_per_day: int, days: int, rules: int) -> tuple[float, float]:
    lake, authors, spent = Lake(settings_of(folder)), authors_of(rules), 0.0
    lake.engine.raw_sql("set enable_progress_bar = false")
    for day in days_of(days):
        run(
            f"make({folder!r}, {str(day)!r}, {events_per_day}, {rules})"
        )  # making takes memory that rolling up does not
        spent += seconds(partial(ours, lake, [day], authors))
        for file in Path(lake.uri(EVENT_HISTORY), f"day={day}").glob("*.parquet"):
            file.unlink()
    return spent, peak_mb()


def run(code: str) -> str:
    """What a fresh Python prints."""
    command = [sys.executable, "-W", "ignore", "-c", f"from benchmarks.rollups import *; {code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT_ROOT).stdout


def make(folder: str, day: str, events_per_day: int, rules: int) -> None:
    fill(Lake(settings_of(folder)), [date.fromisoformat(day)], events_per_day=events_per_day, rules=rules)


def roll(postgres: Postgres, lake: Lake, day: date) -> None:
    """One day as both assets build it."""
    with locked_day(postgres, day) as connection:
        rollup = rolled_rules(connection, lake, LIMITS, day)
        replaced(connection, EXCLUDED_EVENTS_DAILY, rollup.excluded, day)
        replaced(connection, RULE_METRICS_DAILY, rollup.metrics, day)
    with locked_day(postgres, day) as connection:
        rows = rolled_authors(connection, lake, stored_metrics(connection, day), day)
        replaced(connection, AUTHOR_METRICS_DAILY, rows, day)


def late_event_seconds(folder: str, lake: Lake, days: Sequence[date], rules: pa.Table) -> dict[int, float]:
    """One day rolled up again after a late event, by the days of history that there are."""
    server = embedded.start(Path(folder) / "postgres")
    ensure_database(server.url(), embedded.DATABASE)
    migrate(server.url())
    postgres, found = Postgres(server.url()), dict[int, float]()
    with postgres.transaction() as connection, connection.cursor() as cursor:
        text = pa.repeat("", rules.num_rows)
        instant = pa.repeat(pa.scalar("2026-01-01T00:00:00Z"), rules.num_rows)
        others = {"title": text, "body": text, "tags": pa.repeat("[]", rules.num_rows), "event_id": text}
        others |= {"published_at": instant, "updated_at": instant, "status": pa.repeat("published", rules.num_rows)}
        table = pa.table({**{name: rules[name] for name in rules.column_names}, **others})
        copy_rows(cursor, "community.rules", table)
    for history in sorted({1, len(days)}):
        for day in days[:history]:
            roll(postgres, lake, day)
        window = Window.of_days(days[0], days[0])
        rows = lake.engine.to_pyarrow(lake.read(EVENT_HISTORY, window))
        late = rows.slice(0, 1).set_column(0, "event_id", pa.array([f"late-{history}"]))
        lake.replace(EVENT_HISTORY, pa.concat_tables([rows, late]), window)
        found[history] = seconds(partial(roll, postgres, lake, days[0]))
    postgres.close()
    embedded.stop_when_unused(Path(folder) / "postgres")
    return found


def peaks_mb(folder: str, days: int, rules: int) -> dict[str, float]:
    start = (
        f"from benchmarks.rollups import *; lake = Lake(settings_of({folder!r})); days = days_of({days}); "
        f"rules = authors_of({rules})"
    )
    return {
        "libraries and authors": peak_mb_of(start),
        "ours, all days": peak_mb_of(f"{start}; ours(lake, days, rules)"),
        "hand-written, all days": peak_mb_of(f"{start}; peer(lake, [days], rules)"),
    }


def main(
    events_per_day: int = EVENTS_PER_DAY,
    days: int = DAYS,
    rules: int = RULES,
    rounds: int = ROUNDS,
    times: Sequence[int] = (3, 10),
) -> None:
    configure_logging("warning")
    with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as folder:
        lake, authors, wanted = Lake(settings_of(folder)), authors_of(rules), days_of(days)
        lake.engine.raw_sql("set enable_progress_bar = false")
        fill(lake, wanted, events_per_day=events_per_day, rules=rules)
        works: dict[str, Callable[[], object]] = {
            "ours": partial(ours, lake, wanted, authors),
            "one statement": partial(peer, lake, [wanted], authors),
            "day by day": partial(peer, lake, [[day] for day in wanted], authors),
        }
        spent = medians(works, rounds=rounds)
        print(f"{events_per_day * days:,} events, {rules:,} rules, {days} days, {os.cpu_count()} cores, "
              f"DuckDB's memory {MEMORY_LIMIT}, {rounds} rounds")  # fmt: skip
        print(f"ours {spent['ours']:6.2f} s, hand-written SQL in one statement {spent['one statement']:6.2f} s, "
              f"day by day {spent['day by day']:6.2f} s")  # fmt: skip
        quicker = min(spent["one statement"], spent["day by day"])
        print(f"ours beside the quicker: {at_most(spent['ours'] / quicker, 1.25)}")
        print(f"same rows as the peer: {is_equal(lake, wanted, authors)}")
        for name, peak in peaks_mb(folder, days, rules).items():
            print(f"peak memory of the process, DuckDB's limit {MEMORY_LIMIT}: {name:<23} {peak:7,.0f} MB")
        for history, again in late_event_seconds(folder, lake, wanted, authors).items():
            print(f"one day again after a late event, {history} days of history: {again:5.2f} s")
        for factor in times:
            with tempfile.TemporaryDirectory(prefix="ingestion-bench-", ignore_cleanup_errors=True) as other:
                longer, peak = larger(other, events_per_day=events_per_day * factor, days=days, rules=rules)
            print(f"{events_per_day * days * factor:,} events: ours {longer:6.2f} s, peak {peak:,.0f} MB; "
                  f"time beside events {at_most(longer / spent['ours'] / factor, 1)}")  # fmt: skip


if __name__ == "__main__":
    main()
