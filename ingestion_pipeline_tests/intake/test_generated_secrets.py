"""Secrets of the embedded default: made once, kept to the owner, never over somebody's own."""

import stat
from pathlib import Path

from ingestion_pipeline.intake.generated_secrets import VARIABLES, embedded_secrets
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.children import output, python

MAKE = """
import sys, json
from pathlib import Path
from ingestion_pipeline.intake.generated_secrets import embedded_secrets
from ingestion_pipeline.settings import Settings
unset = dict.fromkeys(["DATABASE_URL", "INTAKE_DATABASE_URL", "INGEST_APP_TOKEN", "CRON_SECRET", "JWT_SECRET"], "")
settings = Settings.from_environment({**unset, "INGESTION_HOME": sys.argv[1]})
sys.stdin.readline()
print(json.dumps(embedded_secrets(settings, tell=lambda text: None), sort_keys=True), end="")
"""


def settings(home: Path, **over: str) -> Settings:
    unset = dict.fromkeys(["DATABASE_URL", "INTAKE_DATABASE_URL", *VARIABLES], "")
    return Settings.from_environment({**unset, "INGESTION_HOME": str(home), **over})


def test_they_are_made_once_and_kept(tmp_path: Path) -> None:
    """The second start has the same; the file is its owner's alone, and the user is told where it is."""
    told: list[str] = []
    first = embedded_secrets(settings(tmp_path), tell=told.append)
    assert (set(VARIABLES), 4) == (set(first), len(set(first.values())))
    assert first == embedded_secrets(settings(tmp_path), tell=told.append)
    file = tmp_path / "secrets.env"
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert [f"secrets      {file}"] * 2 == told


def test_the_environment_s_own_come_first(tmp_path: Path) -> None:
    made = embedded_secrets(settings(tmp_path, CRON_SECRET="mine"), tell=print)
    assert {"INGEST_APP_TOKEN", "JWT_SECRET", "WEBHOOK_SECRET"} == set(made)


def test_a_file_that_lacks_one_keeps_the_others(tmp_path: Path) -> None:
    """As after an upgrade that brings a new secret, or an edit by hand."""
    (tmp_path / "secrets.env").write_text("# mine\nINGEST_APP_TOKEN=kept\nCRON_SECRET=\n")
    made = embedded_secrets(settings(tmp_path), tell=print)
    assert "kept" == made["INGEST_APP_TOKEN"]
    assert made == embedded_secrets(settings(tmp_path), tell=print)
    assert all(made.values())


def test_with_a_database_of_one_s_own_nothing_is_made(tmp_path: Path) -> None:
    """In production an unset secret leaves its endpoints closed."""
    for name in ("DATABASE_URL", "INTAKE_DATABASE_URL"):
        assert {} == embedded_secrets(settings(tmp_path, **{name: "postgresql://u@h/d"}), tell=print)
    assert [] == list(tmp_path.iterdir())


def test_processes_that_come_at_once_agree(tmp_path: Path) -> None:
    with python(MAKE, str(tmp_path)) as one, python(MAKE, str(tmp_path)) as two, python(MAKE, str(tmp_path)) as three:
        children = [one, two, three]
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        assert 1 == len({output(child) for child in children})
