"""Processes that tests start, kill and wait for; and waiting for a claim without guessing how long it takes."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ingestion_pipeline.settings import PROJECT_ROOT


@contextmanager
def python(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code`; killed when the block ends, if it has not ended by then."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def output(child: subprocess.Popen[str]) -> str:
    """Everything that `child` still has to say, once it has ended well."""
    text, _ = child.communicate()
    assert (0, text) == (child.returncode, text)
    return text


def until(claim: Callable[[], bool], *, seconds: float = 300.0) -> None:
    """Asks until `claim` is true; a test never goes on because enough time has passed."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "did not become true in time"
