"""Messages to real receivers on loopback: a webhook, Apprise's own JSON target, and receivers that misbehave."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.core.logs import configure_logging
from ingestion_pipeline.providers.addresses import INTERNAL
from ingestion_pipeline.providers.alert_sender import REFUSED
from ingestion_pipeline.providers.alerts import (
    SENDING_SECONDS,
    STARTING_SECONDS,
    Message,
    Target,
    Words,
    deliver,
    require_targets,
    targets,
)
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.command import free_port

CANARY = "geheim-geheim-42"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MESSAGE = Message("error", "the disk is full", {"disk": "sda", "alert": "disk:sda", "notice": "alert"}, NOON)
BODY = {
    "severity": "error",
    "message": "the disk is full",
    "context": {"disk": "sda", "alert": "disk:sda", "notice": "alert"},
    "at": "2026-03-02T12:00:00+00:00",
}


def settings(**over: str) -> Settings:
    return Settings.from_environment({"ALERT_PRIVATE_TARGETS": "true", **over})


def told(*messages: Message, seconds: int = SENDING_SECONDS, **over: str) -> dict[str, list[str | None]]:
    """What becomes of `messages`, by the kind of target."""
    given = settings(**over)
    outcomes = deliver({target: messages or [MESSAGE] for target in targets(given)}, given, seconds=seconds)
    return {target.name.rpartition("-")[0]: problems for target, problems in outcomes.items()}


def bodies(httpserver: HTTPServer) -> list[dict[str, Any]]:
    return [json.loads(request.get_data()) for request, _ in httpserver.log]


def local(httpserver: HTTPServer, path: str, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{httpserver.port}/{path}"


@pytest.fixture
def trickle() -> Iterator[int]:
    """The port of a receiver that answers a header at a time, and never to the end."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not stopped.wait(0.2):
                try:
                    connection.sendall(b"x-more: x\r\n")
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    stopped.set()
    listener.close()


def test_a_webhook_gets_the_message_as_json(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hook", method="POST").respond_with_data("taken")
    assert {"webhook": [None]} == told(ALERT_WEBHOOK_URL=local(httpserver, "hook"))
    assert [BODY] == bodies(httpserver)


def test_a_target_of_apprise_gets_title_text_and_type(httpserver: HTTPServer) -> None:
    """Its own JSON target, for real; the context is in the text."""
    httpserver.expect_request("/notify", method="POST").respond_with_data("taken")
    recovery = Message("info", "over: it is well", {"notice": "recovery"}, NOON)
    assert {"json": [None, None]} == told(MESSAGE, recovery, ALERT_TARGETS=local(httpserver, "notify", "json"))
    first, second = bodies(httpserver)
    assert ("[error] ingestion pipeline", "failure") == (first["title"], first["type"])
    assert "the disk is full\ndisk: sda\nalert: disk:sda\nnotice: alert" == first["message"]
    assert "success" == second["type"]


def test_every_target_is_told_in_the_order_of_the_messages(httpserver: HTTPServer) -> None:
    for path in ("hook", "one", "two"):
        httpserver.expect_request(f"/{path}").respond_with_data("taken")
    several = ", ".join(local(httpserver, path, "json") for path in ("one", "two"))
    messages = [Message("info", str(number), {}, NOON) for number in range(4)]
    given = settings(ALERT_WEBHOOK_URL=local(httpserver, "hook"), ALERT_TARGETS=several)
    outcomes = deliver(dict.fromkeys(targets(given), messages), given)
    assert [[None] * 4] * 3 == list(outcomes.values())
    assert ["0", "1", "2", "3"] == [body["message"] for body in bodies(httpserver) if "context" in body]
    assert 12 == len(httpserver.log)


def answer_500(_: Request) -> Response:
    return Response("no", 500)


def answer_redirect(_: Request) -> Response:
    return Response("", 302, {"location": "/elsewhere"})


def answer_endlessly(_: Request) -> Response:
    return Response((b"x" * 65536 for _ in iter(int, 1)), 500)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [(answer_500, "status 500"), (answer_redirect, "status 302"), (answer_endlessly, "status 500")],
)
def test_a_receiver_that_refuses_is_named_and_the_others_are_served(
    httpserver: HTTPServer, answer: Callable[[Request], Response], problem: str
) -> None:
    """HTTP 500, a redirect (which is not followed) and an answer without an end; of Apprise's targets the same."""
    httpserver.expect_request("/bad").respond_with_handler(answer)
    httpserver.expect_request("/elsewhere").respond_with_data("taken")
    httpserver.expect_request("/good").respond_with_data("taken")
    found = told(ALERT_WEBHOOK_URL=local(httpserver, "bad"), ALERT_TARGETS=local(httpserver, "good", "json"))
    assert {"webhook": [problem], "json": [None]} == found
    if answer is not answer_endlessly:  # requests reads it all
        assert {"json": [problem]} == told(ALERT_TARGETS=local(httpserver, "bad", "json"))
    assert "/elsewhere" not in [request.path for request, _ in httpserver.log]


def test_a_receiver_that_is_down_is_named_and_the_others_are_served(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/good").respond_with_data("taken")
    nobody = f"127.0.0.1:{free_port()}/{CANARY}"
    found = told(
        ALERT_WEBHOOK_URL=f"http://{nobody}", ALERT_TARGETS=f"{local(httpserver, 'good', 'json')},xml://{nobody}"
    )
    assert {"webhook": ["ConnectError"], "json": [None], "xml": ["not taken"]} == found


def test_a_receiver_that_never_ends_holds_nobody_up_for_long(httpserver: HTTPServer, trickle: int) -> None:
    """It is left after the given seconds, and the messages behind it are due again; others were served meanwhile."""
    httpserver.expect_request("/good").respond_with_data("taken")
    start = time.monotonic()
    found = told(
        MESSAGE,
        MESSAGE,
        seconds=2,
        ALERT_WEBHOOK_URL=f"http://127.0.0.1:{trickle}/",
        ALERT_TARGETS=local(httpserver, "good", "json"),
    )
    assert time.monotonic() - start < SENDING_SECONDS + STARTING_SECONDS
    assert {"webhook": ["no answer in 2 s"] * 2, "json": [None, None]} == found


def test_after_a_refusal_a_target_is_not_bothered_with_the_next_message(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/bad").respond_with_data("no", status=500)
    assert {"webhook": ["status 500"] * 3} == told(
        MESSAGE, MESSAGE, MESSAGE, ALERT_WEBHOOK_URL=local(httpserver, "bad")
    )
    assert 1 == len(httpserver.log)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "0"]
)
@pytest.mark.parametrize("name", ["ALERT_WEBHOOK_URL", "ALERT_TARGETS"])
def test_a_target_in_a_private_network_is_refused(httpserver: HTTPServer, name: str, host: str) -> None:
    """However it is spelled, and by Apprise too; the receiver, which listens, hears nothing."""
    httpserver.expect_request("/hook").respond_with_data("taken")
    scheme = "http" if name == "ALERT_WEBHOOK_URL" else "json"
    (problems,) = told(**{name: f"{scheme}://{host}:{httpserver.port}/hook", "ALERT_PRIVATE_TARGETS": "false"}).values()
    assert problems in ([REFUSED], ["InvalidURL"], ["Apprise cannot read the target"])
    assert [] == httpserver.log


def test_a_proxy_is_not_asked_where_only_public_targets_are_allowed(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would look the name up itself, and connect to whatever that means."""
    httpserver.expect_request("/hook").respond_with_data("taken")
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{httpserver.port}")
    found = told(
        ALERT_WEBHOOK_URL="http://127.0.0.2:9/hook", ALERT_TARGETS="json://127.0.0.2:9/hook", ALERT_PRIVATE_TARGETS="no"
    )
    assert {"webhook": [REFUSED], "json": [REFUSED]} == found
    assert [] == httpserver.log


def test_no_secret_is_in_logs_and_outcomes(
    httpserver: HTTPServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Of a webhook, of targets that Apprise refuses, cannot reach or logs about; not in the names of targets either."""
    configure_logging("debug", style="json")
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    httpserver.expect_request(f"/bad/{CANARY}").respond_with_data(f"no {CANARY}", status=500)
    over = {
        "ALERT_WEBHOOK_URL": local(httpserver, f"bad/{CANARY}"),
        "ALERT_TARGETS": ",".join(
            [
                f"json://user:{CANARY}@127.0.0.1:{httpserver.port}/bad/{CANARY}?+x-key={CANARY}",
                f"xml://127.0.0.1:{free_port()}/{CANARY}",
                f"mailto://user:{CANARY}@127.0.0.1:{free_port()}?from=a@b.example&to=c@d.example",
            ]
        ),
    }
    given = settings(**over)
    found = require_targets(given)
    outcomes = deliver({target: [MESSAGE] for target in found}, given)
    assert all(problem for problems in outcomes.values() for problem in problems)
    written = capfd.readouterr()
    assert "alert not delivered" in written.err
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name != "werkzeug")  # the receiver's
    for text in (written.out, written.err, ours, repr(found), repr(outcomes)):
        assert CANARY not in text


def test_words_have_no_secret_and_no_internal_address() -> None:
    """Of settings and of parts of targets' addresses, in messages, names and values."""
    words = Words(
        settings(
            DATABASE_URL=f"postgresql://worker:{CANARY}1@pg.prod.example:5432/pipeline",
            REDIS_URL=f"redis://:{CANARY}2@cache7:6379/0",
            JWT_SECRET=f"{CANARY}3-and-longer-than-32-characters",
            ALERT_TARGETS=f"slack://{CANARY}4/B1BRTD4JD/TIiajkdnlaz/#c, json://u:{CANARY}5@alerts.example/x,mailto://me:pa%20ss@mail.example",
        )
    )
    text = f"{CANARY}1 {CANARY}2 {CANARY}3-and-longer-than-32-characters {CANARY}4 {CANARY}5 TIiajkdnlaz 'pa ss'"
    text += " pg.prod.example:5432 redis://cache7:6379/0 10.0.0.7 api_key=another"
    cleaned = words.clean(text)
    for secret in (CANARY, "TIiajkdnlaz", "pa ss", "pg.prod", "cache7", "10.0.0.7", "another"):
        assert secret not in cleaned
    assert {"disk": "sda", "api_key": "***", "where": INTERNAL} == words.clean_context(
        {"disk": "sda", "api_key": "another", "where": "10.0.0.7"}
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secretive@pg.prod.example:5432/x",
        "postgresql://u@pg.prod.example/x?sslmode=require",
        "postgresql://u@other.example,pg.prod.example:5432/x",
        "postgresql://u@/x?host=pg.prod.example",
    ],
)
def test_the_hosts_of_our_stores_are_internal(url: str) -> None:
    """However the URL names them; others are not."""
    words = Words(settings(DAGSTER_PG_URL=url))
    assert f'server at "{INTERNAL}", api.binance.com' == words.clean('server at "pg.prod.example", api.binance.com')


def test_words_are_of_a_readable_length() -> None:
    assert 1000 == len(Words(settings()).clean("x" * 1_000_000))
    assert "nothing of note in https://alerts.example/hook" == Words(settings()).clean(
        "nothing of note in https://alerts.example/hook"
    )


def test_targets_have_names_that_tell_them_apart_and_nothing_more() -> None:
    """A target that is named twice is one; the order does not change a name."""
    slack = f"slack://T1JJ3T3L2/A1BRTD4JD/{CANARY}/#a,b"
    one = targets(
        settings(ALERT_TARGETS=f"{slack},json://a.example/x , {slack}", ALERT_WEBHOOK_URL="https://a.example/x")
    )
    other = targets(settings(ALERT_TARGETS=f"json://a.example/x,{slack}"))
    assert ["webhook", "slack", "json"] == [target.name.partition("-")[0] for target in one]
    assert {target.name for target in one[1:]} == {target.name for target in other}
    assert slack == one[1].url
    assert CANARY not in repr(one)
    (spelled_wrong,) = targets(settings(ALERT_TARGETS=CANARY))
    assert "apprise" == spelled_wrong.name.partition("-")[0]


@pytest.mark.parametrize(
    ("given", "seen", "expected"),
    [
        (f"nosuch://{CANARY}", "nosuch://***", "a known target of Apprise"),
        (f"json://a.example/x,slakc://{CANARY}/b", "slakc://***", "a known target of Apprise"),
        (f"slack://{CANARY}", "slack://***", "a complete target of Apprise"),
        (CANARY, "***", "comma-separated targets such as slack://… or mailto://…"),
    ],
)
def test_a_target_that_apprise_does_not_know_is_a_configuration_error(
    given: str, seen: str, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Which names the service and not the rest."""
    with pytest.raises(ConfigurationError) as caught:
        require_targets(settings(ALERT_TARGETS=given))
    assert ("ALERT_TARGETS", seen, expected) == (caught.value.variable, caught.value.value, caught.value.expected)
    assert CANARY not in "".join(capfd.readouterr())


def test_targets_that_can_be_read_are_returned() -> None:
    good = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#c,mailtos://user:pass@gmail.com,jsons://a.example"
    assert 4 == len(require_targets(settings(ALERT_TARGETS=good, ALERT_WEBHOOK_URL="https://a.example")))
    assert () == require_targets(settings())


def test_a_target_is_not_shown_with_its_address() -> None:
    assert CANARY not in repr(Target("slack-1f2e3d", "apprise", f"slack://{CANARY}"))
