"""Runs jobs in this process, recorded in Dagster like any other run, and says what came of them; which runs go on.

Belongs here: what `demo` and `backfill` share, and what sensors that ask for runs share. Does not belong here: which
jobs a domain has (its automation.py), what is stale (staleness.py), printing.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from dagster._core.storage.tags import PRIORITY_TAG

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.orchestration.orphans import process_tags
from ingestion_pipeline.orchestration.partitions import TimePartitions, partitions_of, range_tags
from ingestion_pipeline.orchestration.staleness import Builds, spans

# Every event is recorded all the same; on the terminal only the outcome counts.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

GOING_ON = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
TICK_SECONDS = 5  # Dagster looks no more often
SHORTEST_INTERVAL_SECONDS = 1  # one of TICK_SECONDS is a moment too long for every other look: it would be 10 s
LONGEST_PAUSE_SECONDS = 300
_RUNS_LOOKED_AT = 8
URGENT = {PRIORITY_TAG: "5"}
"""Tags of runs that somebody waits for: before those of schedules and backfills that wait in the queue."""


@dataclass
class AssetOutcome:
    """What runs did to one asset."""

    rows: int = 0
    seconds: float = 0.0
    partitions: set[str] = field(default_factory=set)
    checks_passed: int = 0
    checks_warned: int = 0
    checks_failed: int = 0


@dataclass
class Outcome:
    """What runs did, per asset, and why any of them failed."""

    assets: dict[str, AssetOutcome] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    run_count: int = 0

    def asset(self, key: dg.AssetKey) -> AssetOutcome:
        return self.assets.setdefault(key.to_user_string(), AssetOutcome())


def runs_going_on(instance: dg.DagsterInstance, job_name: str | None = None) -> Sequence[dg.DagsterRun]:
    """The runs that are queued or not over yet: of one job, or of all."""
    return instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=GOING_ON))


def held_back(instance: dg.DagsterInstance, job_name: str, *others: str) -> dg.SkipReason | None:
    """Why a sensor asks for no run of a job now; None if nothing speaks against one.

    A run of it, or of `others` that do the same, is queued or going on; or its newest one failed.
    """
    if any(runs_going_on(instance, name) for name in (job_name, *others)):
        return dg.SkipReason("a run is queued or going on")
    return pause_after_failures(instance, job_name)


def pause_after_failures(instance: dg.DagsterInstance, job_name: str) -> dg.SkipReason | None:
    """Why there is to be no run of a job now: 10, 20, 40 ... up to 300 s after one, two, three failures in a row."""
    failures, ended = 0, 0.0
    for record in instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=_RUNS_LOOKED_AT):
        if record.dagster_run.status != dg.DagsterRunStatus.FAILURE:
            break
        failures += 1
        ended = max(ended, record.end_time or record.update_timestamp.replace(tzinfo=UTC).timestamp())
    pause = min(LONGEST_PAUSE_SECONDS, TICK_SECONDS * 2**failures)
    left = ended + pause - utc_now().timestamp()
    return dg.SkipReason(f"the last run failed; the next one in {left:.0f} s") if left > 0 else None


def run_job(
    job: dg.JobDefinition, instance: dg.DagsterInstance, outcome: Outcome, *, tags: Mapping[str, str] | None = None
) -> bool:
    """Runs `job` to its end in this process and adds what it did to `outcome`; True if it succeeded.

    Raises:
        KeyboardInterrupt: Ctrl-C during the run, which Dagster takes for a failure of the step.
    """
    tags = {**(tags or {}), **process_tags()}
    with _noticed_interrupts() as is_interrupted:
        result = job.execute_in_process(instance=instance, tags=tags, run_config=QUIET, raise_on_error=False)
    outcome.run_count += 1
    for event in result.all_events:
        _add_event(outcome, job, event)
    if is_interrupted():
        raise KeyboardInterrupt
    if not result.success:
        outcome.problems.extend(_problems(result, job))
    return result.success


def day_ranges(first: date, last: date, partitions: TimePartitions, *, per_run: int) -> Iterator[tuple[date, date]]:
    """The partitions that touch `first` to `last`, in ranges of at most `per_run`, oldest first.

    Oldest first, because statistics look back on earlier days.
    """
    days = partitions_of(partitions, first, last)
    for i in range(0, len(days), per_run):
        yield days[i], days[i : i + per_run][-1]


def backfill(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    outcome: Outcome,
    *,
    window: Window,
    per_run: int,
    again: bool,
    on_range: Callable[[date, date, bool], None],
    now: datetime | None = None,
) -> bool:
    """Runs a partitioned job over the days of `window`; stops at the first range that fails.

    Args:
        job: Its assets share one daily or weekly partitions definition.
        instance: Where the runs are recorded.
        outcome: Grows with every run.
        window: Whole days.
        per_run: Partitions in one run.
        again: Build also what is settled: without it a broken-off backfill goes on where it stopped.
        on_range: Called after each range with its first and last day and whether it was skipped.
        now: Which partitions have ended; the clock's by default.
    """
    partitions: Any = job.partitions_def
    builds = Builds(instance, job.asset_layer.asset_graph)
    for first, last in day_ranges(window.first_day, window.last_day, partitions, per_run=per_run):
        days = partitions_of(partitions, first, last)
        settled = set() if again else builds.settled(job.asset_layer.selected_asset_keys, days, now=now or utc_now())
        is_skipped = settled.issuperset(days)
        if not is_skipped and not run_job(job, instance, outcome, tags=range_tags(first, last)):
            return False
        on_range(first, last, is_skipped)
    return True


def outdated_spans(
    job: dg.JobDefinition, instance: dg.DagsterInstance, *, since: date, per_run: int
) -> list[tuple[date, date]]:
    """The partitions of `job` from `since` on that are older than what they read, as ranges for runs, oldest first.

    It is read from what is recorded, so that a process killed before it could build them again leaves them to the next.
    """
    partitions: Any = job.partitions_def
    found = Builds(instance, job.asset_layer.asset_graph).outdated(job.asset_layer.selected_asset_keys)
    return spans((day for day in found if day >= since), partitions, per_run=per_run)


def run_spans(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    outcome: Outcome,
    ranges: Iterable[tuple[date, date]],
    *,
    on_range: Callable[[date, date, bool], None],
) -> bool:
    """Runs a partitioned job over each of `ranges`; stops at the first that fails. `on_range` as in `backfill`."""
    for first, last in ranges:
        if not run_job(job, instance, outcome, tags=range_tags(first, last)):
            return False
        on_range(first, last, False)
    return True


def _add_event(outcome: Outcome, job: dg.JobDefinition, event: dg.DagsterEvent) -> None:
    if event.is_step_materialization:
        materialization = event.step_materialization_data.materialization
        asset = outcome.asset(materialization.asset_key)
        count = materialization.metadata.get("dagster/partition_row_count")
        if materialization.partition is None:
            asset.rows = int(_number(materialization.metadata.get("rows")))
        elif materialization.partition not in asset.partitions and count is not None:
            asset.rows += int(_number(count))
        if materialization.partition is not None:
            asset.partitions.add(materialization.partition)
    elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        evaluation = event.asset_check_evaluation_data
        asset = outcome.asset(evaluation.asset_key)
        if evaluation.passed:
            asset.checks_passed += 1
        elif evaluation.severity == dg.AssetCheckSeverity.WARN:
            asset.checks_warned += 1
        else:
            asset.checks_failed += 1
            why = f": {evaluation.description}" if evaluation.description else ""
            outcome.problems.append(f"check {evaluation.check_name} failed{why}")
    elif event.is_step_success and event.node_handle:
        definition = job.asset_layer.get_assets_def_for_node(event.node_handle)
        for key in definition.keys if definition else ():  # a step of checks has none
            outcome.asset(key).seconds += event.step_success_data.duration_ms / 1000


def _number(value: Any) -> float:
    return float(value.value) if value is not None else 0.0


def _problems(result: dg.ExecuteInProcessResult, job: dg.JobDefinition) -> list[str]:
    texts = []
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            said = failure.user_failure_data.description if failure.user_failure_data else None
            reason = said or (failure.error.message if failure.error else event.message) or "no reason given"
            texts.append(f"{event.step_key}: {reason.strip()}")
        elif event.is_resource_init_failure:
            resource: Any = event.event_specific_data
            texts.append(resource.error.message.strip())
    return texts or [f"{job.name} failed; see run {result.run_id}"]


@contextmanager
def _noticed_interrupts() -> Iterator[Callable[[], bool]]:
    """Tells of a SIGINT or SIGTERM during the block. Only the main thread gets those.

    Dagster handles both itself meanwhile, and forgets one that comes between two steps: the run then ends well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received, notice = socket.socketpair()
    with received, notice:
        received.setblocking(False)
        notice.setblocking(False)
        before = signal.set_wakeup_fd(notice.fileno(), warn_on_full_buffer=False)
        numbers = bytearray()
        try:
            yield lambda: not {signal.SIGINT, signal.SIGTERM}.isdisjoint(numbers)
        finally:
            signal.set_wakeup_fd(before)
            with suppress(BlockingIOError):
                numbers += received.recv(4096)
