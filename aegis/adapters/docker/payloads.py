"""Our values as the JSON bodies of the Docker Engine API, keys verbatim (`POST /containers/create`, `/volumes/create`,
`/networks/create`). Pure functions; the only place, with `volumes.py`, in which Docker's keys are written.

The rule to know: what a volume is mounted with is said twice, to `/volumes/create` and in the container's `Mounts`.
Docker takes the second only when no volume of this name exists, so both come from the one function `_driver_config`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from aegis.domain.labels import CONTAINER_KIND as KIND_LABEL
from aegis.domain.labels import MANAGED as MANAGED_LABEL
from aegis.domain.manifest import NANOSECONDS_PER_CPU
from aegis.ports import ContainerSpec, NfsMount

JSON = dict[str, Any]

MANAGED = {MANAGED_LABEL: "true"}

FILES_LABEL = "aegis.files"  # on volumes that were filled by us (shelf.py)
FILES_DIRECTORY = "/aegis"

LOG_FILE_SIZE = "10m"  # of what the agent's own process writes; the conversation is recorded elsewhere
LOG_FILES = "1"
ENABLE_ICC = "com.docker.network.bridge.enable_icc"


def container_config(spec: ContainerSpec, more_mounts: Sequence[JSON] = ()) -> JSON:
    """The body of `POST /containers/create`.

    `command` is the whole argument vector: an image's own ENTRYPOINT would come before bootstrap, so it is reset
    (`[""]` is Docker's way to say "none"). Without a command the image's ENTRYPOINT and CMD stand as they are."""
    config: JSON = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        "User": f"{spec.uid}:{spec.gid}",
        "WorkingDir": spec.working_directory,
        "Labels": {**spec.labels, **MANAGED, KIND_LABEL: spec.kind},
        "HostConfig": _host_config(spec, more_mounts),
    }
    if spec.command or spec.entrypoint:
        config["Entrypoint"] = list(spec.entrypoint) or [""]
        config["Cmd"] = list(spec.command)
    return config


def _host_config(spec: ContainerSpec, more_mounts: Sequence[JSON]) -> JSON:
    config: JSON = {
        "NanoCpus": round(spec.cpu_quota * NANOSECONDS_PER_CPU),
        "Memory": spec.memory_bytes,
        "MemorySwap": spec.memory_bytes,  # memory and swap together: equal means no swap
        "PidsLimit": spec.pids_limit,
        "Init": True,  # reaps what the agent's commands leave behind
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": LOG_FILE_SIZE, "max-file": LOG_FILES}},
        "NetworkMode": spec.network or "none",
        "Mounts": [*(mount_config(mount, spec.labels) for mount in spec.mounts), *more_mounts],
        "RestartPolicy": {"Name": "no"},
    }
    if spec.resolvers:
        config["Dns"] = list(spec.resolvers)
    return config


def mount_config(mount: NfsMount, labels: Mapping[str, str]) -> JSON:
    """One entry of `HostConfig.Mounts`. `NoCopy`: otherwise Docker mounts the volume at creation already, to copy what
    the image has at this path into an empty workspace."""
    config: JSON = {
        "Target": mount.target,
        "Type": "volume",
        "Source": mount.volume_name,
        "VolumeOptions": {
            "NoCopy": True,
            "Labels": {**labels, **MANAGED},
            "DriverConfig": _driver_config(mount),
        },
    }
    if mount.read_only:
        config["ReadOnly"] = True
    return config


def volume_config(mount: NfsMount, labels: Mapping[str, str]) -> JSON:
    """The body of `POST /volumes/create`."""
    driver = _driver_config(mount)
    return {
        "Name": mount.volume_name,
        "Driver": driver["Name"],
        "DriverOpts": driver["Options"],
        "Labels": {**labels, **MANAGED},
    }


def _driver_config(mount: NfsMount) -> JSON:
    options = {"type": "nfs", "o": mount.options, "device": f":{mount.export_path}"}
    return {"Name": "local", "Options": options}


def files_mount(volume: str) -> JSON:
    """An entry of `Mounts`. Without labels: what Docker makes where ours was removed must not look like ours."""
    options = {"NoCopy": True}
    return {
        "Target": FILES_DIRECTORY,
        "Type": "volume",
        "Source": volume,
        "ReadOnly": True,
        "VolumeOptions": options,
    }


def files_volume(volume: str, labels: Mapping[str, str]) -> JSON:
    return {"Name": volume, "Driver": "local", "Labels": {**labels, **MANAGED, FILES_LABEL: "true"}}


def files_container(image: str, volume: str, labels: Mapping[str, str]) -> JSON:
    """A container that is never started: files are put into the volume through it."""
    mount = files_mount(volume) | {"ReadOnly": False}
    return {
        "Image": image,
        "Entrypoint": ["/never/started"],
        "Labels": {**labels, **MANAGED, FILES_LABEL: "true"},
        "HostConfig": {"NetworkMode": "none", "Mounts": [mount]},
    }


def network_config(name: str, *, internal: bool, isolated: bool, labels: Mapping[str, str], subnet: str | None) -> JSON:
    """The body of `POST /networks/create`. `isolated`: containers on the bridge cannot speak to each other.

    `CheckDuplicate`: before API 1.44 Docker makes a second network of the same name unless asked not to (and two
    simultaneous requests may still get one each)."""
    config: JSON = {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Internal": internal,
        "EnableIPv6": False,  # said, because an engine can be set to another default (28.0)
        "Attachable": False,
        "Labels": {**labels, **MANAGED},
        "Options": {ENABLE_ICC: "false" if isolated else "true"},
    }
    if subnet is not None:
        config["IPAM"] = {"Driver": "default", "Config": [{"Subnet": subnet, "Gateway": gateway_of(subnet)}]}
    return config


def gateway_of(subnet: str) -> str:
    """The first host of a subnet: the bridge's own address, as Docker chooses it where nobody says otherwise."""
    return str(ipaddress.ip_network(subnet)[1])
