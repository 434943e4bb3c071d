"""Identifiers, digests and seeds."""

import hashlib
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.core.ids import digest, new_id, seed

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
