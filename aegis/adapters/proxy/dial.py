"""Names to addresses, and addresses to connections: two steps, so that what is judged between them is what is used."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import aiohappyeyeballs

from aegis.adapters.proxy.flow import Flow
from aegis.errors import HostUnreachable

RESOLVE_SECONDS = 10.0
RESOLVERS_MAX = 16  # threads: getaddrinfo(3) blocks; a dead name server must not hold the daemon's other threads
ADDRESSES_MAX = 16  # of one name; more are not tried
DIAL_SECONDS = 20.0
SECOND_TRY_SECONDS = 0.25  # RFC 8305 section 5: before the next address is tried beside the first


class SystemResolver:
    """The host's own resolver (`/etc/hosts`, DNS). Owns its threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS_MAX, thread_name_prefix="resolve")

    async def __call__(self, host: str) -> Sequence[str]:
        """The name's addresses, in the system's order of preference. HostUnreachable when there are none in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await loop.run_in_executor(self._threads, _addresses, host)
        except TimeoutError:
            raise HostUnreachable(f"{host}: no answer from the name servers in {RESOLVE_SECONDS:g} s") from None
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise HostUnreachable(f"{host} has no address: {reason}") from error
        return list(dict.fromkeys(found))[:ADDRESSES_MAX]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str) -> list[str]:
    """A zone (`fe80::1%eth0`) is left out: such an address is refused whatever its zone."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found]


def is_own(address: str) -> bool:
    """Whether this host has the address now. The kernel is asked for the way there: to itself it goes from itself."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            return str(probe.getsockname()[0]).partition("%")[0] == address
    except OSError:
        return False  # no way there at all


async def dial(host: str, addresses: Sequence[str], port: int) -> Flow:
    """Connected to the first of these addresses that answers. HostUnreachable."""
    infos = [_info(address, port) for address in addresses]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            connected = await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=SECOND_TRY_SECONDS)
    except TimeoutError:
        raise HostUnreachable(f"{host}:{port} does not answer within {DIAL_SECONDS:g} s") from None
    except OSError as error:
        raise HostUnreachable(f"{host}:{port} cannot be connected to: {_words(error)}") from error
    _, flow = await loop.create_connection(Flow, sock=connected)
    return flow


def _info(address: str, port: int) -> aiohappyeyeballs.AddrInfoType:
    six = ip_address(address).version == 6
    where = (address, port, 0, 0) if six else (address, port)
    return (socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)


def _words(error: OSError) -> str:
    """Of several failures aiohappyeyeballs makes one text; errno is kept where all are of one kind."""
    return os.strerror(error.errno) if error.errno else str(error)
