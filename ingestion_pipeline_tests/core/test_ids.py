"""Identifiers, digests and seeds."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.core.ids import digest, new_id, seed, time_ordered_ids

PAYLOADS = st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.floats(allow_nan=False))


@given(PAYLOADS)
def test_the_order_of_keys_does_not_change_a_digest(payload: dict[str, object]) -> None:
    """The same row read twice is one row."""
    assert digest(payload) == digest(dict(reversed(payload.items())))


@given(PAYLOADS, PAYLOADS)
def test_different_mappings_have_different_digests(left: dict[str, object], right: dict[str, object]) -> None:
    """And equal ones equal digests; 1 and 1.0 and True are told apart as JSON does."""
    assert (repr(sorted(left.items())) == repr(sorted(right.items()))) == (digest(left) == digest(right))


def test_the_digest_of_bytes_is_their_sha256() -> None:
    """It can be checked with sha256sum."""
    assert hashlib.sha256(b"create table t ()").hexdigest() == digest(b"create table t ()")


def test_seeds_are_the_same_on_every_machine() -> None:
    """Mock prices of last year do not change with the release: these two numbers must never."""
    assert (5440795044816571825, 15351926302100754199) == (seed("BTC-USD", 2026), seed("ETH-USD"))


def test_the_parts_of_a_seed_do_not_run_into_each_other() -> None:
    """("ab", "c") is not ("a", "bc")."""
    assert seed("ab", "c") != seed("a", "bc")


def test_ids_are_random_uuids() -> None:
    """Version 4, never the same."""
    ids = [new_id() for _ in range(1000)]
    assert (1000, {4}) == (len(set(ids)), {UUID(text).version for text in ids})


INSTANTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(INSTANTS)
def test_time_ordered_ids_are_uuids_that_tell_the_time(instant: datetime) -> None:
    """Version 7, variant of RFC 9562, the milliseconds in the first 48 bits."""
    (text,) = time_ordered_ids(instant, 1)
    found = UUID(text)
    assert (7, "specified in RFC 4122", text) == (found.version, found.variant, found.hex)
    told = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=found.int >> 80)
    assert abs(instant - told) <= timedelta(milliseconds=1)


@given(st.lists(INSTANTS, max_size=20, unique_by=lambda it: int(it.timestamp() * 1000)))
def test_time_ordered_ids_sort_by_time(instants: list[datetime]) -> None:
    """As text, which is how partitions of keys are bounded."""
    assert sorted(instants) == sorted(instants, key=lambda instant: time_ordered_ids(instant, 1))


def test_time_ordered_ids_of_one_instant_differ() -> None:
    """A batch of any size is received at one instant; none of no events."""
    instant = datetime(2025, 3, 3, tzinfo=UTC)
    ids = time_ordered_ids(instant, 10_000)
    assert (10_000, {32}) == (len(set(ids)), {len(text) for text in ids})
    assert [] == time_ordered_ids(instant, 0)


def test_a_forked_process_makes_other_ids() -> None:
    """Workers are forked: none goes on with its parent's sequence."""
    instant = datetime(2025, 3, 3, tzinfo=UTC)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, (new_id() + time_ordered_ids(instant, 1)[0]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    mine = new_id() + time_ordered_ids(instant, 1)[0]
    theirs = os.read(reader, 200).decode()
    os.close(reader)
    os.close(writer)
    assert len(mine) == len(theirs)
    assert mine != theirs
