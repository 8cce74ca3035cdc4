"""The way out of an agent on loopback: gate and proxy as the daemon wires them, names resolved from a table of the
test, and servers of the outside world that answer what the test says.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from aegis.adapters.proxy import ProxyServer
from aegis.domain.events import Event
from aegis.domain.execution import Execution
from aegis.domain.manifest import NetworkMode, NetworkPolicy, Security
from aegis.errors import HostUnreachable, WorldError
from aegis.services.egress import EgressGate, EgressSettings
from aegis.services.egress.session import EgressSession, Rules
from aegis.services.recorder import Journal
from tests.support import samples
from tests.support.clock import FakeClock

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
WAIT_SECONDS = 20.0


@dataclass
class WayOut:
    """`names`: what the resolver knows. `events`: what was told, in order; `full`: it takes none."""

    names: dict[str, list[str]] = field(default_factory=dict)
    opened: tuple[Any, ...] = LOOPBACK
    closed: tuple[Any, ...] = ()
    own: tuple[str, ...] = ()
    ports: Sequence[int] = range(1, 65536)
    routes_max: int = 128
    idle_seconds: float = 60.0
    events: list[Event] = field(default_factory=list)
    full: bool = False
    resolved: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # since the first name was
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        rules = Rules(
            resolve=self._resolve,
            is_own=lambda address: address in self.own,
            opened=self.opened,
            closed=self.closed,
            ports=self.ports,
            routes_max=self.routes_max,
        )
        settings = EgressSettings(rules=rules, secret=b"secret", put=self._put, drained=self._drained)
        self.gate = EgressGate(settings, self.clock)
        self.proxy = ProxyServer(self.gate, idle_seconds=self.idle_seconds)
        self.port = 0

    async def _resolve(self, host: str) -> Sequence[str]:
        self.resolved.append(host)
        self.asked.set()
        if host not in self.names:
            raise HostUnreachable(f"{host} has no address: the test knows none")
        return self.names[host]

    def _put(self, events: Sequence[Event]) -> None:
        if self.full:
            raise WorldError("no more events are taken")
        self.events.extend(events)

    async def _drained(self) -> None:
        pass

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[WayOut]:
        self.port = await self.proxy.listen("127.0.0.1", 0)
        try:
            yield self
        finally:
            await self.proxy.close()

    @asynccontextmanager
    async def session(
        self, *allowlist: str, mode: NetworkMode = NetworkMode.ALLOW, denylist: tuple[str, ...] = ()
    ) -> AsyncIterator[EgressSession]:
        """An execution's way out; `self.execution` is the execution."""
        policy = NetworkPolicy(mode=mode, allowlist=allowlist, denylist=denylist)
        self.execution = execution(policy)
        journal = Journal(NO_SINK, self.clock, self.execution.id, 1)
        async with self.gate.session(self.execution, journal) as session:
            yield session

    @property
    def url(self) -> str:
        """The proxy's, with the execution's credentials: HTTP_PROXY of its container."""
        return self.gate.environment(self.execution, f"127.0.0.1:{self.port}")["HTTP_PROXY"]

    @property
    def credentials(self) -> bytes:
        """The header line."""
        pair = f"{self.execution.id}:{self.gate.key(self.execution.id)}"
        return b"Proxy-Authorization: Basic " + base64.b64encode(pair.encode()) + b"\r\n"

    async def ask(self, data: bytes, *, end: bool = False) -> bytes:
        """Everything the proxy answers to these bytes on one connection."""
        async with asyncio.timeout(WAIT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(data)
            if end:
                writer.write_eof()
            try:
                return await reader.read()
            finally:
                writer.close()

    async def get(self, url: str, *headers: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
        """One request for a URL with the execution's credentials; the whole answer."""
        host = b"" if any(each.lower().startswith(b"host:") for each in headers) else b"Host: any\r\n"
        lines = b"".join(each + b"\r\n" for each in headers)
        head = method + b" " + url.encode() + b" HTTP/" + version + b"\r\n" + host + self.credentials + lines
        return await self.ask(head + b"Connection: close\r\n\r\n")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.kind == kind]


class NoSink:
    async def emit(self, *events: Event) -> None:
        raise AssertionError("network events go the way that never waits")

    def wake(self, execution_id: str) -> None:
        pass

    def follow(self, execution_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        raise NotImplementedError


NO_SINK = NoSink()


def execution(policy: NetworkPolicy) -> Execution:
    return samples.execution(
        agent_name="walker", manifest=samples.manifest("walker", tools=("web.*",), security=Security(network=policy))
    )


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@dataclass
class Outside:
    """A server of the world on a port of its own, and what it was sent, one entry a connection."""

    port: int
    heard: list[bytes]


@asynccontextmanager
async def outside(*answer: bytes, talk: Talk | None = None, host: str = "127.0.0.1") -> AsyncIterator[Outside]:
    """Sends `answer` once a request's head is there, and closes; or does what `talk` does."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if talk is not None:
                await talk(reader, writer)
            else:
                heard.append(await reader.readuntil(b"\r\n\r\n"))
                for part in answer:
                    writer.write(part)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield Outside(server.sockets[0].getsockname()[1], heard)
    finally:
        server.close()
