"""From a table's declaration to a Dagster asset: key, partitions, freshness, schema, retries, logging, errors.

`@table_asset(TABLE)` is the one way to make an asset; `@table_checks(TABLE, ...)` lives in checks.py beside it.
"""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
import structlog

from ingestion_pipeline.core.metrics import metrics
from ingestion_pipeline.core.tables import Column, Table
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.partitions import PARTITIONS
from ingestion_pipeline.orchestration.staleness import newest_place

Body = Callable[..., dg.MaterializeResult]

_TYPES = {"float": "double", "integer": "bigint", "timestamp": "timestamptz"}
_TRIGGERS = {
    "ingestion/job": "job",
    "dagster/backfill": "backfill",
    "dagster/schedule_name": "schedule",
    "dagster/sensor_name": "sensor",
}
_declared: dict[dg.AssetKey, Table] = {}
_STORE_KINDS = {"postgres": {"python", "postgres"}, "lake": {"python", "deltalake"}}


@dataclass(frozen=True)
class OwnCheck:
    """A check whose answer only the asset itself knows; on the table `bars` it is named `bars_<claim>`."""

    claim: str
    description: str

    def name_for(self, table: Table) -> str:
        return f"{table.name}_{self.claim}"


def table_asset(
    table: Table, *, deps: Sequence[Table | dg.AssetDep] = (), own_checks: Sequence[OwnCheck] = ()
) -> Callable[[Body], dg.AssetsDefinition]:
    """Makes the asset of `table` from a function that loads, calls a transform, stores and returns what it did.

    The function's name must be the table's; its docstring is the description in the UI.
    """

    def decorate(body: Body) -> dg.AssetsDefinition:
        if body.__name__ != table.name:
            raise ValueError(f"asset function {body.__name__} must be named {table.name}")

        _declared[dg.AssetKey(list(table.asset_key))] = table

        @functools.wraps(body)
        def guarded(context: dg.AssetExecutionContext, **resources: Any) -> dg.MaterializeResult:
            with log_context(context, table), counted(context, table, resources), explained_failures():
                place = newest_place(context.instance)  # before anything is read
                return body(context, **resources)._replace(data_version=dg.DataVersion(str(place)))

        return dg.asset(
            key=list(table.asset_key),
            deps=[_dep(dep) for dep in deps],
            group_name=table.domain,
            partitions_def=PARTITIONS[table.partitioning],
            backfill_policy=dg.BackfillPolicy.single_run() if table.partitioning != "none" else None,
            freshness_policy=freshness_policy(table),
            retry_policy=RETRY_POLICY,
            kinds=_STORE_KINDS[table.store],
            owners=[table.owner],
            tags=dict(table.tags),
            metadata=table_metadata(table),
            check_specs=[
                dg.AssetCheckSpec(check.name_for(table), asset=list(table.asset_key), description=check.description)
                for check in own_checks
            ],
        )(guarded)

    return decorate


def declared_table(key: dg.AssetKey) -> Table | None:
    """The declaration of an asset that `table_asset` has made; None of others."""
    return _declared.get(key)


def lookback(table: Table, *, days: int = 0) -> dg.AssetDep:
    """A dependency on `table`: on its partition and the `days` before it, or, without days, on the whole of it."""
    key = dg.AssetKey(list(table.asset_key))
    if not days:
        return dg.AssetDep(key)
    mapping = dg.TimeWindowPartitionMapping(start_offset=-days, allow_nonexistent_upstream_partitions=True)
    return dg.AssetDep(key, partition_mapping=mapping)


def freshness_policy(table: Table) -> dg.FreshnessPolicy | None:
    if table.freshness is None:
        return None
    return dg.FreshnessPolicy.time_window(
        fail_window=table.freshness.fail_after, warn_window=table.freshness.warn_after
    )


def table_metadata(table: Table) -> dict[str, Any]:
    """Schema with units, key and place of the table, as Dagster's UI shows them."""
    return {
        "dagster/column_schema": dg.TableSchema(columns=[_column(column, table) for column in table.columns]),
        "dagster/table_name": table.qualified_name,
        "key": ", ".join(table.key),
    }


@contextmanager
def log_context(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, table: Table) -> Iterator[None]:
    """Binds run id, asset and partition to every log line of the block."""
    tags = context.run.tags
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end") or first
    partition = first if first == last else f"{first}...{last}"
    with structlog.contextvars.bound_contextvars(run_id=context.run.run_id, asset=table.path, partition=partition):
        yield


@contextmanager
def counted(context: dg.AssetExecutionContext, table: Table, resources: Mapping[str, Any]) -> Iterator[None]:
    """Measures the block as one materialization; where it asks a provider, as one ingestion too (seed S1's names)."""
    started = time.perf_counter()
    outcome = "failure"
    try:
        yield
        outcome = "success"
    finally:
        seconds = time.perf_counter() - started
        metrics.histogram("asset_materialization_seconds", seconds, {"asset": table.path, "outcome": outcome})
        if "provider" in resources:
            labels = {"trigger": trigger(context.run.tags), "provider": resources["provider"].name}
            metrics.counter(f"ingestion_{outcome}_total", labels=labels)
            metrics.histogram("ingestion_duration_seconds", seconds, {**labels, "asset": table.path})


def trigger(tags: Mapping[str, str]) -> str:
    """What started a run: `job`, `backfill`, `schedule`, `sensor`, or `manual`."""
    return next((name for tag, name in _TRIGGERS.items() if tag in tags), "manual")


def _dep(dep: Table | dg.AssetDep) -> dg.AssetDep:
    return dg.AssetDep(dg.AssetKey(list(dep.asset_key))) if isinstance(dep, Table) else dep


def _column(column: Column, table: Table) -> dg.TableColumn:
    unit = f" [{column.unit}]" if column.unit else ""
    return dg.TableColumn(
        name=column.name,
        type=_TYPES.get(column.type, column.type),
        description=f"{column.description}{unit}",
        constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=table.key == (column.name,)),
    )
