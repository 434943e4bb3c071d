"""S3's endpoints through a real server, with a real worker behind: bodies and words as the seed has them."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_pipeline.domains.sales.jobs import PLATFORMS, ingest_job
from ingestion_pipeline.domains.sales.routes import MAX_FILE_BYTES, MOST_UNFINISHED
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.conftest import DATA, TEMPLATE
from ingestion_pipeline_tests.domains.operations.served_jobs import application
from ingestion_pipeline_tests.domains.sales import kdp_damaged as damaged
from ingestion_pipeline_tests.domains.sales.kdp_reports import Sale, estimate_sheets, workbook
from ingestion_pipeline_tests.domains.sales.served_sales import (
    AUTHOR,
    CRON,
    PING_SECRET,
    READER,
    SHEET,
    UPLOADER,
    Served,
    served,
)
from ingestion_pipeline_tests.intake.test_routing import refused

BOOK = workbook(estimate_sheets([Sale(), Sale(marketplace="Amazon.de", currency="EUR")]))
NAME = "KDP_Dashboard-1.xlsx"
MANUAL, CRON_PATH = "/api/ingestion/manual", "/api/ingestion/cron"
SEARCH_PATH = """
select unnest(setconfig) as setting from pg_db_role_setting
where setrole = 0 and setdatabase = (select oid from pg_database where datname = %s)
"""
"""What the migrations gave the database; a clone does not inherit it."""
PING = f"/api/ingestion/gumroad/ping/{PING_SECRET}"


@pytest.fixture(scope="module")
def _service(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("sales")) as found:
        yield found


@pytest.fixture
def service(_service: Served) -> Served:
    _service.clear()
    return _service


def platform_path(platform: str = "amazon_kdp") -> str:
    return f"/api/ingestion/platform/{platform}"


def test_a_kdp_workbook_that_is_sent_is_in_the_ledger(service: Served) -> None:
    """Sent as a form, worked off, completed; each row says which file, sheet and line it stands in."""
    answer = service.send("amazon_kdp", BOOK, NAME)
    assert ("queued", False) == (answer.json()["status"], answer.json()["duplicate"])
    status = service.done(answer)
    assert ("completed", 1, None) == (status["status"], status["attempts"], status["error"]), status
    assert (2, 2, "kdp_dashboard") == tuple(status["result"][it] for it in ("events_count", "inserted", "report"))
    rows = service.rows(
        "select source_sha256, sheet, row_number, job_id::text, owner_id from sales.sales_events order by row_number"
    )
    sha256 = answer.json()["file_sha256"]
    found = [("eBook Royalty", row) for row in (2, 3)]
    assert found == [(row["sheet"], row["row_number"]) for row in rows]
    assert {(sha256, status["job_id"], "author")} == {
        (row["source_sha256"], row["job_id"], row["owner_id"]) for row in rows
    }


@pytest.mark.parametrize("content_type", ["application/octet-stream", SHEET, f"{SHEET}; charset=binary"])
def test_the_body_itself_may_be_the_file(service: Served, content_type: str) -> None:
    """As `curl --data-binary @file` sends it; the query names it, without any folder."""
    answer = service.intake.client.post(
        platform_path(), params={"name": f"../{NAME}"}, content=BOOK, headers={**AUTHOR, "content-type": content_type}
    )
    assert "completed" == service.done(answer)["status"]
    assert [{"name": NAME, "status": "ingested"}] == service.rows("select name, status from sales.report_files")


def test_the_original_is_kept_once_under_its_sha256(service: Served) -> None:
    """Sent again it is the same job while that is not finished, then a new one that changes nothing."""
    first, second = service.send("amazon_kdp", BOOK, NAME), service.send("amazon_kdp", BOOK, "renamed.xlsx")
    assert (first.json()["job_id"], True) == (second.json()["job_id"], second.json()["duplicate"])
    assert 2 == service.done(first)["result"]["inserted"]
    third = service.send("amazon_kdp", BOOK, NAME)
    assert (False, True) == (third.json()["duplicate"], third.json()["job_id"] != first.json()["job_id"])
    result = service.done(third)["result"]
    assert (0, 0, 2) == (result["inserted"], result["updated"], result["unchanged"])
    sha256 = hashlib.sha256(BOOK).hexdigest()
    assert BOOK == Path(service.options.files_url, sha256[:2], sha256).read_bytes()
    assert [{"count": 1}] == service.rows("select count(*) from sales.report_files")


def test_a_file_that_was_sent_can_be_asked_for_again(service: Served) -> None:
    """By its SHA-256, by whoever sent it and by nobody else."""
    sent = service.send("amazon_kdp", BOOK, NAME)
    service.done(sent)
    payload = {"file_sha256": sent.json()["file_sha256"]}
    again = service.post(MANUAL, AUTHOR, {"platform": "amazon_kdp", "payload": payload})
    assert ("completed", 2) == ((status := service.done(again))["status"], status["result"]["unchanged"])
    document = refused(service.post(MANUAL, READER, {"platform": "amazon_kdp", "payload": payload}), 422)
    assert "payload.file_sha256" in str(document["errors"])
    refused(service.post(MANUAL, AUTHOR, {"platform": "smashwords", "payload": payload}), 422)


def test_a_payload_of_another_s_file_fails_even_if_it_gets_into_the_queue(service: Served) -> None:
    """The worker judges again: an owner reads no file of another."""
    sha256 = service.send("amazon_kdp", BOOK, NAME).json()["file_sha256"]
    job_id, _ = service.queue.enqueue(ingest_job("amazon_kdp", {"file_sha256": sha256}, owner_id="reader"))
    service.work()
    job = service.job(job_id)
    assert ("FAILED", "permanent", 1) == (job.status, job.error_kind, job.attempt_count)
    assert "was received from reader" in str(job.error_message)


@pytest.mark.parametrize("platform", ["kobo", "AMAZON_KDP", "amazon-kdp", "amazon_kdp%20", "manual"])
def test_there_are_four_platforms_and_no_other(service: Served, platform: str) -> None:
    """404 names them, 422 too."""
    document = refused(service.post(platform_path(platform), AUTHOR, {"payload": {}}), 404)
    assert all(name in str(document["detail"]) for name in PLATFORMS)
    refused(service.post(MANUAL, AUTHOR, {"platform": platform, "payload": {}}), 422)
    assert [] == service.queue.jobs()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_platform_is_asked_for_as_the_seed_prints_it(service: Served, platform: str) -> None:
    """202, an id, queued; the same job from both paths."""
    manual = service.post(MANUAL, AUTHOR, {"platform": platform, "payload": {}})
    direct = service.post(platform_path(platform), AUTHOR)
    assert (202, 202) == (manual.status_code, direct.status_code)
    body = manual.json()
    expected = {"jobId": body["job_id"], "job_id": body["job_id"], "status": "queued", "duplicate": False}
    assert (expected, body["job_id"]) == (body, direct.json()["job_id"])
    assert f"/api/ingestion/status/{body['job_id']}" == manual.headers["location"]


@pytest.mark.parametrize(
    ("platform", "payload", "field"),
    [
        ("amazon_kdp", {"since": "2026-01-01"}, "payload.since"),
        ("amazon_kdp", {"file_sha256": "x"}, "payload.file_sha256"),
        ("amazon_kdp", {"file_sha256": "0" * 64, "path": "a.xlsx"}, "payload"),
        ("amazon_kdp", {"path": ""}, "payload.path"),
        ("amazon_kdp", {"name": "x"}, "payload"),
        ("gumroad", {"since": "yesterday"}, "payload.since"),
        ("gumroad", {"since": "2026-01-01", "full": True}, "payload"),
        ("gumroad", {"sale_id": "../x"}, "payload.sale_id"),
        ("gumroad", {"full": "yes"}, "payload.full"),
    ],
)
def test_a_payload_that_the_platform_does_not_take_is_422(
    service: Served, platform: str, payload: dict[str, Any], field: str
) -> None:
    """Naming the field; no job is made."""
    document = refused(service.post(MANUAL, AUTHOR, {"platform": platform, "payload": payload}), 422)
    assert [field] == [error["field"] for error in document["errors"]]  # type: ignore[attr-defined]
    assert [] == service.queue.jobs()


def test_what_belongs_to_the_account_is_for_its_owner_and_for_applications(service: Served) -> None:
    """Another person sends files of their own, and reads neither the folder nor the API."""
    for body in (
        {"platform": "gumroad", "payload": {}},
        {"platform": "gumroad", "payload": {"sale_id": "x"}},
        {"platform": "amazon_kdp", "payload": {"path": "amazon_kdp/a.xlsx"}},
    ):
        refused(service.post(MANUAL, READER, body), 403)
        assert 202 == service.post(MANUAL, UPLOADER, body).status_code
    assert 202 == service.send("amazon_kdp", BOOK, NAME, READER).status_code


def test_only_the_owner_sees_a_job(service: Served) -> None:
    """Another's is 404, as one that is not there; PostgreSQL shows it to nobody else either."""
    job_id = service.send("amazon_kdp", BOOK, NAME).json()["job_id"]
    assert "queued" == service.status(job_id).json()["status"]
    for who in (READER, UPLOADER):
        refused(service.status(job_id, who), 404)
    for unknown in (str(uuid4()), "1", "not-an-id"):
        refused(service.status(unknown), 404)
    intake_url = service.owner.info.dsn.replace("user=postgres", "user=pipeline_intake")
    with psycopg.connect(intake_url) as connection:
        for user, count in (("author", 1), ("reader", 0), ("", 0)):
            connection.execute("select set_config('app.user_id', %s, true)", [user])
            for table in ("sales.ingestion_jobs", "sales.report_files"):
                assert (count,) == connection.execute(f"select count(*) from {table}".encode()).fetchone()


def test_others_are_refused(service: Served) -> None:
    """Nobody, a token without the scope, the scheduler's secret; and persons do not run the cron."""
    for who in ({}, {"x-app-token": "wrong"}, CRON):
        refused(service.post(MANUAL, who, {"platform": "gumroad"}), 401)
        refused(service.send("amazon_kdp", BOOK, NAME, who), 401)
        refused(service.status(str(uuid4()), who), 401)
    refused(service.post(MANUAL, application("other"), {"platform": "gumroad"}), 403)
    for who in ({}, AUTHOR, UPLOADER):
        refused(service.post(CRON_PATH, who), 401)


def test_each_word_of_the_seed_is_seen(service: Served) -> None:
    """queued, processing, retrying, failed; the error and the attempts with it."""
    job_id = service.send("amazon_kdp", BOOK, NAME).json()["job_id"]

    def seen() -> tuple[str, int, str | None]:
        status = service.status(job_id).json()
        return status["status"], status["attempts"], status["error"]

    assert ("queued", 0, None) == seen()
    for attempt in (1, 2, 3):
        (job,) = service.queue.claim("w", {"platform_ingest": None})
        assert ("processing", attempt) == seen()[:2]
        service.queue.settle(job.attempt_id, "failed", error_kind="transient", error_message="away")
        assert ("failed" if attempt == 3 else "retrying", attempt, "away") == seen()
        service.owner.execute("update operations.jobs set run_at = now() where status = 'RETRYING'")


def test_a_file_that_nobody_can_read_is_quarantined(service: Served) -> None:
    """The job fails at once with what was found and the nearest known; the file is kept, the ledger untouched."""
    book = workbook({"eBook Royalties": [["Royalty Dat", "Title"], ["2026-03-01", "x"]]})
    answer = service.send("amazon_kdp", book, NAME)
    status = service.done(answer)
    assert ("failed", 1) == (status["status"], status["attempts"]), status
    assert "eBook Royalt" in status["error"]
    (file,) = service.rows("select status, reason, job_id::text from sales.report_files")
    assert ("quarantined", status["error"], status["job_id"]) == (file["status"], file["reason"], file["job_id"])
    sha256 = answer.json()["file_sha256"]
    assert book == Path(service.options.files_url, sha256[:2], sha256).read_bytes()
    assert [{"count": 0}] == service.rows("select count(*) from sales.sales_events")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (damaged.zip_bomb(), "bomb"),
        (damaged.lying_bomb(), ""),
        (damaged.memory_bomb(), "memory"),
        (damaged.encrypted_zip(), "encrypted"),
        (damaged.old_xls(encrypted=True), "encrypted"),
        (damaged.old_xls(), "old .xls"),
        (damaged.with_members(BOOK, {"xl/vbaProject.bin": b"macro"}), "macros"),
        (BOOK[: len(BOOK) // 2], "truncated"),
        (b"%PDF-1.7 a report", "PDF"),
        (b"<html>please log in</html>", "web page"),
        (b"\0\1\2\3" * 100, "binary"),
        (b"a,b\n1,2\n", ""),
    ],
    ids=["bomb", "lying", "memory", "zip", "ole", "xls", "macros", "cut", "pdf", "html", "binary", "csv"],
)
def test_hostile_and_broken_files_are_set_aside_whole(service: Served, content: bytes, says: str) -> None:
    """One attempt, a reason, no row, and the next file is taken as ever."""
    status = service.done(service.send("amazon_kdp", content, NAME))
    assert ("failed", 1) == (status["status"], status["attempts"]), status
    assert says in status["error"]
    assert ["quarantined"] == [row["status"] for row in service.rows("select status from sales.report_files")]
    assert [{"count": 0}] == service.rows("select count(*) from sales.sales_events")
    assert "completed" == service.done(service.send("amazon_kdp", BOOK, NAME))["status"]


def test_a_formula_is_read_as_the_value_beside_it(service: Served) -> None:
    """Never evaluated, wherever it leads."""
    book = damaged.with_formulas("O2", "WEBSERVICE(&quot;http://127.0.0.1:9/&quot;)", "7")
    assert "completed" == service.done(service.send("amazon_kdp", book, NAME))["status"]
    assert [{"royalty": "7.00000000"}] == service.rows("select royalty::text from sales.sales_events")


def test_a_wrong_extension_does_not_matter(service: Served) -> None:
    """What a file is says its content."""
    assert "completed" == service.done(service.send("amazon_kdp", BOOK, "report.csv"))["status"]


def big(size: int) -> Iterator[bytes]:
    block = b"x" * 1024**2
    for start in range(0, size, len(block)):
        yield block[: size - start]


def test_a_file_of_200_megabytes_is_taken_without_holding_it(service: Served) -> None:
    """It goes to disk as it comes: the server's memory grows by far less than the file."""
    peak, over = 0, threading.Event()
    process = psutil.Process(service.intake.process.pid)

    def used() -> int:
        return sum(it.memory_info().rss for it in [process, *process.children(recursive=True)])

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.05):
            peak = max(peak, used())

    before = used()
    thread = threading.Thread(target=watch)
    thread.start()
    headers = {**AUTHOR, "content-type": "application/octet-stream"}
    try:
        answer = service.intake.client.post(platform_path(), content=big(MAX_FILE_BYTES), headers=headers, timeout=120)
    finally:
        over.set()
        thread.join()
    assert 202 == answer.status_code, answer.text
    assert peak - before < 100 * 1024**2
    sha256 = answer.json()["file_sha256"]
    kept = Path(service.options.files_url, sha256[:2], sha256)
    assert MAX_FILE_BYTES == kept.stat().st_size
    kept.unlink()


def test_a_larger_file_is_413(service: Served) -> None:
    """Declared, it is refused before it is sent; nothing is kept of it."""
    head = (
        f"POST {platform_path()} HTTP/1.1\r\nhost: x\r\ncontent-type: {SHEET}\r\n"
        f"authorization: {AUTHOR['authorization']}\r\ncontent-length: {MAX_FILE_BYTES + 10**6}\r\n\r\n"
    )
    assert b" 413 " in service.intake.exchange(head.encode()).split(b"\r\n")[0]
    assert [] == service.queue.jobs()


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("application/x-www-form-urlencoded", 415), ("text/html", 415), ("multipart/form-data", 400), ("", 415)],
)
def test_a_body_of_another_type_is_refused(service: Served, content_type: str, status: int) -> None:
    """Naming those that are taken."""
    answer = service.intake.client.post(platform_path(), content=BOOK, headers={**AUTHOR, "content-type": content_type})
    refused(answer, status)
    assert [] == service.queue.jobs()


def test_a_form_with_other_parts_is_refused(service: Served) -> None:
    """Nobody is told that a field counted that did not."""
    answer = service.intake.client.post(
        platform_path(), files={"file": (NAME, BOOK)}, data={"owner": "reader"}, headers=AUTHOR
    )
    assert "owner" in str(refused(answer, 422)["errors"])


def test_a_person_has_a_limited_number_of_unfinished_jobs(service: Served) -> None:
    """The next is told to wait."""
    for number in range(MOST_UNFINISHED):
        service.queue.enqueue(ingest_job("gumroad", {"sale_id": str(number)}, owner_id="author"))
    answer = service.send("amazon_kdp", BOOK, NAME)
    refused(answer, 429)
    assert "60" == answer.headers["retry-after"]
    assert 202 == service.send("amazon_kdp", BOOK, NAME, UPLOADER).status_code


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_the_cron_waits_for_due_jobs_and_counts_them(service: Served, pool: ThreadPoolExecutor) -> None:
    """Ten of twelve at most, and each that fails counts as one that was worked on; a line in cron_logs."""
    for number in range(12):
        service.queue.enqueue(ingest_job("amazon_kdp", {"file_sha256": f"{number:064}"}, owner_id="author"))
    answer = pool.submit(service.post, CRON_PATH, CRON)
    eventually(lambda: service.rows("select from operations.cron_logs where status = 'running'"))
    service.work()
    assert (200, {"processed": 10}) == (answer.result().status_code, answer.result().json())
    (log,) = service.rows(
        "select path, status, processed_count, finished_at >= started_at as ended from operations.cron_logs"
    )
    assert {"path": CRON_PATH, "status": "success", "processed_count": 10, "ended": True} == log


@pytest.mark.parametrize("header", [CRON, {"x-vercel-cron-secret": CRON["authorization"].removeprefix("Bearer ")}])
def test_the_cron_has_nothing_to_do(service: Served, header: dict[str, str]) -> None:
    """Jobs of other kinds are not its business; it answers at once."""
    service.owner.execute("insert into operations.jobs (job_type, owner_id) values ('market_ingest', 'x')")
    assert {"processed": 0} == service.post(CRON_PATH, header).json()


def test_the_cron_does_not_wait_for_ever(service: Served) -> None:
    """No worker: what was not worked on is not counted, and stays due."""
    service.queue.enqueue(ingest_job("amazon_kdp", {"file_sha256": "0" * 64}, owner_id="author"))
    assert {"processed": 0} == service.post(CRON_PATH, CRON).json()
    assert "QUEUED" == service.queue.jobs()[0].status


def test_the_seed_s_monitoring_runs_unchanged(service: Served) -> None:
    """Word for word; the id stands where the seed has a place for it."""
    service.post(CRON_PATH, CRON)
    failed = service.done(service.send("amazon_kdp", b"no report", NAME))
    logs, jobs, attempts = (DATA / "sales" / "monitoring.sql").read_text().strip().splitlines()
    (path,) = service.rows(SEARCH_PATH, TEMPLATE)
    with psycopg.connect(service.owner.info.dsn, row_factory=dict_row) as connection:
        connection.execute(f"set {path['setting']}".encode())
        connection.execute("set role pipeline_reader")
        (log,) = connection.execute(logs.encode()).fetchall()
        (job,) = connection.execute(jobs.encode()).fetchall()
        (attempt,) = connection.execute(attempts.replace("[jobId]", failed["job_id"]).encode()).fetchall()
    assert ("success", 0) == (log["status"], log["processed_count"])
    assert (failed["job_id"], failed["error"]) == (str(job["id"]), job["error_message"])
    assert (failed["job_id"], 1, "failed") == (str(attempt["job_id"]), attempt["attempt_number"], attempt["status"])


def pinged(service: Served, path: str = PING, **fields: str) -> httpx.Response:
    return service.intake.client.post(path, data={"seller_id": "x", "price": "999", "test": "true", **fields})


def test_a_ping_asks_for_the_sale_that_it_names(service: Served) -> None:
    """Of the account's owner; sent again, the same job. Nothing else of it is kept."""
    for _ in range(2):
        answer = pinged(service, sale_id="A-m3CDDC5dlrSdKZp0RFhA==", resource_name="refund")
        assert (200, {"received": True}) == (answer.status_code, answer.json())
    (job,) = service.queue.jobs()
    assert ("author", {"platform": "gumroad", "payload": {"sale_id": "A-m3CDDC5dlrSdKZp0RFhA=="}}) == (
        job.owner_id,
        job.input_data,
    )
    answer = service.intake.client.post(PING, json={"sale_id": "another", "url_params": {"a": [1]}})
    assert (200, 2) == (answer.status_code, len(service.queue.jobs()))


@pytest.mark.parametrize("secret", ["x", PING_SECRET + "x", PING_SECRET.upper(), "%00"])
def test_a_ping_at_another_path_is_404(service: Served, secret: str) -> None:
    """As if there were nothing, and no job is made."""
    refused(pinged(service, f"/api/ingestion/gumroad/ping/{secret}", sale_id="x"), 404)
    assert [] == service.queue.jobs()


@pytest.mark.parametrize("fields", [{}, {"sale_id": ""}, {"sale_id": "../x"}, {"sale_id": "x" * 201}])
def test_a_ping_without_a_sale_is_422(service: Served, fields: dict[str, str]) -> None:
    """Gumroad's pings of a resource always name one."""
    refused(pinged(service, **fields), 422)
    assert [] == service.queue.jobs()


def test_the_secret_of_pings_is_not_logged(service: Served) -> None:
    """Neither by the server nor in the request log."""
    pinged(service, sale_id="x")
    pinged(service, sale_id="")
    eventually(lambda: service.rows("select from operations.api_requests where path like '%ping%'"))
    assert PING_SECRET not in service.intake.printed()
    assert [] == service.rows("select from operations.api_requests where path like %s", f"%{PING_SECRET}%")


def test_the_document_shows_the_endpoints(service: Served) -> None:
    """Each of the seed's, and that of pings."""
    paths = service.intake.get("/openapi.json").json()["paths"]
    assert {
        MANUAL,
        CRON_PATH,
        "/api/ingestion/platform/{platform}",
        "/api/ingestion/status/{job_id}",
        "/api/ingestion/gumroad/ping/{secret}",
    } <= set(paths)
