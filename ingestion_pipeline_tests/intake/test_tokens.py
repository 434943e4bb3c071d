"""Tokens as their keeper sees them: the command and what it refuses."""

import re
from pathlib import Path

import psycopg
import pytest

from ingestion_pipeline.core.errors import ConfigurationError
from ingestion_pipeline.intake.tokens import create_token, list_tokens, new_token, revoke_token
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import run

KNOWN = frozenset({"events:write", "events:read"})


def test_the_command_makes_lists_and_revokes(worker_url: str, tmp_path: Path) -> None:
    """The token is printed once; nothing prints it again."""
    over: dict[str, str] = {"DATABASE_URL": worker_url}
    assert "no tokens\n" == run("tokens", "list", home=tmp_path, **over).stdout
    made = run("tokens", "create", "shop", "--scope", "events:write", "--expires-in", "90d", home=tmp_path, **over)
    token = made.stdout.strip()
    assert (0, True) == (made.returncode, bool(re.fullmatch(r"app_[0-9a-f]{64}", token)))
    listed = run("tokens", "list", home=tmp_path, **over).stdout
    assert re.search(r"^shop  events:write  made .* until ", listed)
    assert token not in listed
    assert "shop is revoked\n" == run("tokens", "revoke", "shop", home=tmp_path, **over).stdout
    assert "  revoked " in run("tokens", "list", home=tmp_path, **over).stdout
    again = run("tokens", "revoke", "shop", home=tmp_path, **over)
    assert (2, True) == (again.returncode, "NAME='shop'" in again.stderr)


@pytest.mark.parametrize(
    ("name", "scopes", "expires_in", "named"),
    [
        ("shop", ["events:admin"], None, "--scope"),
        ("shop", ["EVENTS:WRITE"], None, "--scope"),
        ("", ["events:read"], None, "NAME"),
        ("a b", ["events:read"], None, "NAME"),
        ("x" * 65, ["events:read"], None, "NAME"),
        ("shop", ["events:read"], "soon", "--expires-in"),
        ("shop", ["events:read"], "0d", "--expires-in"),
        ("shop", ["events:read"], "-1d", "--expires-in"),
    ],
)
def test_a_wrong_argument_is_named(
    postgres: Postgres, name: str, scopes: list[str], expires_in: str | None, named: str
) -> None:
    """And makes nothing."""
    with pytest.raises(ConfigurationError) as error:
        create_token(postgres, name, scopes, known=KNOWN, expires_in=expires_in)
    assert (named, []) == (error.value.variable, list_tokens(postgres))


def test_a_name_is_used_once(postgres: Postgres) -> None:
    """So that the request log means one token by it, also after its end."""
    create_token(postgres, "shop", ["events:read"], known=KNOWN)
    revoke_token(postgres, "shop")
    with pytest.raises(ConfigurationError, match="NAME='shop'"):
        create_token(postgres, "shop", ["events:read"], known=KNOWN)


def test_tokens_differ() -> None:
    assert 1000 == len({new_token() for _ in range(1000)})


def test_the_intake_s_role_reads_tokens_and_changes_none(database_url: str) -> None:
    """Readers for BI do not see even the digests."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role pipeline_intake")
        assert [] == connection.execute("select * from operations.app_tokens").fetchall()
        for statement in (
            "insert into operations.app_tokens (name, digest, scopes) values ('a', repeat('0', 64), '{x}')",
            "update operations.app_tokens set revoked_at = null",
            "delete from operations.api_requests",
            "delete from operations.app_tokens",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        connection.execute("set role pipeline_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from operations.app_tokens")
