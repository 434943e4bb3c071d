"""Whose address it is: nobody's word but a trusted proxy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.intake.addresses import UNKNOWN, ClientAddresses, limited_as

TRUSTED = ClientAddresses(("10.0.0.0/8", "fd00::/8", "203.0.113.7/32"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.1", "1.2.3.4", "198.51.100.1"),  # not a proxy of ours
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # what stands left, the client wrote
        ("10.0.0.1", "1.2.3.4, 10.2.3.4,203.0.113.7", "1.2.3.4"),
        ("10.0.0.1", "10.9.9.9", "10.9.9.9"),  # proxies all the way
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, garbage", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, garbage, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "1.2.3.4:5678", "1.2.3.4"),
        ("10.0.0.1", "[2001:DB8::1]:443", "2001:db8::1"),
        ("::ffff:10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
        ("fd00::1", "2001:0db8:0:0:0:0:0:1", "2001:db8::1"),
        ("fe80::1%eth0", "", "fe80::1"),
        ("not an address", "1.2.3.4", UNKNOWN),
        ("", "", UNKNOWN),
    ],
)
def test_the_client_is_the_rightmost_hop_that_is_no_proxy(peer: str, forwarded: str, expected: str) -> None:
    assert expected == TRUSTED.of(peer, {b"x-forwarded-for": forwarded.encode()})


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"for=1.2.3.4", "1.2.3.4"),
        (b'for="[2001:db8::1]:4711";proto=https, For=10.0.0.9;by=10.0.0.1', "2001:db8::1"),
        (b"for=6.6.6.6, for=1.2.3.4", "1.2.3.4"),
        (b"for=unknown", "10.0.0.1"),
        (b"for=_hidden, proto=http", "10.0.0.1"),
        (b";;;=", "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_too(header: bytes, expected: str) -> None:
    assert expected == TRUSTED.of("10.0.0.1", {b"forwarded": header})


def test_without_trusted_proxies_no_header_is_believed() -> None:
    assert "10.0.0.1" == ClientAddresses(()).of("10.0.0.1", {b"x-forwarded-for": b"1.2.3.4"})


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_header_breaks_it(plain: bytes, standard: bytes) -> None:
    """The answer is an address, whatever is sent."""
    found = TRUSTED.of("10.0.0.1", {b"x-forwarded-for": plain, b"forwarded": standard})
    assert found == ClientAddresses(()).of(found, {})


@pytest.mark.parametrize(
    ("address", "limited"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        (UNKNOWN, UNKNOWN),
    ],
)
def test_a_limit_counts_an_ipv6_network_as_one(address: str, limited: str) -> None:
    """Its owner could otherwise ask from 2^64 addresses."""
    assert limited == limited_as(address)
