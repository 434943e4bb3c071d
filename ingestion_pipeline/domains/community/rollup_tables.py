"""The stored tables of the daily rollups: columns, units, keys, partitioning, freshness. No behaviour."""

from datetime import timedelta

from ingestion_pipeline.core.tables import Column, Freshness, Table

_FRESHNESS = Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26))
_DAY = Column("day", "date", "UTC day: the partition")
_COUNTS = (
    Column("views", "integer", "Views that count: 5 of an address on a rule", "events"),
    Column("copies", "integer", "Copies that count", "events"),
    Column("saves", "integer", "Saves that count", "events"),
    Column("forks", "integer", "Forks that count", "events"),
    Column("votes_up", "integer", "Last votes of persons that are up", "votes"),
    Column("votes_down", "integer", "Last votes of persons that are down", "votes"),
)
_POINTS = Column("points", "float", "views + 3 copies + 4 saves + 5 forks + 2 (votes up - votes down)", "points")
_TRENDING = Column(
    "trending_score", "float", "The same, each event halved for every half-life to the end of the day", "points"
)

RULE_EVENTS = Table(
    domain="events",
    name="event_history",
    store="lake",
    key=("event_id",),
    partitioning="daily",
    partition_column="day",
    columns=(
        Column("event_id", "text", "UUIDv7 given at intake"),
        Column("event_type", "text", "VIEW, COPY, SAVE, FORK, VOTE or another"),
        Column("user_id", "text", "Who did it; null when anonymous", None, True),
        Column("rule_id", "text", "On which rule", None, True),
        Column("event_data", "json", "value of a VOTE"),
        Column("metadata", "json", "userAgent"),
        Column("occurred_at", "timestamp", "When it happened", "UTC"),
        Column("address_hash", "text", "Hash of the client's address", None, True),
        Column("device_type", "text", "bot or another", None, True),
        Column("is_counted", "boolean", "False of a view within ten minutes of another"),
        Column("day", "date", "UTC day on which it occurred: the partition"),
    ),
)
"""What the events domain's asset has of rules: the columns that are read here. Another domain's: no asset of ours."""

RULE_METRICS_DAILY = Table(
    domain="community",
    name="rule_metrics_daily",
    store="postgres",
    key=("day", "rule_id"),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=_FRESHNESS,
    personal=frozenset({"author_id"}),
    columns=(
        _DAY,
        Column("rule_id", "text", "On which rule"),
        Column("author_id", "text", "The rule's author; null of a rule not known", None, True),
        *_COUNTS,
        Column("unique_users", "integer", "Different users of events that count", "users"),
        _POINTS,
        _TRENDING,
        Column("excluded_events", "integer", "Events on the rule that do not count", "events"),
    ),
)

AUTHOR_METRICS_DAILY = Table(
    domain="community",
    name="author_metrics_daily",
    store="postgres",
    key=("day", "author_id"),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=_FRESHNESS,
    personal=frozenset({"author_id"}),
    columns=(
        _DAY,
        Column("author_id", "text", "Whose rules"),
        Column("rules", "integer", "Rules of theirs with an event, counted or not", "rules"),
        *_COUNTS,
        _POINTS,
        _TRENDING,
        Column("donations", "integer", "Donations that were paid on the day and not given back", "donations"),
        Column("donations_net", "json", 'Received less refunds and disputes, exact: {"USD": "12.50"}'),
    ),
)

EXCLUDED_EVENTS_DAILY = Table(
    domain="community",
    name="excluded_events_daily",
    store="postgres",
    key=("day", "reason"),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=_FRESHNESS,
    columns=(
        _DAY,
        Column("reason", "text", "Why they do not count, as in docs/scoring.md"),
        Column("events", "integer", "How many events of rules", "events"),
        Column("views", "integer", "Of them views", "events"),
        Column("copies", "integer", "Of them copies", "events"),
        Column("saves", "integer", "Of them saves", "events"),
        Column("forks", "integer", "Of them forks", "events"),
        Column("votes", "integer", "Of them votes", "events"),
    ),
)

TABLES = (RULE_METRICS_DAILY, EXCLUDED_EVENTS_DAILY, AUTHOR_METRICS_DAILY)
