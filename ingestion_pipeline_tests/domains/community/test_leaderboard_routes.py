"""GET /api/leaderboards through a real server."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from ingestion_pipeline.domains.community.leaderboard_reads import Board, forget_boards, stored_board
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.community.boards import DAY, Metric, Rule, store_metrics, store_rules
from ingestion_pipeline_tests.domains.community.served_boards import ADA, BOARDS, READER, STRANGER, Served, served
from ingestion_pipeline_tests.domains.community.test_leaderboard_store import build
from ingestion_pipeline_tests.intake.test_routing import refused

RULES = [Rule("r1", "ada", ("sql", "zürich/ü&=*"), "opus"), Rule("r2", "grace", ("sql",)), Rule("r3", "ada")]


@pytest.fixture(scope="module")
def _service(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("boards"), CACHE_TTL_SECONDS="600") as found:
        yield found


@pytest.fixture
def service(_service: Served, lake: Lake) -> Served:
    """Two days of boards, always the same: what is cached of them is true for every test."""
    _service.clear()
    store_rules(_service.owner, RULES)
    for age, views in ((1, (1, 2, 0)), (0, (5, 4, 3))):
        metrics = [
            Metric(rule.rule_id, DAY - timedelta(days=age), views=count, fading=float(count))
            for rule, count in zip(RULES, views, strict=True)
        ]
        store_metrics(_service.owner, metrics, RULES)
    build(_service.postgres, lake, DAY - timedelta(days=1), DAY)
    return _service


def subjects(service: Served, **parameters: Any) -> list[str]:
    answer = service.get(BOARDS, **parameters)
    assert 200 == answer.status_code, answer.text
    return [entry["subjectId"] for entry in answer.json()["entries"]]


@pytest.mark.parametrize("who", [READER, ADA])
def test_a_board_is_public_data_for_applications_and_persons(service: Served, who: dict[str, str]) -> None:
    """The newest day by default, with ranks, changes and titles."""
    answer = service.get(BOARDS, who, day=DAY)
    document = answer.json()
    entries = document.pop("entries")
    board = {"period": "DAILY", "kind": "RULE", "scope": "GLOBAL", "scopeValue": ""}
    assert {"day": DAY.isoformat(), **board} == document
    assert {
        "rank": 1,
        "subjectId": "r1",
        "title": "Title of r1",
        "score": 5.0,
        "points": 5.0,
        "views": 5,
        "previousRank": 2,
        "rankChange": 1,
    } == entries[0]
    assert [1, 2, 3] == [entry["rank"] for entry in entries]
    assert [1, -1, None] == [entry["rankChange"] for entry in entries]
    assert document == {name: value for name, value in service.get(BOARDS, who).json().items() if name != "entries"}


def test_boards_by_kind_scope_period_day_and_limit(service: Served) -> None:
    day = DAY.isoformat()
    assert ["ada", "grace"] == subjects(service, kind="AUTHOR", day=day)
    assert ["r1", "r2"] == subjects(service, scope="TAG", scopeValue="sql", day=day)
    assert ["r1"] == subjects(service, scope="TAG", scopeValue="zürich/ü&=*", day=day)
    assert ["ada"] == subjects(service, scope="MODEL", scopeValue="opus", kind="AUTHOR", day=day)
    assert ["r1", "r2", "r3"] == subjects(service, period="WEEKLY", day=day)
    assert ["r2", "r1"] == subjects(service, day=(DAY - timedelta(days=1)).isoformat())
    assert ["r1"] == subjects(service, limit=1, day=day)
    assert [] == subjects(service, scope="TAG", scopeValue="nobody's", day=day)
    assert [] == subjects(service, day="2001-01-01")


def test_a_board_is_cached_and_its_limit_is_not(service: Served) -> None:
    first = service.get(BOARDS, period="MONTHLY", day=DAY)
    again = service.get(BOARDS, period="MONTHLY", day=DAY, limit=2)
    assert "hit" == again.headers["x-cache"]
    assert first.json()["entries"][:2] == again.json()["entries"]


def test_boards_that_were_built_anew_are_forgotten(postgres: Postgres) -> None:
    """All of them, and nothing else; other processes read of it."""
    cache = MemoryCache()
    boards = [Board(), Board("WEEKLY", "AUTHOR", "TAG", "a*:b", DAY)]
    for board in boards:
        cache.set(board.key, {}, ttl_seconds=60)
    cache.set("market:BTC-USD:latest", 1, ttl_seconds=60)
    forget_boards(postgres, cache, rows=5, milliseconds=1.0, run_id="run")
    assert [None, None, 1] == [cache.get(key) for key in (*(board.key for board in boards), "market:BTC-USD:latest")]
    assert "*" not in boards[1].key
    with postgres.transaction() as connection:
        ((keys,),) = connection.execute("select cache_keys_invalidated from operations.ingestion_events").fetchall()
    assert ["community:leaderboards:*"] == keys


def test_a_title_of_a_deleted_rule_is_not_shown(service: Served) -> None:
    service.owner.execute("update community.rules set status = 'deleted' where rule_id = 'r1'")
    found = stored_board(service.postgres, Board(day=DAY))
    assert found is not None
    assert [None, "Title of r2", "Title of r3"] == [entry["title"] for entry in found["entries"]]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"period": "YEARLY"}, "period"),
        ({"kind": "rule"}, "kind"),
        ({"scope": "ALL"}, "scope"),
        ({"scope": "TAG"}, "scopeValue"),
        ({"scopeValue": "sql"}, "scopeValue"),
        ({"scope": "TAG", "scopeValue": "x" * 201}, "scopeValue"),
        ({"day": "yesterday"}, "day"),
        ({"day": "2026-02-30"}, "day"),
        ({"day": "0001-01-01"}, "day"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"tag": "sql"}, "tag"),
    ],
)
def test_a_wrong_parameter_is_named(service: Served, parameters: dict[str, str], field: str) -> None:
    assert field in str(refused(service.get(BOARDS, **parameters), 422)["errors"])


def test_others_are_not_let_in(service: Served) -> None:
    refused(service.get(BOARDS, {}), 401)
    refused(service.get(BOARDS, STRANGER), 403)
