"""The sync killed (-9) at each step, run twice at once, and without room on the disk: each event in the lake once.

A sync stops for good at a step, in a process of its own, and is killed there; every call before that is real.
"""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.domains.events.sync import ALL_TIME, sync
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import output, python, until

# addresses that view and copy a rule three times: a view 5 minutes after the first does not count, one after 30 does
ADDRESSES = 1_000
VIEW_MINUTES = (0, 5, 30)
NOON = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), datetime.min.time(), UTC).replace(hour=12)

STOPPING = """
import itertools, signal, sys
from ingestion_pipeline.domains.events import sync as steps
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage import event_reader
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

def stop():
    print("there", flush=True)
    while True:
        signal.pause()

def stopping_after(real):
    def call(*arguments, **options):
        real(*arguments, **options)
        stop()
    return call

def some_rows(postgres, batch):
    yield from itertools.islice(event_reader.chunks(postgres, batch, max_rows=1_000), 2)
    stop()

def some_metrics(counts, now):
    yield from itertools.islice(metric_rows(counts, now), 1)
    stop()

url, home, step = sys.argv[1:]
metric_rows = steps._metric_rows
if step == "planned":
    steps.next_batch = stopping_after(steps.next_batch)
elif step == "rows on their way":
    steps.chunks = some_rows
elif step == "in the lake":
    Lake.append = stopping_after(Lake.append)
elif step == "half recorded":
    steps._metric_rows = some_metrics
elif step == "recorded":
    steps._commit = stopping_after(steps._commit)
settings = Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home, "LAKE_URL": ""})
steps.sync(Postgres(url), Lake(settings))
stop()
"""
# what the ledger says of the batch when a sync dies there
STEPS = {
    "planned": "planned",
    "rows on their way": "planned",
    "in the lake": "planned",
    "half recorded": "planned",
    "recorded": "committed",
}


def fill(url: str, *, transactions: int = 1) -> int:
    """Puts all events into the hot log, in so many transactions; returns how many there are."""
    each = ADDRESSES // transactions
    for first in range(0, ADDRESSES, each):
        add(url, first, first + each)
    return 2 * ADDRESSES * len(VIEW_MINUTES)


def add(url: str, first: int, end: int) -> None:
    """Puts the events of the addresses `first` to below `end` into the hot log, in one transaction."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into events.event_log (event_id, event_type, event_category, schema_version, rule_id, event_data, "
            "metadata, occurred_at, received_at, caller, origin, address_hash) "
            "select gen_random_uuid(), type, 'interaction', 1, 'r1', '{}', '{}', "
            "%s + make_interval(mins => minutes), now(), 'tests', 'http', 'address ' || address "
            "from generate_series(%s::integer, %s::integer) as address, unnest(%s::integer[]) as minutes, "
            "unnest(array['VIEW', 'COPY']) as type order by minutes",
            [NOON, first, end - 1, list(VIEW_MINUTES)],
        )


@dataclass
class Synced:
    """What there is once everything is in the lake."""

    postgres: Postgres
    lake: Lake

    def value(self, statement: str) -> Any:
        with self.postgres.transaction() as connection:
            return connection.execute(statement.encode()).fetchall()

    def ledger(self) -> list[str]:
        return [row[0] for row in self.value("select status from events.warehouse_sync_status order by batch_number")]

    def require_everything_once(self, *, batches: int | None = 1) -> None:
        """Events, views, flags and metrics: each as if one sync had done it, undisturbed."""
        history = self.lake.read(EVENT_HISTORY, ALL_TIME).to_pyarrow()
        hot = [row[0] for row in self.value("select event_id::text from events.event_log order by 1")]
        assert hot == sorted(history["event_id"].to_pylist())
        uncounted = history.filter(history["uncounted_reason"].is_valid())["event_id"].to_pylist()
        flagged = self.value("select event_id::text, uncounted_reason, is_held from events.event_states")
        assert [(event_id, "repeat_view", False) for event_id in sorted(uncounted)] == sorted(flagged)
        assert ADDRESSES == len(uncounted)
        counted = self.value(
            "select extract(minute from counted_at)::integer, count(*) from events.counted_views group by 1"
        )
        assert {0: ADDRESSES, 30: ADDRESSES} == dict(counted)
        metrics = self.value(
            "select metric_name, dimensions ->> 'type', metric_value::integer from events.platform_metrics_realtime"
        )
        each = {"VIEW": 2 * ADDRESSES, "COPY": 3 * ADDRESSES}
        assert sorted((f"events_per_{grain}", *it) for grain in ("hour", "day") for it in each.items()) == sorted(
            metrics
        )
        assert {"committed"} == set(self.ledger())
        assert [(len(hot),)] == self.value("select sum(events_synced)::integer from events.warehouse_sync_status")
        assert batches in (None, len(self.ledger()))
        assert [("processed", len(hot))] == self.value(
            "select processing_status, count(*) from events.platform_events group by 1"
        )


@pytest.fixture
def synced(postgres: Postgres, lake: Lake) -> Synced:
    return Synced(postgres, lake)


def kill_at(step: str, settings: Settings) -> None:
    """Runs a sync until it has done `step`, and kills it."""
    with python(STOPPING, postgres_url(settings), str(settings.ingestion_home), step) as child:
        said = child.stdout.readline()
        assert said == "there\n", said + child.stdout.read()


def postgres_url(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


@pytest.mark.parametrize("step", STEPS)
def test_a_sync_killed_at_a_step_is_finished_by_the_next(
    database_url: str, settings: Settings, synced: Synced, step: str
) -> None:
    """The ledger says what was begun, the lake refuses what it has, nothing counts twice; a third finds nothing to do."""
    count = fill(database_url)
    kill_at(step, settings)
    assert [STEPS[step]] == synced.ledger()
    report = sync(synced.postgres, synced.lake)
    assert report.rows == (0 if step == "recorded" else count)
    synced.require_everything_once()
    assert 0 == sync(synced.postgres, synced.lake).batches
    synced.require_everything_once()


def test_a_sync_killed_at_every_step_in_turn_is_finished_at_last(
    database_url: str, settings: Settings, synced: Synced
) -> None:
    """Each goes on where the one before it died."""
    fill(database_url)
    for step in STEPS:
        kill_at(step, settings)
    synced.require_everything_once()


def test_a_sync_killed_while_files_are_written_leaves_no_half(
    database_url: str, settings: Settings, synced: Synced
) -> None:
    """At the first new file, five times over, with more events each time: what has no commit is nobody's."""
    folder = settings.ingestion_home / "lake" / EVENT_HISTORY.path
    each = ADDRESSES // 5
    for first in range(0, ADDRESSES, each):
        add(database_url, first, first + each)
        files = set(folder.rglob("*.parquet"))
        with python(STOPPING, postgres_url(settings), str(settings.ingestion_home), "-"):
            until(lambda files=files: set(folder.rglob("*.parquet")) > files)
    sync(synced.postgres, synced.lake)
    synced.require_everything_once(batches=None)


TOGETHER = """
import json, sys
from ingestion_pipeline.domains.events.sync import sync
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
url, home = sys.argv[1:]
settings = Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home, "LAKE_URL": ""})
postgres, lake = Postgres(url), Lake(settings)
print("ready", flush=True)
sys.stdin.readline()
report = sync(postgres, lake, max_rows=400)
print(json.dumps([report.batches, report.rows]))
"""


def test_two_syncs_at_once_share_the_work(database_url: str, settings: Settings, synced: Synced) -> None:
    """Two processes, many batches: each batch is one's, and what they report adds up."""
    count = fill(database_url, transactions=20)
    with ExitStack() as stack:
        arguments = (postgres_url(settings), str(settings.ingestion_home))
        children = [stack.enter_context(python(TOGETHER, *arguments)) for _ in range(2)]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        reports = [json.loads(output(child).splitlines()[-1]) for child in children]
    batches, rows = (sum(numbers) for numbers in zip(*reports, strict=True))
    assert (count, True) == (rows, batches > 2)
    synced.require_everything_once(batches=batches)


FULL = """
import resource, signal, sys
from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.domains.events.sync import sync
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
url, home = sys.argv[1:]
settings = Settings.from_environment({"DATABASE_URL": url, "INGESTION_HOME": home, "LAKE_URL": ""})
postgres, lake = Postgres(url), Lake(settings)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, 32_768))
try:
    sync(postgres, lake)
except StoreUnavailableError as error:
    print(str(error).startswith(f"lake at {lake.uri(EVENT_HISTORY)} cannot be reached: "), len(str(error).splitlines()))
"""


def test_a_full_disk_delays_the_lake_and_loses_nothing(database_url: str, settings: Settings, synced: Synced) -> None:
    """In processes whose files may not grow beyond 32 kB: the error and the ledger name the lake, twice; then room."""
    fill(database_url)
    for attempt in (1, 2):
        with python(FULL, postgres_url(settings), str(settings.ingestion_home)) as child:
            assert "True 1" == output(child).splitlines()[-1]  # the library's own thread writes to standard error too
        ((status, attempts, reason),) = synced.value(
            "select status, attempt_count, error_message from events.warehouse_sync_status"
        )
        assert ("planned", attempt, True) == (status, attempts, reason.startswith("lake at "))
        assert [] == synced.value("select * from events.platform_metrics_realtime")
        assert 0 == synced.lake.read(EVENT_HISTORY, ALL_TIME).count().execute()
    sync(synced.postgres, synced.lake)
    synced.require_everything_once()
    assert [(3, None)] == synced.value("select attempt_count, error_message from events.warehouse_sync_status")
