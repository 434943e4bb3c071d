"""The job that warms the cache. No behaviour; warming_handlers.py does it."""

from typing import Any

import msgspec

from ingestion_pipeline.core.errors import ContractError
from ingestion_pipeline.core.jobs import JobType

SERVICES = ("macro", "fundamentals", "comps", "market", "leaderboards")
"""Those of all domains' warmers."""


class CacheWarmingInput(msgspec.Struct, forbid_unknown_fields=True):
    """Which of SERVICES are warmed; all of them without a list."""

    services: list[str] | None = None


def require_known(given: CacheWarmingInput, _: str | None, __: Any) -> None:
    """Refuses services that nobody warms."""
    for index, service in enumerate(given.services or ()):
        if service not in SERVICES:
            raise ContractError("cache_warming", f"input_data.services[{index}]", service, " or ".join(SERVICES))


CACHE_WARMING = JobType(
    name="cache_warming",
    summary="Loads macro series, fundamentals, comparable sales and market snapshots into the cache.",
    input_type=CacheWarmingInput,
    at_once=1,
    check=require_known,
)

JOB_TYPES = (CACHE_WARMING,)
UNIQUE_KEY = "cache-warming"
"""Of the job that schedule and cron ask for: one that is not finished is as good as a new one."""
