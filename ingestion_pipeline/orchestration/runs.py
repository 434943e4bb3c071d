"""Runs jobs in this process, recorded in Dagster like any other run, and says what came of them.

Belongs here: what `demo` and `backfill` share. Does not belong here: which jobs a domain has (its automation.py), printing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import dagster as dg

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.orchestration.partitions import TimePartitions, monday, partition_length, range_tags

# Every event is recorded all the same; on the terminal only the outcome counts.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


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


def run_job(
    job: dg.JobDefinition, instance: dg.DagsterInstance, outcome: Outcome, *, tags: Mapping[str, str] | None = None
) -> bool:
    """Runs `job` to its end in this process and adds what it did to `outcome`; True if it succeeded."""
    result = job.execute_in_process(instance=instance, tags=dict(tags or {}), run_config=QUIET, raise_on_error=False)
    outcome.run_count += 1
    for event in result.all_events:
        _add_event(outcome, event)
    if not result.success:
        outcome.problems.extend(_problems(result, job))
    return result.success


def day_ranges(first: date, last: date, partitions: TimePartitions, *, per_run: int) -> Iterator[tuple[date, date]]:
    """The partitions that touch `first` to `last`, in ranges of at most `per_run`, oldest first.

    Oldest first, because statistics look back on earlier days.
    """
    length = partition_length(partitions)
    start = monday(first) if length.days > 1 else first
    while start <= last:
        end = min(start + (per_run - 1) * length, monday(last) if length.days > 1 else last)
        yield start, end
        start = end + length


def backfill(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    outcome: Outcome,
    *,
    window: Window,
    per_run: int,
    again: bool,
    on_range: Callable[[date, date, bool], None],
) -> bool:
    """Runs a partitioned job over the days of `window`; stops at the first range that fails.

    Args:
        job: Its assets share one daily or weekly partitions definition.
        instance: Where the runs are recorded.
        outcome: Grows with every run.
        window: Whole days.
        per_run: Partitions in one run.
        again: Build also what has been built: without it a broken-off backfill goes on where it stopped.
        on_range: Called after each range with its first and last day and whether it was skipped.
    """
    partitions: Any = job.partitions_def
    built = set() if again else _built(job, instance)
    for first, last in day_ranges(window.first_day, window.last_day, partitions, per_run=per_run):
        keys = {
            (first + i * partition_length(partitions)).isoformat()
            for i in range((last - first) // partition_length(partitions) + 1)
        }
        is_skipped = keys <= built
        if not is_skipped and not run_job(job, instance, outcome, tags=range_tags(first, last)):
            return False
        on_range(first, last, is_skipped)
    return True


def outdated(
    job: dg.JobDefinition, instance: dg.DagsterInstance, *, source: dg.AssetKey, window: Window, days: int
) -> Window | None:
    """The span of days, up to `days` after `window`, that `job` built before `source` was last built in `window`.

    None if there is none. It is read from what is recorded, so that a process killed before it could build them again
    leaves them to the next.
    """
    changed = _last_built(instance, source)
    newest = max((changed.get(day.isoformat(), 0) for day in window.days()), default=0)
    last = window.last_day + timedelta(days=days)
    later = [
        day
        for key in job.asset_layer.selected_asset_keys
        for day, built in _last_built(instance, key).items()
        if window.last_day < date.fromisoformat(day) <= last and built < newest
    ]
    return Window.of_days(*map(date.fromisoformat, (min(later), max(later)))) if later else None


def _last_built(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, int]:
    """Of each built partition, the place of its last materialization in the order of all events."""
    return instance.event_log_storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)


def _built(job: dg.JobDefinition, instance: dg.DagsterInstance) -> set[str]:
    """The partitions that every partitioned asset of `job` has."""
    graph = job.asset_layer.asset_graph
    keys = [key for key in job.asset_layer.selected_asset_keys if graph.get(key).is_partitioned]
    return set.intersection(*(set(instance.get_materialized_partitions(key)) for key in keys)) if keys else set()


def _add_event(outcome: Outcome, event: dg.DagsterEvent) -> None:
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
    elif event.event_type_value == "ASSET_CHECK_EVALUATION":
        evaluation: Any = event.event_specific_data
        asset = outcome.asset(evaluation.asset_key)
        if evaluation.passed:
            asset.checks_passed += 1
        elif evaluation.severity == dg.AssetCheckSeverity.WARN:
            asset.checks_warned += 1
        else:
            asset.checks_failed += 1
            why = f": {evaluation.description}" if evaluation.description else ""
            outcome.problems.append(f"check {evaluation.check_name} failed{why}")
    elif event.event_type_value == "STEP_SUCCESS" and event.step_key and not event.step_key.endswith("_checks"):
        step: Any = event.event_specific_data
        outcome.asset(dg.AssetKey(event.step_key.split("__"))).seconds += step.duration_ms / 1000


def _number(value: Any) -> float:
    return float(value.value) if value is not None else 0.0


def _problems(result: dg.ExecuteInProcessResult, job: dg.JobDefinition) -> list[str]:
    texts = []
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            failure: Any = event.event_specific_data
            said = failure.user_failure_data.description if failure.user_failure_data else None
            reason = said or (failure.error.message if failure.error else event.message) or "no reason given"
            texts.append(f"{event.step_key}: {reason.strip()}")
        elif event.event_type_value == "RESOURCE_INIT_FAILURE":
            resource: Any = event.event_specific_data
            texts.append(resource.error.message.strip())
    return texts or [f"{job.name} failed; see run {result.run_id}"]
