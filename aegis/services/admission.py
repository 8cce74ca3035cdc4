"""Whose turn it is: how many executions run and wait, and who is next.

Tenants take turns, and within a tenant who came first goes first: one that asks for a thousand at once delays another's
single one by one turn, not by a thousand. A limit of its own keeps a tenant from holding every place with long ones.

The rule to know: every place is given back (`leave`), granted or not, and at once: granting is one step of the event
loop, so nothing comes between a place that is free and who is next.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

from aegis.errors import Overloaded

NEXT_STEP = "Try again when some have ended"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many may run and wait. Of one tenant: None, as many as of all."""

    concurrent: int = 16
    waiting: int = 1000
    concurrent_per_tenant: int | None = None
    waiting_per_tenant: int | None = None

    def of_tenant(self) -> tuple[int, int]:
        """(concurrent, waiting)"""
        concurrent = self.concurrent if self.concurrent_per_tenant is None else self.concurrent_per_tenant
        return concurrent, self.waiting if self.waiting_per_tenant is None else self.waiting_per_tenant


class Place:
    """One execution's, from when it is asked for to when it is given back."""

    __slots__ = ("granted", "tenant_id")

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def turn(self) -> None:
        """Returns when it is this one's turn. Who is cancelled while it waits still has to give it back."""
        await asyncio.shield(self.granted)


class Admission:
    """Used on one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._running: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[Place]] = (
            OrderedDict()
        )  # of tenants that have somebody waiting; next first

    @property
    def running(self) -> int:
        return self._running.total()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def check(self, tenant_id: str) -> None:
        """Overloaded when one more of this tenant could neither run nor wait: says whose limit that is."""
        limits = self._limits
        of_all = self.running + self.waiting
        if of_all >= limits.concurrent + limits.waiting:
            raise Overloaded(
                f"{self.running} executions run and {self.waiting} wait; {limits.concurrent} may run and "
                f"{limits.waiting} wait",
                next_step=NEXT_STEP,
            )
        concurrent, waiting = limits.of_tenant()
        running, queued = self._running[tenant_id], len(self._queues.get(tenant_id, ()))
        if running + queued >= concurrent + waiting:
            raise Overloaded(
                f"{running} executions of the tenant {tenant_id} run and {queued} wait; {concurrent} of one tenant may "
                f"run and {waiting} wait",
                next_step=NEXT_STEP,
            )

    def ask(self, tenant_id: str) -> Place:
        """A place: in the queue, or granted at once. Owes one `leave`."""
        place = Place(tenant_id)
        self._queues.setdefault(tenant_id, deque()).append(place)
        self._grant()
        return place

    def seat(self, tenant_id: str) -> Place:
        """A place granted at once, whatever the limits: for one that had it before a restart. Owes one `leave`."""
        place = Place(tenant_id)
        self._running[tenant_id] += 1
        place.granted.set_result(None)
        return place

    def leave(self, place: Place) -> None:
        """Give it back, granted or not."""
        if place.granted.done() and not place.granted.cancelled():
            self._running[place.tenant_id] -= 1
            if not self._running[place.tenant_id]:
                del self._running[place.tenant_id]
        else:
            place.granted.cancel()
            queue = self._queues[place.tenant_id]
            queue.remove(place)
            if not queue:
                del self._queues[place.tenant_id]
        self._grant()

    def ahead_of(self, place: Place) -> int:
        """How many go before this one if nobody leaves and nobody comes: 0 when it is next, or has its turn."""
        if place.granted.done():
            return 0
        own = self._queues[place.tenant_id].index(place)
        turns = 0
        for tenant_id, queue in self._queues.items():
            earlier = own if tenant_id == place.tenant_id else min(len(queue), own + self._goes_first(tenant_id, place))
            turns += earlier
        return turns

    def _goes_first(self, tenant_id: str, place: Place) -> bool:
        """Whether that tenant's turn comes before the place's own tenant's."""
        order = list(self._queues)
        return order.index(tenant_id) < order.index(place.tenant_id)

    def _grant(self) -> None:
        """Give every free place to who is next, tenant by tenant."""
        concurrent, _ = self._limits.of_tenant()
        passed_over = 0
        while self._queues and self.running < self._limits.concurrent and passed_over < len(self._queues):
            tenant_id, queue = next(iter(self._queues.items()))
            if self._running[tenant_id] >= concurrent:
                self._queues.move_to_end(tenant_id)
                passed_over += 1
                continue
            passed_over = 0
            place = queue.popleft()
            if queue:
                self._queues.move_to_end(tenant_id)  # the others' turn comes first
            else:
                del self._queues[tenant_id]
            self._running[tenant_id] += 1
            place.granted.set_result(None)
