"""A real intake in a process of its own, on a free port of this machine, and ways to talk to it."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline_tests.command import environment, eventually, free_port, log_lines

SAMPLE = ("-m", "ingestion_pipeline_tests.intake.sample")
REAL = ("-m", "ingestion_pipeline", "intake")
APP_TOKEN, CRON_SECRET = "app-token-canary-1", "cron-secret-canary-2"
JWT_SECRET = "jwt-secret-canary-3-" + "of-at-least-32-bytes-and-here-64-for-the-other-algorithms"
JSON = {"content-type": "application/json"}
TOKEN = {"x-app-token": APP_TOKEN}


@dataclass
class Intake:
    """A running server. `client` keeps connections alive; `log` is what the process has printed."""

    port: int
    process: subprocess.Popen[bytes]
    home: Path
    client: httpx.Client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, content: bytes = b"", **options: Any) -> httpx.Response:
        headers = {**JSON, **TOKEN, **options.pop("headers", {})}
        return self.client.post(path, content=content, headers=headers, **options)

    def printed(self) -> str:
        return (self.home / "intake.log").read_text()

    def lines(self) -> list[dict[str, Any]]:
        return log_lines(self.printed())

    def exchange(self, data: bytes, *, seconds: float = 30.0) -> bytes:
        """Sends bytes as they are; everything that comes back until the server closes or `seconds` are over."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            received = b""
            with suppress(ConnectionError):  # refused before it was all sent: the answer is there all the same
                connection.sendall(data)
            try:
                while part := connection.recv(65_536):
                    received += part
            except (TimeoutError, ConnectionError):
                pass
            return received

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def is_up(self) -> bool:
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running(database_url: str, home: Path, command: tuple[str, ...] = SAMPLE, **over: str) -> Iterator[Intake]:
    """Starts the intake over `database_url` and waits until it is healthy; it is gone when the block ends."""
    port = int(over.get("PORT", free_port()))
    given = {
        "DATABASE_URL": database_url,
        "INTAKE_DATABASE_URL": "",
        "PORT": str(port),
        "INGEST_APP_TOKEN": APP_TOKEN,
        "CRON_SECRET": CRON_SECRET,
        "JWT_SECRET": JWT_SECRET,
        "EVENTS_RATE_LIMIT": "0",
        "CRAWL_RATE_LIMIT": "0",
        **over,
        "PYTHONUNBUFFERED": "1",
    }
    with (home / "intake.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command], env=environment(home, **given), cwd=PROJECT_ROOT, stdout=log, stderr=log
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
        intake = Intake(port, process, home, client)
        try:
            eventually(lambda: intake.is_up() or process.poll() is not None, explain=intake.printed)
            assert process.poll() is None, intake.printed()
            yield intake
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                for worker in intake.workers():
                    worker.kill()
                process.kill()
                process.wait()
