"""Rejects: bad rows are kept with their reason."""

from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline.storage.rejects import Reject, write_rejects


def test_the_same_bad_row_is_counted_not_repeated(postgres: Postgres) -> None:
    """A bad row seen by two runs is one reject seen twice."""
    reject = Reject("mock:market/price_bars", "close is not a number", {"symbol": "BTC-USD", "close": float("nan")})
    write_rejects(postgres, [reject])
    write_rejects(postgres, [reject])
    rows = postgres.read("recent_rejects", {"limit": 10})
    assert [(2, "close is not a number", {"symbol": "BTC-USD", "close": "nan"})] == [
        (row["seen_count"], row["reason"], row["payload"]) for row in rows
    ]


def test_text_that_postgresql_cannot_hold_is_kept_readable(postgres: Postgres) -> None:
    """NUL and lone surrogates do not lose the reject."""
    write_rejects(postgres, [Reject("file:x", "symbol is odd", {"symbol": "A\x00B\ud800"})])
    assert ["A\\u0000B\\ud800"] == [row["payload"]["symbol"] for row in postgres.read("recent_rejects", {"limit": 10})]


def test_a_reject_with_an_identity_shows_what_came_last(postgres: Postgres) -> None:
    """Its reason is that of the payload beside it."""
    for url in ("ftp://one", "file:///two"):
        write_rejects(postgres, [Reject("crawl", f"url {url}", {"url": url}, b"item 1")])
    with postgres.transaction() as connection:
        (row,) = connection.execute("select reason, payload, seen_count from operations.rejects").fetchall()
    assert ("url file:///two", {"url": "file:///two"}, 2) == row
