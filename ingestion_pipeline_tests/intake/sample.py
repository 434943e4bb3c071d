"""A small domain that shows everything an endpoint can be, for tests of the framework and nothing else."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec

from ingestion_pipeline.asgi import create_app
from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.intake.bodies import decode
from ingestion_pipeline.intake.endpoints import (
    PERSON,
    PUBLIC,
    SCHEDULER,
    Answer,
    Call,
    Endpoint,
    HttpDomain,
    Response,
    json_answer,
)
from ingestion_pipeline.intake.server import serve
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.settings import Settings

ECHO = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 100},
        "count": {"type": "integer", "minimum": 0, "maximum": 1000},
        "data": {},
    },
    "additionalProperties": False,
}
ANY = {"type": "object"}


class Echo(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=100)]
    count: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    data: msgspec.Raw = msgspec.Raw(b"null")


_DECODER = msgspec.json.Decoder(Echo)


def sample(services: Services) -> HttpDomain:
    """Its marks of start and end are lines of a file beside INGESTION_HOME."""
    marks = Path(services.settings.ingestion_home) / "marks.txt"

    async def echo(call: Call) -> Answer:
        body = decode(call.body, _DECODER)
        return json_answer(202, {"name": body.name, "count": body.count, "data": body.data})

    async def whoami(call: Call) -> Answer:
        return json_answer(
            200,
            {
                "kind": call.caller.kind,
                "name": call.caller.name,
                "address": call.address,
                "query": call.query,
                "path": call.path,
                "requestId": call.request_id,
            },
        )

    async def market(call: Call) -> Answer:
        answer = json_answer(200, {"symbol": call.path["symbol"]})
        answer.cache_hit = True
        return answer

    async def slow(call: Call) -> Answer:
        await asyncio.sleep(float(call.query.get("seconds", "0.3")))
        return json_answer(200, {"padding": "x" * 20_000})

    async def fail(call: Call) -> Answer:
        if "store" in call.query:
            raise StoreUnavailableError("PostgreSQL", "password=geheim42")
        raise RuntimeError("canary geheim42")

    async def database(_: Call) -> Answer:
        async with services.pool.connection() as connection:
            row = await (await connection.execute("select current_user, current_setting('TimeZone')")).fetchone()
        return json_answer(200, {"row": row})

    async def started() -> None:
        with marks.open("a") as file:
            file.write(f"started {os.getpid()}\n")

    async def stopped() -> None:
        with marks.open("a") as file:
            file.write(f"stopped {os.getpid()}\n")

    ok = {200: Response(description="Fine.", schema=ANY)}
    return HttpDomain(
        startup=started,
        shutdown=stopped,
        endpoints=[
            Endpoint(
                method="POST",
                path="/sample/echo",
                handler=echo,
                access=("events:write",),
                summary="Echo",
                request_schema=ECHO,
                responses={202: Response(description="Echoed.", schema=ANY)},
                examples={"plain": {"name": "a"}},
            ),
            Endpoint(
                method="POST",
                path="/sample/empty",
                handler=whoami,
                access=(PUBLIC,),
                summary="Nothing",
                responses=ok,
            ),
            Endpoint(
                method="POST",
                path="/sample/small",
                handler=whoami,
                access=(PUBLIC,),
                summary="A body of at most 100 bytes, or none",
                request_schema=ANY,
                is_body_optional=True,
                max_body_bytes=100,
                responses=ok,
            ),
            Endpoint(
                method="GET",
                path="/sample/limited",
                handler=whoami,
                access=(PUBLIC,),
                limit="events",
                summary="Limited",
                responses=ok,
            ),
            Endpoint(
                method="GET",
                path="/sample/closed",
                handler=whoami,
                access=("events:read", PERSON),
                limit="crawl",
                summary="Applications and persons",
                responses=ok,
            ),
            Endpoint(
                method="GET",
                path="/sample/markets/{symbol}",
                handler=market,
                access=(PUBLIC,),
                summary="One market",
                parameters=[{"name": "symbol", "in": "path", "required": True, "schema": {"type": "string"}}],
                market=lambda call: call.path["symbol"],
                responses={**ok, 404: Response(description="No such market.")},
            ),
            Endpoint(
                method="POST",
                path="/sample/cron",
                handler=whoami,
                access=(SCHEDULER,),
                summary="For the scheduler",
                responses=ok,
            ),
            Endpoint(
                method="GET",
                path="/sample/start",
                handler=whoami,
                access=(SCHEDULER,),
                summary="For a scheduler that knows GET only",
                responses=ok,
            ),
            Endpoint(method="GET", path="/sample/slow", handler=slow, access=(PUBLIC,), summary="Slow", responses=ok),
            Endpoint(
                method="GET",
                path="/sample/database",
                handler=database,
                access=(PUBLIC,),
                summary="Who the database thinks we are",
                responses=ok,
            ),
            Endpoint(
                method="GET",
                path="/broken",
                handler=fail,
                access=(PUBLIC,),
                summary="Fails",
                responses={500: Response(description="As it must.")},
            ),
        ],
    )


def main() -> None:
    """The intake with the sample domain, as a process of its own."""
    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=[sample]), tell=print)


if __name__ == "__main__":
    sys.exit(main())
