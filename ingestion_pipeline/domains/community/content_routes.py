"""The endpoints of the community's content: crawl items in, search, the rebuild of its index for a scheduler."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import psycopg

from ingestion_pipeline.domains.community import content_openapi as openapi
from ingestion_pipeline.domains.community.content_jobs import REBUILD_SEARCH, UNIQUE_KEY
from ingestion_pipeline.domains.community.crawl import (
    MOST_ITEMS,
    MOST_REJECTS_KEPT,
    SOURCE_ID,
    Item,
    Refused,
    chosen,
    read_item,
    reject_of,
)
from ingestion_pipeline.domains.community.search import Place, Search, found
from ingestion_pipeline.intake.bodies import decode, is_deeper, read_anyhow
from ingestion_pipeline.intake.endpoints import PERSON, SCHEDULER, Answer, Call, Endpoint, HttpDomain, json_answer
from ingestion_pipeline.intake.owners import SCHEDULER_OWNER
from ingestion_pipeline.intake.parameters import NO_CURSOR, cursor_of, position_of, query_of, refused
from ingestion_pipeline.intake.problems import FieldError, Problem, shown, unavailable
from ingestion_pipeline.intake.services import Services
from ingestion_pipeline.intake.waiting import enqueue_and_wait, output_or_problem, still_working, wait_seconds
from ingestion_pipeline.storage.audit import AUDIT, audit_row, write_audit
from ingestion_pipeline.storage.jobs import NewJob
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.rejects import Reject, insert_rejects

CRAWL_SCOPE, SEARCH_SCOPE = "crawl:write", "search:read"
MAX_CRAWL_BYTES = 16 * 1024**2
STATUSES = ("created", "updated", "unchanged", "superseded", "removed", "rejected")
_STORE = """
select external_id, outcome, revision
from community.store_crawl_items(
    %(source)s, %(ids)s::text[], %(urls)s::text[], %(titles)s::text[], %(summaries)s::text[], %(raws)s::text[],
    %(caller)s, %(request)s
)
"""


class CrawlBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /ingest/crawl; each item is read by itself."""

    source_id: Annotated[str, msgspec.Meta(pattern=SOURCE_ID)]
    items: list[msgspec.Raw]


class SearchQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of GET /api/search."""

    q: Annotated[str, msgspec.Meta(min_length=1, max_length=openapi.LONGEST_QUERY)]
    kind: Literal["rule", "crawl"] | None = None
    tag: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=openapi.MAX_PAGE)] = openapi.DEFAULT_PAGE
    cursor: str | None = None


_BODY = msgspec.json.Decoder(CrawlBody)


def http(services: Services) -> HttpDomain:
    """The part of the intake that takes content in and finds it."""
    crawl = Crawl(services)
    return HttpDomain(endpoints=_endpoints(services, crawl, Content(services)), shutdown=crawl.close)


def _endpoints(services: Services, crawl: "Crawl", content: "Content") -> list[Endpoint]:
    return [
        Endpoint(
            method="POST",
            path="/ingest/crawl",
            handler=crawl.ingest,
            access=(CRAWL_SCOPE,),
            limit="crawl",
            judges_parts=True,
            max_body_bytes=MAX_CRAWL_BYTES,
            summary="Take in what a crawler has found",
            description=openapi.CRAWL_DESCRIPTION,
            request_schema=openapi.CRAWL,
            examples=openapi.CRAWL_EXAMPLES,
            responses=openapi.CRAWL_RESPONSES,
        ),
        Endpoint(
            method="GET",
            path="/api/search",
            handler=content.search,
            access=(SEARCH_SCOPE, PERSON),
            summary="Search rules and crawl items",
            description="Best first: words in titles count more than in tags, those more than in the text. What is "
            "newly published or crawled is found within minutes.",
            parameters=openapi.SEARCH_PARAMETERS,
            responses=openapi.SEARCH_RESPONSES,
        ),
        Endpoint(
            method="POST",
            path="/cron/rebuild-search",
            handler=content.rebuild,
            access=(SCHEDULER,),
            summary="Make the search index anew",
            description="Readers see the old index until the new one is whole. Every night this happens by itself. A "
            "job that is not finished is joined, not started again.",
            parameters=[openapi.wait(services.settings.job_wait_seconds)],
            responses=openapi.REBUILD_RESPONSES,
        ),
    ]


class Crawl:
    """Takes crawl items in: reads them, has them stored, says what became of each."""

    def __init__(self, services: Services) -> None:
        self._max_depth = services.settings.max_json_depth
        self._postgres = Postgres(services.database_url)  # connects when it is first asked

    async def close(self) -> None:
        await asyncio.to_thread(self._postgres.close)

    async def ingest(self, call: Call) -> Answer:
        """POST /ingest/crawl."""
        return await asyncio.to_thread(self._ingest, call)

    def _ingest(self, call: Call) -> Answer:
        body = _crawl_body(call.body)
        if not 1 <= len(body.items) <= MOST_ITEMS:
            count = len(body.items)
            raise Problem(
                413 if count else 422,
                f"a request holds 1 to {MOST_ITEMS} items",
                errors=[FieldError("items", f"1 to {MOST_ITEMS} items", shown(count))],
            )
        parts = [bytes(part) for part in body.items]
        items = [read_item(part, max_depth=self._max_depth) for part in parts]
        bad = [(part, item) for part, item in zip(parts, items, strict=True) if isinstance(item, Refused)]
        rejects = [
            reject_of(part, body.source_id, call.caller.name, item, max_depth=self._max_depth)
            for part, item in bad[:MOST_REJECTS_KEPT]
        ]
        winners = chosen(items)
        stored = self._stored(call, body.source_id, items, winners, rejects)
        results = [_result(index, item, winners, stored) for index, item in enumerate(items)]
        counts = {status: sum(it["status"] == status for it in results) for status in STATUSES}
        return json_answer(200, {**counts, "requestId": call.request_id, "results": results})

    def _stored(
        self,
        call: Call,
        source_id: str,
        items: Sequence[Item | Refused],
        winners: Mapping[str, int],
        rejects: Sequence[Reject],
    ) -> dict[str, tuple[str, int | None]]:
        """Stores all in one transaction: by external id what became of the item, and its revision if it has one."""
        given = [item for index in winners.values() if isinstance(item := items[index], Item)]
        parameters = {
            "source": source_id,
            "ids": [it.external_id for it in given],
            "urls": [it.url for it in given],
            "titles": [it.title for it in given],
            "summaries": [it.summary for it in given],
            "raws": [it.raw for it in given],
            "caller": call.caller.name,
            "request": call.request_id,
        }
        rejected_count = sum(isinstance(item, Refused) for item in items)
        details = {"source_id": source_id, "items": len(items), "rejected": rejected_count}
        with self._postgres.transaction() as connection:
            rows = connection.execute(_STORE, parameters).fetchall() if given else []
            insert_rejects(connection, rejects)
            write_audit(
                connection,
                actor=call.caller.name,
                action="crawl ingest",
                request_id=call.request_id,
                details=details,
            )
        return {external_id: (outcome, revision) for external_id, outcome, revision in rows}


class Content:
    """Answers searches, and asks for the index to be made anew."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def search(self, call: Call) -> Answer:
        """GET /api/search."""
        query = query_of(call, SearchQuery, max_page=openapi.MAX_PAGE)
        words = query.q.split()
        if len(words) > openapi.MOST_WORDS:
            raise refused(FieldError("q", f"at most {openapi.MOST_WORDS} words", f"{len(words)} words"))
        after = None if query.cursor is None else _place(query.cursor)
        asked = Search(words=" ".join(words), kind=query.kind, tag=query.tag, limit=query.limit, after=after)
        try:
            async with self._services.pool.connection() as connection:
                page = await found(connection, asked) if words else None
        except psycopg.errors.QueryCanceled:
            raise unavailable("the search takes too long: rarer words find faster") from None
        if page is None:
            raise refused(FieldError("q", "a word to look for", query.q))
        results = [_found(row) for row in page.results]
        following = None if page.following is None else cursor_of(page.following)
        return json_answer(200, {"results": results, "nextCursor": following})

    async def rebuild(self, call: Call) -> Answer:
        """POST /cron/rebuild-search."""
        seconds = wait_seconds(call, self._services)
        new = NewJob(
            job_type=REBUILD_SEARCH.name,
            owner_id=SCHEDULER_OWNER,
            unique_key=UNIQUE_KEY,
            max_attempts=REBUILD_SEARCH.max_attempts,
            request_id=call.request_id,
        )
        async with self._services.pool.connection() as connection:
            audit = audit_row(actor=call.caller.name, action="search rebuild", request_id=call.request_id, details={})
            await connection.execute(AUDIT, audit)
        job = await enqueue_and_wait(self._services, new, seconds)
        output = output_or_problem(job)
        if output is None:
            return still_working(job)
        return json_answer(200, {"ok": True, "documents": output["documents"], "job_id": job.job_id})


def _crawl_body(body: bytes) -> CrawlBody:
    """The items, each unread; half of a surrogate pair in one of them is for that one to be refused for."""
    try:
        return decode(body, _BODY)
    except Problem:
        if b"\\u" not in body or is_deeper(body, 500):
            raise
        members = read_anyhow(body)
        if not isinstance(members, dict) or not isinstance(members.get("items"), list):
            raise
    rest = decode(json.dumps({**members, "items": []}).encode(), _BODY)
    return CrawlBody(rest.source_id, [msgspec.Raw(json.dumps(item).encode()) for item in members["items"]])


def _result(
    index: int, item: Item | Refused, winners: Mapping[str, int], stored: Mapping[str, tuple[str, int | None]]
) -> dict[str, Any]:
    if isinstance(item, Refused):
        known = {} if item.external_id is None else {"externalId": shown(item.external_id)}
        errors = [
            {"field": shown(error.field), "expected": error.expected}
            | ({} if error.seen is None else {"seen": shown(error.seen)})
            for error in item.errors
        ]
        return {"index": index, **known, "status": "rejected", "errors": errors}
    winner = winners[item.external_id]
    if winner != index:
        return {"index": index, "externalId": item.external_id, "status": "superseded", "supersededBy": winner}
    status, revision = stored[item.external_id]
    numbered = {} if revision is None else {"revision": revision}
    return {"index": index, "externalId": item.external_id, "status": status, **numbered}


def _place(cursor: str) -> Place:
    place: Place = position_of(cursor, Place)
    if "\0" in place.kind + place.id:
        raise refused(NO_CURSOR)
    return place


def _found(row: Any) -> dict[str, Any]:
    return {
        "kind": row["kind"],
        "id": row["id"],
        "title": row["title"],
        "titleHtml": row["title_html"],
        "snippetHtml": row["snippet_html"],
        "url": row["url"],
        "tags": row["tags"],
        "rank": row["rank"],
    }
