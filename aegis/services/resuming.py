"""What a daemon that died has left of a running execution: read from its record and from the engine, before it goes on.

The rules to know:
- What is to go on is the last iteration's agent container, if it was started: it is waited for as it was before. All
  other objects of the execution are removed; they are made anew where they are needed.
- An end that was decided and not yet reached (`execution.ending`: cancelled, stopped, the world failed) stays decided.
- Nothing here changes the store, so a daemon that dies in it is followed by one that finds the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from aegis.domain import labels
from aegis.domain.events import Event
from aegis.domain.images import LocalImage
from aegis.domain.iteration import Iteration
from aegis.errors import Conflict, NotFound
from aegis.ports import ContainerRuntime, ContainerState, ManagedObject
from aegis.services.conversation import Conversation
from aegis.services.recorder import Journal

ENDING: Final = "execution.ending"
PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class LeftContainer:
    """The agent's container of an iteration under way: started, and running or ended by now."""

    id: str
    name: str
    started_at: datetime
    volumes: tuple[str, ...]  # Docker volumes that are its own


@dataclass(frozen=True, slots=True)
class Past:
    """What the events say. Of the last iteration: its container since the world failed last, and how that ended."""

    image: LocalImage | None = None
    ending: Mapping[str, Any] | None = None  # the data of `execution.ending`
    container_id: str | None = None
    exit_code: int | None = None  # None: it had to be killed, or has not ended


@dataclass(frozen=True, slots=True)
class Left:
    """An iteration that an earlier daemon had under way: its container where there is one, else how that ended."""

    iteration: Iteration
    container: LeftContainer | None
    past: Past


def ending_event(journal: Journal, event: str, code: str | None = None, error: str | None = None) -> Event:
    """How an execution is going to end, once everything of it is gone: `event` by its own table's name."""
    return journal.event(ENDING, event=event, code=code, error=error)


class EventLog(Protocol):
    async def list_events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]: ...


class LoopStates(Protocol):
    async def load_inner_loop(self, execution_id: str, iteration: int) -> Mapping[str, Any] | None: ...


async def past_of(store: EventLog, execution_id: str) -> Past:
    image, ending, container_id, exit_code, after = None, None, None, None, 0
    while batch := await store.list_events(execution_id, after=after, limit=PAGE):
        after = batch[-1].sequence
        for event in batch:
            data = event.data
            match event.kind:
                case "image.pulled":
                    image = LocalImage(str(data["image_id"]), str(data["architecture"]), tuple(data["digests"]))
                case "execution.ending":
                    ending = data
                case "iteration.started" | "iteration.retried":
                    container_id, exit_code = None, None
                case "container.started" if container_id is None:  # the agent's is the first; validators' follow
                    container_id = str(data["container_id"])
                case "container.exited" | "container.killed":
                    container_id, exit_code = str(data["container_id"]), data.get("exit_code")
                case "iteration.resumed":  # whose start may not have been told
                    container_id = data.get("container_id") or None
                    exit_code = exit_code if container_id is not None else None
    return Past(image, ending, container_id, exit_code)


async def standing(store: LoopStates, left: Left, journal: Journal) -> Conversation | None:
    """The conversation of an iteration whose container has ended, and is not waited for any more; None where there is
    none, or its container is still there. Tells how the iteration goes on."""
    gone = left.past.container_id
    conversation = await _conversation(store, left)
    if left.container is not None:
        assert conversation is not None, "else it is damaged"
        await _tell(journal, "left", container_id=left.container.id, **conversation.position)
        return None
    if gone is not None and conversation is not None and conversation.final is not None:
        await _tell(journal, "ended", container_id=gone, **conversation.position)
        return conversation
    found = "its container was not started" if gone is None else f"its container {gone[:12]} is gone without a result"
    await _tell(journal, "none", reason=found)
    return None


async def _tell(journal: Journal, container: str, **data: Any) -> None:
    await journal.tell("iteration.resumed", number=journal.iteration, container=container, **data)


async def _conversation(store: LoopStates, left: Left) -> Conversation | None:
    """Conflict when a container is there and what was said to it is not."""
    execution_id, number = left.iteration.execution_id, left.iteration.number
    state = await store.load_inner_loop(execution_id, number)
    try:
        if state is not None:
            return Conversation.from_json(state)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(execution_id, number, f"cannot be read ({type(error).__name__}: {error})") from error
    if left.container is not None:
        raise _damaged(execution_id, number, "is not in the database")
    return None


def _damaged(execution_id: str, number: int, what: str) -> Conflict:
    return Conflict(
        f"Iteration {number} of execution {execution_id} cannot go on: its conversation {what}",
        next_step="Was the database replaced or restored? Execute it again",
    )


class Leftovers:
    """Of one execution at a time, on the engine."""

    def __init__(self, runtime: ContainerRuntime, node_id: str) -> None:
        self._runtime = runtime
        self._node_id = node_id

    async def clear(self, execution_id: str, *, but_agent_of: int | None) -> LeftContainer | None:
        """Remove all of an execution's containers and Docker volumes but the agent's container of that iteration, if it
        was started; that one. WorldError; may be repeated."""
        found = [each for each in await self._runtime.list_managed() if self._is_of(each, execution_id)]
        kept, state = await self._started_agent(found, but_agent_of)
        volumes = {each.name for each in found if each.what == "volume"}
        own = tuple(name for name in state.volumes if name in volumes) if state is not None else ()
        for each in found:
            if each.what == "container" and each is not kept:
                await self._runtime.remove_container(each.id)
        for name in sorted(volumes.difference(own)):
            await self._runtime.remove_volume(name)
        if kept is None or state is None or state.started_at is None:
            return None
        return LeftContainer(kept.id, kept.name, state.started_at, own)

    def _is_of(self, found: ManagedObject, execution_id: str) -> bool:
        ours = found.labels.get(labels.NODE_ID) == self._node_id
        return ours and found.labels.get(labels.EXECUTION_ID) == execution_id

    async def _started_agent(
        self, found: list[ManagedObject], number: int | None
    ) -> tuple[ManagedObject | None, ContainerState | None]:
        wanted = {labels.ITERATION: str(number), labels.CONTAINER_KIND: "agent"}
        for each in found:
            if each.what != "container" or any(each.labels.get(key) != value for key, value in wanted.items()):
                continue
            try:
                state = await self._runtime.state(each.id)
            except NotFound:
                continue
            if state.started_at is not None:
                return each, state
        return None, None
