"""Whose address a request comes from: the connection's, or what trusted proxies say of it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

UNKNOWN = "unknown"
HOST_PREFIX = 64
Network = IPv4Network | IPv6Network


class ClientAddresses:
    """Believes `X-Forwarded-For` and `Forwarded` only from `trusted` networks.

    The rightmost hop that is not a trusted proxy is the client: what stands left of it, the client wrote itself.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = [ip_network(network) for network in trusted]

    def of(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The client's address in its shortest spelling, an IPv4 one as such however it was mapped."""
        address = parsed(peer)
        if address is None:
            return UNKNOWN
        if not self._trusted or not self._trusts(address):
            return str(address)
        for hop in reversed(_hops(headers)):
            next_address = parsed(hop)
            if next_address is None:  # garbage: nothing left of it can be believed
                break
            address = next_address
            if not self._trusts(address):
                break
        return str(address)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


@lru_cache(maxsize=4096)
def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `text`, with or without a port; None if there is none."""
    host = text.strip().strip('"')
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def limited_as(address: str) -> str:
    """Who an address is to a rate limit: of IPv6 the network of 64 bits, since one host may use all of that."""
    found = parsed(address)
    return str(ip_network((found, HOST_PREFIX), strict=False)) if isinstance(found, IPv6Address) else address


def _hops(headers: Mapping[bytes, bytes]) -> list[str]:
    """Client first, nearest proxy last. `X-Forwarded-For` wins where both are there."""
    if plain := headers.get(b"x-forwarded-for"):
        return plain.decode("latin-1").split(",")
    elements = headers.get(b"forwarded", b"").decode("latin-1").split(",")
    return [hop for element in elements if (hop := _forwarded_for(element)) is not None]


def _forwarded_for(element: str) -> str | None:
    """The `for` of one element of RFC 7239."""
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            return value
    return None
