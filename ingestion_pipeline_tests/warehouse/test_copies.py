"""What every warehouse promises of its copy, each shown on both: the emulator of BigQuery, the stand-in of Redshift."""

import json
import threading
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ingestion_pipeline.core.errors import StoreUnavailableError
from ingestion_pipeline.domains.events import copies
from ingestion_pipeline.domains.events.copies import Backlog, Copied, backlog, copied_batches
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.lake import Lake
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.warehouse.history import NOON, History, make_event
from ingestion_pipeline_tests.warehouse.places import Place

GONE = StoreUnavailableError("warehouse", "it went away")


def events(first: int, last: int) -> list[dict[str, Any]]:
    return [make_event(number) for number in range(first, last + 1)]


def copy(history: History, place: Place, **options: Any) -> list[Copied]:
    return list(copied_batches(history.postgres, history.lake, place.warehouse(), **options))


def stop_before_commit(history: History, place: Place) -> None:
    """Copies until everything is written; then the warehouse goes away."""

    def commit(*_: object) -> None:
        raise GONE

    warehouse: Any = place.warehouse()
    warehouse.commit = commit
    with pytest.raises(StoreUnavailableError):
        list(copied_batches(history.postgres, history.lake, warehouse))


def plain(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as plain values: what a warehouse calls null, JSON and UTC is its own affair."""
    kinds = {column.name: column.type for column in EVENT_HISTORY.columns}
    return [{name: _plain(kinds[name], row[name]) for name in kinds} for row in frame.to_dict("records")]


def _plain(kind: str, value: Any) -> object:
    if not isinstance(value, dict | str) and pd.isna(value):
        return None
    if kind == "json":
        return json.loads(value) if isinstance(value, str) else value
    if kind == "timestamp":
        return pd.Timestamp(value).tz_localize(None).isoformat() if value.tzinfo is None else _utc(value)
    if kind == "date":
        return pd.Timestamp(value).date()
    return int(value) if kind == "integer" else value


def _utc(value: Any) -> str:
    return pd.Timestamp(value).tz_convert("UTC").tz_localize(None).isoformat()


def test_every_event_of_the_lake_is_copied_with_all_its_values(history: History, place: Place) -> None:
    """Nulls, empty text, other scripts, quotes in JSON, microseconds, large and negative numbers."""
    history.add(1, events(0, 249))
    history.add(2, [make_event(250, event_data='{"nested": {"list": [1, null, "é"]}}', user_tenure_days=2**53 + 1)])
    assert copy(history, place) == [Copied(1, 2, 251, was_resumed=False)]
    assert plain(place.rows()) == plain(history.rows())


def test_only_batches_that_the_warehouse_lacks_are_copied(history: History, place: Place) -> None:
    history.add(1, events(0, 9))
    copy(history, place)
    assert copy(history, place) == []
    history.add(2, events(10, 19))
    assert copy(history, place) == [Copied(2, 2, 10, was_resumed=False)]
    assert list(place.rows()["event_id"]) == list(history.rows()["event_id"])


def test_a_batch_that_the_sync_has_not_committed_is_not_copied(history: History, place: Place) -> None:
    history.add(1, events(0, 9))
    history.postgres.execute(
        "update events.warehouse_sync_status set status = 'written', committed_at = null where batch_number = 1"
    )
    assert copy(history, place) == []


def test_small_batches_travel_together_and_large_ones_alone(history: History, place: Place) -> None:
    """A copy holds at most so many events; a single batch that is larger is a copy by itself."""
    for batch, (first, last) in enumerate([(0, 2), (3, 5), (6, 15), (16, 16)], start=1):
        history.add(batch, events(first, last))
    done = copy(history, place, events_per_copy=6)
    assert [(it.first_batch, it.last_batch, it.event_count) for it in done] == [(1, 2, 6), (3, 3, 10), (4, 4, 1)]
    targets = history.ledger(place.name)["target"]
    assert [True, False, False] == [targets[0] == targets[1], targets[1] == targets[2], targets[2] == targets[3]]
    assert list(place.rows()["event_id"]) == list(history.rows()["event_id"])


def test_a_batch_without_events_is_committed_without_asking_the_warehouse(history: History, place: Place) -> None:
    history.add(1, [])
    assert copy(history, place) == [Copied(1, 1, 0, was_resumed=False)]
    assert [("committed", "")] == list(history.ledger(place.name)[["status", "target"]].itertuples(index=False))


def test_late_events_are_found_in_their_old_partitions(history: History, place: Place) -> None:
    """A batch that spans years is read from its days, not from all between."""
    late = NOON - timedelta(days=700)
    history.add(1, [*events(0, 4), make_event(5, occurred_at=late), make_event(6, occurred_at=late)])
    assert copy(history, place) == [Copied(1, 1, 7, was_resumed=False)]
    assert sorted({plain(place.rows())[index]["day"] for index in (5, 6)}) == [late.date()]


def test_the_ledger_tells_events_bytes_time_lag_and_attempts(history: History, place: Place) -> None:
    history.add(1, events(0, 29))
    history.add(2, events(30, 39))
    copy(history, place)
    ledger = history.ledger(place.name)
    assert [1, 2] == list(ledger["batch_number"])
    assert [30, 10] == list(ledger["events_synced"])
    assert [1, 1] == list(ledger["attempt_count"])
    assert {"committed"} == set(ledger["status"])
    assert ledger["bytes_synced"][0] // 3 == pytest.approx(ledger["bytes_synced"][1], abs=1)
    assert (ledger["bytes_synced"] > 0).all()
    assert (ledger["sync_duration_ms"] > 0).all()
    assert (ledger["lag_seconds"] > 1.5).all()  # the lake's own lag is part of it
    assert (ledger["committed_at"].notna() & ledger["error_message"].isna()).all()
    lake = history.ledger("delta")  # type: ignore[arg-type]
    for column in ("days", "first_event_at", "last_event_at"):
        assert list(lake[column]) == list(ledger[column])


def test_the_backlog_is_what_the_warehouse_lacks(history: History, place: Place) -> None:
    assert backlog(history.postgres, place.name) == Backlog(0, 0, None)
    history.add(1, events(0, 9))
    history.add(2, events(10, 14))
    found = backlog(history.postgres, place.name)
    assert (2, 15) == (found.batches, found.events)
    assert found.lag_seconds is not None
    assert found.lag_seconds >= 1.5
    copy(history, place)
    assert backlog(history.postgres, place.name) == Backlog(0, 0, None)


def test_a_failed_copy_is_in_the_ledger_and_the_next_call_goes_on(history: History, place: Place) -> None:
    """The target stays, the attempts are counted, what is committed is what would have been."""
    history.add(1, events(0, 9))
    stop_before_commit(history, place)
    (before,) = history.ledger(place.name).to_dict("records")
    assert ("written", str(GONE), 1) == (before["status"], before["error_message"], before["attempt_count"])
    assert copy(history, place) == [Copied(1, 1, 10, was_resumed=True)]
    (after,) = history.ledger(place.name).to_dict("records")
    assert ("committed", None, 2) == (after["status"], after["error_message"], after["attempt_count"])
    assert before["target"] == after["target"]
    assert len(place.rows()) == 10


def test_a_file_of_the_lake_that_was_replaced_meanwhile_is_transient(
    history: History, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erasure and upkeep remove files whose rows are in others by then; the next attempt reads those."""
    history.add(1, events(0, 9))
    read = Lake.read

    def read_and_lose(lake: Lake, *arguments: Any) -> Any:
        rows = read(lake, *arguments)
        for file in Path(lake.uri(EVENT_HISTORY)).glob("day=*/*.parquet"):
            file.rename(file.with_suffix(".away"))
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "read", read_and_lose)
        with pytest.raises(StoreUnavailableError, match="lake at"):
            copy(history, place)
    for file in Path(history.lake.uri(EVENT_HISTORY)).glob("day=*/*.away"):
        file.rename(file.with_suffix(".parquet"))
    assert copy(history, place) == [Copied(1, 1, 10, was_resumed=False)]


def test_steps_may_be_repeated(history: History, place: Place) -> None:
    """Written and committed twice, the rows are there once."""
    history.add(1, events(0, 9))
    batches = copies._batches(history.postgres, copies._NEXT, place.warehouse())
    one = copies._read(history.lake, batches)
    first, second = place.warehouse(), place.warehouse()
    target = first.plan(one)
    assert not first.is_committed(target, one)
    assert first.write(target, one) == second.write(target, one)
    assert not first.is_committed(target, one)
    first.commit(target, one)
    assert second.is_committed(target, one)
    assert list(place.rows()["event_id"]) == list(history.rows()["event_id"])


def test_who_was_erased_while_a_copy_was_under_way_is_not_copied(history: History, place: Place) -> None:
    """The lake has other rows for the batch now, so what was sent is left behind and sent anew."""
    history.add(1, events(0, 20))
    stop_before_commit(history, place)
    (before,) = history.ledger(place.name)["target"]
    history.erase("user-1")
    copies.erase_user(history.postgres, place.warehouse(), "user-1")
    (copied,) = copy(history, place)
    assert 0 < copied.event_count == len(history.rows()) < 21
    assert before != history.ledger(place.name)["target"][0]
    assert copied.event_count == history.ledger(place.name)["events_synced"][0]
    assert "user-1" not in set(place.rows()["user_id"])
    assert list(place.rows()["event_id"]) == list(history.rows()["event_id"])


def test_who_was_erased_after_a_commit_that_nobody_recorded_does_not_come_back(history: History, place: Place) -> None:
    """The rows of the batch are visible, so it is done, although the lake has other rows for it by now."""
    history.add(1, events(0, 20))
    warehouse: Any = place.warehouse()
    commit = warehouse.commit

    def commit_and_go_away(*arguments: Any) -> None:
        commit(*arguments)
        raise GONE

    warehouse.commit = commit_and_go_away
    with pytest.raises(StoreUnavailableError):
        list(copied_batches(history.postgres, history.lake, warehouse))
    history.erase("user-1")
    copies.erase_user(history.postgres, place.warehouse(), "user-1")
    (copied,) = copy(history, place)
    assert 0 < copied.event_count == len(history.rows()) < 21
    assert list(place.rows()["event_id"]) == list(history.rows()["event_id"])


def test_a_batch_whose_every_row_was_erased_meanwhile_is_done(history: History, place: Place) -> None:
    history.add(1, [make_event(1)])
    stop_before_commit(history, place)
    history.erase("user-1")
    assert copy(history, place) == [Copied(1, 1, 0, was_resumed=True)]
    assert place.rows().empty


def test_erasing_a_person_takes_all_their_rows_and_no_others(history: History, place: Place) -> None:
    history.add(1, events(0, 99))
    copy(history, place)
    theirs = sum(event["user_id"] == "user-3" for event in events(0, 99))
    assert theirs == copies.erase_user(history.postgres, place.warehouse(), "user-3") > 0
    assert copies.erase_user(history.postgres, place.warehouse(), "user-3") == 0
    assert copies.erase_user(history.postgres, place.warehouse(), "' or 1 = 1 --") == 0
    assert 100 - theirs == len(place.rows())
    assert "user-3" not in set(place.rows()["user_id"])


def test_erasing_and_expiry_work_before_anything_was_copied(history: History, place: Place) -> None:
    assert copies.erase_user(history.postgres, place.warehouse(), "nobody") == 0
    assert copies.delete_older(history.postgres, place.warehouse(), ["VIEW"], date(2026, 1, 1)) == 0


def test_expiry_takes_whole_days_of_the_named_types(history: History, place: Place) -> None:
    """Days before the given one; that day itself stays."""
    history.add(1, events(0, 299))
    copy(history, place)
    border = (NOON + timedelta(days=2)).date()
    old = [it for it in events(0, 299) if it["day"] < border and it["event_type"] in {"VIEW", "user.login"}]
    types = ["VIEW", "user.login"]
    assert len(old) == copies.delete_older(history.postgres, place.warehouse(), types, border) > 0
    assert copies.delete_older(history.postgres, place.warehouse(), [], border) == 0
    left = place.rows()
    assert 300 - len(old) == len(left)
    assert {"project.created"} == set(
        left[left["day"].map(lambda day: pd.Timestamp(day).date()) < border]["event_type"]
    )


def test_two_copiers_at_once_copy_everything_once(history: History, place: Place, worker_url: str) -> None:
    for batch in range(1, 7):
        history.add(batch, events(10 * batch, 10 * batch + 9))
    done: list[Copied] = []

    def run() -> None:
        postgres = Postgres(worker_url)
        done.extend(copied_batches(postgres, history.lake, place.warehouse(), events_per_copy=10))
        postgres.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [1, 2, 3, 4, 5, 6] == sorted(it.first_batch for it in done)
    assert list(place.rows()["event_id"]) == list(history.rows()["event_id"])
