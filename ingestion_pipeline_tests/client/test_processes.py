"""Real processes that emit: they end, are killed, and fork."""

import threading

import pytest
from werkzeug import Request, Response

from ingestion_pipeline_tests.children import output, python, until
from ingestion_pipeline_tests.client.conftest import FakeService, taken

CLIENT = """
import os, sys
from ingestion_pipeline.client import AnalyticsClient

client = AnalyticsClient(sys.argv[1], "secret", interval_seconds=3600, exit_seconds=60)
"""


def test_importing_the_client_imports_nothing_else_of_the_package() -> None:
    """An application copies the folder, and starts as fast as httpx does."""
    code = """
        import sys
        import ingestion_pipeline.client
        ours = {name.split(".")[1] for name in sys.modules if name.startswith("ingestion_pipeline.")}
        heavy = {"dagster", "pydantic", "msgspec", "psycopg", "pandas"} & set(sys.modules)
        print(sorted(ours), sorted(heavy))
    """
    with python(code) as child:
        assert output(child) == "['client'] []\n"


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "import threading; threading.Thread(target=client.stats).start()"])
def test_normal_end_sends_what_is_queued(service: FakeService, end: str) -> None:
    with python(CLIENT + f'client.emit("VIEW")\n{end}', service.url) as child:
        output(child)
    assert service.types() == ["VIEW"]


def test_uncaught_error_sends_what_is_queued(service: FakeService) -> None:
    with python(CLIENT + 'client.emit("VIEW")\n1 / 0', service.url) as child:
        assert "ZeroDivisionError" in child.communicate()[0]
    assert service.types() == ["VIEW"]


def test_kill_loses_only_what_was_unsent(service: FakeService) -> None:
    code = """
for number in range(5):
    client.emit("VIEW")
assert client.flush()
client.emit("COPY")
print("ready", flush=True)
sys.stdin.read()
"""
    with python(CLIENT + code, service.url) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.kill()
        child.wait()
    assert service.types() == ["VIEW"] * 5


def test_forked_child_sends_its_own_events_and_not_its_parents(service: FakeService) -> None:
    """Both end as processes do; the parent's queue is sent once, by the parent."""
    code = """
client.emit("VIEW")
child = os.fork()
client.emit("COPY" if child == 0 else "SAVE")
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert client.stats().queued == 2
else:
    assert client.stats().queued == 1
"""
    with python(CLIENT + code, service.url) as child:
        assert output(child) == ""
    assert service.batches()[0][0]["type"] == "COPY"
    assert service.types() == ["COPY", "VIEW", "SAVE"]


def test_fork_while_a_request_is_under_way(service: FakeService) -> None:
    """The child shares neither the lock nor the connection of the thread that it does not have."""
    released = threading.Event()

    def hang(request: Request) -> Response:
        released.wait(60)
        return taken(request)

    service.then(hang)
    code = """
import threading
waiting = threading.Thread(target=client.flush)
client.emit("VIEW")
waiting.start()
sys.stdin.readline()
child = os.fork()
client.emit("COPY" if child == 0 else "SAVE")
if child == 0:
    assert client.flush(60)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print("child ended", flush=True)
"""
    with python(CLIENT + code, service.url) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        until(lambda: len(service.bodies) == 1)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "child ended\n"
        released.set()
        assert output(child) == ""
    assert sorted(service.types()) == ["COPY", "SAVE", "VIEW"]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_multiprocessing_child_sends_what_is_queued(service: FakeService, start: str, tmp_path_factory) -> None:
    """Such a child ends without running atexit's functions."""
    script = tmp_path_factory.mktemp("script") / "emitter.py"
    script.write_text(f"""
import multiprocessing, sys
from ingestion_pipeline.client import AnalyticsClient

def work(url):
    AnalyticsClient(url, "secret", interval_seconds=3600, exit_seconds=60).emit("COPY")

if __name__ == "__main__":
    child = multiprocessing.get_context("{start}").Process(target=work, args=(sys.argv[1],))
    child.start()
    child.join()
    assert child.exitcode == 0
""")
    code = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    if start == "spawn":
        code = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"
    with python(code, str(script), service.url) as child:
        assert output(child) == ""
    assert service.types() == ["COPY"]


def test_process_without_threads_to_spare_sends_at_its_end(service: FakeService) -> None:
    """Emission goes on where no thread can be started; close() sends from its own."""
    code = """
import resource, threading
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
threading.stack_size(1 << 30)
client.emit("VIEW")
client.emit("COPY")
assert threading.active_count() == 1
"""
    with python(CLIENT + code, service.url) as child:
        assert output(child) == ""
    assert service.types() == ["VIEW", "COPY"]
