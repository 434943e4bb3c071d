"""The stored tables of donations: columns, units, key, freshness. No behaviour.

community.donation_facts and community.dirty_days are written with them and are no assets of their own.
"""

from datetime import timedelta

from ingestion_pipeline.core.tables import Column, Freshness, Table

_MONEY = "currency"

DONATIONS = Table(
    domain="community",
    name="donations",
    store="postgres",
    key=("payment_intent",),
    partitioning="daily",
    partition_column="paid_on",
    as_of_column="paid_at",
    freshness=Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26)),
    personal=frozenset({"author_id", "donor_id", "donor_name", "message"}),
    columns=(
        Column("payment_intent", "text", "Stripe's id of the payment"),
        Column("rule_id", "text", "Rule that it is for, from the metadata ruleId", None, True),
        Column("author_id", "text", "Author that it is for, from the metadata authorId, else the rule's", None, True),
        Column("author_is_rules", "boolean", "No metadata names the author: it was found by the rule, and is kept"),
        Column("donor_id", "text", "Who gave, from the metadata donorId; NULL when anonymous", None, True),
        Column("is_anonymous", "boolean", "The donor is not to be named"),
        Column("currency", "text", "ISO 4217: what the amounts are in"),
        Column("received", "decimal", "What was paid; 0 until it is", _MONEY),
        Column("refunded", "decimal", "What was given back", _MONEY),
        Column("disputed", "decimal", "What is withheld by an open dispute, or gone by a lost one", _MONEY),
        Column("net", "decimal", "Received less refunded less disputed", _MONEY),
        Column("status", "text", "pending, paid, failed, refunded, partially_refunded, disputed or lost"),
        Column("dispute_status", "text", "Stripe's word for the dispute that decides", None, True),
        Column("donor_name", "text", "As the donor gave it; NULL when anonymous", None, True),
        Column("message", "text", "What the donor wrote", None, True),
        Column("paid_at", "timestamp", "When it was paid", "UTC", True),
        Column("paid_on", "date", "UTC day of paid_at", None, True),
        Column("is_live", "boolean", "Real money; otherwise Stripe's test mode"),
        Column("updated_at", "timestamp", "When the row last changed", "UTC"),
    ),
)

TABLES = (DONATIONS,)
