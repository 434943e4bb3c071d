"""From the path to the handler and back: what is found, what is refused and in which order, as callers see it."""

import httpx
import pytest

from ingestion_pipeline_tests.intake.process import APP_TOKEN, CRON_SECRET, Intake

PROBLEM = "application/problem+json"


def refused(answer: httpx.Response, status: int) -> dict[str, object]:
    """The problem document, which is whole and agrees with the answer that carries it."""
    assert (status, PROBLEM) == (answer.status_code, answer.headers["content-type"]), answer.text
    document: dict[str, object] = answer.json()
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= set(document)
    assert (status, answer.headers["x-request-id"]) == (document["status"], document["request_id"])
    return document


def test_a_call_that_is_right_reaches_the_handler(intake: Intake) -> None:
    answer = intake.post("/sample/echo", b'{"name": "a", "count": 2, "data": [1, {"b": "\xc3\xa9"}]}')
    assert (202, {"name": "a", "count": 2, "data": [1, {"b": "é"}]}) == (answer.status_code, answer.json())
    assert "application/json" == answer.headers["content-type"]


def test_a_path_that_is_not_there_is_a_problem(intake: Intake) -> None:
    """Also one that only lacks or has a slash too many: nothing is redirected."""
    for path in ("/nothing", "/sample/echo/", "/sample//echo", "/sample/markets/", "/sample/markets/a/b", "/Health"):
        assert path == refused(intake.get(path), 404)["instance"]


def test_a_method_that_is_not_there_says_which_are(intake: Intake) -> None:
    for method, path, allowed in (
        ("GET", "/sample/echo", "POST"),
        ("DELETE", "/health", "GET, HEAD"),
        ("OPTIONS", "/sample/echo", "POST"),
        ("BREW", "/sample/echo", "POST"),
    ):
        answer = intake.client.request(method, path)
        refused(answer, 405)
        assert allowed == answer.headers["allow"]


def test_head_is_get_without_the_body(intake: Intake) -> None:
    head, get = intake.client.head("/sample/markets/BTC"), intake.get("/sample/markets/BTC")
    assert (200, b"", get.headers["content-length"]) == (head.status_code, head.content, head.headers["content-length"])


def test_what_a_scheduler_starts_has_no_head(intake: Intake) -> None:
    """A link checker that holds the secret starts nothing."""
    headers = {"x-cron-secret": CRON_SECRET}
    assert 200 == intake.get("/sample/start", headers=headers).status_code
    head = intake.client.head("/sample/start", headers=headers)
    assert (405, "GET") == (head.status_code, head.headers["allow"])


def test_path_and_query_are_decoded(intake: Intake) -> None:
    assert {"symbol": "BTC-USD é"} == intake.get("/sample/markets/BTC-USD%20%C3%A9").json()
    answer = intake.get("/sample/limited", params={"a": "ü&=", "b": ""})
    assert {"a": "ü&=", "b": ""} == answer.json()["query"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("a=%ff", 400), ("a=1&a=2", 422), ("a=%00", 422), ("%00=1", 422), ("&".join(f"a{i}=1" for i in range(60)), 422)],
)
def test_a_query_that_nothing_can_work_with_is_refused(intake: Intake, query: str, status: int) -> None:
    refused(intake.get(f"/sample/limited?{query}"), status)


def test_a_path_value_without_meaning_is_not_found(intake: Intake) -> None:
    for value in ("%00", "a%0ab", "%1b[31m"):
        refused(intake.get(f"/sample/markets/{value}"), 404)


def test_the_caller_s_request_id_is_kept_if_it_is_sane(intake: Intake) -> None:
    """In the header and in problems; anything else gets a new id."""
    for sane in ("a", "Trace-1.2_x", "9" * 64):
        answer = intake.get("/nothing", headers={"X-Request-Id": sane})
        assert sane == refused(answer, 404)["request_id"]
    for odd in ("", "a b", "9" * 65, "x;y", "<script>", "é".encode()):
        answer = intake.get("/health", headers={"X-Request-Id": odd})
        assert 36 == len(answer.headers["x-request-id"])


def test_answers_of_every_kind_carry_the_safe_headers(intake: Intake) -> None:
    for path in ("/health", "/", "/nothing", "/sample/markets/a", "/broken"):
        headers = intake.get(path).headers
        assert ("no-store", "nosniff", "DENY") == (
            headers["cache-control"],
            headers["x-content-type-options"],
            headers["x-frame-options"],
        )


def test_browsers_are_denied_except_for_health_and_the_status_page(intake: Intake) -> None:
    """A preflight too; no answer carries a header that would let a page read it."""
    origin = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    assert (200, 200) == tuple(intake.get(path, headers=origin).status_code for path in ("/health", "/"))
    for method, path in (("OPTIONS", "/sample/echo"), ("GET", "/docs"), ("GET", "/nothing"), ("POST", "/sample/echo")):
        answer = intake.client.request(method, path, headers=origin)
        assert "urn:problem:browser-denied" == refused(answer, 403)["type"]
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_error_of_ours_is_500_and_tells_nothing(intake: Intake) -> None:
    """The log has it, under the request id that the caller was given."""
    document = refused(intake.get("/broken"), 500)
    assert "geheim" not in str(document)
    (line,) = [line for line in intake.lines() if line.get("request_id") == document["request_id"]]
    assert "RuntimeError: canary" in line["exception"]


def test_a_store_that_is_away_is_503_with_a_time_to_come_back(intake: Intake) -> None:
    answer = intake.get("/broken?store=1")
    assert "geheim" not in str(refused(answer, 503))
    assert int(answer.headers["retry-after"]) >= 1


def test_credentials_are_looked_at_before_the_body(intake: Intake) -> None:
    """Nobody unknown makes the service read megabytes, or learns what a body must be."""
    answer = intake.client.post("/sample/echo", content=b"x" * 1000)
    refused(answer, 401)
    assert 202 == intake.post("/sample/echo", b'{"name": "a"}', headers={"x-app-token": APP_TOKEN}).status_code


def test_handlers_work_as_the_role_of_the_intake(intake: Intake) -> None:
    """And read instants in UTC."""
    assert {"row": ["pipeline_intake", "UTC"]} == intake.get("/sample/database").json()
