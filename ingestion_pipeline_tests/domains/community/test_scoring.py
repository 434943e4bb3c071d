"""Points, decay, and the worked example of docs/scoring.md: its tables are read and computed."""

import re
from datetime import UTC, date, datetime, time, timedelta

import ibis
import pyarrow as pa
import pytest

from ingestion_pipeline.domains.community.abuse import REASONS, limits_of
from ingestion_pipeline.domains.community.rollup_tables import RULE_EVENTS
from ingestion_pipeline.domains.community.rollups import rule_events, rule_metrics
from ingestion_pipeline.domains.community.scoring import WEIGHTS, decay, points, trending
from ingestion_pipeline.settings import PROJECT_ROOT, Settings
from ingestion_pipeline_tests.domains.community.rolled import DAY, event, history

DOCUMENT = (PROJECT_ROOT / "docs" / "scoring.md").read_text()
LINE = re.compile(r"^\|(.+)\|$", re.MULTILINE)


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = DOCUMENT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip(" `") for cell in line.split("|")] for line in LINE.findall(section)][2:]


def test_the_weights_of_the_document_are_those_of_the_code() -> None:
    found = {kind: int(weight) for kind, weight in rows_of("What an event is worth")}
    assert found == {
        **{kind: weight for kind, weight in WEIGHTS.items() if kind != "VOTE"},
        "VOTE up": 2,
        "VOTE down": -2,
    }


def test_the_reasons_of_the_document_are_those_of_the_code_in_their_order() -> None:
    assert list(REASONS) == [reason for reason, *_ in rows_of("What does not count")]


def test_the_worked_example_is_what_the_code_computes(settings: Settings) -> None:
    """Every line of the example, then its sums."""
    lines = rows_of("A worked example")
    events = []
    for number, (at, kind, user, address, *_) in enumerate(lines):
        name, _, value = kind.partition(" ")
        moment = datetime.combine(DAY, time.fromisoformat(at), UTC)
        vote = {"up": 1, "down": -1, "": None}[value]
        person = None if user == "-" else user
        events.append(
            event(name, occurred_at=moment, user_id=person, address_hash=address, value=vote, event_id=f"{number}")
        )
    engine = ibis.duckdb.connect()
    engine.raw_sql("set TimeZone = 'UTC'")
    rules = ibis.memtable(pa.table({"rule_id": ["r1"], "author_id": ["ada"]}))
    seen = ibis.memtable(history(*events).select(list(RULE_EVENTS.column_names)))
    counts = rule_events(engine, seen, rules, limits_of(settings))
    (row,) = engine.to_pyarrow(rule_metrics(counts, rules)).to_pylist()
    counted = [line for line in lines if line[4] == "-"]
    assert row["excluded_events"] == len(lines) - len(counted)
    assert pytest.approx(sum(float(line[6]) for line in counted), abs=0.0051) == row["trending_score"]
    for at, _, _, _, _, worth, score in counted:
        hours = 24 - int(at[:2]) - int(at[3:]) / 60
        assert pytest.approx(float(score), abs=0.00051) == int(worth) * decay(hours, 48)
    told = re.search(r"points \*\*(\d+)\*\*, trending score \*\*([\d.]+)\*\*", DOCUMENT)
    assert told is not None
    assert (float(told[1]), float(told[2])) == (row["points"], round(row["trending_score"], 3))


def test_points_take_votes_down_off() -> None:
    assert 1 + 2 * 3 + 3 * 4 + 4 * 5 + 2 * (5 - 6) == points(
        views=1, copies=2, saves=3, forks=4, votes_up=5, votes_down=6
    )


def test_days_compose_to_what_their_events_are_worth_later() -> None:
    """A day's score decays as a whole: no event of an earlier day has to be read again."""
    end, half_life = datetime(2026, 3, 5, tzinfo=UTC), 36.0
    moments = [end - timedelta(hours=hours) for hours in (1, 23, 25, 47.5, 71)]
    scores: dict[date, float] = {}
    for moment in moments:
        midnight = datetime.combine(moment.date() + timedelta(days=1), datetime.min.time(), UTC)
        left = decay((midnight - moment).total_seconds() / 3600, half_life)
        scores[moment.date()] = scores.get(moment.date(), 0) + left
    wanted = sum(decay((end - moment).total_seconds() / 3600, half_life) for moment in moments)
    assert pytest.approx(wanted, rel=1e-12) == trending(scores, date(2026, 3, 4), half_life)
    assert pytest.approx(wanted / 2, rel=1e-12) == trending(scores, date(2026, 3, 4), half_life) * decay(36, half_life)
    assert 0 == trending(scores, date(2026, 3, 1), half_life)
