"""Small real services behind the API: a store, events, a supervisor and a gateway that keep their word in memory.

They do what the ports promise (sequences rise, followers miss nothing, a state changes once), so the API and the CLI
can be spoken to over real HTTP without Docker, NFS or a database. Nothing here scripts calls.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aegis.api.auth import token_hash
from aegis.domain.events import Event
from aegis.domain.execution import FINAL_STATES, Agent, Execution, ExecutionState
from aegis.domain.iteration import Iteration, IterationState
from aegis.domain.manifest import AgentManifest, PullPolicy, Runtime, StorageClass
from aegis.domain.smcp import Attestation, Envelope
from aegis.domain.validation import Judgement, Verdict
from aegis.domain.volume import Attachment, Volume, VolumeState
from aegis.errors import AegisError, Conflict, Denied, NotFound, Refused, Unauthorized
from aegis.ids import DEFAULT_TENANT, new_id
from aegis.ports import FileEntry, ModelUsage, VolumeUsage
from aegis.services.bundles import Bundles
from tests.support.memory_archive import MemoryArchive

API_TOKEN = "test-token-of-the-api-0001"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TERMINAL_KINDS = ("execution.completed", "execution.failed", "execution.cancelled")


class SteppingClock:
    """Each look is a second later: order is visible, nothing waits."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> datetime:
        self._looks += 1
        return START + timedelta(seconds=self._looks)

    def monotonic(self) -> float:
        return float(self._looks)


class MemoryStore:
    """The part of `aegis.ports.Store` the API reads and writes."""

    def __init__(self) -> None:
        self.agents: list[Agent] = []
        self.executions: dict[str, Execution] = {}
        self.iterations: dict[str, list[Iteration]] = {}
        self.volumes: dict[str, Volume] = {}
        self.attachments: list[Attachment] = []
        self.events: dict[str, list[Event]] = {}
        self.usage: dict[str, list[ModelUsage]] = {}
        self.changed = asyncio.Condition()

    async def add_agent(self, agent: Agent) -> None:
        self.agents.insert(0, agent)

    async def get_agent(self, tenant_id: str, name_or_id: str) -> Agent:
        for agent in self.agents:
            if agent.tenant_id == tenant_id and name_or_id in (agent.id, agent.name):
                return agent
        raise NotFound(f"There is no agent {name_or_id}", next_step="aegis agent list")

    async def list_agents(self, tenant_id: str, *, limit: int = 100) -> list[Agent]:
        return [agent for agent in self.agents if agent.tenant_id == tenant_id][:limit]

    async def remove_agent(self, tenant_id: str, name: str) -> None:
        self.agents = [each for each in self.agents if (each.tenant_id, each.name) != (tenant_id, name)]

    async def get_execution(self, execution_id: str) -> Execution:
        try:
            return self.executions[execution_id]
        except KeyError:
            raise NotFound(f"There is no execution {execution_id}") from None

    async def list_executions(
        self, tenant_id: str | None = None, *, states: Sequence[ExecutionState] = (), limit: int = 100
    ) -> list[Execution]:
        newest = reversed(self.executions.values())
        return [e for e in newest if e.tenant_id == tenant_id and (not states or e.state in states)][:limit]

    async def load_inner_loop(self, execution_id: str, iteration: int) -> Mapping[str, Any] | None:
        return None

    async def list_iterations(self, execution_id: str) -> list[Iteration]:
        return list(self.iterations.get(execution_id, []))

    async def list_usage(self, execution_id: str) -> list[ModelUsage]:
        return self.usage.get(execution_id, [])

    async def get_volume(self, tenant_id: str, volume_id: str) -> Volume:
        try:
            found = self.volumes[volume_id]
            if found.tenant_id != tenant_id:
                raise KeyError(volume_id)
            return found
        except KeyError:
            raise NotFound(f"There is no volume {volume_id}", next_step="aegis volume list") from None

    async def list_volumes(self, tenant_id: str | None = None, *, limit: int = 1000) -> list[Volume]:
        theirs = [each for each in self.volumes.values() if tenant_id in (None, each.tenant_id)]
        return theirs[::-1][:limit]

    async def list_attachments(self, *, volume_id: str | None = None, live_only: bool = True) -> list[Attachment]:
        return [attachment for attachment in self.attachments if attachment.volume_id == volume_id]

    async def list_events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        return [event for event in self.events.get(execution_id, []) if event.sequence > after][:limit]

    async def append_events(self, events: Sequence[Event]) -> None:
        async with self.changed:
            for event in events:
                known = self.events.setdefault(event.execution_id or "", [])
                known.append(replace(event, sequence=len(known) + 1))
            self.changed.notify_all()

    async def ping(self) -> None: ...


class MemoryEvents:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.followers = 0
        self.followed = asyncio.Event()

    async def emit(self, *events: Event) -> None:
        await self._store.append_events(events)

    async def follow(self, execution_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        self.followers += 1
        self.followed.set()
        try:
            while True:
                async with self._store.changed:
                    while not (found := await self._store.list_events(execution_id, after=after)):
                        last = self._store.events.get(execution_id, [])[-1:]
                        if last and last[0].kind in TERMINAL_KINDS:
                            return
                        await self._store.changed.wait()
                for event in found:
                    after = event.sequence
                    yield event
                    if event.kind in TERMINAL_KINDS:
                        return
        finally:
            self.followers -= 1


class MemorySupervisor:
    """Starts an execution that waits until the test (or `cancel`) moves it on."""

    def __init__(self, store: MemoryStore, clock: SteppingClock) -> None:
        self._store = store
        self._clock = clock
        self.finish_at_once = False

    async def start(self, agent: Agent, input: str, tenant_id: str, **_: Any) -> Execution:
        now = self._clock.now()
        execution = Execution(
            id=new_id(),
            tenant_id=tenant_id,
            agent_id=agent.id,
            agent_name=agent.name,
            manifest=agent.manifest,
            input=input,
            container_uid=1000,
            container_gid=1000,
            state=ExecutionState.RUNNING,
            created_at=now,
            started_at=now,
            token_hash=token_hash(dispatch_token(agent.id)),
        )
        self._store.executions[execution.id] = execution
        await self.say(execution.id, "execution.started")
        if self.finish_at_once:
            await self.run_wrong_then_right(execution.id)
        return self._store.executions[execution.id]

    async def cancel(self, execution_id: str) -> Execution:
        execution = await self._store.get_execution(execution_id)
        if execution.state in FINAL_STATES:
            raise Conflict(f"Execution {execution_id} is {execution.state}")
        return await self.end(execution_id, ExecutionState.CANCELLED)

    async def end(self, execution_id: str, state: ExecutionState, **changes: Any) -> Execution:
        execution = replace(self._store.executions[execution_id], state=state, ended_at=self._clock.now(), **changes)
        self._store.executions[execution_id] = execution
        await self.say(execution_id, f"execution.{state}")
        return execution

    async def say(self, execution_id: str, kind: str, iteration: int | None = None, **data: Any) -> None:
        event = Event(kind=kind, at=self._clock.now(), execution_id=execution_id, iteration=iteration, data=data)
        await self._store.append_events([event])

    async def run_wrong_then_right(self, execution_id: str) -> None:
        for number, good in ((1, False), (2, True)):
            judged = Judgement("script[0]", float(good), 1.0, good, "" if good else "expected 42, got 41")
            state = IterationState.SUCCESS if good else IterationState.REFINING
            iteration = Iteration(execution_id, number, state, START, verdict=Verdict((judged,)), tool_calls=2)
            self._store.iterations.setdefault(execution_id, []).append(iteration)
            await self.say(execution_id, "iteration.started", number)
            await self.say(execution_id, "container.started", number, name="aegis-agent-c")
            await self.say(execution_id, "tool.called", number, name="cmd.run", arguments={"command": "python3"})
            await self.say(execution_id, "iteration.succeeded" if good else "iteration.refining", number)
        await self.end(execution_id, ExecutionState.COMPLETED, output="done")


def dispatch_token(agent_id: str) -> str:
    return f"dispatch-token-of-{agent_id}"


class MemoryLoop:
    """Dispatches one command, then is done; repeats are answered the same."""

    def __init__(self) -> None:
        self.results: dict[str, Mapping[str, Any]] = {}

    async def task(self, execution: Execution, iteration: int) -> Mapping[str, Any]:
        return {
            "prompt": execution.input,
            "messages": [],
            "agent_id": execution.agent_id,
            "execution_id": execution.id,
            "iteration_number": iteration,
            "model_alias": "default",
        }

    async def generate(self, execution_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"type": "dispatch", "dispatch_id": "d1", "action": "exec", "command": "true", "args": []}

    async def dispatch_output(self, execution_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"type": "noted"}

    async def dispatch_result(self, execution_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        self.results[str(payload["dispatch_id"])] = payload
        return {"type": "final", "content": "done", "tool_calls_executed": 1, "conversation": []}


class NobodysToolCalls:
    """For a node whose containers have attested nothing: every token is refused, as `Smcp` does it."""

    def may_attest(self, token: str, execution_id: str, iteration: int) -> bool:
        return False

    def attest(self, execution: Execution, attestation: Attestation) -> Any:
        raise Denied("No agent here calls tools itself")

    def grant_of(self, token: str) -> Any:
        raise Unauthorized("This token is not valid here")

    async def invoke(self, grant: Any, envelope: Envelope) -> Any:
        raise AssertionError("nobody has a grant")


class MemoryVolumes:
    def __init__(self, store: MemoryStore, clock: SteppingClock) -> None:
        self._store = store
        self._clock = clock

    async def create(
        self,
        tenant_id: str,
        name: str,
        *,
        storage_class: StorageClass,
        size_limit_bytes: int | None,
        ttl_hours: float | None,
        **_: Any,
    ) -> Volume:
        volume = Volume(
            id=new_id(),
            tenant_id=tenant_id,
            name=name,
            storage_class=storage_class,
            state=VolumeState.AVAILABLE,
            created_at=self._clock.now(),
            size_limit_bytes=size_limit_bytes,
        )
        self._store.volumes[volume.id] = volume
        return volume

    async def delete(self, tenant_id: str, volume_id: str) -> None:
        self._store.volumes[volume_id] = replace(self._store.volumes[volume_id], state=VolumeState.DELETED)


@dataclass
class MemoryWorkspace:
    """A tree of bytes by path; directories are implied by `None`."""

    files: dict[str, bytes | None] = field(default_factory=lambda: {"": None})

    async def stat(self, path: str) -> FileEntry:
        if path not in self.files:
            raise NotFound(f"There is no file {path}")
        content = self.files[path]
        kind = "directory" if content is None else "file"
        return FileEntry(os.path.basename(path), kind, len(content or b""), 0o644, START)

    async def read(self, path: str, *, bytes_max: int) -> bytes:
        content = self.files.get(path)
        if content is None:
            raise Refused(f"{path} is a directory")
        return content[:bytes_max]

    async def write(self, path: str, content: bytes) -> None:
        if self.files.get(os.path.dirname(path), b"") is not None:
            raise NotFound(f"There is no directory {os.path.dirname(path)}")
        self.files[path] = content

    async def list(self, path: str) -> list[FileEntry]:
        return [await self.stat(name) for name in sorted(self.files) if name and os.path.dirname(name) == path]

    async def make_directory(self, path: str) -> None:
        self.files[path] = None

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        inside = [name for name in self.files if name.startswith(path + "/")]
        if inside and not recursive:
            raise Conflict(f"{path} is not empty")
        for name in [path, *inside]:
            self.files.pop(name, None)


class MemoryGateway:
    port = 2049

    def __init__(self) -> None:
        self.workspaces: dict[str, MemoryWorkspace] = {}

    def workspace(self, volume: Volume, attachment: Attachment | None = None) -> MemoryWorkspace:
        return self.workspaces.setdefault(volume.id, MemoryWorkspace())

    async def usage(self, volume: Volume) -> VolumeUsage:
        files = [content for content in self.workspace(volume).files.values() if content is not None]
        return VolumeUsage(sum(map(len, files)), volume.size_limit_bytes, len(files))


@dataclass
class LoadedManifest:
    manifest: AgentManifest


class BadManifest(Refused):
    code = "invalid_manifest"

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(problems)} problems in the manifest")
        self.problems = problems


def load_manifest(text: str, source: str) -> LoadedManifest:
    """`name: NAME` lines only: the real reader has its own tests."""
    name = next((line[6:].strip() for line in text.splitlines() if line.startswith("name: ")), "")
    if not name:
        raise BadManifest(
            [{"path": "name", "line": 1, "column": 1, "found": "nothing", "wanted": "a name", "hint": ""}]
        )
    return LoadedManifest(AgentManifest(name=name, runtime=Runtime(image="busybox")))


class World:
    """All of it, wired. `create()` is the application; the parts are there to look into."""

    def __init__(self) -> None:
        self.clock = SteppingClock()
        self.store = MemoryStore()
        self.events = MemoryEvents(self.store)
        self.supervisor = MemorySupervisor(self.store, self.clock)
        self.loop = MemoryLoop()
        self.volumes = MemoryVolumes(self.store, self.clock)
        self.archive = MemoryArchive()
        self.runtimes = {("python", "3.11"): "python:3.11-slim"}
        self.bundles = Bundles(
            store=self.store,  # type: ignore[arg-type] - as far as bundles go it is one
            engine=self.archive,
            image_of=self._image_of,
            clock=self.clock,
            version="0.0-test",
        )
        self.gateway = MemoryGateway()
        self.down: dict[str, AegisError] = {}

    def _image_of(self, runtime: Runtime) -> tuple[str, PullPolicy]:
        if runtime.image is not None:
            return runtime.image, PullPolicy.IF_NOT_PRESENT
        image = self.runtimes.get((runtime.language or "", runtime.version or ""))
        if image is None:
            raise Refused(f"no runtime for {runtime.language} {runtime.version}")
        return image, PullPolicy.IF_NOT_PRESENT

    async def _check(self, name: str) -> None:
        if name in self.down:
            raise self.down[name]

    def create(self, **changes: Any) -> Any:
        from aegis.api import create_app

        names = ("docker", "nfs", "database")
        parameters: dict[str, Any] = {
            "store": self.store,
            "events": self.events,
            "clock": self.clock,
            "supervisor": self.supervisor,
            "inner_loop": self.loop,
            "tool_calls": NobodysToolCalls(),
            "volumes": self.volumes,
            "bundles": self.bundles,
            "gateway": self.gateway,
            "load_manifest": load_manifest,
            "health_checks": {name: lambda name=name: self._check(name) for name in names},
            "api_tokens": [API_TOKEN],
            "version": "0.0-test",
            **changes,
        }
        return create_app(**parameters)

    async def running_execution(self, name: str = "greeter") -> Execution:
        agent = Agent(new_id(), DEFAULT_TENANT, load_manifest(f"name: {name}", "test").manifest, self.clock.now())
        await self.store.add_agent(agent)
        return await self.supervisor.start(agent, "say hello", DEFAULT_TENANT)
