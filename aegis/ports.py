"""What the services need from the world, as narrow interfaces; `aegis.adapters` implements them.

Every method that talks to a foreign system has a deadline of its own and raises only `aegis.errors` types. Values in
and out are the domain's or the frozen ones below: no third-party type crosses a port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from aegis.domain.containers import ContainerExit as ContainerExit
from aegis.domain.containers import ContainerSpec as ContainerSpec
from aegis.domain.containers import ContainerState as ContainerState
from aegis.domain.containers import EngineInfo as EngineInfo
from aegis.domain.containers import ManagedObject as ManagedObject
from aegis.domain.containers import NetworkInfo as NetworkInfo
from aegis.domain.containers import NfsMount as NfsMount
from aegis.domain.events import Event
from aegis.domain.execution import Agent, Execution, ExecutionState
from aegis.domain.images import LocalImage, PullProgress
from aegis.domain.iteration import Iteration
from aegis.domain.llm import Finish as Finish
from aegis.domain.llm import Message as Message
from aegis.domain.llm import ModelContext as ModelContext
from aegis.domain.llm import ModelReply as ModelReply
from aegis.domain.llm import ModelTerms as ModelTerms
from aegis.domain.llm import ModelUsage as ModelUsage
from aegis.domain.llm import Price as Price
from aegis.domain.llm import ToolCall as ToolCall
from aegis.domain.llm import ToolSpec as ToolSpec
from aegis.domain.manifest import PullPolicy
from aegis.domain.volume import Attachment, Volume, VolumeState

# ---- time ----


class Clock(Protocol):
    """The only source of time for services, so that tests own it."""

    def now(self) -> datetime:
        """Aware, UTC: for what is stored and shown."""
        ...

    def monotonic(self) -> float:
        """Seconds: for deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns when `monotonic` has advanced so far."""
        ...


# ---- containers ----


class ContainerRuntime(Protocol):
    """A Docker Engine (or, later, Swarm or Kubernetes). Creating twice is safe where the name is ours; removing what is
    gone is no error."""

    async def info(self) -> EngineInfo: ...

    async def ensure_image(
        self, image: str, policy: PullPolicy, on_progress: Callable[[PullProgress], None] | None = None
    ) -> LocalImage:
        """Make the image present by the policy. Concurrent pulls of one image share one pull.
        ImageNotFound (`Never` and missing, or the registry has none), ImagePullFailed."""
        ...

    async def ensure_network(
        self, name: str, *, internal: bool, labels: Mapping[str, str], subnets: Sequence[str] = ()
    ) -> NetworkInfo:
        """Safe to repeat and to race. The first free subnet is taken. Conflict: another network has this name."""
        ...

    async def create_volume(self, mount: NfsMount, labels: Mapping[str, str]) -> None:
        """Create the Docker volume and compare what the engine says it has: an existing name keeps its old options."""
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Create (with its files put in), do not start; returns the container's id."""
        ...

    async def start(self, container_id: str) -> None:
        """MountFailed when a volume could not be mounted: an agent never starts on a workspace that is not there."""
        ...

    async def wait(self, container_id: str) -> ContainerExit: ...

    async def state(self, container_id: str) -> ContainerState:
        """As it is now. NotFound when it is gone."""
        ...

    async def kill(self, container_id: str) -> None: ...

    def logs(self, container_id: str) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]: ...

    async def remove_container(self, container_id: str) -> None:
        """Kill if needed and remove; returns when it is gone."""
        ...

    async def remove_volume(self, name: str) -> None: ...

    async def remove_network(self, name: str) -> None: ...

    async def list_managed(self) -> list[ManagedObject]: ...

    async def close(self) -> None: ...


# ---- the gateway ----


@dataclass(frozen=True, slots=True)
class FileRules:
    """Path patterns from the volume's root (`/src/**`); None: no restriction. `read_only` answers EROFS. `identity`:
    every file is the execution's user's (squash), or users are told apart and permissions are theirs (mapped)."""

    read_only: bool = False
    read: tuple[str, ...] | None = None
    write: tuple[str, ...] | None = None
    identity: Literal["squash", "mapped"] = "squash"


@dataclass(frozen=True, slots=True)
class FileEntry:
    name: str  # undecodable bytes as surrogate escapes
    kind: Literal["file", "directory", "symlink", "other"]
    size_bytes: int
    mode: int
    modified_at: datetime


class Workspace(Protocol):
    """A volume's files through the very same stack as NFS (audit, squash, policy, quota). Paths are relative to the
    volume's root, `/`-separated. NotFound, Denied, Refused, Conflict."""

    async def read(self, path: str, *, bytes_max: int) -> bytes: ...
    async def write(self, path: str, content: bytes) -> None: ...
    async def list(self, path: str) -> Sequence[FileEntry]: ...
    async def make_directory(self, path: str) -> None: ...
    async def delete(self, path: str, *, recursive: bool = False) -> None: ...
    async def stat(self, path: str) -> FileEntry: ...


@dataclass(frozen=True, slots=True)
class VolumeUsage:
    bytes_used: int
    bytes_max: int | None
    files: int


class Gateway(Protocol):
    """The NFS server and the volumes' storage behind it."""

    @property
    def port(self) -> int: ...

    async def create_storage(self, volume: Volume) -> None: ...

    async def delete_storage(self, volume: Volume) -> None: ...

    async def attach(self, volume: Volume, attachment: Attachment, rules: FileRules) -> str:
        """Export the volume for this attachment; returns the path to mount, `volume.export_path` unless another
        attachment has that already. Until then, and after `detach`, MOUNT answers MNT3ERR_NOENT."""
        ...

    async def detach(self, volume: Volume, attachment: Attachment) -> None: ...

    def workspace(self, volume: Volume, attachment: Attachment | None = None) -> Workspace:
        """With an attachment: under its rules, audited as its execution's. Without: the operator's own view."""
        ...

    async def usage(self, volume: Volume) -> VolumeUsage: ...

    async def probe(self) -> None:
        """A real MOUNT NULL and NFS GETATTR over TCP against ourselves; WorldError when it does not answer."""
        ...


# ---- language models ----


class LanguageModel(Protocol):
    async def complete(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], context: ModelContext
    ) -> ModelReply:
        """One attempt, whole or not at all. ModelFailed says whether another may succeed, and when. Callers go through
        `aegis.services.model_calls`, which repeats, falls back and counts."""
        ...

    async def close(self) -> None: ...


class LanguageModels(Protocol):
    """The node's aliases."""

    def get(self, alias: str) -> LanguageModel:
        """NotFound names the aliases there are."""
        ...

    def terms(self, alias: str) -> ModelTerms:
        """NotFound as `get`. Following `fallback` from alias to alias comes to an end."""
        ...

    @property
    def aliases(self) -> Sequence[str]: ...


# ---- tool servers ----


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """`failed`: the text says why, for the model."""

    text: str
    failed: bool = False


class ToolServers(Protocol):
    """Tools that other processes of this node offer. What there is may change at any time."""

    def tools(self) -> Sequence[ToolSpec]:
        """Named `server.tool`; a server that is away keeps those it had."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        """Of one of `tools()`. Bounded in time and size; never raises for what a server does."""
        ...


class Secrets(Protocol):
    async def get(self, reference: str) -> str:
        """The value at `path#field`. SecretUnavailable."""
        ...


# ---- state ----


class Store(Protocol):
    """Everything that must survive, written before it takes effect outside. Every method is one transaction.

    `update_*` write the whole record; `expect` is compared with the stored state in the same transaction, so of two
    writers one gets Conflict. Lists are newest first and bounded by `limit` (at most 1,000)."""

    async def add_agent(self, agent: Agent) -> None: ...
    async def get_agent(self, tenant_id: str, name_or_id: str) -> Agent: ...
    async def list_agents(self, tenant_id: str, *, limit: int = 100) -> list[Agent]: ...
    async def remove_agent(self, tenant_id: str, name: str) -> None: ...

    async def add_execution(self, execution: Execution, events: Sequence[Event] = ()) -> None: ...
    async def get_execution(self, execution_id: str) -> Execution: ...
    async def list_executions(
        self, tenant_id: str | None = None, *, states: Sequence[ExecutionState] = (), limit: int = 100
    ) -> list[Execution]: ...
    async def list_unfinished(self, node_id: str) -> list[Execution]:
        """All pending and running ones of this node and of none, oldest first: admission bounds how many there are."""
        ...

    async def update_execution(
        self, execution: Execution, *, expect: ExecutionState, events: Sequence[Event] = ()
    ) -> None: ...

    async def add_iteration(self, iteration: Iteration, events: Sequence[Event] = ()) -> None: ...
    async def update_iteration(self, iteration: Iteration, events: Sequence[Event] = ()) -> None: ...
    async def list_iterations(self, execution_id: str) -> list[Iteration]:
        """In order of their numbers."""
        ...

    async def add_volume(self, volume: Volume, events: Sequence[Event] = ()) -> None: ...
    async def get_volume(self, tenant_id: str, volume_id: str) -> Volume: ...
    async def list_volumes(
        self,
        tenant_id: str | None = None,
        *,
        states: Sequence[VolumeState] = (),
        owner_execution_id: str | None = None,
        limit: int = 1000,
    ) -> list[Volume]: ...
    async def update_volume(self, volume: Volume, *, expect: VolumeState, events: Sequence[Event] = ()) -> None: ...

    async def add_attachment(self, attachment: Attachment, events: Sequence[Event] = ()) -> None:
        """Moves the volume to Attached in the same transaction. VolumeAlreadyMounted when this and another live one are
        read-write: decided in the database; Conflict when the volume is in no state to be attached."""
        ...

    async def end_attachment(self, attachment_id: str, at: datetime, events: Sequence[Event] = ()) -> None:
        """Moves the volume to Detached with the last one. Safe to repeat: an ended one stays as it ended."""
        ...

    async def list_attachments(
        self, *, execution_id: str | None = None, volume_id: str | None = None, live_only: bool = True
    ) -> list[Attachment]: ...

    async def append_events(self, events: Sequence[Event]) -> None: ...
    async def list_events(self, execution_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """In order of `sequence`."""
        ...

    async def save_inner_loop(
        self, execution_id: str, iteration: int, state: Mapping[str, Any], events: Sequence[Event] = ()
    ) -> None:
        """The inner loop's whole state as JSON (conversation, rounds, dispatch under way): it survives a restart."""
        ...

    async def load_inner_loop(self, execution_id: str, iteration: int) -> Mapping[str, Any] | None: ...

    async def add_usage(self, execution_id: str, usage: ModelUsage) -> None:
        """Adds to what is stored for this iteration and alias. Calls without a cost leave the sum of the others'."""
        ...

    async def list_usage(self, execution_id: str) -> list[ModelUsage]:
        """In order of iteration and alias."""
        ...

    async def ping(self) -> None: ...
    async def close(self) -> None: ...


class Signer(Protocol):
    """The node's own keys, and Ed25519 (RFC 8032) for others'."""

    def issue(self, purpose: str, claims: Mapping[str, Any]) -> str:
        """A signed token. `iat`, `exp` in Unix seconds."""
        ...

    def claims(self, purpose: str, token: str) -> dict[str, Any]:
        """Of a token of ours, issued for this purpose, whose time has come and is not over. Unauthorized."""
        ...

    def verified(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        """Whether the owner of the key signed this message."""
        ...


class EventSink(Protocol):
    """Where services say what happened: stored, then shown to whoever follows."""

    async def emit(self, *events: Event) -> None: ...

    def wake(self, execution_id: str) -> None:
        """Followers look again: events were stored together with a record, not through `emit`."""
        ...

    def follow(self, execution_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Stored events first, then new ones as they come; ends after the execution's final event."""
        ...


class ModelMeter(Protocol):
    """Counts what models do, for the node's metrics."""

    def answered(self, alias: str, usage: ModelUsage, seconds: float) -> None: ...

    def failed(self, alias: str, reason: str) -> None: ...

    def fell_back(self, alias: str, to: str) -> None: ...


HealthCheck = Callable[[], Awaitable[None]]
"""Returns when the dependency is there, raises AegisError with the reason when it is not."""
