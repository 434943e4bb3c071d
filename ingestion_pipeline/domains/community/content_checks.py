"""What must hold of crawl items, rules and the search index: named statements that give the rows that break a claim."""

from collections.abc import Iterator

import dagster as dg

from ingestion_pipeline.core.tables import Table
from ingestion_pipeline.domains.community.content_tables import CRAWL_ITEMS, RULES, SEARCH_DOCUMENTS
from ingestion_pipeline.orchestration.checks import Claim, outcomes
from ingestion_pipeline.orchestration.failures import RETRY_POLICY, explained_failures
from ingestion_pipeline.orchestration.specs import log_context
from ingestion_pipeline.storage.postgres import Postgres


def query_checks(table: Table, *claims: tuple[str, str, str]) -> dg.AssetChecksDefinition:
    """The checks of `table`, each a name, a description and a statement of sql/queries."""
    key = dg.AssetKey(list(table.asset_key))
    specs = [dg.AssetCheckSpec(name, asset=key, description=description) for name, description, _ in claims]

    @dg.multi_asset_check(name=f"{table.name}_checks", specs=specs, can_subset=True, retry_policy=RETRY_POLICY)
    def run_claims(
        context: dg.AssetCheckExecutionContext, postgres: dg.ResourceParam[Postgres]
    ) -> Iterator[dg.AssetCheckResult]:
        import pandas as pd

        selected = {check.name for check in context.selected_asset_check_keys}
        with log_context(context, table), explained_failures():
            for name, description, query in claims:
                if name in selected:
                    claim = Claim(name=name, description=description, breaking=lambda rows: rows)
                    yield from outcomes(table, [claim], iter([pd.DataFrame(postgres.read(query))]))

    return run_claims


CHECKS: list[dg.AssetChecksDefinition] = [
    query_checks(
        CRAWL_ITEMS,
        (
            "crawl_items_are_their_last_revision",
            "Each item is what its last revision says, and has as many revisions as it counts.",
            "community_crawl_items_disagreeing",
        ),
    ),
    query_checks(
        RULES,
        (
            "rules_are_of_their_last_event",
            "Each rule is of the newest event that says something of it, and each such event has its rule.",
            "community_rules_disagreeing",
        ),
    ),
    query_checks(
        SEARCH_DOCUMENTS,
        (
            "search_documents_have_their_source",
            "Each document that readers see is of a published rule or a crawl item.",
            "community_search_orphans",
        ),
        (
            "search_documents_hold_every_source",
            "Each published rule and crawl item that is not marked as changed has its document, which says the same.",
            "community_search_missing",
        ),
    ),
]
