"""What has been kept long enough goes, everywhere, and nothing else does."""

import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events import retention
from ingestion_pipeline.domains.events.activity import retention_cohorts
from ingestion_pipeline.domains.events.checks import accounts
from ingestion_pipeline.domains.events.retention import FORGOTTEN, RetentionReport, apply_retention
from ingestion_pipeline.domains.events.sync import ALL_TIME, WRITER, sync
from ingestion_pipeline.domains.events.tables import ACTIVE_USERS, EVENT_AGGREGATIONS_DAILY, EVENT_HISTORY
from ingestion_pipeline.orchestration.partitions import monday
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python
from ingestion_pipeline_tests.domains.events.traces import traces
from ingestion_pipeline_tests.hot_log import HotLog, rows, value

NOW = datetime.now(UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)
POLICY = "select events.apply_data_retention_policy()"

KINDS = {
    "interaction": {"type": "VIEW", "ruleId": "r"},
    "user_activity": {"type": "user.login", "userId": "u"},
    "content": {"type": "review.posted", "userId": "u", "data": {"review_id": "r"}},
    "transaction": {"type": "payment.completed", "userId": "u", "data": {"payment_id": "p"}},
}


def years_ago(years: int, days: int = 0) -> datetime:
    """Noon of the day that was `years` ago today, as PostgreSQL reckons, and `days` after it."""
    day = TODAY if (TODAY.month, TODAY.day) != (2, 29) else TODAY - DAY
    return datetime(day.year - years, day.month, day.day, 12, tzinfo=UTC) + timedelta(days=days)


@dataclass
class Kept:
    url: str
    hot_log: HotLog
    postgres: Postgres
    lake: Lake
    settings: Settings

    def send(self, kind: str, at: datetime, *, received_at: datetime = NOW, **over: Any) -> None:
        data = {**KINDS[kind].get("data", {}), "at": at.date().isoformat()}
        event = {**KINDS[kind], "ts": at.isoformat(), **over, "data": data}
        self.hot_log.send(event, received_at=received_at)

    def sync(self) -> int:
        return sync(self.postgres, self.lake).rows

    def apply(self) -> RetentionReport:
        return apply_retention(self.postgres, self.lake, self.settings)

    def policy(self, role: str = "pipeline_worker") -> dict[str, Any]:
        (found,) = rows(self.url, POLICY, role=role)
        return dict(found["apply_data_retention_policy"])

    def hot(self) -> set[tuple[str, date]]:
        """Type and UTC day of what is in the hot log."""
        found = rows(self.url, "select event_type, (occurred_at at time zone 'UTC')::date as day from events.event_log")
        return {(row["event_type"], row["day"]) for row in found}

    def history(self) -> set[tuple[str, date]]:
        table = self.lake.read(EVENT_HISTORY, ALL_TIME).select("event_type", "day").to_pyarrow()
        return {(row["event_type"], row["day"]) for row in table.to_pylist()}

    def partitions(self) -> set[str]:
        found = rows(
            self.url,
            "select relname from pg_inherits inner join pg_class on oid = inhrelid "
            "where inhparent = 'events.event_log'::regclass and relname < %s",
            f"event_log_{TODAY - 2 * DAY:%Y%m%d}",
        )
        return {row["relname"] for row in found}

    def received_on(self, day: datetime, *, synced: bool = True, count: int = 3) -> str:
        """Events received on a past day, in a partition of that day; its name."""
        for number in range(count):
            self.send("content", day, received_at=day, userId=f"u{number}")
        rows(self.url, "select events.ensure_event_partitions()")
        if synced:
            self.sync()
        return f"event_log_{day:%Y%m%d}"


@pytest.fixture
def kept(hot_log: HotLog, postgres: Postgres, lake: Lake, settings: Settings, database_url: str) -> Kept:
    return Kept(database_url, hot_log, postgres, lake, settings)


CLASSES = {"interaction": 1, "user_activity": 2, "content": 7, "transaction": 7}


def test_an_event_goes_when_its_class_is_over(kept: Kept) -> None:
    """1, 2, 7, 7 years, to the day, in the hot log and in the lake; the day of the limit itself stays."""
    for kind, years in CLASSES.items():
        for days in (-1, 0, 1):
            kept.send(kind, years_ago(years, days))
    assert 12 == kept.sync()
    expected = {
        (KINDS[kind]["type"], years_ago(years, days).date()) for kind, years in CLASSES.items() for days in (0, 1)
    }
    report = kept.apply()
    assert (expected, expected) == (kept.hot(), kept.history())
    assert (4, 4) == (report.postgres["expired_events"], report.lake_events)
    (account,) = accounts(kept.postgres, kept.lake, TODAY, TODAY)
    assert (True, 12, 4) == (account.is_balanced, account.stored, account.erased)
    again = kept.apply()
    assert (0, 0) == (again.postgres["expired_events"], again.lake_events)


def test_a_type_that_the_registry_has_lost_is_kept_longest(kept: Kept) -> None:
    """Losing a line of the registry must not destroy what cannot be had again."""
    kept.send("interaction", years_ago(3))
    kept.send("interaction", years_ago(8))
    kept.sync()
    rows(kept.url, "delete from events.event_schemas where event_type = 'VIEW'")
    kept.apply()
    assert {("VIEW", years_ago(3).date())} == kept.hot() == kept.history()


def test_the_longest_class_of_a_types_versions_holds(kept: Kept) -> None:
    rows(
        kept.url,
        "insert into events.event_schemas (event_type, schema_version, event_category, retention_class) "
        "values ('VIEW', 2, 'interaction', 'content')",
    )
    kept.send("interaction", years_ago(3), schemaVersion=1)
    kept.sync()
    kept.apply()
    assert {("VIEW", years_ago(3).date())} == kept.history()


def test_what_is_not_in_the_lake_stays_whatever_its_age(kept: Kept) -> None:
    """A sync takes it there first; then it goes from both."""
    kept.send("interaction", years_ago(2))
    kept.apply()
    assert {("VIEW", years_ago(2).date())} == kept.hot()
    assert 1 == kept.sync()
    kept.apply()
    assert set() == kept.hot() == kept.history()


@pytest.mark.parametrize(("status", "is_gone"), [("pending", False), ("failed", True)])
def test_an_event_that_is_held_back_goes_only_when_it_has_failed(kept: Kept, status: str, *, is_gone: bool) -> None:
    """Dead letters have a class too."""
    kept.send("interaction", years_ago(2))
    kept.sync()
    rows(
        kept.url,
        "insert into events.event_states (event_id, received_at, processing_status, is_held) "
        "select event_id, received_at, %s, true from events.event_log",
        status,
    )
    kept.apply()
    states = value(kept.url, "select count(*) from events.event_states")
    assert (set(), 0) == (kept.hot(), states) if is_gone else (1, 1) == (len(kept.hot()), states)


def test_old_versions_are_gone_and_batches_still_known(kept: Kept) -> None:
    """The expired rows are in no file; whoever replays a batch is refused."""
    kept.send("interaction", years_ago(2), userId="canary-1")
    kept.send("transaction", years_ago(2), userId="canary-2")
    kept.send("interaction", years_ago(3), userId="canary-3")
    kept.sync()
    report = kept.apply()
    lake = Path(kept.lake.root)
    assert [[], []] == [traces(kept.url, lake, canary) for canary in ("canary-1", "canary-3")]
    assert traces(kept.url, lake, "canary-2")
    assert (2, 2) == (report.lake_days, report.lake_events)
    kept.lake.tidy(EVENT_HISTORY.path)
    assert kept.lake.has_batch(EVENT_HISTORY, writer=WRITER, batch_number=1)
    assert not kept.lake.append(EVENT_HISTORY, iter([]), writer=WRITER, batch_number=1)


def test_figures_stay_and_people_of_whom_nothing_is_left_do_not(kept: Kept) -> None:
    """Of expired days active_users keeps first days only: with the name of who has an event left, of others without."""
    from ingestion_pipeline.domains.events.derived_assets import _store_active_users

    kept.send("interaction", years_ago(2), userId="gone")
    kept.send("interaction", years_ago(2), userId="still-here", ruleId="another")
    kept.send("transaction", years_ago(3), userId="still-here")
    kept.sync()
    _store_active_users(kept.lake, Window.of_days(years_ago(4).date(), TODAY))
    rows(
        kept.url,
        f"insert into {EVENT_AGGREGATIONS_DAILY.qualified_name} values (%s, 'VIEW', 'interaction', 2, 0, 2, 0, %s, %s, '{{}}')",
        *[years_ago(2)] * 3,
    )
    assert 2 == kept.apply().active_days
    active = kept.lake.read(ACTIVE_USERS, ALL_TIME).order_by("day").to_pyarrow().to_pylist()
    assert [("still-here", True, years_ago(3).date()), (FORGOTTEN, True, years_ago(2).date())] == [
        (row["user_id"][: len(FORGOTTEN)], row["is_new"], row["day"]) for row in active
    ]
    assert 0 == kept.apply().active_days, "who is forgotten stays forgotten"
    assert [] == traces(kept.url, Path(kept.lake.root), "gone")
    assert 1 == value(kept.url, f"select count(*) from {EVENT_AGGREGATIONS_DAILY.qualified_name}")


def test_cohorts_are_the_same_before_and_after(kept: Kept) -> None:
    """Who is forgotten still counts in their cohort; who is remembered is still retained."""
    first_week = monday(years_ago(1).date() - 70 * DAY)
    this_week = monday(TODAY)
    everybody = [(f"u{number}", True, first_week) for number in range(3)]
    later = [("u0", False, first_week + 8 * DAY), ("u1", False, this_week), ("u3", True, this_week)]
    active = [dict(zip(("user_id", "is_new", "day"), row, strict=True)) for row in [*everybody, *later]]
    kept.lake.replace(ACTIVE_USERS, pa.Table.from_pylist(active), Window.of_days(first_week, this_week))
    for user in ("u1", "u3"):
        kept.send("content", datetime.combine(this_week, datetime.min.time(), UTC), userId=user)
    kept.sync()

    def cohorts() -> list[dict[str, Any]]:
        every = kept.lake.read(ACTIVE_USERS, ALL_TIME)
        return retention_cohorts(every, every.filter(every.is_new), weeks=[this_week]).to_dict("records")

    before = cohorts()
    assert [(first_week, 3, 1), (this_week, 1, 1)] == [
        (row["cohort_week"], row["cohort_users"], row["retained_users"]) for row in before
    ]
    assert 3 == kept.apply().active_days, "u0 and u2 lose their name, the second day of u0 goes"
    assert before == cohorts()
    assert [] == traces(kept.url, Path(kept.lake.root), "u0")


def test_warehouses_out_of_reach_are_reported_and_stop_nothing(kept: Kept) -> None:
    """The ledger knows them; whoever has given one up removes its lines."""
    rows(
        kept.url,
        "insert into events.warehouse_sync_status (warehouse_type, batch_number, status, committed_at) "
        "values ('bigquery', 1, 'committed', now())",
    )
    kept.send("interaction", years_ago(2))
    kept.sync()
    report = kept.apply()
    assert (["bigquery"], 1) == (report.unreached_warehouses, report.lake_events)
    last = value(kept.url, "select details from operations.audit_log order by audit_id desc limit 1")
    assert {"warehouse_events": 0, "unreached_warehouses": ["bigquery"]} == last


def test_keys_rejects_and_requests_go_block_by_block(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """In transactions of their own, before the policy: it finds none any more, and nothing is passed over."""
    monkeypatch.setattr(retention, "BLOCKS_PER_TRANSACTION", 2)
    for statement in (
        """insert into events.event_keys
        select gen_random_uuid(), events.time_ordered_id(now() - make_interval(days => 5 + 5 * (n % 2)))
        from generate_series(1, 2000) as n""",
        """insert into operations.rejects (source, reason, payload, payload_digest, last_seen_at)
        select 'events', repeat('x', 200), '{"event": {}}', n::text, now() - make_interval(days => 200 + 200 * (n % 2))
        from generate_series(1, 500) as n""",
        """insert into operations.api_requests
        select now() - make_interval(days => 20 + 20 * (n % 2)), repeat('r', 100), 'GET', '/', 200, 1, 1, 1
        from generate_series(1, 500) as n""",
    ):
        rows(kept.url, statement)
    assert 4 < value(kept.url, "select pg_relation_size('events.event_keys') / 8192")
    report = kept.apply()
    assert {"idempotency_keys": 1000, "rejects": 250, "api_requests": 250} == report.pruned
    assert {0} == {report.postgres[name] for name in report.pruned}
    assert [1000, 250, 250] == [
        value(kept.url, f"select count(*) from {table}")
        for table in ("events.event_keys", "operations.rejects", "operations.api_requests")
    ]
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        rows(kept.url, "select events.prune('event_log', 7)")


def test_a_partition_goes_when_all_of_it_is_in_the_lake(kept: Kept) -> None:
    """After EVENTS_HOT_DAYS, whole; the day of the limit stays; what the lake has stays there; states go with it."""
    old, limit = kept.received_on(NOW - 31 * DAY), kept.received_on(NOW - 30 * DAY)
    rows(
        kept.url,
        "insert into events.event_states (event_id, received_at, uncounted_reason) "
        "select event_id, received_at, 'repeat_view' from events.event_log",
    )
    assert {old, limit} == kept.partitions()
    done = kept.policy()
    assert ([old], 3, []) == (done["dropped_partitions"], done["cooled_events"], done["postponed_partitions"])
    assert {limit} == kept.partitions()
    assert 3 == value(kept.url, "select count(*) from events.event_states")
    assert 6 == sum(kept.lake.row_counts(EVENT_HISTORY, ALL_TIME).values())


def test_hot_days_are_a_setting(kept: Kept, worker_url: str, tmp_path: Path) -> None:
    old = kept.received_on(NOW - 5 * DAY)
    assert [] == kept.apply().postgres["dropped_partitions"]
    given = {"DATABASE_URL": worker_url, "INGESTION_HOME": str(tmp_path), "EVENTS_HOT_DAYS": "4"}
    report = apply_retention(kept.postgres, kept.lake, Settings.from_environment(given))
    assert [old] == report.postgres["dropped_partitions"]
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        rows(kept.url, "select events.apply_data_retention_policy(1)")


def test_a_partition_that_is_not_in_the_lake_stays_whole(kept: Kept) -> None:
    """Neither planned nor pending is in the lake: only what is committed is proof."""
    pending = kept.received_on(NOW - 40 * DAY, synced=False)
    rows(
        kept.url,
        "insert into events.warehouse_sync_status (warehouse_type, batch_number, status, next_transaction_id) "
        "values ('delta', 1, 'written', pg_snapshot_xmax(pg_current_snapshot()))",
    )
    done = kept.policy()
    assert ([], 0, {pending}) == (done["dropped_partitions"], done["cooled_events"], kept.partitions())
    assert 3 == value(kept.url, "select count(*) from events.event_log")


@pytest.mark.parametrize("status", ["pending", "processing", "failed"])
def test_what_is_not_settled_keeps_its_row(kept: Kept, status: str) -> None:
    """Held back, claimed by a caller or dead: the rest of the partition goes."""
    name = kept.received_on(NOW - 40 * DAY)
    rows(
        kept.url,
        "insert into events.event_states (event_id, received_at, processing_status, uncounted_reason) "
        "select event_id, received_at, case when user_id = 'u1' then %s end, 'x' from events.event_log",
        status,
    )
    done = kept.policy()
    assert ([], 2, {name}) == (done["dropped_partitions"], done["cooled_events"], kept.partitions())
    assert ["u1"] == [row["user_id"] for row in rows(kept.url, "select user_id from events.event_log")]
    assert 1 == value(kept.url, "select count(*) from events.event_states")
    rows(kept.url, "update events.event_states set processing_status = 'processed'")
    assert [name] == kept.policy()["dropped_partitions"]
    assert 0 == value(kept.url, "select count(*) from events.event_states")


def test_a_partition_that_is_being_read_is_left_for_the_next_time(kept: Kept) -> None:
    """Else the intake would wait behind the drop, which waits for the reader; the other parts are done."""
    name = kept.received_on(NOW - 40 * DAY)
    rows(kept.url, "insert into events.counted_views values ('a', 'r', now() - interval '3 days')")
    with psycopg.connect(kept.url) as reader:
        reader.execute(f"select count(*) from events.{name}".encode())
        done = kept.policy()
        kept.send("interaction", NOW)
    assert ([name], [], 1) == (done["postponed_partitions"], done["dropped_partitions"], done["counted_views"])
    assert 4 == value(kept.url, "select count(*) from events.event_log")
    assert [name] == kept.policy()["dropped_partitions"]


def test_the_intake_goes_on_while_retention_works(kept: Kept) -> None:
    """Every event that is sent meanwhile is stored."""
    for days in range(32, 40):
        kept.received_on(NOW - days * DAY, synced=False, count=1)
    kept.sync()
    is_over = threading.Event()
    sent = 0
    worker = threading.Thread(target=lambda: (kept.policy(), is_over.set()))
    worker.start()
    while not is_over.is_set() or sent < 5:
        kept.send("interaction", NOW)
        sent += 1
    worker.join()
    assert (set(), sent) == (kept.partitions(), value(kept.url, "select count(*) from events.event_log"))


def test_keys_are_remembered_for_seven_days_at_least(kept: Kept) -> None:
    """An older one may be used again; fewer days than seven cannot be had."""
    for days in (6, 8):
        at = NOW - days * DAY
        kept.send("interaction", at, received_at=at, idempotencyKey=f"key-{days}")
    for parameters, expected in (("30, 30", 2), ("30, 7", 1), ("30, 1", 1)):
        rows(kept.url, f"select events.apply_data_retention_policy({parameters})")
        assert expected == value(kept.url, "select count(*) from events.event_keys")
    kept.send("interaction", NOW, idempotencyKey="key-6")
    kept.send("interaction", NOW, idempotencyKey="key-8")
    assert 3 == value(kept.url, "select count(*) from events.event_log")


def test_rejects_go_by_the_class_of_their_type(kept: Kept) -> None:
    """From when they were last seen; of an unknown type after the shortest; those of other sources are not ours."""
    insert = (
        "insert into operations.rejects (source, reason, payload, payload_digest, last_seen_at) "
        "values (%s, %s, jsonb_build_object('event', %s::jsonb), gen_random_uuid()::text, %s)"
    )
    for event_type, years in (("payment.completed", 7), ("user.login", 2), ("VIEW", 1), ("unheard.of", 1)):
        for days in (-1, 1):
            event = f'{{"type": "{event_type}"}}'
            rows(kept.url, insert, "events", f"{event_type} {days}", event, years_ago(years, days))
    rows(kept.url, insert, "events", "unreadable", '"["', years_ago(1, -1))
    rows(kept.url, insert, "market", "price", "{}", years_ago(9))
    assert 5 == kept.policy()["rejects"]
    assert ["VIEW 1", "payment.completed 1", "price", "unheard.of 1", "user.login 1"] == [
        row["reason"] for row in rows(kept.url, 'select reason from operations.rejects order by reason collate "C"')
    ]


SMALL_THINGS = (
    """insert into events.counted_views
    select 'a', 'r', now() - make_interval(hours => h) from unnest('{47,49}'::int[]) as h""",
    """insert into events.address_keys
    select (now() at time zone 'UTC')::date - d, '\\x00' from generate_series(0, 3) as d""",
    """insert into operations.api_requests
    select now() - make_interval(days => d), 'r', 'GET', '/', 200, 1, 1, 1 from unnest('{29,31}'::int[]) as d""",
    """insert into events.platform_metrics_realtime (metric_name, metric_value, expires_at)
    values ('a', 1, now() + interval '1 hour'), ('b', 1, now() - interval '1 hour')""",
)


def test_small_things_go_too(kept: Kept) -> None:
    """Counted views after two days, address keys but two, requests after 30 days, metrics at their end."""
    rows(kept.url, "delete from events.address_keys")
    for statement in SMALL_THINGS:
        rows(kept.url, statement)
    done = kept.policy()
    assert {"counted_views": 1, "address_keys": 2, "api_requests": 1, "metrics": 1} == {
        name: done[name] for name in ("counted_views", "address_keys", "api_requests", "metrics")
    }


def test_only_workers_may_apply_it(kept: Kept) -> None:
    """As S2 calls it, without arguments."""
    assert kept.policy("pipeline_worker")
    for role in ("pipeline_intake", "pipeline_reader"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            kept.policy(role)


def test_small_files_of_past_days_are_gathered(kept: Kept) -> None:
    """Yesterday's always, of older days where there are many; today's are still being written."""
    yesterday, before, today = NOW - DAY, NOW - 2 * DAY, NOW
    for number in range(12):
        for at in (yesterday, before, today)[: 2 if number % 2 else 3]:
            kept.send("content", at, userId=f"u{number}")
        kept.sync()
    counts = kept.lake.row_counts(EVENT_HISTORY, ALL_TIME)
    report = kept.apply()
    assert {before.date(): 1, yesterday.date(): 1, today.date(): 6} == kept.lake.file_counts(EVENT_HISTORY)
    assert (2, counts) == (report.compacted_days, kept.lake.row_counts(EVENT_HISTORY, ALL_TIME))
    again = kept.apply()  # readers had a day to let go of the small ones
    assert (0, 24) == (again.compacted_days, again.files)
    assert 8 == len(DeltaTable(kept.lake.uri(EVENT_HISTORY)).file_uris())


STEPS = {
    "before the lake": ("Lake.delete", "before"),
    "after the lake": ("Lake.delete", "after"),
    "before old files": ("Lake.purge", "before"),
    "before active users": ("_forget_users", "before"),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_time_finishes(kept: Kept, worker_url: str, step: str, tmp_path: Path) -> None:
    """kill -9: nothing that has expired is left, nothing else is missing, the account balances."""
    kept.send("interaction", years_ago(2), userId="canary")
    kept.send("interaction", years_ago(0, -1))
    kept.sync()
    code = """
    import sys
    from ingestion_pipeline.domains.events import retention
    from ingestion_pipeline.settings import Settings
    from ingestion_pipeline.storage.lake import Lake
    from ingestion_pipeline.storage.postgres import Postgres

    url, home, name, when = sys.argv[1:]
    owner, _, attribute = name.rpartition(".")
    owner = Lake if owner else retention
    real = getattr(owner, attribute)

    def stop():
        print("stopped", flush=True)
        sys.stdin.read()

    def stopping(*arguments):
        if when == "before":
            stop()
        result = real(*arguments)
        stop()
        return result

    setattr(owner, attribute, stopping)
    settings = Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home})
    retention.apply_retention(Postgres(url), Lake(settings), settings)
    """
    with python(code, worker_url, str(tmp_path), *STEPS[step]) as child:
        assert "stopped\n" in iter(child.stdout.readline, "")
        child.kill()
        child.wait()
    kept.apply()
    assert {("VIEW", years_ago(0, -1).date())} == kept.hot() == kept.history()
    assert [] == traces(kept.url, Path(kept.lake.root), "canary")
    assert all(account.is_balanced for account in accounts(kept.postgres, kept.lake, TODAY, TODAY))


def test_it_is_audited(kept: Kept) -> None:
    kept.send("interaction", years_ago(2))
    kept.sync()
    kept.apply()
    audited = rows(kept.url, "select action, details from operations.audit_log order by audit_id")
    assert {"retention"} == {row["action"] for row in audited}
    steps = [row["details"] for row in audited]
    assert [
        {"pruned"},
        {"lake_days", "lake_events"},
        {"policy"},
        {"files", "compacted_days"},
        {"active_days"},
        {"warehouse_events", "unreached_warehouses"},
    ] == [set(step) for step in steps]
    assert (1, 1) == (steps[1]["lake_events"], steps[2]["policy"]["expired_events"])
