"""The forward proxy's listeners, and the tasks of the connections they take."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import Counter

from aegis.adapters.proxy.exchange import Exchange
from aegis.adapters.proxy.flow import Flow
from aegis.adapters.proxy.interface import Egress, R
from aegis.errors import WorldError

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 8192  # of all clients together; more are cut when they come
CONNECTIONS_PER_ADDRESS_MAX = 512  # and of one: a container's whole share, identified or not
BACKLOG_MAX = 512
STOP_SECONDS = 5.0


class ProxyAddressUnavailable(WorldError):
    """The address cannot be listened on: taken, or not ours."""

    code = "address_unavailable"
    retryable = False


class ProxyServer:
    """Listens on any number of addresses; `close` ends what is under way."""

    def __init__(self, egress: Egress[R], *, idle_seconds: float = 300.0) -> None:
        self._egress = egress
        self._idle_seconds = idle_seconds
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        return len(self._tasks)

    async def listen(self, host: str, port: int) -> int:
        """The port it listens on then (0 asks for any). ProxyAddressUnavailable."""
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: Flow(self._connected), host, port, backlog=BACKLOG_MAX)
        except OSError as error:
            step = "The address is not one of this host's (`ip address`)"
            if error.errno == errno.EADDRINUSE:
                step = f"Find who has it (`ss -ltnp 'sport = :{port}'`), or set another egress.port"
            raise ProxyAddressUnavailable(
                f"The agents' proxy cannot listen on {host}:{port}: {error.strerror or error}", next_step=step
            ) from error
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def probe(self) -> None:
        """Ask every listener, over TCP, what it asks of everybody: credentials. WorldError when one does not."""
        for server in self._servers:
            host, port = server.sockets[0].getsockname()[:2]
            try:
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(b"OPTIONS * HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
                    answer = await reader.readline()
                finally:
                    writer.close()
            except OSError as error:
                raise WorldError(f"the agents' proxy on {host}:{port} does not answer: {error}") from error
            if not answer.startswith(b"HTTP/1.1 407 "):
                raise WorldError(f"the agents' proxy on {host}:{port} answers {answer[:100]!r}, and not with 407")

    async def close(self) -> None:
        """Safe to repeat."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        self._servers.clear()

    def _connected(self, flow: Flow) -> None:
        address = str((flow.transport.get_extra_info("peername") or ("?",))[0])
        if len(self._tasks) >= CONNECTIONS_MAX or self._addresses[address] >= CONNECTIONS_PER_ADDRESS_MAX:
            log.warning("a connection of %s to the agents' proxy was cut: there are %d", address, len(self._tasks))
            flow.abort()
            return
        self._addresses[address] += 1
        task = asyncio.create_task(self._serve(flow), name=f"proxy {address}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, address))

    async def _serve(self, flow: Flow) -> None:
        try:
            await Exchange(flow, self._egress, self._idle_seconds).run()
        except Exception:  # we are wrong: this one connection fails, the daemon goes on
            log.exception("the agents' proxy failed")
            flow.abort()

    def _ended(self, task: asyncio.Task[None], address: str) -> None:
        self._tasks.discard(task)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
