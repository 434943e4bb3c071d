"""Breakers: the state is in PostgreSQL, so every process sees the same one."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier

import psycopg
import pytest

from ingestion_pipeline.core.errors import CircuitOpenError
from ingestion_pipeline.storage.breakers import FAILURE_THRESHOLD, PostgresBreaker
from ingestion_pipeline.storage.postgres import Postgres

CALLERS = 16


def failures(breaker: PostgresBreaker, count: int, name: str = "binance") -> None:
    for _ in range(count):
        breaker.record(name, ok=False)


def is_open(breaker: PostgresBreaker, name: str = "binance") -> bool:
    try:
        breaker.before_call(name)
    except CircuitOpenError:
        return True
    return False


def allowed_of_sixteen(breaker: PostgresBreaker) -> int:
    barrier = Barrier(CALLERS)

    def call(_: int) -> bool:
        barrier.wait()
        return not is_open(breaker)

    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(call, range(CALLERS)))


def state(postgres: Postgres) -> tuple[str, int, datetime | None]:
    with postgres.transaction() as connection:
        return connection.execute(
            "select state, failure_count, retry_at from operations.circuit_breakers where name = 'binance'"
        ).fetchone()


def test_a_breaker_opens_at_the_threshold_and_not_before(postgres: Postgres) -> None:
    """Five failures in a row."""
    breaker = PostgresBreaker(postgres)
    failures(breaker, FAILURE_THRESHOLD - 1)
    before = is_open(breaker)
    failures(breaker, 1)
    assert (False, True) == (before, is_open(breaker))


def test_a_success_between_failures_starts_the_count_again(postgres: Postgres) -> None:
    """In a row means in a row."""
    breaker = PostgresBreaker(postgres)
    failures(breaker, FAILURE_THRESHOLD - 1)
    breaker.record("binance", ok=True)
    failures(breaker, FAILURE_THRESHOLD - 1)
    assert (False, 4) == (is_open(breaker), state(postgres)[1])


def test_a_name_that_never_failed_is_closed_and_leaves_no_row(postgres: Postgres) -> None:
    """Good calls cost one read."""
    breaker = PostgresBreaker(postgres)
    breaker.record("binance", ok=True)
    assert (False, None) == (is_open(breaker), state(postgres))


def test_one_sources_breaker_is_not_anothers(postgres: Postgres) -> None:
    """CoinGecko's failures do not stop Binance."""
    breaker = PostgresBreaker(postgres)
    failures(breaker, FAILURE_THRESHOLD, "coingecko")
    assert (True, False) == (is_open(breaker, "coingecko"), is_open(breaker, "binance"))


def test_an_open_breaker_is_open_for_every_process(postgres: Postgres) -> None:
    """Another connection pool meets the same state."""
    failures(PostgresBreaker(postgres), FAILURE_THRESHOLD)
    other = Postgres(postgres.url)
    seen = is_open(PostgresBreaker(other))
    other.close()
    assert seen


def test_one_of_sixteen_callers_becomes_the_probe(postgres: Postgres) -> None:
    """The pause is over for all of them at the same instant."""
    breaker = PostgresBreaker(postgres, pause="0 seconds")
    failures(breaker, FAILURE_THRESHOLD)
    assert (1, "half_open") == (allowed_of_sixteen(breaker), state(postgres)[0])


def test_while_the_probe_is_out_nobody_else_calls_and_after_its_lease_one_does(postgres: Postgres) -> None:
    """The probe died without a word; its lease, not its process, frees the breaker."""
    breaker = PostgresBreaker(postgres, pause="0 seconds")
    failures(breaker, FAILURE_THRESHOLD)
    probes = [allowed_of_sixteen(breaker), allowed_of_sixteen(breaker)]
    postgres.execute("update operations.circuit_breakers set retry_at = clock_timestamp()")
    assert [1, 0, 1] == [*probes, allowed_of_sixteen(breaker)]


def test_a_good_probe_closes_the_breaker(postgres: Postgres) -> None:
    """And the count starts at nothing."""
    breaker = PostgresBreaker(postgres, pause="0 seconds")
    failures(breaker, FAILURE_THRESHOLD)
    breaker.before_call("binance")
    breaker.record("binance", ok=True)
    assert (CALLERS, ("closed", 0, None)) == (allowed_of_sixteen(breaker), state(postgres))


def test_a_failed_probe_opens_it_again(postgres: Postgres) -> None:
    """One failure is enough then."""
    breaker = PostgresBreaker(postgres, pause="0 seconds")
    failures(breaker, FAILURE_THRESHOLD)
    breaker.before_call("binance")
    PostgresBreaker(postgres, pause="1 hour").record("binance", ok=False)
    assert (True, "open") == (is_open(breaker), state(postgres)[0])


def test_the_error_names_the_source_and_the_instant_in_utc(postgres: Postgres, database_url: str) -> None:
    """Also where the server's clock shows another time zone."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set timezone to 'Asia/Tokyo'")
    there = Postgres(postgres.url)
    breaker = PostgresBreaker(there)
    failures(breaker, FAILURE_THRESHOLD)
    with pytest.raises(CircuitOpenError) as caught:
        breaker.before_call("binance")
    there.close()
    instant = state(postgres)[2]
    text = f"provider binance failed too often: its circuit breaker is open until {instant:%Y-%m-%d %H:%M:%S} UTC"
    assert text == str(caught.value)
