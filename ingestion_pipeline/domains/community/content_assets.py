"""The assets of the community's content: crawl items as they came, rules of the event history, the search index.

Crawl items are stored by the intake as they arrive (crawl.py); their asset looks at what is there. No arithmetic here.
"""

import dagster as dg

from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.content_tables import CRAWL_ITEMS, RULE_HISTORY, RULES, SEARCH_DOCUMENTS
from ingestion_pipeline.domains.community.dirty_days import dirty_days, settle_dirty_days
from ingestion_pipeline.domains.community.rules import apply_days
from ingestion_pipeline.domains.community.search_index import document_count, index_changes
from ingestion_pipeline.orchestration.metadata import materialized, report_day
from ingestion_pipeline.orchestration.partitions import FIRST_DAY, partition_window
from ingestion_pipeline.orchestration.specs import table_asset
from ingestion_pipeline.orchestration.staleness import newest_place
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres

_CRAWLED = "select count(*), count(distinct source_id), coalesce(sum(revision), 0) from community.crawl_items"


@table_asset(CRAWL_ITEMS)
def crawl_items(context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres]) -> dg.MaterializeResult:
    """One row per item that a partner's crawler has sent.

    Key: source_id, external_id. Source: POST /ingest/crawl, which stores them at once; here they are counted. Cadence:
    hourly. Late data: the request that came last wins; earlier states are in community.crawl_item_revisions. Readers:
    search_documents.
    """
    with postgres.transaction() as connection:
        ((rows, sources, revisions),) = connection.execute(_CRAWLED).fetchall()
    return materialized(context, CRAWL_ITEMS, rows=rows, extra={"sources": sources, "revisions": int(revisions)})


@table_asset(RULES, deps=[RULE_HISTORY])
def rules(
    context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """One row per rule that events of type rule.published, rule.updated or rule.deleted are about.

    Key: rule_id; the partition is the day of its last event. Source: events/event_history of the day, whose events
    replace those known of it. Cadence: every ten minutes for the running day; a day with late or erased events again.
    What the newest event says counts, whichever came last. Days that were rolled up while a rule had another author are
    read again too, and count as built: what is derived from them is recomputed. Readers: search_documents, rollups,
    leaderboards.
    """
    window, place = partition_window(context), newest_place(context.instance)
    changes = list(apply_days(postgres, lake, window))
    dirty = dirty_days(postgres, RULES)  # also of a run that was killed before it could say so
    again = [it.day for it in dirty if it.day >= FIRST_DAY]
    for day in again:
        changes += apply_days(postgres, lake, Window.of_days(day, day))
        report_day(context, day, read_to=place)
    settle_dirty_days(postgres, dirty)
    indexed = index_changes(postgres)
    counts = postgres.row_counts(RULES, window)
    extra = {
        "events": sum(it.events for it in changes),
        "rules_changed": sum(it.rules for it in changes),
        "documents_indexed": indexed,
        "days_with_other_authors": len(again),
    }
    return materialized(context, RULES, counts=counts, extra=extra)


@table_asset(SEARCH_DOCUMENTS, deps=[RULES, CRAWL_ITEMS])
def search_documents(context: dg.AssetExecutionContext, postgres: dg.ResourceParam[Postgres]) -> dg.MaterializeResult:
    """One row per published rule and crawl item, with its words in community.search_vectors.

    Key: generation, kind, id. Source: community/rules and community/crawl_items, what is marked as changed. Cadence:
    within a minute after a change; jobs of type `rebuild_search` make it anew every night. Readers: GET /api/search.
    """
    indexed = index_changes(postgres)
    return materialized(context, SEARCH_DOCUMENTS, rows=document_count(postgres), extra={"documents_indexed": indexed})


ASSETS = [crawl_items, rules, search_documents]
