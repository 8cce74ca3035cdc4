"""Who may speak to the server at all: decided from the peer's address, before a byte of his is read.

AUTH_SYS proves nothing, so the address is the first of two locks (the other is the handle's MAC). By default it opens
for the host itself only: dockerd and every other kernel client of this host connects from one of the host's own
addresses, while a container, a neighbour or the internet does not. Networks can be added.

The rule: the host's addresses are asked from the kernel (rtnetlink RTM_GETADDR, rtnetlink(7)) at the moment of the
decision. They come and go with Docker's bridges, and an address that was the host's a minute ago can be a
container's now. Trying to bind to the address would be shorter and would open the door to everyone under
`net.ipv4.ip_nonlocal_bind=1`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

RESERVED_PORTS_END = 1024
"""Ports below it are given to privileged processes only (net.ipv4.ip_unprivileged_port_start)."""

_RTM_GETADDR, _NLMSG_ERROR, _NLMSG_DONE = 22, 2, 3
_NLM_F_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NLMSGHDR = struct.Struct("=IHHII")
_IFADDRMSG_BYTES = 8
_RTATTR = struct.Struct("=HH")
_NETLINK_SECONDS = 2.0


def peer_address(text: str) -> Address:
    """An address as accept(2) gives it: without the scope, and IPv4 also when it came through an IPv6 socket."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def host_addresses() -> set[Address]:
    """Every address of every interface in our network namespace, now. About 50 us. OSError when the kernel refuses."""
    addresses: set[Address] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        # The kernel answers a dump at once; the time-out only keeps a broken one from holding the loop for ever.
        netlink.settimeout(_NETLINK_SECONDS)
        request = _NLMSGHDR.pack(_NLMSGHDR.size + _IFADDRMSG_BYTES, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0)
        netlink.sendto(request + bytes(_IFADDRMSG_BYTES), (0, 0))
        while _addresses_of(netlink.recv(65536), addresses):
            pass
    return addresses


def _addresses_of(datagram: bytes, addresses: set[Address]) -> bool:
    """Add what one datagram of the dump says; False after its last message."""
    offset = 0
    while offset < len(datagram):
        length, kind, _flags, _sequence, _pid = _NLMSGHDR.unpack_from(datagram, offset)
        if kind == _NLMSG_DONE:
            return False
        if kind == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", datagram, offset + _NLMSGHDR.size)[0]
            raise OSError(code, "the kernel refused to list the host's addresses")
        address = _local_address(datagram, offset + _NLMSGHDR.size + _IFADDRMSG_BYTES, offset + length)
        if address is not None:
            addresses.add(address)
        offset += (length + 3) & ~3
    return True


def _local_address(datagram: bytes, offset: int, end: int) -> Address | None:
    """IFA_LOCAL where there is one: on a point-to-point link IFA_ADDRESS is the *other* end."""
    found: Address | None = None
    while offset + _RTATTR.size <= end:
        length, kind = _RTATTR.unpack_from(datagram, offset)
        packed = datagram[offset + _RTATTR.size : offset + length]
        if kind == _IFA_LOCAL:
            return ip_address(packed)
        if kind == _IFA_ADDRESS:
            found = ip_address(packed)
        offset += max((length + 3) & ~3, _RTATTR.size)
    return found


class AccessRule:
    """The rule of one server: the host itself, plus networks.

    `reserved_ports_only` also wants a source port below 1024, which ordinary users of the host cannot have. The kernel
    client and dockerd have one; user-space clients (libnfs) do not, so it is off unless asked for.
    """

    def __init__(self, allowed: Iterable[str] = (), *, reserved_ports_only: bool = False) -> None:
        """`allowed`: addresses and CIDR networks. ValueError names the one that is neither."""
        self._networks = [parse_network(text) for text in allowed]
        self._reserved_ports_only = reserved_ports_only

    def refusal(self, host: str, port: int) -> str | None:
        """Why this peer may not speak, for the log; None: he may."""
        address = peer_address(host)
        if self._reserved_ports_only and port >= RESERVED_PORTS_END:
            return f"its port {port} is not below {RESERVED_PORTS_END}"
        if address.is_loopback or any(address in network for network in self._networks):
            return None
        try:
            ours = host_addresses()
        except OSError as error:
            return f"the host's own addresses are unknown ({error})"
        if address in ours:
            return None
        return "it is neither this host nor in an allowed network"


def parse_network(text: str) -> Network:
    """ADDRESS or ADDRESS/BITS. ValueError when it is neither, or when bits of the host part are set."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address and no network: {error}") from None
