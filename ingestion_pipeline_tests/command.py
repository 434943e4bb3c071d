"""The real command in processes of its own, and waiting for what they do: polls with a deadline, never a pause."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingestion_pipeline.settings import child_environment

COMMAND = [sys.executable, "-m", "ingestion_pipeline"]
SECONDS = 300.0  # a limit for what never comes true, not for slow machines


def environment(home: Path, **over: str) -> dict[str, str]:
    """What a process of a pipeline in `home` is given: the mock provider, JSON logs, nothing from outside."""
    unset = {
        "DATABASE_URL": "",
        "DAGSTER_PG_URL": "",
        "REDIS_URL": "",
        "LAKE_URL": "",
        "ALERT_WEBHOOK_URL": "",
        "ALERT_TARGETS": "",
    }
    return child_environment(
        {**unset, "INGESTION_HOME": str(home), "INGESTION_PROVIDER": "mock", "LOG_FORMAT": "json", **over}
    )


def run(*arguments: str, home: Path, **over: str) -> subprocess.CompletedProcess[str]:
    """Runs `ingestion-pipeline` to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(home, **over), capture_output=True, text=True, check=False, timeout=600
    )


def killed(*arguments: str, home: Path, when: Callable[[str], object], **over: str) -> None:
    """Runs `ingestion-pipeline` and kills it (-9) as soon as `when`, given what it has printed, is true."""
    printed = home / "printed.txt"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment(home, **over), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            eventually(lambda: when(printed.read_text()) or process.poll() is not None, explain=printed.read_text)
            assert process.poll() is None, printed.read_text()
        finally:
            process.kill()
            process.wait()


def eventually(claim: Callable[[], Any], *, seconds: float = SECONDS, explain: Callable[[], object] = str) -> Any:
    """The first true answer of `claim`."""
    deadline = time.monotonic() + seconds
    while not (answer := claim()):
        assert time.monotonic() < deadline, f"did not become true in {seconds:g} s: {explain()}"
        time.sleep(0.05)
    return answer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def log_lines(text: str) -> list[dict[str, Any]]:
    """The JSON log lines in what a process wrote."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
