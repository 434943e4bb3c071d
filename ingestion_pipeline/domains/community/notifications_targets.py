"""Where a person may have themselves told: services that are reached over the public internet.

An address of Apprise may also start a program, read a file or talk to a device of this machine: of strangers only those
schemes are taken that cannot. Which address a name leads to is judged again whenever it is connected to
(providers/alert_sender.py).
"""

import logging
import warnings
from urllib.parse import parse_qsl, urlsplit

from ingestion_pipeline.core.ids import digest
from ingestion_pipeline.providers.addresses import without_internal
from ingestion_pipeline.providers.alerts import Target

LONGEST_TARGET = 2_000
WEBHOOK_SCHEMES = ("https", "http")
_OF_A_HOST = frozenset(
    {"https", "http", "json", "jsons", "xml", "xmls", "form", "forms", "gotify", "gotifys", "matrix", "matrixs"}
    | {"mmost", "mmosts", "rocket", "rockets"}
)
_OF_A_SERVICE = frozenset(
    {"discord", "gchat", "mailto", "mailtos", "ntfy", "ntfys", "pbul", "pover", "slack", "tgram", "webex"}
    | {"workflow", "workflows", "zulip"}
)
SCHEMES = _OF_A_HOST | _OF_A_SERVICE
_KEY_FILE = "pgp"  # mail that is encrypted with a key file of this machine


def target_problem(url: str, *, may_be_private: bool = False) -> str | None:
    """What is expected where `url` cannot be a person's target. Takes a while: it imports Apprise."""
    if len(url) > LONGEST_TARGET or not url.isascii() or not url.isprintable() or " " in url:
        return f"an address of at most {LONGEST_TARGET} printable ASCII characters"
    scheme, mark, _ = url.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in SCHEMES:
        return f"https://… or an Apprise address of {', '.join(sorted(SCHEMES - {*WEBHOOK_SCHEMES}))}"
    if any(name.lower().startswith(_KEY_FILE) for name, _ in parse_qsl(url.partition("?")[2])):
        return "an address without PGP"
    if scheme in _OF_A_HOST and (problem := _host_problem(url, may_be_private=may_be_private)):
        return problem
    return None if scheme in WEBHOOK_SCHEMES or _is_readable(url) else f"a complete {scheme}:// address of Apprise"


def _host_problem(url: str, *, may_be_private: bool) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        return "a complete address"
    spelled = f"https://[{host}]/" if ":" in host else f"https://{host}/"
    is_public = may_be_private or without_internal(spelled) == spelled
    return None if is_public else "an address of the public internet"


def target_of(person_id: str, url: str) -> Target:
    """`url` as the sender takes it. Its name tells persons apart, and nothing of the address."""
    scheme = url.partition("://")[0].lower()
    kind = "webhook" if scheme in WEBHOOK_SCHEMES else "apprise"
    return Target(f"person-{digest({'person': person_id, 'url': url})[:32]}", kind, url)  # type: ignore[arg-type]


def _is_readable(url: str) -> bool:
    import apprise

    logging.getLogger("apprise").disabled = True  # it logs the address that it cannot read
    asset = apprise.AppriseAsset(storage_mode="memory", allow_templates=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its plugins import what is deprecated
        return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True) is not None
