"""The daemon's connection to the engine: it may be away at the start, or go and come back, without ending the daemon.

When the engine answers for the first time its network is made sure of, the dispatch listener opened on that network's
gateway address, and what an earlier daemon left is cleared up. The rule: nothing here gives up; what is wrong is kept
in `trouble` and shown by the health check.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aegis.errors import AegisError, WorldError
from aegis.ports import ContainerRuntime, EngineInfo

log = logging.getLogger(__name__)

RETRY_SECONDS = 3.0


class EngineLink:
    """`run` is the task; `check` the health check; `linked` is set once everything that needs the engine is done."""

    def __init__(self, runtime: ContainerRuntime, on_linked: Callable[[], Awaitable[None]]) -> None:
        self._runtime = runtime
        self._on_linked = on_linked
        self.linked = asyncio.Event()
        self.trouble: AegisError | None = WorldError("the Docker Engine was not asked yet")

    async def run(self) -> None:
        """Try until it works once. The engine's later absences are the callers' to see."""
        while not self.linked.is_set():
            try:
                refuse_unusable(await self._runtime.info())
                await self._on_linked()
            except AegisError as error:
                if self.trouble is None or str(error) != str(self.trouble):
                    log.warning("not ready for containers: %s", error)
                self.trouble = error
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.trouble = None
                self.linked.set()
                log.info("the Docker Engine answers; containers can run")

    async def check(self) -> None:
        """Raises what prevents containers now."""
        refuse_unusable(await self._runtime.info())
        if self.trouble is not None:
            raise self.trouble


def refuse_unusable(info: EngineInfo) -> None:
    """WorldError for an engine whose containers cannot have NFS volumes, whatever else works."""
    if info.rootless:
        raise WorldError(
            f"Docker Engine {info.version} is rootless: the kernel mounts no NFS inside a user namespace",
            next_step="Use the rootful engine: set runtime.docker_url to unix:///var/run/docker.sock",
            retryable=False,
        )
    if info.userns_remap:
        log.warning(
            "Docker Engine %s remaps user ids (userns-remap): uids in containers are not those of the host; "
            "workspaces work, since the gateway squashes them, but compare with `docker info`",
            info.version,
        )
