"""The lake: Delta tables under LAKE_URL, partitioned by day, read as Ibis expressions on the compute engine.

A write replaces a window of partitions in one Delta commit: readers see the old rows or the new ones, never half.
Belongs here: paths, Arrow schemas, commits, upkeep. Does not belong here: what the rows mean.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import stamina
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, StoreUnavailableError
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.core.tables import ColumnType, Table
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.settings import Settings

if TYPE_CHECKING:
    import ibis.expr.types as ir
    import pandas as pd
    from ibis.backends import BaseBackend

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "float": pa.float64(),
    "decimal": pa.decimal128(24, 8),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "json": pa.string(),
}
ROWS_PER_CHUNK = 5_000_000
COMMIT_ATTEMPTS = 10
STATISTICS = "delta.dataSkippingStatsColumns"
HOURS_KEPT = 168
_SPECIAL = re.compile(r"[\[\]*?%=#]")


class Lake:
    """Every lake table under one root, with the engine that reads them."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.lake_root
        self._settings = settings
        if _is_local(self.root) and _SPECIAL.search(self.root):
            raise ConfigurationError(
                "LAKE_URL", self.root, "a folder without [ ] * ? % = #, which Delta or DuckDB interpret"
            )

    @cached_property
    def engine(self) -> "BaseBackend":
        from ingestion_pipeline.storage.engine import connect

        return connect(self._settings)

    def read(self, table: Table, window: Window) -> "ir.Table":
        """The rows of `table` whose partition lies in `window`, with the columns of its declaration."""
        import ibis

        files = self._files(table, window)
        if not files:
            return ibis.memtable(arrow_schema(table).empty_table())
        if _is_local(self.root):
            from ingestion_pipeline.storage.engine import read_parquet

            rows = read_parquet(self.engine, files, root=self.uri(table))
        else:
            rows = ibis.memtable(self._dataset(table, window))
        day = table.partition_column or ""
        return rows.mutate(**{day: rows[day].cast("date")}).select(*table.column_names)

    def replace(self, table: Table, rows: "ir.Table | pa.Table | pd.DataFrame", window: Window) -> int:
        """Makes `rows` the only rows of `table` in the partitions of `window`; returns how many there are now.

        Raises:
            ContractError: `rows` lacks a declared column, has other types, nulls in a key, or days outside `window`.
            StoreUnavailableError: the lake cannot be written, or other writers won every attempt.
        """
        import ibis.expr.types as ir

        day = table.partition_column
        predicate = f"{day} >= '{window.first_day}' and {day} <= '{window.last_day}'"
        # an expression is computed once, before the first attempt: a retry must not repeat the work
        data = rows.to_pyarrow() if isinstance(rows, ir.Table) else rows
        data = conformed(table, data)
        _require_within(table, data, window)
        with self._reached(self.uri(table)):
            self._ensure(table)
            _commit(self.uri(table), data, predicate)
        return int(data.num_rows)

    def append(self, table: Table, batches: "Iterator[pa.Table]", *, writer: str, batch_number: int) -> bool:
        """Adds rows to `table` in one commit, once for each batch number of `writer`; False if they were there.

        The numbers of a writer rise. Whoever else changes the table must be kept out meanwhile.

        Raises:
            ContractError: a batch lacks a declared column, has other types, or nulls in a column without.
            StoreUnavailableError: the lake cannot be written; nothing was added.
        """
        problems: list[Exception] = []
        rows = pa.RecordBatchReader.from_batches(arrow_schema(table), _conformed_batches(table, batches, problems))
        properties = CommitProperties(app_transactions=[Transaction(writer, batch_number)])
        with self._reached(self.uri(table)):
            self._ensure(table)
            # one and the same version is asked and added to: of two writers, the slower one's commit is refused
            delta = DeltaTable(self.uri(table))
            if _has_batch(delta, writer, batch_number):
                return False
            try:
                write_deltalake(delta, rows, mode="append", commit_properties=properties)
            except Exception as error:  # noqa: BLE001
                # what the source of the rows raised is only a text by now
                raise problems[0] if problems else error from None
        return True

    def has_batch(self, table: Table, *, writer: str, batch_number: int) -> bool:
        """Has this batch of `writer`, or a later one, been added?"""
        with self._reached(self.uri(table)):
            delta = self._open(table)
            return delta is not None and _has_batch(delta, writer, batch_number)

    def delete(self, table: Table, predicate: str) -> int:
        """Deletes the rows for which `predicate` holds, in one commit; returns how many.

        Whoever else changes the table must be kept out meanwhile. The predicate is SQL over the table's columns and
        stays in its log: it must name no person.
        """
        with self._reached(self.uri(table)):
            delta = self._open(table)
            return 0 if delta is None else int(delta.delete(predicate)["num_deleted_rows"])

    def merge(self, table: Table, rows: pa.Table, *, deletes: bool = False) -> None:
        """Gives the rows that have the keys of `rows` its other columns, or deletes them, in one commit.

        `rows` holds key, partition column and what is to change; keys that are not there are passed over. Nothing of
        them stays in the table's log. Whoever else changes the table must be kept out meanwhile.
        """
        day = table.partition_column or ""
        keys = {*table.key, day}
        days = ", ".join(f"'{value}'" for value in sorted(set(rows[day].to_pylist())))
        if not days:
            return
        predicate = " and ".join([*(f"t.{name} = s.{name}" for name in sorted(keys)), f"t.{day} in ({days})"])
        with self._reached(self.uri(table)):
            delta = self._open(table)
            if delta is None:
                return
            merger = delta.merge(rows, predicate, source_alias="s", target_alias="t")
            changes = {name: f"s.{name}" for name in rows.column_names if name not in keys}
            (merger.when_matched_delete() if deletes else merger.when_matched_update(changes)).execute()

    def purge(self, table: Table) -> int:
        """Removes every file that the newest version does not need, also what killed writers left; returns how many.

        Older versions cannot be read any more. Who is reading them may fail, who is writing must be kept out.
        """
        with self._reached(self.uri(table)):
            delta = self._open(table)
            if delta is None:
                return 0
            return len(delta.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True))

    def compact(self, table: Table, window: Window) -> None:
        """Rewrites the many small files of each day in `window` as few; readers see the same rows."""
        with self._reached(self.uri(table)):
            delta = self._open(table)
            if delta is not None:
                delta.optimize.compact(partition_filters=_filters(table, window))

    def row_counts(self, table: Table, window: Window) -> dict[date, int]:
        """Rows per day of `table` in `window`, from the Delta log alone; days without rows are absent."""
        counts: dict[date, int] = {}
        for day, rows in self._file_rows(table):
            if window.first_day <= day <= window.last_day:
                counts[day] = counts.get(day, 0) + rows
        return dict(sorted(counts.items()))

    def newest_day(self, table: Table) -> date | None:
        """The last day of which `table` has rows, from the Delta log alone; None where it has none."""
        return max((day for day, rows in self._file_rows(table) if rows != 0), default=None)

    def file_counts(self, table: Table) -> dict[date, int]:
        """Files per day of `table`."""
        return dict(sorted(Counter(day for day, _ in self._file_rows(table)).items()))

    def chunks(
        self, table: Table, window: Window, *, unit_days: int = 1, max_rows: int = ROWS_PER_CHUNK
    ) -> Iterator[Window]:
        """Splits `window` so that no part holds much more than `max_rows` rows of `table`: memory stays flat.

        Parts are whole units of `unit_days` days.
        """
        counts = self.row_counts(table, window)
        start, end, rows = window.start, window.start, 0
        for unit in window.split(days=unit_days):
            unit_rows = sum(counts.get(day, 0) for day in unit.days())
            if rows and rows + unit_rows > max_rows:
                yield Window(start, end)
                start, rows = end, 0
            rows += unit_rows
            end = unit.end
        yield Window(start, end)

    def tidy(self, path: str) -> None:
        """Checkpoints the log of the table at `path` and removes files that no version of the last week needs."""
        uri = f"{self.root.rstrip('/')}/{path}"
        with self._reached(uri):
            if DeltaTable.is_deltatable(uri):
                delta = DeltaTable(uri)
                delta.create_checkpoint()
                delta.cleanup_metadata()
                delta.vacuum(retention_hours=HOURS_KEPT, dry_run=False)

    def check(self) -> None:
        """Raises StoreUnavailableError unless the root can be written."""
        with self._reached(self.root):
            if _is_local(self.root):
                probe = Path(self.root) / f".writable-{new_id()}"
                probe.parent.mkdir(parents=True, exist_ok=True)
                probe.touch()
                probe.unlink()
            else:
                DeltaTable.is_deltatable(f"{self.root.rstrip('/')}/market/price_bars")

    def uri(self, table: Table) -> str:
        return f"{self.root.rstrip('/')}/{table.path}"

    def _open(self, table: Table) -> DeltaTable | None:
        if _is_local(self.root) and Path(self.root).exists() and not Path(self.root).is_dir():
            raise NotADirectoryError(f"{self.root} is not a folder")  # it would read as a lake without tables
        return DeltaTable(self.uri(table)) if DeltaTable.is_deltatable(self.uri(table)) else None

    def _file_rows(self, table: Table) -> Iterator[tuple[date, int]]:
        """Day and rows of each file."""
        with self._reached(self.uri(table)):
            delta = self._open(table)
        if delta is None:
            return
        actions = pa.table(delta.get_add_actions(flatten=True))
        days = actions[f"partition.{table.partition_column}"].to_pylist()
        for raw, rows in zip(days, actions["num_records"].to_pylist(), strict=True):
            yield raw if isinstance(raw, date) else date.fromisoformat(raw), rows

    def _ensure(self, table: Table) -> None:
        uri = self.uri(table)
        if _is_local(self.root):
            Path(uri).mkdir(parents=True, exist_ok=True)
        if DeltaTable.is_deltatable(uri):
            return
        try:
            DeltaTable.create(
                uri,
                schema=arrow_schema(table),
                partition_by=[table.partition_column or ""],
                mode="error",
                configuration={STATISTICS: ",".join(_measured(table))},
            )
        except DeltaError:
            if not DeltaTable.is_deltatable(uri):  # else another first writer was quicker
                raise

    def _files(self, table: Table, window: Window) -> list[str]:
        with self._reached(self.uri(table)):
            delta = self._open(table)
            files = [] if delta is None else delta.file_uris(file_pruning_predicate=_filters(table, window))
        return [unquote(file) for file in files] if _is_local(self.root) else files

    def _dataset(self, table: Table, window: Window) -> Any:
        """What is in a bucket, read as the engine asks for it and never held as a whole."""
        day = pc.field(table.partition_column)
        dataset = DeltaTable(self.uri(table)).to_pyarrow_dataset()
        return dataset.filter((day >= window.first_day) & (day <= window.last_day))

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        try:
            yield
        except SchemaMismatchError as error:
            raise ContractError(f"lake table {what}", "schema", _line(error), "the declared columns") from error
        except (OSError, DeltaError) as error:
            raise StoreUnavailableError(f"lake at {what}", _line(error)) from error


def _measured(table: Table) -> list[str]:
    """Columns whose least and greatest value the table's log may hold: no text, which may name a person for ever."""
    return [
        column.name
        for column in table.columns
        if column.type not in ("text", "json") and column.name != table.partition_column
    ]


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema that `table` declares."""
    return pa.schema([pa.field(column.name, ARROW_TYPES[column.type], column.nullable) for column in table.columns])


def conformed(table: Table, rows: "pa.Table | pd.DataFrame") -> pa.Table:
    """`rows` with exactly the columns, order and types that `table` declares."""
    data = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
    columns = []
    for field in arrow_schema(table):
        if field.name not in data.column_names:
            raise ContractError(table.qualified_name, field.name, "missing", str(field.type))
        column = data[field.name]
        if column.null_count and not field.nullable:
            raise ContractError(
                table.qualified_name, field.name, f"null in {column.null_count} row(s)", str(field.type)
            )
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowException as error:
            raise ContractError(table.qualified_name, field.name, _line(error), str(field.type)) from error
    return pa.table(columns, schema=arrow_schema(table))


def _conformed_batches(table: Table, parts: Iterator[pa.Table], problems: list[Exception]) -> Iterator[pa.RecordBatch]:
    try:
        for part in parts:
            yield from conformed(table, part).to_batches()
    except Exception as error:
        problems.append(error)
        raise


def _require_within(table: Table, data: pa.Table, window: Window) -> None:
    day = table.partition_column or ""
    seen = pc.min_max(data[day]).as_py()
    if data.num_rows and (seen["min"] < window.first_day or seen["max"] > window.last_day):
        expected = f"{window.first_day} to {window.last_day}"
        raise ContractError(table.qualified_name, day, f"{seen['min']} to {seen['max']}", expected)


def _commit(uri: str, data: pa.Table, predicate: str) -> None:
    """Two writers of different days both succeed; of the same day, the later one starts again on the newer version."""
    for attempt in stamina.retry_context(
        on=CommitFailedError, attempts=COMMIT_ATTEMPTS, wait_initial=0.05, wait_max=2, timeout=None
    ):
        with attempt:
            write_deltalake(uri, data, mode="overwrite", predicate=predicate)


def _line(error: Exception) -> str:
    """The first line: what follows are stack traces and rows."""
    return str(error).partition("\n")[0] or type(error).__name__


def _filters(table: Table, window: Window) -> list[tuple[str, str, str]]:
    day = table.partition_column or ""
    return [(day, ">=", str(window.first_day)), (day, "<=", str(window.last_day))]


def _has_batch(delta: DeltaTable, writer: str, batch_number: int) -> bool:
    last = delta.transaction_version(writer)
    return last is not None and last >= batch_number


def _is_local(root: str) -> bool:
    return "://" not in root
