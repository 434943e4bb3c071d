"""Which network addresses are public, connections that are kept to those, and texts without the others.

An address is judged when it is connected to, not when its name is looked up: a name that leads elsewhere a moment later
(DNS rebinding), an odd spelling (`127.1`, `0x7f000001`) and a redirect all end in a connection to the very address that
is judged.
"""

import re
import sys
import threading
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

INTERNAL = "(internal address)"
_NAT64, _6TO4 = ip_network("64:ff9b::/96"), ip_network("2002::/16")
# Oracle's and Azure's own services answer here, relays that lead anywhere, and examples (RFC 9637)
_OTHERS = [ip_network(network) for network in ("192.0.0.0/24", "168.63.129.16/32", "192.88.99.0/24", "3fff::/20")]
_INTERNAL_NAMES = ("localhost", ".internal", ".local", ".localdomain", ".lan", ".intranet", ".corp", ".home.arpa")
_SENDS = {"socket.connect", "socket.sendto", "socket.sendmsg"}

_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f]{1,4})?(?![\w:])", re.IGNORECASE
)
_URL_HOST = re.compile(
    r"((?!(?:s3|gs|az|abfss?|file):)\b[a-z][a-z0-9+.-]*://(?:[^/@\s\"'<>]*@)?)(\[[^\]\s]*\]|[^/:?#\s\"'<>,\]\[@]+)(?::\d+)?"
    r"(?=[/?#\s\"'<>,;)\]]|$)",  # of a bucket's URL the host is no address
    re.IGNORECASE,
)
_NAMED_HOST = re.compile(r"\b(host(?:addr)?=)[^&\s\"'<>,;]+", re.IGNORECASE)
_QUOTED_HOST = re.compile(r"\b(host(?:addr)?=[\"'])([^\"']+)", re.IGNORECASE)
_NAME = re.compile(
    r"(?<![\w.-])(?:(?:[a-z0-9_-]+\.)+(?:internal|local|localdomain|lan|intranet|corp|home\.arpa)|localhost)"
    r"(?![\w-]|\.\w)(?::\d+)?",
    re.IGNORECASE,
)


def is_public(text: str) -> bool:
    """Is `text` an address of the public internet, in whatever notation? No for a name."""
    try:
        return _is_public(ip_address(text.strip("[]").partition("%")[0]))
    except ValueError:
        return False


def keep_to_public() -> Callable[[], bool]:
    """From now on this process cannot connect, or send, to an address that is not public. It cannot be undone.

    Returns a function that says whether the thread that asks was refused something since it asked last.
    """
    refused: set[int] = set()  # threads

    def judge(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _SENDS or (address := arguments[1]) is None:
            return
        if not (isinstance(address, tuple) and is_public(str(address[0]))):
            refused.add(threading.get_ident())
            raise PermissionError("the address is not public")

    def has_refused() -> bool:
        thread = threading.get_ident()
        is_refused = thread in refused
        refused.discard(thread)
        return is_refused

    sys.addaudithook(judge)
    return has_refused


def without_internal(text: str, hosts: Collection[str] = ()) -> str:
    """`text` without private addresses, names of internal networks, and `hosts` (those of our own stores)."""
    text = _URL_HOST.sub(lambda found: _judged_host(found, hosts), text)
    text = _NAMED_HOST.sub(rf"\1{INTERNAL}", text)
    text = _QUOTED_HOST.sub(lambda found: _judged_host(found, hosts), text)
    for host in sorted(hosts, key=len, reverse=True):
        if "." in host or ":" in host:
            text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-]|\.\w)(?::\d+)?", INTERNAL, text, flags=re.IGNORECASE)
        else:  # a bare name may be a word: only where it stands as a host
            name = re.escape(host)
            stands = rf"(?<![\w.-]){name}:\d+|(?<=[\"']){name}(?=[\"'])|(?<=\bhost ){name}(?![\w-]|\.\w)"
            text = re.sub(stands, INTERNAL, text, flags=re.IGNORECASE)
    for pattern in (_IPV6, _IPV4):  # an IPv6 address may end in an IPv4 one
        text = pattern.sub(_judged_address, text)
    return _NAME.sub(INTERNAL, text)


def _judged_host(found: re.Match[str], hosts: Collection[str]) -> str:
    start, host = found[1], found[2].strip("[]").lower()
    if _address(host):
        is_internal = not is_public(host)
    else:
        is_internal = "." not in host or host.endswith(_INTERNAL_NAMES) or host in {it.lower() for it in hosts}
    return start + INTERNAL if is_internal else found[0]


def _judged_address(found: re.Match[str]) -> str:
    address = _address(found[0])
    return INTERNAL if address and not _is_public(address) else found[0]


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return _is_public(address.ipv4_mapped)
        if address in _NAT64:
            return _is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address in _6TO4 or address.teredo or address.is_reserved or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _OTHERS)
