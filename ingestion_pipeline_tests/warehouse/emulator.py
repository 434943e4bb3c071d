"""Starts bqemulator without DuckDB's extensions: it would download them, and nothing here is a GEOGRAPHY or Avro."""

from bqemulator.cli import main
from bqemulator.storage.engine import DuckDBEngine


def _without(_: DuckDBEngine) -> None:
    pass


if __name__ == "__main__":
    DuckDBEngine._load_spatial = DuckDBEngine._load_format_extensions = _without
    main()
