"""Redshift: Parquet and a manifest to S3, `COPY` into a staging table, `MERGE` on the key, one transaction.

`MERGE` leaves a row alone that is there already, so a transaction whose end was not heard of may be repeated. Instants
are TIMESTAMP in UTC and JSON is VARCHAR (`json_parse` makes SUPER of it), because COPY from Parquet fills no others.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from ingestion_pipeline.core.errors import ConfigurationError, ContractError, StoreUnavailableError
from ingestion_pipeline.core.tables import ColumnType, Table
from ingestion_pipeline.storage.warehouses.base import Copy, WarehouseName
from ingestion_pipeline.storage.warehouses.s3_stage import S3Stage

TYPES: dict[ColumnType, str] = {
    "text": "varchar(4096)",
    "float": "double precision",
    "integer": "bigint",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "json": "varchar(65535)",
}
LONGEST_TEXT = 1_024  # characters of up to four bytes
LONGEST_JSON_BYTES = 65_535
STATEMENT_SECONDS = 600
_REFUSED = ("28", "3D", "42501")  # SQLSTATE: authentication, unknown database, missing privilege
_UNREACHABLE = ("08", "53", "57", "40", "55")  # connection, resources, shut down, serialization, locks

Connect = Callable[[], Any]  # a connection of PEP 249


def connected_to(*, host: str, port: int, database: str, user: str, password: SecretStr) -> Connect:
    """Connects with redshift_connector."""

    def connect() -> Any:
        import redshift_connector

        return redshift_connector.connect(
            host=host,
            port=port,
            database=database,
            user=user,
            password=password.get_secret_value(),
            timeout=STATEMENT_SECONDS,
        )

    return connect


class Redshift:
    """The copy of `table` in the schema of its domain.

    Args:
        table: Its declaration.
        stage: Where files wait for COPY.
        iam_role: ARN of the role with which the cluster reads the stage; its default role when None.
        connect: Opens a connection.
        error: What its driver raises.
    """

    name: WarehouseName = "redshift"

    def __init__(
        self, table: Table, *, stage: S3Stage, iam_role: str | None, connect: Connect, error: type[Exception]
    ) -> None:
        self.table = table
        self._stage = stage
        self._role = "default" if iam_role is None else _quoted(iam_role)
        self._connect, self._error = connect, error

    def plan(self, copy: Copy) -> str:
        return self._stage.manifest_url(copy)

    def write(self, target: str, copy: Copy) -> int | None:  # noqa: ARG002 - the target follows from the copy
        return self._stage.put(copy, loadable(self.table, copy.rows))

    def commit(self, target: str, copy: Copy) -> None:  # noqa: ARG002 - the manifest is all of it
        with self._transaction() as cursor:
            for statement in (
                staging_statement(self.table),
                copy_statement(self.table, target, self._role),
                merge_statement(self.table),
                f"drop table {_staging(self.table)}",
            ):
                cursor.execute(statement)
        self._stage.clear()

    def is_committed(self, target: str, copy: Copy) -> bool:  # noqa: ARG002 - the rows alone can tell
        with self._transaction() as cursor:
            cursor.execute(
                f"select count(*) from {self.table.qualified_name} where batch_number between %s and %s",
                (copy.first_batch, copy.last_batch),
            )
            return int(cursor.fetchone()[0]) > 0

    def erase_user(self, user_id: str) -> int:
        self._stage.clear()
        return self._delete("user_id = %s", (user_id,))

    def delete_older(self, event_types: Sequence[str], before: date) -> int:
        if not event_types:
            return 0
        self._stage.clear()
        marks = ", ".join("%s" for _ in event_types)
        return self._delete(f"event_type in ({marks}) and day < %s", (*event_types, before))

    def close(self) -> None:
        self._stage.close()

    def _delete(self, condition: str, values: Sequence[object]) -> int:
        with self._transaction() as cursor:
            cursor.execute(f"delete from {self.table.qualified_name} where {condition}", tuple(values))
            return max(0, int(cursor.rowcount))

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A cursor in a transaction, the table being there; closing the connection undoes what was not committed."""
        with self._reached():
            connection = self._connect()
            try:
                cursor = connection.cursor()
                cursor.execute(f"create schema if not exists {self.table.domain}")
                cursor.execute(table_statement(self.table))
                yield cursor
                connection.commit()
            finally:
                connection.close()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError("Redshift", type(error).__name__) from error
        except self._error as error:
            state, text = _said(error)
            if state.startswith(_REFUSED):
                raise ConfigurationError("REDSHIFT_USER", "***", f"a user who may use the cluster: {text}") from error
            if not state or state.startswith(_UNREACHABLE):
                raise StoreUnavailableError("Redshift", text) from error
            raise ContractError(f"Redshift {self.table.qualified_name}", "statement", text, "to be accepted") from error


def table_statement(table: Table) -> str:
    """Creates the table: rows of one key on one slice, where MERGE needs them, sorted by day, as queries ask."""
    columns = ", ".join(
        f"{column.name} {TYPES[column.type]}{'' if column.nullable else ' not null'}" for column in table.columns
    )
    return (
        f"create table if not exists {table.qualified_name} ({columns}) "
        f"diststyle key distkey ({table.key[0]}) sortkey ({table.partition_column}, event_type)"
    )


def staging_statement(table: Table) -> str:
    return f"create temp table {_staging(table)} (like {table.qualified_name})"


def copy_statement(table: Table, manifest_url: str, role: str) -> str:
    return f"copy {_staging(table)} from {_quoted(manifest_url)} iam_role {role} format as parquet manifest"


def merge_statement(table: Table) -> str:
    """Inserts what is not there by key. Redshift wants an action for what is: the batch number is set to itself."""
    staging = _staging(table)
    match = " and ".join(f"{table.name}.{name} = {staging}.{name}" for name in table.key)
    names = ", ".join(table.column_names)
    values = ", ".join(f"{staging}.{name}" for name in table.column_names)
    return (
        f"merge into {table.qualified_name} using {staging} on {match} "
        f"when matched then update set batch_number = {staging}.batch_number "
        f"when not matched then insert ({names}) values ({values})"
    )


def loadable(table: Table, rows: pa.Table) -> pa.Table:
    """`rows` as COPY takes them: one value too long would stop every later batch.

    Text is cut after 1,024 characters; JSON of more than 65,535 bytes becomes `{"too_long_bytes": <its length>}`.
    """
    columns = []
    for column in table.columns:
        values = rows[column.name]
        if column.type == "text":
            values = pc.utf8_slice_codeunits(values, 0, LONGEST_TEXT)
        elif column.type == "json":
            lengths = pc.binary_length(values)
            note = pc.binary_join_element_wise('{"too_long_bytes": ', lengths.cast(pa.string()), "}", "")
            values = pc.if_else(pc.greater(lengths, LONGEST_JSON_BYTES), note, values)
        elif column.type == "timestamp":
            values = values.cast(pa.timestamp("us"))
        columns.append(values)
    return pa.table(columns, names=list(table.column_names))


def _staging(table: Table) -> str:
    return f"{table.name}_staging"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _said(error: Exception) -> tuple[str, str]:
    """SQLSTATE and first line of what the server said; both drivers keep them elsewhere."""
    facts = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    state = str(facts.get("C") or getattr(error, "sqlstate", None) or "")
    text = str(facts.get("M") or error)
    return state, next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
