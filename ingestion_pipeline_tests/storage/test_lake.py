"""The lake: a window replaced whole or not at all, whoever writes beside it and whenever the writer dies."""

import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, StoreUnavailableError
from ingestion_pipeline.core.tables import Column, Table
from ingestion_pipeline.core.windows import DAY, Window, midnight
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import HOURS_KEPT, Lake, arrow_schema
from ingestion_pipeline_tests.children import output, python, until

MONDAY, TUESDAY, WEDNESDAY = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)
WEEK = Window.of_days(MONDAY, MONDAY + timedelta(days=6))
WRITERS = 4

BARS = Table(
    domain="market",
    name="bars",
    store="lake",
    key=("symbol", "bar_start_at"),
    partitioning="daily",
    partition_column="day",
    columns=(
        Column("symbol", "text", "Symbol"),
        Column("bar_start_at", "timestamp", "Start", "UTC"),
        Column("close", "float", "Close", None, True),
        Column("count", "integer", "Count"),
        Column("day", "date", "Day"),
    ),
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def lake(home: Path) -> Lake:
    """A lake of its own; it needs no database."""
    return open_lake(home)


def open_lake(home: Path, **over: str) -> Lake:
    return Lake(Settings.from_environment({"INGESTION_HOME": str(home), "LAKE_URL": "", **over}))


def only(*days: date) -> Window:
    return Window.of_days(days[0], days[-1])


def frame(day: date, *, symbol: str = "BTC-USD", rows: int = 3) -> pd.DataFrame:
    starts = [midnight(day) + timedelta(minutes=i) for i in range(rows)]
    return pd.DataFrame(
        {
            "symbol": [symbol] * rows,
            "bar_start_at": pd.to_datetime(starts, utc=True),
            "close": [float(i) for i in range(rows)],
            "count": list(range(rows)),
            "day": [day] * rows,
        }
    )


def symbols(lake: Lake, window: Window = WEEK) -> dict[date, list[str]]:
    seen: dict[date, set[str]] = {}
    for row in lake.read(BARS, window).to_pyarrow().to_pylist():
        seen.setdefault(row["day"], set()).add(row["symbol"])
    return {day: sorted(names) for day, names in sorted(seen.items())}


def files(lake: Lake) -> set[str]:
    return set(DeltaTable(lake.uri(BARS)).file_uris())


def test_what_was_written_is_read_with_the_declared_columns_and_types(lake: Lake) -> None:
    """In their order, whatever the order of the frame; columns that are not declared are dropped."""
    rows = frame(MONDAY)[["day", "count", "close", "bar_start_at", "symbol"]].assign(extra=1)
    count = lake.replace(BARS, rows, only(MONDAY))
    seen = lake.read(BARS, WEEK).to_pyarrow()
    expected = [tuple(row) for row in frame(MONDAY).itertuples(index=False)]
    assert (3, list(BARS.column_names), arrow_schema(BARS).types, expected) == (
        count,
        seen.column_names,
        seen.schema.types,
        sorted(tuple(row.values()) for row in seen.to_pylist()),
    )


@pytest.mark.parametrize("kind", ["pandas", "arrow", "ibis"])
def test_rows_may_be_pandas_arrow_or_an_ibis_expression(lake: Lake, kind: str) -> None:
    """Whatever the transform gives; an expression over the lake itself too."""
    rows: Any = frame(MONDAY)
    if kind == "arrow":
        rows = pa.Table.from_pandas(rows, preserve_index=False)
    if kind == "ibis":
        lake.replace(BARS, rows, only(MONDAY))
        read = lake.read(BARS, only(MONDAY))
        rows = read.mutate(day=ibis.date(TUESDAY), symbol=ibis.literal("SPX"))
    day = TUESDAY if kind == "ibis" else MONDAY
    assert 3 == lake.replace(BARS, rows, only(day))
    assert 3 == lake.row_counts(BARS, only(day))[day]


def test_replace_touches_only_the_window(lake: Lake) -> None:
    """The days before and after stay as they are, down to their files."""
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        lake.replace(BARS, frame(day, symbol="old"), only(day))
    before = files(lake)
    lake.replace(BARS, frame(TUESDAY, symbol="new"), only(TUESDAY))
    assert ({MONDAY: ["old"], TUESDAY: ["new"], WEDNESDAY: ["old"]}, 2) == (symbols(lake), len(before & files(lake)))


def test_a_window_of_days_is_replaced_in_one_commit(lake: Lake) -> None:
    """A day that has no rows any more is cleared with the others."""
    days = [MONDAY, TUESDAY, WEDNESDAY]
    lake.replace(BARS, pd.concat([frame(day, symbol="old") for day in days]), only(*days))
    before = DeltaTable(lake.uri(BARS)).version()
    new = pd.concat([frame(MONDAY, symbol="new"), frame(WEDNESDAY, symbol="new")])
    lake.replace(BARS, new, only(*days))
    assert ({MONDAY: ["new"], WEDNESDAY: ["new"]}, before + 1) == (symbols(lake), DeltaTable(lake.uri(BARS)).version())


@pytest.mark.parametrize(
    "nothing", [frame(MONDAY)[:0], pd.DataFrame(columns=list(BARS.column_names)), arrow_schema(BARS).empty_table()]
)
def test_replacing_with_no_rows_clears_the_window(lake: Lake, nothing: Any) -> None:
    """What the source no longer has, we no longer have."""
    lake.replace(BARS, pd.concat([frame(MONDAY), frame(TUESDAY)]), only(MONDAY, TUESDAY))
    assert (0, {TUESDAY: 3}) == (lake.replace(BARS, nothing, only(MONDAY)), lake.row_counts(BARS, WEEK))


def test_replacing_twice_is_replacing_once(lake: Lake) -> None:
    """A retried run adds nothing."""
    for _ in range(2):
        lake.replace(BARS, frame(MONDAY), only(MONDAY))
    assert {MONDAY: 3} == lake.row_counts(BARS, WEEK)


BROKEN: list[tuple[pd.DataFrame, str]] = [
    (frame(MONDAY).drop(columns="close"), "market.bars: close is missing, expected double"),
    (frame(MONDAY).assign(close="dear"), "market.bars: close is "),
    (frame(MONDAY).assign(count=0.5), "market.bars: count is "),
    (frame(MONDAY).assign(symbol=None), "market.bars: symbol is null in 3 row(s), expected string"),
    (frame(TUESDAY), "market.bars: day is 2026-03-03 to 2026-03-03, expected 2026-03-02 to 2026-03-02"),
]


@pytest.mark.parametrize(("rows", "text"), BROKEN, ids=[text for _, text in BROKEN])
def test_rows_that_break_the_declaration_are_refused_by_column(lake: Lake, rows: pd.DataFrame, text: str) -> None:
    """Trying again changes nothing, so it is a permanent error; the old rows stay."""
    lake.replace(BARS, frame(MONDAY, symbol="old"), only(MONDAY))
    with pytest.raises(ContractError) as caught:
        lake.replace(BARS, rows, only(MONDAY))
    assert (text, 1, {MONDAY: ["old"]}) == (
        str(caught.value)[: len(text)],
        len(str(caught.value).splitlines()),
        symbols(lake),
    )


def test_a_null_in_a_nullable_column_is_kept(lake: Lake) -> None:
    """NaN is one."""
    lake.replace(BARS, frame(MONDAY).assign(close=float("nan")), only(MONDAY))
    assert [None] * 3 == lake.read(BARS, WEEK).to_pyarrow()["close"].to_pylist()


def test_a_table_that_was_never_written_reads_as_empty(lake: Lake) -> None:
    """With its schema, so that the first run of what reads it works."""
    seen = lake.read(BARS, WEEK).to_pyarrow()
    assert (0, arrow_schema(BARS).types, list(BARS.column_names), {}) == (
        seen.num_rows,
        seen.schema.types,
        seen.column_names,
        lake.row_counts(BARS, WEEK),
    )


def test_a_window_without_rows_reads_as_empty(lake: Lake) -> None:
    """The table is there, the day is not."""
    lake.replace(BARS, frame(MONDAY), only(MONDAY))
    seen = lake.read(BARS, only(TUESDAY)).to_pyarrow()
    assert (0, arrow_schema(BARS).types) == (seen.num_rows, seen.schema.types)


def test_only_the_files_of_the_window_are_read(lake: Lake, home: Path) -> None:
    """Proved by destroying all the others."""
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        lake.replace(BARS, frame(day), only(day))
    for day in (MONDAY, WEDNESDAY):
        shutil.rmtree(home / "lake" / "market" / "bars" / f"day={day}")
    assert ({TUESDAY: ["BTC-USD"]}, {TUESDAY: 3}) == (
        symbols(lake, only(TUESDAY)),
        lake.row_counts(BARS, only(TUESDAY)),
    )


def test_row_counts_are_those_of_the_window(lake: Lake) -> None:
    """A day without rows is absent."""
    for day, rows in ((MONDAY, 1), (TUESDAY, 2), (WEDNESDAY, 3)):
        lake.replace(BARS, frame(day, rows=rows), only(day))
    assert {TUESDAY: 2, WEDNESDAY: 3} == lake.row_counts(BARS, only(TUESDAY, WEDNESDAY))


@pytest.mark.parametrize("name", ["with space", "ünïcode", "it's", "UPPER & co", "a+b~c,d;e"])
def test_the_lake_may_lie_in_a_folder_of_any_usual_name(home: Path, name: str) -> None:
    """Also one that URLs and SQL would quote."""
    lake = open_lake(home, LAKE_URL=str(home / name))
    lake.replace(BARS, frame(MONDAY), only(MONDAY))
    assert ({MONDAY: ["BTC-USD"]}, True) == (symbols(lake), (home / name / "market" / "bars" / "_delta_log").is_dir())


@pytest.mark.parametrize("name", ["x[1]", "a*b", "day=3", "50%20", "a#b", "a?b"])
def test_a_folder_whose_name_has_a_meaning_for_delta_or_duckdb_is_refused(home: Path, name: str) -> None:
    """`day=3` would overwrite every row's day; brackets crash the library."""
    with pytest.raises(ConfigurationError, match="LAKE_URL="):
        open_lake(home, LAKE_URL=str(home / name))


def test_a_file_url_is_a_folder(home: Path) -> None:
    """The way that buckets are read, on a disk."""
    lake = open_lake(home, LAKE_URL=f"file://{home}/there")
    lake.check()
    lake.replace(BARS, pd.concat([frame(MONDAY), frame(TUESDAY)]), only(MONDAY, TUESDAY))
    assert {TUESDAY: ["BTC-USD"]} == symbols(lake, only(TUESDAY))


# Writers side by side


def test_threads_that_write_different_days_all_succeed(home: Path) -> None:
    """Also the first rows of a new table, at the same instant."""
    days = [MONDAY + timedelta(days=i) for i in range(2 * WRITERS)]
    barrier = Barrier(len(days))

    def write(day: date) -> int:
        barrier.wait()
        return sum(open_lake(home).replace(BARS, frame(day), only(day)) for _ in range(2))

    with ThreadPoolExecutor(len(days)) as pool:
        counts = list(pool.map(write, days))
    assert ([6] * len(days), dict.fromkeys(days, 3)) == (counts, open_lake(home).row_counts(BARS, only(*days)))


WRITE = """
import sys
from datetime import date
from pathlib import Path
from ingestion_pipeline_tests.storage.test_lake import BARS, frame, only, open_lake
home, symbol, rows, *days = sys.argv[1:]
lake, days = open_lake(Path(home)), [date.fromisoformat(day) for day in days]
print("ready", flush=True)
sys.stdin.readline()
for day in days:
    lake.replace(BARS, frame(day, symbol=symbol, rows=int(rows)), only(day))
"""


def start_together(stack: ExitStack, commands: list[list[str]]) -> list[Any]:
    children = [stack.enter_context(python(WRITE, *command)) for command in commands]
    for child in children:
        until(lambda child=child: "ready" in child.stdout.readline())
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    return children


def test_processes_that_write_different_days_all_succeed(lake: Lake, home: Path) -> None:
    """As Dagster's runs do."""
    days = [MONDAY, TUESDAY, WEDNESDAY]
    with ExitStack() as stack:
        for child in start_together(stack, [[str(home), "BTC-USD", "3", *[str(day)] * 3] for day in days]):
            output(child)
    assert dict.fromkeys(days, 3) == lake.row_counts(BARS, WEEK)


def test_concurrent_writers_of_one_day_leave_one_whole_version(home: Path) -> None:
    """Threads; the last commit wins, and never a mixture."""
    barrier = Barrier(WRITERS)

    def write(version: int) -> None:
        barrier.wait()
        for _ in range(2):
            open_lake(home).replace(BARS, frame(MONDAY, symbol=f"v{version}", rows=10 + version), only(MONDAY))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    seen = symbols(open_lake(home))[MONDAY]
    version = int(seen[0].removeprefix("v"))
    assert (1, {MONDAY: 10 + version}) == (len(seen), open_lake(home).row_counts(BARS, WEEK))


ALTERNATE = """
import sys
from pathlib import Path
from ingestion_pipeline_tests.storage.test_lake import BARS, MONDAY, frame, only, open_lake
lake = open_lake(Path(sys.argv[1]))
versions = [frame(MONDAY, symbol="even", rows=20_000), frame(MONDAY, symbol="odd", rows=30_000)]
for turn in range(1_000_000):
    print(turn, flush=True)
    lake.replace(BARS, versions[turn % 2], only(MONDAY))
"""


def test_a_process_killed_while_it_writes_leaves_exactly_one_version(lake: Lake, home: Path) -> None:
    """kill -9 at four instants of an endless sequence of replacements, the last one read each time."""
    seen = []
    dice = random.Random(7)
    for _ in range(4):
        with python(ALTERNATE, str(home)) as child:
            turns = 3 + dice.randrange(4)
            for _ in range(turns):
                child.stdout.readline()
            for _ in range(dice.randrange(40)):
                list((home / "lake").rglob("*"))  # some work, to strike elsewhere in the turn
            child.kill()
            child.wait()
        rows = lake.read(BARS, WEEK).to_pyarrow()
        seen.append((set(rows["symbol"].to_pylist()), rows.num_rows))
    whole = ({"even"}, 20_000), ({"odd"}, 30_000)
    lake.replace(BARS, frame(MONDAY, symbol="new"), only(MONDAY))
    assert ([], {MONDAY: ["new"]}) == ([each for each in seen if each not in whole], symbols(lake))


FULL = """
import resource, signal, sys
from datetime import date
from pathlib import Path
from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline_tests.storage.test_lake import BARS, MONDAY, frame, only, open_lake
lake, rows = open_lake(Path(sys.argv[1])), frame(MONDAY, symbol="new", rows=100_000)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, 32_768))
try:
    lake.replace(BARS, rows, only(MONDAY))
except StoreUnavailableError as error:
    print(str(error).startswith(f"lake at {lake.uri(BARS)} cannot be reached: "), len(str(error).splitlines()))
"""


def test_a_disk_that_takes_no_more_is_a_transient_error_and_the_old_rows_stay(lake: Lake, home: Path) -> None:
    """In a process whose files may not grow beyond 32 kB, which fails as a full disk does."""
    lake.replace(BARS, frame(MONDAY, symbol="old"), only(MONDAY))
    with python(FULL, str(home)) as child:
        said = output(child)
    # the library's own thread writes to standard error too
    assert ("True 1", {MONDAY: ["old"]}) == (said.splitlines()[-1], symbols(lake))


CALLS = {
    "replace": lambda lake: lake.replace(BARS, frame(MONDAY), only(MONDAY)),
    "read": lambda lake: lake.read(BARS, WEEK),
    "row_counts": lambda lake: lake.row_counts(BARS, WEEK),
    "chunks": lambda lake: list(lake.chunks(BARS, WEEK)),
    "check": lambda lake: lake.check(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_root_that_is_no_folder_is_a_transient_error(home: Path, call: Any) -> None:
    """A mount that is missing must not pass for an empty lake."""
    (home / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match=f"lake at {home}/file"):
        call(open_lake(home, LAKE_URL=str(home / "file")))


@pytest.mark.parametrize("name", ["replace", "check"])
def test_a_root_that_cannot_be_written_is_a_transient_error(home: Path, name: str) -> None:
    """Not even root may write below /proc."""
    with pytest.raises(StoreUnavailableError, match="lake at /proc/lake"):
        CALLS[name](open_lake(home, LAKE_URL="/proc/lake"))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_damaged_log_is_an_error_in_one_line(lake: Lake, home: Path, call: Any) -> None:
    """Without the library's stack trace; the check of the root does not read it."""
    lake.replace(BARS, frame(MONDAY), only(MONDAY))
    log = home / "lake" / "market" / "bars" / "_delta_log"
    max(log.glob("*.json")).write_text("{damaged")
    if call is CALLS["check"]:
        assert None is call(lake)
        return
    with pytest.raises(StoreUnavailableError) as caught:
        call(lake)
    assert 1 == len(str(caught.value).splitlines())


def test_a_root_that_can_be_written_is_fine_and_left_as_it_was(lake: Lake, home: Path) -> None:
    """The check is asked all the time, by several at once."""
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda _: lake.check(), range(10 * WRITERS)))
    assert [] == list((home / "lake").iterdir())


def test_a_table_with_other_columns_than_declared_is_a_permanent_error(lake: Lake) -> None:
    """Somebody changed the declaration and not the table."""
    lake.replace(BARS, frame(MONDAY, symbol="old"), only(MONDAY))
    changed = Table(
        domain="market",
        name="bars",
        store="lake",
        key=("symbol",),
        partitioning="daily",
        partition_column="day",
        columns=(*BARS.columns, Column("venue", "text", "Venue")),
    )
    with pytest.raises(ContractError, match=r"schema is .*expected the declared columns"):
        lake.replace(changed, frame(MONDAY).assign(venue="x"), only(MONDAY))
    assert {MONDAY: ["old"]} == symbols(lake)


# Chunks


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, dict[date, int]]:
    """Sixteen days of many and few rows, and some without."""
    lake = open_lake(tmp_path_factory.mktemp("counted"))
    counts = dict(enumerate([5, 1, 0, 0, 9, 2, 2, 2, 0, 30, 1, 1, 1, 0, 4, 4]))
    days = {MONDAY + timedelta(days=i): rows for i, rows in counts.items() if rows}
    lake.replace(BARS, pd.concat([frame(day, rows=rows) for day, rows in days.items()]), only(*days))
    return lake, days


@given(start=st.integers(-3, 16), length=st.integers(0, 20), unit_days=st.integers(1, 8), max_rows=st.integers(1, 70))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chunks_cover_the_window_in_whole_units_and_bounded_rows(
    counted: tuple[Lake, dict[date, int]], start: int, length: int, unit_days: int, max_rows: int
) -> None:
    """More than `max_rows` only where a single unit holds more; and no chunk more than needed."""
    lake, counts = counted
    window = Window(midnight(MONDAY) + start * DAY, midnight(MONDAY) + (start + length) * DAY)
    chunks = list(lake.chunks(BARS, window, unit_days=unit_days, max_rows=max_rows))
    rows = [sum(counts.get(day, 0) for day in chunk.days()) for chunk in chunks]
    units = [-(-(chunk.end - chunk.start).days // unit_days) for chunk in chunks]
    edges = [chunk.end for chunk in chunks[:-1]]
    too_large = [
        (count, chunk)
        for count, chunk, unit in zip(rows, chunks, units, strict=True)
        if count > max_rows and unit > 1 and count != max(sum_of_units(counts, chunk, unit_days))
    ]
    assert ([window.start, *edges], [*edges, window.end], [], []) == (
        [chunk.start for chunk in chunks],
        [chunk.end for chunk in chunks],
        [edge for edge in edges if (edge - window.start).days % unit_days],
        too_large,
    )


def sum_of_units(counts: dict[date, int], chunk: Window, unit_days: int) -> list[int]:
    return [sum(counts.get(day, 0) for day in unit.days()) for unit in chunk.split(days=unit_days)]


# Upkeep


def age(lake: Lake, hours: int) -> None:
    """Makes every removal in the table's log `hours` older."""
    for log in sorted(Path(lake.uri(BARS), "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            if "remove" in action:
                action["remove"]["deletionTimestamp"] -= hours * 3_600_000
        log.write_text("\n".join(json.dumps(action) for action in actions))


@pytest.mark.parametrize(("hours", "kept"), [(HOURS_KEPT - 1, 2), (HOURS_KEPT + 1, 1)])
def test_tidy_removes_files_that_no_version_of_the_last_week_needs(
    lake: Lake, home: Path, hours: int, kept: int
) -> None:
    """An hour before the week is over both versions are there, an hour after it only the current one; it reads."""
    lake.replace(BARS, frame(MONDAY, symbol="old"), only(MONDAY))
    lake.replace(BARS, frame(MONDAY, symbol="new"), only(MONDAY))
    age(lake, hours)
    lake.tidy(BARS.path)
    assert (kept, {MONDAY: ["new"]}) == (
        len(list((home / "lake").rglob("*.parquet"))) - checkpoints(home),
        symbols(lake),
    )


def checkpoints(home: Path) -> int:
    return len(list((home / "lake").rglob("*.checkpoint.parquet")))


def test_tidy_writes_a_checkpoint_that_later_reads_and_writes_build_on(lake: Lake, home: Path) -> None:
    """The log does not grow for ever, and nothing is lost by it."""
    lake.replace(BARS, frame(MONDAY), only(MONDAY))
    lake.tidy(BARS.path)
    lake.replace(BARS, frame(TUESDAY), only(TUESDAY))
    assert (1, {MONDAY: 3, TUESDAY: 3}) == (checkpoints(home), lake.row_counts(BARS, WEEK))


def test_tidying_what_is_not_there_is_done_already(lake: Lake, home: Path) -> None:
    """A table that has no rows yet."""
    lake.tidy(BARS.path)
    assert False is (home / "lake" / "market").exists()


def test_instants_keep_their_microseconds_and_are_utc(lake: Lake) -> None:
    """Read back as they were."""
    at = datetime(2026, 3, 2, 23, 59, 59, 999_999, tzinfo=UTC)
    lake.replace(BARS, frame(MONDAY, rows=1).assign(bar_start_at=pd.Timestamp(at)), only(MONDAY))
    assert [at] == lake.read(BARS, WEEK).to_pyarrow()["bar_start_at"].to_pylist()
