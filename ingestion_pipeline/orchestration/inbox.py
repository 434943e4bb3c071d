"""Sensors that turn pending deliveries into runs: one run takes all that are due, however many.

Belongs here: from due deliveries to a run request, for every domain. Does not belong here: how deliveries are claimed
and settled (storage/inbox.py), what is done with them (each domain's assets).
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.orchestration.runs import SHORTEST_INTERVAL_SECONDS, TICK_SECONDS, URGENT, runs_going_on
from ingestion_pipeline.storage.inbox import due
from ingestion_pipeline.storage.postgres import Postgres

LONGEST_PAUSE_SECONDS = 300
_RUNS_LOOKED_AT = 8


def delivery_sensor(
    name: str, job: UnresolvedAssetJobDefinition, keys_by_type: Mapping[str, dg.AssetKey]
) -> dg.SensorDefinition:
    """A sensor, on by default, that asks for one run of `job` while deliveries are due and none is queued or going on.

    The run builds only the assets whose types are due. After runs that failed it waits longer each time, up to five
    minutes.
    """

    @dg.sensor(
        name=name,
        job=job,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=SHORTEST_INTERVAL_SECONDS,
        description=f"A run of {job.name} whenever deliveries wait to be applied and none is going on.",
    )
    def sense(
        context: dg.SensorEvaluationContext, postgres: dg.ResourceParam[Postgres]
    ) -> dg.RunRequest | dg.SkipReason:
        if not (waiting := due(postgres, list(keys_by_type))):
            return dg.SkipReason("no delivery is due")
        if runs_going_on(context.instance, job.name):
            return dg.SkipReason(f"a run is queued or going on; {sum(waiting.values())} deliveries are due")
        if (pause := _pause(context.instance, job.name, now=utc_now())) > 0:
            return dg.SkipReason(f"the last run failed; the next one in {pause:.0f} s")
        keys = {keys_by_type[event_type] for event_type in waiting}
        return dg.RunRequest(asset_selection=sorted(keys), tags=URGENT)

    return sense


def _pause(instance: dg.DagsterInstance, job_name: str, *, now: datetime) -> float:
    """Seconds to wait: 10, 20, 40 ... after the end of the first, second, third failure in a row."""
    failures, ended = 0, 0.0
    for record in instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=_RUNS_LOOKED_AT):
        if record.dagster_run.status != dg.DagsterRunStatus.FAILURE:
            break
        failures += 1
        ended = max(ended, record.end_time or record.update_timestamp.replace(tzinfo=UTC).timestamp())
    pause = min(LONGEST_PAUSE_SECONDS, TICK_SECONDS * 2**failures)
    return ended + pause - now.timestamp() if failures else 0.0
