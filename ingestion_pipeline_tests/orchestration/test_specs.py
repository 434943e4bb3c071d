"""A table's declaration becomes an asset; nothing about it is written twice."""

import logging
from datetime import date, timedelta

import dagster as dg
import pytest
import structlog
import yaml

from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.core.tables import Column, Freshness, Table
from ingestion_pipeline.orchestration.partitions import DAILY, range_tags
from ingestion_pipeline.orchestration.specs import (
    declared_table,
    freshness_policy,
    lookback,
    table_asset,
    table_metadata,
)
from ingestion_pipeline.orchestration.staleness import newest_place, read_places
from ingestion_pipeline.providers.mock import MockProvider
from ingestion_pipeline.settings import PROJECT_ROOT

TOYS = Table(
    domain="toy",
    name="toys",
    store="lake",
    key=("toy_id",),
    partitioning="daily",
    partition_column="day",
    freshness=Freshness(warn_after=timedelta(hours=2), fail_after=timedelta(hours=5)),
    columns=(
        Column("toy_id", "integer", "Number of the toy"),
        Column("weight", "float", "How heavy", "kg", True),
        Column("made_at", "timestamp", "When it was made", "UTC"),
        Column("day", "date", "UTC day"),
    ),
)
PAINTS = Table(
    domain="toy",
    name="paints",
    store="lake",
    key=("day",),
    partitioning="daily",
    partition_column="day",
    columns=(Column("day", "date", "UTC day"),),
)
PARTS = Table(domain="toy", name="parts", store="postgres", key=("part",), columns=(Column("part", "text", "Name"),))


@table_asset(TOYS, deps=[PARTS, lookback(PAINTS, days=3)])
def toys(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """One row per toy."""
    return dg.MaterializeResult(metadata={"bound": {**structlog.contextvars.get_contextvars()}})


@table_asset(PAINTS)
def paints(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """While it reads something else is built: it reports the same days of another asset."""
    for day in context.partition_keys:
        context.instance.report_runless_asset_event(dg.AssetMaterialization(["toy", "sands"], partition=day))
    return dg.MaterializeResult()


def test_how_far_a_step_has_read_is_what_was_recorded_before_it_began() -> None:
    """All its days say so: what is built while it reads has a later place."""
    days = ["2026-03-02", "2026-03-03"]
    job = dg.Definitions([paints], jobs=[dg.define_asset_job("p", [paints])]).resolve_job_def("p")
    with dg.DagsterInstance.ephemeral() as instance:
        before = newest_place(instance)
        tags = range_tags(date.fromisoformat(days[0]), date.fromisoformat(days[1]))
        assert job.execute_in_process(instance=instance, tags=tags).success
        places = instance.event_log_storage.get_latest_storage_id_by_partition(
            dg.AssetKey(["toy", "sands"]), dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        read = {str(day): place for day, place in read_places(instance, paints.key).items()}
    assert set(days) == set(places) == set(read)
    assert all(before <= read[day] < min(places.values()) for day in days)


def test_an_asset_is_what_its_table_says() -> None:
    """Key, group, partitions, owner, kinds, description, freshness; a range is one run; a failed step is tried again."""
    spec = toys.get_asset_spec()
    assert ["toy", "toys"] == spec.key.path
    assert ("toy", DAILY, ["team:data"], "One row per toy.") == (
        spec.group_name,
        spec.partitions_def,
        list(spec.owners),
        spec.description,
    )
    assert {"python", "deltalake"} == spec.kinds
    assert dg.BackfillPolicy.single_run() == toys.backfill_policy
    assert dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=5), warn_window=timedelta(hours=2)
    ) == freshness_policy(TOYS)
    assert freshness_policy(TOYS) == spec.freshness_policy
    assert toys.op.retry_policy is not None


def test_the_schema_in_the_ui_has_types_units_and_constraints() -> None:
    """Column by column, in the order of the table."""
    metadata = table_metadata(TOYS)
    columns = metadata["dagster/column_schema"].columns
    assert [
        ("toy_id", "bigint", "Number of the toy", False, True),
        ("weight", "double", "How heavy [kg]", True, False),
        ("made_at", "timestamptz", "When it was made [UTC]", False, False),
        ("day", "date", "UTC day", False, False),
    ] == [(it.name, it.type, it.description, it.constraints.nullable, it.constraints.unique) for it in columns]
    assert ("toy.toys", "toy_id") == (metadata["dagster/table_name"], metadata["key"])


def test_lookback_maps_a_day_to_the_days_before_it() -> None:
    """Without days, the whole table."""
    deps = {dep.asset_key.to_user_string(): dep.partition_mapping for dep in toys.get_asset_spec().deps}
    assert deps["toy/paints"] == dg.TimeWindowPartitionMapping(
        start_offset=-3, allow_nonexistent_upstream_partitions=True
    )
    assert deps["toy/parts"] is None
    assert lookback(TOYS).partition_mapping is None


def test_a_function_by_another_name_is_refused() -> None:
    """Asset, table and function have one name."""

    def dolls(context: dg.AssetExecutionContext) -> dg.MaterializeResult: ...

    with pytest.raises(ValueError, match="asset function dolls must be named toys"):
        table_asset(TOYS)(dolls)


@pytest.mark.parametrize(
    ("tags", "partition"),
    [
        ({"dagster/partition": "2025-03-01"}, "2025-03-01"),
        (
            {"dagster/asset_partition_range_start": "2025-03-01", "dagster/asset_partition_range_end": "2025-03-03"},
            "2025-03-01...2025-03-03",
        ),
    ],
)
def test_log_lines_of_a_run_know_run_asset_and_partition(
    instance: dg.DagsterInstance, tags: dict[str, str], partition: str
) -> None:
    """Bound inside the asset, gone after it."""
    job = dg.Definitions([toys], jobs=[dg.define_asset_job("toy", [toys])]).resolve_job_def("toy")
    run = job.execute_in_process(instance=instance, tags=tags)
    (first, *_) = run.asset_materializations_for_node("toy__toys")
    assert {"run_id": run.run_id, "asset": "toy/toys", "partition": partition} == first.metadata["bound"].value
    assert {} == structlog.contextvars.get_contextvars()


def test_log_lines_outside_partitions_have_none(instance: dg.DagsterInstance) -> None:
    """A snapshot has no partition."""

    @table_asset(PARTS)
    def parts(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"bound": {**structlog.contextvars.get_contextvars()}})

    run = dg.materialize([parts], instance=instance)
    (found,) = run.asset_materializations_for_node("toy__parts")
    assert {"run_id": run.run_id, "asset": "toy/parts", "partition": None} == found.metadata["bound"].value


def test_log_lines_of_a_run_are_in_its_event_log() -> None:
    """As dagster.yaml asks: with run, asset, partition and market, readable in the UI."""
    log = structlog.get_logger("ingestion_pipeline.toys")

    @table_asset(TOYS)
    def toys(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        log.warning("rows rejected", market="BTC-USD", rows=3, api_key="geheim42")
        return dg.MaterializeResult()

    python_logs = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())["python_logs"]
    with dg.DagsterInstance.ephemeral(settings={"python_logs": python_logs}) as instance:
        run = dg.materialize([toys], partition_key="2025-03-01", instance=instance)
        entries = [record.event_log_entry for record in instance.get_records_for_run(run.run_id).records]
    (line,) = [entry for entry in entries if "rows rejected" in entry.user_message]
    assert ("toy__toys", logging.WARNING) == (line.step_key, line.level)
    for fact in (run.run_id, "toy/toys", "2025-03-01", "BTC-USD"):
        assert fact in line.user_message
    assert "geheim42" not in line.user_message


def measured() -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """What this process has measured since the last time: counts of histograms, values of counters."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for one in metrics.take():
        found.setdefault(one.name, {})[one.labels] = one.sample_count if one.type == "histogram" else one.value
    return found


@pytest.mark.parametrize(
    ("tags", "trigger"),
    [
        ({}, "manual"),
        ({"dagster/schedule_name": "market_hourly_schedule"}, "schedule"),
        ({"dagster/sensor_name": "events_sync_sensor"}, "sensor"),
        ({"dagster/sensor_name": "operations_jobs_sensor", "ingestion/job": "1"}, "job"),
    ],
)
def test_a_materialization_is_measured_by_outcome_and_an_ingestion_by_trigger_and_provider(
    instance: dg.DagsterInstance, tags: dict[str, str], trigger: str
) -> None:
    """Under the seed's names; only who asks a provider ingests."""

    @table_asset(PARTS)
    def parts(context: dg.AssetExecutionContext, provider: dg.ResourceParam[MockProvider]) -> dg.MaterializeResult:
        if context.run.tags.get("fails"):
            raise dg.Failure("no parts", allow_retries=False)
        return dg.MaterializeResult()

    measured()
    resources = {"provider": MockProvider()}
    for more in ({}, {"fails": "yes"}):
        dg.materialize([parts], instance=instance, tags=tags | more, resources=resources, raise_on_error=False)
    found = measured()
    labels = (("provider", "mock"), ("trigger", trigger))
    assert {labels: 1.0} == found["ingestion_success_total"] == found["ingestion_failure_total"]
    assert {(("asset", "toy/parts"), *labels): 2} == found["ingestion_duration_seconds"]
    assert {
        (("asset", "toy/parts"), ("outcome", "success")): 1,
        (("asset", "toy/parts"), ("outcome", "failure")): 1,
    } == found["asset_materialization_seconds"]
    dg.materialize([toys], partition_key="2025-03-01", instance=instance)
    assert {"asset_materialization_seconds"} == set(measured())


def test_an_asset_knows_its_declaration() -> None:
    """For whoever holds only the key, as the mirror of freshness does."""
    assert TOYS == declared_table(dg.AssetKey(["toy", "toys"]))
    assert declared_table(dg.AssetKey(["toy", "nothing"])) is None
