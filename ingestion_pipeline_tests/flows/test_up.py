"""`ingestion-pipeline up`, as an operator and the UI see it: started, used, hurt, stopped, found again after a crash.

Two stories, each one test: a stack takes ten seconds to start. Every wait is a poll with a deadline.
"""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from ingestion_pipeline.orchestration.partitions import range_tags
from ingestion_pipeline.orchestration.processes import MARKER
from ingestion_pipeline_tests.command import COMMAND, environment, eventually, free_port

MARKETS_ASSETS = [
    "markets",
    "price_bars",
    "ohlc_hourly",
    "ohlc_daily",
    "ohlc_weekly",
    "snapshots",
    "comparisons",
    "roi_statistics",
]
DAYS = [datetime.now(UTC).date() - timedelta(days=i) for i in (4, 3, 2)]
SELECTOR = {"repositoryLocationName": "ingestion_pipeline", "repositoryName": "__repository__"}

LOCATIONS = "{workspaceOrError{... on Workspace{locationEntries{name loadStatus locationOrLoadError{__typename}}}}}"
AUTOMATION = """query($s: RepositorySelector!){
  schedulesOrError(repositorySelector:$s){... on Schedules{results{name scheduleState{status}}}}
  sensorsOrError(repositorySelector:$s){... on Sensors{results{name sensorState{status}}}}}"""
DAEMONS = "{instance{daemonHealth{allDaemonStatuses{daemonType required healthy}}}}"
LAUNCH_BACKFILL = """mutation($p: LaunchBackfillParams!){launchPartitionBackfill(backfillParams:$p){
  __typename ... on LaunchBackfillSuccess{backfillId} ... on PythonError{message}}}"""
BACKFILL = """query($id: String!){partitionBackfillOrError(backfillId:$id){
  ... on PartitionBackfill{status error{message}} ... on PythonError{message}}}"""
MATERIALIZED = """query($k: [AssetKeyInput!]){assetNodes(assetKeys:$k){assetKey{path} freshnessStatusInfo{freshnessStatus}
  assetMaterializations(limit:1){timestamp}
  assetPartitionStatuses{... on TimePartitionStatuses{ranges{startKey endKey status}}}}}"""
LAUNCH_RUN = """mutation($p: ExecutionParams!){launchRun(executionParams:$p){
  __typename ... on LaunchRunSuccess{run{runId}} ... on PythonError{message} ... on RunConfigValidationInvalid{errors{message}}}}"""
RUN = "query($id: ID!){runOrError(runId:$id){... on Run{status tags{key value}}}}"
RUNS = "query($f: RunsFilter!){runsOrError(filter:$f){... on Runs{results{runId status}}}}"

LOGS = """query($id: ID!){logsForRun(runId:$id, limit: 1000){... on EventConnection{events{
  ... on MessageEvent{message}}}}}"""


@dataclass
class Up:
    """A running `ingestion-pipeline up` in a folder of its own."""

    home: Path
    process: subprocess.Popen[bytes]
    port: int
    intake_port: int
    said: Path
    parts: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        return self.said.read_text()

    def ask(self, query: str, **variables: object) -> Any:
        """What GraphQL answers, as the UI would ask."""
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/graphql", json={"query": query, "variables": variables}, timeout=30
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def launch(self, job: str, tags: dict[str, str] | None = None) -> str:
        """Starts a run of `job`; returns its id."""
        parameters = {
            "selector": {**SELECTOR, "jobName": job},
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
        }
        answer = self.ask(LAUNCH_RUN, p=parameters)["launchRun"]
        assert "LaunchRunSuccess" == answer["__typename"], answer
        return str(answer["run"]["runId"])

    def status(self, run: str) -> str:
        return str(self.ask(RUN, id=run)["runOrError"]["status"])

    def ends(self, run: str) -> str:
        """The status in which a run ends."""
        over = {"SUCCESS", "FAILURE", "CANCELED"}
        return str(
            eventually(lambda: (status := self.status(run)) in over and status, explain=lambda: self.status(run))
        )

    def processes(self, *words: str) -> list[psutil.Process]:
        """The processes of this stack whose command line has all `words`."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(MARKER) == str(self.home / "stack")
                if is_ours and process.status() != psutil.STATUS_ZOMBIE and set(words) <= set(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def postgres(self) -> list[psutil.Process]:
        """The embedded server: its main process names the folder."""
        folder = str(self.home / "postgres")
        return [it for it in psutil.process_iter(["cmdline"]) if folder in (it.info["cmdline"] or [])]


@contextmanager
def up(home: Path, **over: str) -> Iterator[Up]:
    """A stack that has said that it is ready; killed at the end, if it has not been stopped by then."""
    port, intake_port, said = free_port(), free_port(), home / "said.txt"
    home.mkdir(exist_ok=True)
    given = environment(
        home,
        WEBSERVER_PORT=str(port),
        PORT=str(intake_port),
        CODE_LOCATION_PORT=str(free_port()),
        FRESHNESS_DAEMON_INTERVAL_SECONDS="2",
        INGESTION_FIRST_DAY=str(DAYS[0] - timedelta(days=300)),
        **over,
    )
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "up"], env=given, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    stack = Up(home, process, port, intake_port, said)
    try:
        eventually(lambda: "Ctrl-C stops everything." in stack.text() or process.poll() is not None, explain=stack.text)
        assert process.poll() is None, stack.text()
        yield stack
    finally:
        kill_everything(stack)


def kill_everything(stack: Up) -> None:
    """kill -9 of the command, of every part of the stack and of PostgreSQL, as when a machine loses power."""
    for process in [*stack.processes(), *stack.postgres()]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    stack.process.kill()
    stack.process.wait()
    eventually(lambda: not stack.processes() and not stack.postgres())


@pytest.fixture
def home() -> Iterator[Path]:
    """Not below pytest's own folder: another session that begins closes that to PostgreSQL's user."""
    with tempfile.TemporaryDirectory(prefix="up-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "a home"


def test_a_stack_is_used_hurt_and_stopped(home: Path) -> None:
    """Green from the first minute; a part or a run that is killed comes back; SIGTERM leaves nothing."""
    with up(home) as stack:
        says_where_it_is(stack)
        takes_events(stack, "accepted")
        loads_the_code(stack)
        backfill = launches_a_backfill_of_every_asset(stack)
        runs_schedules_sensors_and_daemons(stack)
        a_killed_code_location_comes_back(stack)
        a_killed_intake_comes_back(stack)
        a_killed_run_fails_and_is_tried_again(stack)
        the_backfill_has_built_every_partition(stack, backfill)
        assets_become_fresh(stack)
        ends_at_sigterm(stack)


def test_a_stack_is_found_again_after_a_kill_of_everything(home: Path) -> None:
    """No stale lock, no orphan, no lost database: it starts, and what was built is still there."""
    with up(home) as stack:
        loads_the_code(stack)
        run = stack.launch("market_snapshots_job")
        assert "SUCCESS" == stack.ends(run)
        takes_events(stack, "accepted")
        kill_everything(stack)
    with up(home) as stack:
        takes_events(stack, "duplicate")
        loads_the_code(stack)
        assert "SUCCESS" == stack.status(run)
        assert "SUCCESS" == stack.ends(stack.launch("market_snapshots_job"))
        ends_at_sigterm(stack)


def says_where_it_is(stack: Up) -> None:
    assert f"Dagster UI   http://127.0.0.1:{stack.port}" in stack.text()
    assert f"HTTP intake  http://127.0.0.1:{stack.intake_port}" in stack.text()
    assert str(stack.home / "stack" / "logs") in stack.text()
    page = httpx.get(f"http://127.0.0.1:{stack.port}/", timeout=30)
    assert (200, True) == (page.status_code, "dagster" in page.text.lower())


def takes_events(stack: Up, status: str) -> None:
    """With the token that the stack has made for itself; the same event each time."""
    address = f"http://127.0.0.1:{stack.intake_port}"
    assert 200 == httpx.get(f"{address}/health").status_code
    secrets = dict(line.split("=", 1) for line in (stack.home / "secrets.env").read_text().splitlines() if "=" in line)
    event = {"type": "COPY", "ruleId": "r1", "idempotencyKey": "from a test"}
    token = {"x-app-token": secrets["INGEST_APP_TOKEN"]}
    answer = httpx.post(f"{address}/ingest/events", json={"events": [event]}, headers=token)
    assert 202 == answer.status_code, answer.text
    assert [status] == [it["status"] for it in answer.json()["results"]]


def launches_a_backfill_of_every_asset(stack: Up) -> str:
    """As the UI does from the asset graph: every market asset over some days."""
    parameters = {
        "assetSelection": [{"path": ["market", name]} for name in MARKETS_ASSETS],
        "partitionNames": [str(day) for day in DAYS],
        "tags": [],
        "title": "from a test",
    }
    answer = stack.ask(LAUNCH_BACKFILL, p=parameters)["launchPartitionBackfill"]
    assert "LaunchBackfillSuccess" == answer["__typename"], answer
    return str(answer["backfillId"])


def loads_the_code(stack: Up) -> None:
    def location() -> tuple[str, str]:
        (entry,) = stack.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        return entry["loadStatus"], (entry["locationOrLoadError"] or {}).get("__typename")

    eventually(lambda: location() == ("LOADED", "RepositoryLocation"), explain=location)


def runs_schedules_sensors_and_daemons(stack: Up) -> None:
    found = stack.ask(AUTOMATION, s=SELECTOR)
    schedules = {it["name"]: it["scheduleState"]["status"] for it in found["schedulesOrError"]["results"]}
    sensors = {it["name"]: it["sensorState"]["status"] for it in found["sensorsOrError"]["results"]}
    assert {"RUNNING"} == set(schedules.values())
    assert {"market_hourly_schedule", "events_hourly_schedule"} <= set(schedules)
    assert {"RUNNING"} == set(sensors.values())
    assert {"market_derived_sensor", "events_sync_sensor", "events_derived_sensor"} <= set(sensors)

    def daemons() -> list[dict[str, Any]]:
        return list(stack.ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"])

    eventually(lambda: all(it["healthy"] for it in daemons() if it["required"]), explain=daemons)
    assert {"SCHEDULER", "SENSOR", "BACKFILL", "QUEUED_RUN_COORDINATOR", "MONITORING", "FRESHNESS_DAEMON"} <= {
        it["daemonType"] for it in daemons() if it["required"]
    }


def a_killed_code_location_comes_back(stack: Up) -> None:
    (location,) = [it for it in stack.processes("api", "grpc") if it.ppid() != 1]
    location.kill()
    eventually(lambda: "code-location ended and is started again" in stack.text(), explain=stack.text)
    eventually(lambda: [it for it in stack.processes("api", "grpc") if it.pid != location.pid])
    run = eventually(lambda: launched(stack, "market_snapshots_job"))
    assert "SUCCESS" == stack.ends(run)


def a_killed_intake_comes_back(stack: Up) -> None:
    """Killed alone, its worker goes with it; what it acknowledged is known to the new one."""
    before = stack.processes("ingestion_pipeline", "intake")
    (server,) = [it for it in before if it.ppid() not in {other.pid for other in before}]
    server.kill()
    eventually(lambda: "intake ended and is started again" in stack.text(), explain=stack.text)
    eventually(lambda: not set(before) & set(stack.processes("ingestion_pipeline", "intake")))

    def is_up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{stack.intake_port}/health").status_code == 200
        except httpx.TransportError:
            return False

    eventually(is_up, explain=stack.text)
    takes_events(stack, "duplicate")


def launched(stack: Up, job: str) -> str | None:
    """The id of a run, once the code location can be reached again."""
    try:
        return stack.launch(job)
    except (AssertionError, httpx.HTTPError):
        return None


def a_killed_run_fails_and_is_tried_again(stack: Up) -> None:
    tags = range_tags(DAYS[0] - timedelta(days=250), DAYS[0] - timedelta(days=10))
    run = stack.launch("market_daily_job", tags)
    messages: list[str] = []

    def process() -> psutil.Process | None:
        events = stack.ask(LOGS, id=run)["logsForRun"]["events"]
        messages[:] = [event["message"] for event in events if "message" in event]
        found = re.findall(r"Started process for run \(pid: (\d+)\)", "\n".join(messages))
        return psutil.Process(int(found[0])) if found and stack.status(run) == "STARTED" else None

    eventually(process, explain=lambda: messages).kill()
    assert "FAILURE" == stack.ends(run)
    parent = {"tags": [{"key": "dagster/parent_run_id", "value": run}]}
    (retry,) = eventually(lambda: stack.ask(RUNS, f=parent)["runsOrError"]["results"])
    assert "SUCCESS" == stack.ends(retry["runId"])


def the_backfill_has_built_every_partition(stack: Up, backfill: str) -> None:
    def status() -> dict[str, Any]:
        return dict(stack.ask(BACKFILL, id=backfill)["partitionBackfillOrError"])

    over = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
    eventually(lambda: status()["status"] in over, explain=status)
    assert "COMPLETED_SUCCESS" == status()["status"], status()
    monday = DAYS[0] - timedelta(days=DAYS[0].weekday())
    for node in assets(stack):
        name, ranges = node["assetKey"]["path"][-1], node["assetPartitionStatuses"].get("ranges")
        assert node["assetMaterializations"], name
        if ranges is not None:
            wanted = [monday] if name == "ohlc_weekly" else DAYS
            spans = [(it["startKey"][:10], it["endKey"][:10]) for it in ranges if it["status"] == "MATERIALIZED"]
            assert [] == [day for day in wanted if not any(a <= str(day) <= b for a, b in spans)], (name, spans)


def assets(stack: Up) -> list[dict[str, Any]]:
    keys = [{"path": ["market", name]} for name in MARKETS_ASSETS]
    return list(stack.ask(MATERIALIZED, k=keys)["assetNodes"])


def assets_become_fresh(stack: Up) -> None:
    """The daemon has seen the materializations: what was UNKNOWN is HEALTHY now."""
    states: dict[str, str] = {}

    def are_healthy() -> bool:
        found = {it["assetKey"]["path"][-1]: it["freshnessStatusInfo"]["freshnessStatus"] for it in assets(stack)}
        states.update(found)
        return set(found.values()) == {"HEALTHY"}

    eventually(are_healthy, explain=lambda: states)


def ends_at_sigterm(stack: Up) -> None:
    stack.process.send_signal(signal.SIGTERM)
    assert 0 == stack.process.wait(timeout=60), stack.text()
    assert ([], []) == (stack.processes(), stack.postgres())
    assert not (stack.home / "postgres" / "postmaster.pid").exists()
    assert os.listdir(stack.home)  # noqa: PTH208 - the data are still there
