"""What an erasure reads of the community, for which builds of rules and boards wait: not what is others'."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

OTHERS = (
    """
    insert into community.rules
    select
        'rule-' || i, 'author-' || i % 100, 'T', '', jsonb_build_array('sql', 'tag-' || i % 200), 'opus', 'published',
        now(), now(), 'e'
    from generate_series(1, 1000) as i
    """,
    """
    insert into community.rule_metrics_daily
    select current_date - age, 'rule-' || i, 'author-' || i % 100, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0
    from generate_series(1, 40) as age, generate_series(1, 1000) as i
    """,
    """
    insert into community.leaderboard_snapshots (
        day, period, kind, scope, scope_value, rank, subject_id, score, points, views
    )
    select current_date - age, period, 'RULE', 'TAG', 'tag-' || tag, rank, 'rule-' || rank, 1, 1, 1
    from
        generate_series(1, 20) as age, unnest('{DAILY,WEEKLY,MONTHLY,ALL_TIME}'::text[]) as period,
        generate_series(0, 199) as tag, generate_series(1, 3) as rank
    """,
    """
    insert into operations.deliveries (source, idempotency_key, event_type, payload, scheme, signed_by)
    select 'vendor', i, 'comps.upsert', jsonb_build_object('data', repeat('x', 1000)), 'sha256', 'us'
    from generate_series(1, 5000) as i
    """,
    "analyze community.rules, community.rule_metrics_daily, community.leaderboard_snapshots, operations.deliveries",
)
OWN = (
    """
    insert into community.rule_events (event_id, day, rule_id, event_type, occurred_at, user_id, title, tags, model)
    select 'own', current_date, 'own', 'rule.published', now(), 'ada', 'T', jsonb_agg('own-' || i), 'own'
    from generate_series(1, %s) as i
    """,
    "select community.remake_rules('{own}')",
    """
    insert into community.leaderboard_snapshots (
        day, period, kind, scope, scope_value, rank, subject_id, score, points, views
    )
    select current_date, period, 'RULE', 'TAG', tag, 1, 'own', 1, 1, 1
    from
        unnest('{DAILY,WEEKLY,MONTHLY,ALL_TIME}'::text[]) as period,
        community.rules, jsonb_array_elements_text(tags) as tag
    where rule_id = 'own'
    """,
)


PAGES_OF_OTHERS = """
select least(
    pg_relation_size('community.rule_metrics_daily'), pg_relation_size('community.leaderboard_snapshots_pkey'),
    pg_relation_size('operations.deliveries')
) / 8192
"""


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def all_of(database: psycopg.Connection[Any], statements: Sequence[str], *parameters: Any) -> None:
    for statement in statements:
        database.execute(statement.encode(), parameters if "%s" in statement else None)


def pages_read(database: psycopg.Connection[Any], call: str) -> int:
    """How many pages of 8 KiB a call reads; it is taken back."""
    explain = f"explain (analyze, buffers, format json) select {call}".encode()
    for _ in range(2):  # the first reads the catalogue too
        with database.transaction(force_rollback=True):
            (([found],),) = database.execute(explain).fetchall()
    return int(found["Plan"]["Shared Hit Blocks"]) + int(found["Plan"]["Shared Read Blocks"])


@pytest.mark.parametrize(
    "call",
    [
        "community.forget_person('ada', 'erase')",
        "community.forget_deliveries('ada')",
        "count(*) from community.held_about('ada', 'deliveries')",
    ],
)
def test_boards_figures_and_deliveries_of_others_are_not_read(database: psycopg.Connection[Any], call: str) -> None:
    """Everybody waits for an erasure: how long it takes must not grow with what is not the person's."""
    all_of(database, OWN, 3)
    all_of(database, OTHERS)
    ((others,),) = database.execute(PAGES_OF_OTHERS).fetchall()
    assert pages_read(database, call) < others


def rules_read(database: psycopg.Connection[Any]) -> int:
    """Rows of community.rules that were read one after the other in this transaction."""
    ((rows,),) = database.execute(
        "select seq_tup_read from pg_stat_xact_user_tables where relid = 'community.rules'::regclass"
    ).fetchall()
    return int(rows)


def test_rules_are_not_read_again_for_each_board(database: psycopg.Connection[Any]) -> None:
    all_of(database, OTHERS)
    all_of(database, OWN, 20)
    with database.transaction():
        database.execute("set local enable_material = off")  # what is read again counts again
        before = rules_read(database)
        database.execute("select community.forget_person('ada', 'erase')")
        read = rules_read(database) - before
    assert read <= 3 * 1000
    own = "select from community.leaderboard_snapshots where scope_value like 'own-%'"
    assert [] == database.execute(own.encode()).fetchall()
