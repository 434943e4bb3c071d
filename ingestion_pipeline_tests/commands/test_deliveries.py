"""The inbox in the terminal: what was delivered, why it was refused, and its way back."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from ingestion_pipeline.commands.deliveries import deliveries
from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.silence import parse_silence
from ingestion_pipeline.domains.operations.silence import silent_sources
from ingestion_pipeline.storage.inbox import NewDelivery, accept_all
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.operations.deliveries import kept

MACRO = {
    "event_type": "macro.update",
    "data": {"series_id": "UNRATE", "observations": [{"date": "2025-03-01", "value": 4.1}]},
}


class Terminal:
    def __init__(self, url: str, home: Path) -> None:
        self._given = {"DATABASE_URL": url, "INGESTION_HOME": str(home), "INTAKE_DATABASE_URL": ""}

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(deliveries, arguments, env=self._given)

    def said(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert (0, None) == (done.exit_code, done.exception), done.output
        return done.output


@pytest.fixture
def terminal(worker_url: str, tmp_path: Path) -> Terminal:
    return Terminal(worker_url, tmp_path)


def put(postgres: Postgres, key: str, payload: Any = None, **over: Any) -> str:
    given = {
        "source": "acme",
        "idempotency_key": key,
        "event_type": "macro.update",
        "payload": json.dumps(MACRO if payload is None else payload).encode(),
        "scheme": "sha256",
        "signed_by": "acme 1",
    }
    with postgres.transaction() as connection:
        return accept_all(connection, [NewDelivery(**given | over)])[0].delivery_id


def test_deliveries_are_listed_with_the_reason_below(terminal: Terminal, postgres: Postgres) -> None:
    good = put(postgres, "a", market_slug="dallas")
    bad = put(postgres, "b", reason="data: expected object")
    first, reason, second = terminal.said("list").splitlines()
    assert first.startswith(bad)
    assert "    data: expected object" == reason
    assert [good, "pending", "acme", "macro.update", "dallas"] == [second.split()[n] for n in (0, 3, 4, 5, 6)]
    assert bad in terminal.said("list", "--status", "rejected", "--source", "acme", "--type", "macro.update")
    assert 1 == len(terminal.said("list", "--limit", "1", "--status", "pending").splitlines())
    assert "no deliveries\n" == terminal.said("list", "--from", "2030-01-01")
    assert "no deliveries\n" == terminal.said("list", "--to", "2020-01-01")


def test_one_is_shown_as_json(terminal: Terminal, postgres: Postgres) -> None:
    delivery_id = put(postgres, "a")
    shown = json.loads(terminal.said("show", delivery_id))
    assert (delivery_id, MACRO, "pending") == (shown["delivery_id"], shown["payload"], shown["status"])


def test_what_a_sender_wrote_cannot_steer_the_terminal(terminal: Terminal, postgres: Postgres) -> None:
    put(postgres, "a", event_type="x\x1b[2J\nfake line", reason="no\x1b[2J such\rtype")
    first, reason = terminal.said("list").splitlines()
    assert "x\ufffd[2J\ufffdfake line" in first
    assert "    no\ufffd[2J such\ufffdtype" == reason


@pytest.mark.parametrize("delivery_id", ["17", "00000000-0000-0000-0000-000000000000"])
def test_one_that_is_not_there_is_said_to_be_missing(terminal: Terminal, delivery_id: str) -> None:
    done = terminal.run("show", delivery_id)
    assert isinstance(done.exception, ConfigurationError)
    assert "deliveries list" in str(done.exception)


def test_refused_ones_are_replayed(terminal: Terminal, postgres: Postgres, database_url: str) -> None:
    """Judged by the types of the property domain; first without doing it."""
    good = put(postgres, "a", reason="unknown then")
    put(postgres, "b", payload={"event_type": "macro.update", "data": {}}, reason="wrong")
    said = "2 refused deliveries: 1 would be applied again, 1 still rejected\n"
    assert said == terminal.said("replay", "--dry-run")
    assert {"rejected"} == {row["status"] for row in kept(database_url)}
    assert "0 refused deliveries" in terminal.said("replay", "--status", "dead")
    assert "0 refused deliveries" in terminal.said("replay", "--source", "other")
    assert "0 refused deliveries" in terminal.said("replay", "--to", "2020-01-01")
    assert "1 refused deliveries: 1 are applied again" in terminal.said("replay", "--id", good)
    assert "1 refused deliveries: 0 are applied again, 1 still" in terminal.said("replay")
    found = {row["idempotency_key"]: row for row in kept(database_url)}
    assert ("pending", "rejected") == (found["a"]["status"], found["b"]["status"])
    assert found["a"]["replayed_by"].startswith("cli")
    assert "series_id" in found["b"]["reason"]


def audits(url: str) -> list[tuple[str, Any]]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select actor, action, details from operations.audit_log order by audit_id"
        ).fetchall()
    assert all(actor.startswith("cli") for actor, *_ in found)
    return [(action, details) for _, action, details in found]


def test_refused_ones_are_discarded(terminal: Terminal, postgres: Postgres, database_url: str) -> None:
    """Those of the filters, never one that waits or is processed; then their keys are free. Audited."""
    put(postgres, "pending")
    bad, other = put(postgres, "bad", reason="wrong"), put(postgres, "other", reason="wrong", source="vendor")
    assert "1 refused deliveries would be removed\n" == terminal.said("discard", "--source", "acme", "--dry-run")
    assert (3, []) == (len(kept(database_url)), audits(database_url))
    assert "1 refused deliveries are removed\n" == terminal.said("discard", "--source", "acme")
    assert ["pending", "other"] == [row["idempotency_key"] for row in kept(database_url)]
    for filters in (
        ("--id", bad),
        ("--status", "dead"),
        ("--type", "x"),
        ("--to", "2020-01-01"),
        ("--from", "2099-01-01"),
    ):
        assert "0 refused deliveries are removed\n" == terminal.said("discard", *filters)
    assert "1 refused" in terminal.said("discard", "--id", other, "--status", "rejected")
    assert [
        ("deliveries discarded", {"discarded": 1, "selection": {"source": "acme"}}),
        ("deliveries discarded", {"discarded": 1, "selection": {"delivery_id": other, "status": "rejected"}}),
    ] == audits(database_url)


def test_all_of_them_are_never_discarded_by_mistake(terminal: Terminal, postgres: Postgres, database_url: str) -> None:
    put(postgres, "bad", reason="wrong")
    assert "no filter" in str(terminal.run("discard").exception)
    assert 1 == len(kept(database_url))


def test_a_source_that_is_gone_is_forgotten(terminal: Terminal, postgres: Postgres, database_url: str) -> None:
    """Until it delivers again; its deliveries stay. Audited."""
    put(postgres, "a")
    assert "acme is no longer expected\n" == terminal.said("forget", "acme")
    later = datetime.now(UTC) + timedelta(days=2)
    assert [] == silent_sources(postgres, parse_silence("24h"), now=later)
    assert [("source forgotten", {"source": "acme"})] == audits(database_url)
    assert isinstance(terminal.run("forget", "acme").exception, ConfigurationError)
    assert 1 == len(kept(database_url)) == len(audits(database_url))
    put(postgres, "b")
    assert ["acme"] == [it.source for it in silent_sources(postgres, parse_silence("24h"), now=later)]


def test_a_wrong_option_is_refused(terminal: Terminal) -> None:
    assert isinstance(terminal.run("replay", "--id", "17").exception, ConfigurationError)
    assert 2 == terminal.run("replay", "--status", "processed").exit_code
    assert 2 == terminal.run("list", "--limit", "0").exit_code
