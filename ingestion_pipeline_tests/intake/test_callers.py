"""Who is let in where: tokens of applications, the scheduler's secret, persons' JWTs."""

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import psycopg
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.intake.tokens import create_token, new_token, revoke_token
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.intake.process import APP_TOKEN, CRON_SECRET, JWT_SECRET, Intake, running
from ingestion_pipeline_tests.intake.test_routing import refused

SCOPES = frozenset({"events:write", "events:read"})


@pytest.fixture
def keeper(intake_database: str) -> Any:
    postgres = Postgres(intake_database)
    yield postgres
    postgres.close()


def person(secret: str = JWT_SECRET, algorithm: str = "HS256", **over: Any) -> dict[str, str]:
    """The header of a person's token as Supabase issues it."""
    claims = {"sub": "user-1", "aud": "authenticated", "exp": utc_now() + timedelta(minutes=5), **over}
    claims = {name: value for name, value in claims.items() if value is not None}
    return {"authorization": f"Bearer {jwt.encode(claims, secret, algorithm=algorithm)}"}


def unsigned() -> dict[str, str]:
    parts = [{"alg": "none", "typ": "JWT"}, {"sub": "user-1", "aud": "authenticated", "exp": 9_999_999_999}]
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return {"authorization": f"Bearer {text}."}


def test_the_token_of_the_environment_may_do_everything_an_application_may(intake: Intake) -> None:
    caller = intake.get("/sample/closed", headers={"x-app-token": APP_TOKEN}).json()
    assert ("application", "INGEST_APP_TOKEN") == (caller["kind"], caller["name"])
    refused(intake.post("/sample/cron"), 401)


def test_where_only_applications_may_call_a_bearer_token_is_theirs(intake: Intake) -> None:
    """Prometheus sends nothing else; where persons or the scheduler may call, a bearer token is theirs."""
    bearer = {"authorization": f"Bearer {APP_TOKEN}"}
    body = {"content-type": "application/json"}
    assert 202 == intake.client.post("/sample/echo", content=b'{"name": "a"}', headers={**body, **bearer}).status_code
    refused(intake.client.post("/sample/echo", content=b"{}", headers={**body, "authorization": "Bearer guess"}), 401)
    refused(intake.client.post("/sample/cron", headers=bearer), 401)
    refused(intake.get("/sample/closed", headers=bearer), 401)


def test_a_made_token_works_at_once_and_ends_when_it_is_revoked(intake: Intake, keeper: Postgres) -> None:
    """Running processes learn both within seconds; only the digest is in the database."""
    token = create_token(keeper, "reader", ["events:read"], known=SCOPES, expires_in="1d")
    header = {"x-app-token": token}
    eventually(lambda: intake.get("/sample/closed", headers=header).status_code == 200)
    assert "reader" == intake.get("/sample/closed", headers=header).json()["name"]
    assert "events:write" in str(refused(intake.client.post("/sample/echo", headers=header), 403)["detail"])
    with psycopg.connect(keeper.url) as connection:
        assert token not in str(connection.execute("select * from operations.app_tokens").fetchall())
    revoke_token(keeper, "reader")
    eventually(lambda: intake.get("/sample/closed", headers=header).status_code == 401)


def test_several_tokens_of_one_application_work_at_once(intake: Intake, keeper: Postgres) -> None:
    """That is how one is replaced without a gap."""
    made = [create_token(keeper, f"shop-{number}", ["events:read"], known=SCOPES) for number in range(2)]
    for token in made:
        eventually(lambda token=token: intake.get("/sample/closed", headers={"x-app-token": token}).is_success)


def test_an_expired_token_is_refused(intake: Intake, keeper: Postgres) -> None:
    """Though no process has read the table since."""
    token = create_token(keeper, "brief", ["events:read"], known=SCOPES)
    header = {"x-app-token": token}
    eventually(lambda: intake.get("/sample/closed", headers=header).is_success)
    keeper.execute(
        "update operations.app_tokens set created_at = now() - interval '2 h', expires_at = now() - interval '1 s' "
        "where name = 'brief'"
    )
    eventually(lambda: intake.get("/sample/closed", headers=header).status_code == 401)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-app-token": ""},
        {"x-app-token": APP_TOKEN + " x"},
        {"x-app-token": APP_TOKEN[:-1]},
        {"x-app-token": APP_TOKEN.upper()},
        {"x-app-token": new_token()},
        {"x-app-token": "é".encode()},
        {"x-app-token": "x" * 20_000},
        {"authorization": "Basic YTpi"},
        {"x-cron-secret": CRON_SECRET},
        {"cookie": f"x-app-token={APP_TOKEN}"},
    ],
)
def test_who_is_not_known_is_401(intake: Intake, headers: dict[str, Any]) -> None:
    answer = intake.client.post("/sample/echo", headers=headers)
    refused(answer, 401)
    assert answer.headers["www-authenticate"]


def test_a_token_given_twice_is_none(intake: Intake) -> None:
    """Which one counts would depend on the proxy in front."""
    answer = intake.client.post("/sample/echo", headers=[("x-app-token", APP_TOKEN), ("x-app-token", APP_TOKEN)])
    refused(answer, 401)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-cron-secret": CRON_SECRET},
        {"x-vercel-cron-secret": CRON_SECRET},
        {"authorization": f"Bearer {CRON_SECRET}"},
        {"authorization": f"bearer {CRON_SECRET}"},
    ],
)
def test_the_scheduler_has_three_ways_in(intake: Intake, headers: dict[str, str]) -> None:
    assert "scheduler" == intake.client.post("/sample/cron", headers=headers).json()["kind"]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-cron-secret": CRON_SECRET[:-1]},
        {"x-cron-secret": ""},
        {"authorization": "Bearer"},
        {"authorization": CRON_SECRET},
        {"x-cron-secret": "wrong", "authorization": f"Bearer {CRON_SECRET}"},
        person(),
    ],
)
def test_a_wrong_secret_schedules_nothing(intake: Intake, headers: dict[str, str]) -> None:
    refused(intake.client.post("/sample/cron", headers=headers), 401)


def test_a_person_is_who_the_token_says(intake: Intake) -> None:
    caller = intake.get("/sample/closed", headers=person()).json()
    assert ("person", "user-1") == (caller["kind"], caller["name"])
    assert 200 == intake.get("/sample/closed", headers=person(aud=["other", "authenticated"])).status_code


@pytest.mark.parametrize(
    "headers",
    [
        person(secret="another secret of at least thirty-two bytes"),
        person(algorithm="HS512"),
        person(exp=utc_now() - timedelta(minutes=1)),
        person(exp=None),
        person(aud="anon"),
        person(aud=None),
        person(sub=None),
        person(sub=""),
        person(sub="a\0b"),
        person(sub="x" * 300),
        person(nbf=utc_now() + timedelta(hours=1)),
        unsigned(),
        {"authorization": "Bearer a.b.c"},
        {"authorization": "Bearer " + "e30." * 5_000},
        {"authorization": "Bearer é"},
    ],
)
def test_a_token_that_proves_nothing_is_401(intake: Intake, headers: dict[str, str]) -> None:
    """Wrong key or algorithm, out of time, for others, naming nobody, unsigned, no token at all."""
    encoded = {name: value.encode() for name, value in headers.items()}
    refused(intake.get("/sample/closed", headers=encoded), 401)


def test_persons_do_not_reach_what_is_for_applications(intake: Intake) -> None:
    refused(intake.client.post("/sample/echo", headers=person()), 401)


def test_an_unset_secret_opens_nothing(intake_url: str, home: Any) -> None:
    """Not even to an empty one; which variable is missing is said in the log, not to the caller."""
    unset = {"INGEST_APP_TOKEN": "", "CRON_SECRET": "", "JWT_SECRET": ""}
    with running(intake_url, home, **unset) as server:
        for headers in ({}, {"x-cron-secret": ""}, {"authorization": "Bearer"}, {"x-app-token": ""}, person()):
            answer = server.client.post("/sample/cron", headers=headers)
            assert "CRON_SECRET" not in str(refused(answer, 401))
            assert "JWT_SECRET" not in str(refused(server.get("/sample/closed", headers=headers), 401))
        said = {line.get("variable") for line in server.lines()}
        assert {"CRON_SECRET", "JWT_SECRET"} <= said
        assert not (home / "secrets.env").exists()
