"""What a search finds: a page of rules and crawl items, best first, words marked. Not here: the index, HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

TIMEOUT_MS = 2_000
_TIMEOUT = f"set local statement_timeout = {TIMEOUT_MS}"
_SEARCH = """
select kind, id, rank, title, url, tags, title_html, snippet_html
from community.search(
    %(words)s, %(kind)s, %(tag)s, %(after_rank)s, %(after_kind)s, %(after_id)s, %(most)s
)
"""
_IS_ASKED = "select querytree(community.search_query(%s)) not in ('', 'T')"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The result after which a page begins."""

    rank: float
    kind: str
    id: str


@dataclass(frozen=True, kw_only=True)
class Search:
    """`words` as somebody types them: quotes, `or` and `-` mean what they do elsewhere. Only of a kind, with a tag."""

    words: str
    kind: str | None = None
    tag: str | None = None
    limit: int = 20
    after: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """`results` as community.search gives them; `following` is where the next page begins, None after the last."""

    results: Sequence[Mapping[str, Any]]
    following: Place | None


async def found(connection: AsyncConnection, asked: Search) -> Page | None:
    """One page; None if the words name nothing to look for: signs, or only what is to be left out.

    Raises:
        psycopg.errors.QueryCanceled: it takes longer than TIMEOUT_MS.
    """
    await connection.execute(_TIMEOUT.encode())
    is_asked = await (await connection.execute(_IS_ASKED, [asked.words])).fetchone()
    if is_asked != (True,):
        return None
    after = asked.after
    given = {
        "words": asked.words,
        "kind": asked.kind,
        "tag": asked.tag,
        "most": asked.limit + 1,
        "after_rank": after and after.rank,
        "after_kind": after and after.kind,
        "after_id": after and after.id,
    }
    async with connection.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(_SEARCH.encode(), given)).fetchall()
    page = rows[: asked.limit]
    if len(rows) <= asked.limit:
        return Page(results=page, following=None)
    last = page[-1]
    return Page(results=page, following=Place(rank=last["rank"], kind=last["kind"], id=last["id"]))
