"""The OpenAPI document is true: what it says is what the server does, whatever a caller may send."""

import subprocess
import sys
from pathlib import Path

import pytest

from ingestion_pipeline.asgi import DOMAINS
from ingestion_pipeline_tests.intake.process import APP_TOKEN, CRON_SECRET, REAL, SAMPLE, Intake, running
from ingestion_pipeline_tests.intake.test_routing import refused

BY_DESIGN = "^/(broken|api/health/data)$"  # the second answers 503 while no daemon has judged the data
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "ignored_auth",
)


@pytest.mark.parametrize("command", [SAMPLE, REAL], ids=["sample", "real"])
def test_schemathesis_finds_no_5xx_and_no_undocumented_answer(
    intake_url: str, home: Path, command: tuple[str, ...]
) -> None:
    """Every endpoint that is mounted, examples and edges and twenty random calls each, the same ones every time."""
    with running(intake_url, home, command, JOB_WAIT_SECONDS="0.1") as server:  # nobody works on jobs here
        options = ["--generation-deterministic", "--max-examples", "20", "--phases", "examples,coverage,fuzzing"]
        options += ["--checks", ",".join(CHECKS), "--exclude-path-regex", BY_DESIGN, "--no-color", "--warnings", "off"]
        options += ["--request-timeout", "30"]
        options += ["-H", f"x-app-token: {APP_TOKEN}", "-H", f"x-cron-secret: {CRON_SECRET}"]
        tested = subprocess.run(
            [str(Path(sys.executable).parent / "st"), "run", f"http://127.0.0.1:{server.port}/openapi.json", *options],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        operations = sum(len(methods) for methods in server.get("/openapi.json").json()["paths"].values())
        assert 0 == tested.returncode, tested.stdout + tested.stderr
        left_out = 2  # the document itself, and the one that answers 5xx by design
        assert f" {operations - left_out} passed" in tested.stdout, tested.stdout
        assert [] == [line for line in server.lines() if line["level"] in ("error", "critical")]


def test_the_document_says_what_an_endpoint_says_of_itself(intake: Intake) -> None:
    document = intake.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    echo = document["paths"]["/sample/echo"]["post"]
    assert {"plain": {"value": {"name": "a"}}} == echo["requestBody"]["content"]["application/json"]["examples"]
    assert [{"appToken": []}] == echo["security"]
    assert {"202", "400", "401", "403", "408", "413", "415", "422", "503"} == set(echo["responses"])
    limited = document["paths"]["/sample/limited"]["get"]["responses"]
    assert "Retry-After" in limited["429"]["headers"]
    assert all("RateLimit-Remaining" in answer["headers"] for answer in limited.values())
    assert [{"appToken": []}, {"bearer": []}] == document["paths"]["/sample/closed"]["get"]["security"]


def test_operations_have_different_names(intake: Intake) -> None:
    """Clients are generated from them."""
    paths = intake.get("/openapi.json").json()["paths"].values()
    names = [operation["operationId"] for methods in paths for operation in methods.values()]
    assert len(names) == len(set(names))


def test_the_page_shows_every_operation_and_loads_nothing(intake: Intake) -> None:
    """A machine without internet shows it whole."""
    page = intake.get("/docs")
    assert "text/html; charset=utf-8" == page.headers["content-type"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path, methods in intake.get("/openapi.json").json()["paths"].items():
        assert path in page.text
        assert all(operation["operationId"] in page.text for operation in methods.values())
    for outside in ("<script", "<link", "src=", "http://", "https://"):
        assert outside not in page.text


def test_the_real_application_has_domains() -> None:
    """The sample is for tests of the framework; the first test above runs over these."""
    assert DOMAINS


def test_a_document_is_not_for_browsers_of_other_pages(intake: Intake) -> None:
    refused(intake.get("/openapi.json", headers={"Origin": "https://example.com"}), 403)
