"""What runs when: all on by default, rates and everything with its checks once a day, sums when the ledger changes."""

from datetime import date

import dagster as dg

from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.sales.automation import JOBS, SCHEDULES, SENSORS, sales_derived_sensor
from ingestion_pipeline.domains.sales.tables import EXCHANGE_RATES, TABLES
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import query, report, report_file, row, store


def built_by(job: str) -> set[str]:
    return {key.to_user_string() for key in defs.resolve_job_def(job).asset_layer.selected_asset_keys}


def test_everything_is_built_once_a_day_with_its_checks() -> None:
    """Freshness of an asset that nobody builds would fail for ever."""
    assert {table.path for table in TABLES} == built_by("sales_daily_job")
    steps = {node.name for node in defs.resolve_job_def("sales_daily_job").nodes}
    assert {f"{table.name}_checks" for table in TABLES} <= steps


def test_sums_do_not_wait_for_the_bank_nor_for_checks() -> None:
    """When reports came, what depends on them is built, and nobody is asked for rates."""
    assert {table.path for table in TABLES if table is not EXCHANGE_RATES} == built_by("sales_derived_job")
    assert 4 == len(defs.resolve_job_def("sales_derived_job").nodes)


def test_all_is_on_by_default() -> None:
    """No click is needed."""
    assert {"RUNNING"} == {it.default_status.value for it in (*SCHEDULES, *SENSORS)}
    assert ["sales_derived_job", "sales_daily_job"] == [it.name for it in JOBS]


def test_each_report_asks_for_a_run_until_its_months_are_built(
    postgres: Postgres, instance: dg.DagsterInstance
) -> None:
    def is_asked() -> bool:
        given = sales_derived_sensor(dg.build_sensor_context(instance=instance, resources={"postgres": postgres}))
        return isinstance(given, dg.RunRequest)

    for month in (3, 4, 5):
        store(postgres, report(row(date(2026, month, 5))), report_file(f"{month}"))
        assert [True, True] == [is_asked(), is_asked()]
        query(postgres, "select sales.build_daily(9), sales.build_monthly(9)")
        assert not is_asked()
