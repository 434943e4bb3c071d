"""The Dagster process: every domain's definitions over the shared resources. Nothing else belongs here."""

import dagster as dg

from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.domains.community import content_handlers, rollup_handlers
from ingestion_pipeline.domains.community import definitions as community
from ingestion_pipeline.domains.events import definitions as events
from ingestion_pipeline.domains.market import definitions as market
from ingestion_pipeline.domains.market import handlers as market_handlers
from ingestion_pipeline.domains.operations import definitions as operations
from ingestion_pipeline.domains.operations.drop import drop_sensor
from ingestion_pipeline.domains.operations.warming_handlers import warming_handlers
from ingestion_pipeline.domains.property import definitions as property_data
from ingestion_pipeline.domains.property import handlers as property_handlers
from ingestion_pipeline.domains.sales import definitions as sales
from ingestion_pipeline.domains.sales import handlers as sales_handlers
from ingestion_pipeline.kinds import DELIVERY_TYPES, WARMERS
from ingestion_pipeline.orchestration.jobs import jobs_definitions
from ingestion_pipeline.orchestration.resources import RESOURCES
from ingestion_pipeline.settings import Settings

SETTINGS = Settings.from_environment()
configure_logging(SETTINGS.log_level, style=SETTINGS.log_format, secrets=SETTINGS.secrets())

HANDLERS = {
    **market_handlers.HANDLERS,
    **property_handlers.HANDLERS,
    **sales_handlers.HANDLERS,
    **content_handlers.HANDLERS,
    **rollup_handlers.HANDLERS,
    **warming_handlers(WARMERS),
}

defs = dg.Definitions.merge(
    market.defs,
    events.defs,
    property_data.defs,
    sales.defs,
    community.defs,
    operations.defs,
    jobs_definitions(HANDLERS),
    dg.Definitions(sensors=[drop_sensor(DELIVERY_TYPES)]),
    dg.Definitions(resources=RESOURCES, executor=dg.in_process_executor),
)
