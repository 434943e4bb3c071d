"""`alerts list` and `alerts test` on a real database and with real receivers."""

import json
from datetime import timedelta

import pytest
from pytest_httpserver import HTTPServer
from typer.testing import CliRunner, Result

from ingestion_pipeline.commands.alerts import alerts
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.storage.alerts import QUIET_TIME, Alert, due_notices, raise_alert, resolve_alert
from ingestion_pipeline.storage.postgres import Postgres

CANARY = "hook-geheim42"


@pytest.fixture(autouse=True)
def _environment(worker_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name, value in {
        "DATABASE_URL": worker_url,
        "INGESTION_HOME": str(tmp_path_factory.mktemp("home")),
        "ALERT_PRIVATE_TARGETS": "true",
    }.items():
        monkeypatch.setenv(name, value)


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(alerts, arguments)


def test_nothing_wrong_is_said() -> None:
    done = typed("list")
    assert (0, "no alerts\n") == (done.exit_code, done.stdout)


def test_alerts_are_listed_with_since_when_and_who_knows(postgres: Postgres) -> None:
    """Those that are over with --all."""
    earlier = utc_now() - timedelta(hours=1)
    raise_alert(postgres, Alert("error", "the disk is full", {"disk": "sda"}), "disk:sda", now=earlier)
    raise_alert(postgres, Alert("info", "it was short"), "short", now=earlier)
    resolve_alert(postgres, "short", now=earlier)
    due_notices(postgres, now=earlier + QUIET_TIME)
    since = f"{earlier:%Y-%m-%d %H:%M}"
    listed = f"error     disk:sda  the disk is full  since {since}, raised 1 time(s)  nobody told\n"
    assert listed == typed("list").stdout
    assert (
        listed + f"info      short  it was short  since {since}, raised 1 time(s)  over {since}  nobody told\n"
        == typed("list", "--all").stdout
    )
    (row,) = [json.loads(line) for line in typed("list", "--json").stdout.splitlines()]
    assert ("disk:sda", {"disk": "sda"}, "alert") == (row["alert_key"], row["context"], row["notice"])
    assert 1 == len(typed("list", "--all", "--limit", "1").stdout.splitlines())


def test_every_target_is_tried(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails if one does not take it; no address is shown."""
    httpserver.expect_request(f"/{CANARY}").respond_with_data("taken")
    monkeypatch.setenv("ALERT_WEBHOOK_URL", httpserver.url_for(f"/{CANARY}"))
    monkeypatch.setenv("ALERT_MIN_SEVERITY", "critical")
    done = typed("test")
    assert (0, "taken") == (done.exit_code, done.stdout.split()[1])
    monkeypatch.setenv("ALERT_TARGETS", f"json://127.0.0.1:{httpserver.port}/other/{CANARY}")
    done = typed("test")
    assert 1 == done.exit_code
    assert ["taken", "status 500"] == [line.partition("  ")[2] for line in done.stdout.splitlines()]
    assert CANARY not in done.output


def test_without_a_target_the_setting_is_named() -> None:
    done = typed("test")
    assert isinstance(done.exception, ConfigurationError)
    assert "ALERT_WEBHOOK_URL" == done.exception.variable


def test_a_target_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_TARGETS", f"slakc://{CANARY}")
    done = typed("test")
    assert "ALERT_TARGETS='slakc://***': expected a known target of Apprise" == str(done.exception)
