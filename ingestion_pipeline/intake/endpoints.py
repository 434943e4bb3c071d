"""What a domain offers over HTTP: endpoints, each a function from a `Call` to an `Answer`, with its own description.

An endpoint says everything in one place: where it is, who may call it, how often, how large a body may be, and what the
OpenAPI document says of it. By the time a handler runs, all of that has been enforced.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import msgspec

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"

# Whom an endpoint lets in: any one of these, or scopes of application tokens such as `events:write`.
PUBLIC, SCHEDULER, PERSON = "public", "scheduler", "person"
CALLER_KINDS = frozenset({PUBLIC, SCHEDULER, PERSON})
EVERY_SCOPE = "*"

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `name` is the token's name or the person's `sub`; `scopes` are an application's."""

    kind: Literal["application", "person", "scheduler", "public"]
    name: str
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a request; gone when the request is answered.

    `name` is what the sender calls it: for people to read, never a path. `fields` are the other fields of the form.
    """

    file: BinaryIO
    name: str
    size_bytes: int
    fields: Mapping[str, str]


@dataclass(slots=True)
class Call:
    """One request that has passed every check.

    `headers` have lower-case names, repeated ones joined by a comma; `address` is the client's behind trusted proxies.
    `upload` is there, and `body` empty, if the request brought a file.
    """

    request_id: str
    body: bytes
    query: Mapping[str, str]
    path: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    caller: Caller
    address: str
    upload: Upload | None = None


@dataclass(slots=True)
class Answer:
    """What goes back. `cache_hit` and `market` are for the request log."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = JSON
    cache_hit: bool | None = None
    market: str | None = None


@dataclass(frozen=True, kw_only=True)
class Response:
    """One documented answer: `schema` of its JSON body; without one it is a problem from 400 on."""

    description: str
    schema: Schema | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        path: starts with `/`; `{name}` stands for one segment, given as `Call.path["name"]`.
        access: who may call, any one of it: PUBLIC, SCHEDULER, PERSON, or application scopes.
        limit: the rate limit it counts against: `events` is the setting EVENTS_RATE_LIMIT; no limit when None.
        rate: that limit itself, such as `60/minute`, where no setting says it.
        request_schema: of the JSON body; None means that the endpoint takes none.
        is_body_optional: an empty body is let through.
        judges_parts: the handler itself refuses what cannot be stored and nests too deeply, part by part.
        max_body_bytes: the setting MAX_BODY_BYTES when None.
        file_types: media types of bodies that are a file, streamed to disk, beside JSON; `multipart/form-data` is one.
        max_file_bytes: of such a file.
        takes_form: `application/x-www-form-urlencoded` is let through as well, for the handler to judge.
        parameters: OpenAPI parameter objects of query, path and headers.
        responses: by status; those that the framework itself gives are added to the document by it.
        examples: example bodies by name, for the document.
        market: the market that a call is about, for the request log.
    """

    method: Method
    path: str
    handler: Callable[[Call], Awaitable[Answer]]
    access: tuple[str, ...]
    summary: str
    responses: Mapping[int, Response]
    description: str = ""
    limit: str | None = None
    rate: str | None = None
    request_schema: Schema | None = None
    is_body_optional: bool = False
    judges_parts: bool = False
    max_body_bytes: int | None = None
    file_types: tuple[str, ...] = ()
    max_file_bytes: int = 0
    takes_form: bool = False
    parameters: Sequence[Schema] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    market: Callable[[Call], str | None] | None = None


async def _nothing() -> None:
    """What most domains do at start and end."""


@dataclass(frozen=True, kw_only=True)
class HttpDomain:
    """A domain's endpoints, what it starts before the first call and what it finishes after the last.

    `schemas` are named ones (`#/components/schemas/<name>`) that its endpoints' schemas refer to.
    """

    endpoints: Sequence[Endpoint]
    startup: Callable[[], Awaitable[None]] = _nothing
    shutdown: Callable[[], Awaitable[None]] = _nothing
    schemas: Mapping[str, Schema] = field(default_factory=dict)


def json_answer(status: int, body: Any, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """`body` as JSON: structs, dataclasses, dates, UUIDs and decimals as msgspec writes them."""
    return Answer(status, msgspec.json.encode(body), headers)
