"""The walk of a sales report: a real file, parsed and stored, seen by the sensor, summed up by real runs.

Jobs, assets, checks and the sensor are those of the sales domain, over this test's own stores. The exchange rates come
from a server on loopback.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest
from pytest_httpserver import HTTPServer

from ingestion_pipeline.definitions import defs
from ingestion_pipeline.domains.sales import draft2digital, gumroad_sales, kdp, smashwords
from ingestion_pipeline.domains.sales.automation import sales_derived_sensor
from ingestion_pipeline.domains.sales.contracts import ParsedReport
from ingestion_pipeline.domains.sales.ledger import ReportFile, Stored, store_report
from ingestion_pipeline.providers.exchange_rates import ExchangeRatesFile
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.breakers import PostgresBreaker
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales import d2d_reports, kdp_reports, smashwords_reports
from ingestion_pipeline_tests.domains.sales.ledgers import query

NOW = datetime.now(UTC)
MARCH = date(2026, 3, 1)
MONTHS = "select platform, currency, net_units, free_units, pages_read, royalty, royalty_usd from sales.sales_monthly"


@dataclass
class Walk:
    """The sales domain in Dagster, over the stores of a test."""

    settings: Settings
    postgres: Postgres
    lake: Lake
    instance: dg.DagsterInstance
    rates_file: ExchangeRatesFile

    @property
    def resources(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("settings", "postgres", "lake", "rates_file")}

    def store(self, parsed: ParsedReport, platform: str, content: bytes, name: str, *, days: int = 0) -> Stored:
        file = ReportFile(
            platform=platform,
            sha256=hashlib.sha256(content).hexdigest(),
            name=name,
            size_bytes=len(content),
            exported_at=NOW + timedelta(days=days),
        )
        with self.postgres.transaction() as connection:
            return store_report(connection, "ada", parsed, file)

    def tick(self) -> dg.RunRequest | dg.SkipReason:
        """What the sensor asks for now."""
        context = dg.build_sensor_context(instance=self.instance, resources={"postgres": self.postgres})
        answer: Any = sales_derived_sensor(context)
        return answer

    def run(self, job: str) -> dg.ExecuteInProcessResult:
        definition: Any = defs.resolve_job_def(job)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return definition.execute_in_process(
            instance=self.instance, resources=self.resources, run_config=quiet, raise_on_error=False
        )

    def settle(self) -> None:
        """Runs what the sensor asks for."""
        assert isinstance(self.tick(), dg.RunRequest)
        assert self.run("sales_derived_job").success
        assert isinstance(self.tick(), dg.SkipReason)


@pytest.fixture
def walk(
    settings: Settings,
    postgres: Postgres,
    lake: Lake,
    httpserver: HTTPServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Walk]:
    rates = b"Date,USD,GBP,\n2026-03-30,1.2,0.8,\n2026-03-02,1.2,0.96,\n"
    httpserver.expect_request("/hist.csv").respond_with_data(rates)
    given = ExchangeRatesFile(httpserver.url_for("/hist.csv"), breaker=PostgresBreaker(postgres))
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield Walk(settings, postgres, lake, instance, given)


def test_reports_of_all_platforms_walk_into_months(walk: Walk) -> None:
    """Stored, summed up at once, given their rates with the daily run; a final month then replaces its estimates."""
    assert isinstance(walk.tick(), dg.SkipReason)
    uk = kdp_reports.Sale(marketplace="Amazon.co.uk", currency="GBP", sold=2, royalty=Decimal("4.00"))
    sheets = kdp_reports.estimate_sheets(
        [uk, kdp_reports.paperback()], [kdp_reports.Pages()], [kdp_reports.Order(free=9)], summary=True
    )
    content = kdp_reports.workbook(sheets)
    name = "KDP_Dashboard-1.xlsx"
    estimate = kdp.parse(io.BytesIO(content), name)
    assert 4 == walk.store(estimate, "amazon_kdp", content, name).inserted
    content = d2d_reports.report([d2d_reports.sale(MARCH, Distributor="Smashwords", Vendor="Smashwords Store")])
    walk.store(draft2digital.parse(io.BytesIO(content), "d2d.csv"), "draft2digital", content, "d2d.csv")
    content = smashwords_reports.report([smashwords_reports.own_sale(date="2026-03-17 5:18")])
    name = "SmashWords_salesReport-2026-04-01.xls"
    found = walk.store(smashwords.parse(io.BytesIO(content), name), "smashwords", content, name)
    assert (1, 1) == (found.inserted, found.superseded)
    sale = {"id": "s1", "created_at": "2026-03-09T10:00:00Z", "product_name": "A", "price": 999, "product_id": "p"}
    walk.store(gumroad_sales.parse_sales([sale]), "gumroad", b"[]", "sales.json")

    walk.settle()
    order = " order by platform, currency, pages_read, net_units, free_units"
    days = sorted(query(walk.postgres, MONTHS + order))
    kdp_months = [it for it in days if it[0] == "amazon_kdp"]
    assert [("GBP", 2, Decimal("4.00"), None), ("USD", 1, Decimal("4.14"), Decimal("4.14"))] == [
        (currency, units, royalty, usd) for _, currency, units, _, _, royalty, usd in kdp_months if units
    ]
    assert (9, 250) == tuple(sum(it[place] for it in kdp_months) for place in (3, 4))
    assert [("draft2digital", 2), ("gumroad", 1)] == [(it[0], it[2]) for it in days if it[0] != "amazon_kdp"]

    result = walk.run("sales_daily_job")
    assert result.success
    warned = {it.check_name for it in result.get_asset_check_evaluations() if not it.passed}
    assert warned <= {"coverage_has_no_gaps", "sales_events_are_reported"}
    gbp = "select royalty_usd, fx_date from sales.sales_events where currency = 'GBP'"
    assert [(None, None)] == query(walk.postgres, gbp), "the first of March is before any rate"

    final = kdp_reports.prior_month_sheets(MARCH, [uk], [kdp_reports.Pages(royalty=Decimal("1.25"))])
    content = kdp_reports.workbook(final)
    name = "KDP_Prior_Month_Royalties-2026-03-01-x.xlsx"
    found = walk.store(kdp.parse(io.BytesIO(content), name), "amazon_kdp", content, name, days=-300)
    assert (2, 3) == (found.inserted, found.superseded)
    walk.settle()
    months = query(walk.postgres, MONTHS + " where platform = 'amazon_kdp'" + order)
    assert ("amazon_kdp", "GBP", 2, 0, 0, Decimal("4.00"), Decimal("6.00")) in months
    assert (2, 9, 250) == tuple(sum(it[place] for it in months) for place in (2, 3, 4))
    states = "select platform, state from sales.coverage where month = '2026-03-01' order by platform"
    assert ("amazon_kdp", "final") == query(walk.postgres, states)[0]


def test_an_empty_final_month_is_a_real_zero(walk: Walk) -> None:
    """From a real workbook without rows: estimates go, the month is final, not missing."""
    sheets = kdp_reports.estimate_sheets([kdp_reports.Sale()])
    content = kdp_reports.workbook(sheets)
    walk.store(kdp.parse(io.BytesIO(content), "KDP_Dashboard-1.xlsx"), "amazon_kdp", content, "KDP_Dashboard-1.xlsx")
    content = kdp_reports.workbook(kdp_reports.prior_month_sheets(MARCH))
    name = "KDP_Prior_Month_Royalties-2026-03-01-x.xlsx"
    assert 1 == walk.store(kdp.parse(io.BytesIO(content), name), "amazon_kdp", content, name).superseded
    walk.settle()
    assert [] == query(walk.postgres, MONTHS)
    march = "select state, row_count, report_count from sales.coverage where month = '2026-03-01'"
    assert [("final", 0, 2)] == query(walk.postgres, march)


def test_a_bank_that_does_not_answer_does_not_stop_the_sums(walk: Walk, httpserver: HTTPServer) -> None:
    """The ledger is summed up by the sensor's runs; only the daily run fails, and says why."""
    httpserver.clear()
    httpserver.expect_request("/hist.csv").respond_with_data(b"<html>maintenance</html>")
    uk = kdp_reports.Sale(marketplace="Amazon.co.uk", currency="GBP")
    content = kdp_reports.workbook(kdp_reports.estimate_sheets([uk]))
    walk.store(kdp.parse(io.BytesIO(content), "KDP_Dashboard-1.xlsx"), "amazon_kdp", content, "KDP_Dashboard-1.xlsx")
    walk.settle()
    assert 1 == len(query(walk.postgres, MONTHS))
    result = walk.run("sales_daily_job")
    assert not result.success
    failed = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    said = str(failed[0].event_specific_data.user_failure_data)  # type: ignore[union-attr]
    assert "header is '<html>maintenance</html>', expected Date, USD" in said


def test_rates_are_not_asked_for_while_nothing_needs_them(walk: Walk, httpserver: HTTPServer) -> None:
    """A machine without internet, or authors who are paid in dollars, must not see a failed run a day."""
    content = kdp_reports.workbook(kdp_reports.estimate_sheets([kdp_reports.Sale()]))
    walk.store(kdp.parse(io.BytesIO(content), "KDP_Dashboard-1.xlsx"), "amazon_kdp", content, "KDP_Dashboard-1.xlsx")
    assert walk.run("sales_daily_job").success
    assert [] == httpserver.log
