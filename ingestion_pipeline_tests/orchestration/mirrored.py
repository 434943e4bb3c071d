"""Freshness as Dagster's own daemon records it."""

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from ingestion_pipeline.core.clock import utc_now


def becomes(instance: dg.DagsterInstance, key: dg.AssetKey, state: FreshnessState) -> None:
    """Records the event that the freshness daemon records when an asset changes to `state`."""
    instance._report_runless_asset_event(
        FreshnessStateChange(
            key=key,
            new_state=state,
            previous_state=FreshnessState.UNKNOWN,
            state_change_timestamp=utc_now().timestamp(),
        )
    )
