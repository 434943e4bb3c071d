"""docs/webhooks.md is true: its three signing examples, copied, deliver to a real intake; its table of answers too."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion_pipeline.domains.property.contracts import DELIVERY_TYPES
from ingestion_pipeline.settings import PROJECT_ROOT, child_environment
from ingestion_pipeline_tests.domains.operations.deliveries import SHARED, WEBHOOK, kept, send
from ingestion_pipeline_tests.intake.process import Intake, running

GUIDE = (PROJECT_ROOT / "docs" / "webhooks.md").read_text()
PROPERTY = ("-m", "ingestion_pipeline_tests.domains.operations.property_deliveries")
COMMANDS = {
    "python": ([sys.executable, "send.py"], "send.py"),
    "js": (["node", "send.mjs"], "send.mjs"),
    "shell": (["bash", "-euo", "pipefail", "send.sh"], "send.sh"),
}


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def guided(inbox_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    """An intake that knows the types that the guide is about."""
    url = inbox_url.replace("postgres@", "pipeline_intake@", 1)
    with running(url, tmp_path_factory.mktemp("guide"), PROPERTY, WEBHOOK_SECRET=SHARED) as intake:
        yield intake


def run(language: str, intake: Intake, folder: Path, secret: str = SHARED) -> subprocess.CompletedProcess[str]:
    command, name = COMMANDS[language]
    (folder / name).write_text(block(language))
    given = {
        "WEBHOOK_SECRET": secret,
        "WEBHOOK_URL": f"http://127.0.0.1:{intake.port}{WEBHOOK}",
        "no_proxy": "127.0.0.1",
    }
    return subprocess.run(
        command, cwd=folder, env=child_environment(given), capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("language", COMMANDS)
def test_a_signing_example_delivers(guided: Intake, inbox_url: str, tmp_path: Path, language: str) -> None:
    """Once; again it is a duplicate; with another secret it is refused."""
    for is_duplicate in (False, True):
        done = run(language, guided, tmp_path)
        assert 0 == done.returncode, done.stderr
        answer = json.loads(done.stdout)
        assert ("accepted", is_duplicate) == (answer["status"], answer["duplicate"])
    (row,) = [row for row in kept(inbox_url) if str(row["delivery_id"]) == answer["delivery_id"]]
    assert ("pending", "external-provider", "WEBHOOK_SECRET 1") == (row["status"], row["source"], row["signed_by"])
    refused = run(language, guided, tmp_path, "another-secret-0")
    assert "401" in refused.stdout + refused.stderr


def test_the_body_of_the_guide_is_accepted(guided: Intake) -> None:
    assert 202 == send(guided, block("json").encode()).status_code


def test_the_guide_names_every_type_and_status() -> None:
    for name in (*DELIVERY_TYPES, "pending", "processed", "rejected", "dead"):
        assert f"`{name}`" in GUIDE
    for status in (202, 400, 401, 413, 415, 422, 503):
        assert re.search(rf"^\|[^|]*\b{status}\b", GUIDE, flags=re.MULTILINE)
