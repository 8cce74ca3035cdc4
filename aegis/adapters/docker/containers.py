"""The life of one container (`/containers/*`): create with its files, start, wait, kill, remove.

The rule to know: a reply can be lost after the work was done, and the engine can restart under us. Names are unique and
ours, so creating again finds what the first request made. Starting again is not safe (it would run an agent that has
already ended a second time), so after a lost reply the container is looked at first.
"""

# mypy: untyped-calls-exclude=aiodocker
from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aegis.adapters.docker.connection import Connection, EngineRefused, ReplyLost
from aegis.adapters.docker.failures import container_failure, init_failure
from aegis.adapters.docker.logs import follow
from aegis.adapters.docker.patience import Patience
from aegis.adapters.docker.payloads import JSON, container_config
from aegis.adapters.docker.shelf import Shelf
from aegis.domain.labels import MANAGED as MANAGED_LABEL
from aegis.errors import AegisError, ContainerFailed, DockerUnavailable, NotFound
from aegis.ports import ContainerExit, ContainerSpec, ContainerState, ManagedObject

logger = logging.getLogger(__name__)

CREATE_SECONDS = 120.0  # dockerd does one creation after the other when many come at once
START_SECONDS = 120.0  # includes mounting: the kernel's own patience with a silent gateway is about a minute
REMOVE_SECONDS = 90.0  # includes unmounting
WAIT_SECONDS = 60.0  # one question; then we look whether the engine is still there, and ask again
RESTART_SECONDS = 180.0  # an engine that restarts is waited for this long
ATTEMPTS_MAX = 3
_RUNNING = ("running", "paused", "restarting")
_SIGKILL_EXIT = 128 + 9
_INIT_ERROR = re.compile(rb"\[FATAL tini \(\d+\)\] exec (.*) failed: (.*)")
_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time: it was not started yet


class Containers:
    def __init__(
        self,
        connection: Connection,
        shelf: Shelf,
        *,
        restart_seconds: float = RESTART_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
        remove_seconds: float = REMOVE_SECONDS,
    ) -> None:
        self._connection = connection
        self._shelf = shelf
        self._restart_seconds = restart_seconds
        self._wait_seconds = wait_seconds
        self._remove_seconds = remove_seconds

    async def create(self, spec: ContainerSpec) -> str:
        """The container's id. It has its files, or it does not exist."""
        if not spec.files:
            return await self._create(spec, ())
        for _ in range(ATTEMPTS_MAX):
            mount = await self._files(spec)
            container_id = await self._create(spec, (mount,))
            try:
                if await self._shelf.intact(mount):
                    return container_id
            except BaseException:
                await self._discard(container_id)
                raise
            await self.remove(container_id)
        raise ContainerFailed(
            f"Container {spec.name} could not be given its files: volume {mount['Source']} is removed again and again",
            next_step="Stop what prunes Docker's volumes while tasks run",
        )

    async def start(self, container_id: str) -> None:
        what = f"Container {container_id[:12]} could not be started"
        for attempt in range(ATTEMPTS_MAX):
            try:
                await self._connection.call(
                    f"start container {container_id[:12]}",
                    lambda docker: docker.containers.container(container_id).start(),
                    seconds=START_SECONDS,
                )
                return
            except EngineRefused as refused:
                if refused.http_status == 404 and "No such container" in refused.text:
                    raise NotFound(f"{what}: it is gone") from refused
                raise container_failure(what, refused) from refused
            except ReplyLost as lost:
                if (await self._state(container_id))["StartedAt"] != _NEVER:
                    return
                if lost.timed_out or attempt == ATTEMPTS_MAX - 1:
                    raise

    async def wait(self, container_id: str) -> ContainerExit:
        """Until it has ended; as long as that takes, and over restarts of the engine. NotFound when it was removed."""
        patience: Patience | None = None  # used up only by an engine that is away, not by a container that runs on
        while True:
            try:
                await self._not_running(container_id)
                state = await self._state(container_id)
                if state["Status"] not in _RUNNING:
                    return await self._exit(container_id, state)
                patience = None
            except DockerUnavailable:
                patience = patience or Patience(self._restart_seconds)
                if not await patience.pause():
                    raise

    async def state(self, container_id: str) -> ContainerState:
        """NotFound when it is gone."""
        found = await self._inspect(container_id)
        state, mounts = found["State"], found.get("Mounts") or []
        started = None if state["StartedAt"] == _NEVER else datetime.fromisoformat(state["StartedAt"])
        names = tuple(str(each["Name"]) for each in mounts if each.get("Type") == "volume")
        return ContainerState(state["Status"] in _RUNNING, started, names)

    async def kill(self, container_id: str) -> None:
        """No error when it has ended or is gone."""
        try:
            await self._connection.call_again(
                f"kill container {container_id[:12]}",
                lambda docker: docker.containers.container(container_id).kill(signal="SIGKILL"),
            )
        except EngineRefused as refused:
            if refused.http_status == 404 or "is not running" in refused.text:
                return
            raise container_failure(f"Container {container_id[:12]} could not be killed", refused) from refused

    async def remove(self, container_id: str) -> None:
        """Kill, unmount, delete, with its anonymous volumes; returns when it is gone, whoever removed it.

        Takes a name too: a creation that was cancelled has left a container whose id nobody knows."""
        patience = Patience(self._remove_seconds)
        while True:
            try:
                await self._connection.call_again(
                    f"remove container {container_id[:12]}",
                    lambda docker: docker.containers.container(container_id).delete(force=True, v=True),
                    seconds=self._remove_seconds,
                )
                return
            except EngineRefused as refused:
                if refused.http_status == 404:
                    return
                # 409 "removal of container X is already in progress"; 500 when the kill or the unmount was too slow
                # for dockerd ("did not receive an exit event", "device or resource busy"): the next try finds it done.
                if refused.http_status not in (409, 500) or not await patience.pause():
                    what = f"Container {container_id[:12]} could not be removed"
                    raise container_failure(what, refused) from refused

    async def managed(self) -> list[ManagedObject]:
        found = await self._connection.call_again(
            "list containers",
            lambda docker: docker.containers.list(all=1, filters=f'{{"label":["{MANAGED_LABEL}=true"]}}'),
        )
        managed = [_managed(container._container) for container in found]
        return [item for item in managed if not self._shelf.owns(item.name)]

    async def _create(self, spec: ContainerSpec, more_mounts: Sequence[JSON]) -> str:
        config = container_config(spec, more_mounts)
        what = f"Container {spec.name} could not be created"
        for attempt in range(ATTEMPTS_MAX):
            try:
                container = await self._connection.call(
                    f"create container {spec.name}",
                    lambda docker: docker.containers.create(config, name=spec.name),
                    seconds=CREATE_SECONDS,
                )
                return str(container.id)
            except EngineRefused as refused:
                if refused.http_status == 409 and "already in use" in refused.text:
                    return await self._adopt(spec, config["Labels"])
                raise container_failure(what, refused) from refused
            except ReplyLost as lost:
                if lost.timed_out or attempt == ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("every attempt returns or raises")

    async def _adopt(self, spec: ContainerSpec, labels: dict[str, str]) -> str:
        """The container that has our name: ours, when it carries our labels and has never run."""
        found = await self._inspect(spec.name)
        state, has = found["State"], found["Config"]["Labels"] or {}
        if state["StartedAt"] == _NEVER and all(has.get(key) == value for key, value in labels.items()):
            return str(found["Id"])
        raise ContainerFailed(
            f"The name {spec.name} belongs to container {found['Id'][:12]} ({state['Status']}) with other labels",
            next_step=f"Run `docker rm -f {spec.name}`",
            retryable=False,
        )

    async def _discard(self, container_id: str) -> None:
        try:
            await self.remove(container_id)
        except AegisError as error:  # the first failure is the one to report; the label finds what is left
            logger.warning("container %s is left over: %s", container_id[:12], error)

    async def _files(self, spec: ContainerSpec) -> JSON:
        try:
            return await self._shelf.mount(spec.image, spec.files)
        except EngineRefused as refused:
            raise container_failure(f"Container {spec.name} could not be given its files", refused) from refused

    async def _not_running(self, container_id: str) -> None:
        """`not-running` answers at once for what has ended; `next-exit` would miss an exit before the question."""
        try:
            await self._connection.long_call(
                f"wait for container {container_id[:12]}",
                lambda docker: docker.containers.container(container_id).wait(condition="not-running"),
                seconds=self._wait_seconds,
            )
        except ReplyLost as lost:
            if not lost.timed_out:
                raise
        except EngineRefused as refused:
            if refused.http_status == 404:
                raise NotFound(f"Container {container_id[:12]} was removed while it was waited for") from refused
            raise

    async def _exit(self, container_id: str, state: Mapping[str, Any]) -> ContainerExit:
        if state["StartedAt"] == _NEVER:
            error = state.get("Error") or "nobody started it"
            raise ContainerFailed(f"Container {container_id[:12]} has not run: {error}", retryable=False)
        exit_code, error = int(state["ExitCode"]), str(state.get("Error") or "")
        if exit_code in (126, 127):
            error = await self._exec_error(container_id) or error
        out_of_memory = bool(state.get("OOMKilled"))
        if exit_code == _SIGKILL_EXIT and not out_of_memory:
            # The kernel's word for it comes after the end of the container, if at all (20.10: missing in one of three).
            error = error or "it was killed, from outside or for its memory: Docker does not always say which"
        return ContainerExit(exit_code, out_of_memory, error)

    async def _exec_error(self, container_id: str) -> str:
        """With `Init` a missing command is no failure of the start: Docker's init (tini) starts, cannot execute it,
        says so on stderr and exits with 127 (not executable: 126), as any agent might. Only its words tell."""
        async for stream, piece in follow(self._connection, container_id):
            found = _INIT_ERROR.match(piece) if stream == "stderr" else None
            return init_failure(found[1].decode(errors="replace"), found[2].decode(errors="replace")) if found else ""
        return ""

    async def _state(self, container_id: str) -> dict[str, Any]:
        state: dict[str, Any] = (await self._inspect(container_id))["State"]
        return state

    async def _inspect(self, container_id: str) -> dict[str, Any]:
        try:
            return await self._connection.call_again(
                f"show container {container_id[:12]}",
                lambda docker: docker.containers.container(container_id).show(),
            )
        except EngineRefused as refused:
            if refused.http_status == 404:
                raise NotFound(f"There is no container {container_id[:12]}") from refused
            raise


def _managed(found: dict[str, Any]) -> ManagedObject:
    names = found.get("Names") or [found["Id"]]  # none while it is being removed
    name, labels = names[0].lstrip("/"), found.get("Labels") or {}
    return ManagedObject("container", found["Id"], name, labels, running=found["State"] in _RUNNING)
