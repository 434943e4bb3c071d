"""Runs whose process is gone are ended; those of living processes and of Dagster's launcher are left alone."""

import subprocess
import sys
from collections.abc import Mapping

import dagster as dg

from ingestion_pipeline.orchestration.orphans import HOST_TAG, PID_TAG, STARTED_TAG, fail_orphans, process_tags


def started(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> str:
    @dg.job
    def nothing() -> None: ...

    run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED, tags=dict(tags))
    return run.run_id


def tags_of_a_process_that_ended() -> dict[str, str]:
    code = "from ingestion_pipeline.orchestration.orphans import process_tags; print(process_tags())"
    output = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return eval(output.stdout)  # our own dictionary


def test_a_run_of_a_killed_process_is_ended_and_others_are_not(instance: dg.DagsterInstance) -> None:
    """By host, number and start time of the process."""
    mine = process_tags()
    runs = {
        "gone": started(instance, tags_of_a_process_that_ended()),
        "number used again": started(instance, mine | {STARTED_TAG: "1.00"}),
        "alive": started(instance, mine),
        "elsewhere": started(instance, mine | {HOST_TAG: "another-host", PID_TAG: "999999"}),
        "launched": started(instance, {}),
    }
    ended = fail_orphans(instance)
    assert {runs["gone"], runs["number used again"]} == set(ended)
    statuses = {name: instance.get_run_by_id(run_id).status for name, run_id in runs.items()}
    assert {
        "gone": dg.DagsterRunStatus.FAILURE,
        "number used again": dg.DagsterRunStatus.FAILURE,
        "alive": dg.DagsterRunStatus.STARTED,
        "elsewhere": dg.DagsterRunStatus.STARTED,
        "launched": dg.DagsterRunStatus.STARTED,
    } == statuses
    for run_id in (runs["alive"], runs["elsewhere"], runs["launched"]):
        instance.delete_run(run_id)
