"""What Dagster is given, as a text that a reviewer reads: test_definitions.txt.

After a change that is meant:  python -m ingestion_pipeline_tests.test_definitions > ingestion_pipeline_tests/test_definitions.txt
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value

from ingestion_pipeline.definitions import defs
from ingestion_pipeline.orchestration.partitions import DAILY
from ingestion_pipeline.orchestration.specs import declared_table
from ingestion_pipeline.settings import PROJECT_ROOT, Settings, child_environment
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.migrate import ensure_database
from ingestion_pipeline.storage.postgres import normalised_url

SNAPSHOT = Path(__file__).with_suffix(".txt")
REPOSITORY = defs.get_repository_def()
GRAPH = REPOSITORY.asset_graph
CANARY = "geheim42"
SECRETS = {
    "DATABASE_URL": f"postgresql://worker:{CANARY}@db.example.org/ingestion",
    "DAGSTER_PG_URL": f"postgresql+psycopg2://dagster:{CANARY}@db.example.org/dagster",
    "REDIS_URL": f"redis://:{CANARY}@redis.example.org",
    "ALERT_WEBHOOK_URL": f"https://hooks.example.org/{CANARY}",
    "COINGECKO_API_KEY": CANARY,
    "CRON_SECRET": CANARY,
    "INTAKE_DATABASE_URL": f"postgresql://intake:{CANARY}@db.example.org/ingestion",
    "INTAKE_PASSWORD": CANARY,
    "INGEST_APP_TOKEN": CANARY,
    "JWT_SECRET": CANARY * 4,
    "REDSHIFT_PASSWORD": CANARY,
    "FRED_API_KEY": CANARY,
    "WEBHOOK_SECRET": CANARY * 2,
    "WEBHOOK_SECRETS": f"acme={CANARY * 2}",
    "ALERT_TARGETS": f"json://{CANARY}.example.org",
    "GUMROAD_ACCESS_TOKEN": CANARY,
    "GUMROAD_PING_SECRET": CANARY * 2,
    "STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY * 2},whsec_{CANARY * 3}",
}


def snapshot() -> str:
    """Everything of the code location that somebody relies on, one line a fact."""
    return "\n".join([*_assets(), *_checks(), *_jobs(), *_schedules(), *_sensors()]) + "\n"


def _assets() -> Iterator[str]:
    for key in sorted(GRAPH.get_all_asset_keys()):
        node = GRAPH.get(key)
        spec = node.assets_def.get_asset_spec(key)
        yield f"asset {key.to_user_string()}: {_partitions(node.partitions_def)}, {', '.join(sorted(spec.kinds))}"
        yield from sorted(f"  reads {dep.asset_key.to_user_string()}{_mapping(dep)}" for dep in spec.deps)
        policy: Any = node.freshness_policy
        if policy:
            yield f"  warns after {_hours(policy.warn_window)}, fails after {_hours(policy.fail_window)}"


def _checks() -> Iterator[str]:
    for key in sorted(GRAPH.asset_check_keys):
        blocks = ", blocks" if GRAPH.get(key).blocking else ""
        yield f"check {key.asset_key.to_user_string()} {key.name}{blocks}"


def _jobs() -> Iterator[str]:
    for job in sorted(REPOSITORY.get_all_jobs(), key=lambda job: job.name):
        if job.name.startswith("__"):  # Dagster's own
            continue
        keys = sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys)
        yield f"job {job.name}: {_partitions(job.partitions_def)}, {', '.join(keys) or 'no assets'}"


def _schedules() -> Iterator[str]:
    for it in sorted(REPOSITORY.schedule_defs, key=lambda it: it.name):
        yield f"schedule {it.name}: {it.job_name} at {it.cron_schedule} UTC, {it.default_status.value}"


def _sensors() -> Iterator[str]:
    for it in sorted(REPOSITORY.sensor_defs, key=lambda it: it.name):
        kind = it.sensor_type.value.lower()
        yield f"sensor {it.name}: {kind}, every {it.minimum_interval_seconds} s, {it.default_status.value}"


def _partitions(partitions: dg.PartitionsDefinition | None) -> str:
    if partitions is None:
        return "no partitions"
    return f"{'daily' if partitions == DAILY else 'weekly'} from {partitions.get_first_partition_key()}"


def _mapping(dep: dg.AssetDep) -> str:
    mapping: Any = dep.partition_mapping
    return f" from {-mapping.start_offset} days before" if mapping else ""


def _hours(delta: Any) -> str:
    return f"{delta.to_timedelta().total_seconds() / 3600:g} h"


def test_definitions_are_those_that_were_reviewed() -> None:
    """A changed key, dependency, cadence or check is a visible line in a diff."""
    assert SNAPSHOT.read_text() == snapshot()


def test_no_dependency_is_misspelt() -> None:
    """An asset that only a dependency or a check names would be a silent stub."""
    tags = {key.to_user_string(): dict(GRAPH.get(key).metadata) for key in GRAPH.get_all_asset_keys()}
    assert [] == [key for key, metadata in tags.items() if "dagster/auto_created_stub_asset" in metadata]
    assert {True} == {GRAPH.get(key).is_executable for key in GRAPH.get_all_asset_keys()}


def test_a_stub_would_be_found() -> None:
    """The test above can fail."""

    @dg.asset(deps=["misspelt"])
    def reader() -> None: ...

    graph = dg.Definitions([reader]).get_repository_def().asset_graph
    assert "dagster/auto_created_stub_asset" in graph.get(dg.AssetKey("misspelt")).metadata


def test_everything_runs_without_a_click() -> None:
    """Schedules and sensors are on from the first start."""
    statuses = {it.name: it.default_status.value for it in [*REPOSITORY.schedule_defs, *REPOSITORY.sensor_defs]}
    assert dict.fromkeys(statuses, "RUNNING") == statuses
    assert len(statuses) >= 6


NAMELESS = """
asset_class base_asset base_symbol browser calendar caller comp_id country currency device_type
dispute_status document_id donations_net edition_id event_category event_id event_type external_id format funnel id
job_id kind market_slug method_version metric natural_key operating_system payment_intent period platform
prediction_id property_type provenance provider quote_asset quote_symbol reason royalty_type rule_id scope series_id
sheet source source_id source_report source_sha256 state status storefront superseded_by symbol time_adjustment
title_id transaction_type uncounted_reason unit url user_role
market/markets.name property/comps.address sales/sales_daily.title sales/sales_events.title sales/sales_monthly.title
"""
"""Columns of text, of any table or of one, that say nothing of a person: no names, no words that a person wrote."""


def test_no_text_is_shown_that_may_be_a_persons() -> None:
    """Dagster keeps what it shows, out of the reach of an erasure: a text is in NAMELESS or in its table's `personal`."""
    tables = [table for key in GRAPH.get_all_asset_keys() if (table := declared_table(key)) is not None]
    texts = {
        (f"{table.path}.{column.name}", column.name, column.name in table.personal)
        for table in tables
        for column in table.columns
        if column.type in ("text", "json")
    }
    shown, nameless = {(path, name) for path, name, is_personal in texts if not is_personal}, set(NAMELESS.split())
    assert [] == sorted(path for path, name in shown if not {path, name} & nameless)
    assert [] == sorted(nameless - {it for found in shown for it in found})


def test_every_asset_says_when_it_is_stale() -> None:
    """All of them are served to somebody."""
    assert [] == [key for key in GRAPH.get_all_asset_keys() if GRAPH.get(key).freshness_policy is None]


def test_every_asset_is_built_by_a_schedule() -> None:
    """Freshness of an asset that nobody builds would fail for ever."""
    scheduled = {
        key
        for schedule in REPOSITORY.schedule_defs
        for key in REPOSITORY.get_job(schedule.job_name).asset_layer.selected_asset_keys
    }
    assert GRAPH.get_all_asset_keys() == scheduled


def test_definitions_can_be_loaded_and_every_run_is_one_process() -> None:
    """Jobs resolve, resources are there, each job has the in-process executor, implicit ones too."""
    dg.Definitions.validate_loadable(defs)
    assert {"in_process"} == {job.executor_def.name for job in REPOSITORY.get_all_jobs()}


def test_every_run_of_a_range_is_a_single_run() -> None:
    """A backfill of a year is a few runs, not one a day."""
    partitioned = [GRAPH.get(key) for key in GRAPH.get_all_asset_keys() if GRAPH.get(key).is_partitioned]
    assert {dg.BackfillPolicy.single_run()} == {node.backfill_policy for node in partitioned}


PRINT_SNAPSHOT = """
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value
from ingestion_pipeline.definitions import defs
from ingestion_pipeline.settings import Settings

assert Settings.from_environment().cron_secret.get_secret_value() == "geheim42"
print(serialize_value(RepositorySnap.from_def(defs.get_repository_def())))
"""


def test_no_secret_is_in_what_the_ui_reads() -> None:
    """The repository's snapshot, which Dagster stores and shows, knows none of the environment's secrets."""
    shown = subprocess.run(
        [sys.executable, "-c", PRINT_SNAPSHOT],
        env=child_environment(SECRETS),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "market_daily_job" in shown.stdout
    assert CANARY not in shown.stdout + shown.stderr


def test_a_secret_in_the_configuration_would_be_found() -> None:
    """The test above can fail: a resource with a literal shows it."""

    class Store(dg.ConfigurableResource):
        url: str

    leaky = dg.Definitions(resources={"store": Store(url=f"postgresql://{CANARY}@host/db")}).get_repository_def()
    assert CANARY in serialize_value(RepositorySnap.from_def(leaky))


@pytest.fixture
def dagster_home(server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment that dagster.yaml reads, with a database of Dagster's own."""
    ensure_database(server.url(), "dagster_of_definitions")
    url = normalised_url(server.url(database="dagster_of_definitions"), driver="psycopg2")
    monkeypatch.setenv("DAGSTER_PG_URL", url)
    monkeypatch.setenv("DAGSTER_ARTIFACTS", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(PROJECT_ROOT))
    return tmp_path


def test_the_instance_is_configured_for_unattended_use(dagster_home: Path) -> None:
    """dagster.yaml loads; freshness, run monitoring, retries and limits are what the runbook says."""
    with dg.DagsterInstance.get() as instance:
        assert "PostgresEventLogStorage" == type(instance.event_log_storage).__name__
        given = {name: instance.get_settings(name) for name in ("freshness", "run_monitoring", "run_retries")}
        assert {
            "freshness": {"enabled": True},
            "run_monitoring": {
                "enabled": True,
                "poll_interval_seconds": 10,
                "start_timeout_seconds": 120,
                "max_runtime_seconds": 14_400,
                "free_slots_after_run_end_seconds": 5,
            },
            "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
        } == given
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert instance.freshness_enabled
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert ["ingestion_pipeline"] == instance.managed_python_loggers
        assert str(dagster_home) in str(instance.compute_log_manager._base_dir)
        assert 4 == instance.get_concurrency_config().run_queue_config.max_concurrent_runs


def test_the_instance_reads_its_addresses_from_the_environment() -> None:
    """No file in the checkout names a database or a folder."""
    text = (PROJECT_ROOT / "dagster.yaml").read_text()
    assert {"env": "DAGSTER_PG_URL"} == yaml.safe_load(text)["storage"]["postgres"]["postgres_url"]
    assert "://" not in text
    assert json.dumps(Settings.from_environment().ingestion_home.name) not in text


if __name__ == "__main__":
    sys.stdout.write(snapshot())
