"""The Dagster process: every domain's definitions over the shared resources. Nothing else belongs here."""

import dagster as dg

from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.events import definitions as events
from ingestion_pipeline.domains.market import definitions as market
from ingestion_pipeline.domains.operations import definitions as operations
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.settings import Settings

SETTINGS = Settings.from_environment()
configure_logging(SETTINGS.log_level, style=SETTINGS.log_format, secrets=SETTINGS.secrets())

defs = dg.Definitions.merge(
    market.defs,
    events.defs,
    operations.defs,
    dg.Definitions(resources=RESOURCES, executor=dg.in_process_executor),
)
