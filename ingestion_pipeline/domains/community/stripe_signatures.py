"""Who signed a webhook of Stripe: verified by Stripe's own library, on the bytes as they came.

The library does not mind a time in the future, trips over odd headers and repeats what it was given in its errors: here
the header is read first, the tolerance holds both ways, and there is one refusal. Only an intake that has a secret of
Stripe's loads the library, which takes memory.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from pydantic import SecretStr

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.domains.community.stripe import SECRET_VARIABLE
from ingestion_pipeline.intake.problems import Problem

TOLERANCE_SECONDS = 300
_HEADER = re.compile(r"[a-z][a-z0-9]*=[0-9A-Za-z]+(,[a-z][a-z0-9]*=[0-9A-Za-z]+)*")
_LONGEST_HEADER, _LONGEST_STAMP = 4_096, 12
_CHALLENGE = (b"www-authenticate", b"Stripe-Signature")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StripeSignature:
    """What a good signature proves: `signed_by` names the secret, such as `STRIPE_WEBHOOK_SECRET 1`."""

    signed_by: str
    signed_at: datetime


class StripeSignatures:
    """Verifies with the secrets of an endpoint, `new,old` while they are rolled."""

    def __init__(self, secrets: SecretStr | None) -> None:
        parts = secrets.get_secret_value().split(",") if secrets else []
        self._secrets = [secret for part in parts if (secret := part.strip())]
        if self._secrets:
            from stripe import SignatureVerificationError, WebhookSignature

            self._verify_header, self._error = WebhookSignature.verify_header, SignatureVerificationError

    def verify(self, header: bytes | None, body: bytes) -> StripeSignature:
        """Who signed `body`, which is UTF-8.

        Raises:
            Problem: 404, no secret is set; 401, the header is missing, wrong, too old or too new.
        """
        if not self._secrets:
            _log.warning("an event of Stripe was refused because no secret is set", variable=SECRET_VARIABLE)
            raise Problem(404, "there is nothing at this path")
        if not header:
            raise _refused("the header Stripe-Signature is missing")
        text = header.decode("latin-1")
        if len(text) > _LONGEST_HEADER or not _HEADER.fullmatch(text):
            raise _refused("Stripe-Signature must be t=<seconds>,v1=<hexadecimal digits>, as Stripe writes it")
        signed_at = _signed_at(text)
        for number, secret in enumerate(self._secrets, start=1):
            try:
                self._verify_header(body, text, secret)
            except self._error:
                continue
            return StripeSignature(f"{SECRET_VARIABLE} {number}", signed_at)
        raise _refused("the signature is wrong: the secret of another endpoint, or another body than was signed")


def _signed_at(header: str) -> datetime:
    """The time of signing, within the tolerance."""
    stamps = [part[2:] for part in header.split(",") if part.startswith("t=")]
    if len(stamps) != 1 or not (stamps[0].isdigit() and len(stamps[0]) <= _LONGEST_STAMP):
        raise _refused("Stripe-Signature must hold one t=, the time of signing in seconds since 1970")
    age = utc_now().timestamp() - int(stamps[0])
    if abs(age) > TOLERANCE_SECONDS:
        which = "old" if age > 0 else "new"
        detail = (
            f"t= of Stripe-Signature is too {which}: {abs(age):.0f} s off, at most {TOLERANCE_SECONDS} s are allowed"
        )
        raise _refused(detail, kind="stale-signature")
    return datetime.fromtimestamp(int(stamps[0]), tz=UTC)


def _refused(detail: str, *, kind: str = "bad-signature") -> Problem:
    return Problem(401, detail, headers=(_CHALLENGE,), kind=kind)
