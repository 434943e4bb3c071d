"""A file of a publisher in the tables: once, as the markets one names, in parts; and with the command itself."""

import calendar
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestion_pipeline.commands.imports import app
from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.core.errors import ConfigurationError, ContractError
from ingestion_pipeline.domains.property.contracts import FUNDAMENTALS_UPSERT
from ingestion_pipeline.domains.property.files import PublishedFile
from ingestion_pipeline.domains.property.imports import Imported, chosen_markets, import_file
from ingestion_pipeline.domains.property.ingest import apply_fundamentals
from ingestion_pipeline.domains.property.realtor import realtor_file
from ingestion_pipeline.domains.property.redfin import redfin_file
from ingestion_pipeline.domains.property.zillow import zillow_file
from ingestion_pipeline.storage.cache import MemoryCache
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.domains.property.deliveries import deliver, fundamentals, query
from ingestion_pipeline_tests.domains.property.published import REALTOR_METRO, REDFIN_METRO, ZILLOW_METRO, changed

PARTS = ((1, 4), (2, 4), (3, 4), (4, 3))
COUNTS = "select count(*), count(distinct market_slug) from property.fundamentals"


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def imported(postgres: Postgres, cache: MemoryCache) -> Callable[..., Imported]:
    def run(file: PublishedFile, names: dict[str, str] | None = None, **over: Any) -> Imported:
        given: dict[str, Any] = {
            "source": "Zillow",
            "markets": chosen_markets(file, names or {}),
            "since": None,
            "max_age_days": 30,
        }
        return import_file(postgres, cache, file, **given | over)

    return run


def test_a_file_becomes_figures_with_their_origin(
    postgres: Postgres, imported: Callable[..., Imported], cache: MemoryCache
) -> None:
    """Which file, which of its regions; a record of each part, and the markets' cached values are gone."""
    for market in ("dallas-tx-metro", "austin-tx-metro"):
        cache.set(f"property:fundamentals:{market}:latest", 1, ttl_seconds=60)
    done = imported(zillow_file(ZILLOW_METRO), rows_per_part=4)
    assert (15, 5, 0) == (done.rows["new"], len(done.markets), done.rejected)
    assert [(15, 5)] == query(postgres, COUNTS)
    (row,) = query(
        postgres,
        "select value, unit, source, revision, revised_at, provenance ->> 'file', provenance ->> 'region_id', "
        "length(provenance ->> 'sha256') from property.fundamentals "
        "where market_slug = 'dallas-tx-metro' and as_of_date = '2026-07-31'",
    )
    newest = datetime(2026, 7, 31, tzinfo=UTC)
    assert (370_000.0, "usd", "Zillow", 1, newest, ZILLOW_METRO.name, "394514", 64) == row
    assert [(FUNDAMENTALS_UPSERT, "Zillow", "success", count, 0, str(part)) for part, count in PARTS] == query(
        postgres,
        "select event_type, source, status, processed_records, rejected_records, provenance ->> 'part' "
        "from operations.ingestion_events order by ingestion_event_id",
    )
    told = query(postgres, "select distinct unnest(cache_keys_invalidated) from operations.ingestion_events order by 1")
    markets = query(postgres, "select market_slug from property.fundamentals_staleness order by 1")
    assert [(f"property:fundamentals:{market}*",) for (market,) in markets] == told
    assert cache.get("property:fundamentals:dallas-tx-metro:latest") is None
    assert 1 == cache.get("property:fundamentals:austin-tx-metro:latest")
    assert [(5,)] == query(postgres, "select count(*) from property.fundamentals_staleness")


def test_an_import_that_breaks_off_has_told_what_it_did(
    postgres: Postgres, imported: Callable[..., Imported], cache: MemoryCache, tmp_path: Path
) -> None:
    """What is stored is in no cache any more, here or in other processes, and the record says which part it was."""
    cache.set("property:fundamentals:united-states:latest", 1, ttl_seconds=60)
    path = changed(ZILLOW_METRO, tmp_path)
    file = zillow_file(path)
    path.write_text(path.read_text().rstrip("\n") + '\n"cut" off')
    with pytest.raises(ContractError):
        imported(file, rows_per_part=4)
    assert [("success", 4, "1")] == query(
        postgres,
        "select status, processed_records, provenance ->> 'part' from operations.ingestion_events "
        "where 'property:fundamentals:united-states*' = any(cache_keys_invalidated)",
    )
    assert query(postgres, "select count(*) from property.fundamentals") == query(
        postgres, "select sum(processed_records)::bigint from operations.ingestion_events"
    )
    assert cache.get("property:fundamentals:united-states:latest") is None


def test_figures_of_the_running_month_are_taken(
    postgres: Postgres, imported: Callable[..., Imported], tmp_path: Path
) -> None:
    """A file names a month before it is over; the same month's next file replaces them."""
    now = utc_now()
    july, month = ("202607", "435000.0"), f"{now:%Y%m}"
    for value in ("435000.0", "436000.0"):
        file = realtor_file(changed(REALTOR_METRO, tmp_path, (july[0], month), (july[1], value)))
        done = imported(file, source="Realtor.com")
        assert 0 == done.rejected
    last = date(now.year, now.month, calendar.monthrange(now.year, now.month)[1])
    figure = "select value, as_of_date from property.fundamentals where metric = 'active_list_price_usd' "
    assert [(436_000.0, last)] == query(postgres, figure + "and market_slug = 'dallas-tx-metro'")


def test_of_two_files_of_one_newest_month_the_one_imported_last_counts(
    postgres: Postgres, imported: Callable[..., Imported], tmp_path: Path
) -> None:
    """Nothing in them says which is newer; both values are kept."""
    imported(zillow_file(changed(ZILLOW_METRO, tmp_path, ("122000.1234567", "123000"))))
    assert 1 == imported(zillow_file(ZILLOW_METRO)).rows["revised"]
    values = "select value from property.fundamentals_revisions where market_slug = 'united-states' "
    assert [(123000.0,), (122000.1234567,)] == query(
        postgres, values + "and as_of_date = '2000-01-31' order by revision"
    )


def test_importing_again_makes_no_revision(postgres: Postgres, imported: Callable[..., Imported]) -> None:
    """Not even where the first time was cut short."""
    imported(zillow_file(ZILLOW_METRO), {"dallas-tx-metro": "dallas-tx-metro"})
    assert {"new": 12, "same": 3} == dict(imported(zillow_file(ZILLOW_METRO)).rows)
    assert {"same": 15} == dict(imported(zillow_file(ZILLOW_METRO)).rows)
    assert [(15,)] == query(postgres, "select count(*) from property.fundamentals_revisions")


def test_a_revised_history_keeps_what_it_was(
    postgres: Postgres, imported: Callable[..., Imported], tmp_path: Path
) -> None:
    """August's file revises months long past; July's, imported after it, changes nothing."""
    august = changed(ZILLOW_METRO, tmp_path, (",2026-07-31", ",2026-08-31"), ("122000.1234567", "123000"))
    imported(zillow_file(ZILLOW_METRO))
    assert 1 == imported(zillow_file(august)).rows["revised"]
    history = (
        "select revision, value from property.fundamentals_revisions where market_slug = 'united-states' "
        "and as_of_date = '2000-01-31' order by 1"
    )
    assert [(1, 122000.1234567), (2, 123000.0)] == query(postgres, history)
    again = imported(zillow_file(ZILLOW_METRO)).rows
    assert (0, 1) == (again["revised"], again["late"])
    assert [(1, 122000.1234567), (2, 123000.0)] == query(postgres, history)
    assert [(123000.0, 2)] == query(
        postgres,
        "select value, revision from property.fundamentals "
        "where market_slug = 'united-states' and as_of_date = '2000-01-31'",
    )


def test_only_the_markets_and_months_that_are_wanted(postgres: Postgres, imported: Callable[..., Imported]) -> None:
    """Under the name that the senders of webhooks use."""
    imported(zillow_file(ZILLOW_METRO), {"dallas-tx-metro": "dallas"}, since=date(2026, 6, 30))
    assert [("dallas", date(2026, 6, 30)), ("dallas", date(2026, 7, 31))] == query(
        postgres, "select market_slug, as_of_date from property.fundamentals order by 2"
    )


@pytest.mark.parametrize(
    ("names", "says"), [({"dallas-tx": "dallas"}, "dallas-tx-metro"), ({"dallas-tx-metro": "Dallas TX"}, "hyphens")]
)
def test_a_market_that_the_file_has_not_is_a_wrong_argument(names: dict[str, str], says: str) -> None:
    """The nearest that it has are named."""
    with pytest.raises(ConfigurationError, match=says):
        chosen_markets(zillow_file(ZILLOW_METRO), names)


def test_what_cannot_be_true_is_kept_aside(
    postgres: Postgres, imported: Callable[..., Imported], tmp_path: Path
) -> None:
    """A bad cell, a value out of bounds, a month to come; the rest is stored."""
    path = changed(ZILLOW_METRO, tmp_path, ("370500.25", "n/a"), ("371000.5", "-1"), (",2026-07-31", ",2999-07-31"))
    done = imported(zillow_file(path), {"dallas-tx-metro": "dallas"})
    assert ({}, 3) == (dict(done.rows), done.rejected)
    reasons = [reason for (reason,) in query(postgres, "select reason from operations.rejects order by reason")]
    assert ["as_of is 2999-07-31", "is 'n/a'", "is -1.0"] == [
        text for text in ("as_of is 2999-07-31", "is 'n/a'", "is -1.0") if any(text in it for it in reasons)
    ]
    assert 3 == len(reasons)
    assert [("failed", 3)] == query(postgres, "select status, rejected_records from operations.ingestion_events")


def test_publishers_and_senders_meet_in_one_market(
    postgres: Postgres, imported: Callable[..., Imported], cache: MemoryCache
) -> None:
    """Whoever said something as of a later instant has the last word on it."""
    names = {"dallas-tx-metro": "dallas"}
    imported(zillow_file(ZILLOW_METRO), names)
    imported(redfin_file(REDFIN_METRO), names, source="Redfin")
    told = fundamentals(as_of="2026-07-31", metrics={"home_value_index_usd": 1.0, "median_sale_price_usd": 2.0})
    deliver(postgres, FUNDAMENTALS_UPSERT, told, received=datetime(2026, 8, 10, tzinfo=UTC))
    apply_fundamentals(postgres, cache, max_age_days=30, run_id="run-1")
    rows = query(
        postgres,
        "select metric, value, source from property.fundamentals where as_of_date = '2026-07-31' "
        "and metric in ('home_value_index_usd', 'median_sale_price_usd') order by 1",
    )
    assert [("home_value_index_usd", 1.0, "acme"), ("median_sale_price_usd", 415_000.0, "Redfin")] == rows


def command(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output, result.exception


def test_the_command_imports_a_file(postgres: Postgres, worker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it did; a dry run says which markets there are."""
    monkeypatch.setenv("DATABASE_URL", worker_url)
    code, output, _ = command("zillow", str(ZILLOW_METRO), "--dry-run")
    assert (0, "dallas-tx-metro") == (code, output.split()[0])
    assert [(0, 0)] == query(postgres, COUNTS)

    code, output, error = command("redfin", str(REDFIN_METRO), "--market", "dallas-tx-metro=dallas")
    assert (0, None) == (code, error), output
    assert "21 figure(s) of 1 market(s): 21 new" in output
    assert "1 row(s) left out: period of 90 days" in output
    assert [(21, 1)] == query(postgres, COUNTS)


@pytest.mark.parametrize("market", ["=dallas", "dallas-tx-metro=", "nowhere"])
def test_the_command_names_what_is_wrong(market: str) -> None:
    """The command's caller (cli.py) prints it and exits."""
    _, _, error = command("zillow", str(ZILLOW_METRO), "--market", market)
    assert isinstance(error, ConfigurationError)
    assert "--market" == error.variable
