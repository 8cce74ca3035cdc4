"""Files for containers, kept in Docker volumes that are filled once and mounted read-only at `/aegis`.

Why not put them into each container: `PUT /containers/{id}/archive` starts a process of dockerd (70 ms measured with
20.10), and mounts and unmounts every volume of the container for it (moby `openContainerFS`; 20.10
`containerExtractToDir`), which are NFS mounts here. A bind mount of a filled volume costs nothing measurable.

The rules to know: every filling has a name of its own, so a half-filled volume of a crashed process is never trusted.
Somebody may remove ours while no container uses it (`docker volume prune`); Docker then makes an empty one of the same
name for the next container, without our label. So `intact` is asked after each creation, when it can no longer go.
"""

# mypy: untyped-calls-exclude=aiodocker
from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Mapping

import aiodocker
from aiodocker.volumes import DockerVolume

from aegis.adapters.docker.connection import Connection, EngineRefused
from aegis.adapters.docker.files import archive
from aegis.adapters.docker.payloads import FILES_LABEL, JSON, files_container, files_mount, files_volume
from aegis.errors import AegisError

logger = logging.getLogger(__name__)

SHELVES_MAX = 16  # different sets of files in one process: one for each version of bootstrap, in practice one
FILL_SECONDS = 120.0
DROP_SECONDS = 5.0  # for each, at the end of the daemon: what is not removed then is found by its label


class Shelf:
    def __init__(self, connection: Connection, labels: Mapping[str, str]) -> None:
        self._connection = connection
        self._labels = dict(labels)
        self._prefix = f"aegis-files-{uuid.uuid4().hex[:12]}-"
        self._filled: dict[str, str] = {}  # digest of the content -> its volume, in the order of their last use
        self._filling = asyncio.Lock()

    def owns(self, name: str) -> bool:
        """Whether a container or volume is this shelf's own: nobody's leftover while the process lives."""
        return name.startswith(self._prefix)

    async def mount(self, image: str, files: Mapping[str, bytes]) -> JSON:
        """The entry of `Mounts` that shows these files. `image` must be on the engine's host: filling needs a
        container, which is never started."""
        content = archive(files)
        digest = hashlib.sha256(content).hexdigest()
        async with self._filling:
            volume = self._filled.pop(digest, None) or await self._fill(image, content)
            self._filled[digest] = volume
            while len(self._filled) > SHELVES_MAX:
                await self._drop(self._filled.pop(next(iter(self._filled))))
        return files_mount(volume)

    async def intact(self, mount: JSON) -> bool:
        """Whether the volume is still the one that was filled. If not, the next `mount` fills a new one."""
        volume = mount["Source"]
        try:
            found = await self._connection.call_again(
                f"show volume {volume}", lambda docker: DockerVolume(docker, volume).show()
            )
        except EngineRefused as refused:
            if refused.http_status != 404:
                raise
            found = {}
        if FILES_LABEL in (found.get("Labels") or {}):
            return True
        self._filled = {digest: other for digest, other in self._filled.items() if other != volume}
        return False

    async def close(self) -> None:
        """Removes what no container uses; the rest is found by its label, as after a crash."""
        volumes, self._filled = list(self._filled.values()), {}
        for volume in volumes:
            await self._drop(volume)

    async def _fill(self, image: str, content: bytes) -> str:
        volume = self._prefix + uuid.uuid4().hex[:12]
        try:
            await self._connection.call_again(
                f"create volume {volume}", lambda docker: docker.volumes.create(files_volume(volume, self._labels))
            )
            await self._fill_through_container(volume, image, content)
        except BaseException:
            await self._drop(volume)
            raise
        return volume

    async def _fill_through_container(self, volume: str, image: str, content: bytes) -> None:
        try:
            await self._connection.call(
                f"create container {volume}",
                lambda docker: docker.containers.create(files_container(image, volume, self._labels), name=volume),
                seconds=FILL_SECONDS,
            )
            await self._connection.call_again(
                f"put files into volume {volume}",
                lambda docker: docker.containers.container(volume).put_archive("/", content),
                seconds=FILL_SECONDS,
            )
        finally:
            await self._remove_helper(volume)

    async def _remove_helper(self, name: str) -> None:
        """With what an image's VOLUME lines have made for it; the volume that was filled has a name and stays."""
        try:
            await self._connection.call_again(
                f"remove container {name}", lambda docker: docker.containers.container(name).delete(force=True, v=True)
            )
        except EngineRefused as refused:
            if refused.http_status != 404:
                raise

    async def _drop(self, volume: str) -> None:
        try:
            await self._connection.call_again(
                f"remove volume {volume}", lambda docker: _delete(docker, volume), seconds=DROP_SECONDS
            )
        except EngineRefused as refused:
            if refused.http_status not in (404, 409):  # gone, or in use by a container that outlives us
                logger.warning("volume %s is left over: %s", volume, refused)
        except AegisError as error:
            logger.warning("volume %s is left over: %s", volume, error)


async def _delete(docker: aiodocker.Docker, volume: str) -> None:
    await DockerVolume(docker, volume).delete()
