"""From a provider to good rows: what is rejected is kept, what fails is named, what is not answered is not lost."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from ingestion_pipeline.core.errors import ContractError, ProviderUnavailableError, UnknownSymbolError
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.market import ingest
from ingestion_pipeline.domains.market.tables import PRICE_BARS
from ingestion_pipeline.providers.base import Market, Quote
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.factories import make_bar, make_bars, make_market, make_quote, make_series

MONDAY = date(2026, 3, 2)
DAY = Window.of_days(MONDAY, MONDAY)


@dataclass
class GivenProvider:
    """Answers with what a test gives it; an exception is raised."""

    bars: dict[str, pd.DataFrame | Exception] = field(default_factory=dict)
    quotes: dict[str, Quote | Exception] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    name: str = "given"

    def fetch_markets(self, symbols: Sequence[str]) -> list[Market]:
        return [make_market(symbol=symbol) for symbol in symbols]

    def fetch_bars(self, symbol: str, window: Window) -> pd.DataFrame:  # noqa: ARG002 - a test gives bars, not windows
        answer = self.bars[symbol]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def fetch_quotes(self, symbols: Sequence[str]) -> list[Quote]:
        self.asked.append(tuple(symbols))
        found = []
        for symbol in symbols:
            answer = self.quotes[symbol]
            if isinstance(answer, Exception):
                raise answer
            found.append(answer)
        return found


def rejects(postgres: Postgres) -> dict[str, str]:
    """Reason by source of every kept reject."""
    return {row["reason"]: row["source"] for row in postgres.read("recent_rejects", {"limit": 100})}


@pytest.mark.parametrize(("market_count", "expected"), [(1, 1388), (500, 2), (5_000, 1), (0, 1388)])
def test_a_fetch_is_small_enough_for_memory(market_count: int, expected: int) -> None:
    """Days in one fetch shrink as markets grow, never below one."""
    window = Window.of_days(date(2020, 1, 1), date(2025, 12, 31))
    parts = ingest.fetch_windows(window, market_count=market_count)
    assert {expected} == {len(part.days()) for part in parts[1:]}
    assert len(parts[0].days()) <= expected


def test_fetches_cover_the_window_once_newest_first() -> None:
    """What people look at is there first."""
    window = Window.of_days(date(2026, 1, 1), date(2026, 3, 31))
    parts = ingest.fetch_windows(window, market_count=100)
    assert parts == sorted(parts, reverse=True)
    assert window.days() == sorted(day for part in parts for day in part.days())
    assert len(parts) > 1


def test_bad_bars_are_kept_with_their_reason_and_good_ones_go_on(postgres: Postgres) -> None:
    """Of the same market and of others."""
    bad = make_bars(make_bar(symbol="ETH-USD"), make_bar(symbol="ETH-USD", close=-1.0))
    provider = GivenProvider({"BTC-USD": make_series(3), "ETH-USD": bad})
    good, report = ingest.ingested_bars(provider, postgres, ["BTC-USD", "ETH-USD"], DAY)
    assert {"BTC-USD": 3, "ETH-USD": 1} == good["symbol"].value_counts().to_dict()
    assert (1, {}) == (report.rejected_rows, report.failed_markets)
    assert {"given:market/price_bars"} == set(rejects(postgres).values())
    assert set(PRICE_BARS.column_names) == set(good.columns)


def test_a_market_that_fails_for_good_is_named_and_the_others_go_on(postgres: Postgres) -> None:
    """One misspelt symbol does not stop the rest."""
    provider = GivenProvider({"BTC-USD": make_series(3), "BTCUSD": UnknownSymbolError("given", "BTCUSD", ("BTC-USD",))})
    good, report = ingest.ingested_bars(provider, postgres, ["BTCUSD", "BTC-USD"], DAY)
    assert 3 == len(good)
    assert {"BTCUSD": "provider given has no market 'BTCUSD'; did you mean BTC-USD?"} == report.failed_markets


def test_when_every_market_fails_so_does_the_step(postgres: Postgres) -> None:
    """An empty success would delete or hide."""
    provider = GivenProvider(
        {"A": ContractError("given", "close", "x", "a number"), "B": UnknownSymbolError("given", "B")}
    )
    with pytest.raises(ContractError, match="close is x"):
        ingest.ingested_bars(provider, postgres, ["A", "B"], DAY)


def test_a_transient_error_is_left_to_the_step_s_retries(postgres: Postgres) -> None:
    """A source that is down for one market is likely down for all."""
    provider = GivenProvider({"A": make_series(1), "B": ProviderUnavailableError("given", "HTTP 503")})
    with pytest.raises(ProviderUnavailableError):
        ingest.ingested_bars(provider, postgres, ["A", "B"], DAY)


def test_bars_without_an_answer_are_kept(lake: Lake) -> None:
    """An empty day of one market, or a market no longer configured, deletes nothing."""
    two_days = Window.of_days(MONDAY, MONDAY + timedelta(days=1))
    old = pd.concat(
        [
            make_series(3).assign(provider="old", day=MONDAY),
            make_series(4, symbol="ETH-USD").assign(provider="old", day=MONDAY),
            make_series(5, bar_start_at=two_days.start + timedelta(days=1)).assign(
                provider="old", day=MONDAY + timedelta(days=1)
            ),
        ]
    )
    lake.replace(PRICE_BARS, old, two_days)
    new = make_series(2).assign(provider="new", day=MONDAY)
    rows, kept = ingest.with_kept_bars(lake, new, two_days)
    counts = rows.groupby(["symbol", "day", "provider"]).size().to_dict()
    assert 9 == kept
    assert {
        ("BTC-USD", MONDAY, "new"): 2,
        ("ETH-USD", MONDAY, "old"): 4,
        ("BTC-USD", MONDAY + timedelta(days=1), "old"): 5,
    } == counts
    lake.replace(PRICE_BARS, rows, two_days)
    assert {MONDAY: 6, MONDAY + timedelta(days=1): 5} == lake.row_counts(PRICE_BARS, two_days)


def test_a_first_ingestion_keeps_nothing(lake: Lake) -> None:
    """There is no table yet."""
    new = make_series(2).assign(provider="new", day=MONDAY)
    rows, kept = ingest.with_kept_bars(lake, new, DAY)
    assert (2, 0) == (len(rows), kept)


def test_quotes_are_asked_for_together(postgres: Postgres) -> None:
    """One request for all markets, where the source can."""
    provider = GivenProvider(quotes={"BTC-USD": make_quote(), "SPX": make_quote(symbol="SPX")})
    quotes, report = ingest.ingested_quotes(provider, postgres, ["BTC-USD", "SPX"])
    assert (["BTC-USD", "SPX"], 0) == ([quote.symbol for quote in quotes], report.rejected_rows)
    assert [("BTC-USD", "SPX")] == provider.asked


def test_one_unknown_symbol_costs_one_quote(postgres: Postgres) -> None:
    """Asked for one by one, the others answer; the bad quote of another is rejected."""
    future = datetime.now(UTC) + timedelta(days=2)
    provider = GivenProvider(
        quotes={
            "BTC-USD": make_quote(),
            "WRONG": UnknownSymbolError("given", "WRONG"),
            "SPX": make_quote(symbol="SPX", price=float("nan")),
            "NDX": make_quote(symbol="NDX", as_of=future),
        }
    )
    quotes, report = ingest.ingested_quotes(provider, postgres, list(provider.quotes))
    assert ["BTC-USD"] == [quote.symbol for quote in quotes]
    assert (2, ["WRONG"]) == (report.rejected_rows, list(report.failed_markets))
    assert 2 == len(rejects(postgres))
    assert {"given:market/snapshots"} == set(rejects(postgres).values())


def test_reports_add_up() -> None:
    """Over the fetches of a long range."""
    total = ingest.Report(2, {"A": "first"})
    total.add(ingest.Report(3, {"B": "second"}))
    assert ingest.Report(5, {"A": "first", "B": "second"}) == total


def test_markets_that_are_not_there_yet_are_asked_for(postgres: Postgres) -> None:
    """Whoever starts with an asset downstream is told which one comes first."""
    with pytest.raises(ContractError, match="materialize market/markets first"):
        ingest.known_markets(postgres)
