"""What is found, in which order and how it is shown: by the functions of the database, whatever strangers write."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from ingestion_pipeline.domains.community.search_index import has_changes, index_changes, rebuild
from ingestion_pipeline.storage.embedded import EmbeddedServer
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.databases import migrated_database

STORE = """
insert into community.rules (rule_id, title, body, tags, status, published_at, updated_at, event_id)
values (%s, %s, %s, %s::jsonb, 'published', now(), now(), %s)
on conflict (rule_id) do update set title = excluded.title, body = excluded.body, tags = excluded.tags
"""
MARK = "insert into community.search_changes (kind, id) values ('rule', %s) on conflict do nothing"
SEARCH = "select * from community.search(%s, null, null, null, null, null, 100)"
EVERYWHERE = (
    """
    insert into community.search_documents (generation, kind, id, title, body, tags)
    select 1, case when n <= 12000 then 'crawl' else 'rule' end, n::text, 'zebra', '', '[]'
    from generate_series(1, 24000) as n
    """,
    """
    insert into community.search_vectors (generation, kind, id, tags, vector)
    select generation, kind, id, tags, to_tsvector('simple', 'zebra ' || words)
    from
        community.search_documents,
        (select string_agg(md5(n::text), ' ') as words from generate_series(1, 40) as n) as more
    order by id::integer
    """,
    "analyze community.search_documents, community.search_vectors",
)
IS_LARGE = """
select pg_relation_size('community.search_vectors') > setting::bigint * 8192 / 4
from pg_settings where name = 'shared_buffers'
"""
MARKS = re.compile(r"</?mark>")
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80)


@pytest.fixture(scope="module")
def url(server: EmbeddedServer) -> Iterator[str]:
    """A database that the tests of this module share: for tests that need no other documents, nor their absence."""
    with migrated_database(server) as url:
        yield url


@pytest.fixture(scope="module")
def owner(url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def store(owner: psycopg.Connection[Any], rule_id: str, title: str, body: str = "", *tags: str) -> None:
    owner.execute(STORE, [rule_id, title, body, json.dumps(tags), f"event of {rule_id}"])
    owner.execute(MARK, [rule_id])
    while owner.execute("select community.index_changes(100) as taken").fetchall() != [{"taken": 0}]:
        pass


def found(owner: psycopg.Connection[Any], words: str) -> list[dict[str, Any]]:
    return owner.execute(SEARCH, [words]).fetchall()


@given(before=WORDS, after=WORDS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_mark_is_markup_whatever_the_text(owner: psycopg.Connection[Any], before: str, after: str) -> None:
    """What is shown is the text, escaped; the words that were looked for are in <mark>."""
    text = f"{before} needle {after}"
    store(owner, "needle", text, text)
    (result,) = found(owner, "needle")
    assert "<mark>needle</mark>" in result["title_html"]
    assert text == html_text(result["title_html"])
    for shown in (result["title_html"], result["snippet_html"]):
        assert not set("<>\"'") & set(MARKS.sub("", shown))


def html_text(shown: str) -> str:
    """The text that a browser shows, of the five characters that are escaped."""
    text = MARKS.sub("", shown)
    for character in "<>\"'&":
        text = text.replace(html.escape(character).replace("&#x27;", "&#39;"), character)
    return text


@given(words=WORDS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_can_be_looked_for(owner: psycopg.Connection[Any], words: str) -> None:
    """Nothing that somebody types is an error."""
    assert isinstance(found(owner, words), list)


def test_titles_come_before_tags_before_text(owner: psycopg.Connection[Any]) -> None:
    store(owner, "w1", "Of other things", "walrus")
    store(owner, "w2", "Of other things", "none", "walrus")
    store(owner, "w3", "A walrus", "none")
    assert ["w3", "w2", "w1"] == [it["id"] for it in found(owner, "walruses")]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("otters", {"o1", "o2"}),
        ("OTTER", {"o1", "o2"}),
        ('"sea otter"', {"o1"}),
        ("otter -sea", {"o2"}),
        ("otter -seas", {"o2"}),
        ("river otter", {"o2"}),
        ("sea or river", {"o1", "o2"}),
        ("the of", {"o1"}),
        ("otter badger", set[str]()),
    ],
)
def test_words_mean_what_they_do_elsewhere(owner: psycopg.Connection[Any], words: str, ids: set[str]) -> None:
    """Stems, phrases, exclusions, choices; stop words by themselves are words."""
    store(owner, "o1", "The sea otter", "of the coast")
    store(owner, "o2", "River otters", "at home")
    assert ids == {it["id"] for it in found(owner, words)} & {"o1", "o2"}


@pytest.mark.parametrize(
    "body",
    [
        " ".join(f"w{number}" for number in range(200_000)),
        "".join(f" \U0001f600{number:x}\u5b57" for number in range(60_000)),
        "x" * 3_000_000,
        " ".join(["a'b&c<d>"] * 50_000),
        "https://example.com/" + "a/" * 100_000,
    ],
    ids=["words", "wide", "one", "odd", "url"],
)
def test_a_huge_text_is_indexed_as_far_as_it_goes(owner: psycopg.Connection[Any], body: str) -> None:
    """PostgreSQL takes a megabyte of words; one text that is longer must not stop the index."""
    store(owner, "huge", "Hippopotamus", body)
    (result,) = found(owner, "hippopotamus")
    assert len(result["snippet_html"]) < 100_000
    owner.execute("delete from community.rules where rule_id = 'huge'")
    owner.execute(MARK, ["huge"])
    store(owner, "other", "Other")
    assert [] == found(owner, "hippopotamus")


def test_nothing_is_changed_without_a_mark(database_url: str, postgres: Postgres) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        assert (0, False, 0) == (index_changes(postgres), has_changes(postgres), rebuild(postgres))
        owner.execute(STORE, ["r1", "Title", "", "[]", "e1"])
        owner.execute(MARK, ["r1"])
        assert has_changes(postgres)
        assert (1, 0) == (index_changes(postgres), index_changes(postgres))
        assert not has_changes(postgres)


def test_of_words_that_are_everywhere_the_same_documents_are_ranked(database_url: str) -> None:
    """Rules before crawl items; also where the table is so large that PostgreSQL begins a scan where the last ended."""
    answer = "select kind, id from community.search('zebra', null, null, null, null, null, 3)"
    with psycopg.connect(database_url, autocommit=True) as owner:
        for statement in EVERYWHERE:
            owner.execute(statement.encode())
        assert [(True,)] == owner.execute(IS_LARGE.encode()).fetchall()
        answers = [owner.execute(answer).fetchall() for _ in range(3)]
    assert [answers[0]] * 3 == answers
    assert {"rule"} == {kind for kind, _ in answers[0]}
