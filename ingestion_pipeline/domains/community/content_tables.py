"""The stored tables of the community's content: crawl items, rules, search documents. No behaviour."""

from datetime import timedelta

from ingestion_pipeline.core.tables import Column, Freshness, Table

RULE_EVENT_TYPES = ("rule.published", "rule.updated", "rule.deleted")

RULE_HISTORY = Table(
    domain="events",
    name="event_history",
    store="lake",
    key=("event_id",),
    partitioning="daily",
    partition_column="day",
    columns=(
        Column("event_id", "text", "UUIDv7 given at intake"),
        Column("event_type", "text", "rule.published, rule.updated or rule.deleted"),
        Column("user_id", "text", "Who did it", None, True),
        Column("rule_id", "text", "On which rule", None, True),
        Column("event_data", "json", "authorId, title, body, tags, model"),
        Column("occurred_at", "timestamp", "When it happened", "UTC"),
        Column("day", "date", "UTC day on which it occurred: the partition"),
    ),
)
"""What the events domain's asset has of rules: the columns that are read here. Another domain's: no asset of ours."""

CRAWL_ITEMS = Table(
    domain="community",
    name="crawl_items",
    store="postgres",
    key=("source_id", "external_id"),
    as_of_column="last_seen_at",
    freshness=Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26)),
    personal=frozenset({"title", "summary", "raw"}),
    columns=(
        Column("source_id", "text", "Which crawl it is of"),
        Column("external_id", "text", "What the crawler calls it"),
        Column("document_id", "text", "Both, as the search index calls it: `<source_id>/<external_id>`"),
        Column("url", "text", "Where it was found, normalised; text of strangers, never fetched here"),
        Column("title", "text", "Text of strangers: to be escaped wherever it is shown"),
        Column("summary", "text", "Text of strangers, may hold HTML: to be escaped wherever it is shown", None, True),
        Column("raw", "json", "What else the crawler sends", None, True),
        Column("revision", "integer", "How many states it has had; each is in community.crawl_item_revisions"),
        Column("caller", "text", "Whose token sent it last"),
        Column("first_seen_at", "timestamp", "When it was sent first", "UTC"),
        Column("updated_at", "timestamp", "When it changed last", "UTC"),
        Column("last_seen_at", "timestamp", "When it was sent last, changed or not", "UTC"),
    ),
)

RULES = Table(
    domain="community",
    name="rules",
    store="postgres",
    key=("rule_id",),
    partitioning="daily",
    partition_column="updated_at",
    as_of_column="updated_at",
    freshness=Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26)),
    personal=frozenset({"author_id", "title", "body", "tags", "model"}),
    columns=(
        Column("rule_id", "text", "As events name it"),
        Column("author_id", "text", "Whose rule it is, for all of its history", None, True),
        Column("title", "text", "Its title; empty if no event says one"),
        Column("body", "text", "Its text; empty if no event says one"),
        Column("tags", "json", "Array of text"),
        Column("model", "text", "Which model it is for", None, True),
        Column("status", "text", "published or deleted"),
        Column("published_at", "timestamp", "When it was published first", "UTC"),
        Column("updated_at", "timestamp", "When its last event occurred: the partition", "UTC"),
        Column("event_id", "text", "That event"),
    ),
)

SEARCH_DOCUMENTS = Table(
    domain="community",
    name="search_documents",
    store="postgres",
    key=("generation", "kind", "id"),
    freshness=Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26)),
    personal=frozenset({"title", "body", "tags"}),
    columns=(
        Column("generation", "integer", "Which rebuild made it; readers see that of community.search_index"),
        Column("kind", "text", "rule or crawl"),
        Column("id", "text", "rule_id, or document_id of the crawl item"),
        Column("title", "text", "As its source has it"),
        Column("body", "text", "Text of the rule, summary of the crawl item; the first 50,000 characters"),
        Column("url", "text", "Of a crawl item", None, True),
        Column("tags", "json", "Array of text"),
    ),
)

TABLES = (CRAWL_ITEMS, RULES, SEARCH_DOCUMENTS)
