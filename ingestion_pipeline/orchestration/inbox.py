"""Sensors that turn pending deliveries into runs: one run takes all that are due, however many.

Belongs here: from due deliveries to a run request, for every domain. Does not belong here: how deliveries are claimed
and settled (storage/inbox.py), what is done with them (each domain's assets).
"""

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ingestion_pipeline.orchestration.runs import (
    SHORTEST_INTERVAL_SECONDS,
    URGENT,
    held_back,
)
from ingestion_pipeline.storage.inbox import due
from ingestion_pipeline.storage.postgres import Postgres


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
        if reason := held_back(context.instance, job.name):
            return reason
        keys = {keys_by_type[event_type] for event_type in waiting}
        return dg.RunRequest(asset_selection=sorted(keys), tags=URGENT)

    return sense
