"""Long-lived programs as one stack: started together, each restarted when it dies, stopped together.

supervisord does the work, in a process of its own that runs this module (`_serve`) and ends when its parent does. What
it reads is a file without secrets; the programs' environments reach it through a pipe. Every process of a stack
carries the stack's folder in its environment (MARKER), which is how the next start finds what a crash left behind.

Belongs here: starting, watching and stopping processes. Does not belong here: which programs there are and what they
need (stack.py). One long module, because parent and supervisor process must agree on every name in it.
"""

import errno
import fcntl
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import psutil
from supervisor import events  # type: ignore[import-untyped]
from supervisor.medusa.asyncore_25 import ExitNow  # type: ignore[import-untyped]
from supervisor.options import ServerOptions  # type: ignore[import-untyped]
from supervisor.states import (  # type: ignore[import-untyped]
    SupervisorStates,
    getProcessStateDescription,
)
from supervisor.supervisord import Supervisor  # type: ignore[import-untyped]

from ingestion_pipeline.core.errors import PermanentError

MARKER = "INGESTION_STACK"
# Before the stack is ready a part that keeps ending is a mistake to be shown; afterwards it is an outage to be sat out:
# supervisord waits 1, 2, 3 … seconds between the attempts, 100 of them take well over an hour.
FIRST_ATTEMPTS = 3
LATER_ATTEMPTS = 100
UP_AFTER_SECONDS = 10  # longer than Dagster imports: one that ends sooner has not started
STOP_SECONDS = 10
_LOG_LINES = 20
_ROUNDS = 5
_TICK_SECONDS = 0.2
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound

_CONFIGURATION = """\
; written by ingestion_pipeline.orchestration.processes at every start
[supervisord]
nodaemon=true
silent=true
nocleanup=true
logfile={folder}/logs/supervisor.log
pidfile={folder}/supervisor.pid

[group:stack]
programs={names}
"""
_PROGRAM = """
[program:{name}]
command={command}
autorestart=true
startsecs={up_after_seconds}
startretries={attempts}
stopwaitsecs={stop_seconds}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


@dataclass(frozen=True)
class Program:
    """A program that stays in the foreground until SIGTERM. `environment` goes on top of this process's own.

    It is up when `port` accepts connections on `host` or, without a port, when it has run for UP_AFTER_SECONDS.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    port: int | None
    host: str = "127.0.0.1"


@dataclass(eq=False)
class StackRunningError(PermanentError):
    folder: Path
    pid: str

    def __str__(self) -> str:
        return f"another stack (process {self.pid}) runs from {self.folder}: stop it first, or use another folder"


@dataclass(eq=False)
class PortTakenError(PermanentError):
    program: str
    port: int
    holder: str

    def __str__(self) -> str:
        return f"port {self.port} of {self.program} is taken by {self.holder}: stop that, or choose another port"


def supervise(
    programs: Sequence[Program],
    *,
    folder: Path,
    on_ready: Callable[[], None],
    ready_timeout_seconds: float = 120.0,
    stop_seconds: int = STOP_SECONDS,
    tell: Callable[[str], object] | None = None,
) -> int:
    """Runs `programs` until SIGINT, SIGTERM or SIGHUP, and leaves none of them behind. Main thread only.

    Args:
        programs: what to run; names are letters, digits, `-` and `_`.
        folder: the stack's own; holds `logs/<name>.log`, which may show what programs print.
        on_ready: called once, when every program is up.
        ready_timeout_seconds: how long they may take together.
        stop_seconds: what a program has between SIGTERM and SIGKILL.
        tell: takes sentences for the user; stderr when None.

    Returns:
        0 after a signal; 1 when a program cannot be started or kept running, which `tell` has explained.

    Raises:
        StackRunningError: another stack runs from `folder`.
        PortTakenError: something listens on a program's port.
    """
    (folder / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    with _claimed(folder), _stop_signals() as received:
        stop_leftovers(folder, wait_seconds=stop_seconds)
        for program in programs:
            _require_free_port(program)
        _write_configuration(programs, folder, stop_seconds)
        stack = _Stack(programs, folder, tell or _to_stderr)
        try:
            return stack.run(received, on_ready, time.monotonic() + ready_timeout_seconds)
        finally:
            stack.stop(stop_seconds)


def stop_leftovers(folder: Path, *, wait_seconds: float = STOP_SECONDS) -> list[int]:
    """Stops every process that carries the mark of the stack in `folder`: SIGTERM, a wait, SIGKILL.

    Returns:
        The processes' ids.
    """
    stopped: list[int] = []
    # Again until there are none: one that has not yet seen its SIGTERM may start others meanwhile.
    for _ in range(_ROUNDS):
        found = _marked(str(folder.resolve()))
        if not found:
            break
        alive = _signal(found, psutil.Process.terminate, wait_seconds)
        _signal(alive, psutil.Process.kill, wait_seconds)
        stopped += [process.pid for process in found]
    return stopped


class _Stack:
    """A running supervisord seen from its parent: the last reported state of each program, and how often it ended."""

    def __init__(self, programs: Sequence[Program], folder: Path, tell: Callable[[str], object]) -> None:
        self._programs = programs
        self._folder = folder
        self._tell = tell
        self._states: dict[str, str] = {}
        self._ends: Counter[str] = Counter()
        self._is_ready = False
        self._unread = b""
        self._process = self._start()

    def run(self, received: list[int], on_ready: Callable[[], None], ready_by: float) -> int:
        while not received:
            if problem := self._next_problem(ready_by):
                self._tell(problem)
                return 1
            if not self._is_ready and not self._waiting():
                self._is_ready = True
                on_ready()
        return 0

    def stop(self, stop_seconds: float) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=stop_seconds + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            if self._process.stdout:
                self._process.stdout.close()
            stop_leftovers(self._folder, wait_seconds=stop_seconds)

    def _start(self) -> subprocess.Popen[bytes]:
        from ingestion_pipeline.settings import child_environment

        own = child_environment({MARKER: str(self._folder), "PYTHONUNBUFFERED": "1"})
        # By path, and settings imported late: the supervisor process does without Dagster and pydantic (40 MB).
        command = [sys.executable, "-P", __file__, str(self._folder / "supervisor.conf"), str(os.getpid())]
        with self._log("supervisor").open("ab") as log:
            # A session of its own: Ctrl-C reaches this process only, which then stops the parts.
            process = subprocess.Popen(  # noqa: S603 - the command is this module
                command, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        environments = {program.name: dict(program.environment) for program in self._programs}
        # A supervisor that has already ended is noticed by its closed output.
        with suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as stdin:
            stdin.write(json.dumps(environments).encode())
        return process

    def _next_problem(self, ready_by: float) -> str | None:
        """Waits a moment for news; what makes going on pointless, or None."""
        if not self._read_events():
            return f"the process supervisor ended unexpectedly\n{self._log_tail('supervisor')}"
        for program in self._programs:
            if self._states.get(program.name) == "FATAL":
                return f"{program.name} keeps ending: gave up\n{self._log_tail(program.name)}"
            if not self._is_ready and self._ends[program.name] >= FIRST_ATTEMPTS:
                return f"{program.name} does not start\n{self._log_tail(program.name)}"
        if not self._is_ready and time.monotonic() > ready_by and (waiting := self._waiting()):
            return f"{waiting[0]} is not ready in time\n{self._log_tail(waiting[0])}"
        return None

    def _read_events(self) -> bool:
        """Takes in what the supervisor reports within a moment; False when there is no supervisor any more."""
        stdout = cast("IO[bytes]", self._process.stdout)
        if not select.select([stdout], [], [], _TICK_SECONDS)[0]:
            return True
        received = os.read(stdout.fileno(), 65_536)
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            event = json.loads(line)
            name, state = event["program"], event["state"]
            self._states[name] = state
            if state in {"EXITED", "BACKOFF"}:
                self._ends[name] += 1
                if self._is_ready:
                    self._tell(f"{name} ended and is started again; its log is {self._log(name)}")
        return bool(received)

    def _waiting(self) -> list[str]:
        return [program.name for program in self._programs if not self._is_up(program)]

    def _is_up(self, program: Program) -> bool:
        state = self._states.get(program.name)
        if program.port is None or state not in {"STARTING", "RUNNING"}:
            return state == "RUNNING"
        try:
            address = (_ANY_HOST.get(program.host, program.host), program.port)
            socket.create_connection(address, timeout=_TICK_SECONDS).close()
        except OSError:
            return False
        return True

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def _log_tail(self, name: str) -> str:
        with suppress(OSError), self._log(name).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 65_536))
            lines = log.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
            return "\n".join([f"the end of {self._log(name)}:", *(f"  {line}" for line in lines)])
        return f"there is no {self._log(name)}"


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; the kernel lets go of it however the process ends."""
    with (folder / "stack.lock").open("a+") as lock:
        lock.seek(0)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackRunningError(folder, lock.read().strip()) from None
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """The list of signals to stop that have come in. A hangup that is ignored (nohup) stays so."""
    received: list[int] = []
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _marked(folder: str) -> list[psutil.Process]:
    """The processes of the stack in `folder`, never this one or what started it."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or belongs to somebody else
            if process.pid not in own and process.environ().get(MARKER) == folder:
                found.append(process)
    return found


def _signal(
    processes: Sequence[psutil.Process], send: Callable[[psutil.Process], None], wait_seconds: float
) -> list[psutil.Process]:
    """Sends a signal to each and returns those that are still there after the wait."""
    for process in processes:
        with suppress(psutil.Error):
            send(process)
    alive: list[psutil.Process] = psutil.wait_procs(processes, timeout=wait_seconds)[1]
    return alive


def _require_free_port(program: Program) -> None:
    if program.port is None:
        return
    family = socket.AF_INET6 if ":" in program.host else socket.AF_INET
    try:
        socket.create_server((program.host, program.port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # anything else the program itself will say
            raise PortTakenError(program.name, program.port, _holder(program.port)) from None


def _holder(port: int) -> str:
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"process {connection.pid} ({shlex.join(psutil.Process(connection.pid).cmdline())[:100]})"
    return "another process"


def _write_configuration(programs: Sequence[Program], folder: Path, stop_seconds: int) -> None:
    names = [program.name for program in programs]
    if not all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in names) or len(set(names)) != len(names):
        raise ValueError(f"programs need different names of letters, digits, - and _: {names}")
    text = _CONFIGURATION.format(folder=_escaped(str(folder)), names=",".join(names))
    for program in programs:
        text += _PROGRAM.format(
            name=program.name,
            command=_escaped(shlex.join(program.command)),
            logs=_escaped(_escaped(str(folder / "logs"))),  # the only value that supervisord expands twice
            attempts=LATER_ATTEMPTS,
            up_after_seconds=UP_AFTER_SECONDS,
            stop_seconds=stop_seconds,
        )
    path = folder / "supervisor.conf"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _escaped(value: str) -> str:
    """`value` as supervisord's file can say it; the file has no way to quote a line break or a comment sign."""
    if re.search(r"[\r\n]|\s[;#]", value):
        raise ValueError(f"{value!r}: a command or folder may not contain a line break or a word that starts a comment")
    return value.replace("%", "%%")


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class _Supervisor(Supervisor):  # type: ignore[misc]
    """supervisord that reports every change of state on its output and ends when its parent does."""

    def __init__(self, options: ServerOptions, parent: int) -> None:
        super().__init__(options)
        self._parent = parent

    def runforever(self) -> None:
        events.subscribe(events.ProcessStateEvent, _report)
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        if os.getppid() != self._parent:
            self.options.mood = SupervisorStates.SHUTDOWN
        super().tick(now)


def _report(event: Any) -> None:
    state = getProcessStateDescription(event.process.get_state())
    line = json.dumps({"program": event.process.config.name, "state": state})
    with suppress(OSError):  # nobody listens any more: the parent has died
        os.write(sys.stdout.fileno(), line.encode() + b"\n")


def _serve(configuration: str, parent: int) -> None:
    """Is supervisord. It handles the stop signals, so its children start with them unset, whatever it inherited."""
    environments = json.load(sys.stdin)
    options = ServerOptions()
    options.realize(["-c", configuration])
    options.first, options.test = True, False
    for group in options.process_group_configs:
        for process in group.process_configs:
            process.environment = environments[process.name]
    with suppress(ExitNow):
        _Supervisor(options, parent).main()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
