"""A database as it looks after a busy day, with text of strangers in it that must never become HTML."""

import math
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

HOSTILE = '<script>alert(1)</script><img src="https://evil.example/x.png" onerror=alert(2)>'
LONG_WORD = "W" * 400
SERVICES: dict[str, tuple[str, list[str]]] = {
    "overall": ("YELLOW", ["fundamentals is YELLOW: stale in san-antonio", "macro is RED: FRED is away"]),
    "comps": ("GREEN", []),
    "fundamentals": ("YELLOW", ["stale in san-antonio", HOSTILE]),
    "macro": ("RED", ["property/macro_observations: not materialized for 27 h, expected at most 26 h", LONG_WORD]),
    "market": ("GREEN", []),
}
ASSETS = [
    ("market/markets", "market", "PASS", "UNKNOWN", None),
    ("market/snapshots", "market", "PASS", "PASS", None),
    ("market/ohlc_daily", "market", "WARN", "PASS", f"not materialized for 4 h {HOSTILE}"),
    ("property/macro_observations", "property", "FAIL", "FAIL", "not materialized for 27 h"),
    ("property/comps", "property", "PASS", "PASS", None),
    ("events/event_history", "events", "PASS", "PASS", None),
    ("sales/sales_daily", "sales", "UNKNOWN", "UNKNOWN", None),
]
MARKETS = [
    ("BTC-USD", "Bitcoin", 97_000.0, 0.02),
    ("SHIB-USD", "Shiba Inu", 0.0000123, -0.031),
    ("SPX", "S&P 500", 6_000.0, 0.0),
]
TITLES = ["Review a pull request", HOSTILE, "Zürich: naïve <b>bold</b> & more", LONG_WORD, "Explain this SQL"]


def fill(database: psycopg.Connection[Any]) -> None:
    """As the superuser: every section of the status page gets something to show."""
    for service, (status, reasons) in SERVICES.items():
        database.execute(
            "insert into operations.health_states (service, status, since, reasons, details, checked_at) "
            "values (%s, %s, now() - interval '3 hours', %s, '{}', now() + interval '1 hour')",
            [service, status, reasons],
        )
    for key, group, state, data_state, reason in ASSETS:
        database.execute(
            "insert into operations.freshness_states (asset_key, asset_group, state, state_changed_at, "
            "last_materialized_at, data_as_of, data_state, reason, checked_at) values "
            "(%(key)s, %(group)s, %(state)s, now(), case when %(state)s <> 'UNKNOWN' then now() - interval '9 min' end, "
            "case when %(data)s <> 'UNKNOWN' then now() - interval '50 hours' end, %(data)s, %(reason)s, now())",
            {"key": key, "group": group, "state": state, "data": data_state, "reason": reason},
        )
    for number in range(3):
        database.execute(
            "insert into operations.jobs (job_type, owner_id, input_data, unique_key, run_at) "
            "values ('market_ingest', 'cli', '{}', %s, now() - interval '7 minutes')",
            [f"status-{number}"],
        )
    _fill_minutes(database)
    _fill_markets(database)
    _fill_boards(database)


def _fill_minutes(database: psycopg.Connection[Any]) -> None:
    for age in range(59):
        for name, scale in (("http_requests_total", 40), ("events_received_total", 9_000)):
            if 20 <= age < 26:  # an outage
                continue
            database.execute(
                "insert into operations.metric_minutes (minute, name, labels, value) "
                "values (date_trunc('minute', now()) - make_interval(mins => %s), %s, %s, %s)",
                [age, name, Jsonb({}), round(scale * (2 + math.sin(age / 7)))],
            )


def _fill_markets(database: psycopg.Connection[Any]) -> None:
    for symbol, name, price, drift in MARKETS:
        database.execute(
            "insert into market.markets values (%s, %s, %s, 'USD', 'crypto', '24/7', 365, '2024-12-30', 'mock')",
            [symbol, name, symbol[:3]],
        )
        ages = range(60) if symbol == "BTC-USD" else range(1)
        for age in ages:
            database.execute(
                "insert into market.snapshots (symbol, as_of, price, roi_1d_ratio, roi_7d_ratio, roi_30d_ratio, "
                "volatility_ratio, provider) values (%s, now() - make_interval(hours => %s), %s, %s, %s, %s, 0.45, 'mock')",
                [symbol, age * 12 + 1, price * (1 + 0.05 * math.sin(age / 5)), drift, drift * 3, -drift * 2],
            )
    database.execute(
        "insert into market.markets values ('NEW-USD', 'Not traded yet', 'NEW', 'USD', 'crypto', '24/7', 365, "
        "'2024-12-30', 'mock')"
    )


def _fill_boards(database: psycopg.Connection[Any]) -> None:
    for place, title in enumerate(TITLES, start=1):
        database.execute(
            "insert into community.rules values (%s, 'ada', %s, '', '[]', null, 'published', now(), now(), 'e')",
            [f"rule-{place}", title],
        )
    for kind, period, places in (("RULE", "DAILY", 6), ("AUTHOR", "DAILY", 2), ("RULE", "ALL_TIME", 6)):
        for place in range(1, places + 1):
            database.execute(
                "insert into community.leaderboard_snapshots values "
                "('2026-03-31', %s, %s, 'GLOBAL', '', %s, %s, %s, %s, %s, %s, %s)",
                [
                    period,
                    kind,
                    place,
                    f"rule-{place}" if kind == "RULE" else f"author {place} {HOSTILE}",
                    1000.5 - place,
                    1000 - place,
                    300 - place,
                    *((None, None) if place == 3 else (place + 2 - place % 2 * 2, 2 - place % 2 * 2)),
                ],
            )
