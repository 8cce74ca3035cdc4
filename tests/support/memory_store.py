"""The `Store` port in memory, held to the same contract as the real ones (tests/aegis/adapters/store/test_contract.py).

For tests of services that own time: nothing in it waits for a thread or a socket. Its calls take a turn of the event
loop where that matters (others can come between), and what they check and change is never apart.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from aegis.domain.events import Event
from aegis.domain.execution import FINAL_STATES, Agent, Execution, ExecutionState
from aegis.domain.iteration import Iteration
from aegis.domain.manifest import AccessMode
from aegis.domain.transitions import InvalidTransition
from aegis.domain.volume import Attachment, Volume, VolumeEvent, VolumeState
from aegis.errors import Conflict, NotFound, VolumeAlreadyMounted
from aegis.ports import ModelUsage


def clean(text: str | None) -> str | None:
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class MemoryStore:
    def __init__(self) -> None:
        self._agents: list[Agent] = []
        self._executions: dict[str, Execution] = {}
        self._iterations: dict[tuple[str, int], Iteration] = {}
        self._volumes: dict[str, Volume] = {}
        self._attachments: dict[str, Attachment] = {}
        self._events: dict[str, list[Event]] = {"": []}
        self._inner: dict[tuple[str, int], str] = {}
        self._usage: dict[str, dict[tuple[int, str], ModelUsage]] = {}

    # ---- agents ----

    async def add_agent(self, agent: Agent) -> None:
        self._agents.append(agent)

    async def get_agent(self, tenant_id: str, name_or_id: str) -> Agent:
        for agent in reversed(self._agents):
            if agent.tenant_id == tenant_id and name_or_id in (agent.name, agent.id):
                return agent
        raise NotFound(f"There is no agent {name_or_id}")

    async def list_agents(self, tenant_id: str, *, limit: int = 100) -> list[Agent]:
        latest = {agent.name: agent for agent in self._agents if agent.tenant_id == tenant_id}
        return sorted(latest.values(), key=lambda agent: agent.created_at, reverse=True)[:limit]

    async def remove_agent(self, tenant_id: str, name: str) -> None:
        kept = [agent for agent in self._agents if (agent.tenant_id, agent.name) != (tenant_id, name)]
        if len(kept) == len(self._agents):
            raise NotFound(f"There is no agent {name}")
        self._agents = kept

    # ---- executions ----

    async def add_execution(self, execution: Execution, events: Sequence[Event] = ()) -> None:
        self._executions[execution.id] = execution
        self._events[execution.id] = []
        self._append(events)

    async def get_execution(self, execution_id: str) -> Execution:
        await asyncio.sleep(0)
        if execution_id not in self._executions:
            raise NotFound(f"There is no execution {execution_id}")
        return self._executions[execution_id]

    async def list_executions(
        self, tenant_id: str | None = None, *, states: Sequence[ExecutionState] = (), limit: int = 100
    ) -> list[Execution]:
        found = [
            each
            for each in self._executions.values()
            if tenant_id in (None, each.tenant_id) and (not states or each.state in states)
        ]
        return sorted(found, key=lambda each: each.created_at, reverse=True)[:limit]

    async def list_unfinished(self, node_id: str) -> list[Execution]:
        found = [
            each
            for each in self._executions.values()
            if each.state not in FINAL_STATES and each.node_id in (None, node_id)
        ]
        return sorted(found, key=lambda each: (each.created_at, each.id))

    async def update_execution(
        self, execution: Execution, *, expect: ExecutionState, events: Sequence[Event] = ()
    ) -> None:
        await asyncio.sleep(0)
        found = self._executions.get(execution.id)
        if found is None:
            raise NotFound(f"There is no execution {execution.id}")
        if found.state is not expect:
            raise Conflict(f"Execution {found.id} is {found.state}, not {expect}")
        self._executions[execution.id] = execution
        self._append(events)

    async def add_iteration(self, iteration: Iteration, events: Sequence[Event] = ()) -> None:
        key = (iteration.execution_id, iteration.number)
        if iteration.execution_id not in self._executions or key in self._iterations:
            raise Conflict(f"Iteration {key} cannot be added")
        self._iterations[key] = iteration
        self._append(events)

    async def update_iteration(self, iteration: Iteration, events: Sequence[Event] = ()) -> None:
        key = (iteration.execution_id, iteration.number)
        if key not in self._iterations:
            raise NotFound(f"There is no iteration {key}")
        texts = {name: clean(getattr(iteration, name)) for name in ("final", "error", "feedback")}
        self._iterations[key] = replace(iteration, **texts)
        self._append(events)

    async def list_iterations(self, execution_id: str) -> list[Iteration]:
        return [self._iterations[key] for key in sorted(self._iterations) if key[0] == execution_id]

    async def save_inner_loop(
        self, execution_id: str, iteration: int, state: Mapping[str, Any], events: Sequence[Event] = ()
    ) -> None:
        if not all(event.execution_id in self._executions for event in events):
            raise NotFound("An event of no execution")
        self._inner[execution_id, iteration] = json.dumps(dict(state))
        self._append(events)

    async def add_usage(self, execution_id: str, usage: ModelUsage) -> None:
        if execution_id not in self._executions:
            raise NotFound(f"There is no execution {execution_id}")
        rows = self._usage.setdefault(execution_id, {})
        old = rows.get(
            (usage.iteration, usage.alias), replace(usage, calls=0, input_tokens=0, output_tokens=0, cost=None)
        )
        rows[(usage.iteration, usage.alias)] = replace(
            old,
            calls=old.calls + usage.calls,
            input_tokens=old.input_tokens + usage.input_tokens,
            output_tokens=old.output_tokens + usage.output_tokens,
            cost=old.cost if usage.cost is None else (old.cost or 0.0) + usage.cost,
        )

    async def list_usage(self, execution_id: str) -> list[ModelUsage]:
        rows = self._usage.get(execution_id, {})
        return [rows[key] for key in sorted(rows)]

    async def load_inner_loop(self, execution_id: str, iteration: int) -> Mapping[str, Any] | None:
        text = self._inner.get((execution_id, iteration))
        return None if text is None else json.loads(text)

    # ---- volumes ----

    async def add_volume(self, volume: Volume, events: Sequence[Event] = ()) -> None:
        self._volumes[volume.id] = volume
        self._append(events)

    async def get_volume(self, tenant_id: str, volume_id: str) -> Volume:
        volume = self._volumes.get(volume_id)
        if volume is None or volume.tenant_id != tenant_id:
            raise NotFound(f"There is no volume {volume_id}")
        return volume

    async def list_volumes(
        self,
        tenant_id: str | None = None,
        *,
        states: Sequence[VolumeState] = (),
        owner_execution_id: str | None = None,
        limit: int = 1000,
    ) -> list[Volume]:
        return [
            each
            for each in reversed(self._volumes.values())
            if tenant_id in (None, each.tenant_id)
            and (not states or each.state in states)
            and owner_execution_id in (None, each.owner_execution_id)
        ][:limit]

    async def update_volume(self, volume: Volume, *, expect: VolumeState, events: Sequence[Event] = ()) -> None:
        found = await self.get_volume(volume.tenant_id, volume.id)
        if found.state is not expect:
            raise Conflict(f"Volume {found.name} is {found.state}, not {expect}")
        self._volumes[volume.id] = volume
        self._append(events)

    async def add_attachment(self, attachment: Attachment, events: Sequence[Event] = ()) -> None:
        volume = self._volumes[attachment.volume_id]
        try:
            attached = volume.after(VolumeEvent.ATTACH)
        except InvalidTransition:
            raise Conflict(f"Volume {volume.name} is {volume.state} and cannot be attached") from None
        if attachment.access_mode is AccessMode.READ_WRITE:
            for other in self._attached(volume_id=volume.id):
                if other.access_mode is AccessMode.READ_WRITE:
                    raise VolumeAlreadyMounted(f"Volume {volume.name} is mounted by execution {other.execution_id}")
        self._volumes[volume.id] = attached
        self._attachments[attachment.id] = attachment
        self._append(events)

    async def end_attachment(self, attachment_id: str, at: datetime, events: Sequence[Event] = ()) -> None:
        attachment = self._attachments[attachment_id]
        if attachment.detached_at is not None:
            return
        self._attachments[attachment_id] = replace(attachment, detached_at=at)
        if not self._attached(volume_id=attachment.volume_id):
            volume = self._volumes[attachment.volume_id]
            self._volumes[volume.id] = volume.after(VolumeEvent.DETACH)
        self._append(events)

    async def list_attachments(
        self, *, execution_id: str | None = None, volume_id: str | None = None, live_only: bool = True
    ) -> list[Attachment]:
        return self._attached(execution_id, volume_id, live_only)

    def _attached(
        self, execution_id: str | None = None, volume_id: str | None = None, live_only: bool = True
    ) -> list[Attachment]:
        return [
            each
            for each in self._attachments.values()
            if execution_id in (None, each.execution_id)
            and volume_id in (None, each.volume_id)
            and not (live_only and each.detached_at)
        ]

    # ---- events ----

    async def append_events(self, events: Sequence[Event]) -> None:
        await asyncio.sleep(0)
        for event in events:
            if (event.execution_id or "") not in self._events:
                raise NotFound(f"There is no execution {event.execution_id}")
        self._append(events)

    async def list_events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        return self._events.get(execution_id, [])[after : after + limit]

    async def ping(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def _append(self, events: Sequence[Event]) -> None:
        for event in events:
            stream = self._events[event.execution_id or ""]
            data = json.loads(json.dumps(event.data))
            stream.append(replace(event, data=data, sequence=len(stream) + 1))
