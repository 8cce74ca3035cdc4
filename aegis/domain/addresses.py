"""Which addresses nobody may be led to who goes out through us: our own host, its networks, a cloud's metadata.

A name that an agent may use can resolve to anything, by mistake or on purpose. So whoever connects on an agent's behalf
asks here about each address, and connects to that very address.

The rule to know: an address within an address (IPv4-mapped, NAT64) is judged by what it wraps, for the network may
unwrap it on the way. Tunnels whose far end anybody may be (6to4, Teredo) are refused as a whole.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from aegis.domain.hosts import Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SHARED: Final = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598: a provider's inside; some clouds' metadata too
_NAT64: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))  # RFC 6052, 8215
_TUNNELS: Final = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))  # RFC 3056, 4380
_COMPATIBLE: Final = ipaddress.ip_network("::/96")  # RFC 4291 section 2.5.5.1, deprecated


def forbidden(address: Address, allowed: Iterable[Network] = ()) -> str:
    """What speaks against connecting to it, in words ("a private address"); "" when nothing does. `allowed`: networks
    that the operator has opened."""
    networks = tuple(allowed)
    return next((reason for each in _faces(address) if (reason := _kind(each)) and not _within(each, networks)), "")


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _kind(address: Address) -> str:
    if address.is_loopback:
        return "a loopback address"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_link_local:
        return "a link-local address"  # 169.254.169.254 is where clouds keep credentials
    if address.is_multicast:
        return "a multicast address"
    if any(address in network for network in _TUNNELS):
        return "an address of a tunnel"
    if address in _SHARED:
        return "an address of a provider's own network"
    if address.is_private or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local):
        return "a private address"
    return "" if address.is_global and not address.is_reserved else "a reserved address"


def _faces(address: Address) -> Iterator[Address]:
    """The address itself, and every IPv4 address that something on the way may take it for."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    wraps = address.ipv4_mapped is not None or any(address in network for network in _NAT64)
    if not wraps:
        yield address
    if wraps or (address in _COMPATIBLE and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
