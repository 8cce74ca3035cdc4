"""`DockerEngine`: the port `ContainerRuntime` on one Docker Engine; each noun's work is in the file of its name."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Literal

from aegis.adapters.docker import logs
from aegis.adapters.docker.archives import Archives
from aegis.adapters.docker.connection import Connection
from aegis.adapters.docker.containers import Containers
from aegis.adapters.docker.images import Images
from aegis.adapters.docker.networks import Networks
from aegis.adapters.docker.references import RegistryCredentials
from aegis.adapters.docker.shelf import Shelf
from aegis.adapters.docker.volumes import Volumes
from aegis.domain.images import LocalImage, PullProgress
from aegis.domain.manifest import PullPolicy
from aegis.ports import (
    ContainerExit,
    ContainerSpec,
    ContainerState,
    EngineInfo,
    ManagedObject,
    NetworkInfo,
    NfsMount,
)


class DockerEngine:
    """`url`: a socket's path, `unix://PATH`, `tcp://HOST:PORT`, or `https://HOST:PORT` with `ssl_context`.

    `registry_credentials`: registry (`ghcr.io`, `localhost:5000`, `docker.io`) -> user and password, sent to exactly
    that registry. `labels`: of what the adapter makes for itself (the volume with bootstrap), so that whoever
    cleans up after a crash knows whose it is. `isolate_containers`: those on one network cannot speak to each other.
    `restart_seconds`: how long `wait` waits for an engine that is away. Nothing is contacted before the first call."""

    def __init__(
        self,
        url: str = "/var/run/docker.sock",
        registry_credentials: Mapping[str, RegistryCredentials] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        isolate_containers: bool = True,
        call_seconds: float = 30.0,
        restart_seconds: float = 180.0,
        remove_seconds: float = 90.0,
        pull_silence_seconds: float = 180.0,
    ) -> None:
        self._connection = Connection(url, ssl_context=ssl_context, call_seconds=call_seconds)
        self._images = Images(self._connection, registry_credentials or {}, silence_seconds=pull_silence_seconds)
        self._archives = Archives(self._connection)
        self._shelf = Shelf(self._connection, labels or {})
        self._containers = Containers(
            self._connection, self._shelf, restart_seconds=restart_seconds, remove_seconds=remove_seconds
        )
        self._networks = Networks(self._connection, isolated=isolate_containers, remove_seconds=remove_seconds)
        self._volumes = Volumes(self._connection, self._shelf, remove_seconds=remove_seconds)

    async def info(self) -> EngineInfo:
        """Also the probe for readiness: DockerUnavailable says what is wrong with the socket and what to do."""
        version = await self._connection.call_again("tell its version", lambda docker: docker.version())
        system = await self._connection.call_again("describe itself", lambda docker: docker.system.info())
        # "name=seccomp,profile=default", "name=rootless", "name=userns", ...
        features = {option.partition(",")[0].removeprefix("name=") for option in system.get("SecurityOptions") or []}
        return EngineInfo(
            version=str(version["Version"]),
            api_version=str(version["ApiVersion"]),
            rootless="rootless" in features,
            userns_remap="userns" in features,
            kernel=str(system.get("KernelVersion", "")),
            operating_system=str(system.get("OperatingSystem", "")),
        )

    async def ensure_image(
        self, image: str, policy: PullPolicy, on_progress: Callable[[PullProgress], None] | None = None
    ) -> LocalImage:
        return await self._images.ensure(image, policy, on_progress)

    def save_images(self, images: Sequence[str]) -> AsyncIterator[bytes]:
        return self._archives.save(images)

    async def load_images(self, content: AsyncIterator[bytes]) -> None:
        await self._archives.load(content)

    async def ensure_network(
        self, name: str, *, internal: bool, labels: Mapping[str, str], subnets: Sequence[str] = ()
    ) -> NetworkInfo:
        return await self._networks.ensure(name, internal=internal, labels=labels, subnets=subnets)

    async def create_volume(self, mount: NfsMount, labels: Mapping[str, str]) -> None:
        await self._volumes.create(mount, labels)

    async def create(self, spec: ContainerSpec) -> str:
        return await self._containers.create(spec)

    async def start(self, container_id: str) -> None:
        await self._containers.start(container_id)

    async def wait(self, container_id: str) -> ContainerExit:
        return await self._containers.wait(container_id)

    async def state(self, container_id: str) -> ContainerState:
        return await self._containers.state(container_id)

    async def kill(self, container_id: str) -> None:
        await self._containers.kill(container_id)

    def logs(self, container_id: str) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]:
        return logs.follow(self._connection, container_id)

    async def remove_container(self, container_id: str) -> None:
        await self._containers.remove(container_id)

    async def remove_volume(self, name: str) -> None:
        await self._volumes.remove(name)

    async def remove_network(self, name: str) -> None:
        await self._networks.remove(name)

    async def list_managed(self) -> list[ManagedObject]:
        """Containers first: removing in this order meets nothing that is still in use."""
        return [*await self._containers.managed(), *await self._networks.managed(), *await self._volumes.managed()]

    async def close(self) -> None:
        """Ends what is under way (pulls too) and both pools; safe to repeat."""
        await self._images.close()
        await self._shelf.close()
        await self._connection.close()
