"""The stored tables of the events domain that are assets: columns, units, keys, partitioning, freshness. No behaviour.

The hot log and what hangs on it are not assets; sql/migrations/0004_events.sql says what a row of each is.
"""

from datetime import timedelta

from ingestion_pipeline.core.tables import Column, Freshness, Table

WEEK_DAYS, MONTH_DAYS = 7, 28
FUNNEL_DAYS = 7
CATEGORIES = ("transaction", "interaction", "user_activity", "content")

_TYPE = Column("event_type", "text", "Type, as in events.event_schemas")
_CATEGORY = Column("event_category", "text", "transaction, interaction, user_activity or content")

EVENT_HISTORY = Table(
    domain="events",
    name="event_history",
    store="lake",
    key=("event_id",),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26)),
    personal=frozenset({"user_id", "session_id", "address_hash", "event_data", "metadata"}),
    columns=(
        Column("event_id", "text", "UUIDv7 given at intake"),
        _TYPE,
        _CATEGORY,
        Column("schema_version", "integer", "Version of the schema that it was checked against"),
        Column("user_id", "text", "Who did it; null when anonymous", None, True),
        Column("session_id", "text", "In which session", None, True),
        Column("rule_id", "text", "On which rule", None, True),
        Column("event_data", "json", "What the event says"),
        Column("metadata", "json", "Context that the sender gave: user agent, locale, …"),
        Column("occurred_at", "timestamp", "When it happened, corrected by the sender's clock", "UTC"),
        Column("received_at", "timestamp", "When the intake took it", "UTC"),
        Column("lateness_seconds", "float", "received_at minus occurred_at", "seconds"),
        Column("clock_skew_seconds", "float", "Our clock minus the sender's, where it says it", "seconds", True),
        Column("caller", "text", "Whose token sent it; `sql` for emit_platform_event"),
        Column("country", "text", "ISO 3166 code of the client's address, where a database is configured", None, True),
        Column("address_hash", "text", "Keyed hash of the client's address; the key rotates daily", None, True),
        Column("device_type", "text", "desktop, mobile, tablet, bot or other", None, True),
        Column("browser", "text", "Browser family", None, True),
        Column("operating_system", "text", "Operating system family", None, True),
        Column("user_role", "text", "Role in the users table, where there is one", None, True),
        Column("user_tenure_days", "integer", "Days since the user was created", "days", True),
        Column("is_counted", "boolean", "Counts in metrics and aggregations"),
        Column("uncounted_reason", "text", "Why it does not count", None, True),
        Column("batch_number", "integer", "Batch of events.warehouse_sync_status"),
        Column("day", "date", "UTC day on which it occurred: the partition"),
    ),
)


def _aggregations(name: str, partitioning: str, bucket: str) -> Table:
    return Table(
        domain="events",
        name=name,
        store="postgres",
        key=("event_type", "event_category", "bucket_start"),
        partitioning="weekly" if partitioning == "weekly" else "daily",
        partition_column="bucket_start",
        as_of_column="bucket_start",
        freshness=Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26)),
        personal=frozenset({"properties"}),
        columns=(
            Column("bucket_start", "timestamp", f"First instant of the {bucket}", "UTC"),
            _TYPE,
            _CATEGORY,
            Column("event_count", "integer", "Events that count", "events"),
            Column("uncounted_count", "integer", "Events that do not count", "events"),
            Column("unique_users", "integer", "Different users of counted events", "users"),
            Column("unique_sessions", "integer", "Different sessions of counted events", "sessions"),
            Column("first_event_at", "timestamp", "First event in the bucket, counted or not", "UTC"),
            Column("last_event_at", "timestamp", "Last event in the bucket, counted or not", "UTC"),
            Column(
                "properties",
                "json",
                'Per numeric property of event_data: {"amount": {"count", "sum", "min", "max", "p50", "p95"}}',
            ),
        ),
    )


EVENT_AGGREGATIONS_HOURLY = _aggregations("event_aggregations_hourly", "daily", "UTC hour")
EVENT_AGGREGATIONS_DAILY = _aggregations("event_aggregations_daily", "daily", "UTC day")
EVENT_AGGREGATIONS_WEEKLY = _aggregations("event_aggregations_weekly", "weekly", "week (Monday)")

_DERIVED = Freshness(warn_after=timedelta(hours=3), fail_after=timedelta(hours=26))

ACTIVE_USERS = Table(
    domain="events",
    name="active_users",
    store="lake",
    key=("user_id", "day"),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=_DERIVED,
    personal=frozenset({"user_id"}),
    columns=(
        Column("user_id", "text", "Who had a counted event on the day"),
        Column("is_new", "boolean", "It was the first day with one"),
        Column("day", "date", "UTC day: the partition"),
    ),
)

DAILY_ACTIVE_USERS = Table(
    domain="events",
    name="daily_active_users",
    store="postgres",
    key=("day",),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=_DERIVED,
    columns=(
        Column("day", "date", "UTC day"),
        Column("active_users", "integer", "Different users with a counted event on the day", "users"),
        Column("active_users_7_days", "integer", "… on the day or the six before it", "users"),
        Column("active_users_28_days", "integer", "… on the day or the 27 before it", "users"),
        Column("new_users", "integer", "Users of the day without an event on an earlier day of the lake", "users"),
        Column("sessions", "integer", "Different sessions with a counted event on the day", "sessions"),
    ),
)

FUNNELS = Table(
    domain="events",
    name="funnels",
    store="postgres",
    key=("day", "funnel", "step"),
    partitioning="daily",
    partition_column="day",
    as_of_column="day",
    freshness=_DERIVED,
    columns=(
        Column("day", "date", "UTC day on which users did the first step"),
        Column("funnel", "text", "Name, as in EVENTS_FUNNELS"),
        Column("step", "integer", "Number of the step, from 1"),
        _TYPE,
        Column("users", "integer", "Users who did this step after the earlier ones, in time", "users"),
        Column("conversion_ratio", "float", "Of the users of the first step", "ratio", True),
        Column("median_seconds", "float", "From the first step to this one", "seconds", True),
    ),
)

RETENTION_COHORTS = Table(
    domain="events",
    name="retention_cohorts",
    store="postgres",
    key=("week", "cohort_week"),
    partitioning="weekly",
    partition_column="week",
    as_of_column="week",
    freshness=_DERIVED,
    columns=(
        Column("week", "date", "Monday of the week of activity: the partition"),
        Column("cohort_week", "date", "Monday of the week of the users' first event"),
        Column("weeks_since", "integer", "Weeks between the two", "weeks"),
        Column("cohort_users", "integer", "Users whose first event is in the cohort's week", "users"),
        Column("retained_users", "integer", "Of them, with a counted event in the week", "users"),
        Column("retention_ratio", "float", "retained_users over cohort_users", "ratio", True),
    ),
)

TABLES = (
    EVENT_HISTORY,
    EVENT_AGGREGATIONS_HOURLY,
    EVENT_AGGREGATIONS_DAILY,
    EVENT_AGGREGATIONS_WEEKLY,
    ACTIVE_USERS,
    DAILY_ACTIVE_USERS,
    FUNNELS,
    RETENTION_COHORTS,
)
