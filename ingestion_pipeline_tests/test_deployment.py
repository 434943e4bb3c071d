"""What is shipped for containers says what the package says: variables, commands, ports, files. No engine is needed."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml
from dagster._cli import create_dagster_cli
from dagster._core.test_utils import environ
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver.cli import create_dagster_webserver_cli

from ingestion_pipeline.cli import app
from ingestion_pipeline.intake.server import STOP_SECONDS
from ingestion_pipeline.settings import PROJECT_ROOT, Settings, variables
from ingestion_pipeline.storage.database import DAGSTER_TUNING

COMPOSE = yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PASSWORDS = {"POSTGRES_PASSWORD", "WORKER_PASSWORD", "INTAKE_PASSWORD", "DAGSTER_PASSWORD"}
DAGSTER_PROCESSES = ("code-location", "webserver", "daemon")
OURS = ("migrate", *DAGSTER_PROCESSES, "intake")
OF_THE_INTAKE = {
    "INTAKE_DATABASE_URL",
    "INTAKE_HOST",
    "PORT",
    "INTAKE_WORKERS",
    "INTAKE_CONNECTIONS",
    "INGEST_APP_TOKEN",
    "JWT_SECRET",
    "CRON_SECRET",
    "EVENTS_RATE_LIMIT",
    "CRAWL_RATE_LIMIT",
    "TRUSTED_PROXIES",
    "MAX_BODY_BYTES",
    "BODY_TIMEOUT_SECONDS",
    "MAX_JSON_DEPTH",
    "WEBHOOK_SECRET",
    "WEBHOOK_SECRETS",
    "JOB_WAIT_SECONDS",
    "GUMROAD_PING_SECRET",
    "STRIPE_WEBHOOK_SECRET",
}
DOCKERFILE = (PROJECT_ROOT / "deploy" / "Dockerfile").read_text()
ENV_EXAMPLE = PROJECT_ROOT / ".env.example"
DAGSTER_VARIABLES = {"DAGSTER_HOME", "DAGSTER_ARTIFACTS", *DAGSTER_TUNING}

HEADER = """\
# Every variable there is, with its default. Copy to .env and uncomment what differs.
#
# docker compose reads .env by itself and needs a database password there too (docker-compose.yml says how).
# For commands of this checkout: set -a; . ./.env; set +a
"""


def env_example() -> str:
    """What .env.example must be: each setting's description, then its name and default."""
    parts = [HEADER]
    for name, description in variables().items():
        default = Settings.model_fields[name.lower()].default
        parts.append(f"# {description}\n#{name}={shlex.quote(shown(default)) if shown(default) else ''}\n")
    return "\n".join(parts)


def shown(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, Path):
        return str(default.relative_to(PROJECT_ROOT))
    return str(default)


def interpolations() -> Iterator[re.Match[str]]:
    text = re.sub(r"^\s*#.*$", "", (PROJECT_ROOT / "docker-compose.yml").read_text(), flags=re.MULTILINE)
    return re.finditer(r"(?<!\$)\$\{(?P<name>\w+)(?P<rule>:[?-])(?P<value>[^}]*)\}", text)


def parsed(command: list[str]) -> click.Context:
    """`command` as its program understands it, without running it.

    Raises:
        click.UsageError: the program has no such subcommand or option.
    """
    found: Any = {
        "dagster": create_dagster_cli,
        "dagster-daemon": create_dagster_daemon_cli,
        "dagster-webserver": create_dagster_webserver_cli,
        "ingestion-pipeline": lambda: typer.main.get_command(app),
    }[command[0]]()
    arguments = command[1:]
    while hasattr(found, "commands"):  # typer brings a click of its own, so not isinstance
        if arguments[0] not in found.commands:
            raise click.UsageError(f"no such command: {arguments[0]}")
        found, arguments = found.commands[arguments[0]], arguments[1:]
    return found.make_context(found.name, arguments)


def test_env_example_is_what_settings_say():
    """Every variable in the order of Settings, with description and default, all commented out."""
    assert ENV_EXAMPLE.read_text() == env_example()
    assert re.findall(r"^#([A-Z0-9_]+)=", ENV_EXAMPLE.read_text(), flags=re.MULTILINE) == list(variables())


def test_env_example_can_be_sourced(tmp_path: Path):
    """Uncommented and read by a shell, the example gives the defaults."""
    lines = re.sub(r"^#([A-Z0-9_]+=)", r"\1", ENV_EXAMPLE.read_text(), flags=re.MULTILINE)
    path = tmp_path / ".env"
    path.write_text(lines)
    script = f"set -a; . {shlex.quote(str(path))}; env -0"
    output = subprocess.run(["env", "-i", "sh", "-c", script], capture_output=True, check=True, text=True).stdout
    values = dict(entry.split("=", 1) for entry in output.split("\0") if entry)
    given = {name: value for name, value in values.items() if name in variables() and value}
    assert given.pop("INGESTION_HOME") == ".data"
    assert Settings.from_environment(given).model_dump(exclude={"ingestion_home"}) == Settings(
        **{name: field.default for name, field in Settings.model_fields.items()}
    ).model_dump(exclude={"ingestion_home"})


def test_services_are_the_parts_that_run():
    """Two stores, one migration, three long-lived Dagster processes, the HTTP intake."""
    assert set(SERVICES) == {"postgres", "redis", *OURS}


@pytest.mark.parametrize("name", OURS)
def test_environment_names_are_known(name: str):
    """A misspelt variable would be ignored in silence."""
    names = set(SERVICES[name]["environment"])
    assert names <= {*variables(), *DAGSTER_VARIABLES}
    assert {"DATABASE_URL", "DAGSTER_PG_URL", "REDIS_URL", *DAGSTER_VARIABLES} <= names


@pytest.mark.parametrize("name", OURS)
def test_every_setting_can_be_given(name: str):
    """Whatever Settings knows can be set from outside, but for where the UI listens; the intake's own settings go to it
    alone, role passwords to `migrate` alone."""
    passwords = set() if name == "migrate" else PASSWORDS - {"POSTGRES_PASSWORD"}
    missing = {"WEBSERVER_HOST", "WEBSERVER_PORT"} | passwords | (set() if name == "intake" else OF_THE_INTAKE)
    assert set(variables()) - set(SERVICES[name]["environment"]) == missing


@pytest.mark.parametrize("name", DAGSTER_PROCESSES)
def test_processes_log_in_as_their_own_roles(name: str):
    """Nothing but `migrate` is the superuser, who bypasses row-level security."""
    environment = SERVICES[name]["environment"]
    assert environment["DATABASE_URL"].startswith("postgresql://pipeline_worker:")
    assert environment["DAGSTER_PG_URL"].startswith("postgresql+psycopg2://dagster:")
    assert "POSTGRES_PASSWORD" not in str(environment)


def test_the_intake_knows_its_own_login_only():
    """Who takes over the process that listens to the world has no way into other roles, Dagster or a warehouse."""
    environment = SERVICES["intake"]["environment"]
    assert environment["INTAKE_DATABASE_URL"].startswith("postgresql://pipeline_intake:")
    assert environment["DATABASE_URL"] == environment["INTAKE_DATABASE_URL"]
    assert re.findall(r"\w+_PASSWORD", str(list(environment.values()))) == ["INTAKE_PASSWORD"] * 4
    assert environment["DAGSTER_PG_URL"] == environment["REDSHIFT_PASSWORD"] == ""


def test_the_intake_is_given_time_to_answer():
    """A worker that still answers after STOP_SECONDS is killed by its own server, before the engine kills them all."""
    assert int(SERVICES["intake"]["stop_grace_period"].removesuffix("s")) >= 2 * STOP_SECONDS


def test_database_service_takes_its_own_names_only():
    """POSTGRES_* belong to the image of PostgreSQL."""
    assert set(SERVICES["postgres"]["environment"]) == {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"}


def test_interpolated_names_are_known():
    """What the file takes from outside is a setting or POSTGRES_*."""
    assert {match["name"] for match in interpolations()} <= {
        *variables(),
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "POSTGRES_DB",
    }


def test_no_secret_is_written_down():
    """A password must be given and has no default; optional secrets default to nothing."""
    assert {match["rule"] for match in interpolations() if match["name"] in PASSWORDS} == {":?"}
    for name, field in Settings.model_fields.items():
        if "Secret" not in str(field.annotation):
            continue
        for service in OURS:
            value = SERVICES[service]["environment"].get(name.upper(), "")
            given = [f"${{{password}:?set {password}}}" for password in PASSWORDS]
            password = re.search(r"://[^:/@]+(?::-\w+\})?:(?P<password>.*)@", value)
            assert value in {"", f"${{{name.upper()}:-}}", "redis://redis:6379/0", *given} or (
                password and password["password"] in given
            )


def test_dagster_database_is_one_of_its_own_and_through_psycopg2():
    """SQLAlchemy 2.1 reads `postgresql://` as psycopg 3, which dagster-postgres cannot use."""
    environment = SERVICES["daemon"]["environment"]
    assert environment["DAGSTER_PG_URL"].startswith("postgresql+psycopg2://")
    assert environment["DAGSTER_PG_URL"].endswith("_dagster")
    assert environment["DATABASE_URL"].startswith("postgresql://")


def test_tuning_is_that_of_the_command_line():
    """Containers run Dagster with the values that `up` gives it."""
    environment = SERVICES["code-location"]["environment"]
    assert {name: environment[name] for name in DAGSTER_TUNING} == DAGSTER_TUNING


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_images_are_pinned_by_tag(name: str):
    """No image follows `latest`."""
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", SERVICES[name]["image"])


def test_our_image_has_the_version_of_the_package():
    """One number for what is built."""
    version = distribution("ingestion-pipeline").version
    assert {SERVICES[name]["image"] for name in OURS} == {f"ingestion-pipeline:{version}"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_long_lived_services_have_a_health_check_and_restart(name: str):
    """A part that dies comes back, and one that hangs is seen."""
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= set(service["healthcheck"])


def test_order_of_start():
    """Migration after the database is healthy, code and intake after migration, webserver and daemon after code."""
    conditions = {
        name: {needed: rule["condition"] for needed, rule in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    assert conditions == {
        "postgres": {},
        "redis": {},
        "migrate": {"postgres": "service_healthy"},
        "code-location": {
            "postgres": "service_healthy",
            "redis": "service_started",
            "migrate": "service_completed_successfully",
        },
        "webserver": {"code-location": "service_healthy"},
        "daemon": {"code-location": "service_healthy"},
        "intake": {
            "postgres": "service_healthy",
            "redis": "service_started",
            "migrate": "service_completed_successfully",
        },
    }


def test_only_webserver_and_intake_are_published_and_only_to_this_machine():
    """The UI has no login, the intake no TLS; the stores are reachable from inside only."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "webserver": ["${WEBSERVER_HOST:-127.0.0.1}:${WEBSERVER_PORT:-3000}:3000"],
        "intake": ["${INTAKE_HOST:-127.0.0.1}:${PORT:-8787}:8787"],
    }
    assert COMPOSE["networks"]["stores"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["stores"]


def test_volumes_are_named_and_declared():
    """What must survive a container has a volume with a name."""
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_command_exists(name: str):
    """Each program knows the subcommand and options it is started with."""
    parsed(SERVICES[name]["command"])


@pytest.mark.parametrize("name", ["code-location", "daemon"])
def test_health_check_command_exists(name: str):
    """Each program knows the health check that is asked of it."""
    parsed(SERVICES[name]["healthcheck"]["test"][1:])


def test_unknown_option_would_be_found():
    """The two tests above can fail."""
    with pytest.raises(click.UsageError):
        parsed(["dagster", "api", "grpc", "--no-such-option"])
    with pytest.raises(click.UsageError):
        parsed(["ingestion-pipeline", "no-such-command"])


def test_ports_agree():
    """Where a part listens is where it is checked and looked for."""
    environment = SERVICES["webserver"]["environment"]
    code = parsed(SERVICES["code-location"]["command"]).params
    assert (
        str(code["port"])
        == environment["CODE_LOCATION_PORT"]
        == str(Settings.model_fields["code_location_port"].default)
    )
    assert code["host"] == "0.0.0.0"
    assert environment["CODE_LOCATION_HOST"] in SERVICES
    assert parsed(SERVICES["code-location"]["healthcheck"]["test"][1:]).params["port"] == code["port"]
    webserver = parsed(SERVICES["webserver"]["command"]).params
    assert f":{webserver['port']}/server_info" in SERVICES["webserver"]["healthcheck"]["test"][-1]
    intake = SERVICES["intake"]["environment"]
    assert f":{intake['PORT']}/health" in SERVICES["intake"]["healthcheck"]["test"][-1]
    assert (intake["PORT"], intake["INTAKE_HOST"]) == (str(Settings.model_fields["port"].default), "0.0.0.0")
    assert {str(code["port"]), str(webserver["port"]), intake["PORT"]} == set(
        re.search(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)[1].split()
    )


def test_workspace_loads_with_host_and_port_of_the_environment():
    """Dagster reads the address of the code location from the environment."""
    with environ({"CODE_LOCATION_HOST": "somewhere", "CODE_LOCATION_PORT": "4299"}):
        target = WorkspaceFileTarget([str(PROJECT_ROOT / "deploy" / "workspace.yaml")])
        (origin,) = target.create_origins()
    assert (origin.host, origin.port, origin.location_name) == ("somewhere", 4299, "ingestion_pipeline")


def test_image_installs_the_lock_with_hashes():
    """Nothing enters the image that is not in the lock."""
    assert "COPY requirements.lock" in DOCKERFILE
    assert "pip install --require-hashes --requirement requirements.lock" in DOCKERFILE
    assert all(
        "--require-hashes" in line or "--no-deps" in line for line in DOCKERFILE.splitlines() if "pip install" in line
    )


def test_image_copies_files_that_exist():
    """Every source of a COPY from the checkout is there."""
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert sources
    assert [source for source in sources if not (PROJECT_ROOT / source).exists()] == []


def test_image_does_not_run_as_root():
    """The last user is a number that is not 0, which Kubernetes can check."""
    users = re.findall(r"^USER (.*)$", DOCKERFILE, flags=re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_image_has_pinned_bases_and_no_secret():
    """Bases by version; nothing that names a secret or a database."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base) for base in bases)
    assert not re.search(r"PASSWORD|SECRET|TOKEN|API_KEY|_URL", DOCKERFILE)


def test_image_finds_dagster_yaml():
    """DAGSTER_HOME is where the image has dagster.yaml, in the image and for every service."""
    assert "DAGSTER_HOME=/app" in DOCKERFILE
    assert re.search(r"^COPY .*\bdagster\.yaml\b.* \./$", DOCKERFILE, flags=re.MULTILINE)
    assert {SERVICES[name]["environment"]["DAGSTER_HOME"] for name in OURS} == {"/app"}
