"""What an engine is told to make and what it says there is, as values: containers, mounts, networks, volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class EngineInfo:
    version: str
    api_version: str
    rootless: bool
    userns_remap: bool
    kernel: str
    operating_system: str


@dataclass(frozen=True, slots=True)
class NfsMount:
    """One volume as the container sees it: `target` in the container, served by the gateway at `address`."""

    volume_name: str  # the Docker volume's, unique for each attachment
    target: str
    address: str  # as the engine's host reaches the gateway
    port: int
    export_path: str  # "/<tenant_id>/<volume_id>"
    options: str  # the `o=` string, complete
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything a container is made from. `kind` is the label `aegis.container_kind`: agent or validator."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    uid: int
    gid: int
    cpu_quota: float  # cores
    memory_bytes: int
    pids_limit: int
    network: str | None  # name of a network, None: no network at all
    mounts: tuple[NfsMount, ...]
    labels: Mapping[str, str]
    working_directory: str = "/"
    kind: Literal["agent", "validator"] = "agent"
    files: Mapping[str, bytes] = field(default_factory=dict)  # path in /aegis/ -> content; read-only there
    resolvers: tuple[str, ...] = ()  # name servers, asked from within the container; empty: the engine's choice
    entrypoint: tuple[str, ...] = ()  # empty: `command` is the whole argument vector, whatever the image's own is


@dataclass(frozen=True, slots=True)
class ContainerExit:
    exit_code: int
    out_of_memory: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """`started_at`: None for one that was made and never started. `volumes`: names of all Docker volumes in it."""

    running: bool
    started_at: datetime | None
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ManagedObject:
    """A container, network or Docker volume that carries `aegis.managed=true`, as the engine reports it now."""

    what: Literal["container", "network", "volume"]
    id: str
    name: str
    labels: Mapping[str, str]
    running: bool = False


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    name: str
    subnet: str
    gateway: str  # the host's address on this bridge: where containers reach the orchestrator
