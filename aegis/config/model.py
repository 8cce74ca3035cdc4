"""The node's configuration: the one internal model, with every default. `aegis.daemon` alone reads it.

Units are in the names. What holds a secret is a `SecretStr`, so that no log, traceback or `explain` shows it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from aegis.domain.contexts import SecurityContext
from aegis.domain.manifest import PullPolicy
from aegis.domain.mounts import MountProfile
from aegis.ids import DEFAULT_TENANT

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ListenAddress(Section):
    """Port 0: any free one, for tests."""

    host: str
    port: Port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Node(Section):
    name: str = "aegis"
    state_directory: str  # the database, keys, and everything below that names no directory of its own
    tenant_id: str = DEFAULT_TENANT


class Storage(Section):
    root: str  # the volumes' data
    nfs_listen: ListenAddress = ListenAddress(host="0.0.0.0", port=2049)  # noqa: S104 - the page's default
    nfs_allowed_clients: tuple[str, ...] = ()  # networks that may speak to the gateway beside the host itself
    nfs_busy_poll_microseconds: Annotated[int, Field(ge=0, le=1000)] = 200  # see nfsd.server.selector; 0: never
    mount_profile: MountProfile = "robust"
    mount_options: str | None = None  # in the profile's place; see aegis.domain.mounts
    default_size_limit_bytes: int | None = None  # of volumes whose manifest names none; None: no limit
    default_ttl_hours: Annotated[float, Field(gt=0)] | None = None  # of ephemeral volumes whose manifest names none


class Runtime(Section):
    docker_url: str = "unix:///var/run/docker.sock"
    docker_timeout_seconds: Seconds = 60.0  # for one call that is neither a pull nor a wait
    nfs_server_host: str = "127.0.0.1"  # the gateway as the engine's host reaches it: it mounts, not the container
    nfs_port: Port | None = None  # None: where the gateway listens
    nfs_mountport: Port | None = None  # None: `nfs_port`; our MOUNT service is on the same one
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_timeout_seconds: Seconds = 1800.0
    orchestrator_url: str | None = None  # as containers reach us; None: the network's gateway and the API's port
    network_name: str = "aegis"  # of the first of the containers' networks; the others are aegis-2, aegis-3 ...
    network_subnet: str = "10.97.0.0/20"  # all of theirs; explicit: dockerd's own pools end at about 30 networks
    network_internal: bool = True  # containers reach nothing beyond the engine's host but through the proxy
    registry_path: str | None = None  # runtime-registry.yaml; None: the one that comes with the daemon
    log_bytes_max: Annotated[int, Field(ge=4096)] = 10 * 1024 * 1024  # of each of a container's two log files


class Tenant(Section):
    """Who calls with one of these tokens sees and makes what is this tenant's, and nothing else."""

    tokens: Annotated[tuple[SecretStr, ...], Field(min_length=1)]


class Api(Section):
    listen: tuple[ListenAddress, ...] = (ListenAddress(host="127.0.0.1", port=8080),)
    listen_on_bridge: bool = True  # also at the containers' network's gateway, where bootstrap calls
    tokens: tuple[SecretStr, ...] = ()  # of the node: what is done with them is `node.tenant_id`'s
    tenants: dict[str, Tenant] = {}


class Egress(Section):
    """The proxy through which agents' containers reach the world."""

    listen: ListenAddress | None = None  # None: on every gateway of the containers' networks, with `port`
    port: Port = 3128
    allow_addresses: tuple[str, ...] = ()  # networks that are not the world's, open to agents that may go there
    connections_per_execution: Annotated[int, Field(ge=1, le=4096)] = 128
    idle_timeout_seconds: Seconds = 300.0


class Database(Section):
    url: SecretStr  # as SQLAlchemy takes it, the asynchronous driver named
    max_connections: Annotated[int, Field(ge=1, le=1000)] = 10
    connect_timeout_seconds: Seconds = 5.0


class TokenPrice(Section):
    """Of a million tokens, in the operator's own currency."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class SecretStore(Section):
    """OpenBao or Vault, logged in to by AppRole. Without an address there is none, and `secret:` is refused."""

    address: str | None = None
    role_id: SecretStr | None = None
    secret_id: SecretStr | None = None
    namespace: str | None = None
    ca_file: str | None = None
    mount: str = "secret"  # of the KV engine, version 2
    approle_mount: str = "approle"
    timeout_seconds: Seconds = 10.0  # of one call
    agent_paths: tuple[str, ...] = ()  # patterns of what manifests may ask for; none: nothing


class ModelAlias(Section):
    """One alias. `script` answers from a file (docs/models.md); `openai` is everything that speaks its protocol."""

    provider: Literal["openai", "anthropic", "script"]
    model: str | None = None
    base_url: str | None = None
    api_key: SecretStr | None = None
    script: str | None = None
    timeout_seconds: Seconds = 300.0
    max_retries: Annotated[int, Field(ge=0, le=20)] = 5
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    stream: bool = True
    fallback: str | None = None  # the alias that answers when this one does not; checked to lead to an end
    price_per_million: TokenPrice | None = None


class ToolServer(Section):
    """An MCP server on this node, spoken to over its standard input and output. What of `env` was said by reference
    (`env:`, `secret:`) is a secret; all of it is masked."""

    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str | SecretStr] = {}  # in this order: pydantic makes a SecretStr of every text otherwise
    cwd: str | None = None
    timeout_seconds: Seconds = 60.0  # of one call
    tools: tuple[str, ...] = ("*",)  # patterns of the server's own names


class RegistryCredential(Section):
    registry: str  # matched exactly with the image's registry
    username: str
    password: SecretStr


class Logging(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Limits(Section):
    executions_concurrent: Annotated[int, Field(ge=1, le=10_000)] = 50
    executions_waiting: Annotated[int, Field(ge=0, le=100_000)] = 1000
    executions_concurrent_per_tenant: Annotated[int, Field(ge=1, le=10_000)] | None = None  # None: as many as of all
    executions_waiting_per_tenant: Annotated[int, Field(ge=0, le=100_000)] | None = None
    tool_rounds: Annotated[int, Field(ge=1, le=1000)] = 50  # of one iteration
    shutdown_seconds: Seconds = 30.0  # for running work to end by itself


class NodeConfig(Section):
    node: Node
    storage: Storage
    runtime: Runtime = Runtime()
    api: Api = Api()
    egress: Egress = Egress()
    database: Database
    secrets: SecretStore = SecretStore()
    models: dict[str, ModelAlias] = {}
    mcp_servers: dict[str, ToolServer] = {}
    registry_credentials: tuple[RegistryCredential, ...] = ()
    security_contexts: tuple[SecurityContext, ...] = ()  # `default` holds for manifests that name none
    logging: Logging = Logging()
    limits: Limits = Limits()
