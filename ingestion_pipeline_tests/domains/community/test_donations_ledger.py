"""Events in a real database: the donations that they make, the days that they change, who may see them."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.core.windows import Window
from ingestion_pipeline.domains.community.dirty_days import dirty_days, settle_dirty_days
from ingestion_pipeline.domains.community.donations_checks import differing
from ingestion_pipeline.domains.community.donations_ledger import (
    Report,
    apply_donations,
)
from ingestion_pipeline.domains.community.donations_tables import DONATIONS
from ingestion_pipeline.domains.community.stripe import DELIVERY_TYPES
from ingestion_pipeline.domains.operations.delivery_replay import Selection, replay
from ingestion_pipeline.storage.postgres import Postgres
from ingestion_pipeline_tests.children import until
from ingestion_pipeline_tests.domains.community.stripe_events import (
    METADATA,
    PAID_AT,
    charge_refunded,
    deliver,
    dispute,
    dropped,
    event,
    intent,
    made_of,
    refund,
    rows_of,
    session,
)

DAY = date(2026, 3, 5)
MIDNIGHT = 12 * 3600  # seconds from PAID_AT to the end of its day
DONATION = (
    "select payment_intent, rule_id, author_id, donor_id, is_anonymous, currency, received, refunded, disputed, net, "
    "status, dispute_status, donor_name, message, paid_at, is_live from community.donations order by payment_intent"
)
AUDIT = "select actor, action, request_id, details from operations.audit_log order by audit_id"


def applied(postgres: Postgres, *events: Any) -> Report:
    deliver(postgres, *events)
    return apply_donations(postgres, run_id="run-1")


def donations(postgres: Postgres) -> list[tuple[Any, ...]]:
    return rows_of(postgres, DONATION)


def days(postgres: Postgres) -> list[date]:
    found = dirty_days(postgres, DONATIONS)
    settle_dirty_days(postgres, found)
    return [it.day for it in found]


def rule(postgres: Postgres, rule_id: str, author_id: str | None) -> None:
    postgres.execute(
        "insert into community.rules (rule_id, author_id, title, body, tags, status, published_at, updated_at, event_id) "
        "values (:rule_id, :author_id, 't', 'b', '[]', 'published', now(), now(), 'e')",
        {"rule_id": rule_id, "author_id": author_id},
    )


def test_a_paid_checkout_is_one_donation(postgres: Postgres) -> None:
    """One row of the ledger for the session and the payment intent; the day on which it was paid is marked."""
    report = applied(postgres, session(), intent())
    paid_at = datetime.fromtimestamp(PAID_AT, tz=UTC)
    money = (Decimal("25.00"), Decimal("0.00"), Decimal("0.00"), Decimal("25.00"))
    assert [
        ("pi_1", "rule_1", "ada", "bob", False, "USD", *money, "paid", None, "Bob Donor", "Thank you", paid_at, True)
    ] == donations(postgres)
    assert ["25.00"] == [str(net) for (net,) in rows_of(postgres, "select net from community.donations")]
    assert ({"applied": 2}, 1, 2) == (dict(report.events), report.changed, report.deliveries.processed)
    assert [(DAY, "donations", 1)] == rows_of(postgres, "select day, reason, changes from community.dirty_days")


def test_the_ledger_is_what_the_pure_function_makes(postgres: Postgres) -> None:
    """Of many payments at once, one event a delivery or many."""
    stories = [
        [intent(pi="pi_a"), charge_refunded(1000, pi="pi_a"), charge_refunded(2500, pi="pi_a", at=150)],
        [session(pi="pi_b"), dispute("created", "needs_response", pi="pi_b"), dispute("closed", "won", pi="pi_b", at=300)],
        [intent(pi="pi_c", currency="jpy", amount_received=500), refund(120, pi="pi_c", currency="jpy")],
        [intent("payment_failed", pi="pi_d")],
    ]  # fmt: skip
    applied(postgres, *(it for story in stories for it in story))
    made = [made_of(*story) for story in stories]
    columns = ("payment_intent", "received", "refunded", "disputed", "net", "status", "dispute_status", "paid_at")
    assert [tuple(getattr(it, name) for name in columns) for it in made] == rows_of(
        postgres, f"select {', '.join(columns)} from community.donations order by payment_intent"
    )


STORIES: dict[str, Sequence[Any]] = {
    "refunds": [session(), intent(), charge_refunded(500), charge_refunded(1000, at=200), refund(500)],
    "dispute": [intent(), charge_refunded(1000), dispute("created", "needs_response"), dispute("closed", "lost", at=900)],
    "anonymous": [
        intent(), session(metadata={"anonymous": "1"}, client_reference_id="bob"), session("async_payment_succeeded", at=9),
        charge_refunded(500),
    ],
    "two rules": [
        session(metadata={"ruleId": "rule_1"}), intent(metadata={"ruleId": "rule_2"}), charge_refunded(500, metadata={}),
        charge_refunded(900, metadata={"ruleId": "rule_1"}, at=150),
    ],
    "an author withdrawn": [
        session(metadata={"ruleId": "rule_1", "authorId": "zed"}), charge_refunded(500, metadata={}),
        session("async_payment_succeeded", metadata={"ruleId": "rule_1"}, at=9), intent(metadata={}),
    ],
    "a refund that fails": [
        intent(), intent(at=86_400), refund(1000, "failed", at=300), charge_refunded(500, at=400),
        refund(1000, "updated", status="failed", at=500),
    ],
}  # fmt: skip


def of_payment(sent: dict[str, Any], pi: str, suffix: str) -> dict[str, Any]:
    """The same event of another payment."""
    state = {**sent["data"]["object"]}
    state |= {"id": pi} if state["object"] == "payment_intent" else {"payment_intent": pi}
    return {**sent, "id": f"{sent['id']}_{suffix}", "data": {"object": state}}


@pytest.mark.parametrize("events_per_pass", [1, 2, 99])
@pytest.mark.parametrize("story", STORIES)
def test_every_order_of_a_payment_s_events_ends_in_the_same_row(
    postgres: Postgres, story: str, events_per_pass: int
) -> None:
    """Every permutation, of a payment of its own, one event twice; so many events of each payment in a pass.

    Also their author, where rules have one.
    """
    rule(postgres, "rule_1", "grace")
    rule(postgres, "rule_2", "edith")
    orders = [
        [
            of_payment(sent, f"pi_{number}", f"{number}_{place}")
            for place, sent in enumerate([*order, order[number % 3]])
        ]
        for number, order in enumerate(itertools.permutations(STORIES[story]))
    ]
    for first in range(0, len(orders[0]), events_per_pass):
        applied(postgres, *(sent for order in orders for sent in order[first : first + events_per_pass]))
    rows = donations(postgres)
    assert len(orders) == len(rows)
    assert 1 == len({row[1:] for row in rows})
    states = rows_of(
        postgres,
        "select distinct object_type, event_created, event_rank, event_type, is_anonymous, settled_at, "
        "state - 'id' - 'payment_intent' from community.donation_facts",
    )
    assert len({state["data"]["object"]["object"] for state in STORIES[story]}) == len(states)


def test_a_replayed_event_changes_nothing(postgres: Postgres) -> None:
    """Under its own id, and under another as Stripe may send it."""
    sent = [session(), intent(), charge_refunded(1000)]
    applied(postgres, *sent)
    settle_dirty_days(postgres, dirty_days(postgres, DONATIONS))
    before = rows_of(postgres, "select *, ctid::text from community.donations")
    report = applied(postgres, *sent, *({**it, "id": f"{it['id']}_again"} for it in sent))
    assert (3, 0, []) == (report.deliveries.processed, report.changed, days(postgres))
    assert before == rows_of(postgres, "select *, ctid::text from community.donations")


def test_a_refund_marks_the_day_of_the_payment(postgres: Postgres) -> None:
    """Not its own; one that is not paid marks none; a payment that moves to another day marks both."""
    applied(postgres, intent("processing"), charge_refunded(1000, at=MIDNIGHT * 9))
    assert [] == days(postgres)
    applied(postgres, session(at=MIDNIGHT + 5))
    assert [date(2026, 3, 6)] == days(postgres)
    applied(postgres, intent(at=MIDNIGHT - 1))
    assert [DAY, date(2026, 3, 6)] == days(postgres)
    applied(postgres, charge_refunded(2000, at=MIDNIGHT * 99), dispute("created", "needs_response", at=MIDNIGHT * 99))
    assert [DAY] == days(postgres)


@pytest.mark.parametrize(
    "at", [datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC), datetime(2026, 10, 25, 23, 59, 59, tzinfo=UTC)]
)
def test_a_day_is_a_utc_day_when_clocks_change(postgres: Postgres, at: datetime) -> None:
    """Whatever the session's time zone."""
    applied(postgres, intent(at=int(at.timestamp()) - PAID_AT))
    with postgres.transaction() as connection:
        connection.execute("set local time zone 'Pacific/Auckland'")
        assert [(at.date(),)] == connection.execute("select paid_on from community.donations").fetchall()
    assert [at.date()] == days(postgres)


def test_a_day_that_changes_while_it_is_reported_stays_marked(postgres: Postgres) -> None:
    applied(postgres, intent())
    seen = dirty_days(postgres, DONATIONS)
    applied(postgres, charge_refunded(1000))
    settle_dirty_days(postgres, seen)
    assert [DAY] == days(postgres)
    assert [] == days(postgres)


def test_unknown_types_are_processed_and_ignored(postgres: Postgres) -> None:
    """And counted, with what belongs to no payment."""
    report = applied(postgres, event("customer.created", {"id": "cus_1"}), session(pi=None), intent())
    assert ({"ignored": 2, "applied": 1}, 3, 0) == (
        dict(report.events), report.deliveries.processed, report.deliveries.dead
    )  # fmt: skip
    assert [("pi_1",)] == [row[:1] for row in donations(postgres)]
    counted = {"deliveries": 3, "events_applied": 1, "events_ignored": 2, "donations_changed": 1}
    assert counted.items() <= report.metadata.items()


def test_anonymity_of_one_object_forgets_the_donor_of_all(postgres: Postgres) -> None:
    """Also what came before; and it holds, whatever a later state says."""
    applied(postgres, intent(), session(client_reference_id="bob"))
    assert "bob" in str(rows_of(postgres, "select state from community.donation_facts")).lower()
    applied(postgres, session("async_payment_succeeded", at=50, metadata={**METADATA, "anonymous": "true"}))
    stored = rows_of(postgres, "select * from community.donation_facts") + rows_of(
        postgres, "select * from community.donations"
    )
    assert "bob" not in str(stored).lower()
    again = {**METADATA, "donorName": "Bob Donor"}
    applied(
        postgres, intent(at=99), session("async_payment_succeeded", at=99), charge_refunded(100, metadata=again),
        refund(100, metadata=again),
    )  # fmt: skip
    assert [(True, None, None)] == rows_of(
        postgres, "select is_anonymous, donor_id, donor_name from community.donations"
    )
    assert "bob" not in str(rows_of(postgres, "select * from community.donation_facts")).lower()


def test_an_author_is_found_later_and_kept(postgres: Postgres) -> None:
    """By the rule, when the metadata names none; the day is marked then."""
    applied(postgres, intent(metadata={"ruleId": "rule_1"}))
    authors = "select author_id from community.donations"
    assert ([(None,)], [DAY]) == (rows_of(postgres, authors), days(postgres))
    rule(postgres, "rule_1", "grace")
    assert 1 == apply_donations(postgres, run_id="run-2").attributed
    assert ([("grace",)], [DAY]) == (rows_of(postgres, authors), days(postgres))
    postgres.execute("update community.rules set author_id = 'other'")
    applied(postgres, charge_refunded(1000, metadata={}))
    assert [("grace",)] == rows_of(postgres, authors)
    assert 0 == apply_donations(postgres, run_id="run-3").attributed


def test_a_rule_that_is_known_gives_its_author_at_once(postgres: Postgres) -> None:
    """Unless the metadata names another one."""
    rule(postgres, "rule_1", "grace")
    rule(postgres, "rule_2", None)
    applied(
        postgres,
        intent(pi="pi_1", metadata={"ruleId": "rule_1"}),
        intent(pi="pi_2"),
        intent(pi="pi_3", metadata={"ruleId": "rule_2"}),
    )
    assert [("grace",), ("ada",), (None,)] == rows_of(
        postgres, "select author_id from community.donations order by payment_intent"
    )


def test_an_author_of_a_rule_goes_with_the_rule(postgres: Postgres) -> None:
    """A payment that turns out to be for another rule, or of which nobody says an author any more, is not kept by it."""
    rule(postgres, "rule_1", "grace")
    rule(postgres, "rule_2", "edith")
    applied(postgres, session(metadata={"ruleId": "rule_1"}))
    applied(postgres, intent(metadata={"ruleId": "rule_2"}))
    authors = "select author_id, author_is_rules from community.donations"
    assert [("edith", True)] == rows_of(postgres, authors)
    applied(postgres, intent(metadata={"ruleId": "rule_2", "authorId": "ada"}, at=5))
    assert [("ada", False)] == rows_of(postgres, authors)
    applied(postgres, intent(metadata={"ruleId": "rule_3"}, at=6))
    assert [(None, False)] == rows_of(postgres, authors)


def digest_of(person: str) -> str:
    return digest(person.encode())


def test_money_that_moves_to_another_author_is_audited(postgres: Postgres) -> None:
    """Whose it was and whose it is, as digests: they can be erased and the row cannot."""
    applied(postgres, intent())
    applied(postgres, intent(at=86_400, metadata={**METADATA, "authorId": "mallory", "ruleId": "rule_2"}))
    audit = "select subject_digest, details from operations.audit_log order by audit_id"
    (first, second) = rows_of(postgres, audit)
    assert (digest_of("ada"), "rule_1") == (first[0], first[1]["rule_id"])
    expected = {"rule_id": "rule_2", "was_rule_id": "rule_1", "was_author_digest": digest_of("ada")}
    assert (digest_of("mallory"), expected) == (second[0], {name: second[1].get(name) for name in expected})
    assert not any(name in str([first, second]) for name in ("ada'", "mallory", "bob"))


def test_money_that_finds_its_author_is_audited(postgres: Postgres) -> None:
    applied(postgres, intent(metadata={"ruleId": "rule_1"}), intent(pi="pi_2"))
    rule(postgres, "rule_1", "grace")
    assert 1 == apply_donations(postgres, run_id="run-2").attributed
    rows = rows_of(
        postgres,
        "select actor, subject_digest, details from operations.audit_log where action = 'donation attributed'",
    )
    details = {"payment_intent": "pi_1", "rule_id": "rule_1", "run_id": "run-2"}
    assert [("pipeline", digest_of("grace"), details)] == rows


FORGET = (
    "insert into community.forgotten_payments (payment_intent, forgets_donor, forgets_author) "
    "values ('pi_1', :donor, :author)"
)
GIVEN = {**METADATA, "donorName": "Bob Donor"}


def told_of_people(postgres: Postgres) -> str:
    """All that donations and their facts say."""
    tables = ("donations", "donation_facts")
    return str([rows_of(postgres, f"select to_jsonb(kept) from community.{table} as kept") for table in tables])


def test_what_stripe_says_of_a_forgotten_donor_is_kept_without_them(postgres: Postgres) -> None:
    """Of every object, known or new; also what they wrote. The author and the money are what they were."""
    postgres.execute(FORGET, {"donor": True, "author": False})
    applied(
        postgres, session(metadata=GIVEN, client_reference_id="bob"), intent(metadata=GIVEN),
        charge_refunded(1000, metadata=GIVEN), refund(1000, metadata=GIVEN),
    )  # fmt: skip
    assert not any(word in told_of_people(postgres).lower() for word in ("bob", "thank you"))
    columns = "author_id, is_anonymous, donor_id, donor_name, message, net"
    expected = [("ada", True, None, None, None, Decimal(15))]
    assert expected == rows_of(postgres, f"select {columns} from community.donations")
    assert [] == differing(postgres, Window.of_days(DAY, DAY))


def test_what_stripe_says_of_a_forgotten_author_is_kept_without_them(postgres: Postgres) -> None:
    """Whoever is the author of the rule by now; the donor is who they were."""
    rule(postgres, "rule_1", "grace")
    postgres.execute(FORGET, {"donor": False, "author": True})
    applied(postgres, session(), intent(), charge_refunded(1000))
    assert 0 == apply_donations(postgres, run_id="run-2").attributed
    assert [("bob", None, "rule_1")] == rows_of(
        postgres, "select donor_id, author_id, rule_id from community.donations"
    )
    assert "'ada'" not in told_of_people(postgres)


def test_what_was_claimed_before_an_erasure_brings_nobody_back(postgres: Postgres, database_url: str) -> None:
    """The run has the deliveries in memory as they were; the erasure is committed while it waits for its lock."""
    deliver(postgres, session(metadata=GIVEN), intent(metadata=GIVEN))
    with psycopg.connect(database_url) as erasing, ThreadPoolExecutor(1) as pool:
        erasing.execute("select pg_advisory_xact_lock(hashtextextended('community.donations', 2))")
        run = pool.submit(apply_donations, postgres, run_id="run-1")
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        until(lambda: rows_of(postgres, waiting) == [(1,)])
        erasing.execute("insert into community.forgotten_payments values ('pi_1', true, true)")
        erasing.commit()
        assert 2 == run.result(60).deliveries.processed
    assert not any(word in told_of_people(postgres).lower() for word in ("bob", "thank you", "'ada'"))
    assert [(Decimal(25),)] == rows_of(postgres, "select net from community.donations")


def test_every_change_is_audited_with_the_request_that_brought_it(postgres: Postgres) -> None:
    """What was it, what is it; no name."""
    sent, back = session(), charge_refunded(2500)
    applied(postgres, sent)
    applied(postgres, back, {**back, "id": "evt_same"})
    (paid, refunded) = rows_of(postgres, AUDIT)
    assert ("stripe", "donation paid", f"request of {sent['id']}") == paid[:3]
    assert ("stripe", "donation refunded") == refunded[:2]
    details = {"payment_intent": "pi_1", "was": "paid", "received": "25.00", "refunded": "25.00", "run_id": "run-1"}
    assert details.items() <= refunded[3].items()
    assert "bob" not in str([paid, refunded]).lower()


@pytest.mark.parametrize("signed_by", ["WEBHOOK_SECRET 1", "acme 1", "stripe 1", "STRIPE_WEBHOOK_SECRETS"])
def test_nobody_else_speaks_for_stripe(postgres: Postgres, signed_by: str) -> None:
    """A webhook of another sender dies with the reason, and takes no other with it."""
    deliver(postgres, intent(pi="pi_forged"), signed_by=signed_by)
    report = applied(postgres, intent())
    assert (1, 1) == (report.deliveries.processed, report.deliveries.dead)
    assert ["pi_1"] == [row[0] for row in donations(postgres)]
    ((reason,),) = rows_of(postgres, "select reason from operations.deliveries where status = 'dead'")
    assert "signature by Stripe itself" in reason


@pytest.mark.parametrize("source", [{"source": "stripe"}, {}])
def test_an_event_from_the_drop_folder_is_applied(postgres: Postgres, source: dict[str, str]) -> None:
    """Whoever may write there is an operator: this is how events that Stripe has given up sending come in.

    It takes the place of nothing that Stripe sent, and is its duplicate; no more of it is kept than of Stripe's own.
    """
    sent = [session(), charge_refunded(1000), event("customer.created", {"id": "cus_1", "email": "bob@example.org"})]
    deliver(postgres, sent[0])
    dropped(postgres, intent(), *sent, note="x", **source)
    assert 4 == apply_donations(postgres, run_id="run-1").deliveries.processed
    assert [("pi_1", Decimal(15))] == [(row[0], row[9]) for row in donations(postgres)]
    payloads = str(rows_of(postgres, "select payload from operations.deliveries where origin = 'events.ndjson#1'"))
    assert "pi_1" in payloads
    assert not any(word in payloads for word in ("bob@example.org", "4242", "billing_details", "note"))


def test_a_wrong_event_from_the_drop_folder_dies_with_no_more_than_is_used(postgres: Postgres) -> None:
    dropped(postgres, intent(amount_received="12", metadata={**METADATA, "anonymous": "yes"}))
    assert 1 == apply_donations(postgres, run_id="run-1").deliveries.dead
    ((payload,),) = rows_of(postgres, "select payload::text from operations.deliveries")
    assert '"amount_received": "12"' in payload
    assert "bob" not in payload


def test_a_delivery_that_is_no_event_dies_alone(postgres: Postgres) -> None:
    report = applied(postgres, {"id": "evt_x", "data": {}}, intent(pi="pi_2", amount_received=-5), intent())
    assert (1, 2) == (report.deliveries.processed, report.deliveries.dead)


def test_a_dead_event_is_applied_by_a_replay(postgres: Postgres) -> None:
    """Once the reason is mended: it is kept in the shape of every delivery."""
    applied(postgres, intent())
    for table in ("donations", "donation_facts"):
        postgres.execute(f"delete from community.{table}")
    postgres.execute("update operations.deliveries set status = 'dead', reason = 'x', settled_at = now()")
    assert 1 == replay(postgres, list(DELIVERY_TYPES.values()), Selection(), by="operator").replayed
    assert 1 == apply_donations(postgres, run_id="run-2").changed
    assert ["pi_1"] == [row[0] for row in donations(postgres)]


def test_roles_see_what_is_theirs(postgres: Postgres, database_url: str) -> None:
    """The HTTP process nothing, readers figures and no people; nobody changes net."""
    applied(postgres, intent(), session())
    for role, statement in (
        ("pipeline_intake", "select count(*) from community.donations"),
        ("pipeline_intake", "insert into community.dirty_days values ('donations', now(), 'x')"),
        ("pipeline_intake", "select count(*) from community.forgotten_payments"),
        ("pipeline_reader", "select count(*) from community.forgotten_payments"),
        ("pipeline_worker", "delete from community.forgotten_payments"),
        ("pipeline_intake", "select community.store_donations('[]', 'x')"),
        ("pipeline_reader", "select donor_name from community.donations"),
        ("pipeline_reader", "select count(*) from community.donation_facts"),
        ("pipeline_reader", "update community.donations set received = 0"),
    ):
        with psycopg.connect(database_url) as connection:
            connection.execute(f"set role {role}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
    with psycopg.connect(database_url) as connection:
        connection.execute("set role pipeline_reader")
        assert [("ada", Decimal(25))] == connection.execute("select author_id, net from community.donations").fetchall()
    with pytest.raises(psycopg.errors.GeneratedAlways):
        rows_of(postgres, "update community.donations set net = 99 returning 1")


@pytest.mark.parametrize(
    "broken",
    [
        "refunded = 26",
        "refunded = 20, disputed = 10",
        "received = -1",
        "currency = 'usd'",
        "status = 'stolen'",
        "status = 'pending'",
        "paid_at = null",
        "is_anonymous = true",
    ],
)
def test_the_table_takes_no_row_that_cannot_be(postgres: Postgres, broken: str) -> None:
    applied(postgres, intent())
    with pytest.raises(psycopg.errors.CheckViolation):
        rows_of(postgres, f"update community.donations set {broken} returning 1")
