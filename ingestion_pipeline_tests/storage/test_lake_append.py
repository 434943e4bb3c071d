"""Appending to the lake: each batch of a writer once, all of it or nothing."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ingestion_pipeline.core.errors import ContractError, StoreUnavailableError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline_tests.children import output, python
from ingestion_pipeline_tests.domains.events.factories import MONDAY, make_event, make_events

ALL = Window.of_days(date(2024, 1, 1), date(2026, 1, 1))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(Settings.from_environment({"INGESTION_HOME": str(tmp_path)}))


def part(*numbers: int, day: int = 0) -> pa.Table:
    at = MONDAY + timedelta(days=day, hours=1)
    return make_events(*(make_event(event_id=f"e{number}", occurred_at=at) for number in numbers))


def append(lake: Lake, batch_number: int, *parts: pa.Table, writer: str = "events") -> bool:
    return lake.append(EVENT_HISTORY, iter(parts), writer=writer, batch_number=batch_number)


def ids(lake: Lake) -> list[str]:
    return sorted(lake.read(EVENT_HISTORY, ALL).event_id.execute())


def versions(lake: Lake) -> int:
    return DeltaTable(lake.uri(EVENT_HISTORY)).version()


def test_a_batch_is_added_once(lake: Lake) -> None:
    """Given again, or with other rows, or after a later one: it is there already."""
    assert append(lake, 1, part(1, 2))
    assert append(lake, 2, part(3))
    for number, again in ((2, part(3)), (1, part(1, 2)), (2, part(4))):
        assert not append(lake, number, again)
    assert ["e1", "e2", "e3"] == ids(lake)


def test_a_batch_that_is_there_is_not_read_again(lake: Lake) -> None:
    """Its source may be expensive, or gone."""
    append(lake, 1, part(1))

    def gone() -> Iterator[pa.Table]:
        raise AssertionError
        yield

    assert not lake.append(EVENT_HISTORY, gone(), writer="events", batch_number=1)


def test_writers_count_for_themselves(lake: Lake) -> None:
    append(lake, 5, part(1))
    assert append(lake, 1, part(2), writer="other")
    assert [True, False, True, False] == [
        lake.has_batch(EVENT_HISTORY, writer=writer, batch_number=number)
        for writer, number in (("events", 5), ("events", 6), ("other", 1), ("third", 1))
    ]


def test_many_parts_of_many_days_are_one_commit(lake: Lake) -> None:
    append(lake, 1, part(1))
    before = versions(lake)
    assert append(lake, 2, part(2, 3), part(4, day=1), part(5), part(6, day=300))
    assert before + 1 == versions(lake)
    assert ["e1", "e2", "e3", "e4", "e5", "e6"] == ids(lake)
    days = {MONDAY.date(): 4, MONDAY.date() + timedelta(days=1): 1, MONDAY.date() + timedelta(days=300): 1}
    assert days == lake.row_counts(EVENT_HISTORY, ALL)


def test_a_batch_without_rows_is_remembered(lake: Lake) -> None:
    """Every event of it may have been held back."""
    for number, parts in ((1, [part()]), (2, [])):
        assert append(lake, number, *parts)
        assert not append(lake, number, part(1))
    assert [] == ids(lake)


@pytest.mark.parametrize("parts_before", [0, 1])
def test_what_the_source_raises_is_raised_and_nothing_is_added(lake: Lake, parts_before: int) -> None:
    """As the error it was, not as the lake's: it decides whether the run is tried again."""
    append(lake, 1, part(1))

    def breaks() -> Iterator[pa.Table]:
        for _ in range(parts_before):
            yield part(2)
        raise StoreUnavailableError("PostgreSQL", "gone")

    with pytest.raises(StoreUnavailableError, match="PostgreSQL cannot be reached: gone"):
        lake.append(EVENT_HISTORY, breaks(), writer="events", batch_number=2)
    assert ["e1"] == ids(lake)
    assert append(lake, 2, part(2))


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (part(2).drop_columns(["caller"]), "caller"),
        (part(2).set_column(0, "event_id", pa.nulls(1, pa.string())), "event_id"),
        (part(2).set_column(3, "schema_version", pa.array(["x"])), "schema_version"),
    ],
)
def test_a_row_that_breaks_the_declaration_stops_the_batch(lake: Lake, bad: pa.Table, field: str) -> None:
    with pytest.raises(ContractError) as caught:
        append(lake, 1, part(1), bad)
    assert field == caught.value.field
    assert [] == ids(lake)


def test_columns_may_come_in_any_order(lake: Lake) -> None:
    rows = part(1)
    assert append(lake, 1, rows.select(list(reversed(rows.column_names))))
    assert ["e1"] == ids(lake)


def test_a_lake_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The error names the lake, and the batch can be given again."""
    (tmp_path / "lake").write_text("not a folder")
    lake = Lake(Settings.from_environment({"INGESTION_HOME": str(tmp_path)}))
    with pytest.raises(StoreUnavailableError, match="lake"):
        append(lake, 1, part(1))
    (tmp_path / "lake").unlink()
    assert append(lake, 1, part(1))


def test_batches_are_remembered_after_upkeep(lake: Lake) -> None:
    """Compaction, a checkpoint and the cleaning of the log do not make a batch new."""
    for number in range(1, 8):
        append(lake, number, part(number))
    lake.compact(EVENT_HISTORY, ALL)
    lake.tidy(EVENT_HISTORY.path)
    assert not append(lake, 7, part(7))
    assert [f"e{number}" for number in range(1, 8)] == ids(lake)


def test_compaction_leaves_few_files_and_the_same_rows(lake: Lake) -> None:
    for number in range(1, 6):
        append(lake, number, part(number), part(10 + number, day=1))
    before = ids(lake)
    lake.compact(EVENT_HISTORY, Window.of_days(MONDAY.date(), MONDAY.date()))
    files = DeltaTable(lake.uri(EVENT_HISTORY)).file_uris()
    count = {day: sum(f"day=2025-03-0{day}" in file for file in files) for day in (3, 4)}
    assert ({3: 1, 4: 5}, before) == (count, ids(lake))


def test_compacting_a_table_that_is_not_there_does_nothing(lake: Lake) -> None:
    lake.compact(EVENT_HISTORY, ALL)
    assert [] == ids(lake)


def test_of_two_processes_with_one_batch_one_adds_it(lake: Lake, tmp_path: Path) -> None:
    """Even where nothing else keeps them apart: at worst one fails, never both add."""
    append(lake, 1, part(1))
    code = """
        import sys
        from ingestion_pipeline.settings import Settings
        from ingestion_pipeline.storage.lake import Lake
        from ingestion_pipeline_tests.storage.test_lake_append import append, part
        lake = Lake(Settings.from_environment({"INGESTION_HOME": sys.argv[1]}))
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            print(append(lake, 2, part(2)))
        except Exception as error:
            print(type(error).__name__)
    """
    with python(code, str(tmp_path)) as one, python(code, str(tmp_path)) as other:
        for child in (one, other):
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in (one, other):
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        told = sorted(output(child).strip() for child in (one, other))
    assert told in (["False", "True"], ["StoreUnavailableError", "True"])
    assert ["e1", "e2"] == ids(lake)
