"""The server around the application: how it starts, ends and is found dead."""

import json
import signal
import socket
import threading
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks._load import Load, drive, request
from ingestion_pipeline_tests.command import COMMAND, environment, eventually, free_port
from ingestion_pipeline_tests.intake.process import APP_TOKEN, REAL, Intake, running

BODY = json.dumps({"name": "a", "data": list(range(500))}).encode()


def marks(home: Path) -> Counter[str]:
    """What the sample domain wrote at its start and end."""
    return Counter(line.split()[0] for line in (home / "marks.txt").read_text().splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_answers_what_it_has_begun(intake_url: str, home: Path, number: signal.Signals) -> None:
    """Under load, slow requests under way: every answer that begins is whole, and the parts are closed after it."""
    answers: list[tuple[int, bytes]] = []
    with running(intake_url, home) as server:
        load = threading.Thread(
            target=_drive, args=(server.port, lambda _, status, body: answers.append((status, body)))
        )
        slow: list[httpx.Response] = []
        waiting = threading.Thread(target=lambda: slow.append(server.get("/sample/slow?seconds=1")))
        load.start()
        waiting.start()
        eventually(lambda: len(answers) > 300)
        server.process.send_signal(number)
        waiting.join()
        assert 0 == server.process.wait(15)
        load.join()
        assert 20_000 == len(slow[0].json()["padding"])
    assert {202} == {status for status, _ in answers}
    assert all(json.loads(body)["data"][-1] == 499 for _, body in answers)
    assert {"started": 1, "stopped": 1} == marks(home)


def test_every_request_of_a_stopped_server_is_in_the_log(intake_url: str, intake_database: str, home: Path) -> None:
    """What was counted by the caller is counted there: the log is written out before the end."""
    answered = 0
    with running(intake_url, home) as server:
        for _ in range(50):
            answered += server.get("/sample/markets/stopped").status_code == 200
        server.process.terminate()
        assert 0 == server.process.wait(15)
    import psycopg

    with psycopg.connect(intake_database) as connection:
        (logged,) = connection.execute(
            "select count(*) from operations.api_requests where market = 'stopped'"
        ).fetchone()  # type: ignore[misc]
    assert (50, 50) == (answered, logged)


def test_workers_do_not_outlive_a_killed_parent(intake_url: str, home: Path) -> None:
    """They would hold the port, and the next intake would share it with code that nobody watches."""
    with running(intake_url, home) as server:
        (worker,) = server.workers()
        server.process.kill()
        eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", server.port))
    assert {"started": 1, "stopped": 1} == marks(home)


def test_a_killed_worker_is_replaced(intake_url: str, home: Path) -> None:
    with running(intake_url, home) as server:
        (worker,) = server.workers()
        worker.kill()
        eventually(lambda: server.is_up() and [it.pid for it in server.workers()] != [worker.pid])
    assert 2 == marks(home)["started"]


def test_two_workers_share_the_load(intake_url: str, home: Path) -> None:
    with running(intake_url, home, INTAKE_WORKERS="2") as server:
        assert 2 == len(server.workers())
        load = _drive(server.port, None)
        assert {202} == set(load.statuses)
    assert {"started": 2, "stopped": 2} == marks(home)


def test_a_taken_port_is_said(intake: Intake, intake_url: str, home: Path) -> None:
    """Two would share it unnoticed."""
    import subprocess

    given = environment(home, DATABASE_URL=intake_url, PORT=str(intake.port))
    done = subprocess.run([*COMMAND, "intake"], env=given, capture_output=True, text=True, check=False, timeout=60)
    assert 2 == done.returncode
    assert f"PORT='{intake.port}'" in done.stderr


def test_the_command_serves_the_embedded_database(home: Path) -> None:
    """Alone, without a setting: PostgreSQL comes and goes with it, secrets are made, and it says where all is."""
    import subprocess

    port = free_port()
    given = environment(
        home, PORT=str(port), INTAKE_DATABASE_URL="", INGEST_APP_TOKEN="", CRON_SECRET="", JWT_SECRET=""
    )
    with (home / "printed.txt").open("wb") as printed:
        process = subprocess.Popen([*COMMAND, "intake"], env=given, stdout=printed, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            eventually(lambda: _is_healthy(client) or process.poll() is not None, explain=lambda: _text(home))
            secrets = dict(line.split("=", 1) for line in (home / "secrets.env").read_text().splitlines()[1:])
            token = {"x-app-token": secrets["INGEST_APP_TOKEN"]}
            assert 401 == client.post("/ingest/events").status_code
            assert 400 == client.post("/ingest/events", headers=token).status_code
        text = _text(home)
        assert f"http://127.0.0.1:{port}" in text
        assert str(home / "secrets.env") in text
        assert not [secret for secret in secrets.values() if secret in text]
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    assert 0 == code, _text(home)
    assert not (home / "postgres" / "postmaster.pid").exists()


def test_an_unprepared_database_is_said(server: object, home: Path) -> None:
    """Production does not migrate in passing."""
    import subprocess

    url = server.url(database="postgres")  # type: ignore[attr-defined]
    given = environment(home, DATABASE_URL=url, PORT=str(free_port()))
    done = subprocess.run([*COMMAND, "intake"], env=given, capture_output=True, text=True, check=False, timeout=60)
    assert 1 == done.returncode
    assert "ingestion-pipeline migrate" in done.stderr


def test_the_real_application_starts(intake_url: str, home: Path) -> None:
    with running(intake_url, home, REAL) as server:
        assert "/ingest/events" in server.get("/openapi.json").json()["paths"]


def _drive(port: int, on_answer: object) -> Load:
    import asyncio
    import itertools

    prepared = request("POST", "/sample/echo", body=BODY, headers={"x-app-token": APP_TOKEN})
    return asyncio.run(
        drive(itertools.repeat(prepared), port=port, connections=8, seconds=3, on_answer=on_answer)  # type: ignore[arg-type]
    )


def _is_healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def _text(home: Path) -> str:
    return (home / "printed.txt").read_text()
