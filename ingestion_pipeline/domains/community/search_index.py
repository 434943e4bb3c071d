"""The search index: kept up to its sources change by change, and made anew without a gap for readers.

Readers see the generation that community.search_index names. A rebuild makes the next one beside it, part by part, and
switches in one transaction; changes that come meanwhile go into both. One that is killed leaves readers what they had;
the next clears away what it had made. Not here: what finds documents (search.py).
"""

from collections.abc import Callable

import structlog

from ingestion_pipeline.storage.postgres import Postgres

LOCK = "community.search_index"
KINDS = ("rule", "crawl")
DOCUMENTS_PER_PART = 2_000
_INDEX_CHANGES = "select community.index_changes(%s)"
_HAS_CHANGES = "select exists (select from community.search_changes)"
_BEGIN = """
update community.search_index set building = greatest(generation, coalesce(building, 0)) + 1
returning generation, building
"""
_CLEAR = "delete from community.search_documents where generation <> %s"
_PART = """
select array_agg(id order by id)
from (
    select id from community.search_sources where kind = %(kind)s and id > %(after)s order by id limit %(most)s
) as part
"""
_INDEX_PART = "select community.index_documents(%s, %s, %s, false)"
_LOCK_INDEX = "select building from community.search_index for update"
_CLEAR_GONE = """
delete from community.search_documents as documents
where
    documents.generation = %s
    and not exists (
        select from community.search_sources as sources
        where sources.kind = documents.kind and sources.id = documents.id
    )
"""
_SWITCH = """
update community.search_index set generation = building, building = null, built_at = clock_timestamp()
"""
_COUNT = """
select count(*) from community.search_documents
where generation = (select generation from community.search_index)
"""

_log = structlog.get_logger(__name__)


def has_changes(postgres: Postgres) -> bool:
    """Is there anything that is not indexed yet?"""
    with postgres.transaction() as connection:
        return connection.execute(_HAS_CHANGES).fetchone() == (True,)


def index_changes(postgres: Postgres) -> int:
    """Indexes what has changed, some documents a transaction; how many changes there were."""
    count = 0
    while True:
        with postgres.transaction() as connection:
            some = int(connection.execute(_INDEX_CHANGES, [DOCUMENTS_PER_PART]).fetchall()[0][0])
        count += some
        if some < DOCUMENTS_PER_PART:
            return count


def document_count(postgres: Postgres) -> int:
    """Documents that readers see."""
    with postgres.transaction() as connection:
        ((count,),) = connection.execute(_COUNT).fetchall()
    return int(count)


def rebuild(postgres: Postgres, *, go_on: Callable[[], None] = lambda: None) -> int:
    """Makes the index anew; how many documents readers see then. One rebuild at a time: another waits.

    `go_on` is called before each part, and ends the rebuild by raising: readers keep what they had.
    """
    with postgres.exclusive(LOCK):
        with postgres.transaction() as connection:
            ((current, target),) = connection.execute(_BEGIN).fetchall()
        with postgres.transaction() as connection:
            connection.execute(_CLEAR, [current])
        for kind in KINDS:
            _build(postgres, target, kind, go_on)
        go_on()
        _switch(postgres, target)
        with postgres.transaction() as connection:
            connection.execute(_CLEAR, [target])
    count = document_count(postgres)
    _log.info("search index rebuilt", generation=target, documents=count)
    return count


def _build(postgres: Postgres, target: int, kind: str, go_on: Callable[[], None]) -> None:
    after = ""
    while True:
        go_on()
        with postgres.transaction() as connection:
            part = {"kind": kind, "after": after, "most": DOCUMENTS_PER_PART}
            ((ids,),) = connection.execute(_PART, part).fetchall()
            if ids is None:
                return
            connection.execute(_INDEX_PART, [target, kind, ids])
            after = ids[-1]


def _switch(postgres: Postgres, target: int) -> None:
    with postgres.transaction() as connection:
        connection.execute("set local lock_timeout = '30s'")
        connection.execute(_LOCK_INDEX)  # whoever indexes changes is done, or waits for the new generation
        connection.execute(_CLEAR_GONE, [target])  # what a part had read before it was deleted
        connection.execute(_SWITCH)
