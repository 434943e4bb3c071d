"""S3's endpoints through a real server, with a real worker behind: bodies and words as the seed has them."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from ingestion_pipeline.domains.sales.cron import PATH as CRON_PATH
from ingestion_pipeline.domains.sales.inputs import MOST_FILE_BYTES, PLATFORMS
from ingestion_pipeline.domains.sales.jobs import ingest_job
from ingestion_pipeline.domains.sales.routes import MOST_UNFINISHED, RATE
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.conftest import DATA
from ingestion_pipeline_tests.databases import TEMPLATE
from ingestion_pipeline_tests.domains.operations.served_jobs import application
from ingestion_pipeline_tests.domains.sales import kdp_damaged as damaged
from ingestion_pipeline_tests.domains.sales.kdp_reports import Sale, estimate_sheets, workbook
from ingestion_pipeline_tests.domains.sales.served_sales import (
    AUTHOR,
    CRON,
    READER,
    SERVED,
    SHEET,
    UPLOADER,
    Served,
)
from ingestion_pipeline_tests.intake.process import running
from ingestion_pipeline_tests.intake.test_routing import refused

BOOK = workbook(estimate_sheets([Sale(), Sale(marketplace="Amazon.de", currency="EUR")]))
NAME = "KDP_Dashboard-1.xlsx"
MANUAL = "/api/ingestion/manual"
SEARCH_PATH = """
select unnest(setconfig) as setting from pg_db_role_setting
where setrole = 0 and setdatabase = (select oid from pg_database where datname = %s)
"""
"""What the migrations gave the database; a clone does not inherit it."""


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
        answer = service.send("amazon_kdp", BOOK, NAME, who)
        refused(answer, 401)
        assert "close" == answer.headers["connection"]  # the file was not read: nothing else can follow it
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
        answer = service.intake.client.post(platform_path(), content=big(MOST_FILE_BYTES), headers=headers, timeout=120)
    finally:
        over.set()
        thread.join()
    assert 202 == answer.status_code, answer.text
    assert peak - before < 100 * 1024**2
    sha256 = answer.json()["file_sha256"]
    kept = Path(service.options.files_url, sha256[:2], sha256)
    assert MOST_FILE_BYTES == kept.stat().st_size
    kept.unlink()


def test_a_larger_file_is_413(service: Served) -> None:
    """Declared, it is refused before it is sent; nothing is kept of it."""
    head = upload_head(MOST_FILE_BYTES + 10**6)
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


@pytest.mark.parametrize(
    ("kind", "owner", "who", "other"),
    [("person", "author", AUTHOR, UPLOADER), ("application", "application:uploader", UPLOADER, AUTHOR)],
)
def test_a_caller_has_a_limited_number_of_unfinished_jobs(
    service: Served, kind: str, owner: str, who: dict[str, str], other: dict[str, str]
) -> None:
    """The next is told to wait, until one of them is over."""
    service.owner.execute(
        "insert into operations.jobs (job_type, owner_id, unique_key) "
        "select 'platform_ingest', %s, number::text from generate_series(1, %s) as number",
        [owner, MOST_UNFINISHED[kind]],
    )
    answer = service.send("amazon_kdp", BOOK, NAME, who)
    refused(answer, 429)
    assert "60" == answer.headers["retry-after"]
    assert 202 == service.send("amazon_kdp", BOOK, NAME, other).status_code
    (row,) = service.rows("select job_id::text from operations.jobs where unique_key = '1'")
    service.queue.cancel(row["job_id"])
    assert 202 == service.send("amazon_kdp", BOOK, NAME, who).status_code


@pytest.mark.parametrize("path", [MANUAL, "/api/ingestion/gumroad/ping/guess"])
def test_an_address_may_not_call_without_end(service: Served, path: str) -> None:
    """Neither with credentials that are guessed nor at paths that are; others go on."""
    most = int(RATE.partition("/")[0])
    there = httpx.HTTPTransport(local_address=f"127.0.{len(path)}.1")
    with httpx.Client(base_url=service.intake.client.base_url, transport=there) as client:
        statuses = {client.post(path, json={"sale_id": "x"}).status_code for _ in range(most)}
        assert {401 if path == MANUAL else 404} == statuses
        answer = client.post(path, json={})
    refused(answer, 429)
    assert int(answer.headers["retry-after"]) > 0
    assert 202 == service.post(MANUAL, AUTHOR, {"platform": "gumroad"}).status_code


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "query"])
@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("2026-03-05T10:00:00+02:00", "2026-03-05T08:00:00"),
        ("2026-03-05T08:00:00Z", "2026-03-05T08:00:00"),
        ("2026-03-05", "2026-03-05T00:00:00"),
    ],
)
def test_a_sender_may_say_when_a_file_was_exported(service: Served, said: str, stored: str, *, as_form: bool) -> None:
    """Of two reports that say the same, the one exported last is right, whichever came last."""
    newer, older = (workbook(estimate_sheets([Sale(royalty=royalty)])) for royalty in ("9.00", "1.00"))
    service.done(service.send("amazon_kdp", newer, NAME))
    assert "completed" == service.done(exported(service, older, said, as_form=as_form))["status"]
    assert [{"royalty": "9.00000000"}] == service.rows(
        "select royalty::text from sales.sales_events where superseded_by is null"
    )
    (file,) = service.rows(
        "select exported_at at time zone 'UTC' as it from sales.report_files order by exported_at limit 1"
    )
    assert stored == file["it"].isoformat()


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "query"])
@pytest.mark.parametrize("said", ["2099-01-01T00:00:00Z", "1999-12-31", "yesterday", "", "0001-01-01T00:00:00+23:59"])
def test_a_file_cannot_have_been_exported_then(service: Served, said: str, *, as_form: bool) -> None:
    """It would win against every later report, or means nothing; nothing is kept."""
    document = refused(exported(service, BOOK, said, as_form=as_form), 422)
    assert ["exported_at"] == [error["field"] for error in document["errors"]]  # type: ignore[attr-defined]
    assert ([], []) == (service.queue.jobs(), service.rows("select from sales.report_files"))


def exported(service: Served, content: bytes, said: str, *, as_form: bool) -> httpx.Response:
    """A file with when it was exported, in a form or as the body."""
    if as_form:
        return service.intake.client.post(
            platform_path(), files={"file": (NAME, content)}, data={"exported_at": said}, headers=AUTHOR
        )
    return service.intake.client.post(
        platform_path(), params={"exported_at": said}, content=content, headers={**AUTHOR, "content-type": SHEET}
    )


def test_one_byte_too_many_is_413_without_a_length_too(service: Served) -> None:
    """Chunked: how much comes is seen only when it has."""
    headers = {**AUTHOR, "content-type": "application/octet-stream"}
    answer = service.intake.client.post(platform_path(), content=big(MOST_FILE_BYTES + 1), headers=headers, timeout=120)
    refused(answer, 413)
    assert ([], []) == (service.queue.jobs(), service.rows("select from sales.report_files"))
    assert [] == upload_files(service)


def test_a_sender_who_hangs_up_leaves_nothing(service: Served) -> None:
    """What came of the file is gone from the disk."""
    with socket.create_connection(("127.0.0.1", service.intake.port), timeout=30) as connection:
        connection.sendall(upload_head(1000).encode() + b"x" * 999)
        eventually(lambda: upload_files(service))
    eventually(lambda: not upload_files(service))
    assert [] == service.queue.jobs()


def test_a_disk_that_is_full_is_503(service: Served) -> None:
    """Nothing is kept; when there is room again the same file is taken."""
    workers = service.intake.workers()
    limits = workers[0].rlimit(psutil.RLIMIT_FSIZE)
    content = bytes(4 * 1024**2)
    try:
        for worker in workers:
            worker.rlimit(psutil.RLIMIT_FSIZE, (2 * 1024**2, limits[1]))
        answer = service.send("amazon_kdp", content, NAME)
    finally:
        for worker in workers:
            worker.rlimit(psutil.RLIMIT_FSIZE, limits)
    assert "cannot be stored" in str(refused(answer, 503)["detail"])
    assert [] == upload_files(service)
    assert 202 == service.send("amazon_kdp", content, NAME).status_code


def test_a_file_that_stops_coming_is_408(service: Served, server: EmbeddedServer, tmp_path: Path) -> None:
    """After BODY_TIMEOUT_SECONDS in which nothing came."""
    address = server.url(role="pipeline_intake", database=service.owner.info.dbname)
    with running(address, tmp_path, SERVED, BODY_TIMEOUT_SECONDS="0.2") as intake:
        assert b" 408 " in intake.exchange(upload_head(1000).encode() + b"x" * 999).split(b"\r\n")[0]
    assert [] == service.queue.jobs()


def upload_head(length: int) -> str:
    return (
        f"POST {platform_path()} HTTP/1.1\r\nhost: x\r\ncontent-type: {SHEET}\r\n"
        f"authorization: {AUTHOR['authorization']}\r\ncontent-length: {length}\r\n\r\n"
    )


def upload_files(service: Served) -> list[str]:
    """The nameless files that the server holds open."""
    links = [link for worker in service.intake.workers() for link in Path(f"/proc/{worker.pid}/fd").iterdir()]
    return [found for link in links if (found := read_link(link)).endswith("(deleted)")]


def read_link(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


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
