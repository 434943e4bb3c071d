"""The asset says which days have changed; the sensor asks for runs; the checks notice what is wrong."""

import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.dirty_days import dirty_days
from ingestion_pipeline.domains.community.donations_assets import ASSETS
from ingestion_pipeline.domains.community.donations_automation import (
    JOBS,
    SCHEDULES,
    SENSORS,
    community_donations_sensor,
)
from ingestion_pipeline.domains.community.donations_checks import CHECKS, COMPARED, differing
from ingestion_pipeline.domains.community.donations_ledger import apply_donations
from ingestion_pipeline.domains.community.donations_tables import DONATIONS
from ingestion_pipeline.orchestration.partitions import range_tags
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import python
from ingestion_pipeline_tests.command import SECONDS
from ingestion_pipeline_tests.domains.community.stripe_events import (
    PAID_AT,
    charge_refunded,
    deliver,
    intent,
    rows_of,
    session,
)

KEY = dg.AssetKey(list(DONATIONS.asset_key))
TODAY = datetime.now(UTC)
NOW = int(TODAY.timestamp()) - PAID_AT


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def built(instance: dg.DagsterInstance, postgres: Postgres, day: str = "2026-03-05") -> dg.ExecuteInProcessResult:
    result = dg.materialize([*ASSETS], instance=instance, partition_key=day, resources={"postgres": postgres})
    assert result.success
    return result


def days_reported(instance: dg.DagsterInstance) -> dict[str, list[Any]]:
    """Of each day that was reported as built, oldest first: how many rows it had."""
    found: dict[str, list[Any]] = {}
    for record in reversed(instance.fetch_materializations(KEY, limit=100).records):
        assert record.partition_key is not None
        metadata = record.asset_materialization.metadata  # type: ignore[union-attr]
        found.setdefault(record.partition_key, []).append(metadata["dagster/partition_row_count"].value)
    return found


def broken(postgres: Postgres, instance: dg.DagsterInstance) -> dict[str, tuple[int, str]]:
    """The checks that did not pass: how many rows broke them and how severe that is."""
    result = dg.materialize(
        CHECKS,
        selection=dg.AssetSelection.all_asset_checks(),
        instance=instance,
        resources={"postgres": postgres},
    )
    evaluations = result.get_asset_check_evaluations()
    assert 3 == len(evaluations)
    return {
        it.check_name: (it.metadata["rows_breaking"].value, it.severity.value)  # type: ignore[dict-item]
        for it in evaluations
        if not it.passed
    }


def test_a_run_applies_everything_and_reports_each_day_that_changed(
    own_instance: dg.DagsterInstance, postgres: Postgres
) -> None:
    """Whatever day it is for; so that what is derived from that day is built again."""
    deliver(postgres, intent(), intent(pi="pi_2"), intent(pi="pi_3", at=86_400 * 2), intent("processing", pi="pi_4"))
    result = built(own_instance, postgres, "2026-03-09")
    assert {"2026-03-05": [2], "2026-03-07": [1], "2026-03-09": [0]} == days_reported(own_instance)
    assert [] == dirty_days(postgres, DONATIONS)
    (step,) = result.asset_materializations_for_node("community__donations")[-1:]
    assert (4, 2) == (step.metadata["events_applied"].value, step.metadata["days_changed"].value)
    deliver(postgres, charge_refunded(1000, at=86_400 * 30))
    built(own_instance, postgres, "2026-03-09")
    assert {"2026-03-05": [2, 2], "2026-03-07": [1], "2026-03-09": [0, 0]} == days_reported(own_instance)


def test_a_day_that_a_killed_run_did_not_report_is_reported_by_the_next(
    own_instance: dg.DagsterInstance, postgres: Postgres
) -> None:
    deliver(postgres, intent())
    apply_donations(postgres, run_id="killed")
    request = community_donations_sensor(
        dg.build_sensor_context(instance=own_instance, resources={"postgres": postgres})
    )
    assert isinstance(request, dg.RunRequest)
    built(own_instance, postgres, "2026-03-09")
    assert [1] == days_reported(own_instance)["2026-03-05"]


# Builds the day that is dirty, and is killed as soon as that is settled.
BUILDER = """
import os, signal, sys
import dagster as dg
from ingestion_pipeline.domains.community import donations_assets
from ingestion_pipeline.storage.postgres import Postgres

settle = donations_assets.settle_dirty_days

def settled(*arguments):
    settle(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

donations_assets.settle_dirty_days = settled
instance = dg.DagsterInstance.local_temp(sys.argv[2])
resources = {"postgres": Postgres(sys.argv[1])}
dg.materialize([*donations_assets.ASSETS], instance=instance, partition_key="2026-03-05", resources=resources)
"""


def test_a_day_is_reported_before_it_is_settled(worker_url: str, postgres: Postgres, tmp_path: Path) -> None:
    """Also the day that the run is for: the run may end between the two, and nothing else says that it has changed."""
    deliver(postgres, intent(), intent(pi="pi_2", at=86_400))
    with python(BUILDER, worker_url, str(tmp_path)) as child:
        child.communicate(timeout=SECONDS)
        assert -signal.SIGKILL == child.returncode
    assert [] == dirty_days(postgres, DONATIONS)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert {"2026-03-05": [1], "2026-03-06": [1]} == days_reported(instance)


def test_a_donation_before_the_first_partition_holds_nothing_up(
    own_instance: dg.DagsterInstance, postgres: Postgres
) -> None:
    """The run says that there was one: no partition has it."""
    deliver(postgres, intent(at=-PAID_AT), intent(pi="pi_2", at=86_400))
    result = built(own_instance, postgres)
    (step,) = result.asset_materializations_for_node("community__donations")[-1:]
    assert (1, 1) == (step.metadata["days_changed"].value, step.metadata["days_before_the_first"].value)
    assert (["2026-03-05", "2026-03-06"], []) == (sorted(days_reported(own_instance)), dirty_days(postgres, DONATIONS))


def test_the_sensor_asks_for_one_run_while_events_wait(own_instance: dg.DagsterInstance, postgres: Postgres) -> None:
    """Of today's partition, before others; none when nothing waits or a run is going on."""

    def tick() -> Any:
        context = dg.build_sensor_context(instance=own_instance, resources={"postgres": postgres})
        return community_donations_sensor(context)

    assert isinstance(tick(), dg.SkipReason)
    deliver(postgres, intent())
    request = tick()
    assert isinstance(request, dg.RunRequest)
    assert {"5"} == {value for name, value in request.tags.items() if "priority" in name}
    assert request.tags["dagster/asset_partition_range_start"] >= TODAY.date().isoformat()
    for job in JOBS:
        run = dg.DagsterRun(job_name=job.name, run_id=new_id(), status=dg.DagsterRunStatus.STARTED)
        own_instance.add_run(run)
        assert isinstance(tick(), dg.SkipReason)
        own_instance.delete_run(run.run_id)
    built(own_instance, postgres)
    assert isinstance(tick(), dg.SkipReason)


def test_the_hourly_job_builds_a_range_of_days_with_its_checks(
    own_instance: dg.DagsterInstance, postgres: Postgres
) -> None:
    deliver(postgres, intent(), intent(pi="pi_2", at=86_400), intent(pi="pi_3", at=86_400 * 9))
    defs = dg.Definitions(
        assets=ASSETS, asset_checks=CHECKS, jobs=JOBS, resources={"postgres": postgres}, executor=dg.in_process_executor
    )
    result = defs.resolve_job_def("community_donations_checked_job").execute_in_process(
        instance=own_instance, tags=range_tags(date(2026, 3, 4), date(2026, 3, 6))
    )
    assert result.success
    expected = {"2026-03-04": {0}, "2026-03-05": {1}, "2026-03-06": {1}, "2026-03-14": {1}}
    assert expected == {day: set(counts) for day, counts in days_reported(own_instance).items()}
    assert [True] * 3 == [it.passed for it in result.get_asset_check_evaluations()]


def test_everything_is_on_by_default() -> None:
    assert {"RUNNING"} == {it.default_status.value for it in (*SCHEDULES, *SENSORS)}


def test_good_donations_pass_all_checks(own_instance: dg.DagsterInstance, postgres: Postgres) -> None:
    """And so do none."""
    assert {} == broken(postgres, own_instance)
    deliver(
        postgres,
        *(intent(at=NOW), session(at=NOW), charge_refunded(1000, at=NOW)),
        *(intent("payment_failed", pi="pi_2"), intent(pi="pi_3", at=NOW, currency="kwd")),
    )
    built(own_instance, postgres)
    assert {} == broken(postgres, own_instance)


@pytest.mark.parametrize(
    "column",
    ["refunded = 11", "disputed = 1", "rule_id = 'x'", "message = null", "currency = 'EUR'", "author_id = 'mallory'"],
)
def test_a_row_that_is_not_what_its_facts_make_is_told(
    own_instance: dg.DagsterInstance, postgres: Postgres, column: str
) -> None:
    deliver(postgres, intent(at=NOW), charge_refunded(1000, at=NOW), intent(pi="pi_2", at=NOW))
    built(own_instance, postgres)
    postgres.execute(f"update community.donations set {column} where payment_intent = 'pi_1'")
    assert {"donations_are_what_their_facts_make": (1, "ERROR")} == broken(postgres, own_instance)


def test_an_event_that_is_applied_during_the_check_breaks_no_claim(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Donations and their facts are read as of one instant."""
    deliver(postgres, intent(at=NOW))
    apply_donations(postgres, run_id="run-1")
    read = postgres.read

    def reading(query: str, parameters: Any = None) -> list[dict[str, Any]]:
        rows = read(query, parameters)
        deliver(postgres, charge_refunded(1000, at=NOW))
        apply_donations(postgres, run_id="run-2")
        return rows

    monkeypatch.setattr(postgres, "read", reading)
    today = TODAY.date()
    assert [] == differing(postgres, Window.of_days(today, today))
    assert [(1,)] == rows_of(postgres, "select count(*) from community.donations where refunded = 10")


def test_a_donation_whose_facts_are_gone_is_told(own_instance: dg.DagsterInstance, postgres: Postgres) -> None:
    """Of those that are not paid as well."""
    deliver(postgres, intent("processing"))
    built(own_instance, postgres)
    postgres.execute("delete from community.donation_facts")
    assert {"donations_are_what_their_facts_make": (1, "ERROR")} == broken(postgres, own_instance)


def test_sums_that_do_not_add_up_are_told(
    own_instance: dg.DagsterInstance, postgres: Postgres, database_url: str
) -> None:
    """The table itself takes none: only one without its rules shows that the check would see them."""
    deliver(postgres, intent(at=NOW))
    built(own_instance, postgres)
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("alter table community.donations alter net drop expression")
        owner.execute("update community.donations set net = 24")
    assert {"donations_add_up": (1, "ERROR"), "donations_are_what_their_facts_make": (1, "ERROR")} == broken(
        postgres, own_instance
    )


def test_money_that_reaches_nobody_is_told(
    own_instance: dg.DagsterInstance, postgres: Postgres, database_url: str
) -> None:
    """A warning; not of test payments, of what was given back, nor of an author who was erased."""
    with psycopg.connect(database_url) as owner:
        owner.execute("insert into community.forgotten_payments values ('pi_1', true, false), ('pi_4', false, true)")
    deliver(
        postgres,
        intent(at=NOW, metadata={}),
        intent(pi="pi_4", at=NOW, metadata={}),
        {**intent(pi="pi_2", at=NOW, metadata={}), "livemode": False},
        *(intent(pi="pi_3", at=NOW, metadata={}), charge_refunded(2500, pi="pi_3", at=NOW, metadata={})),
    )
    built(own_instance, postgres)
    assert {"donations_have_authors": (1, "WARN")} == broken(postgres, own_instance)


def test_the_check_compares_every_column_that_facts_decide() -> None:
    assert set(DONATIONS.column_names) - set(COMPARED) == {"author_id", "author_is_rules", "paid_on", "updated_at"}
