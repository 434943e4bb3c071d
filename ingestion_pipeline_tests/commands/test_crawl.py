"""A crawl item taken out in the terminal."""

import json
from pathlib import Path

import psycopg
from typer.testing import CliRunner

from ingestion_pipeline.commands.crawl import crawl
from ingestion_pipeline.domains.community.search_index import index_changes
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.rejects import Reject, write_rejects

STORE = (
    "select outcome, revision from community.store_crawl_items("
    "'partner-1', array['a', 'b'], array['https://a.example/', 'https://b.example/'], %s, array[null, null], "
    "array[null, null], 'tests', null)"
)
FOUND = "select count(*) from community.search_documents where id = 'partner-1/a'"


def test_an_item_is_removed_for_good(postgres: Postgres, worker_url: str, database_url: str, tmp_path: Path) -> None:
    """With its revisions and rejects, out of the index too; sent again, it stays away, and others do not."""

    def removed(external_id: str) -> str:
        arguments = ["remove", "--source", "partner-1", "--id", external_id]
        given = {"DATABASE_URL": worker_url, "INGESTION_HOME": str(tmp_path), "INTAKE_DATABASE_URL": ""}
        done = CliRunner().invoke(crawl, arguments, env=given)
        assert (0, None) == (done.exit_code, done.exception), done.output
        return done.output

    refused = [Reject("crawl", "url", {"sourceId": "partner-1", "item": {"externalId": it}}) for it in ("a", "b")]
    write_rejects(postgres, refused)
    with psycopg.connect(database_url, autocommit=True) as owner:
        assert [("created", 1)] * 2 == owner.execute(STORE, [["A", "B"]]).fetchall()
        index_changes(postgres)
        assert [(1,)] == owner.execute(FOUND).fetchall()
        assert "removed" in removed("a")
        index_changes(postgres)
        assert [(0,)] == owner.execute(FOUND).fetchall()
        for revision in (2, 3):
            again = owner.execute(STORE, [[f"A {revision}", f"B {revision}"]]).fetchall()
            assert {("removed", None), ("updated", revision)} == set(again)
        for table in ("crawl_items", "crawl_item_revisions"):
            ids = owner.execute(f"select distinct external_id from community.{table}".encode()).fetchall()
            assert [("b",)] == ids
        left = owner.execute("select payload #>> '{item,externalId}' from operations.rejects").fetchall()
        assert [("b",)] == left
        audited = owner.execute("select action, details from operations.audit_log").fetchall()
        details = {"source_id": "partner-1", "external_id": "a", "was_there": True}
        assert [("crawl item removed", details)] == audited, json.dumps(audited)
    assert "not there" in removed("c")
