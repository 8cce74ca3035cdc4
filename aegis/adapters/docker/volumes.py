"""Docker volumes of the `local` driver that mount a gateway's export (`/volumes/*`).

The rule to know: `POST /volumes/create` with a name that exists answers 201 with the old volume and its old options
(some versions 409). Nothing is mounted here: that happens when a container that uses the volume starts.
"""

# mypy: untyped-calls-exclude=aiodocker
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiodocker

from aegis.adapters.docker.connection import Connection, EngineRefused
from aegis.adapters.docker.patience import Patience
from aegis.adapters.docker.payloads import volume_config
from aegis.adapters.docker.shelf import Shelf
from aegis.domain.labels import MANAGED as MANAGED_LABEL
from aegis.errors import Conflict, MountFailed
from aegis.ports import ManagedObject, NfsMount

REMOVE_SECONDS = 30.0


class Volumes:
    def __init__(self, connection: Connection, shelf: Shelf, *, remove_seconds: float = REMOVE_SECONDS) -> None:
        self._connection = connection
        self._shelf = shelf
        self._remove_seconds = remove_seconds

    async def create(self, mount: NfsMount, labels: Mapping[str, str]) -> None:
        """MountFailed when a volume of this name exists with other options: take another name."""
        config = volume_config(mount, labels)
        found: dict[str, Any] = await self._connection.call_again(
            f"create volume {mount.volume_name}", lambda docker: _create(docker, config)
        )
        options = found.get("Options") or {}
        if found.get("Driver") != config["Driver"] or options != config["DriverOpts"]:
            raise MountFailed(
                f"Docker volume {mount.volume_name} exists with driver {found.get('Driver')} and options {options}; "
                f"wanted were driver {config['Driver']} and options {config['DriverOpts']}",
                next_step=f"Use another name, or run `docker volume rm {mount.volume_name}`",
                retryable=False,
            )

    async def remove(self, name: str) -> None:
        """No error when it is gone. While a container that is being removed still holds it, try again until the
        deadline; then Conflict, which names the holder."""
        patience = Patience(self._remove_seconds)
        while True:
            try:
                await self._connection.call_again(f"remove volume {name}", lambda docker: _delete(docker, name))
                return
            except EngineRefused as refused:
                if refused.http_status == 404:
                    return
                if refused.http_status != 409 and "in use" not in refused.text:
                    raise
                if not await patience.pause():
                    raise Conflict(
                        f"Docker volume {name} is still in use after {self._remove_seconds:g} s: {refused.text}",
                        next_step=f"See `docker ps -a --filter volume={name}`",
                    ) from refused

    async def managed(self) -> list[ManagedObject]:
        found = await self._connection.call_again("list volumes", _list)
        return [
            ManagedObject("volume", entry["Name"], entry["Name"], entry.get("Labels") or {})
            for entry in found.get("Volumes") or []
            if not self._shelf.owns(entry["Name"])
        ]


async def _create(docker: aiodocker.Docker, config: Mapping[str, Any]) -> dict[str, Any]:
    volume = await docker.volumes.create(config)
    found: dict[str, Any] = await volume.show()
    return found


async def _delete(docker: aiodocker.Docker, name: str) -> None:
    await aiodocker.volumes.DockerVolume(docker, name).delete()


async def _list(docker: aiodocker.Docker) -> dict[str, Any]:
    found: dict[str, Any] = await docker.volumes.list(filters={"label": f"{MANAGED_LABEL}=true"})
    return found
