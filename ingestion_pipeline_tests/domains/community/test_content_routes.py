"""Crawl items in, searches answered, the index made anew: through a real server that logs in as the intake does."""

import html
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.domains.community.content_handlers import HANDLERS
from ingestion_pipeline.domains.community.crawl_removal import remove_item
from ingestion_pipeline.domains.community.search_index import index_changes, rebuild
from ingestion_pipeline.intake.parameters import cursor_of
from ingestion_pipeline.orchestration.jobs import JobContext, JobWorker
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.domains.community.served_content import (
    CRAWLER,
    SCHEDULER,
    STRANGER,
    Served,
    make_item,
    person,
    served,
)
from ingestion_pipeline_tests.hot_log import as_intake
from ingestion_pipeline_tests.intake.process import JSON

RULE = """
insert into community.rules (rule_id, author_id, title, body, tags, model, status, published_at, updated_at, event_id)
values (%s, 'ann', %s, %s, %s::jsonb, 'opus', 'published', now(), now(), %s)
"""
MARKS = re.compile(r"</?mark>")
HOSTILE = "<script>alert('refactoring')</script> & <mark>refactoring</mark> \"quoted\" &lt;b&gt;"


@pytest.fixture(scope="module")
def site(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("content")) as found:
        yield found


@pytest.fixture(autouse=True)
def _empty(site: Served) -> None:
    site.rows(
        "truncate community.crawl_items, community.rules, community.search_documents, community.search_changes, "
        "community.removed_crawl_items cascade"
    )
    site.rows("truncate operations.rejects, operations.jobs, operations.audit_log cascade")


def publish(site: Served, rule_id: str, title: str, body: str = "", tags: tuple[str, ...] = ()) -> None:
    site.rows(RULE, rule_id, title, body, json.dumps(tags), f"event of {rule_id}")


def statuses(answer: Any) -> list[str]:
    assert 200 == answer.status_code, answer.text
    return [result["status"] for result in answer.json()["results"]]


def test_an_item_is_created_then_unchanged_then_updated(site: Served) -> None:
    """Each change is a revision that says what changed."""
    assert ["created"] == statuses(site.crawl(make_item(raw={"stars": 3})))
    assert ["unchanged"] == statuses(site.crawl(make_item(raw={"stars": 3}, url="HTTPS://EXAMPLE.com/1#top")))
    answer = site.crawl(make_item(raw={"stars": 4}, summary="new"))
    assert {"index": 0, "externalId": "1", "status": "updated", "revision": 2} == answer.json()["results"][0]
    assert (1, 0, 0) == tuple(answer.json()[it] for it in ("updated", "created", "rejected"))
    revisions = site.rows("select * from community.crawl_item_revisions order by revision")
    assert [["url", "title", "raw"], ["summary", "raw"]] == [it["changed_fields"] for it in revisions]
    assert [(None, {"stars": 3}), ("new", {"stars": 4})] == [(it["summary"], it["raw"]) for it in revisions]
    assert answer.json()["requestId"] == revisions[1]["request_id"]
    (item,) = site.rows("select * from community.crawl_items")
    assert (2, "new", "crawl-write") == (item["revision"], item["summary"], item["caller"])
    assert item["first_seen_at"] < item["updated_at"] == item["last_seen_at"]


def test_an_item_keeps_its_newest_fifty_states(site: Served) -> None:
    """One that changes with every request does not fill the disk, and is consistent all the same."""
    store = (
        "select outcome from community.store_crawl_items('partner-1', array['1', '2'], %s, %s, %s, %s, 'tests', null)"
    )
    urls, titles, summaries = ["https://example.com/"] * 2, ["One", "Two"], [None, None]
    with psycopg.connect(as_intake(site.url), autocommit=True) as intake:
        for number in range(53):
            intake.execute(store, [urls, titles, summaries, [str(number), None]])
    kept = site.rows("select external_id, revision from community.crawl_item_revisions order by 1, 2")
    assert [*(("1", number) for number in range(4, 54)), ("2", 1)] == [tuple(it.values()) for it in kept]
    assert [] == site.postgres.read("community_crawl_items_disagreeing")


def test_a_removed_item_stays_away(site: Served) -> None:
    """Its batch is answered as ever."""
    site.crawl(make_item())
    assert remove_item(site.postgres, "partner-1", "1", by="tests")
    answer = site.crawl(make_item(), make_item(externalId="2"))
    assert {"index": 0, "externalId": "1", "status": "removed"} == answer.json()["results"][0]
    assert (["removed", "created"], 1) == (statuses(answer), answer.json()["removed"])
    assert [{"external_id": "2"}] == site.rows("select external_id from community.crawl_items")


def test_sources_do_not_meet(site: Served) -> None:
    site.crawl(make_item(title="of one"), source="one")
    assert ["created"] == statuses(site.crawl(make_item(title="of two"), source="two"))
    assert 2 == len(site.rows("select external_id from community.crawl_items"))


def test_a_bad_item_does_not_sink_its_batch(site: Served) -> None:
    """It is answered with what is wrong, and kept in operations.rejects; again, it is counted."""
    batch = [
        make_item(),
        make_item(externalId="2", title="x" * 1_000_000),
        make_item(externalId="3", url="http://169.254.169.254/latest"),
        make_item(externalId="4", url="javascript:alert(1)", colour="red"),
        "text",
        make_item(externalId="6", title="half \ud800"),
        make_item(externalId="7", title="nul \0"),
        make_item(externalId="8"),
    ]
    answer = site.crawl(*batch)
    assert ["created", *["rejected"] * 6, "created"] == statuses(answer)
    results = answer.json()["results"]
    assert [None, ["title"], ["url"], ["colour", "url"], [""], [""], [""], None] == [
        [error["field"] for error in it["errors"]] if "errors" in it else None for it in results
    ]
    assert ["1", "2", "3", "4", None, "6", "7", "8"] == [it.get("externalId") for it in results]
    assert len(answer.content) < 5_000
    site.crawl(*batch)
    kept = site.rows("select * from operations.rejects order by reject_id")
    assert ({"crawl"}, [2] * 6) == ({it["source"] for it in kept}, [it["seen_count"] for it in kept])
    assert max(len(json.dumps(it["payload"])) for it in kept) < 2_000


def test_of_what_is_bad_in_a_request_the_first_hundred_are_kept(site: Served) -> None:
    """All of it is answered and counted."""
    answer = site.crawl(*[make_item(externalId=f"{number:04}", title="") for number in range(1_000)])
    assert (["rejected"] * 1_000, 1_000) == (statuses(answer), answer.json()["rejected"])
    assert [{"rejected": 1_000}] == site.rows(
        "select (details ->> 'rejected')::int as rejected from operations.audit_log"
    )
    kept = site.rows("select payload #>> '{item,externalId}' as id from operations.rejects order by id")
    assert [f"{number:04}" for number in range(100)] == [it["id"] for it in kept]


def test_of_the_same_item_in_a_batch_the_last_one_counts(site: Served) -> None:
    answer = site.crawl(make_item(title="first"), make_item(title=""), make_item(title="last"))
    assert ["superseded", "rejected", "created"] == statuses(answer)
    assert 2 == answer.json()["results"][0]["supersededBy"]
    assert [{"title": "last", "revision": 1}] == site.rows("select title, revision from community.crawl_items")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"sourceId": "s", "items": []}', 422),
        (b'{"sourceId": "s/t", "items": [1]}', 422),
        (b'{"sourceId": "", "items": [1]}', 422),
        (b'{"items": [1]}', 422),
        (b'{"sourceId": "s", "items": {}, "more": "\\ud800"}', 422),
        (b'{"sourceId": "s", "items": [' + b"1," * 1_000 + b"1]}", 413),
    ],
)
def test_what_is_no_batch_is_refused(site: Served, body: bytes, status: int) -> None:
    answer = site.intake.client.post("/ingest/crawl", content=body, headers={**JSON, **CRAWLER})
    assert status == answer.status_code, answer.text


def test_only_a_token_with_the_scope_crawls(site: Served) -> None:
    assert (403, 401) == (
        site.crawl(make_item(), who=STRANGER).status_code,
        site.crawl(make_item(), who=person("ann")).status_code,
    )
    assert [] == site.rows("select external_id from community.crawl_items")


def test_a_crawl_is_in_the_audit_log(site: Served) -> None:
    request_id = site.crawl(make_item(), 7).json()["requestId"]
    (entry,) = site.rows("select actor, action, request_id, details from operations.audit_log")
    details = {"source_id": "partner-1", "items": 2, "rejected": 1}
    assert {"actor": "crawl-write", "action": "crawl ingest", "request_id": request_id, "details": details} == entry


def test_many_requests_for_the_same_items_end_in_one_state(site: Served) -> None:
    """As many revisions as requests changed something, whatever the order in which they came."""

    def send(number: int) -> None:
        batch = [make_item(externalId=str(item), title=f"title {number}") for item in range(50)]
        answers.append(site.crawl(*(batch if number % 2 else reversed(batch))).status_code)

    answers: list[int] = []
    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [200] * 8 == answers
    assert [] == site.postgres.read("community_crawl_items_disagreeing")
    assert [{"revision": 8, "count": 50}] == site.rows(
        "select revision, count(*) from community.crawl_items group by 1"
    )


def test_crawl_requests_are_limited(server: Any, tmp_path: Any) -> None:
    """Thirty a minute and address, unless CRAWL_RATE_LIMIT says otherwise."""
    with served(server, tmp_path, CRAWL_RATE_LIMIT="2/minute") as site:
        answers = [site.crawl(make_item()) for _ in range(3)]
    assert [200, 200, 429] == [answer.status_code for answer in answers]
    assert answers[2].headers["retry-after"].isdigit()


def test_what_was_crawled_and_published_is_found(site: Served) -> None:
    """Titles before tags before text; deleted rules are not there."""
    site.crawl(make_item(summary="About tidy code"))
    publish(site, "r1", "Write tests", "refactoring needs tests")
    publish(site, "r2", "Small steps", "tiny commits", ("refactoring", "git"))
    publish(site, "r3", "Something else")
    rebuild(site.postgres)
    assert ["partner-1/1", "r2", "r1"] == site.found("refactoring")
    assert ["partner-1/1"] == site.found("refactoring", kind="crawl")
    assert ["r2", "r1"] == site.found("refactored", kind="rule")
    assert ["r2"] == site.found("refactoring", tag="git")
    assert ["r1"] == site.found('"refactoring needs"')
    assert ["partner-1/1", "r2"] == site.found("refactoring -tests")
    assert ["r2", "r3"] == sorted(site.found("commits or something"))
    (result,) = site.search("tidy").json()["results"]
    assert ("crawl", "https://example.com/1", []) == (result["kind"], result["url"], result["tags"])
    assert "About <mark>tidy</mark> code" == result["snippetHtml"]
    site.rows("update community.rules set status = 'deleted' where rule_id = 'r1'")
    rebuild(site.postgres)
    assert ["partner-1/1", "r2"] == site.found("refactoring")


def test_changes_are_found_once_they_are_indexed(site: Served) -> None:
    """An item that says something else is found for that, and not for what it said before."""
    site.crawl(make_item(title="Before"))
    assert (1, 0) == (index_changes(site.postgres), index_changes(site.postgres))
    site.crawl(make_item(title="Afterwards"))
    site.crawl(make_item(title="Afterwards", raw={"not": "indexed"}))
    assert ([], ["partner-1/1"]) == (site.found("afterwards"), site.found("before"))
    assert 1 == index_changes(site.postgres)
    assert (["partner-1/1"], []) == (site.found("afterwards"), site.found("before"))


def test_only_mark_is_markup(site: Served) -> None:
    """Whatever strangers write: escaped first, then marked."""
    site.crawl(make_item(title=HOSTILE, summary=HOSTILE, url="https://example.com/?a=<script>"))
    publish(site, "r1", HOSTILE, HOSTILE)
    rebuild(site.postgres)
    results = site.search("refactoring").json()["results"]
    assert 2 == len(results)
    for result in results:
        for shown in (result["titleHtml"], result["snippetHtml"]):
            text = MARKS.sub("", shown)
            assert not set("<>\"'") & set(text)
            assert html.unescape(text) in HOSTILE
            assert 2 == shown.count("<mark>refactoring</mark>")
        assert HOSTILE == result["title"] == html.unescape(MARKS.sub("", result["titleHtml"]))
    assert "<" not in (results[0]["url"] or results[1]["url"])


def test_pages_are_walked_to_the_end(site: Served) -> None:
    """Each result once, equally good ones too."""
    site.crawl(*[make_item(externalId=f"{number:03}", title="The same title") for number in range(25)])
    index_changes(site.postgres)
    ids, cursor = list[str](), dict[str, str]()
    while True:
        page = site.search("same", limit=10, **cursor).json()
        ids += [result["id"] for result in page["results"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert [f"partner-1/{number:03}" for number in range(25)] == ids


@pytest.mark.parametrize("q", ["", " ", "!!!", "(((", "-nothing", "' \" :* & | ! ()", "x" * 1_001, "word " * 33])
def test_a_search_for_nothing_is_refused(site: Served, q: str) -> None:
    answer = site.search(q)
    assert (422, "q") == (answer.status_code, answer.json()["errors"][0]["field"])


@pytest.mark.parametrize(
    "over",
    [
        {"kind": "person"},
        {"limit": 0},
        {"limit": 51},
        {"cursor": "x"},
        {"cursor": cursor_of({"rank": 1.0, "kind": "rule", "id": "a\0"})},
        {"tag": ""},
        {"w": 1},
    ],
)
def test_a_wrong_parameter_is_refused(site: Served, over: dict[str, Any]) -> None:
    assert 422 == site.search("word", **over).status_code


@pytest.mark.parametrize("q", ["the who", "O'Reilly & sons", "c++ <-> \\ % _", "a:b*", "\u202e\U0001f600 x", '"a'])
def test_odd_words_are_only_words(site: Served, q: str) -> None:
    """Nothing of them is syntax that could fail; stop words find what holds them."""
    publish(site, "r1", q)
    rebuild(site.postgres)
    assert ["r1"] == site.found(q)


def test_persons_search_and_strangers_do_not(site: Served) -> None:
    assert 200 == site.search("word", who=person("ann")).status_code
    assert 403 == site.search("word", who=STRANGER).status_code
    assert 401 == site.search("word", who={}).status_code


def test_a_scheduler_has_the_index_made_anew(site: Served) -> None:
    """It waits for the job; two who ask at once get the same one."""
    publish(site, "r1", "Something")

    def context_of(job: Any, attempt: Any) -> JobContext:
        nothing: Any = None
        return JobContext(job, nothing, site.postgres, nothing, nothing, nothing, nothing, attempt)

    answer = site.intake.client.post("/cron/rebuild-search?wait=0", headers=SCHEDULER)
    assert (202, "accepted") == (answer.status_code, answer.json()["status"])
    answers: list[Any] = []
    ask = threading.Thread(
        target=lambda: answers.append(site.intake.client.post("/cron/rebuild-search", headers=SCHEDULER))
    )
    ask.start()
    worker = JobWorker(postgres=site.postgres, handlers=HANDLERS, context_of=context_of)
    eventually(lambda: (worker.work(seconds=60), not ask.is_alive())[1])
    assert ["r1"] == site.found("something")
    assert (200, True, 1) == (answers[0].status_code, answers[0].json()["ok"], answers[0].json()["documents"])
    assert 401 == site.intake.client.post("/cron/rebuild-search", headers=CRAWLER).status_code
    assert {"search rebuild"} == {it["action"] for it in site.rows("select action from operations.audit_log")}


def test_a_search_that_takes_too_long_is_given_up(site: Served) -> None:
    """It is answered 503 with Retry-After, whatever it waits for; the next one is fine."""
    with psycopg.connect(site.url) as owner:
        owner.execute("lock table community.search_vectors in access exclusive mode")
        answer = site.search("word")
        assert (503, True) == (answer.status_code, answer.headers["retry-after"].isdigit())
        assert "takes too long" in answer.json()["detail"]
    assert [] == site.found("word")
