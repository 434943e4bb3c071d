"""A whole `ingestion-pipeline up` in a folder and on ports of its own, spoken to as the UI does, stopped at the end."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks._measures import PROJECT_ROOT

READY_TIMEOUT_SECONDS, RUN_TIMEOUT_SECONDS, POLL_SECONDS, SAMPLE_SECONDS = 180, 300, 0.1, 0.25
JOBS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"
LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def environment_of(home: str) -> dict[str, str]:
    """The mock provider, an embedded database and a lake in `home`; snapshots only when they are asked for."""
    webserver, location, intake = free_ports(3)
    unset = dict.fromkeys(("DATABASE_URL", "DAGSTER_PG_URL", "REDIS_URL", "LAKE_URL", "ALERT_WEBHOOK_URL"), "")
    ports = {"WEBSERVER_PORT": str(webserver), "CODE_LOCATION_PORT": str(location), "PORT": str(intake)}
    given = {"INGESTION_HOME": home, "INGESTION_PROVIDER": "mock", "INGESTION_CRON_EXPRESSION": "0 0 1 1 *"}
    return unset | ports | given | {"LOG_LEVEL": "warning"}


@dataclass
class Stack:
    """A running stack.

    `peak_mb`: the most memory of all its processes together seen so far; `resident` counts a page that processes share
    once for each, `proportional` once.
    """

    home: str
    url: str
    ready_seconds: float = 0.0
    peak_mb: dict[str, float] = field(default_factory=lambda: {"resident": 0.0, "proportional": 0.0})

    def ask(self, query: str, variables: Mapping[str, object] | None = None) -> Any:
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables or {}}, timeout=30)
        return answer.raise_for_status().json()["data"]

    def is_ready(self) -> bool:
        """True when the UI answers and shows the jobs of the code location."""
        with suppress(httpx.HTTPError):
            return any(node["jobs"] for node in self.ask(JOBS)["repositoriesOrError"]["nodes"])
        return False

    def launch(self, job: str, tags: Mapping[str, str] | None = None) -> str:
        selector = {
            "repositoryLocationName": "ingestion_pipeline", "repositoryName": "__repository__", "jobName": job,
        }  # fmt: skip
        pairs = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        launched = self.ask(LAUNCH, {"p": {"selector": selector, "executionMetadata": {"tags": pairs}}})["launchRun"]
        if "run" not in launched:
            raise RuntimeError(f"{job} was not launched: {launched}")
        return str(launched["run"]["runId"])

    def wait(self, run_id: str) -> None:
        """Until the run has succeeded."""
        deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
        status = ""
        while time.monotonic() < deadline and status not in {"SUCCESS", "FAILURE", "CANCELED"}:
            status = self.ask(STATUS, {"id": run_id})["runOrError"]["status"]
            time.sleep(POLL_SECONDS)
        if status != "SUCCESS":
            raise RuntimeError(f"run {run_id} is {status}")


@contextmanager
def stack(environment: Mapping[str, str]) -> Iterator[Stack]:
    """Runs `up` until the block ends; ready when the UI has loaded the code location."""
    home = environment["INGESTION_HOME"]
    running = Stack(home, f"http://127.0.0.1:{environment['WEBSERVER_PORT']}")
    command = [sys.executable, "-m", "ingestion_pipeline", "up"]
    started = time.perf_counter()
    with (Path(home) / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | environment, cwd=PROJECT_ROOT, stdout=log, stderr=log, start_new_session=True
        )
    stopped = threading.Event()
    sampler = threading.Thread(target=_sample, args=(running, process.pid, stopped), daemon=True)
    try:
        sampler.start()
        while not running.is_ready():
            if process.poll() is not None or time.perf_counter() - started > READY_TIMEOUT_SECONDS:
                raise RuntimeError(f"the stack does not start: {(Path(home) / 'up.log').read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)
        running.ready_seconds = time.perf_counter() - started
        yield running
    finally:
        stopped.set()
        sampler.join()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _sample(running: Stack, pid: int, stopped: threading.Event) -> None:
    while not stopped.wait(SAMPLE_SECONDS):
        resident = proportional = 0
        for process in _family(pid, running.home):
            with suppress(psutil.Error, OSError):
                memory = process.memory_full_info()
                resident += memory.rss
                proportional += getattr(memory, "pss", memory.uss)
        for name, value in (("proportional", proportional), ("resident", resident)):
            running.peak_mb[name] = max(running.peak_mb[name], value / 1e6)


def _family(pid: int, home: str) -> list[psutil.Process]:
    """`up`, what it started, and the embedded server, which is a daemon: its command names the folder."""
    found: dict[int, psutil.Process] = {}
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        found = {process.pid: process for process in [parent, *parent.children(recursive=True)]}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and any(home in word for word in process.cmdline()):
                found |= {child.pid: child for child in [process, *process.children(recursive=True)]}
    return list(found.values())
