"""What is, compared with what should be; and what is too much removed.

What is: the engine's managed objects of this node, and the executions, attachments and volumes in the store. What
should be: the executions this daemon runs, those it goes on with after a restart among them. It takes no other input
and remembers nothing but since when it has seen a thing.

The rules to know:
- Objects and executions of another node (`aegis.node_id`) are never touched: several daemons may share an engine, and
  a database.
- What an ended execution has left is removed when it was seen for `grace_seconds`: the run that is about to remove it
  itself comes first. An execution without a final state that nobody runs has nobody to wait for.
- Order: containers, their Docker volumes (which unmounts them), exports and storage, and the final state last; and
  judges before the execution whose volumes they hold.
- Each removal stands alone: what fails is logged and found again the next time.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from aegis.domain import labels
from aegis.domain.execution import FINAL_STATES, Execution, ExecutionEvent
from aegis.domain.iteration import IterationEvent, IterationState
from aegis.errors import AegisError, NotFound
from aegis.ports import Clock, ContainerRuntime, EventSink, ManagedObject, Store
from aegis.services.recorder import Journal
from aegis.services.volumes import LIVE_STATES, VolumeService

logger = logging.getLogger(__name__)

GRACE_SECONDS: Final = 120.0
PERIOD_SECONDS: Final = 60.0
CODE: Final = "daemon_restarted"  # of judges, whose parents ask again; of all others it would be a fault of ours
REASON: Final = "The daemon ended while this was running; what was left of it has been removed"
ORDER: Final = {"container": 0, "volume": 1, "network": 2}


class Running(Protocol):
    """`ExecutionSupervisor`, as far as it is asked here."""

    def is_running(self, execution_id: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Surplus:
    """What one execution has left: engine objects in the order of their removal, volumes it holds, a missing end."""

    execution_id: str
    objects: tuple[ManagedObject, ...]
    holds_volumes: bool
    unfinished: bool

    def __str__(self) -> str:
        parts = [f"{each.what} {each.name}" for each in self.objects]
        parts += ["its volumes"] if self.holds_volumes else []
        parts += ["its final state"] if self.unfinished else []
        return f"execution {self.execution_id}: {', '.join(parts)}"


class Reconciler:
    def __init__(
        self,
        *,
        store: Store,
        runtime: ContainerRuntime,
        volumes: VolumeService,
        supervisor: Running,
        events: EventSink,
        clock: Clock,
        node_id: str,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._volumes = volumes
        self._supervisor = supervisor
        self._events = events
        self._clock = clock
        self._node_id = node_id
        self._seen: dict[str, float] = {}  # execution id -> since when (monotonic) it has left something

    async def run(
        self, *, period_seconds: float = PERIOD_SECONDS, after_pass: Callable[[], None] = lambda: None
    ) -> None:
        """Reconcile for ever, beginning with what a daemon before us left; `after_pass` is called after each, also one
        that failed. The caller owns and cancels the task."""
        grace = 0.0
        while True:
            try:
                await self.reconcile(grace_seconds=grace)
                grace = GRACE_SECONDS
            except AegisError as error:  # the engine or the database is away: there will be a next time
                logger.warning("what is left over could not be looked for: %s", error)
            after_pass()
            await self._clock.sleep(period_seconds)

    async def reconcile(self, *, grace_seconds: float = GRACE_SECONDS, dry_run: bool = False) -> list[Surplus]:
        """One pass: what was removed, or with `dry_run` what would be. What could not be removed is in neither."""
        found = await self._surplus(grace_seconds)
        if dry_run:
            return found
        removed = [each for each in found if await self._remove(each)]
        await self._volumes.sweep(unfinished_seconds=grace_seconds)
        return removed

    # ---- the comparison ----

    async def _surplus(self, grace_seconds: float) -> list[Surplus]:
        """The engine is asked before the store: an execution that begins between the two is known to the store, and
        what it makes was not seen."""
        objects: dict[str, list[ManagedObject]] = defaultdict(list)
        for each in await self._runtime.list_managed():
            owner = each.labels.get(labels.EXECUTION_ID)
            if owner is not None and each.labels.get(labels.NODE_ID) == self._node_id:
                objects[owner].append(each)
        unfinished = {each.id: each for each in await self._store.list_unfinished(self._node_id)}
        holding = {each.execution_id for each in await self._store.list_attachments()}
        holding |= {each.owner_execution_id or "" for each in await self._store.list_volumes(states=LIVE_STATES)} - {""}
        holding = {each for each in holding if each in unfinished or await self._is_ours(each)}
        idle = [each for each in {*objects, *unfinished, *holding} if not self._supervisor.is_running(each)]
        now = self._clock.monotonic()
        self._seen = {each: self._seen.get(each, now) for each in idle}
        return [
            Surplus(
                each,
                tuple(sorted(objects.get(each, ()), key=lambda found: ORDER[found.what])),
                each in holding,
                each in unfinished,
            )
            for each in sorted(idle, key=lambda each: (-_generation(each, unfinished), each))
            if each in unfinished or now - self._seen[each] >= grace_seconds
        ]

    async def _is_ours(self, execution_id: str) -> bool:
        """Also when it has ended, and where nobody knows whose it is."""
        if self._supervisor.is_running(execution_id):
            return True
        execution = await self._execution(execution_id)
        return execution is None or execution.node_id in (None, self._node_id)

    # ---- the removal ----

    async def _remove(self, surplus: Surplus) -> bool:
        logger.info("left over, and removed now: %s", surplus)
        done = [await self._tried(surplus, self._remove_object(each)) for each in surplus.objects]
        if not all(done):
            return False  # an export goes when nothing mounts it any more
        execution = await self._execution(surplus.execution_id)
        if execution is None:
            return True
        released = await self._tried(surplus, self._volumes.release(execution))
        if not released or execution.state in FINAL_STATES:
            return released
        return await self._tried(surplus, self._end(execution))

    async def _tried(self, surplus: Surplus, step: Awaitable[None]) -> bool:
        try:
            await step
        except AegisError as error:
            logger.warning("a part of what is left stays for now (%s): %s", surplus, error)
            return False
        return True

    async def _remove_object(self, found: ManagedObject) -> None:
        match found.what:
            case "container":
                await self._runtime.remove_container(found.id)
            case "volume":
                await self._runtime.remove_volume(found.name)
            case "network":
                await self._runtime.remove_network(found.name)

    async def _execution(self, execution_id: str) -> Execution | None:
        """None for an execution the store does not know: of this node by its label, from a database that is gone."""
        try:
            return await self._store.get_execution(execution_id)
        except NotFound:
            return None

    async def _end(self, execution: Execution) -> None:
        """A true final state for an execution, and for the iteration it was in."""
        journal = Journal(self._events, self._clock, execution.id)
        now = self._clock.now()
        for iteration in await self._store.list_iterations(execution.id):
            if iteration.state is IterationState.RUNNING:
                failed = iteration.after(IterationEvent.FAIL, now, error=REASON, error_code=CODE)
                event = journal.of(iteration.number).event("iteration.failed", number=iteration.number, code=CODE)
                await self._store.update_iteration(failed, [event])
        ended = execution.after(ExecutionEvent.FAIL, now, error_code=CODE, error=REASON)
        event = journal.event("execution.failed", code=CODE, error=REASON)
        await self._store.update_execution(ended, expect=execution.state, events=[event])
        journal.wake()


def _generation(execution_id: str, known: Mapping[str, Execution]) -> int:
    """How many of an execution's parents are known."""
    generation, found = 0, known.get(execution_id)
    while found is not None and found.parent_id is not None:
        generation, found = generation + 1, known.get(found.parent_id)
    return generation
