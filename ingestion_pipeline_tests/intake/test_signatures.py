"""Who signed: both schemes with their published vectors, secrets while they are rotated, clocks that are off."""

import base64
import hashlib
import hmac
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from ingestion_pipeline.intake import signatures
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline.intake.signatures import Signature, Signatures
from ingestion_pipeline.settings import Settings

# the project's own vector: libraries/python/tests/test_webhooks.py of standard-webhooks/standard-webhooks
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
VECTOR_TIME = datetime(2021, 2, 25, 15, 2, 10, tzinfo=UTC)
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER_SIGNATURE = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="

PLAIN, PLAIN_NEXT = "plain-secret-canary-1", "plain-secret-canary-2"
BODY = b'{"a": 1}'


def make(secret: str = "", secrets: str = "", *, reserved: Collection[str] = ()) -> Signatures:
    return Signatures(
        Settings.from_environment(
            {"DATABASE_URL": "postgresql://x@h/d", "WEBHOOK_SECRET": secret, "WEBHOOK_SECRETS": secrets}
        ),
        reserved=reserved,
    )


def given_headers(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in headers.items()}


def sha256(body: bytes = BODY, secret: str = PLAIN, *, age: float = 0, **over: str) -> dict[bytes, bytes]:
    stamp = str(int(time.time() - age))
    mac = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return given_headers({"x-timestamp": stamp, "x-signature": f"sha256={mac}"} | over)


def standard(
    body: bytes = VECTOR_BODY, secret: str = VECTOR_SECRET, *, age: float = 0, prefix: str = "webhook-", **over: str
) -> dict[bytes, bytes]:
    at = datetime.now(UTC) - timedelta(seconds=age)
    signature = Webhook(secret).sign(VECTOR_ID, at, body.decode())
    found = {"id": VECTOR_ID, "timestamp": str(int(at.timestamp())), "signature": signature} | over
    return given_headers({prefix + name: value for name, value in found.items()})


def refusal(verifier: Signatures, headers: dict[bytes, bytes], body: bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        verifier.verify(headers, body)
    assert 401 == refused.value.status
    assert b"www-authenticate" in dict(refused.value.headers)
    return refused.value


# Standard Webhooks


def test_the_published_vector_is_signed_as_it_is_printed() -> None:
    """By the library that we verify with."""
    assert VECTOR_SIGNATURE == Webhook(VECTOR_SECRET).sign(VECTOR_ID, VECTOR_TIME, VECTOR_BODY.decode())


def test_the_published_vector_is_accepted_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is ours and the library's."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return VECTOR_TIME.astimezone(tz)

    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Clock)
    monkeypatch.setattr(signatures, "utc_now", lambda: VECTOR_TIME)
    headers = given_headers(
        {"webhook-id": VECTOR_ID, "webhook-timestamp": "1614265330", "webhook-signature": VECTOR_SIGNATURE}
    )
    assert Signature("standard", "WEBHOOK_SECRET 1", None, VECTOR_TIME, VECTOR_ID) == make(VECTOR_SECRET).verify(
        headers, VECTOR_BODY
    )
    assert "signature is wrong" in refusal(make(VECTOR_SECRET), headers, VECTOR_BODY + b" ").detail
    headers[b"webhook-signature"] = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="
    assert "signature is wrong" in refusal(make(VECTOR_SECRET), headers, VECTOR_BODY).detail


def test_the_headers_of_svix_are_the_same_scheme() -> None:
    assert VECTOR_ID == make(VECTOR_SECRET).verify(standard(prefix="svix-"), VECTOR_BODY).key


def test_headers_of_two_prefixes_are_not_mixed() -> None:
    headers = standard() | standard(prefix="svix-")
    del headers[b"webhook-id"]
    assert "webhook-id" in refusal(make(VECTOR_SECRET), headers, VECTOR_BODY).detail


@pytest.mark.parametrize(
    "others",
    [
        [OTHER_SIGNATURE, "v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="],
        ["v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="],
        ["v1", "v1,", "v1,%%%", ",", "v1,a,b", "v1,é"],
    ],
    ids=["the published one", "of another version", "that cannot be read"],
)
def test_one_good_signature_among_others_is_enough(others: list[str]) -> None:
    """As a sender gives them while its key is rotated; wherever it stands."""
    headers = standard()
    good = headers[b"webhook-signature"].decode()
    for given_signatures in ([*others, good], [good, *others]):
        headers[b"webhook-signature"] = " ".join(given_signatures).encode()
        assert make(VECTOR_SECRET).verify(headers, VECTOR_BODY)
    headers[b"webhook-signature"] = " ".join(others).encode()
    assert "signature is wrong" in refusal(make(VECTOR_SECRET), headers, VECTOR_BODY).detail


@pytest.mark.parametrize("missing", ["id", "timestamp"])
def test_a_missing_header_is_named(missing: str) -> None:
    headers = standard()
    del headers[f"webhook-{missing}".encode()]
    assert f"webhook-{missing}" in refusal(make(VECTOR_SECRET), headers, VECTOR_BODY).detail


def test_the_id_is_signed() -> None:
    """It decides what is a duplicate, so nobody may change it."""
    headers = standard() | {b"webhook-id": b"msg_other"}
    assert "signature is wrong" in refusal(make(VECTOR_SECRET), headers, VECTOR_BODY).detail


@pytest.mark.parametrize("message_id", ["", "a b", "x" * 257, "é"])
def test_an_id_that_cannot_be_kept_is_refused(message_id: str) -> None:
    headers = standard() | {b"webhook-id": message_id.encode()}
    assert "webhook-id" in refusal(make(VECTOR_SECRET), headers, VECTOR_BODY).detail


@pytest.mark.parametrize("padding", ["==", ""])
def test_a_key_of_base64_may_come_without_padding(padding: str) -> None:
    secret = "whsec_" + base64.b64encode(b"k" * 25).decode().rstrip("=") + padding
    assert make(secret).verify(standard(secret=secret), VECTOR_BODY)


@pytest.mark.parametrize("secret", ["whsec_not-base64-at-all!", "whsec_" + base64.b64encode(b"short").decode() + "AA"])
def test_a_secret_that_is_no_key_opens_nothing_by_this_scheme(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    """The library would leave out what is not base64, and sign with what is left; the log names the secret, not its text."""
    verifier = make(secret)
    assert ["WEBHOOK_SECRET 1"] == [record.msg["which"] for record in caplog.records]  # type: ignore[index]
    assert secret not in caplog.text
    assert "signature is wrong" in refusal(verifier, standard(secret="whsec_" + "A" * 32), VECTOR_BODY).detail
    assert verifier.verify(sha256(secret=secret), BODY)


def test_a_plain_secret_is_no_key_of_this_scheme() -> None:
    """Not even the one that the library would make of it."""
    plain = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    assert "signature is wrong" in refusal(make(plain), standard(secret=plain), VECTOR_BODY).detail


# seed S0's scheme


def test_seed_s0_signs_timestamp_and_raw_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed's secret and time; the digest is what `openssl dgst -sha256 -hmac` gives."""
    at = datetime(2022, 1, 15, 15, 40, tzinfo=UTC)
    monkeypatch.setattr(signatures, "utc_now", lambda: at)
    mac = "f17c6e50c5a90d9c41a67e72b2c402f5db917a8ac2641cb19f54e7837435b48a"
    headers = given_headers({"x-signature": f"sha256={mac}", "x-timestamp": "1642261200"})
    found = make("your-webhook-secret").verify(headers, b'{"event_type": "comps.upsert"}')
    assert Signature("sha256", "WEBHOOK_SECRET 1", None, at, None) == found


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b'{"a":  1}', BODY + b"\n", BODY[:-1]])
def test_another_body_is_another_signature(body: bytes) -> None:
    """To the byte; what the bytes are does not matter."""
    assert "signature is wrong" in refusal(make(PLAIN), sha256(), body).detail
    assert make(PLAIN).verify(sha256(body), body)


def test_hexadecimal_digits_may_be_large() -> None:
    headers = sha256()
    headers[b"x-signature"] = b"sha256=" + headers[b"x-signature"].removeprefix(b"sha256=").upper()
    assert make(PLAIN).verify(headers, BODY)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        "sha256=00",
        "sha1=" + "0" * 40,
        "0" * 64,
        "sha256=" + "g" * 64,
        "sha256=" + " 0" * 32,
        "é" * 71,
        "sha256=" + "0" * 64 + ", sha256=" + "0" * 64,
    ],
)
def test_a_signature_of_another_shape_is_refused(signature: str) -> None:
    assert "X-Signature must be" in refusal(make(PLAIN), sha256(**{"x-signature": signature}), BODY).detail


def test_without_any_signature_both_ways_are_named() -> None:
    detail = refusal(make(PLAIN), {}, BODY).detail
    assert "X-Signature" in detail
    assert "Standard Webhooks" in detail


def test_the_timestamp_is_signed() -> None:
    headers = sha256(age=10)
    headers[b"x-timestamp"] = str(int(time.time())).encode()
    assert "signature is wrong" in refusal(make(PLAIN), headers, BODY).detail


# clocks


@pytest.mark.parametrize("age", [-290, -60, 0, 60, 290])
def test_a_clock_may_be_five_minutes_off_both_ways(age: float) -> None:
    assert make(PLAIN).verify(sha256(age=age), BODY)
    assert make(VECTOR_SECRET).verify(standard(age=age), VECTOR_BODY)


@pytest.mark.parametrize(
    ("age", "said"), [(310, "too old"), (86_400 * 365, "too old"), (-310, "too new"), (-86_400 * 365, "too new")]
)
def test_a_clock_that_is_further_off_is_told_so(age: float, said: str) -> None:
    """Though the signature is right: whoever has recorded a request cannot repeat it later."""
    for verifier, headers, body in (
        (make(PLAIN), sha256(age=age), BODY),
        (make(VECTOR_SECRET), standard(age=age), VECTOR_BODY),
    ):
        problem = refusal(verifier, headers, body)
        assert said in problem.detail
        assert "300 s" in problem.detail
        assert "stale-signature" == problem.kind


@pytest.mark.parametrize(
    "stamp", ["", "soon", "1e9", "-1", "+1700000000", " 1700000000", "1700000000.5", "nan", "٣", "9" * 13 + "0"]
)
def test_a_timestamp_that_is_no_number_of_seconds_is_refused(stamp: str) -> None:
    """The library would take some of them for numbers."""
    for verifier, headers, body in (
        (make(PLAIN), sha256(**{"x-timestamp": stamp}), BODY),
        (make(VECTOR_SECRET), standard(timestamp=stamp), VECTOR_BODY),
    ):
        assert "in seconds since 1970" in refusal(verifier, headers, body).detail


def test_milliseconds_are_pointed_out() -> None:
    """What `Date.now()` gives."""
    assert "milliseconds" in refusal(make(PLAIN), sha256(**{"x-timestamp": str(int(time.time() * 1000))}), BODY).detail


# secrets


def test_every_secret_is_active_while_it_is_rotated() -> None:
    verifier = make(f"{PLAIN}, {PLAIN_NEXT},{VECTOR_SECRET}")
    assert "WEBHOOK_SECRET 1" == verifier.verify(sha256(), BODY).signed_by
    assert "WEBHOOK_SECRET 2" == verifier.verify(sha256(secret=PLAIN_NEXT), BODY).signed_by
    assert "WEBHOOK_SECRET 3" == verifier.verify(standard(), VECTOR_BODY).signed_by
    assert "WEBHOOK_SECRET 3" == verifier.verify(sha256(secret=VECTOR_SECRET), BODY).signed_by
    retired = make(PLAIN_NEXT)
    assert "signature is wrong" in refusal(retired, sha256(), BODY).detail


def test_a_named_source_has_secrets_of_its_own() -> None:
    verifier = make(PLAIN, f"acme={PLAIN_NEXT},acme={VECTOR_SECRET},other=other-secret-canary-3=x")
    found = [
        verifier.verify(sha256(), BODY),
        verifier.verify(sha256(secret=PLAIN_NEXT), BODY),
        verifier.verify(standard(), VECTOR_BODY),
        verifier.verify(sha256(secret="other-secret-canary-3=x"), BODY),
    ]
    assert [("WEBHOOK_SECRET 1", None), ("acme 1", "acme"), ("acme 2", "acme"), ("other 1", "other")] == [
        (it.signed_by, it.source) for it in found
    ]
    assert {"acme", "other"} == verifier.named_sources


def test_a_secret_in_both_lists_is_its_source_s() -> None:
    assert "acme" == make(PLAIN, f"acme={PLAIN}").verify(sha256(), BODY).source


def test_no_secret_speaks_for_a_reserved_source(caplog: pytest.LogCaptureFixture) -> None:
    """It opens nothing; the log says which one, the source is named all the same."""
    verifier = make(PLAIN, f"acme={PLAIN_NEXT},stripe={VECTOR_SECRET}", reserved={"stripe"})
    assert "signature is wrong" in refusal(verifier, standard(), VECTOR_BODY).detail
    assert "acme 1" == verifier.verify(sha256(secret=PLAIN_NEXT), BODY).signed_by
    assert {"acme", "stripe"} == verifier.named_sources
    assert ["stripe 1"] == [record.msg["which"] for record in caplog.records]  # type: ignore[index]


def test_an_unset_secret_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Neither with an empty key nor with none; the log says what is unset, the answer does not."""
    verifier = make()
    for headers in (sha256(secret=""), {}):
        assert "WEBHOOK" not in refusal(verifier, headers, BODY).detail
    assert {"WEBHOOK_SECRET"} == {record.msg["variable"] for record in caplog.records}  # type: ignore[index]


def test_no_secret_is_shown() -> None:
    shown = repr(list(make(f"{PLAIN},{VECTOR_SECRET}", f"acme={PLAIN_NEXT}")._secrets))
    assert not any(secret in shown for secret in (PLAIN, PLAIN_NEXT, VECTOR_SECRET))
    assert "acme 1" in shown


@given(
    st.dictionaries(
        st.sampled_from([b"x-signature", b"x-timestamp", b"webhook-id", b"webhook-timestamp", b"webhook-signature"]),
        st.binary(max_size=80) | st.sampled_from([VECTOR_SIGNATURE.encode(), b"sha256=" + b"0" * 64, b"1700000000"]),
    ),
    st.text(max_size=20),
)
def test_whatever_is_sent_is_refused_and_nothing_breaks(headers: dict[bytes, bytes], body: str) -> None:
    refusal(make(f"{PLAIN},{VECTOR_SECRET}"), headers, body.encode("utf-8", "ignore"))
