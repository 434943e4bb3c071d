"""What a stored table is: columns with units, key, store, partitioning, freshness.

One declaration of a table gives the Dagster asset its key, schema and freshness, the lake its Arrow schema and the
tests the shape that PostgreSQL must have. The declarations themselves live in each domain's tables.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

ColumnType = Literal["text", "float", "decimal", "integer", "boolean", "date", "timestamp", "json"]
Store = Literal["postgres", "lake"]
Partitioning = Literal["none", "daily", "weekly"]


@dataclass(frozen=True)
class Column:
    name: str
    type: ColumnType
    description: str
    unit: str | None = None
    nullable: bool = False


@dataclass(frozen=True)
class Freshness:
    """How long after its last materialization an asset is still fine, and when it is broken.

    `data_warn_after` and `data_fail_after` say the same of the newest data in it, by the table's `as_of_column`: a
    backfill of an old day is a materialization and no newer data. None: the data may be of any age.
    """

    warn_after: timedelta
    fail_after: timedelta
    data_warn_after: timedelta | None = None
    data_fail_after: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A stored table. Asset key `domain/name` = PostgreSQL `domain.name` = lake path `domain/name`.

    `partition_column` is the date or timestamp column by which the table is partitioned and replaced. `as_of_column` is
    the date or timestamp column that says of when a row is (of a lake table, its partition column): its greatest value
    is the age of the data. `personal` are the columns that name a person or are a person's words: Dagster keeps what it
    shows, out of the reach of an erasure, so that it never shows them.
    """

    domain: str
    name: str
    store: Store
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partitioning: Partitioning = "none"
    partition_column: str | None = None
    as_of_column: str | None = None
    freshness: Freshness | None = None
    personal: frozenset[str] = frozenset()
    owner: str = "team:data"
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.column_names
        named = {*self.key, *self.personal, *filter(None, [self.partition_column, self.as_of_column])}
        unknown = named - set(names)
        if unknown or len(set(names)) != len(names):
            raise ValueError(f"table {self.qualified_name}: unknown or repeated columns {sorted(unknown) or names}")
        if not self.key or (self.partitioning == "none") != (self.partition_column is None):
            raise ValueError(
                f"table {self.qualified_name}: expected a key, and a partition column if it is partitioned"
            )
        if self.store == "lake" and self.as_of_column not in (None, self.partition_column):
            raise ValueError(f"table {self.qualified_name}: the age of a lake table's data is that of its newest day")

    @property
    def asset_key(self) -> tuple[str, str]:
        return (self.domain, self.name)

    @property
    def qualified_name(self) -> str:
        return f"{self.domain}.{self.name}"

    @property
    def path(self) -> str:
        return f"{self.domain}/{self.name}"

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)
