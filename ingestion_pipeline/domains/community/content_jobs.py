"""The job that makes the search index anew. No behaviour; content_handlers.py does it."""

import msgspec

from ingestion_pipeline.core.jobs import JobType


class NoInput(msgspec.Struct, forbid_unknown_fields=True):
    """It takes nothing."""


REBUILD_SEARCH = JobType(
    name="rebuild_search",
    summary="Makes the search index of rules and crawl items anew; readers see the old one until it is whole.",
    input_type=NoInput,
    at_once=1,
    is_long=True,
)

JOB_TYPES = (REBUILD_SEARCH,)
UNIQUE_KEY = "rebuild-search"
"""Of the job that schedule and cron ask for: one that is not finished is as good as a new one."""
