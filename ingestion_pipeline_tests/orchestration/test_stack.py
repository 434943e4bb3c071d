"""The processes of `up`: their commands exist, agree with each other and with the settings, and hold no secret."""

import os
import re

import pytest
import yaml

from ingestion_pipeline.orchestration.processes import Program
from ingestion_pipeline.orchestration.stack import WORKSPACE, programs
from ingestion_pipeline.settings import Settings

GIVEN = {"DATABASE_URL": "postgresql://worker:geheim42@db/ingestion", "DAGSTER_HOME": "/somewhere"}


@pytest.fixture
def parts() -> dict[str, Program]:
    settings = Settings.from_environment(
        {"CODE_LOCATION_PORT": "4777", "WEBSERVER_PORT": "3777", "WEBSERVER_HOST": "0.0.0.0", "PORT": "8777"}
    )
    return {program.name: program for program in programs(settings, GIVEN)}


def test_four_parts_each_a_process_of_its_own(parts: dict[str, Program]) -> None:
    """So that each can die and come back alone; what has a port is up when it listens."""
    assert {"code-location": 4777, "webserver": 3777, "daemon": None, "intake": 8777} == {
        name: program.port for name, program in parts.items()
    }
    assert all(os.access(program.command[0], os.X_OK) for program in parts.values())


def test_ports_and_hosts_are_those_of_the_settings(parts: dict[str, Program]) -> None:
    """Where a part listens is what it is told on its command line and where it is waited for."""
    for name in ("code-location", "webserver"):
        command = list(parts[name].command)
        assert str(parts[name].port) == command[command.index("-p") + 1]
        assert parts[name].host == command[command.index("-h") + 1]
    assert "0.0.0.0" == parts["webserver"].host


def test_webserver_and_daemon_look_for_the_code_where_it_listens(parts: dict[str, Program]) -> None:
    """The workspace reads its address from the environment they are given."""
    (location,) = yaml.safe_load(WORKSPACE.read_text())["load_from"]
    for name in ("webserver", "daemon"):
        command, environment = list(parts[name].command), parts[name].environment
        assert str(WORKSPACE) == command[command.index("-w") + 1]
        assert ("127.0.0.1", "4777") == (
            environment[location["grpc_server"]["host"]["env"]],
            environment[location["grpc_server"]["port"]["env"]],
        )


def test_secrets_are_in_no_command_line(parts: dict[str, Program]) -> None:
    """Every user of the machine can read those; environments only their owner."""
    text = " ".join(word for program in parts.values() for word in program.command)
    assert not re.search(r"geheim42|://", text)
    assert all(GIVEN.items() <= dict(program.environment).items() for program in parts.values())
