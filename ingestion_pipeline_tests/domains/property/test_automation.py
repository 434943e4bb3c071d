"""What runs when: on by default, deliveries without checks, everything with its checks once a day."""

import dagster as dg

from ingestion_pipeline.domains.property import definitions
from ingestion_pipeline.domains.property.automation import APPLYING, SCHEDULES, SENSORS
from ingestion_pipeline.domains.property.contracts import DELIVERY_TYPES
from ingestion_pipeline.domains.property.tables import TABLES

STAND_INS = {name: dg.ResourceDefinition.none_resource() for name in ("settings", "postgres", "cache", "lake", "fred")}
DEFS = dg.Definitions.merge(definitions.defs, dg.Definitions(resources=STAND_INS, executor=dg.in_process_executor))

DEFS_JOBS = ("property_deliveries_job", "property_macro_job", "property_daily_job")


def built_by(job: str) -> set[str]:
    return {key.to_user_string() for key in DEFS.resolve_job_def(job).asset_layer.selected_asset_keys}


def test_every_type_of_delivery_has_an_asset_that_applies_it() -> None:
    """None waits for ever."""
    assert set(DELIVERY_TYPES) == set(APPLYING)
    assert {table.path for table in APPLYING.values()} == built_by("property_deliveries_job")


def test_everything_is_built_once_a_day() -> None:
    """Freshness of an asset that nobody builds would fail for ever; FRED is asked every hour."""
    assert {table.path for table in TABLES} <= built_by("property_daily_job")
    assert {"property/macro_observations"} == built_by("property_macro_job")
    assert {"10 * * * *", "30 6 * * *"} == {it.cron_schedule for it in SCHEDULES}


def test_deliveries_do_not_wait_for_checks() -> None:
    """Those run with the hourly and the daily job."""
    steps = {job: {node.name for node in DEFS.resolve_job_def(job).nodes} for job in DEFS_JOBS}
    assert {f"property__{table.name}" for table in APPLYING.values()} == steps["property_deliveries_job"]
    assert 3 == len(steps["property_macro_job"])
    assert {f"{table.name}_checks" for table in TABLES} <= steps["property_daily_job"]


def test_all_is_on_by_default() -> None:
    """No click is needed."""
    assert {"RUNNING"} == {it.default_status.value for it in (*SCHEDULES, *SENSORS)}
    assert ["webhook_drop_sensor"] == [it.name for it in SENSORS]
