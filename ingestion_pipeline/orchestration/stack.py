"""The processes of `up`: which they are, what they are given. Keeping them alive is processes.py."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ingestion_pipeline.orchestration.processes import Program, supervise
from ingestion_pipeline.settings import PROJECT_ROOT, Settings

WORKSPACE = PROJECT_ROOT / "deploy" / "workspace.yaml"
READY_TIMEOUT_SECONDS = 180.0


def programs(settings: Settings, environment: Mapping[str, str]) -> list[Program]:
    """Code location (gRPC), webserver, daemon and HTTP intake, each a process of its own."""
    scripts = Path(sys.executable).parent
    given = {
        **environment,
        "CODE_LOCATION_HOST": settings.code_location_host,
        "CODE_LOCATION_PORT": str(settings.code_location_port),
    }
    location = [str(scripts / "dagster"), "api", "grpc", "-m", "ingestion_pipeline.definitions"]
    location += ["-h", settings.code_location_host, "-p", str(settings.code_location_port)]
    webserver = [str(scripts / "dagster-webserver"), "-w", str(WORKSPACE)]
    webserver += ["-h", settings.webserver_host, "-p", str(settings.webserver_port)]
    daemon = [str(scripts / "dagster-daemon"), "run", "-w", str(WORKSPACE)]
    intake = [sys.executable, "-m", "ingestion_pipeline", "intake"]
    return [
        Program("code-location", location, given, settings.code_location_port, settings.code_location_host),
        Program("webserver", webserver, given, settings.webserver_port, settings.webserver_host),
        Program("daemon", daemon, given, None),
        Program("intake", intake, _of_intake(given), settings.port, settings.intake_host),
    ]


def _of_intake(environment: Mapping[str, str]) -> dict[str, str]:
    """What the process that strangers talk to is given: its own login, and no other."""
    own = environment.get("INTAKE_DATABASE_URL", environment.get("DATABASE_URL", ""))
    return {name: value for name, value in environment.items() if name != "DAGSTER_PG_URL"} | {"DATABASE_URL": own}


def run_stack(settings: Settings, environment: Mapping[str, str], *, tell: Callable[[str], object]) -> int:
    """Starts everything, says where it is, blocks until it is told to stop; returns the exit code."""
    folder = settings.ingestion_home / "stack"
    tell("starting code location, webserver, daemon and HTTP intake …")

    def ready() -> None:
        tell(f"Dagster UI   http://{settings.webserver_host}:{settings.webserver_port}")
        tell(f"HTTP intake  http://{settings.intake_host}:{settings.port}")
        tell(f"code         grpc://{settings.code_location_host}:{settings.code_location_port}")
        tell(f"logs         {folder / 'logs'}")
        tell("Ctrl-C stops everything.")

    return supervise(
        programs(settings, environment),
        folder=folder,
        on_ready=ready,
        ready_timeout_seconds=READY_TIMEOUT_SECONDS,
        tell=tell,
    )
