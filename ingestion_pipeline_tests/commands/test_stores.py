"""What every command begins with: in processes of their own."""

import json
from pathlib import Path

from ingestion_pipeline_tests.command import run


def test_standard_output_holds_the_answer_alone_also_when_the_database_is_made(tmp_path: Path) -> None:
    """A token that a script reads there has no line of the log before it."""
    made = run("tokens", "list", home=tmp_path)
    assert "no tokens\n" == made.stdout
    assert ["schema brought up to date"] == [json.loads(line)["event"] for line in made.stderr.splitlines()]
