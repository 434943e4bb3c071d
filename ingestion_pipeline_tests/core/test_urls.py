"""What a URL in a setting may look like, and which parts of it are secret."""

import pytest

from ingestion_pipeline.core.urls import (
    LAKE_SCHEMES,
    require_database,
    require_no_user,
    require_place,
    require_scheme,
    secrets_of,
    without_user,
)


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("postgresql://user:geheim@host/db", {"geheim"}),
        ("postgresql://user:ge%40heim@host/db", {"ge%40heim", "ge@heim"}),
        ("postgresql://host/db?password=geheim", {"geheim"}),
        ("https://hooks.example.org/services/T0/B0/geheim", {"services/T0/B0/geheim"}),
        ("https://hooks.example.org/hook", set()),
    ],
)
def test_passwords_and_the_paths_of_webhooks_are_secret(url: str, secrets: set[str]) -> None:
    """A webhook's whole URL is too; a short path is a word, and no secret by itself."""
    found = set(secrets_of(url)) - {""}
    assert secrets == (found - {url} if url.startswith("https") else found)
    assert url.startswith("postgresql") or url in found


@pytest.mark.parametrize("url", ["https://user@host/path", "https://user:geheim@host", "s3://key:geheim@bucket/a/b"])
def test_a_url_that_is_printed_has_no_user(url: str) -> None:
    with pytest.raises(ValueError, match="without a user"):
        require_no_user(url)
    assert "geheim" not in without_user(url)


def test_an_at_sign_in_the_path_is_no_user() -> None:
    assert "https://host/@name" == require_no_user("https://host/@name")


@pytest.mark.parametrize("place", ["/srv/lake", "lake", "s3://bucket/lake", "abfss://container@account.host/lake"])
def test_a_place_is_a_folder_or_a_bucket(place: str) -> None:
    assert place == require_place(place, LAKE_SCHEMES)


@pytest.mark.parametrize("place", ["ftp://host/lake", "s3://key:geheim@bucket"])
def test_another_place_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        require_place(place, LAKE_SCHEMES)


@pytest.mark.parametrize("url", ["postgresql://host", "postgresql://user:pw@host:port/db", "nonsense"])
def test_a_database_url_names_host_and_database(url: str) -> None:
    with pytest.raises(ValueError, match="host and database"):
        require_database(url)


def test_a_wrong_scheme_names_the_right_ones() -> None:
    with pytest.raises(ValueError, match=r"http:// or https://"):
        require_scheme("ftp://host", ("http://", "https://"))
