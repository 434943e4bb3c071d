"""A person's notifications and preferences through a real server, as its own role in PostgreSQL."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.domains.community.notifications_openapi import DEFAULT_ROWS
from ingestion_pipeline.domains.community.notifications_targets import SCHEMES, target_of, target_problem
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline_tests.domains.community.outbox import NOON, notify, prefer
from ingestion_pipeline_tests.domains.community.served_boards import (
    ADA,
    GRACE,
    NOTIFICATIONS,
    PREFERENCES,
    READER,
    Served,
    served,
)
from ingestion_pipeline_tests.intake.test_routing import refused

KINDS = ["new_donation", "leaderboard_entry", "milestone"]
CANARY = "TIiajkdnlazkcOXrIdevi7FQ"
SLACK = f"slack://T1JJ3T3L2/A1BRTD4JD/{CANARY}/#me"


@pytest.fixture(scope="module")
def _service(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("notifications")) as found:
        yield found


@pytest.fixture
def service(_service: Served) -> Served:
    _service.clear()
    return _service


def stored(service: Served) -> list[tuple[Any, ...]]:
    columns = "person_id, target, kinds, digest, is_muted"
    return service.owner.execute(
        f"select {columns} from community.notification_preferences order by person_id".encode()
    ).fetchall()


def test_preferences_have_defaults_and_are_set_whole(service: Served) -> None:
    """Except the target: it is kept until another, or none, is said. It is never shown."""
    default = {"hasTarget": False, "kinds": KINDS, "digest": "none", "isMuted": False, "updatedAt": None}
    assert default == service.get(PREFERENCES, ADA).json()
    answer = service.put({"target": SLACK, "kinds": ["milestone"], "digest": "weekly", "isMuted": True})
    given = {"hasTarget": True, "kinds": ["milestone"], "digest": "weekly", "isMuted": True}
    assert given == {name: value for name, value in answer.json().items() if name != "updatedAt"}
    assert answer.json() == service.get(PREFERENCES, ADA).json()
    assert CANARY not in answer.text
    assert {"hasTarget": True, "digest": "none"}.items() <= service.put({}).json().items()
    assert [("ada", SLACK, KINDS, "none", False)] == stored(service)
    assert not service.put({"target": None}).json()["hasTarget"]
    assert [("ada", None, KINDS, "none", False)] == stored(service)


def test_a_person_has_only_their_own(service: Served) -> None:
    """Preferences and notifications; also for the role itself, whatever it asks."""
    service.put({"digest": "daily"})
    for person in ("ada", "grace"):
        notify(service.owner, f"key-{person}", person=person)
    assert "none" == service.get(PREFERENCES, GRACE).json()["digest"]
    assert 1 == len(service.get(NOTIFICATIONS, GRACE).json()["notifications"])
    url = service.postgres.url.replace("pipeline_worker@", "pipeline_intake@", 1)
    with psycopg.connect(url) as intake:
        for person, expected in (("ada", 1), ("", 0), ("nobody", 0)):
            intake.execute("select set_config('app.user_id', %s, true)", [person])
            for table in ("notifications", "notification_preferences"):
                count = intake.execute(f"select count(person_id) from community.{table}".encode()).fetchone()
                assert (expected,) == count


@pytest.mark.parametrize(
    "statement",
    [
        "select target from community.notification_preferences",
        "select * from community.notification_preferences",
        "select last_error from community.notifications",
        "update community.notification_preferences set target = 'x'",
        "insert into community.notification_preferences (person_id) values ('ada')",
        "delete from community.notifications",
        "insert into community.notifications default values",
        "select community.notify('k', 'ada', 'milestone', '{}')",
        "select community.claim_notifications(1, 1, 1, '1 minute')",
    ],
)
@pytest.mark.parametrize("role", ["pipeline_intake", "pipeline_reader"])
def test_roles_without_need_cannot_read_targets_nor_write(service: Served, role: str, statement: str) -> None:
    with psycopg.connect(service.postgres.url.replace("pipeline_worker@", "postgres@", 1)) as connection:
        connection.execute(f"set local role {role}".encode())
        connection.execute("select set_config('app.user_id', 'ada', true)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_without_a_person_no_preferences_are_set(service: Served) -> None:
    url = service.postgres.url.replace("pipeline_worker@", "pipeline_intake@", 1)
    with psycopg.connect(url) as intake, pytest.raises(psycopg.errors.InsufficientPrivilege, match="names nobody"):
        intake.execute("select community.set_notification_preferences(false, null, '[]', 'none', false)")


def test_setting_preferences_is_in_the_audit_log_without_the_target(service: Served) -> None:
    """Nor whose they are, in clear: rows of the log outlive an erasure."""
    service.put({"target": SLACK})
    (row,) = service.owner.execute(
        "select actor, details::text, subject_digest "
        "from operations.audit_log where action = 'notification_preferences' "
        "order by audit_id desc limit 1"
    ).fetchall()
    assert ("person", digest(b"ada")) == (row[0], row[2])
    assert '"sets_target": true' in row[1]
    assert CANARY not in row[1]


def test_notifications_are_listed_newest_first_page_by_page(service: Served) -> None:
    """With what became of each."""
    for number in range(7):
        notify(service.owner, f"k{number}", at=NOON + timedelta(hours=number // 2))
    service.owner.execute("update community.notifications set sent_at = %s where idempotency_key = 'k0'", [NOON])
    service.owner.execute("update community.notifications set given_up_at = %s where idempotency_key = 'k1'", [NOON])
    prefer(service.owner, SLACK)
    notify(service.owner, "k7", at=NOON + timedelta(days=1))
    found, cursor = [], None
    while True:
        page = service.get(NOTIFICATIONS, ADA, limit=3, **({"cursor": cursor} if cursor else {})).json()
        found += page["notifications"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert 8 == len({it["id"] for it in found})
    assert found == service.get(NOTIFICATIONS, ADA).json()["notifications"]
    times = [it["createdAt"] for it in found]
    assert sorted(times, reverse=True) == times
    assert ["due", *["unsent"] * 5] == [it["state"] for it in found[:6]]
    assert {"sent", "given_up"} == {it["state"] for it in found[6:]}
    assert {"id", "kind", "payload", "state", "createdAt", "dueAt", "sentAt"} == set(found[0])
    assert len(found) <= DEFAULT_ROWS


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kinds": ["spam"]}, "kinds"),
        ({"digest": "hourly"}, "digest"),
        ({"isMuted": "yes"}, "isMuted"),
        ({"personId": "grace"}, "personId"),
        ({"target": ""}, "target"),
        ({"target": 7}, "target"),
        ({"target": f"nosuch://{CANARY}"}, "target"),
        ({"target": f"https://10.0.0.1/{CANARY}"}, "target"),
        ({"target": f"slack://{CANARY}"}, "target"),
    ],
)
def test_wrong_preferences_are_refused_by_name(service: Served, body: dict[str, Any], field: str) -> None:
    """Without repeating a key; nothing changes."""
    answer = service.put(body)
    assert field in str(refused(answer, 422)["errors"])
    assert CANARY not in answer.text
    assert [] == stored(service)


def test_only_persons_are_let_in(service: Served) -> None:
    for path in (NOTIFICATIONS, PREFERENCES):
        refused(service.get(path, READER), 401)
        refused(service.get(path, {}), 401)
    refused(service.put({}, READER), 401)
    refused(service.get(NOTIFICATIONS, ADA, cursor="nonsense"), 422)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/abc?x=1",
        "http://203.0.114.9:8080/hook",
        "jsons://user:pass@example.org/notify",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "mailtos://user:pass@gmail.com",
        "ntfys://topic-of-mine",
        SLACK,
    ],
)
def test_targets_that_are_taken(url: str) -> None:
    assert target_problem(url) is None
    assert target_of("ada", url).kind == ("webhook" if url.startswith("http") else "apprise")


@pytest.mark.parametrize(
    "url",
    [
        "not a url",
        "https://",
        "https://localhost/x",
        "https://intranet/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://db.internal:5432/",
        "json://10.1.2.3/x",
        "https://a.example:99999/",
        "https://a.example/\x00",
        f"https://a.example/{'x' * 2000}",
        "dbus://",
        "syslog://",
        "windows://",
        "macosx://",
        "vapid://user@example.org/?keyfile=/etc/passwd",
        "fcm://project@keyfile/DEVICE/?keyfile=/etc/shadow",
        "mailtos://user:pass@gmail.com?pgp=yes&pgpkey=/etc/passwd",
        "file:///etc/passwd",
        "s3://bucket/key",
        "javascript://alert(1)",
        "json://a.example,slack://x/y/z",
    ],
)
def test_targets_that_are_refused(url: str) -> None:
    """Of this machine or its network, with files of it, or that nobody can read."""
    problem = target_problem(url)
    assert problem
    assert CANARY not in problem


def test_every_scheme_that_is_taken_is_known_to_apprise() -> None:
    import warnings

    import apprise

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = {
            scheme
            for plugin in apprise.Apprise().details()["schemas"]
            for name in ("protocols", "secure_protocols")
            for scheme in plugin[name] or ()
        }
    assert {"http", "https"} >= SCHEMES - known


def test_a_target_s_name_says_nothing_of_its_address() -> None:
    """And tells persons with the same address apart."""
    one, other = target_of("ada", SLACK), target_of("grace", SLACK)
    assert one.name != other.name
    assert CANARY not in repr(one)
