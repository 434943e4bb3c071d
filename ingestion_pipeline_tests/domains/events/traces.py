"""Where a text is found in what a pipeline stores: every table of PostgreSQL, every file of the lake, also unused ones."""

from pathlib import Path

import psycopg
import pyarrow.parquet as pq

_TABLES = """
select format('%I.%I', nspname, relname)
from pg_class inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
where nspname in ('events', 'operations', 'community', 'public') and relkind = 'r'
"""


def traces(url: str, lake: Path, text: str) -> list[str]:
    """The tables and files that hold `text` somewhere."""
    with psycopg.connect(url) as connection:
        tables = [
            table
            for (table,) in connection.execute(_TABLES).fetchall()
            if connection.execute(
                f"select exists (select from {table} as stored where strpos(stored::text, %s) > 0)".encode(), [text]
            ).fetchone()
            == (True,)
        ]
    files = [file for file in sorted(lake.rglob("*")) if file.is_file() and _holds(file, text)]
    return tables + [str(file.relative_to(lake)) for file in files]


def _holds(file: Path, text: str) -> bool:
    if text.encode() in file.read_bytes():
        return True
    return file.suffix == ".parquet" and text in str(pq.ParquetFile(file).read().to_pylist())
