"""Containers of an iteration: what they are made from, and their whole life in one block.

The rules to know:
- Names are chosen before anything is made, so what a lost reply has made can be removed by name.
- Making is not broken off (`finished`): a creation that goes on in the engine after we stopped looking would leave a
  container that nobody removes. Removing is not broken off either, and happens however the block ends.
- Each container has Docker volumes of its own, under names never used before: an existing name keeps its old options.
  They are removed when the container is gone, which is also what unmounts them and flushes what was written.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import uuid4

from aegis.domain.execution import Execution
from aegis.domain.images import LocalImage
from aegis.domain.labels import execution_labels
from aegis.domain.manifest import AccessMode, PullPolicy, Runtime
from aegis.domain.mounts import read_only
from aegis.errors import AegisError, WorldError
from aegis.ports import Clock, ContainerRuntime, ContainerSpec, NfsMount
from aegis.services.recorder import Journal
from aegis.services.resuming import LeftContainer
from aegis.services.timing import Retries, finished, retried, within
from aegis.services.volumes import MountedVolume, working_directory

logger = logging.getLogger(__name__)

REMOVE_SECONDS: Final = 300.0  # of all removals of one container; what is left then is the reconciler's
REMOVE_RETRIES: Final = Retries(attempts_max=3, pause_seconds=1.0)
LOG_TAIL_BYTES: Final = 16 * 1024
LOG_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Image:
    """What a container is made from, and what it needs set beside what the manifest sets."""

    reference: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """A network for containers, and how they reach us from it. `resolvers`: the name servers they ask."""

    network: str | None
    orchestrator_url: str
    proxy: str  # HOST:PORT of the way out
    resolvers: tuple[str, ...] = ()


def no_variables(_execution: Execution, _place: Place) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """The node's part of every container; plain values and pure functions, from the configuration."""

    node_id: str  # whose containers these are: the reconciler removes no others
    place: Callable[[str], Place]  # of an execution's id, always the same; WorldError while there is none
    way_out: Callable[[Execution, Place], Mapping[str, str]] = no_variables  # what tells programs of the proxy
    nfs_host: str  # as the engine's host reaches the gateway
    nfs_port: int
    mount_options: Callable[[str | None], str]  # of a mount profile (None: the node's default), the whole `o=`
    image_of: Callable[[Runtime], Image]  # the image named, or the one a language and version mean; AegisError: none
    default_pull_policy: PullPolicy
    bootstrap: Mapping[str, bytes]  # path in an agent's container -> content: the same for all
    bootstrap_command: Callable[[str], tuple[str, ...]]  # what starts a container of an architecture
    environment: Mapping[str, str] = field(default_factory=dict)  # of every container; the image's and manifest's win


class ContainerMaker:
    """Makes `ContainerSpec`s from the node's settings and an execution. Pure but for fresh names."""

    def __init__(self, settings: ContainerSettings) -> None:
        self._settings = settings

    def orchestrator_url(self, execution: Execution) -> str:
        """As the execution's containers reach us."""
        return self._settings.place(execution.id).orchestrator_url

    def image(self, runtime: Runtime) -> tuple[str, PullPolicy]:
        policy = runtime.image_pull_policy or self._settings.default_pull_policy
        return self._settings.image_of(runtime).reference, policy

    def agent(
        self, execution: Execution, number: int, image: LocalImage, token: str, mounted: Sequence[MountedVolume]
    ) -> ContainerSpec:
        """The agent's own: bootstrap and the token are in it, the prompt is not."""
        own = {
            "AEGIS_ORCHESTRATOR_URL": self.orchestrator_url(execution),
            "AEGIS_AGENT_ID": execution.agent_id,
            "AEGIS_EXECUTION_ID": execution.id,
            "AEGIS_ITERATION": str(number),
            "AEGIS_MODEL_ALIAS": execution.manifest.runtime.model_alias,
            "AEGIS_LLM_TIMEOUT_SECONDS": f"{execution.manifest.execution.llm_timeout_seconds:g}",
            "AEGIS_DISPATCH_TOKEN": token,
        }
        return self._spec(
            execution,
            number,
            image,
            mounted,
            kind="agent",
            command=self._settings.bootstrap_command(image.architecture),
            own=own,
            files=self._settings.bootstrap,
        )

    def validator(
        self,
        execution: Execution,
        number: int,
        image: LocalImage,
        command: tuple[str, ...],
        mounted: Sequence[MountedVolume],
    ) -> ContainerSpec:
        """A script validator's: the agent's image, limits, files and network, and nothing to call us with."""
        return self._spec(execution, number, image, mounted, kind="validator", command=command, own={}, files={})

    def _spec(
        self,
        execution: Execution,
        number: int,
        image: LocalImage,
        mounted: Sequence[MountedVolume],
        *,
        kind: Literal["agent", "validator"],
        command: tuple[str, ...],
        own: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> ContainerSpec:
        manifest, resources = execution.manifest, execution.manifest.resources
        needed = self._settings.image_of(manifest.runtime).environment
        place = self._settings.place(execution.id)
        node = {**self._settings.environment, **self._settings.way_out(execution, place)}
        return ContainerSpec(
            name=f"aegis-{kind}-{uuid4()}",
            image=image.id,  # not its name, which may mean another one by the next iteration
            command=command,
            environment={**node, **needed, **manifest.environment, **own},
            uid=execution.container_uid,
            gid=execution.container_gid,
            cpu_quota=resources.cpu_quota,
            memory_bytes=resources.memory_bytes,
            pids_limit=resources.pids_limit,
            network=place.network,
            resolvers=place.resolvers,
            mounts=tuple(self._mount(each) for each in mounted),
            labels=execution_labels(self._settings.node_id, execution.id, number, execution.tenant_id),
            working_directory=working_directory(mounted) if kind == "validator" else "/",
            kind=kind,
            files=files,
        )

    def _mount(self, mounted: MountedVolume) -> NfsMount:
        options = self._settings.mount_options(mounted.spec.mount_profile)
        is_read_only = mounted.spec.access_mode is AccessMode.READ_ONLY
        return NfsMount(
            volume_name=f"{mounted.attachment.docker_volume_name}-{uuid4().hex[:12]}",
            target=mounted.spec.mount_path,
            address=self._settings.nfs_host,
            port=self._settings.nfs_port,
            export_path=mounted.export_path,
            options=read_only(options) if is_read_only else options,
            read_only=is_read_only,
        )


class Making:
    """A container that is being made, or is made. `taken`: `Containers.running` has it, and removes it."""

    __slots__ = ("spec", "taken", "task")

    def __init__(self, spec: ContainerSpec, task: asyncio.Task[str]) -> None:
        self.spec = spec
        self.task = task
        self.taken = False


class Containers:
    """Runs containers on the engine and leaves nothing of them behind."""

    def __init__(self, runtime: ContainerRuntime, clock: Clock, *, remove_retries: Retries = REMOVE_RETRIES) -> None:
        self._runtime = runtime
        self._clock = clock
        self._remove_retries = remove_retries

    @asynccontextmanager
    async def running(self, making: ContainerSpec | Making, journal: Journal) -> AsyncIterator[str]:
        """The id of a started container with its volumes mounted. After the block it is gone, whatever happened; what
        could not be removed is logged and left to the reconciler."""
        if not isinstance(making, Making):
            making = self.begin(making)
        making.taken = True
        spec = making.spec
        try:
            container_id = await finished(making.task, f"make {spec.name}")
            await journal.tell("container.created", container_id=container_id, name=spec.name, container_kind=spec.kind)
            await self._runtime.start(container_id)
            await journal.tell("container.started", container_id=container_id, name=spec.name)
            yield container_id
        finally:
            await finished(self._remove(spec.name, _volumes(spec), journal), f"remove {spec.name}")

    @asynccontextmanager
    async def left(self, container: LeftContainer, journal: Journal) -> AsyncIterator[str]:
        """As `running`, for one that an earlier daemon has started: it runs, or has ended."""
        try:
            yield container.id
        finally:
            removal = self._remove(container.name, container.volumes, journal)
            await finished(removal, f"remove {container.name}")

    def begin(self, spec: ContainerSpec) -> Making:
        """Make a container, in a task of its own. It goes to `running` or to `undo`."""
        return Making(spec, asyncio.create_task(self._make(spec), name=f"make {spec.name}"))

    async def undo(self, making: Making) -> None:
        """Remove what was made and is not to run; nobody hears of it."""
        await asyncio.gather(making.task, return_exceptions=True)
        await self._remove(making.spec.name, _volumes(making.spec), None)

    async def last_lines(self, container_id: str) -> str:
        """The end of what an ended container wrote; "" when it cannot be had."""

        async def collect() -> str:
            tail: deque[bytes] = deque()
            size = 0
            async for _, chunk in self._runtime.logs(container_id):
                tail.append(chunk)
                size += len(chunk)
                while size - len(tail[0]) >= LOG_TAIL_BYTES:
                    size -= len(tail.popleft())
            return b"".join(tail)[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()

        try:
            return await within(self._clock, LOG_SECONDS, collect(), f"logs of {container_id}")
        except (AegisError, TimeoutError) as error:
            logger.warning("the output of container %s cannot be read: %s", container_id, error)
            return ""

    async def _make(self, spec: ContainerSpec) -> str:
        for mount in spec.mounts:
            await self._runtime.create_volume(mount, spec.labels)
        return await self._runtime.create(spec)

    async def _remove(self, name: str, volumes: Sequence[str], journal: Journal | None) -> None:
        try:
            await within(self._clock, REMOVE_SECONDS, self._remove_all(name, volumes), f"removal of {name}")
        except (AegisError, TimeoutError) as error:
            logger.error("container %s or a volume of it is left over: %s", name, error)
            return
        if journal is not None:
            await journal.tell("container.removed", name=name)

    async def _remove_all(self, name: str, volumes: Sequence[str]) -> None:
        """Volumes can go only when the container has gone."""
        await self._persistently(lambda: self._runtime.remove_container(name))
        failures = []
        for volume in volumes:
            try:
                await self._persistently(lambda volume=volume: self._runtime.remove_volume(volume))  # type: ignore[misc]
            except WorldError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    async def _persistently(self, remove: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await retried(self._clock, self._remove_retries, remove)


def _volumes(spec: ContainerSpec) -> tuple[str, ...]:
    return tuple(mount.volume_name for mount in spec.mounts)
