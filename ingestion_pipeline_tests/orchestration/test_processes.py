"""A stack of real programs in real processes: started, killed, orphaned, stopped. Every wait is a poll with a deadline."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from ingestion_pipeline.orchestration.processes import MARKER, Program, StackRunningError, stop_leftovers, supervise

DEADLINE_SECONDS = 30.0

SCRIPTS = {
    # Runs a stack as `ingestion-pipeline up` does: in a process of its own.
    "stack.py": """
import json, sys
from pathlib import Path
from ingestion_pipeline.orchestration import processes

spec = json.loads(Path(sys.argv[1]).read_text())
processes.LATER_ATTEMPTS = spec["later_attempts"]
processes.UP_AFTER_SECONDS = spec["up_after_seconds"]
folder = Path(spec["folder"])

def on_ready():
    with (folder / "ready").open("a") as file:
        file.write("ready\\n")
    if spec["fails_when_ready"]:
        raise RuntimeError("on_ready failed")

sys.exit(processes.supervise(
    [processes.Program(**program) for program in spec["programs"]], folder=folder, on_ready=on_ready,
    ready_timeout_seconds=spec["ready_timeout_seconds"], stop_seconds=spec["stop_seconds"],
))
""",
    # Listens, and tells whoever connects about itself.
    "tell.py": """
import json, os, signal, socket, sys

if "--deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            about = {
                "pid": os.getpid(), "environment": dict(os.environ), "arguments": sys.argv[2:],
                "is_sigint_default": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
                "is_sigterm_default": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
            }
            connection.sendall(json.dumps(about).encode())
""",
    "crash.py": "import sys\nprint('about to crash')\nsys.exit('no database: the reason')\n",
    "sleep.py": "import time\nwhile True:\n    time.sleep(60)\n",
    # Works once, never again.
    "once.py": """
import pathlib, runpy, sys

flag = pathlib.Path(sys.argv[2])
if flag.exists():
    sys.exit("cannot start twice")
flag.touch()
runpy.run_path(str(pathlib.Path(__file__).with_name("tell.py")), run_name="__main__")
""",
    # Starts a process that leaves the program's process group.
    "parent.py": """
import pathlib, subprocess, sys, time

child = subprocess.Popen([sys.executable, str(pathlib.Path(__file__).with_name("sleep.py"))], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
while True:
    time.sleep(60)
""",
}


def eventually(claim: Callable[[], Any]) -> Any:
    """The first true answer of `claim`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (answer := claim()):
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.05)
    return answer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(port: int) -> dict[str, Any] | None:
    """What the program that listens on `port` says about itself, or None when nothing does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    except OSError:
        return None
    return json.loads(answer) if answer else None


def marked(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclass
class Stack:
    """A folder from which stacks are started; `process` is the parent of the latest one."""

    folder: Path
    scripts: Path
    process: subprocess.Popen[str] | None = None

    def program(self, name: str, script: str, *arguments: object, port: int | None = None, **environment: str) -> dict:
        command = [sys.executable, str(self.scripts / script), *map(str, arguments)]
        return {"name": name, "command": command, "environment": environment, "port": port}

    def teller(self, name: str = "teller", *arguments: object, port: int | None = None, **environment: str) -> dict:
        port = port or free_port()
        return self.program(name, "tell.py", port, *arguments, port=port, **environment)

    def start(self, *programs: dict, shell: str = "", **over: object) -> subprocess.Popen[str]:
        spec = {
            "folder": str(self.folder),
            "programs": programs,
            "ready_timeout_seconds": DEADLINE_SECONDS,
            "stop_seconds": 5,
            "later_attempts": 100,
            "up_after_seconds": 1,
            "fails_when_ready": False,
            **over,
        }
        path = self.scripts / "spec.json"
        path.write_text(json.dumps(spec))
        command = [sys.executable, str(self.scripts / "stack.py"), str(path)]
        if shell:
            command = ["sh", "-c", f"{shell}; exec {shlex.join(command)}"]
        (self.folder / "ready").unlink(missing_ok=True)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        return self.process

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.process.communicate()[1]
        return (self.folder / "ready").exists()

    def started(self, *programs: dict, **over: object) -> subprocess.Popen[str]:
        process = self.start(*programs, **over)
        eventually(self.is_ready)
        return process

    def ended(self) -> tuple[int, str]:
        """Exit code and everything said, after the parent has ended."""
        assert self.process is not None
        said = self.process.communicate(timeout=DEADLINE_SECONDS)[1]
        return self.process.returncode, said

    def supervisor(self) -> psutil.Process:
        return next(process for process in marked(self.folder) if "supervisor.conf" in " ".join(process.cmdline()))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    scripts, folder = tmp_path / "scripts", tmp_path / "folder with 100% odd name"
    scripts.mkdir()
    folder.mkdir()
    for name, text in SCRIPTS.items():
        (scripts / name).write_text(text)
    stack = Stack(folder=folder, scripts=scripts)
    yield stack
    if stack.process is not None and stack.process.poll() is None:
        stack.process.kill()
        stack.process.communicate()
    stop_leftovers(folder, wait_seconds=1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_stops_everything(stack: Stack, number: signal.Signals):
    """Each of the three signals ends a ready stack with 0, quickly, and nothing of it is left."""
    process = stack.started(stack.teller(), stack.program("portless", "sleep.py"))
    assert len(marked(stack.folder)) == 3
    started = time.monotonic()
    process.send_signal(number)
    assert stack.ended() == (0, "")
    assert time.monotonic() - started < 10
    assert marked(stack.folder) == []


def test_ready_is_told_once_when_every_program_is_up(stack: Stack):
    """`on_ready` runs once, and by then the port accepts."""
    teller = stack.teller()
    process = stack.started(teller)
    assert ask(teller["port"])
    process.terminate()
    stack.ended()
    assert (stack.folder / "ready").read_text() == "ready\n"


def test_killed_program_is_restarted(stack: Stack):
    """kill -9 of a part brings a new one on the same port; the user is told."""
    teller = stack.teller()
    process = stack.started(teller)
    first = ask(teller["port"])["pid"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: (about := ask(teller["port"])) and about["pid"] != first)
    process.terminate()
    code, said = stack.ended()
    assert code == 0
    assert "teller ended and is started again" in said


def test_stack_ends_when_its_parent_is_killed(stack: Stack):
    """kill -9 of the parent leaves nothing running for longer than a stop takes."""
    process = stack.started(stack.teller(), stack.teller("other"))
    process.kill()
    stack.ended()
    eventually(lambda: not marked(stack.folder))


def test_orphans_of_a_crash_are_stopped_by_the_next_start(stack: Stack):
    """After kill -9 of parent and supervisor the programs live on and hold their ports; the next start clears them."""
    teller = stack.teller()
    process = stack.started(teller)
    orphan = ask(teller["port"])["pid"]
    process.kill()
    stack.supervisor().kill()
    stack.ended()
    assert ask(teller["port"])["pid"] == orphan
    process = stack.started(teller)
    assert ask(teller["port"])["pid"] != orphan
    assert not psutil.pid_exists(orphan)
    process.terminate()
    assert stack.ended()[0] == 0


def test_start_right_after_a_killed_parent_works(stack: Stack):
    """The next start does not trip over a stack that is still ending."""
    teller = stack.teller()
    stack.started(teller).kill()
    stack.ended()
    process = stack.started(teller)
    assert len(marked(stack.folder)) == 2
    process.terminate()
    assert stack.ended()[0] == 0


def test_processes_of_others_are_left_alone(stack: Stack):
    """Only the exact mark makes a leftover: not a similar one, not the same command without one."""
    command = stack.program("x", "sleep.py")["command"]
    strangers = [
        subprocess.Popen(command),
        subprocess.Popen(command, env={**os.environ, MARKER: f"{stack.folder}2"}),
        subprocess.Popen(command, env={**os.environ, "OTHER": str(stack.folder)}),
    ]
    ours = subprocess.Popen(command, env={**os.environ, MARKER: str(stack.folder)})
    try:
        eventually(lambda: marked(stack.folder))
        assert stop_leftovers(stack.folder, wait_seconds=5) == [ours.pid]
        assert not psutil.pid_exists(ours.pid)
        assert [stranger.poll() for stranger in strangers] == [None, None, None]
    finally:
        for process in [*strangers, ours]:
            process.kill()
            process.wait()


def test_supervisor_that_is_killed_ends_the_stack(stack: Stack):
    """Without supervisor nothing would be restarted: everything is stopped and said so."""
    stack.started(stack.teller())
    stack.supervisor().kill()
    code, said = stack.ended()
    assert code == 1
    assert "supervisor ended unexpectedly" in said
    assert marked(stack.folder) == []


def test_taken_port_is_named_with_its_holder(stack: Stack):
    """Program, port and the process that has it; nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        stack.start(stack.teller("free"), stack.teller("webserver", port=port))
        code, said = stack.ended()
    assert code == 1
    assert f"port {port} of webserver is taken by process {os.getpid()} (" in said
    assert not (stack.folder / "ready").exists()
    assert marked(stack.folder) == []


def test_program_that_cannot_start_is_shown_with_its_log(stack: Stack):
    """A part that keeps ending stops the stack with 1, its name and its last lines."""
    stack.start(stack.teller(), stack.program("daemon", "crash.py"), up_after_seconds=20)
    code, said = stack.ended()
    assert code == 1
    assert "daemon does not start" in said
    assert "  about to crash\n  no database: the reason" in said
    assert marked(stack.folder) == []


def test_command_that_does_not_exist_is_shown(stack: Stack):
    """A missing executable is a part that does not start."""
    stack.start({"name": "nowhere", "command": ["/no/such/file"], "environment": {}, "port": None}, up_after_seconds=20)
    code, said = stack.ended()
    assert code == 1
    assert "nowhere does not start" in said


def test_program_that_keeps_ending_later_stops_the_stack(stack: Stack):
    """When supervisord gives a part up, so do we."""
    port = free_port()
    program = stack.program("once", "once.py", port, stack.scripts / "flag", port=port)
    stack.started(program, later_attempts=1, up_after_seconds=20)
    os.kill(ask(port)["pid"], signal.SIGKILL)
    code, said = stack.ended()
    assert code == 1
    assert "once keeps ending: gave up" in said
    assert "  cannot start twice" in said


def test_program_that_is_never_ready_is_named(stack: Stack):
    """A part that runs but does not listen ends the stack when the time is up."""
    stack.start(stack.program("mute", "sleep.py", port=free_port()), ready_timeout_seconds=2)
    code, said = stack.ended()
    assert code == 1
    assert "mute is not ready in time" in said
    assert marked(stack.folder) == []


def test_program_that_ignores_sigterm_is_killed(stack: Stack):
    """SIGTERM, the wait, SIGKILL: stopping has a bound."""
    process = stack.started(stack.teller("deaf", "--deaf"), stop_seconds=1)
    started = time.monotonic()
    process.terminate()
    assert stack.ended()[0] == 0
    assert time.monotonic() - started < 10
    assert marked(stack.folder) == []


def test_process_that_left_its_group_is_stopped_too(stack: Stack):
    """A program's child in a session of its own belongs to the stack."""
    written = stack.scripts / "pid"
    process = stack.started(stack.program("parent", "parent.py", written))
    child = int(eventually(lambda: written.exists() and written.read_text()))
    process.terminate()
    assert stack.ended()[0] == 0
    assert not psutil.pid_exists(child)


def test_two_stacks_in_one_folder_are_refused(stack: Stack):
    """The second is told which process runs the first, and leaves it alone."""
    teller = stack.teller()
    process = stack.started(teller)
    with pytest.raises(StackRunningError, match=f"process {process.pid}"):
        supervise([], folder=stack.folder, on_ready=lambda: None)
    assert ask(teller["port"])
    process.terminate()
    assert stack.ended()[0] == 0


def test_error_when_ready_stops_everything(stack: Stack):
    """An error of `on_ready` reaches the caller and leaves nothing running."""
    stack.start(stack.teller(), fails_when_ready=True)
    code, said = stack.ended()
    assert code == 1
    assert "on_ready failed" in said
    assert marked(stack.folder) == []


def test_signals_that_a_shell_ignores_still_work(stack: Stack):
    """A background shell ignores SIGINT for its children; ours start with every signal at its default."""
    teller = stack.teller()
    process = stack.started(teller, shell="trap '' INT QUIT")
    about = ask(teller["port"])
    assert (about["is_sigint_default"], about["is_sigterm_default"]) == (True, True)
    process.send_signal(signal.SIGINT)
    assert stack.ended()[0] == 0


def test_ignored_hangup_stays_ignored(stack: Stack):
    """nohup means what it says."""
    teller = stack.teller()
    process = stack.started(teller, shell="trap '' HUP")
    process.send_signal(signal.SIGHUP)
    pid = ask(teller["port"])["pid"]
    process.terminate()
    assert stack.ended()[0] == 0
    assert not psutil.pid_exists(pid)


def test_secrets_reach_their_program_and_no_file(stack: Stack):
    """Each program gets its own environment, whatever characters are in it; the written file has none of it."""
    secret = "p%s'\"; #$word\n,%(here)s"
    one, two = stack.teller("one", DATABASE_URL=secret), stack.teller("two", DATABASE_URL="other")
    process = stack.started(one, two)
    assert ask(one["port"])["environment"]["DATABASE_URL"] == secret
    assert ask(two["port"])["environment"]["DATABASE_URL"] == "other"
    configuration = stack.folder / "supervisor.conf"
    assert configuration.stat().st_mode & 0o777 == 0o600
    assert "DATABASE_URL" not in configuration.read_text()
    assert "DATABASE_URL" not in stack.supervisor().environ()
    process.terminate()
    assert stack.ended()[0] == 0


def test_arguments_arrive_as_given(stack: Stack):
    """Quotes, spaces and percent signs survive supervisord's file."""
    arguments = ["a b", "100%", "%(ENV_HOME)s", "it's", '"', "#x", "$HOME", ""]
    teller = stack.teller("teller", *arguments)
    process = stack.started(teller)
    assert ask(teller["port"])["arguments"] == arguments
    process.terminate()
    assert stack.ended()[0] == 0


@pytest.mark.parametrize("argument", ["a\nb", "a ;b", "a #b"])
def test_argument_that_the_file_cannot_say_is_refused(tmp_path: Path, argument: str):
    """A command that would be cut is an error, not another command."""
    with pytest.raises(ValueError, match="comment"):
        supervise([Program("x", ["echo", argument], {}, None)], folder=tmp_path, on_ready=lambda: None)


@pytest.mark.parametrize("names", [["a", "a"], ["../a"], [""], ["a:b"]])
def test_program_names_are_plain_and_different(tmp_path: Path, names: list[str]):
    """Names are parts of file names and of supervisord's sections."""
    with pytest.raises(ValueError, match="different names"):
        supervise([Program(name, ["true"], {}, None) for name in names], folder=tmp_path, on_ready=lambda: None)
