"""From hot rows to rows of the history: device, user, and which views count."""

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domains.events.enrich import (
    CountedViews,
    Device,
    User,
    device,
    enriched,
    pairs,
    uncounted_reasons,
)
from ingestion_pipeline.domains.events.receive import address_hashes
from ingestion_pipeline.domains.events.tables import EVENT_HISTORY
from ingestion_pipeline.storage.event_reader import COLUMNS
from ingestion_pipeline.storage.lake import conformed
from ingestion_pipeline_tests.hot_log import ADDRESS, KEYS, NOON

SECOND = timedelta(seconds=1)
MIDNIGHT = NOON + timedelta(hours=12)
TEXT = [name for name in COLUMNS if name not in ("schema_version", "clock_skew_seconds", "occurred_at", "received_at")]
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in [*TEXT, "user_agent"]),
        pa.field("schema_version", pa.int64()),
        pa.field("clock_skew_seconds", pa.float64()),
        pa.field("occurred_at", pa.timestamp("us", tz="UTC")),
        pa.field("received_at", pa.timestamp("us", tz="UTC")),
    ]
)


def hot_rows(*over: dict[str, Any]) -> pa.Table:
    """Rows as storage/event_reader.py gives them: views of r1 by u1 from one address at NOON."""
    default = {
        "event_type": "VIEW",
        "event_category": "interaction",
        "schema_version": 1,
        "user_id": "u1",
        "rule_id": "r1",
        "event_data": "{}",
        "metadata": "{}",
        "occurred_at": NOON,
        "received_at": NOON,
        "caller": "tests",
        "address_hash": "a1",
    }
    return pa.Table.from_pylist(
        [{**default, "event_id": f"e{number:04}", **row} for number, row in enumerate(over)], schema=SCHEMA
    )


def only_row(row: dict[str, Any], users: dict[str, User] | None = None) -> dict[str, Any]:
    table = conformed(EVENT_HISTORY, enriched(hot_rows(row), users or {}, CountedViews(), batch_number=7))
    (found,) = table.to_pylist()
    return dict(found)


def counted(*views: tuple[float, str, str], known: CountedViews | None = None) -> list[bool]:
    """Which of the views count: seconds after NOON, address, rule; in one batch."""
    table = hot_rows(
        *({"occurred_at": NOON + at * SECOND, "address_hash": who, "rule_id": what} for at, who, what in views)
    )
    return [reason is None for reason in uncounted_reasons(table, known or CountedViews())]


# devices

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15"
FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
IPAD = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36"
GALAXY_TAB = (
    "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
EDGE = CHROME + " Edg/131.0.0.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
CHROMEBOOK = (
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (CHROME, Device("desktop", "Chrome", "Windows")),
        (SAFARI, Device("desktop", "Safari", "Mac OS X")),
        (FIREFOX, Device("desktop", "Firefox", "Ubuntu")),
        (IPHONE, Device("mobile", "Mobile Safari", "iOS")),
        (IPAD, Device("tablet", "Mobile Safari", "iOS")),
        (PIXEL, Device("mobile", "Chrome Mobile", "Android")),
        (GALAXY_TAB, Device("tablet", "Chrome", "Android")),
        (EDGE, Device("desktop", "Edge", "Windows")),
        (GOOGLEBOT, Device("bot", "Googlebot", None)),
        (CHROMEBOOK, Device("desktop", "Chrome", "Chrome OS")),
        ("curl/8.5.0", Device("other", "curl", None)),
        ("nonsense", Device("other", None, None)),
        ("", Device(None, None, None)),
        (None, Device(None, None, None)),
    ],
)
def test_a_user_agent_names_a_device(agent: str | None, expected: Device) -> None:
    assert expected == device(agent)


def test_only_the_beginning_of_a_user_agent_is_read() -> None:
    """220 kB made to be slow to search are read no further than anybody's."""
    hostile = "Mozilla/5.0 (" + "Linux; Android " * 14_600 + ")"
    assert len(hostile) > 219_000
    assert device(hostile) == device(hostile[:512])
    assert device("x" * 512 + "Googlebot").device_type == "other"


def test_rows_get_the_devices_of_their_own_agents() -> None:
    agents = [CHROME, None, IPHONE, CHROME, ""]
    table = enriched(hot_rows(*({"user_agent": agent} for agent in agents)), {}, CountedViews(), batch_number=1)
    assert ["desktop", None, "mobile", "desktop", None] == table["device_type"].to_pylist()
    assert ["Windows", None, "iOS", "Windows", None] == table["operating_system"].to_pylist()


# users and times


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (User("admin", NOON - timedelta(days=30)), ("admin", 30)),
        (User("member", NOON - timedelta(days=30) + SECOND), ("member", 29)),
        (User("member", NOON), ("member", 0)),
        (User("member", NOON + SECOND), ("member", -1)),  # it happened before the user was created
        (User(None, None), (None, None)),
        (None, (None, None)),
    ],
)
def test_a_user_has_a_role_and_a_tenure_when_it_happened(
    user: User | None, expected: tuple[str | None, int | None]
) -> None:
    row = only_row({}, {"u1": user, "u2": User("other", NOON)} if user else {"u2": User("other", NOON)})
    assert expected == (row["user_role"], row["user_tenure_days"])


def test_an_anonymous_event_has_no_user() -> None:
    row = only_row({"user_id": None}, {"u1": User("admin", NOON)})
    assert (None, None, None) == (row["user_id"], row["user_role"], row["user_tenure_days"])


@pytest.mark.parametrize(("seconds", "lateness"), [(90.25, 90.25), (0, 0.0), (-30, -30.0)])
def test_lateness_is_recorded(seconds: float, lateness: float) -> None:
    """How long after it happened it was received; negative by a clock ahead of ours."""
    row = only_row({"received_at": NOON + seconds * SECOND})
    assert (lateness, NOON.date(), 7) == (row["lateness_seconds"], row["day"], row["batch_number"])


@pytest.mark.parametrize(
    "at", [MIDNIGHT - timedelta(microseconds=1), MIDNIGHT, datetime(1999, 12, 31, 23, 59, 59, tzinfo=NOON.tzinfo)]
)
def test_the_day_is_the_utc_day_on_which_it_happened(at: datetime) -> None:
    assert at.date() == only_row({"occurred_at": at})["day"]


def test_no_rows_make_no_rows() -> None:
    assert 0 == conformed(EVENT_HISTORY, enriched(hot_rows(), {}, CountedViews(), batch_number=1)).num_rows


# views


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        ([(0, "a", "r"), (599, "a", "r")], [True, False]),
        ([(0, "a", "r"), (599.999999, "a", "r")], [True, False]),
        # exactly ten minutes later is not within ten minutes any more
        ([(0, "a", "r"), (600, "a", "r")], [True, True]),
        ([(0, "a", "r"), (0, "a", "r")], [True, False]),
        # what did not count keeps nothing from counting
        ([(0, "a", "r"), (400, "a", "r"), (700, "a", "r")], [True, False, True]),
        ([(0, "a", "r"), (1, "b", "r"), (2, "a", "s")], [True, True, True]),
        # judged as they happened, not as they came
        ([(700, "a", "r"), (400, "a", "r"), (0, "a", "r")], [True, False, True]),
    ],
)
def test_a_view_within_ten_minutes_of_a_counted_one_does_not_count(
    views: list[tuple[float, str, str]], expected: list[bool]
) -> None:
    """From the same address on the same rule."""
    assert expected == counted(*views)


@pytest.mark.parametrize(
    ("seconds", "does_count"), [(-600, True), (-599, False), (0, False), (599, False), (600, True)]
)
def test_a_late_view_is_judged_by_those_counted_before(seconds: int, *, does_count: bool) -> None:
    """Whether they happened before it or after it."""
    known = CountedViews()
    noon = int(NOON.timestamp() * 1_000_000)
    known.add_known(
        pairs(hot_rows(*[{"address_hash": "a", "rule_id": "r"}] * 3), "address_hash").to_pylist(),
        [noon + 5_000_000_000, noon, noon],
    )
    assert [does_count] == counted((seconds, "a", "r"), known=known)


@pytest.mark.parametrize(
    "over",
    [{"event_type": "COPY"}, {"address_hash": None}, {"rule_id": None}, {"event_type": "SAVE", "address_hash": None}],
)
def test_only_views_of_a_rule_from_an_address_can_be_repeats(over: dict[str, Any]) -> None:
    assert [None, None] == uncounted_reasons(hot_rows(over, over), CountedViews())


def test_a_view_that_does_not_count_says_why() -> None:
    table = enriched(hot_rows({}, {"occurred_at": NOON + SECOND}), {}, CountedViews(), batch_number=1)
    assert [(True, None), (False, "repeat_view")] == list(
        zip(table["is_counted"].to_pylist(), table["uncounted_reason"].to_pylist(), strict=True)
    )


def at_midnight(seconds: float) -> dict[str, Any]:
    """A view so long after midnight, as the intake hashes its address."""
    at = MIDNIGHT + seconds * SECOND
    now, before = address_hashes(ADDRESS, at, at, KEYS)
    return {"occurred_at": at, "received_at": at, "address_hash": now, "previous_address_hash": before}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(-1, 1, False), (-300, 299, False), (-300, 300, True), (-599, 0, False), (-600, 0, True)],
)
@pytest.mark.parametrize("order", ["as they happened", "late", "in two batches", "late, in two batches"])
def test_midnight_does_not_make_a_view_count_twice(first: int, second: int, order: str, *, expected: bool) -> None:
    """The key of the address changes, the ten minutes go on; whichever of the two comes first."""
    views = [at_midnight(first), at_midnight(second)]
    views = views[::-1] if order.startswith("late") else views
    known = CountedViews()
    if "two batches" in order:
        reasons = [reason for view in views for reason in uncounted_reasons(hot_rows(view), known)]
    else:
        reasons = uncounted_reasons(hot_rows(*views), known)
    assert (2 if expected else 1) == reasons.count(None)


VIEWS = st.lists(
    st.tuples(st.integers(0, 3600), st.sampled_from("ab"), st.sampled_from("rs")), max_size=40, unique=True
)


@given(VIEWS, st.randoms())
def test_the_order_in_one_batch_does_not_matter(views: list[tuple[int, str, str]], random: Any) -> None:
    """And of any two counted ones of the same address and rule none are within ten minutes."""
    count = dict(zip(views, counted(*views), strict=True))
    shuffled = random.sample(views, len(views))
    assert count == dict(zip(shuffled, counted(*shuffled), strict=True))
    places: dict[tuple[str, str], list[int]] = {}
    for at, who, what in sorted(view for view, does in count.items() if does):
        assert all(at - earlier >= 600 for earlier in places.setdefault((who, what), []))
        places[who, what].append(at)
    for at, who, what in (view for view, does in count.items() if not does):
        assert any(abs(at - near) < 600 for near in places[who, what])
