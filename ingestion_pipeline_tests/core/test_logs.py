"""Logs: what a line holds, and what never reaches one."""

import io
import json
import logging
import pty
import subprocess
import sys
from os import close, read
from typing import Any

import pytest
import structlog

from ingestion_pipeline.core.logs import PACKAGE, configure_logging, redact

CANARY = "geheim42"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the package writes to standard error, as JSON."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("info", style="json")
    return stream


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_which_run_asset_partition_and_market_it_belongs_to(lines: io.StringIO) -> None:
    """Whoever knows the context binds it once; every line below carries it."""
    context = {"run_id": "r1", "asset": "market/price_bars", "partition": "2026-03-02", "market": "BTC-USD"}
    with structlog.contextvars.bound_contextvars(**context):
        structlog.get_logger(f"{PACKAGE}.x").info("fetched", rows=3)
        logging.getLogger(f"{PACKAGE}.y").info("also the standard library")
    structlog.get_logger(f"{PACKAGE}.x").info("outside")
    assert [context, context, {}] == [{name: line[name] for name in context if name in line} for line in parsed(lines)]


def test_a_line_has_level_logger_instant_and_event(lines: io.StringIO) -> None:
    """With both ways to write one."""
    structlog.get_logger(f"{PACKAGE}.x").warning("%s rows", 3)
    logging.getLogger(f"{PACKAGE}.y").warning("%s rows", 4)
    names = ("event", "level", "logger")
    expected = [("3 rows", "warning", f"{PACKAGE}.x"), ("4 rows", "warning", f"{PACKAGE}.y")]
    assert (expected, {"Z"}) == (
        [tuple(line[name] for name in names) for line in parsed(lines)],
        {line["timestamp"][-1] for line in parsed(lines)},
    )


def test_lines_below_the_level_are_not_written(lines: io.StringIO) -> None:
    """LOG_LEVEL is the least severe line."""
    structlog.get_logger(f"{PACKAGE}.x").debug("quiet")
    logging.getLogger(f"{PACKAGE}.y").debug("quiet")
    assert [] == parsed(lines)


SECRETS: list[dict[str, Any]] = [
    {"cron_secret": CANARY},
    {"coingecko_api_key": CANARY},
    {"x-api-key": CANARY},
    {"password": CANARY},
    {"app_token": CANARY},
    {"Authorization": f"Bearer {CANARY}"},
    {"headers": {"Authorization": f"Bearer {CANARY}"}},
    {"settings": {"nested": [{"db_password": CANARY}]}},
    {"url": f"postgresql://user:{CANARY}@host/db"},
    {"url": f"redis://:{CANARY}@host"},
    {"url": f"postgresql://user:p@{CANARY}@host/db"},
    {"url": f"postgresql://user@/db?host=/tmp&password={CANARY}"},
    {"url": f"https://api.example.org/x?x_cg_demo_api_key={CANARY}&days=1"},
    {"urls": [f"https://user:{CANARY}@host", f"http://u:{CANARY}@h"]},
    {"text": f"host=h user=u password={CANARY} dbname=d"},
    {"text": f"sent Authorization: Bearer {CANARY}"},
    {"error": ValueError(f"cannot reach postgresql://user:{CANARY}@host/db")},
]


@pytest.mark.parametrize("fields", SECRETS, ids=[repr(fields).replace(CANARY, "*")[:60] for fields in SECRETS])
def test_secrets_never_reach_a_line(lines: io.StringIO, fields: dict[str, Any]) -> None:
    """By the name they have or the URL they stand in, however deep."""
    structlog.get_logger(f"{PACKAGE}.x").info("connected", **fields)
    assert (1, False, True) == (len(parsed(lines)), CANARY in lines.getvalue(), "***" in lines.getvalue())


@pytest.mark.parametrize("logger", [structlog.get_logger(f"{PACKAGE}.x"), logging.getLogger(f"{PACKAGE}.y")])
def test_secrets_never_reach_a_line_through_the_message_its_arguments_or_a_traceback(
    lines: io.StringIO, logger: Any
) -> None:
    """Libraries put URLs into the texts of their errors."""
    url = f"postgresql://user:{CANARY}@host/db"
    try:
        raise ConnectionError(f"cannot reach {url}")  # noqa: TRY301
    except ConnectionError:
        logger.exception("cannot reach %s", url)
    assert (1, False, True) == (
        len(parsed(lines)),
        f"{CANARY}@" in lines.getvalue(),
        "ConnectionError: cannot reach postgresql://user:***@host/db" in parsed(lines)[0]["exception"],
    )


@pytest.mark.parametrize(
    "text",
    ["https://host/path?days=1", "mail a@b at 12:30", "postgresql://user@host/db", "http://host:80/a", "10:00@12"],
)
def test_text_without_secrets_is_left_alone(text: str) -> None:
    """Redaction that eats what helps is a defect too."""
    assert text == redact(text)


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_lines_are_for_people_on_a_terminal_and_json_elsewhere(terminal: bool) -> None:  # noqa: FBT001
    """With the style left at `auto`, in a process of its own on a real terminal and on a pipe."""
    code = (
        "import logging; from ingestion_pipeline.core.logs import configure_logging; configure_logging('info');"
        "logging.getLogger('ingestion_pipeline.x').info('hello')"
    )
    ours, theirs = pty.openpty()
    stderr = theirs if terminal else subprocess.PIPE
    result = subprocess.run([sys.executable, "-c", code], stderr=stderr, check=True)
    close(theirs)
    written = read(ours, 65536).decode() if terminal else result.stderr.decode()
    close(ours)
    assert (True, not terminal) == ("hello" in written, written.startswith("{"))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://u:pa/ss@h/db", "postgresql://u:***@h/db"),
        ("redis://:p@ss/word@h gone", "redis://:***@h gone"),
        ("host=h password='a b c' dbname=d", "host=h password=*** dbname=d"),
        (r"password = 'it\'s b' dbname=d", "password = *** dbname=d"),
        ('password="a b" x', "password=*** x"),
        ("password='never closed", "password=***"),
        ("{'password': 'a b', 'x': 1}", "{'password': ***, 'x': 1}"),
        ("POST https://hooks.slack.com/services/T0/B0/x: 404", "POST https://hooks.slack.com/*** 404"),
        ("https://discord.com/api/webhooks/1/x", "https://discord.com/api/webhooks/***"),
    ],
)
def test_passwords_of_any_spelling_are_recognised(text: str, clean: str) -> None:
    """With slashes, signs and spaces in them; in the path of a webhook."""
    assert clean == redact(text)


def test_known_secrets_are_redacted_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest first, so that no rest of one is left; not those so short that they are in every text."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging("info", style="json", secrets={CANARY, f"{CANARY}-more", "abc", "info"})
    structlog.get_logger(f"{PACKAGE}.x").info(f"x{CANARY}-more {CANARY}, abc", pair={CANARY: [f"<{CANARY}>"]})
    logging.getLogger(f"{PACKAGE}.y").info("they said %s", CANARY)
    first, second = parsed(stream)
    assert ("x*** ***, abc", {"***": ["<***>"]}, "info") == (first["event"], first["pair"], first["level"])
    assert "they said ***" == second["event"]


@pytest.mark.parametrize("secret", ['a"b c', "a'b'", "p<w>d"])
def test_a_password_that_no_pattern_recognises_is_redacted_because_it_is_known(secret: str) -> None:
    """And only because of that."""
    text = f"connecting with postgresql://u:{secret}@h/db"
    assert ("connecting with postgresql://u:***@h/db", True) == (redact(text, {secret}), secret in redact(text))
