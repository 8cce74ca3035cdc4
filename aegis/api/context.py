"""What the handlers work with: the ports and the few calls of the services the API makes, as narrow protocols.

One frozen value for each application, so a handler's needs are visible and a test can give it small real ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from aiohttp import web

from aegis.domain.execution import Agent, Execution
from aegis.domain.manifest import AgentManifest, StorageClass
from aegis.domain.smcp import Attestation, Envelope
from aegis.domain.volume import Volume
from aegis.ids import DEFAULT_TENANT
from aegis.ports import Clock, EventSink, Gateway, HealthCheck, Store
from aegis.services.bundles import Loaded as LoadedBundle
from aegis.services.smcp import Grant


class Supervisor(Protocol):
    """`aegis.services.supervisor.ExecutionSupervisor`, as far as the API calls it."""

    async def start(self, agent: Agent, input: str, tenant_id: str) -> Execution:
        """Stored when it returns; the run goes on in the supervisor's own task. Conflict when its queue is full."""
        ...

    async def cancel(self, execution_id: str) -> Execution:
        """Returns at once with the state then reached; NotFound; Conflict when it has already ended."""
        ...


class Dispatches(Protocol):
    """`aegis.services.inner_loop.InnerLoop`: answers are the protocol's JSON objects. Every call may be repeated."""

    async def task(self, execution: Execution, iteration: int) -> Mapping[str, Any]: ...

    async def generate(self, execution_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]: ...

    async def dispatch_result(self, execution_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]: ...

    async def dispatch_output(self, execution_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]: ...


class ToolCalls(Protocol):
    """`aegis.services.smcp.Smcp`: tool calls by processes in containers."""

    def may_attest(self, token: str, execution_id: str, iteration: int) -> bool: ...

    def attest(self, execution: Execution, attestation: Attestation) -> Grant: ...

    def grant_of(self, token: str) -> Grant: ...

    async def invoke(self, grant: Grant, envelope: Envelope) -> Mapping[str, Any]: ...


class Volumes(Protocol):
    """`aegis.services.volumes.VolumeService`, as far as the API calls it."""

    async def create(
        self,
        tenant_id: str,
        name: str,
        *,
        storage_class: StorageClass,
        size_limit_bytes: int | None,
        ttl_hours: float | None,
    ) -> Volume: ...

    async def delete(self, tenant_id: str, volume_id: str) -> None: ...


class Bundles(Protocol):
    """`aegis.services.bundles.Bundles`."""

    def save(self, tenant_id: str, agents: Sequence[str], images: Sequence[str]) -> AsyncIterator[bytes]: ...

    async def load(self, tenant_id: str, content: AsyncIterator[bytes]) -> LoadedBundle: ...


class Loaded(Protocol):
    @property
    def manifest(self) -> AgentManifest: ...


ManifestLoader = Callable[[str, str], Loaded]
"""(text, source name) -> the manifest, or an AegisError whose `problems` name every fault:
`documents.load_manifest`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    store: Store
    events: EventSink
    clock: Clock
    supervisor: Supervisor
    inner_loop: Dispatches
    tool_calls: ToolCalls
    volumes: Volumes
    bundles: Bundles
    gateway: Gateway
    load_manifest: ManifestLoader
    version: str
    health_checks: Mapping[str, HealthCheck] = field(default_factory=dict)
    optional_checks: Mapping[str, HealthCheck] = field(
        default_factory=dict
    )  # without them the node is ready all the same
    tenant_id: str = DEFAULT_TENANT
    heartbeat_seconds: float = 15.0  # between two comments on an idle event stream: proxies cut silence at 30 to 60 s


CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)


TENANT: web.RequestKey[str] = web.RequestKey("tenant", str)
"""Of a request: the tenant whose token it carries, where it is not the node's own."""


def context_of(request: web.Request) -> Context:
    """With the caller's tenant in it."""
    context, tenant = request.app[CONTEXT], request.get(TENANT)
    return context if tenant is None else replace(context, tenant_id=tenant)
