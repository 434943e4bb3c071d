"""Each claim about the sales tables, broken: the check says so, names the rows, and is quiet without them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from ingestion_pipeline.domains.sales.checks import CHECKS, sudden_rates
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales.ledgers import OWNER, query, report, report_file, row, store

TODAY = datetime.now(UTC).date()


@pytest.fixture
def broken(postgres: Postgres, lake: Lake, settings: Settings, instance: dg.DagsterInstance) -> Any:
    """Runs every check, none names the owner; those that did not pass, how many rows broke them, how severe that is."""

    def run() -> dict[str, tuple[int, str]]:
        result = dg.materialize(
            CHECKS,
            selection=dg.AssetSelection.all_asset_checks(),
            instance=instance,
            resources={"postgres": postgres, "lake": lake, "settings": settings},
        )
        evaluations = result.get_asset_check_evaluations()
        assert sum(len(list(it.check_keys)) for it in CHECKS) == len(evaluations)
        shown = [str(it.metadata["examples"].value) for it in evaluations if "examples" in it.metadata]
        assert [] == [examples for examples in shown if OWNER in examples]
        return {
            it.check_name: (it.metadata["rows_breaking"].value, it.severity.value)  # type: ignore[dict-item]
            for it in evaluations
            if not it.passed
        }

    return run


def build(postgres: Postgres) -> None:
    for statement in ("sales.build_daily(50)", "sales.build_monthly(50)", "sales.build_coverage(current_date)"):
        query(postgres, f"select {statement}")


def recent(**over: Any) -> dict[str, Any]:
    return row(TODAY - timedelta(days=2), **over)


def test_good_rows_pass_all_checks(postgres: Postgres, broken: Any) -> None:
    """And so do no rows at all."""
    assert {} == broken()
    totals = {"stated": {"royalty USD": Decimal("3.47")}, "parsed": {"royalty USD": Decimal("3.45")}}
    now = datetime.now(UTC)
    rates = "insert into sales.exchange_rates select 'EUR', current_date - n, 1.1 + n * 0.01, 'x' from generate_series(1, 9) n"
    postgres.execute(rates)
    rows = [recent(), recent(currency="EUR"), recent(kind="refund", sold=0, refunded=1), recent(kind="free", sold=7)]
    rows += [recent(kind="adjustment", currency="EUR", royalty=None), row(TODAY, currency="EUR", country="DE")]
    store(postgres, report(*rows, totals=totals), report_file("a", exported_at=now))
    assert {} == broken(), "not built yet"
    build(postgres)
    assert {} == broken()


def test_stated_totals_that_differ_are_told(postgres: Postgres, broken: Any) -> None:
    """By report and quantity; a warning."""
    totals = {
        "stated": {"royalty USD": Decimal("99.00"), "net_units": Decimal(2)},
        "parsed": {"royalty USD": Decimal("3.45"), "net_units": Decimal(1)},
    }
    store(postgres, report(recent(), totals=totals), report_file("a", exported_at=datetime.now(UTC)))
    assert {"sales_events_agree_with_stated_totals": (2, "WARN")} == broken()


def test_a_currency_without_rates_is_told(postgres: Postgres, broken: Any) -> None:
    """Once its period is over, and where there is money in it."""
    month = row(TODAY, TODAY + timedelta(days=20), currency="SEK")
    rows = [
        month,
        recent(currency="GBP"),
        recent(currency="JPY", royalty=None),
        recent(currency="INR", royalty=Decimal(0)),
    ]
    store(postgres, report(*rows), report_file("a", exported_at=datetime.now(UTC)))
    assert {"sales_events_have_rates": (1, "WARN")} == broken()


def test_a_platform_that_falls_silent_is_told(postgres: Postgres, broken: Any) -> None:
    """By its own reports: those of another platform do not excuse it. The months without any are told too."""
    old, now = datetime.now(UTC) - timedelta(days=90), datetime.now(UTC)
    store(postgres, report(row(old.date())), report_file("old", exported_at=old))
    d2d = recent(platform="draft2digital")
    store(postgres, report(d2d), report_file("new", platform="draft2digital", exported_at=now))
    build(postgres)
    found = broken()
    assert (1, "WARN") == found["sales_events_are_reported"]
    assert {"sales_events_are_reported", "coverage_has_no_gaps"} == set(found)


@pytest.mark.parametrize(("name", "is_told"), [("gumroad_api", True), ("gumroad_csv", False)])
def test_an_api_that_is_read_daily_falls_silent_within_days(
    postgres: Postgres, broken: Any, name: str, *, is_told: bool
) -> None:
    """Gumroad's dashboard, which a person exports, has as long as the other files."""
    days_ago = datetime.now(UTC) - timedelta(days=4)
    sale = row(days_ago.date(), platform="gumroad", is_final=True)
    store(postgres, report(sale, name=name), report_file("a", platform="gumroad", exported_at=days_ago))
    assert is_told == ("sales_events_are_reported" in broken())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("sales_daily set net_units = 7", {"sales_daily_net_units", "sales_daily_add_up_to_the_ledger"}),
        ("sales_daily set royalty_usd = royalty_usd + 0.00000001", {"sales_daily_add_up_to_the_ledger"}),
        ("sales_daily set royalty = royalty + 0.00000001", {"sales_daily_add_up_to_the_ledger"}),
        ("sales_monthly set pages_read = 1", {"sales_monthly_add_up_to_the_days"}),
        ("sales_monthly set royalty = null", {"sales_monthly_add_up_to_the_days"}),
        ("sales_monthly set royalty_usd = null", {"sales_monthly_add_up_to_the_days"}),
        (
            "sales_events set superseded_by = 'final_month'",
            {"sales_daily_net_units", "sales_daily_add_up_to_the_ledger"},
        ),
    ],
)
def test_sums_that_are_not_those_of_the_ledger_are_told(
    postgres: Postgres, broken: Any, change: str, expected: set[str]
) -> None:
    """As errors; a month that has changed since is none, it will be built."""
    store(postgres, report(recent()), report_file("a", exported_at=datetime.now(UTC)))
    build(postgres)
    postgres.execute(f"update sales.{change}")
    found = broken()
    assert {"ERROR"} == {severity for _, severity in found.values()}
    # a changed day is not what its month was built from either
    assert expected <= set(found) <= expected | {"sales_monthly_add_up_to_the_days"}
    postgres.execute("update sales.ledger_months set version = version + 1, monthly_version = 0")
    assert {} == broken()


def test_a_rate_that_jumps_is_told() -> None:
    """Of the same currency, in the order of days, whatever the order of rows."""
    rates = pd.DataFrame(
        [
            ("GBP", date(2026, 3, 3), Decimal("13.1")),
            ("GBP", date(2026, 3, 2), Decimal("1.3")),
            ("JPY", date(2026, 3, 2), Decimal("0.0067")),
            ("JPY", date(2026, 3, 3), Decimal("0.0068")),
        ],
        columns=["currency", "rate_date", "usd_per_unit"],
    )
    assert [0] == list(sudden_rates(rates).index)
    assert sudden_rates(rates.iloc[1:]).empty
