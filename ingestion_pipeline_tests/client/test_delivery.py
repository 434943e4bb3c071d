"""What becomes of emitted events when the service is well, limits, fails, hangs, vanishes or refuses some."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from werkzeug import Request, Response

from ingestion_pipeline.client import AnalyticsClient, Stats, http
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.client.conftest import FakeService, dropped, status, taken

Connect = Callable[..., AnalyticsClient]


def stats(client: AnalyticsClient) -> tuple[int, int, int, int]:
    now = client.stats()
    return now.sent, now.queued, now.dropped, now.rejected


def test_events_arrive_in_order_with_token_and_sending_time(service: FakeService, connect: Connect) -> None:
    client = connect()
    keys = [client.emit("VIEW", {"n": number}, rule_id="r") for number in range(50)]
    assert client.flush()
    assert [key for batch in service.key_batches() for key in batch] == keys
    assert set(service.tokens) == {"secret"}
    sent_at = datetime.fromisoformat(service.bodies[-1]["sentAt"])
    assert datetime.fromisoformat(service.batches()[-1][-1]["ts"]) <= sent_at <= datetime.now(UTC)
    assert client.stats() == Stats(sent=50, queued=0, dropped=0, rejected=0)


def test_batches_are_bounded_in_events_and_bytes(service: FakeService, connect: Connect) -> None:
    """A request holds at most `max_batch` events and about a megabyte."""
    client = connect(max_batch=10, interval_seconds=3600)
    for _ in range(25):
        client.emit("VIEW")
    assert client.flush()
    assert [len(batch) for batch in service.batches()] == [10, 10, 5]
    for _ in range(5):
        client.emit("VIEW", {"text": "x" * 400_000})
    assert client.flush()
    assert [len(batch) for batch in service.batches()][3:] == [2, 2, 1]


def test_full_batch_leaves_without_waiting_for_the_interval(service: FakeService, connect: Connect) -> None:
    client = connect(max_batch=10, interval_seconds=3600)
    for _ in range(10):
        client.emit("VIEW")
    until(lambda: client.stats().sent == 10)


def test_interval_ends_without_a_full_batch(connect: Connect) -> None:
    client = connect(max_batch=1000, interval_seconds=0.05)
    client.emit("VIEW")
    until(lambda: client.stats().sent == 1)


@pytest.mark.parametrize("fault", [status(503), status(401), status(500), status(302, location="/elsewhere"), dropped])
def test_same_events_with_the_same_keys_are_sent_again(service: FakeService, connect: Connect, fault: Any) -> None:
    """Whether the first request was taken or not: the key tells."""
    service.then(fault)
    client = connect(max_batch=2, interval_seconds=3600)
    keys = [client.emit("VIEW"), client.emit("COPY")]
    assert client.flush()
    assert service.key_batches() == [keys, keys]
    assert client.stats() == Stats(sent=2, queued=0, dropped=0, rejected=0)


def test_wait_that_the_service_asks_for_is_kept(service: FakeService, connect: Connect) -> None:
    """Even by a flush, which ends a back-off of our own."""
    service.then(status(429, retry_after="1"))
    client = connect()
    client.emit("VIEW")
    assert client.flush()
    assert service.times[1] - service.times[0] >= 1


def test_flush_ends_a_back_off(service: FakeService, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_FIRST_BACKOFF_SECONDS", 3600.0)
    monkeypatch.setattr(http, "_LONGEST_BACKOFF_SECONDS", 3600.0)
    service.then(status(503))
    client = connect()
    client.emit("VIEW")
    until(lambda: len(service.bodies) == 1)
    assert client.flush(60)


def test_flush_gives_up_at_its_deadline(service: FakeService, connect: Connect) -> None:
    service.then(status(503, retry_after="3600"))
    client = connect()
    client.emit("VIEW")
    until(lambda: len(service.bodies) == 1)
    assert client.flush(0.01) is False
    assert stats(client) == (0, 1, 0, 0)


def test_slow_service_is_given_up_and_asked_again(service: FakeService, connect: Connect) -> None:
    released = threading.Event()

    def hang(request: Request) -> Response:
        released.wait(60)
        return taken(request)

    service.then(hang)
    client = connect(timeout_seconds=0.2)
    key = client.emit("VIEW")
    until(lambda: client.stats().sent == 1)
    released.set()
    assert len(service.bodies) >= 2
    assert {key} == {sent for batch in service.key_batches() for sent in batch}


def test_emission_goes_on_while_the_service_hangs(service: FakeService, connect: Connect) -> None:
    """All of these calls return before the service has answered anything."""
    released = threading.Event()

    def hang(request: Request) -> Response:
        released.wait(60)
        return taken(request)

    service.then(hang)
    client = connect(max_batch=100)
    for _ in range(1000):
        client.emit("VIEW")
    assert stats(client) == (0, 1000, 0, 0)
    released.set()
    assert client.flush()
    assert stats(client) == (1000, 0, 0, 0)


def test_service_that_comes_back_gets_everything(service: FakeService, connect: Connect) -> None:
    server = service.server
    server.stop()
    client = connect()
    keys = [client.emit("VIEW") for _ in range(5)]
    assert client.flush(0.1) is False
    assert stats(client) == (0, 5, 0, 0)
    again = type(server)(host=server.host, port=server.port, threaded=True)
    revived = FakeService(again)
    with again:
        assert client.flush(30)
    assert [key for batch in revived.key_batches() for key in batch] == keys


def test_rejected_events_are_told_and_the_others_count(service: FakeService, connect: Connect) -> None:
    told: list[tuple[Any, str]] = []
    service.then(lambda request: taken(request, rejected={1: "type is 'FOO', expected one of the registered types"}))
    client = connect(max_batch=3, interval_seconds=3600, on_rejected=lambda event, reason: told.append((event, reason)))
    client.emit("VIEW")
    client.emit("FOO", {"a": 1})
    client.emit("COPY")
    assert client.flush()
    assert stats(client) == (2, 0, 0, 1)
    [(event, reason)] = told
    assert (event["type"], event["data"]) == ("FOO", {"a": 1})
    assert reason == "type is 'FOO', expected one of the registered types"


def test_refused_request_loses_only_the_event_that_spoils_it(service: FakeService, connect: Connect) -> None:
    """A body that is too deep or unreadable is refused whole: halving finds the culprit."""
    told: list[Any] = []

    def spoiled(request: Request) -> Response:
        return status(422)(request) if b"poison" in request.get_data() else taken(request)

    service.then(*[spoiled] * 100)
    client = connect(max_batch=16, interval_seconds=3600, on_rejected=lambda event, _: told.append(event["type"]))
    for number in range(16):
        client.emit("poison" if number == 5 else "VIEW")
    assert client.flush()
    assert stats(client) == (15, 0, 0, 1)
    assert told == ["poison"]


def test_full_queue_drops_the_newest_counts_and_warns_once(
    service: FakeService, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()

    def hang(request: Request) -> Response:
        released.wait(60)
        return taken(request)

    service.then(hang)
    client = connect(max_queue=10)
    with caplog.at_level(logging.WARNING):
        keys = [client.emit("VIEW") for _ in range(30)]
    assert stats(client) == (0, 10, 20, 0)
    released.set()
    assert client.flush()
    assert stats(client) == (10, 0, 20, 0)
    assert [key for batch in service.key_batches() for key in batch] == keys[:10]
    assert 1 == sum("dropped" in record.message for record in caplog.records)


def test_queue_is_bounded_in_bytes(service: FakeService, connect: Connect) -> None:
    service.then(status(503, retry_after="3600"))
    client = connect(max_queue_bytes=10_000)
    for _ in range(30):
        client.emit("VIEW", {"text": "x" * 900})
    now = client.stats()
    assert now.queued + now.dropped == 30
    assert 1 <= now.queued <= 10


def test_without_a_callback_rejections_warn_once(
    service: FakeService, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    service.then(lambda request: taken(request, rejected={0: "no", 1: "no"}))
    client = connect(max_batch=2, interval_seconds=3600)
    with caplog.at_level(logging.WARNING):
        client.emit("FOO")
        client.emit("FOO")
        assert client.flush()
    assert stats(client) == (0, 0, 0, 2)
    assert 1 == sum("event FOO was rejected: no" in message for message in caplog.messages)


def test_callback_that_fails_stops_nothing(service: FakeService, connect: Connect) -> None:
    service.then(lambda request: taken(request, rejected={0: "no"}))
    client = connect(on_rejected=lambda *_: 1 / 0)
    client.emit("FOO")
    assert client.flush()
    client.emit("VIEW")
    assert client.flush()
    assert stats(client) == (1, 0, 0, 1)


def test_callback_may_emit_flush_and_close(service: FakeService, connect: Connect) -> None:
    """It runs in the thread that sends: nothing there may wait for itself."""
    service.then(lambda request: taken(request, rejected={0: "no"}))
    done = threading.Event()

    def told(event: Any, reason: str) -> None:
        client.emit("VIEW")
        assert client.flush(60) is False
        client.close()
        done.set()

    client = connect(on_rejected=told)
    client.emit("FOO")
    assert done.wait(60)


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": float("inf")}])
def test_values_that_json_lacks_are_rejected_not_raised(connect: Connect, data: Any) -> None:
    """A value comes from outside; it must not break the code that reports it."""
    told: list[str] = []
    client = connect(on_rejected=lambda _, reason: told.append(reason))
    client.emit("VIEW", data)
    assert stats(client) == (0, 0, 0, 1)
    assert "not JSON compliant" in told[0]


def test_data_that_holds_itself_is_rejected_not_raised(connect: Connect) -> None:
    data: dict[str, Any] = {}
    data["self"] = data
    client = connect()
    client.emit("VIEW", data)
    assert stats(client) == (0, 0, 0, 1)


def test_wrong_types_raise_where_they_are_written(connect: Connect) -> None:
    client = connect()
    with pytest.raises(TypeError, match="userId is int"):
        client.emit("VIEW", user_id=7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no time zone"):
        client.emit("VIEW", ts=datetime(2024, 1, 1))  # noqa: DTZ001
    assert stats(client) == (0, 0, 0, 0)


def test_event_is_what_it_was_when_emitted(service: FakeService, connect: Connect) -> None:
    client = connect(interval_seconds=3600)
    data = {"a": 1}
    client.emit("VIEW", data)
    data["a"] = 2
    assert client.flush()
    assert service.batches()[0][0]["data"] == {"a": 1}


def test_close_sends_the_rest_and_later_events_are_dropped(service: FakeService, connect: Connect) -> None:
    client = connect(interval_seconds=3600)
    with client:
        client.emit("VIEW")
    client.emit("COPY")
    client.close()
    assert service.types() == ["VIEW"]
    assert stats(client) == (1, 0, 1, 0)


def test_close_of_a_service_that_is_away_says_what_is_lost(
    service: FakeService, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    service.then(status(503, retry_after="3600"))
    client = connect()
    client.emit("VIEW")
    until(lambda: len(service.bodies) == 1)
    with caplog.at_level(logging.WARNING):
        client.close(0)
    assert "the client closed with 1 events unsent" in caplog.messages


def test_threads_share_a_client(service: FakeService, connect: Connect) -> None:
    client = connect()
    threads = [threading.Thread(target=lambda: [client.emit("VIEW") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush()
    keys = [key for batch in service.key_batches() for key in batch]
    assert (len(keys), len(set(keys)), stats(client)) == (1600, 1600, (1600, 0, 0, 0))
