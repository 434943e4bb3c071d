"""The HTTP server: granian around an application, with limits on slow and idle clients and an orderly end.

SIGTERM or SIGINT: the listening socket closes, requests under way are answered, then the application closes its parts.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.settings import Settings

HEADER_TIMEOUT_MS = 10_000
BUFFER_BYTES = 65_536  # of a connection; a head that does not fit is refused
BACKLOG = 2_048
CONNECTIONS = 1_024  # a worker's
STOP_SECONDS = 8  # less than what `up` gives a program
_WATCH_SECONDS = 1.0


def serve(settings: Settings, load: Callable[[], Any], *, tell: Callable[[str], object]) -> None:
    """Serves what `load` returns, called in each worker, until a signal. Main thread only.

    Raises:
        ConfigurationError: the port is taken.
        SystemExit: a worker does not start, or keeps ending.
    """
    _require_free_port(settings)
    server = Granian(
        "application",
        address=settings.intake_host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=settings.intake_workers,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=BUFFER_BYTES),
        workers_kill_timeout=STOP_SECONDS,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
    )
    parent = os.getpid()

    def load_watched(*_: Any) -> Any:
        threading.Thread(target=_stop_with, args=(parent,), name="parent-watch", daemon=True).start()
        return load()

    tell(f"HTTP intake  http://{settings.intake_host}:{settings.port}")
    server.serve(target_loader=load_watched, wrap_loader=False)


def _require_free_port(settings: Settings) -> None:
    """Granian shares its port (SO_REUSEPORT): a second intake would take half of the requests unnoticed."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.intake_host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ConfigurationError("PORT", str(settings.port), f"a port that can be listened on: {error}") from None


def _stop_with(parent: int) -> None:
    """Ends this worker when its parent was killed: nobody else would, and it would hold the port."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
