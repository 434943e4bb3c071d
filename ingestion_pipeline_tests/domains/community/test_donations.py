"""What a donation is, whatever order its events come in; and that its amounts are exact."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domains.community.donations import THREE_DECIMAL, ZERO_DECIMAL, major_units
from ingestion_pipeline.domains.community.stripe import APPLIED, fact_of, kept
from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline_tests.domains.community.stripe_events import (
    METADATA,
    PAID_AT,
    charge_refunded,
    dispute,
    event,
    intent,
    made_of,
    refund,
    session,
)

FULL, NOTHING = Decimal("25.00"), Decimal("0.00")


def sums(*events: Any) -> tuple[str, Decimal, Decimal, Decimal, Decimal]:
    made = made_of(*events)
    return made.status, made.received, made.refunded, made.disputed, made.net


def test_session_and_intent_of_a_payment_are_one_donation() -> None:
    """Who gave it to whom is in the metadata; it is paid when the first of the two says so."""
    made = made_of(session(at=3), intent(at=1))
    assert ("pi_1", "rule_1", "ada", "bob", False, "USD", "paid", None, "Bob Donor", "Thank you", True) == (
        made.payment_intent, made.rule_id, made.author_id, made.donor_id, made.is_anonymous, made.currency, made.status,
        made.dispute_status, made.donor_name, made.message, made.is_live,
    )  # fmt: skip
    assert (FULL, FULL, datetime.fromtimestamp(PAID_AT + 1, tz=UTC)) == (made.received, made.net, made.paid_at)
    assert (FULL, FULL) == (made_of(session()).net, made_of(intent()).net)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([session(payment_status="unpaid")], "pending"),
        ([intent("processing")], "pending"),
        ([intent("requires_action")], "pending"),
        ([charge_refunded(2500)], "pending"),
        ([dispute("created", "needs_response")], "pending"),
        ([intent("payment_failed")], "failed"),
        ([intent("canceled")], "failed"),
        ([session("expired", payment_status="unpaid")], "failed"),
        ([session(payment_status="unpaid"), session("async_payment_failed", payment_status="unpaid", at=9)], "failed"),
        ([intent("payment_failed"), intent("processing", at=1)], "pending"),
    ],
)
def test_nothing_is_credited_before_it_is_paid(events: Sequence[Any], status: str) -> None:
    """Whatever is refunded or disputed of it."""
    made = made_of(*events)
    assert (status, 0, 0, 0, 0, None) == (
        made.status, made.received, made.refunded, made.disputed, made.net, made.paid_at
    )  # fmt: skip


def test_a_bank_transfer_is_credited_once_it_arrives() -> None:
    unpaid, paid = session(payment_status="unpaid", at=0), session("async_payment_succeeded", at=86_400)
    made = made_of(unpaid, paid)
    assert ("paid", FULL, datetime.fromtimestamp(PAID_AT + 86_400, tz=UTC)) == (made.status, made.net, made.paid_at)


@pytest.mark.parametrize(
    ("paid", "later"),
    [
        (intent(), intent("processing", at=5)),
        (intent(), intent("payment_failed", at=5)),
        (session(), session("expired", at=5, payment_status="unpaid")),
    ],
)
def test_what_is_paid_stays_so(paid: Any, later: Any) -> None:
    """Whatever the object says of itself later, in whichever order both come."""
    for order in ([paid, later], [later, paid]):
        made = made_of(*order)
        assert ("paid", FULL, FULL) == (made.status, made.received, made.net)
        assert datetime.fromtimestamp(paid["created"], tz=UTC) == made.paid_at


def test_a_donation_is_paid_when_stripe_first_said_so() -> None:
    """Another event object of the same state, a day later, moves no money to another day; nor does a later attempt."""
    for later in (intent(at=86_400), session(at=86_400), session("async_payment_succeeded", at=86_400)):
        events = [intent("processing", at=-5), intent(), later]
        assert {datetime.fromtimestamp(PAID_AT, tz=UTC)} == {
            made_of(*order).paid_at for order in itertools.permutations(events)
        }


def test_where_metadata_disagree_the_payment_intent_is_right() -> None:
    """Then the session, then the charge; each for itself: what one does not say, another may."""
    said = {"ruleId": "rule_of_intent", "donorId": "carol"}
    events = [
        intent(metadata=said),
        session(metadata={**METADATA, "ruleId": "rule_of_session", "message": ""}),
        charge_refunded(500, metadata={"message": "of the charge", "authorId": "grace"}),
    ]
    (made,) = {made_of(*order) for order in itertools.permutations(events)}
    assert ("rule_of_intent", "ada", "carol", "of the charge") == (
        made.rule_id, made.author_id, made.donor_id, made.message
    )  # fmt: skip


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([charge_refunded(1000)], ("partially_refunded", "10.00", "0.00")),
        ([charge_refunded(1000), charge_refunded(2500, at=150)], ("refunded", "25.00", "0.00")),
        ([charge_refunded(1000), charge_refunded(2500)], ("refunded", "25.00", "0.00")),
        ([refund(1000)], ("partially_refunded", "10.00", "0.00")),
        ([refund(1000), refund(500, key="re_2")], ("partially_refunded", "15.00", "0.00")),
        ([refund(1000), charge_refunded(1000)], ("partially_refunded", "10.00", "0.00")),
        ([charge_refunded(1000), refund(1000, status="pending"), refund(1000, "failed", at=500)], ("paid", "0.00", "0.00")),
        (
            [charge_refunded(1000), refund(1000, "failed", at=500), charge_refunded(1000, at=600)],
            ("partially_refunded", "10.00", "0.00"),
        ),
        (
            [charge_refunded(1500), refund(500), refund(1000, "failed", key="re_2", at=500)],
            ("partially_refunded", "5.00", "0.00"),
        ),
        ([refund(1000), refund(1000, "updated", status="canceled", at=101)], ("paid", "0.00", "0.00")),
        (
            [
                charge_refunded(1000), refund(1000, "failed", at=300), charge_refunded(500, at=400),
                refund(1000, "updated", status="failed", at=500),
            ],
            ("partially_refunded", "5.00", "0.00"),
        ),
        (
            [
                charge_refunded(2000), refund(500, "failed", at=300), charge_refunded(1500, at=400),
                refund(500, "updated", status="failed", at=500),
            ],
            ("partially_refunded", "15.00", "0.00"),
        ),
        ([refund(9000)], ("refunded", "25.00", "0.00")),
        ([dispute("created", "needs_response")], ("disputed", "0.00", "25.00")),
        ([dispute("created", "needs_response", amount=700)], ("disputed", "0.00", "7.00")),
        ([dispute("created", "warning_needs_response")], ("paid", "0.00", "0.00")),
        ([dispute("closed", "warning_closed")], ("paid", "0.00", "0.00")),
        ([dispute("closed", "won")], ("paid", "0.00", "0.00")),
        ([dispute("closed", "lost")], ("lost", "0.00", "25.00")),
        ([dispute("closed", "a word of next year")], ("disputed", "0.00", "25.00")),
        ([dispute("closed", "lost", amount=2300, currency="eur")], ("lost", "0.00", "25.00")),
        ([dispute("closed", "lost", amount=500, currency="eur")], ("lost", "0.00", "25.00")),
        ([dispute("created", "needs_response"), dispute("closed", "won", at=900)], ("paid", "0.00", "0.00")),
        ([dispute("funds_withdrawn", "needs_response"), dispute("created", "under_review")], ("disputed", "0.00", "25.00")),
        ([dispute("closed", "lost"), dispute("funds_reinstated", "won", at=900)], ("paid", "0.00", "0.00")),
        ([charge_refunded(2500), dispute("closed", "lost")], ("lost", "25.00", "0.00")),
        ([charge_refunded(1000), dispute("closed", "lost")], ("lost", "10.00", "15.00")),
        ([charge_refunded(1000), dispute("closed", "won")], ("partially_refunded", "10.00", "0.00")),
        (
            [dispute("closed", "lost", amount=500), dispute("created", "needs_response", amount=300, id="dp_2")],
            ("lost", "0.00", "8.00"),
        ),
    ],
)  # fmt: skip
def test_refunds_and_disputes_of_a_payment(events: Sequence[Any], expected: tuple[str, str, str]) -> None:
    """Money that went back is not withheld again: net is never below 0."""
    status, received, refunded, disputed, net = sums(intent(), session(), *events)
    assert (expected, FULL) == ((status, str(refunded), str(disputed)), received)
    assert received - refunded - disputed == net
    assert net >= 0


def test_states_of_one_second_are_told_apart_by_the_life_of_the_object() -> None:
    """Their ids say nothing: the later one may have the smaller."""
    for later_first in (False, True):
        ids = ("evt_z", "evt_a") if later_first else ("evt_a", "evt_z")
        events = [
            {**refund(1000, status="pending"), "id": ids[0]},
            {**refund(1000, "updated"), "id": ids[1]},
            {**dispute("created", "needs_response"), "id": ids[0]},
            {**dispute("closed", "won"), "id": ids[1]},
            {**intent("processing"), "id": ids[0]},
            {**intent(), "id": ids[1]},
        ]
        assert ("partially_refunded", "10.00", "0.00") == (made := sums(*events))[:1] + tuple(map(str, made[2:4]))


@pytest.mark.parametrize(
    ("currency", "amount", "expected"),
    [
        ("usd", 1999, "19.99"),
        ("usd", 1, "0.01"),
        ("eur", 100, "1.00"),
        ("jpy", 500, "500"),
        ("krw", 12_345, "12345"),
        ("kwd", 5_120, "5.120"),
        ("isk", 500, "5.00"),
        ("ugx", 500, "5.00"),
        ("usd", 99_999_999, "999999.99"),
        ("idr", 999_999_999_999, "9999999999.99"),
    ],
)
def test_amounts_are_exact_in_units_of_the_currency(currency: str, amount: int, expected: str) -> None:
    made = made_of(intent(amount_received=amount, currency=currency))
    assert (expected, expected, currency.upper()) == (str(made.received), str(made.net), made.currency)


@given(st.integers(0, 10**15), st.sampled_from([*sorted(ZERO_DECIMAL), *sorted(THREE_DECIMAL), "USD", "ISK", "UGX"]))
def test_no_amount_loses_a_unit(amount: int, currency: str) -> None:
    """Exactly back to what Stripe wrote."""
    factor = 1 if currency in ZERO_DECIMAL else 1000 if currency in THREE_DECIMAL else 100
    assert amount == major_units(amount, currency) * factor


@pytest.mark.parametrize("value", ["true", "TRUE", " 1", "yes"])
@pytest.mark.parametrize("flagged", ["session", "intent"])
def test_an_anonymous_donor_is_named_nowhere(value: str, flagged: str) -> None:
    """Whichever of the two objects says so."""
    anonymous = {"ruleId": "rule_1", "anonymous": value}
    given = {"metadata": anonymous, "client_reference_id": "bob"} if flagged == "session" else {}
    made = made_of(session(**given), intent(metadata=anonymous if flagged == "intent" else {}))
    assert (True, None, None, "rule_1") == (made.is_anonymous, made.donor_id, made.donor_name, made.rule_id)


def test_blanks_around_what_a_checkout_wrote_mean_nothing() -> None:
    """They are kept nowhere: an id is compared as it is kept."""
    blank = {name: f" {value}\u00a0\n" for name, value in METADATA.items()}
    sent = [
        intent(metadata=blank),
        session(client_reference_id=" bob ", customer_details={"name": "Bob "}, metadata={}),
    ]
    assert made_of(intent(), session(client_reference_id="bob", customer_details={"name": "Bob"}, metadata={})) == (
        made_of(*sent)
    )
    assert "bob" == made_of(sent[1]).donor_id
    for it in sent:
        fact = fact_of(it)
        assert fact is not None
        for told in (msgspec.to_builtins(fact.state), kept(it)["data"]["object"]):
            of_people = [told.get("client_reference_id") or "", told.get("customer_details", {}).get("name", "")]
            assert all(text == text.strip() for text in [*told["metadata"].values(), *of_people])


@pytest.mark.parametrize("value", ["false", "0", "", "no"])
def test_a_donor_who_does_not_ask_for_it_is_named(value: str) -> None:
    made = made_of(session(metadata={"anonymous": value, "donorName": " B. Donor "}, client_reference_id="bob"))
    assert (False, "bob", "B. Donor", None, None) == (
        made.is_anonymous, made.donor_id, made.donor_name, made.rule_id, made.author_id
    )  # fmt: skip


def test_a_test_payment_is_marked_so() -> None:
    assert not made_of({**intent(), "livemode": False}).is_live


@pytest.mark.parametrize(
    "sent",
    [
        event("customer.created", {"id": "cus_1", "object": "customer", "amount": "x", "status": {}}),
        event("charge.succeeded", {"id": "ch_1"}),
        event("checkout.session.completed", {"id": "cs_1", "mode": "setup", "payment_intent": None}),
        event("charge.refunded", {"id": "ch_1", "payment_intent": None, "amount_refunded": 5}),
    ],
    ids=lambda sent: sent["type"],
)
def test_events_of_no_payment_are_no_facts(sent: dict[str, Any]) -> None:
    assert fact_of(sent) is None


def test_every_type_of_the_documentation_is_applied() -> None:
    """The page says what each event does."""
    page = (PROJECT_ROOT / "docs" / "donations.md").read_text()
    assert [] == [name for name in APPLIED if f"`{name}`" not in page]


STORY = [
    session(payment_status="unpaid", at=0),
    intent("processing", at=0),
    session("async_payment_succeeded", at=50),
    intent(at=50),
    charge_refunded(500, at=100),
    charge_refunded(1000, at=200),
    refund(500, key="re_2", at=200, status="pending"),
    refund(500, "failed", key="re_2", at=300),
    dispute("created", "needs_response", at=400),
    dispute("funds_withdrawn", "needs_response", at=400),
    dispute("updated", "under_review", at=500),
    dispute("closed", "lost", at=600),
    refund(500, "updated", key="re_2", at=700, status="failed"),
    intent(at=800, metadata={**METADATA, "ruleId": "rule_2"}),
]


@pytest.mark.parametrize(
    "events",
    [
        [STORY[0], STORY[2], STORY[3], STORY[4], STORY[5]],
        [STORY[3], STORY[5], STORY[7], STORY[12], STORY[13]],
        [STORY[2], STORY[3], STORY[8], STORY[9], STORY[11]],
        [STORY[1], intent("payment_failed"), intent("succeeded"), session(metadata={"anonymous": "1"}), STORY[4]],
    ],
    ids=["refunds", "failed refund", "dispute", "second attempt"],
)
def test_every_permutation_of_a_payment_gives_the_same_donation(events: list[Any]) -> None:
    """All of them, no sample."""
    expected = made_of(*events)
    assert {expected} == {made_of(*order) for order in itertools.permutations(events)}


@given(st.data())
def test_any_order_with_duplicates_gives_the_same_donation(data: st.DataObject) -> None:
    repeated = data.draw(st.lists(st.sampled_from(STORY), max_size=10))
    order = data.draw(st.permutations([*STORY, *repeated]))
    assert made_of(*STORY) == made_of(*order)
    assert ("lost", Decimal("5.00"), Decimal("20.00"), NOTHING) == sums(*order)[:1] + sums(*order)[2:]
