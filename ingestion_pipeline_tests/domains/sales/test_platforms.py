"""One suite that the handlers of all four platforms pass, through the real queue, worker and ledger; then Gumroad's API."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import psycopg
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.sales.inputs import PLATFORMS
from ingestion_pipeline.domains.sales.jobs import GumroadPayload
from ingestion_pipeline.domains.sales.platforms import PLATFORMS as HANDLERS
from ingestion_pipeline.domains.sales.platforms import Asked
from ingestion_pipeline.orchestration.jobs import JobCancelled
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.sales import d2d_reports, gumroad_reports, kdp_reports, smashwords_reports
from ingestion_pipeline_tests.domains.sales.gumroad_reports import Purchase, sale
from ingestion_pipeline_tests.domains.sales.kdp_reports import Sale, estimate_sheets, workbook
from ingestion_pipeline_tests.domains.sales.served_sales import TOKEN, options
from ingestion_pipeline_tests.domains.sales.works import Works, written_long_ago


@pytest.fixture
def works(worker_url: str, database_url: str, tmp_path: Path) -> Iterator[Works]:
    (tmp_path / "drop").mkdir()
    with psycopg.connect(database_url, autocommit=True) as owner, closing(Postgres(worker_url)) as postgres:
        yield Works(postgres, owner, options(tmp_path))


class PlatformSuite:
    """What holds for every platform. A subclass says which, and writes its files."""

    platform: ClassVar[str]
    name: ClassVar[str]
    other: ClassVar[tuple[str, bytes]] = ("smashwords", smashwords_reports.report([smashwords_reports.own_sale()]))

    def good(self) -> bytes:
        """Two sales."""
        raise NotImplementedError

    def overlapping(self) -> bytes:
        """The same two sales and a third."""
        raise NotImplementedError

    def half_bad(self) -> bytes:
        """One sale, and one whose units nobody can read."""
        raise NotImplementedError

    def unknown(self) -> bytes:
        """A column that must be there has another name."""
        raise NotImplementedError

    def test_a_report_is_stored_and_counted(self, works: Works) -> None:
        """The output, the file's row and the ledger say the same; each row says where it stands."""
        job = works.send(self.platform, self.good(), self.name)
        assert ("COMPLETED", None) == (job.status, job.error_message)
        assert job.output_data is not None
        counts = {name: job.output_data[name] for name in ("events_count", "inserted", "updated", "unchanged")}
        assert {"events_count": 2, "inserted": 2, "updated": 0, "unchanged": 0} == counts
        assert (self.platform, 0) == (job.output_data["platform"], job.output_data["problems_count"])
        (file,) = works.files()
        assert ("ingested", None, 2, self.name) == (file["status"], file["reason"], file["row_count"], file["name"])
        assert file["report"] == job.output_data["report"]
        rows = works.ledger()
        assert [self.platform] * 2 == [row["platform"] for row in rows]
        assert {("author", job.job_id, job.output_data["file_sha256"])} == {
            (row["owner_id"], row["job_id"], row["source_sha256"]) for row in rows
        }
        assert all(row["row_number"] >= 1 for row in rows)

    def test_the_same_report_again_changes_nothing(self, works: Works) -> None:
        """Whoever sends it twice has it once."""
        content = self.good()  # a workbook holds the time at which it was made
        works.send(self.platform, content, self.name)
        before = works.ledger()
        output = works.send(self.platform, content, self.name).output_data
        assert output is not None
        assert (0, 0, 2) == (output["inserted"], output["updated"], output["unchanged"])
        assert before == works.ledger()

    def test_overlapping_reports_count_once(self, works: Works) -> None:
        """The later one brings what is new."""
        works.send(self.platform, self.good(), self.name)
        output = works.send(self.platform, self.overlapping(), self.name).output_data
        assert output is not None
        assert (3, 1) == (output["events_count"], output["inserted"])
        assert 3 == len([row for row in works.ledger() if row["superseded_by"] is None])

    def test_a_row_that_cannot_be_read_keeps_no_other_back(self, works: Works) -> None:
        """It is told with its place, what was seen and what was expected."""
        output = works.send(self.platform, self.half_bad(), self.name).output_data
        assert output is not None
        assert (1, 1) == (output["events_count"], output["problems_count"])
        (problem,) = output["problems"]
        assert {"sheet", "row", "column", "seen", "expected"} == set(problem)
        assert problem["row"] > 1
        assert problem["expected"]

    def test_an_unknown_report_is_quarantined(self, works: Works) -> None:
        """Once, for good, with the reason in the job and in the file's row; the ledger has nothing of it."""
        job = works.send(self.platform, self.unknown(), self.name)
        assert ("FAILED", "permanent", 1) == (job.status, job.error_kind, job.attempt_count), job.output_data
        (file,) = works.files()
        assert ("quarantined", job.error_message) == (file["status"], file["reason"])
        assert self.name in str(job.error_message)
        assert [] == works.ledger()

    def test_a_report_of_another_platform_is_quarantined(self, works: Works) -> None:
        """It is not taken for one of this."""
        job = works.send(self.platform, self.other[1], self.name)
        assert ("FAILED", "permanent") == (job.status, job.error_kind), job.output_data
        assert [] == works.ledger()

    def test_a_quarantined_file_is_ingested_once_it_can_be_read(self, works: Works) -> None:
        """Its state follows the last job: here the same bytes were set aside by hand before."""
        payload = works.receive(self.platform, self.good(), self.name)
        works.owner.execute(
            "update sales.report_files set status = 'quarantined', reason = 'unknown header', settled_at = now()"
        )
        assert "COMPLETED" == works.run(self.platform, payload).status
        assert [("ingested", None)] == [(file["status"], file["reason"]) for file in works.files()]

    def test_a_file_that_was_never_received_fails(self, works: Works) -> None:
        """For good: it will not come by itself."""
        job = works.run(self.platform, {"file_sha256": "0" * 64})
        assert ("FAILED", "permanent", 1) == (job.status, job.error_kind, job.attempt_count)

    def test_a_file_whose_original_is_gone_fails(self, works: Works) -> None:
        """As a file that is missing, not as one of no rows."""
        payload = works.receive(self.platform, self.good(), self.name)
        sha256 = payload["file_sha256"]
        Path(works.options.files_url, sha256[:2], sha256).unlink()
        job = works.run(self.platform, payload)
        assert ("FAILED", "permanent") == (job.status, job.error_kind)
        assert sha256 in str(job.error_message)

    def test_a_cancelled_job_stores_nothing(self, works: Works) -> None:
        """It ends where it is."""
        job_id = works.ask(self.platform, works.receive(self.platform, self.good(), self.name))
        works.queue.cancel(job_id)
        works.work()
        assert ("CANCELLED", []) == (works.job(job_id).status, works.ledger())

    def test_an_original_that_was_changed_is_not_read(self, works: Works) -> None:
        """A row would say that it stands in a file that is another."""
        payload = works.receive(self.platform, self.good(), self.name)
        path = Path(works.options.files_url, payload["file_sha256"][:2], payload["file_sha256"])
        path.chmod(0o640)
        path.write_bytes(self.overlapping())
        job = works.run(self.platform, payload)
        assert ("FAILED", []) == (job.status, works.ledger())
        assert "SHA-256" in str(job.error_message)

    @pytest.mark.parametrize(
        "payload",
        [{"file_sha256": "0" * 64, "path": "a.xlsx"}, {"file_sha256": "x"}, {"nothing": 1}, {"path": 7}, {"name": "x"}],
    )
    def test_a_payload_that_does_not_fit_fails(self, works: Works, payload: dict[str, Any]) -> None:
        """Whoever put it into the queue."""
        job = works.run(self.platform, payload)
        assert ("FAILED", "permanent", 1) == (job.status, job.error_kind, job.attempt_count)
        assert "payload" in str(job.error_message)

    def test_a_file_of_the_drop_folder_is_asked_for_by_its_path(self, works: Works) -> None:
        """It is kept, and stays where it is: the sensor moves what it takes."""
        file = works.drop(f"{self.platform}/{self.name}", self.good())
        written_long_ago(file)
        job = works.run(self.platform, {"path": f"{self.platform}/{self.name}"}, owner_id="application:uploader")
        assert ("COMPLETED", None) == (job.status, job.error_message)
        assert {"author"} == {row["owner_id"] for row in works.ledger()}
        assert file.exists()

    def test_a_file_that_is_being_written_is_not_read(self, works: Works) -> None:
        """Half a report would be taken for a whole one; a moment later it is."""
        file = works.drop(f"{self.platform}/{self.name}", self.good())
        job = works.run(self.platform, {"path": f"{self.platform}/{self.name}"})
        assert ("RETRYING", []) == (job.status, works.ledger())
        written_long_ago(file)
        works.owner.execute("update operations.jobs set run_at = clock_timestamp()")
        works.work()
        assert "COMPLETED" == works.job(job.job_id).status

    def test_a_file_of_another_platform_is_not_taken(self, works: Works) -> None:
        """Its folder says whose it is."""
        written_long_ago(works.drop(f"kobo/{self.name}", self.good()))
        job = works.run(self.platform, {"path": f"kobo/{self.name}"})
        assert ("FAILED", True) == (job.status, f"no report of {self.platform}" in str(job.error_message))

    @pytest.mark.parametrize("path", ["../secret.csv", "/etc/passwd", "no/such.csv", "{platform}/../../secret.csv"])
    def test_no_path_leads_out_of_the_drop_folder(self, works: Works, path: str) -> None:
        """Nor to what is not there."""
        Path(str(works.options.drop_url)).with_name("secret.csv").write_bytes(self.good())
        job = works.run(self.platform, {"path": path.format(platform=self.platform)})
        assert (True, []) == (job.status in ("FAILED", "RETRYING"), works.ledger())


class TestAmazonKdp(PlatformSuite):
    platform, name = "amazon_kdp", "KDP_Dashboard-1.xlsx"

    def good(self) -> bytes:
        return workbook(estimate_sheets([Sale(), Sale(marketplace="Amazon.de", currency="EUR")]))

    def overlapping(self) -> bytes:
        return workbook(
            estimate_sheets(
                [Sale(), Sale(marketplace="Amazon.de", currency="EUR"), Sale(marketplace="Amazon.ca", currency="CAD")]
            )
        )

    def half_bad(self) -> bytes:
        sheets = estimate_sheets([Sale(), Sale(marketplace="Amazon.de", currency="EUR")])
        header, *rows = sheets["eBook Royalty"]
        rows[1][header.index("Units Sold")] = "many"
        return workbook({"eBook Royalty": [header, *rows]})

    def unknown(self) -> bytes:
        header, *rows = estimate_sheets([Sale()])["eBook Royalty"]
        return workbook({"eBook Royalty": [[f"x{name}" for name in header], *rows]})

    def test_pages_are_worth_the_rate_of_their_month(self, works: Works, tmp_path: Path) -> None:
        """Where the report states no royalty and somebody told the rate."""
        own = tmp_path / "rates.csv"
        own.write_text("month,marketplace,rate,currency\n2026-03,Amazon.com,0.004,USD\n")
        sheets = estimate_sheets(pages=[kdp_reports.Pages(pages=250)])
        payload = works.receive("amazon_kdp", workbook(sheets), self.name)
        works.run("amazon_kdp", payload, kenp_rates=own)
        estimated = "select kind, royalty, estimated_royalty from sales.sales_events"
        with works.postgres.transaction() as connection:
            assert [("pages_read", None, Decimal(1))] == connection.execute(estimated).fetchall()


class TestDraft2Digital(PlatformSuite):
    platform, name = "draft2digital", "d2d.csv"

    def good(self) -> bytes:
        return d2d_reports.report([d2d_reports.sale(), d2d_reports.sale(currency="EUR", Country="DE")])

    def overlapping(self) -> bytes:
        more = d2d_reports.sale(currency="GBP", Country="GB")
        return d2d_reports.report([d2d_reports.sale(), d2d_reports.sale(currency="EUR", Country="DE"), more])

    def half_bad(self) -> bytes:
        return d2d_reports.report([d2d_reports.sale(), d2d_reports.sale(Country="DE", Units_Sold="many")])

    def unknown(self) -> bytes:
        return self.good().replace(b"Title ID", b"Titel")


class TestSmashwords(PlatformSuite):
    platform, name = "smashwords", "SmashWords_salesReport-2024-04-01.xls"
    other = ("draft2digital", d2d_reports.report([d2d_reports.sale()]))

    def good(self) -> bytes:
        return smashwords_reports.report([smashwords_reports.own_sale(), smashwords_reports.retailer_sale()])

    def overlapping(self) -> bytes:
        more = smashwords_reports.own_sale(date="2024-03-18 5:18")
        return smashwords_reports.report([smashwords_reports.own_sale(), smashwords_reports.retailer_sale(), more])

    def half_bad(self) -> bytes:
        return smashwords_reports.report([smashwords_reports.own_sale(), smashwords_reports.own_sale(qty="many")])

    def unknown(self) -> bytes:
        return self.good().replace(b"\tqty\t", b"\thowmany\t")


class TestGumroad(PlatformSuite):
    platform, name = "gumroad", "Sales.csv"

    def good(self) -> bytes:
        return gumroad_reports.report([gumroad_reports.row(Purchase()), gumroad_reports.row(Purchase(id="B=="))])

    def overlapping(self) -> bytes:
        purchases = [Purchase(), Purchase(id="B=="), Purchase(id="C==")]
        return gumroad_reports.report([gumroad_reports.row(purchase) for purchase in purchases])

    def half_bad(self) -> bytes:
        bad = gumroad_reports.row(Purchase(id="B=="), Quantity="many")
        return gumroad_reports.report([gumroad_reports.row(Purchase()), bad])

    def unknown(self) -> bytes:
        return self.good().replace(b"Purchase ID", b"Number")


def test_all_four_platforms_pass_the_suite() -> None:
    """None is left out."""
    suites = {it.platform for it in PlatformSuite.__subclasses__()}
    assert set(PLATFORMS) == set(HANDLERS) == suites


@dataclass
class Account:
    """Gumroad's API of one account, newest sale first, ten a page; `fault` answers in its place while it is there."""

    sales: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    fault: Callable[[Request], Response | None] = lambda _: None

    def answer(self, request: Request) -> Response:
        self.asked.append(dict(request.args))
        if (fault := self.fault(request)) is not None:
            return fault
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return said({"error": "invalid_token"}, 401)
        number = request.path.removeprefix("/v2/sales").strip("/")
        if number:
            found = [it for it in self.sales if it["id"] == number]
            missing = {"success": False, "message": "The sale was not found."}
            return said({"success": True, "sale": found[0]} if found else missing)
        after = request.args.get("after", "")
        sales = sorted(
            (it for it in self.sales if it["created_at"] >= after), key=lambda it: it["created_at"], reverse=True
        )
        start = int(request.args.get("page_key", "0-0").partition("-")[2])
        body: dict[str, Any] = {"success": True, "sales": sales[start : start + 10]}
        if len(sales) > start + 10:
            last = datetime.fromisoformat(sales[start + 9]["created_at"])
            body["next_page_key"] = f"{last:%Y%m%d%H%M%S%f}-{start + 10}"
        return said(body)


def said(body: object, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(body), status, headers, content_type="application/json")


def purchase(number: int, days_ago: int = 0, **over: Any) -> Purchase:
    day = utc_now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    return Purchase(**{"id": f"sale-{number}==", "created_at": day, **over})


@pytest.fixture
def account(httpserver: HTTPServer, works: Works) -> Account:
    found = Account()
    httpserver.expect_request("/v2/sales").respond_with_handler(found.answer)
    httpserver.expect_request(re.compile("/v2/sales/.+")).respond_with_handler(found.answer)
    works.options = options(
        Path(works.options.files_url).parent, gumroad_url=httpserver.url_for("").rstrip("/"), timeout_seconds=5.0
    )
    return found


class TestGumroadApi:
    """The same handler, without a file."""

    def test_all_sales_are_read_the_first_time(self, works: Works, account: Account) -> None:
        """Page after page, for the owner of the account whoever asks."""
        account.sales = [sale(purchase(number, days_ago=number)) for number in range(12)]
        job = works.run("gumroad", {}, owner_id="application:uploader")
        assert ("COMPLETED", None) == (job.status, job.error_message)
        assert job.output_data is not None
        assert (12, 12, None) == tuple(job.output_data[name] for name in ("events_count", "inserted", "after"))
        assert (12, {"author"}) == (len(works.ledger()), {row["owner_id"] for row in works.ledger()})
        assert [{}, {"page_key"}] == [set(asked) or {} for asked in account.asked]

    def test_later_only_a_window_is_read_and_its_refunds_are_seen(self, works: Works, account: Account) -> None:
        """120 days before the last success: a refund has no date of its own."""
        known = purchase(1, days_ago=100)
        account.sales = [sale(known), sale(purchase(2, days_ago=200))]
        works.run("gumroad", {})
        refunded = purchase(1, days_ago=100, refunded=known.price)
        account.sales = [sale(refunded), sale(purchase(2, days_ago=200)), sale(purchase(3))]
        job = works.run("gumroad", {})
        after = (utc_now() - timedelta(days=120)).date().isoformat()
        assert {"after": after} == account.asked[-1]
        assert job.output_data is not None
        counts = tuple(job.output_data[name] for name in ("events_count", "inserted", "updated"))
        assert (2, 1, 1) == counts
        found = sorted((row["kind"], row["net_units"]) for row in works.ledger())
        assert [("refund", 0), ("sale", 1), ("sale", 1)] == found

    def test_since_and_full_widen_what_is_read(self, works: Works, account: Account) -> None:
        """A shorter one does not move the mark of the last success: nothing between is forgotten."""
        account.sales = [sale(purchase(1))]
        first = works.run("gumroad", {"since": "2024-01-01"})
        assert first.output_data is not None
        assert "fetched_until" not in first.output_data
        assert [{"after": "2024-01-01"}] == account.asked
        full = works.run("gumroad", {"full": True})
        assert full.output_data is not None
        assert utc_now().date().isoformat() == full.output_data["fetched_until"]
        assert {} == account.asked[-1]

    def test_a_sale_is_read_back_and_nothing_else_believed(self, works: Works, account: Account) -> None:
        """One that the account does not have is no sale."""
        account.sales = [sale(purchase(1))]
        job = works.run("gumroad", {"sale_id": "sale-1=="})
        assert job.output_data is not None
        assert (True, 1) == (job.output_data["is_known_sale"], job.output_data["inserted"])
        forged = works.run("gumroad", {"sale_id": "forged"})
        assert forged.output_data is not None
        assert (False, 0) == (forged.output_data["is_known_sale"], forged.output_data["events_count"])
        assert 1 == len(works.ledger())

    def test_the_csv_and_the_api_say_the_same_sale_once(self, works: Works, account: Account) -> None:
        """Whichever came first."""
        account.sales = [sale(purchase(1))]
        works.run("gumroad", {})
        works.send("gumroad", gumroad_reports.report([gumroad_reports.row(purchase(1))]), "Sales.csv")
        (row,) = works.ledger()
        assert Decimal("8.69") == Decimal(row["royalty"])

    @pytest.mark.parametrize(
        ("fault", "status", "kind", "says"),
        [
            (said({"error": "invalid_token"}, 401), "FAILED", "permanent", "GUMROAD_ACCESS_TOKEN"),
            (said({"status": 400, "error": "Invalid page_key."}, 400), "FAILED", "permanent", "Invalid page_key"),
            (said({"success": False, "message": "no"}), "FAILED", "permanent", "no"),
            (said({"sales": []}), "FAILED", "permanent", "success"),
            (said({}, 429, **{"Retry-After": "120"}), "RETRYING", "transient", "limits our requests"),
            (said({}, 500), "RETRYING", "transient", "status 500"),
        ],
        ids=["401", "400", "no success", "shape", "429", "500"],
    )
    def test_what_gumroad_answers_instead_is_the_job_s_error(
        self, works: Works, account: Account, fault: Response, status: str, kind: str, says: str
    ) -> None:
        """Tried again or not; nothing is stored, the token is shown nowhere."""
        account.sales = [sale(purchase(1))]
        account.fault = lambda _: fault
        job = works.run("gumroad", {})
        assert (status, kind, []) == (job.status, job.error_kind, works.ledger())
        assert says in str(job.error_message)
        assert TOKEN not in str(job.error_message)

    def test_too_many_requests_spend_no_attempt(self, works: Works, account: Account) -> None:
        """The job is postponed for as long as Gumroad asks."""
        account.fault = lambda _: said({}, 429, **{"Retry-After": "120"})
        job = works.run("gumroad", {})
        assert (0, 1) == (job.attempt_count, job.postponed_count)
        assert job.run_at > utc_now() + timedelta(seconds=60)

    def test_a_failure_in_the_middle_stores_no_half_window(self, works: Works, account: Account) -> None:
        """The first page was there, the second was not: tried again, all are there, once."""
        account.sales = [sale(purchase(number, days_ago=number)) for number in range(12)]
        account.fault = lambda request: said({}, 500) if "page_key" in request.args else None
        job = works.run("gumroad", {})
        assert ("RETRYING", []) == (job.status, works.ledger())
        account.fault = lambda _: None
        works.owner.execute("update operations.jobs set run_at = now()")
        works.owner.execute("truncate operations.circuit_breakers")
        works.work()
        assert ("COMPLETED", 2, 12) == (
            (ended := works.job(job.job_id)).status,
            ended.attempt_count,
            len(works.ledger()),
        )

    @pytest.mark.parametrize("key", ["20240101000000000000-1", "99990101000000000000-1"])
    def test_pages_without_end_are_noticed(self, works: Works, account: Account, key: str) -> None:
        """A page that repeats, or a key that was read: the job ends, with what was seen."""
        body = {"success": True, "sales": [sale(purchase(1))], "next_page_key": key}
        account.fault = lambda _: said(body)
        job = works.run("gumroad", {})
        assert ("FAILED", "permanent", []) == (job.status, job.error_kind, works.ledger())
        assert len(account.asked) < 5

    def test_without_a_token_the_setting_is_named(self, works: Works, account: Account) -> None:
        """Not Gumroad's refusal of none."""
        job = works.run("gumroad", {}, gumroad_access_token=None)
        assert ("FAILED", []) == (job.status, account.asked)
        assert "GUMROAD_ACCESS_TOKEN" in str(job.error_message)

    def test_a_job_that_is_cancelled_stops_between_two_pages(self, works: Works, account: Account) -> None:
        """It does not read on for a job that nobody wants."""
        account.sales = [sale(purchase(number, days_ago=number)) for number in range(40)]

        def go_on() -> None:
            if len(account.asked) == 2:
                raise JobCancelled

        asked = Asked(
            owner_id="author", job_id=str(uuid4()), options=works.options, postgres=works.postgres, go_on=go_on
        )
        with pytest.raises(JobCancelled):
            HANDLERS["gumroad"].fetch(GumroadPayload(), asked)
        assert 2 == len(account.asked)
