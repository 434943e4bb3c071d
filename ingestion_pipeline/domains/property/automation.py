"""When property data is ingested: deliveries within seconds, macro series hourly, everything with its checks daily.

All on by default.
"""

import dagster as dg

from ingestion_pipeline.domains.property.assets import DELIVERIES_JOB
from ingestion_pipeline.domains.property.contracts import COMPS_UPSERT, FUNDAMENTALS_UPSERT, MACRO_UPDATE
from ingestion_pipeline.domains.property.tables import COMPS, FUNDAMENTALS, MACRO_OBSERVATIONS
from ingestion_pipeline.orchestration.inbox import delivery_sensor
from ingestion_pipeline.orchestration.schedules import newest_tick_schedule, selection

HOURLY, DAILY = "10 * * * *", "30 6 * * *"
APPLYING = {FUNDAMENTALS_UPSERT: FUNDAMENTALS, COMPS_UPSERT: COMPS, MACRO_UPDATE: MACRO_OBSERVATIONS}

property_deliveries_job = dg.define_asset_job(
    DELIVERIES_JOB,
    selection=selection(*APPLYING.values()).without_checks(),
    description="Applies what was delivered: fundamentals, comparable sales, macro series.",
)
property_macro_job = dg.define_asset_job(
    "property_macro_job", selection=selection(MACRO_OBSERVATIONS), description="Macro series from FRED, with checks."
)
property_daily_job = dg.define_asset_job(
    "property_daily_job",
    selection=dg.AssetSelection.groups("property"),
    description="Every property asset with its checks: staleness of all markets, valuations, their accuracy.",
)


property_hourly_schedule = newest_tick_schedule(
    "property_hourly_schedule", property_macro_job, HOURLY, description="Macro series every hour."
)


property_daily_schedule = newest_tick_schedule(
    "property_daily_schedule", property_daily_job, DAILY, description="Every property asset once a day."
)


webhook_drop_sensor = delivery_sensor(
    "webhook_drop_sensor",
    property_deliveries_job,
    {event_type: dg.AssetKey(list(table.asset_key)) for event_type, table in APPLYING.items()},
)

JOBS = [property_deliveries_job, property_macro_job, property_daily_job]
SCHEDULES = [property_hourly_schedule, property_daily_schedule]
SENSORS = [webhook_drop_sensor]
