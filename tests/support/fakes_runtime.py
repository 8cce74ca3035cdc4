"""An engine whose containers are coroutines, with the behaviours of Docker that bite.

Mounts happen at the start, from the gateway, and fail there when the volume is not exported; an existing Docker volume
keeps what it was made with; a volume in use is not removed; a killed container exits with 137; removing what is gone is
no error, and a container can be removed by its name. `faults` makes a method fail before its work, or do its work and
lose the reply, or hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from aegis.domain.images import LocalImage, PullProgress
from aegis.domain.labels import CONTAINER_KIND, MANAGED
from aegis.domain.manifest import PullPolicy
from aegis.errors import AegisError, ContainerFailed, Denied, ImageNotFound, MountFailed, NotFound
from aegis.ports import (
    ContainerExit,
    ContainerSpec,
    ContainerState,
    EngineInfo,
    ManagedObject,
    NetworkInfo,
    NfsMount,
)
from tests.support.fakes_gateway import FakeGateway, FakeWorkspace

KILLED = 137


@dataclass(eq=False)
class FakeContainer:
    id: str
    spec: ContainerSpec
    runtime: FakeRuntime
    output: list[bytes] = field(default_factory=list)
    task: asyncio.Task[int] | None = None
    ended: asyncio.Future[ContainerExit] | None = None
    out_of_memory: bool = False
    started_at: datetime | None = None

    @property
    def labels(self) -> dict[str, str]:
        return {**self.spec.labels, CONTAINER_KIND: self.spec.kind}

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    def workspace(self, path: str) -> tuple[FakeWorkspace, str]:
        """The mounted volume a path is on, as the kernel's client sees it, and the path in it."""
        for mount in self.spec.mounts:
            if path == mount.target or path.startswith(mount.target + "/"):
                exported = self.runtime.gateway.exported(mount.export_path)
                if exported is None:
                    raise NotFound(f"{path}: stale file handle")
                volume, rules = exported
                if mount.read_only and not rules.read_only:
                    raise Denied(f"{path}: mounted read-only")
                files = self.runtime.gateway.storage[volume.id]
                return FakeWorkspace(files, rules), path[len(mount.target) :].lstrip("/")
        raise NotFound(f"{path} is on no volume")


Program = Callable[[FakeContainer], Awaitable[int]]
"""What runs in a container: returns its exit code."""


@dataclass
class Fault:
    """`after`: the work is done and the reply lost. `hang`: never answers (until cancelled)."""

    error: AegisError | None = None
    after: bool = False
    hang: bool = False


class FakeRuntime:
    def __init__(
        self,
        gateway: FakeGateway,
        agent: Program,
        validator: Program,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.gateway = gateway
        self._now = now
        self.programs: dict[str, Program] = {"agent": agent, "validator": validator}
        self.present: set[str] = {"python:3.11-slim"}
        self.registry: set[str] = {"python:3.11-slim"}
        self.pulls: list[str] = []
        self.containers: dict[str, FakeContainer] = {}
        self.created: list[ContainerSpec] = []
        self.started: list[str] = []
        self.killed: list[str] = []  # by `kill`: what is removed is killed too, but that is not asked for
        self.volumes: dict[str, tuple[NfsMount, Mapping[str, str]]] = {}
        self.networks: dict[str, Mapping[str, str]] = {}
        self.faults: dict[str, list[Fault]] = {}

    # ---- images ----

    async def info(self) -> EngineInfo:
        return EngineInfo("24.0", "1.43", False, False, "6.1", "Debian")

    async def ensure_image(
        self, image: str, policy: PullPolicy, on_progress: Callable[[PullProgress], None] | None = None
    ) -> LocalImage:
        async def work() -> LocalImage:
            found = LocalImage(f"sha256:{image}", "amd64", (f"{image.partition(':')[0]}@sha256:of-the-registry",))
            if policy is PullPolicy.NEVER or (policy is PullPolicy.IF_NOT_PRESENT and image in self.present):
                if image not in self.present:
                    raise ImageNotFound(f"Image {image} is not present, and the policy is Never")
                return found
            self.pulls.append(image)
            if on_progress is not None:
                on_progress(PullProgress(image, "Downloading", 5, 10))
            if image not in self.registry:
                raise ImageNotFound(f"No registry has {image}")
            self.present.add(image)
            return found

        return await self._faulty("ensure_image", work)

    @property
    def ran(self) -> list[ContainerSpec]:
        """Of the containers that were started, in that order: one made ahead may never be."""
        by_name = {spec.name: spec for spec in self.created}
        return [by_name[name] for name in self.started]

    # ---- networks and volumes ----

    async def ensure_network(
        self, name: str, *, internal: bool, labels: Mapping[str, str], subnets: Sequence[str] = ()
    ) -> NetworkInfo:
        self.networks.setdefault(name, {MANAGED: "true", **labels})
        return NetworkInfo(name, "172.30.0.0/16", "172.30.0.1")

    async def create_volume(self, mount: NfsMount, labels: Mapping[str, str]) -> None:
        async def work() -> None:
            made, _ = self.volumes.setdefault(mount.volume_name, (mount, {MANAGED: "true", **labels}))
            if made != mount:
                raise MountFailed(f"Docker volume {mount.volume_name} has other options")

        await self._faulty("create_volume", work)

    async def remove_volume(self, name: str) -> None:
        async def work() -> None:
            for container in self.containers.values():
                if any(mount.volume_name == name for mount in container.spec.mounts):
                    raise ContainerFailed(f"Docker volume {name} is in use by {container.spec.name}")
            self.volumes.pop(name, None)

        await self._faulty("remove_volume", work)

    async def remove_network(self, name: str) -> None:
        self.networks.pop(name, None)

    # ---- containers ----

    async def create(self, spec: ContainerSpec) -> str:
        async def work() -> str:
            if spec.image.removeprefix("sha256:") not in self.present:
                raise ImageNotFound(f"No such image: {spec.image}")
            for container in self.containers.values():
                if container.spec.name == spec.name:
                    return container.id
            container_id = f"{len(self.created):064x}"
            self.containers[container_id] = FakeContainer(container_id, spec, self)
            self.created.append(spec)
            return container_id

        return await self._faulty("create", work)

    async def start(self, container_id: str) -> None:
        async def work() -> None:
            container = self._get(container_id)
            for mount in container.spec.mounts:
                if mount.volume_name not in self.volumes:
                    raise MountFailed(f"No Docker volume {mount.volume_name}")
                if self.gateway.exported(mount.export_path) is None:
                    raise MountFailed(f"mount :{mount.export_path}: no such file or directory")
            loop = asyncio.get_running_loop()
            container.ended = loop.create_future()
            container.started_at = self._now()
            self.started.append(container.spec.name)
            container.task = asyncio.create_task(self._run(container), name=f"container {container.spec.name}")

        await self._faulty("start", work)

    async def wait(self, container_id: str) -> ContainerExit:
        async def work() -> ContainerExit:
            ended = self._get(container_id).ended
            assert ended is not None, "waited for a container that was never started"
            result = await asyncio.shield(ended)
            self._get(container_id)
            return result

        return await self._faulty("wait", work)

    async def state(self, container_id: str) -> ContainerState:
        async def work() -> ContainerState:
            container = self._get(container_id)
            volumes = tuple(mount.volume_name for mount in container.spec.mounts)
            return ContainerState(container.running, container.started_at, volumes)

        return await self._faulty("state", work)

    async def kill(self, container_id: str) -> None:
        async def work() -> None:
            self.killed.append(container_id)
            await self._kill(self._find(container_id))

        await self._faulty("kill", work)

    async def logs(self, container_id: str) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]:
        for chunk in list(self._get(container_id).output):
            yield "stdout", chunk

    async def remove_container(self, container_id: str) -> None:
        async def work() -> None:
            container = self._find(container_id)
            if container is not None:
                await self._kill(container)
                self.containers.pop(container.id, None)

        await self._faulty("remove_container", work)

    async def list_managed(self) -> list[ManagedObject]:
        return [
            *(
                ManagedObject("container", each.id, each.spec.name, each.labels, each.running)
                for each in self.containers.values()
            ),
            *(ManagedObject("volume", name, name, labels) for name, (_, labels) in self.volumes.items()),
            *(ManagedObject("network", name, name, labels) for name, labels in self.networks.items()),
        ]

    async def close(self) -> None:
        for container in list(self.containers.values()):
            await self._kill(container)

    # ---- inside ----

    async def _run(self, container: FakeContainer) -> int:
        code = KILLED
        try:
            code = await self.programs[container.spec.kind](container)
        except AegisError as error:  # the program's own crash
            container.output.append(str(error).encode())
            code = 1
        finally:
            assert container.ended is not None
            if not container.ended.done():
                container.ended.set_result(ContainerExit(code, container.out_of_memory))
        return code

    async def _kill(self, container: FakeContainer | None) -> None:
        if container is not None and container.task is not None:
            container.task.cancel()
            await asyncio.gather(container.task, return_exceptions=True)

    def _find(self, name_or_id: str) -> FakeContainer | None:
        for container in self.containers.values():
            if name_or_id in (container.id, container.spec.name):
                return container
        return None

    def _get(self, container_id: str) -> FakeContainer:
        container = self._find(container_id)
        if container is None:
            raise NotFound(f"No such container: {container_id}")
        return container

    async def _faulty(self, method: str, work: Callable[[], Awaitable[Any]]) -> Any:
        await asyncio.sleep(0)  # a foreign call always takes a turn
        fault = self.faults[method].pop(0) if self.faults.get(method) else Fault()
        if fault.hang:
            await asyncio.Event().wait()
        if fault.error is not None and not fault.after:
            raise fault.error
        result = await work()
        if fault.error is not None:
            raise fault.error
        return result
