"""One iteration's way out: who may be reached, through which addresses, and what has gone there.

The rules to know:
- A name is resolved here, once, and what comes back is judged address by address. Who was admitted connects to the
  addresses of its `Route` and to nothing else: to resolve again would be to ask somebody else the same question.
- A route is open until it is closed, and is cut when the iteration ends: its container is gone then, or has to be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from aegis.domain.addresses import Network, forbidden
from aegis.domain.execution import Execution
from aegis.domain.hosts import WEB_PORTS, Address, as_address, first_match, network_ruling, normal_host
from aegis.domain.manifest import NetworkMode, NetworkPolicy
from aegis.domain.text import shorten
from aegis.errors import Conflict, HostUnreachable, NetworkDenied, Overloaded
from aegis.services.egress.ledger import ALLOWED, DENIED, FAILED, Ledger, Line

REFUSALS_MAX = 10  # told with one command's result
RULE_CHARACTERS_MAX = 400  # of a long allowlist in an event and in a refusal

_CONTAINERS = "an address of agents' containers"

Resolve = Callable[[str], Awaitable[Sequence[str]]]
IsOwn = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The node's part of every decision."""

    resolve: Resolve  # a name's addresses; HostUnreachable when there are none
    is_own: IsOwn  # whether an address is one of this host's
    opened: Collection[Network] = ()  # networks that are not the world's and may be reached all the same
    closed: Collection[Network] = ()  # and those that never may: the containers' own
    ports: Collection[int] = WEB_PORTS  # of hosts whose entry names no port
    routes_max: int = 128  # open at once, of one execution


@dataclass(slots=True, eq=False)
class Route:
    """A way to one host that was admitted. `close` when it is over, `on_cut`: called when it has to be."""

    host: str
    port: int
    addresses: tuple[str, ...]
    line: Line
    closed: bool = False
    _session: EgressSession | None = field(default=None, repr=False)
    _cut: Callable[[], None] | None = None

    def sent(self, count: int) -> None:
        self.line.bytes_sent += count
        if self._session is not None:
            self._session.totals.bytes_sent += count

    def received(self, count: int) -> None:
        self.line.bytes_received += count
        if self._session is not None:
            self._session.totals.bytes_received += count

    def on_cut(self, cut: Callable[[], None]) -> None:
        """At once where it was cut already."""
        self._cut = cut
        if self.closed:
            cut()

    def close(self) -> None:
        self.closed = True
        self._cut = None
        if self._session is not None:
            self._session.routes.discard(self)

    def cut(self) -> None:
        self.closed = True
        if self._cut is not None:
            self._cut()


@dataclass(slots=True)
class Totals:
    """Of the node since its start, for its metrics."""

    allowed: int = 0
    denied: int = 0
    failed: int = 0
    unauthorized: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class EgressSession:
    def __init__(self, execution: Execution, rules: Rules, ledger: Ledger, totals: Totals) -> None:
        self.execution_id = execution.id
        self.routes: set[Route] = set()
        self.totals = totals
        self._agent = execution.agent_name
        self._policy: NetworkPolicy = execution.manifest.security.network
        self._rules = rules
        self._ledger = ledger
        self._admitting = 0
        self._refusals: dict[str, None] = {}
        self._closed = False

    async def admit(self, host: str, port: int) -> Route:
        """The way to `host`, which may be written in any form.

        NetworkDenied says what would allow it, and is told by `refusals` as well; Overloaded: too many are open;
        HostUnreachable: it has no address; WorldError: nothing can be recorded now."""
        try:
            name = normal_host(host)
        except ValueError as error:
            raise self._denied(shorten(host, 100), port, str(error), "Write the host's name") from None
        ruling = network_ruling(self._policy, name, port, ports=self._rules.ports)
        rule = shorten(ruling.rule, RULE_CHARACTERS_MAX)
        if not ruling.allowed:
            raise self._denied(name, port, rule, self._remedy(name, port))
        if len(self.routes) + self._admitting >= self._rules.routes_max:
            self._note(DENIED, name, port, f"{self._rules.routes_max} connections are open already")
            raise Overloaded(f"{self._rules.routes_max} connections of this execution are open already")
        self._admitting += 1
        try:
            addresses = await self._addresses(name, port)
        finally:
            self._admitting -= 1
        if self._closed:
            raise Conflict(f"The iteration of execution {self.execution_id} is over")
        route = Route(name, port, addresses, self._note(ALLOWED, name, port, rule), _session=self)
        self.routes.add(route)
        return route

    def failed(self, route: Route, why: str) -> None:
        """Admitted, and not reached."""
        self._note(FAILED, route.host, route.port, shorten(why, RULE_CHARACTERS_MAX))

    def refusals(self) -> list[str]:
        """What was refused since this was asked last, each once: programs do not always show what they were told."""
        found = list(self._refusals)
        self._refusals.clear()
        return found

    def tell(self, *, everything: bool = False) -> None:
        self._ledger.tell(everything=everything)

    def close(self) -> None:
        """Every route is cut, and what was not told is."""
        self._closed = True
        for route in list(self.routes):
            route.cut()
        self.routes.clear()
        self._ledger.tell(everything=True)

    async def _addresses(self, name: str, port: int) -> tuple[str, ...]:
        """Those of the name's addresses that may be connected to; the name of an address is itself."""
        try:
            found = [name] if as_address(name) is not None else await self._rules.resolve(name)
        except HostUnreachable as error:
            self._note(FAILED, name, port, error.message)
            raise
        reasons = {each: self._objection(ip_address(each), port) for each in found}
        good = tuple(each for each, reason in reasons.items() if not reason)
        if good:
            return good
        address, reason = next(iter(reasons.items()))
        where = f"it is {reason}" if address == name else f"it leads to {address}, {reason}"
        step = f"The operator can open {address} to agents: egress.allow_addresses" if reason != _CONTAINERS else ""
        raise self._denied(name, port, where, step)

    def _objection(self, address: Address, port: int) -> str:
        if first_match(map(str, self._rules.closed), str(address)) is not None:
            return _CONTAINERS
        reason = forbidden(address, self._rules.opened)
        if reason:
            return reason
        denied = first_match(self._policy.denylist, str(address), port)
        if denied is not None:
            return f"which security.network.denylist names ({denied})"
        # Opening a network does not open the node in it: that is said by its very address.
        singly = any(each.num_addresses == 1 and each.network_address == address for each in self._rules.opened)
        return "" if singly or not self._rules.is_own(str(address)) else "an address of the node itself"

    def _denied(self, host: str, port: int, rule: str, next_step: str) -> NetworkDenied:
        self._note(DENIED, host, port, rule)
        denied = NetworkDenied(f"{host}:{port} is refused: {rule}", next_step=next_step)
        if len(self._refusals) < REFUSALS_MAX:
            self._refusals[str(denied)] = None
        return denied

    def _note(self, kind: str, host: str, port: int, rule: str) -> Line:
        line = self._ledger.note(kind, host, port, rule)
        if kind == ALLOWED:
            self.totals.allowed += 1
        elif kind == DENIED:
            self.totals.denied += 1
        else:
            self.totals.failed += 1
        return line

    def _remedy(self, name: str, port: int) -> str:
        """What an author would write to allow it."""
        entry = name if port in self._rules.ports else f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        place = f"of the manifest of {self._agent}"
        if self._policy.mode is NetworkMode.NONE:
            return f"To allow it, set mode allow and allowlist [{entry}] in spec.security.network_policy {place}"
        if self._policy.mode is NetworkMode.DENY:
            return f"What is refused is in spec.security.network_policy {place}"
        return f"To allow it, add {entry} to spec.security.network_policy.allowlist {place}"
