"""The job that warms the cache. No behaviour; warming_handlers.py does it."""

import msgspec

from ingestion_pipeline.core.jobs import JobType


class CacheWarmingInput(msgspec.Struct, forbid_unknown_fields=True):
    """Which services are warmed: `macro`, `fundamentals`, `comps`, `market`; all of them without a list."""

    services: list[str] | None = None


CACHE_WARMING = JobType(
    name="cache_warming",
    summary="Loads macro series, fundamentals, comparable sales and market snapshots into the cache.",
    input_type=CacheWarmingInput,
    at_once=1,
)

JOB_TYPES = (CACHE_WARMING,)
UNIQUE_KEY = "cache-warming"
"""Of the job that schedule and cron ask for: one that is not finished is as good as a new one."""
