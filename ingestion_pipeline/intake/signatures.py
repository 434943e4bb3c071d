"""Who signed a webhook: seed S0's scheme and Standard Webhooks, verified on the bytes as they came.

`sha256`: `X-Signature: sha256=<hex>` is the HMAC-SHA256 of `<X-Timestamp>.<body>`, its key the secret as it is written.
`standard`: `webhook-id`, `webhook-timestamp`, `webhook-signature` (or the same with `svix-`), its key the base64 after
`whsec_`. Only a secret written so is tried with it: the schemes never share a key. Every secret is compared, in
constant time, whichever matches; a secret that is not set opens nothing.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.intake.problems import Problem
from ingestion_pipeline.settings import Settings
from ingestion_pipeline.storage.inbox import Scheme

TOLERANCE_SECONDS = 300
SHARED = "WEBHOOK_SECRET"
PREFIX = "whsec_"
_SHORTEST_KEY_BYTES = 16
_MILLISECOND_DIGITS = 13
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_SHA256 = re.compile(rb"sha256=([0-9a-fA-F]{64})")
_VERSION_1 = re.compile(rb"v1,[A-Za-z0-9+/]{43}=")
_ID = re.compile(rb"[!-~]{1,256}")
_CHALLENGE = (b"www-authenticate", b"Webhook-Signature")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Secret:
    """One active secret: `name` tells which without telling it; `source` is whose alone it is."""

    name: str
    source: str | None
    text: bytes = field(repr=False)
    standard: Webhook | None = field(repr=False)


@dataclass(frozen=True)
class Signature:
    """What a good signature proves: `source` is None for a secret that many share, `key` the sender's signed id."""

    scheme: Scheme
    signed_by: str
    source: str | None
    signed_at: datetime
    key: str | None = None


class Signatures:
    """Verifies with the secrets of the settings, several at once for each source while they are rotated.

    A source of `reserved` is nobody's here: a secret for it opens nothing.
    """

    def __init__(self, settings: Settings, *, reserved: Collection[str] = ()) -> None:
        secrets = list(_secrets(settings))
        for name in sorted({it.name for it in secrets if it.source in reserved}):
            _log.warning("a secret opens nothing: its source has an endpoint of its own", which=name)
        self._secrets = [it for it in secrets if it.source not in reserved]
        self.named_sources = frozenset(secret.source for secret in self._secrets if secret.source) | set(reserved)

    def verify(self, headers: Mapping[bytes, bytes], body: bytes) -> Signature:
        """Who signed `body`; `headers` have lower-case names.

        Raises:
            Problem: 401, nobody whom we know, or too long ago, or in the future.
        """
        if not self._secrets:
            _log.warning("a webhook was refused because no secret is set", variable=SHARED)
        for prefix in (b"webhook-", b"svix-"):
            if prefix + b"signature" in headers:
                return self._standard(headers, body, prefix)
        return self._sha256(headers, body)

    def _sha256(self, headers: Mapping[bytes, bytes], body: bytes) -> Signature:
        given = headers.get(b"x-signature")
        if given is None:
            raise _refused(
                "the signature is missing: sign with X-Signature and X-Timestamp, or as Standard Webhooks do"
            )
        stamp = _stamp(headers, b"x-timestamp", "X-Timestamp")
        found = _SHA256.fullmatch(given)
        if not found:
            raise _refused("X-Signature must be sha256= and 64 hexadecimal digits")
        signed, mac = stamp + b"." + body, bytes.fromhex(found[1].decode())
        matching = [
            secret
            for secret in self._secrets
            if hmac.compare_digest(hmac.digest(secret.text, signed, hashlib.sha256), mac)
        ]
        return _signature("sha256", matching, stamp)

    def _standard(self, headers: Mapping[bytes, bytes], body: bytes, prefix: bytes) -> Signature:
        name = prefix.decode()
        stamp = _stamp(headers, prefix + b"timestamp", f"{name}timestamp")
        message_id = headers.get(prefix + b"id", b"")
        if not _ID.fullmatch(message_id):
            raise _refused(f"{name}id must be 1 to 256 printable characters without spaces")
        # the library trips over what it cannot read; other versions than 1 are not for us
        signatures = b" ".join(it for it in headers[prefix + b"signature"].split(b" ") if _VERSION_1.fullmatch(it))
        given = {
            "webhook-id": message_id.decode(),
            "webhook-timestamp": stamp.decode(),
            "webhook-signature": signatures.decode(),
        }
        matching = [secret for secret in self._secrets if secret.standard and _is_signed(secret.standard, body, given)]
        return _signature("standard", matching, stamp, key=message_id.decode())


def _is_signed(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


def _signature(scheme: Scheme, matching: list[Secret], stamp: bytes, key: str | None = None) -> Signature:
    if not matching:
        raise _refused("the signature is wrong: another secret, another timestamp or another body than was signed")
    return Signature(scheme, matching[0].name, matching[0].source, datetime.fromtimestamp(int(stamp), tz=UTC), key)


def _stamp(headers: Mapping[bytes, bytes], name: bytes, shown: str) -> bytes:
    """The signed time as it was written, within the tolerance."""
    stamp = headers.get(name, b"")
    if len(stamp) == _MILLISECOND_DIGITS and stamp.isdigit():
        raise _refused(f"{shown} must be in seconds since 1970, not in milliseconds")
    if not _TIMESTAMP.fullmatch(stamp):
        raise _refused(f"{shown} must be the time of signing in seconds since 1970")
    age = utc_now().timestamp() - int(stamp)
    if abs(age) > TOLERANCE_SECONDS:
        which, hint = ("old", "sign again") if age > 0 else ("new", "set the sender's clock")
        raise _refused(
            f"{shown} is too {which}: {abs(age):.0f} s off, at most {TOLERANCE_SECONDS} s are allowed; {hint}",
            kind="stale-signature",
        )
    return stamp


def _refused(detail: str, *, kind: str = "bad-signature") -> Problem:
    return Problem(401, detail, headers=(_CHALLENGE,), kind=kind)


def _secrets(settings: Settings) -> Iterator[Secret]:
    """Those of single sources first: a secret that is written in both lists is its source's."""
    numbers: Counter[str] = Counter()
    for part in _parts(settings.webhook_secrets):
        source, _, text = part.partition("=")
        source, text = source.strip(), text.strip()
        numbers[source] += 1
        yield _secret(f"{source} {numbers[source]}", source, text)
    for number, text in enumerate(_parts(settings.webhook_secret), start=1):
        yield _secret(f"{SHARED} {number}", None, text)


def _parts(secrets: SecretStr | None) -> list[str]:
    return [] if secrets is None else [part.strip() for part in secrets.get_secret_value().split(",")]


def _secret(name: str, source: str | None, text: str) -> Secret:
    standard = None
    if text.startswith(PREFIX):
        try:
            encoded = text.removeprefix(PREFIX)
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except binascii.Error:
            key = b""
        if len(key) >= _SHORTEST_KEY_BYTES:
            standard = Webhook(key)
        else:
            _log.warning("a secret is no key for Standard Webhooks: expected whsec_ and base64 of 24 bytes", which=name)
    return Secret(name, source, text.encode(), standard)
