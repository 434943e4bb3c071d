"""Runs whose process is gone: those that `demo` and `backfill` execute in their own process and a kill cut short.

Dagster's monitoring cannot see that such a process died; the run would stay STARTED for hours and hold a place in the
run queue. Belongs here: marking runs with their process, ending those whose process is gone. Does not belong here:
runs that Dagster's launcher started, which its own monitoring watches.
"""

import socket
from collections.abc import Mapping

import dagster as dg
import psutil

HOST_TAG, PID_TAG, STARTED_TAG = "ingestion/host", "ingestion/pid", "ingestion/process_started"


def process_tags() -> dict[str, str]:
    """Tags that name this process: host, process id, and when it started, since ids are used again."""
    process = psutil.Process()
    return {HOST_TAG: socket.gethostname(), PID_TAG: str(process.pid), STARTED_TAG: f"{process.create_time():.2f}"}


def fail_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Ends the unfinished runs of processes of this host that are gone; returns their ids."""
    filters = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING], tags={HOST_TAG: socket.gethostname()}
    )
    orphans = [record.dagster_run for record in instance.get_run_records(filters) if _is_gone(record.dagster_run.tags)]
    for run in orphans:
        instance.report_run_failed(run, f"process {run.tags[PID_TAG]} that executed this run is gone")
    return [run.run_id for run in orphans]


def _is_gone(tags: Mapping[str, str]) -> bool:
    try:
        process = psutil.Process(int(tags[PID_TAG]))
        return process.status() == psutil.STATUS_ZOMBIE or f"{process.create_time():.2f}" != tags[STARTED_TAG]
    except psutil.NoSuchProcess:
        return True
