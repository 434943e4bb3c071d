"""PostgreSQL: connections, bulk writes, reads of the named statements in sql/queries.

Every write is an upsert on a key or the replacement of a window, in one transaction; bulk rows travel as one COPY
block. Table names and columns come from our own declarations (core/tables.py), values always as parameters or COPY
data.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.core.windows import DAY, Window
from ingestion_pipeline.settings import PROJECT_ROOT

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

QUERIES = PROJECT_ROOT / "sql" / "queries"
CONNECT_TIMEOUT_SECONDS = 5
ROWS_PER_BLOCK = 10_000


def normalised_url(url: str, *, driver: str, database: str | None = None) -> str:
    """One spelling of `url` for one driver: `postgres://`, any driver suffix and `?schema=` are understood.

    Dagster must get `psycopg2`: its NOTIFY fails under psycopg 3, which SQLAlchemy 2.1 takes by default.
    """
    parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    query = {name: value for name, value in parsed.query.items() if name != "schema"}
    parsed = parsed.set(drivername=f"postgresql+{driver}" if driver else "postgresql", query=query)
    if database:
        parsed = parsed.set(database=database)
    start, mark, options = parsed.render_as_string(hide_password=False).partition("?")
    return start + mark + options.replace("+", "%20")  # SQLAlchemy writes a space as +, which libpq takes for a plus


def public_url(url: str) -> str:
    """`url` without its password, wherever that stands, for messages."""
    return make_url(url).difference_update_query(["password"]).render_as_string(hide_password=True)


class Postgres:
    """A small pool of connections to one database.

    Raises:
        StoreUnavailableError: from every method, when the server cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = create_engine(
            normalised_url(url, driver="psycopg"),
            pool_size=2,
            max_overflow=8,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "application_name": "ingestion-pipeline"},
        )
        event.listen(self.engine, "connect", _in_utc)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """A psycopg connection inside a transaction that commits unless the block raises."""
        with self._reached(), self.engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)  # noqa: S101
            yield driver

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Lets one process at a time into the blocks of the same `name`; others wait."""
        with self.transaction() as connection:
            connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [name])
            yield

    def execute(self, statement: str, parameters: Mapping[str, object] | None = None) -> int:
        """Runs one statement with `:name` parameters; returns the number of rows it touched."""
        with self._reached(), self.engine.begin() as connection:
            return connection.execute(text(statement), parameters or {}).rowcount

    def read(self, query: str, parameters: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """The rows of the named statement `sql/queries/<query>.sql`, as dictionaries."""
        statement = (QUERIES / f"{query}.sql").read_text()
        with self._reached(), self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(statement), parameters or {}).mappings()]

    def rows(self, table: Table, window: Window) -> "pd.DataFrame":
        """The rows of `table` with the columns of its declaration; those in `window` if it is partitioned."""
        import pandas as pd

        columns = ", ".join(table.column_names)
        column = table.partition_column
        where = "" if column is None else f" where {column} >= :start and {column} < :end"
        start, end = _bounds(table, window)
        statement = f"select {columns} from {table.qualified_name}{where}"
        with self._reached(), self.engine.connect() as connection:
            return pd.read_sql(text(statement), connection, params={"start": start, "end": end})

    def row_counts(self, table: Table, window: Window) -> dict[date, int]:
        """Rows per UTC day of the partition column of `table` in `window`; days without rows are absent."""
        column = table.partition_column
        statement = (
            f"select {column}::date, count(*) from {table.qualified_name} where {column} >= %s and {column} < %s"
        )
        with self.transaction() as connection:
            return dict(connection.execute(f"{statement} group by 1".encode(), list(_bounds(table, window))).fetchall())

    def upsert(self, table: Table, frame: "pd.DataFrame") -> int:
        """Inserts the rows of `frame`, or updates those whose key exists. Keys must not repeat within `frame`."""
        columns = ", ".join(table.column_names)
        updates = [name for name in table.column_names if name not in table.key]
        action = (
            f"do update set {', '.join(f'{name} = excluded.{name}' for name in updates)}" if updates else "do nothing"
        )
        with self.transaction() as connection:
            connection.execute(
                "create temporary table incoming on commit drop as "
                f"select {columns} from {table.qualified_name} limit 0"
            )
            _copy(connection, "incoming", table.column_names, frame)
            connection.execute(
                # in the order of the key: two writers of the same rows then wait for each other instead of deadlocking
                f"insert into {table.qualified_name} ({columns}) select {columns} from incoming "
                f"order by {', '.join(table.key)} on conflict ({', '.join(table.key)}) {action}"
            )
        return len(frame)

    def replace(self, table: Table, frame: "pd.DataFrame", window: Window) -> int:
        """Makes `frame` the only rows of `table` inside `window`, at once for every reader."""
        day = table.partition_column
        with self.transaction() as connection:
            connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [table.qualified_name])
            connection.execute(
                f"delete from {table.qualified_name} where {day} >= %s and {day} < %s",
                list(_bounds(table, window)),
            )
            _copy(connection, table.qualified_name, table.column_names, frame)
        return len(frame)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, PoolTimeoutError, psycopg.OperationalError) as error:
            raise StoreUnavailableError(f"PostgreSQL at {public_url(self.url)}", first_line(error)) from error


def _in_utc(connection: psycopg.Connection[Any], _: object) -> None:
    """Instants are read as UTC, whatever the server's own time zone."""
    connection.execute("set time zone 'UTC'")
    connection.commit()


def _bounds(table: Table, window: Window) -> tuple[date, date]:
    """`window` as half-open bounds of the partition column: days for a date, which has no time zone, else instants."""
    kinds = {column.name: column.type for column in table.columns}
    if kinds.get(table.partition_column or "") == "date":
        return window.first_day, window.last_day + DAY
    return window.start, window.end


def _copy(connection: psycopg.Connection[Any], target: str, columns: Sequence[str], frame: "pd.DataFrame") -> None:
    import pyarrow as pa

    with connection.cursor() as cursor:
        copy_rows(cursor, target, pa.Table.from_pandas(frame[list(columns)], preserve_index=False))


def copy_rows(cursor: psycopg.Cursor[Any], target: str, rows: "pa.Table") -> None:
    """Adds `rows` to the columns of the same names in `target`, as one COPY."""
    statement = f"copy {target} ({', '.join(rows.column_names)}) from stdin (format csv)"
    with cursor.copy(statement) as copy:
        for block in csv_blocks(rows):
            copy.write(block)


def csv_blocks(rows: "pa.Table") -> Iterator[bytes]:
    """The rows as CSV for COPY: NULL is empty, text is quoted; what a frame has as NaN or NaT is NULL.

    In blocks: the server reads one while the next is made, and memory does not grow with the rows.
    """
    from pyarrow import csv

    for batch in rows.to_batches(max_chunksize=ROWS_PER_BLOCK):
        buffer = io.BytesIO()
        csv.write_csv(batch, buffer, csv.WriteOptions(include_header=False))
        yield buffer.getvalue()


def first_line(error: Exception) -> str:
    """The first line of what the server or the library said; drivers append hints, statements and stack traces."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
