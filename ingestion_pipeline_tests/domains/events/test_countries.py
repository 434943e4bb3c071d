"""The country of an address, from a real database in MaxMind's format."""

from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from structlog.testing import capture_logs

from ingestion_pipeline.domains.events.countries import countries


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two countries, a network without one, and records that are none of ours."""
    writer = MMDBWriter(6, "GeoLite2-Country", ipv4_compatible=True)
    records: dict[str, object] = {
        "203.0.113.0/24": {"country": {"iso_code": "CH", "names": {"en": "Switzerland"}}},
        "2001:db8::/32": {"country": {"iso_code": "DE"}},
        "198.51.100.0/25": {"continent": {"code": "EU"}},
        "198.51.100.128/26": {"country": {"iso_code": 7}},
        "198.51.100.192/26": {"country": "FR"},
        "192.0.2.0/24": "nothing",
    }
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    path = tmp_path / "countries.mmdb"
    writer.to_db_file(str(path))
    return path


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("203.0.113.9", "CH"),
        ("2001:db8::1", "DE"),
        ("8.8.8.8", None),
        ("198.51.100.1", None),
        ("198.51.100.130", None),
        ("198.51.100.200", None),
        ("192.0.2.1", None),
        ("not an address", None),
        ("", None),
    ],
)
def test_an_address_has_the_country_of_its_network(database: Path, address: str, country: str | None) -> None:
    country_of = countries(database)
    assert [country] * 2 == [country_of(address), country_of(address)]


def test_without_a_database_nobody_has_a_country() -> None:
    assert None is countries(None)("203.0.113.9")


@pytest.mark.parametrize("content", [None, b"", b"not a database", b"\xab\xcd\xefMaxMind.com" * 3])
def test_a_database_that_cannot_be_read_costs_only_the_countries(tmp_path: Path, content: bytes | None) -> None:
    """The log says which file and why."""
    path = tmp_path / "broken.mmdb"
    if content is not None:
        path.write_bytes(content)
    with capture_logs() as logs:
        assert None is countries(path)("203.0.113.9")
    assert [str(path)] == [line["path"] for line in logs]


def test_a_database_that_is_cut_off_costs_only_the_countries(database: Path) -> None:
    """The end of the file says that it is one; what is before is broken."""
    content = database.read_bytes()
    database.write_bytes(content[:20] + b"\xff" * (len(content) // 2 - 20) + content[len(content) // 2 :])
    country_of = countries(database)
    assert {country_of(f"203.0.113.{n}") for n in range(256)} <= {None, "CH"}
