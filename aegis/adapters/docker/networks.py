"""The few shared bridge networks that containers are put on (`/networks/*`).

The rules to know: Docker identifies networks by id, names may repeat (two simultaneous creations of one name can both
succeed before API 1.44), so after creating we look whether we were alone, and the oldest stays. That settles it only
where a subnet is given, as the daemon does: Docker gives a subnet once. Without one, who looked before an older twin
was shown may be left with the younger. Docker's own address pools hold about 30 networks and are shared with everybody
on the host, so the subnets are the caller's to give.
"""

# mypy: untyped-calls-exclude=aiodocker
from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from aiodocker.networks import DockerNetwork

from aegis.adapters.docker.connection import Connection, EngineRefused
from aegis.adapters.docker.patience import Patience
from aegis.adapters.docker.payloads import ENABLE_ICC, gateway_of, network_config
from aegis.domain.labels import MANAGED as MANAGED_LABEL
from aegis.errors import Conflict, ContainerFailed
from aegis.ports import ManagedObject, NetworkInfo

REMOVE_SECONDS = 30.0
RACE_SECONDS = 3.0  # from the moment a subnet is taken until its network is listed
_NO_SUBNET_TEXTS = ("overlap", "non-overlapping", "fully subnetted")


class Networks:
    """`isolated`: containers on one network cannot speak to each other (bridge option `enable_icc=false`)."""

    def __init__(
        self, connection: Connection, *, isolated: bool = True, remove_seconds: float = REMOVE_SECONDS
    ) -> None:
        self._connection = connection
        self._isolated = isolated
        self._remove_seconds = remove_seconds
        self._creating = asyncio.Lock()  # within this process nobody creates beside us

    async def ensure(
        self, name: str, *, internal: bool, labels: Mapping[str, str], subnets: Sequence[str] = ()
    ) -> NetworkInfo:
        """Conflict when a network of this name exists that is not the one asked for; ContainerFailed when no subnet
        is left."""
        async with self._creating:
            found = await self._oldest(name)
            if found is None:
                try:
                    await self._create(name, internal=internal, labels=labels, subnets=subnets)
                    found = await self._oldest(name)
                except ContainerFailed:
                    found = await self._somebody_elses(name)
                    if found is None:
                        raise
            if found is None:
                raise ContainerFailed(f"Network {name} was made and is gone again: somebody removes networks")
        self._check(found, internal=internal, subnets=subnets)
        return _info(found)

    async def remove(self, name_or_id: str) -> None:
        """No error when it is gone; every network of this name goes. Conflict when containers stay on it."""
        for network in await self._find({"name": name_or_id}) + await self._find({"id": name_or_id}):
            if name_or_id in (network["Name"], network["Id"]):
                await self._remove(network)

    async def managed(self) -> list[ManagedObject]:
        return [
            ManagedObject("network", found["Id"], found["Name"], found.get("Labels") or {})
            for found in await self._find({"label": f"{MANAGED_LABEL}=true"})
        ]

    async def _find(self, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        return await self._connection.call_again("list networks", lambda docker: docker.networks.list(filters=filters))

    async def _oldest(self, name: str) -> dict[str, Any] | None:
        """Of several networks of one name the oldest is the one: everybody who looks comes to the same answer, and
        removes the others, which nobody has used yet (a network is handed out only after this look)."""
        # The filter matches parts of names too; the comparison is ours.
        same = [found for found in await self._find({"name": name}) if found["Name"] == name]
        same.sort(key=lambda found: (found["Created"], found["Id"]))
        for surplus in same[1:]:
            if (surplus.get("Labels") or {}).get(MANAGED_LABEL) == "true":
                await self._remove(surplus)
        return same[0] if same else None

    async def _somebody_elses(self, name: str) -> dict[str, Any] | None:
        """The network that took our subnet, if it is the one we wanted: another process was quicker. Docker takes the
        subnet before it shows the network."""
        patience = Patience(RACE_SECONDS)
        while (found := await self._oldest(name)) is None:
            if not await patience.pause():
                return None
        return found

    async def _create(self, name: str, *, internal: bool, labels: Mapping[str, str], subnets: Sequence[str]) -> None:
        refusal: EngineRefused | None = None
        for subnet in await self._free(subnets) if subnets else [None]:
            config = network_config(name, internal=internal, isolated=self._isolated, labels=labels, subnet=subnet)
            try:
                await self._post(name, config)
                return
            except EngineRefused as refused:
                if refused.http_status == 409 and "already exists" in refused.text:
                    return
                if not any(text in refused.text for text in _NO_SUBNET_TEXTS):
                    raise
                refusal = refused
        wanted = f"one of {', '.join(subnets)}" if subnets else "one of Docker's own pools"
        raise ContainerFailed(
            f"No free subnet for network {name}: wanted was {wanted}" + (f" ({refusal.text})" if refusal else ""),
            next_step="Set other runtime.network_subnets, or free some: `docker network prune`",
            retryable=False,
        ) from refusal

    async def _post(self, name: str, config: Mapping[str, Any]) -> None:
        """Safe to repeat: a second network of the name is refused, or removed by `_oldest`."""
        await self._connection.call_again(f"create network {name}", lambda docker: docker.networks.create({**config}))

    async def _free(self, subnets: Sequence[str]) -> list[str]:
        taken = [
            ipaddress.ip_network(config["Subnet"])
            for found in await self._find({})
            for config in (found.get("IPAM") or {}).get("Config") or []
            if config.get("Subnet")
        ]
        wanted = [ipaddress.ip_network(subnet) for subnet in subnets]
        return [str(subnet) for subnet in wanted if not any(subnet.overlaps(other) for other in taken)]

    async def _remove(self, network: Mapping[str, Any]) -> None:
        patience = Patience(self._remove_seconds)
        while True:
            try:
                await self._connection.call_again(
                    f"remove network {network['Name']}",
                    lambda docker: DockerNetwork(docker, network["Id"]).delete(),
                )
                return
            except EngineRefused as refused:
                if refused.http_status == 404:
                    return
                if "active endpoints" not in refused.text:
                    raise
                if not await patience.pause():
                    raise Conflict(
                        f"Network {network['Name']} still has containers after {self._remove_seconds:g} s: "
                        f"{refused.text}",
                        next_step=f"See `docker network inspect {network['Name']}`",
                    ) from refused

    def _check(self, found: Mapping[str, Any], *, internal: bool, subnets: Sequence[str]) -> None:
        info = _info(found)
        options = found.get("Options") or {}
        isolated = options.get(ENABLE_ICC, "true") == "false"
        differences = [
            f"{what} is {is_}, wanted {wanted}"
            for what, is_, wanted in (
                ("driver", found["Driver"], "bridge"),
                ("internal", found["Internal"], internal),
                ("isolation of containers from each other", isolated, self._isolated),
                ("subnet", info.subnet, " or ".join(subnets) if subnets else info.subnet),
            )
            if is_ != wanted and not (what == "subnet" and is_ in subnets)
        ]
        if differences:
            raise Conflict(
                f"Docker network {info.name} exists and is another one: {'; '.join(differences)}",
                next_step=f"Run `docker network rm {info.name}`, or set another runtime.network_name",
            )


def _info(found: Mapping[str, Any]) -> NetworkInfo:
    config = next((entry for entry in found["IPAM"]["Config"] or [] if ":" not in entry["Subnet"]), None)
    if config is None:
        raise Conflict(f"Docker network {found['Name']} has no IPv4 subnet")
    # A gateway is listed only where somebody set one (seen with 20.10); by default it is the first host.
    gateway = (config.get("Gateway") or gateway_of(config["Subnet"])).partition("/")[0]
    return NetworkInfo(found["Name"], config["Subnet"], gateway)
