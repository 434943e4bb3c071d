"""URLs that strangers send: one spelling for each, and none that leads into a private network. No name is resolved.

After RFC 3986 (dot segments, percent-encoding) and the WHATWG URL standard (IPv4 in its odd spellings, IDNA with its
mapping). Whoever fetches such a URL must still judge the address it connects to (providers/addresses.py): a public name
may lead anywhere.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote, urlsplit

import idna

from ingestion_pipeline.providers.addresses import is_public

LONGEST_URL = 2_000
_PORTS = {"http": 80, "https": 443}
_MOST_IPV4_PARTS = 4
_HIGHEST_PORT, _BYTE, _LONGEST_NAME = 65_535, 255, 253
_NO_HOST = "a host that is a name or an address"
_UNWRITTEN = re.compile(r"[\x00-\x20\x7f\\]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PORT = re.compile(r"[0-9]{1,5}")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_INTERNAL = re.compile(
    r"(?:.*\.)?(?:localhost|local|localdomain|internal|intranet|intra|lan|corp|home|svc|private|test|invalid|onion|docker"
    r"|consul|home\.arpa|ts\.net)"
)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]")
_KEPT = "%/:@!$&'()*+,;=-._~"


class UrlError(ValueError):
    """Why a URL is refused: what is expected instead."""


def normalised_url(text: str) -> str:
    """The one spelling of an http or https URL: scheme and host in lower case, ASCII, no default port, no fragment.

    Raises:
        UrlError: it is none, names a user, or its host is not one of the public internet.
    """
    text = text.strip(" ")
    if not text or len(text) > LONGEST_URL:
        raise UrlError(f"1 to {LONGEST_URL} characters")
    if _UNWRITTEN.search(text):
        raise UrlError("a URL without spaces, control characters and backslashes")
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() not in _PORTS or not text[scheme.end() :].startswith("//"):
        raise UrlError("a URL that starts with http:// or https://")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise UrlError("a URL with a host") from None
    if "@" in parts.netloc:
        raise UrlError("a URL without user and password")
    host, port = _host_and_port(parts.netloc)
    name = scheme[1].lower()
    shown_port = "" if port in (None, _PORTS[name]) else f":{port}"
    path = _without_dots(_escaped(parts.path, _KEPT)) or "/"
    query = f"?{_escaped(parts.query, _KEPT + '?')}" if parts.query else ""
    url = f"{name}://{public_host(host)}{shown_port}{path}{query}"
    if len(url) > LONGEST_URL:
        raise UrlError(f"at most {LONGEST_URL} characters, counted when it is written in ASCII")
    return url


def public_host(host: str) -> str:
    """The one spelling of a host of the public internet.

    Raises:
        UrlError: it is none: an address that is not public in whatever spelling, a name of internal networks.
    """
    if host.startswith("["):
        return _ipv6(host)
    try:
        decoded = unquote(host, errors="strict")
        name = idna.encode(decoded, uts46=True).decode() if not decoded.isascii() else decoded.lower()
    except (UnicodeError, idna.IDNAError):
        raise UrlError(_NO_HOST) from None
    name = name.removesuffix(".")
    if _is_number(name.rpartition(".")[2]):
        return _require_public(_ipv4(name))
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UrlError("a host with a domain, such as example.com")
    if _INTERNAL.fullmatch(name):
        raise UrlError("a host of the public internet")
    return name


def _host_and_port(netloc: str) -> tuple[str, int | None]:
    host, colon, port = netloc.rpartition(":") if not netloc.endswith("]") else (netloc, "", "")
    if not colon:
        return netloc, None
    if not port:
        return host, None
    if not _PORT.fullmatch(port) or not 0 < int(port) <= _HIGHEST_PORT:
        raise UrlError("a port from 1 to 65535")
    return host, int(port)


def _ipv6(host: str) -> str:
    try:
        address = IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise UrlError(_NO_HOST) from None
    if address.scope_id is not None:
        raise UrlError("an address without a zone")
    return f"[{_require_public(address.compressed)}]"


def _is_number(label: str) -> bool:
    """Does a host that ends in this label mean an IPv4 address? As the URL standard asks it."""
    return label.isdigit() or bool(re.fullmatch(r"0[xX][0-9A-Fa-f]*", label))


def _ipv4(host: str) -> str:
    """The address that `127.1`, `0x7f000001`, `017700000001` or `2130706433` is."""
    parts = host.split(".")
    *first, last = [_number(part) for part in parts]
    left = _MOST_IPV4_PARTS + 1 - len(parts)
    if left < 1 or any(number > _BYTE for number in first) or last >= 256**left:
        raise UrlError(_NO_HOST)
    return str(IPv4Address(last + sum(number << 8 * (3 - place) for place, number in enumerate(first))))


def _number(text: str) -> int:
    try:
        if text[:2].lower() == "0x":
            return int(text[2:] or "0", 16)
        return int(text if text.isdigit() else "", 8 if len(text) > 1 and text.startswith("0") else 10)
    except ValueError:
        raise UrlError(_NO_HOST) from None


def _require_public(address: str) -> str:
    if not is_public(address):
        raise UrlError("an address of the public internet")
    return address


def _escaped(text: str, kept: str) -> str:
    """What must be escaped is, in upper case; what need not be is not; a lone % is."""
    text = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)
    text = _ESCAPE.sub(lambda found: _plain(found[1]), text)
    try:
        return quote(text, safe=kept)
    except UnicodeError:
        raise UrlError("a URL that is Unicode text") from None


def _plain(hexadecimal: str) -> str:
    character = chr(int(hexadecimal, 16))
    return character if _PLAIN.fullmatch(character) else f"%{hexadecimal.upper()}"


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4, of a path that begins with a slash or is empty."""
    if not path:
        return path
    kept: list[str] = []
    segments = path[1:].split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
