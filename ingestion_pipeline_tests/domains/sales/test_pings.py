"""Gumroad's pings through a real server: what is believed of them, and how many jobs they make."""

import httpx
import pytest

from ingestion_pipeline.domains.sales.pings import MOST_PINGED
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.sales.served_sales import PING_SECRET, Served
from ingestion_pipeline_tests.intake.test_routing import refused

PING = f"/api/ingestion/gumroad/ping/{PING_SECRET}"


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


def test_pings_of_many_sales_become_one_job_that_reads_what_is_new(service: Served) -> None:
    """Whoever has the path cannot fill the queue."""
    for number in range(MOST_PINGED + 3):
        assert 200 == pinged(service, sale_id=f"s{number}").status_code
    payloads = [row["it"] for row in service.rows("select input_data -> 'payload' as it from operations.jobs")]
    assert (MOST_PINGED, 1) == (sum("sale_id" in it for it in payloads), payloads.count({}))


def test_a_ping_of_a_sale_that_is_being_read_is_not_lost(service: Served) -> None:
    """It may have been read as it was before: it is read once more, not twice more."""
    pinged(service, sale_id="x")
    (claimed,) = service.queue.claim("w", {"platform_ingest": None})
    for _ in range(2):
        pinged(service, sale_id="x")
    running, waiting = sorted(service.queue.jobs(), key=lambda job: job.created_at)
    assert (claimed.job_id, "RUNNING", "QUEUED") == (running.job_id, running.status, waiting.status)
    assert running.input_data == waiting.input_data
