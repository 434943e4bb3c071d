"""Sensors that build derived partitions again once what they were built from has changed, by whatever run.

Belongs here: from outdated partitions to run requests, for every domain. Does not belong here: what is outdated
(staleness.py), which jobs a domain has (its automation.py).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.orchestration.partitions import TimePartitions, range_tags
from ingestion_pipeline.orchestration.runs import runs_going_on
from ingestion_pipeline.orchestration.staleness import Builds, has_ended, spans

PARTITIONS_PER_RUN = 366


@dataclass(frozen=True)
class Derived:
    """A job that builds `tables`, which share `partitions`."""

    job: UnresolvedAssetJobDefinition
    tables: Sequence[Table]
    partitions: TimePartitions


def asset_keys(tables: Collection[Table]) -> set[dg.AssetKey]:
    return {dg.AssetKey(list(table.asset_key)) for table in tables}


def derived_sensor(
    name: str,
    derived: Sequence[Derived],
    *,
    waits_for: Collection[Table],
    description: str,
    pause: timedelta = timedelta(0),
) -> dg.SensorDefinition:
    """A sensor, on by default, that asks for a run for each sequence of ended partitions that are outdated.

    The running partition is a schedule's. One that reads what is outdated itself waits until that is built, so that one
    change has it built once. The same builds are asked for once a UTC day: a run that fails is not repeated with every
    tick, and not forgotten either.

    Args:
        name: Of the sensor.
        derived: The jobs, of this code location, that it may ask for.
        waits_for: While a run builds any of these tables, a job's or one started in the UI, it asks for nothing: what
            the run builds would be outdated again.
        description: Shown in the UI.
        pause: Between ticks that ask for runs: where late data trickles in, how often its day is built at most.
    """
    waiting = asset_keys(waits_for)

    @dg.sensor(
        name=name,
        jobs=[it.job for it in derived],
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
        description=description,
    )
    def sense(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        repository = context.repository_def
        if repository is None:
            raise ValueError(f"{name} is evaluated without its repository")
        if busy := sum(bool(waiting & _built(run, repository)) for run in runs_going_on(context.instance)):
            return dg.SkipReason(f"runs that build what it reads are queued or going on: {busy}")
        now = utc_now()
        if context.cursor and now < (again := datetime.fromisoformat(context.cursor) + pause):
            return dg.SkipReason(f"it asks no more often than every {pause}: from {again:%H:%M:%S} UTC on")
        requests, premature = _requests(context.instance, repository.asset_graph, derived, now=now)
        if requests and pause:
            context.update_cursor(now.isoformat())
        if premature and not requests:
            return dg.SkipReason(f"what {premature} outdated partition(s) read is to be built first")
        return requests or dg.SkipReason("nothing is older than what it was built from")

    return sense


def _requests(
    instance: dg.DagsterInstance, graph: BaseAssetGraph, derived: Sequence[Derived], *, now: datetime
) -> tuple[list[dg.RunRequest], int]:
    """The runs of what may be built now; how many outdated partitions have to wait."""
    builds, requests, premature = Builds(instance, graph), list[dg.RunRequest](), 0
    for it in derived:
        keys = asset_keys(it.tables)
        outdated = {day: place for day, place in builds.outdated(keys).items() if has_ended(it.partitions, day, now)}
        ready = outdated.keys() - (builds.premature(keys, now=now) if outdated else set())
        premature += len(outdated) - len(ready)
        for first, last in spans(ready, it.partitions, per_run=PARTITIONS_PER_RUN):
            newest = max(place for day, place in outdated.items() if first <= day <= last)
            state = f"{it.job.name}:{first}:{last}:{newest}:{now.date()}"
            requests.append(dg.RunRequest(run_key=state, job_name=it.job.name, tags=range_tags(first, last)))
    return requests, premature


def _built(run: dg.DagsterRun, repository: dg.RepositoryDefinition) -> set[dg.AssetKey]:
    """The assets that `run` builds: those that were chosen, else all of its job."""
    if run.asset_selection is not None:
        return set(run.asset_selection)
    if not repository.has_job(run.job_name):
        return set()
    return set(repository.get_job(run.job_name).asset_layer.selected_asset_keys)
