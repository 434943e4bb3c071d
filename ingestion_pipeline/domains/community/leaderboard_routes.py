"""GET /api/leaderboards: one board of one day. Public data, for applications and persons; through the cache."""

import asyncio
import re
from datetime import date
from typing import Annotated, Any

import msgspec

from ingestion_pipeline.domains.community.leaderboard_reads import Board, cached_board
from ingestion_pipeline.domains.community.leaderboard_tables import MOST_PLACES, Kind, Period, Scope
from ingestion_pipeline.intake.endpoints import PERSON, Answer, Call, Endpoint, HttpDomain, Response, json_answer
from ingestion_pipeline.intake.parameters import query_of, refused
from ingestion_pipeline.intake.problems import FieldError
from ingestion_pipeline.intake.schemas import object_schema, parameter
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.warming import Stores

SCOPE = "community:read"
LONGEST_VALUE = 200

_DAY = re.compile(r"20\d\d-\d\d-\d\d")
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_RANK = {"type": "integer", "minimum": 1, "maximum": MOST_PLACES}
_DATE_OR_NULL = {"type": ["string", "null"], "format": "date"}


def _choice(values: list[str], default: str) -> dict[str, Any]:
    return {"type": "string", "enum": values, "default": default}


PARAMETERS = [
    parameter("period", _choice(["DAILY", "WEEKLY", "MONTHLY", "ALL_TIME"], "DAILY"), "Days that end with `day`"),
    parameter("kind", _choice(["RULE", "AUTHOR"], "RULE"), "What is ranked"),
    parameter("scope", _choice(["GLOBAL", "TAG", "MODEL"], "GLOBAL"), "Among which rules"),
    parameter(
        "scopeValue",
        {"type": "string", "minLength": 1, "maxLength": LONGEST_VALUE},
        "The tag or the model of the scope",
    ),
    parameter("day", {"type": "string", "format": "date"}, "UTC; the newest day with boards by default"),
    parameter("limit", {**_RANK, "default": MOST_PLACES}, "Places, from the first"),
]
RESPONSES = {
    200: Response(
        description="The board; without entries where nobody is on it",
        schema=object_schema(
            day=_DATE_OR_NULL,
            period={"type": "string"},
            kind={"type": "string"},
            scope={"type": "string"},
            scopeValue={"type": "string"},
            entries={
                "type": "array",
                "items": object_schema(
                    rank=_RANK,
                    subjectId={"type": "string"},
                    title={"type": ["string", "null"]},
                    score=_NUMBER,
                    points=_NUMBER,
                    views=_COUNT,
                    previousRank={"type": ["integer", "null"]},
                    rankChange={"type": ["integer", "null"]},
                ),
            },
        ),
    )
}


class BoardQuery(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The parameters of GET /api/leaderboards."""

    period: Period = "DAILY"
    kind: Kind = "RULE"
    scope: Scope = "GLOBAL"
    scope_value: Annotated[str, msgspec.Meta(max_length=LONGEST_VALUE)] = ""
    day: date | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_PLACES)] = MOST_PLACES


class Leaderboards:
    """Answers, in threads: the cache and PostgreSQL are asked synchronously."""

    def __init__(self, services: Services) -> None:
        self._postgres = Postgres(services.database_url)  # connects when it is first asked
        self._stores = Stores(services.settings, self._postgres, services.cache)

    async def close(self) -> None:
        await asyncio.to_thread(self._postgres.close)

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="GET",
                path="/api/leaderboards",
                handler=self.board,
                access=(SCOPE, PERSON),
                summary="A leaderboard of rules or authors",
                description="The first hundred, with how many places each has won since the board before.",
                parameters=PARAMETERS,
                responses=RESPONSES,
            )
        ]

    async def board(self, call: Call) -> Answer:
        """GET /api/leaderboards."""
        if "day" in call.query and not _DAY.fullmatch(call.query["day"]):
            raise refused(FieldError("day", "a day such as 2026-03-31", call.query["day"]))
        query = query_of(call, BoardQuery, max_page=MOST_PLACES)
        if (query.scope == "GLOBAL") != (query.scope_value == ""):
            expected = "nothing with the scope GLOBAL, else a tag or a model"
            raise refused(FieldError("scopeValue", expected, query.scope_value))
        board = Board(query.period, query.kind, query.scope, query.scope_value, query.day)
        found = await asyncio.to_thread(cached_board, self._stores, board)
        empty: dict[str, Any] = {"day": None if query.day is None else query.day.isoformat(), "entries": []}
        document: dict[str, Any] = found.value or empty
        answer = json_answer(
            200,
            {
                "day": document["day"],
                "period": query.period,
                "kind": query.kind,
                "scope": query.scope,
                "scopeValue": query.scope_value,
                "entries": document["entries"][: query.limit],
            },
            ((b"x-cache", found.how.encode()),),
        )
        answer.cache_hit = found.is_hit
        return answer


def http(services: Services) -> HttpDomain:
    """This part of the intake."""
    leaderboards = Leaderboards(services)
    return HttpDomain(endpoints=leaderboards.endpoints(), shutdown=leaderboards.close)
