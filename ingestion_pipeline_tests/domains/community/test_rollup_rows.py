"""What putting the rows of a day in the place of the former ones costs. What it does: in the tests of each table."""

from datetime import date

import psycopg
import pyarrow as pa

from ingestion_pipeline.domains.community.rollup_rows import Changes, replaced
from ingestion_pipeline.domains.community.rollup_tables import RULE_METRICS_DAILY

DAY = date(2026, 3, 31)
RULES = 2_000
READ = "select seq_tup_read from pg_stat_xact_all_tables where relname = 'incoming_rule_metrics_daily'"


def metrics(rules: int, views: int = 1) -> pa.Table:
    """Rows of so many rules, of which each was seen so many times on DAY."""
    integers = {it.name: 0 for it in RULE_METRICS_DAILY.columns if it.type in ("integer", "float")}
    values = {**integers, "day": DAY, "views": views, "points": views}
    columns = {name: pa.repeat(value, rules) for name, value in values.items()}
    return pa.table({**columns, "rule_id": [f"rule-{number}" for number in range(rules)]})


def test_a_day_is_replaced_in_a_few_passes_if_it_is_planned_for_one_row(database_url: str) -> None:
    """The planner takes a day that is newer than its statistics for one row, and may then loop over all rows for each."""
    with psycopg.connect(database_url) as connection:
        replaced(connection, RULE_METRICS_DAILY, metrics(RULES), DAY)
        connection.commit()
        connection.execute("set enable_hashjoin = off; set enable_mergejoin = off; set enable_material = off")
        changes = replaced(connection, RULE_METRICS_DAILY, metrics(RULES - 10, views=2), DAY)
        assert Changes(inserted=0, updated=RULES - 10, deleted=10, unchanged=0) == changes
        (read,) = connection.execute(READ).fetchone() or (0,)
        assert RULES <= read < 10 * RULES
