"""Only Stripe's own signature opens the webhook, on the bytes as they came, now."""

import subprocess
import sys
import time

import pytest
import stripe
from pydantic import SecretStr

from ingestion_pipeline.domains.community.stripe_signatures import StripeSignatures
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline_tests.domains.community.stripe_events import NEXT_SECRET, SECRET, signed

BODY = b'{"id": "evt_1", "object": "event", "name": "\xc3\xa9\xf0\x9f\x98\x80"}'
SIGNATURES = StripeSignatures(SecretStr(f"{NEXT_SECRET}, {SECRET},"))


def header(body: bytes = BODY, secret: str = SECRET, *, age: float = 0) -> bytes:
    return signed(body, secret, age=age)["stripe-signature"].encode()


def refused(given: bytes | None, body: bytes = BODY) -> Problem:
    with pytest.raises(Problem) as found:
        SIGNATURES.verify(given, body)
    assert 401 == found.value.status
    assert (b"www-authenticate", b"Stripe-Signature") in found.value.headers
    assert found.value.__cause__ is None
    assert SECRET not in found.value.detail
    return found.value


@pytest.mark.parametrize(("secret", "name"), [(NEXT_SECRET, "1"), (SECRET, "2")])
def test_each_secret_signs_while_they_are_rolled(secret: str, name: str) -> None:
    """Which one did is told by its number."""
    found = SIGNATURES.verify(header(secret=secret), BODY)
    assert f"STRIPE_WEBHOOK_SECRET {name}" == found.signed_by
    assert abs(found.signed_at.timestamp() - time.time()) < 60


def test_what_stripe_s_library_signs_is_taken() -> None:
    given = stripe.WebhookSignature.generate_signature_header(BODY.decode(), SECRET)
    assert SIGNATURES.verify(given.encode(), BODY).signed_by


def test_one_of_several_signatures_is_enough() -> None:
    """Stripe signs with both secrets while one is rolled."""
    stamp, good = header().decode().split(",")[:2]
    assert SIGNATURES.verify(f"{stamp},v1={'0' * 64},{good}".encode(), BODY).signed_by


@pytest.mark.parametrize("age", [0, 290, -290])
def test_clocks_may_differ(age: float) -> None:
    assert SIGNATURES.verify(header(age=age), BODY).signed_by


@pytest.mark.parametrize(
    ("age", "which"), [(310, "old"), (86_400, "old"), (-310, "new"), (-86_400 * 365, "new"), (1.7e9, "old")]
)
def test_what_was_signed_long_ago_or_in_the_future_is_refused(age: float, which: str) -> None:
    problem = refused(header(age=age))
    assert f"too {which}" in problem.detail
    assert "stale-signature" == problem.kind


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "missing"),
        (b"", "missing"),
        (b"t=", "must be"),
        (b"nonsense", "must be"),
        (b"v1=" + b"0" * 64, "one t="),
        (b"t=NOW", "signature is wrong"),
        (b"t=NOW,v0=" + b"0" * 64, "signature is wrong"),
        (b"t=NOW,v1=0", "signature is wrong"),
        (b"t=NOW,t=1,v1=0", "one t="),
        (b"t=x,v1=0", "one t="),
        (b"t=" + b"9" * 40 + b",v1=0", "one t="),
        (b"t=1e9,v1=0", "one t="),
        (b"t=1=2,v1=0", "must be"),
        (b"t=NOW,v1=\xe9", "must be"),
        (b"t=NOW,v1=0\n", "must be"),
        (b"t=NOW, v1=0", "must be"),
        (b"t=NOW,v1=" + b"0" * 5_000, "must be"),
    ],
)
def test_any_other_header_is_refused_in_words(given: bytes | None, said: str) -> None:
    """One kind of refusal, whatever the library makes of it."""
    now = b"%d" % time.time()
    assert said in refused(given and given.replace(b"NOW", now)).detail


def test_another_secret_or_body_is_refused() -> None:
    for given in (header(secret="whsec_of_somebody_else"), header(secret=SECRET.upper()), header(BODY + b" ")):
        assert "signature is wrong" in refused(given).detail


def test_the_bytes_are_signed_and_not_what_they_mean() -> None:
    assert "signature is wrong" in refused(header(), BODY.replace(b": ", b":")).detail


@pytest.mark.parametrize("secrets", [None, "", " , "])
def test_without_a_secret_there_is_no_webhook(secrets: str | None) -> None:
    """Not even for the empty key."""
    signatures = StripeSignatures(None if secrets is None else SecretStr(secrets))
    for given in (None, header(), header(secret="")):
        with pytest.raises(Problem) as found:
            signatures.verify(given, BODY)
        assert 404 == found.value.status


def test_only_an_intake_with_a_secret_loads_the_library() -> None:
    """It takes time and memory that others do not pay for."""
    code = (
        "import sys; from pydantic import SecretStr\n"
        "from ingestion_pipeline.domains.community import donations_routes\n"
        "from ingestion_pipeline.domains.community.stripe_signatures import StripeSignatures\n"
        "StripeSignatures(None); print('stripe' in sys.modules)\n"
        "StripeSignatures(SecretStr('x')); print('stripe' in sys.modules)\n"
        "print(any(name.split('.')[0] == 'dagster' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ["False", "True", "False"] == done.stdout.split()
