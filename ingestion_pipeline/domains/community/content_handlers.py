"""What a job of type `rebuild_search` does, on the worker's side."""

from collections.abc import Mapping
from typing import Any

from ingestion_pipeline.core.jobs import JobType
from ingestion_pipeline.domains.community.content_jobs import REBUILD_SEARCH, NoInput
from ingestion_pipeline.domains.community.search_index import rebuild
from ingestion_pipeline.orchestration.jobs import JobContext, JobHandler


def rebuild_search(context: JobContext, _: NoInput) -> Mapping[str, Any]:
    """Makes the index anew; answers with how many documents it has."""
    return {"documents": rebuild(context.postgres, go_on=context.stop_if_cancelled)}


HANDLERS: Mapping[JobType, JobHandler] = {REBUILD_SEARCH: rebuild_search}
