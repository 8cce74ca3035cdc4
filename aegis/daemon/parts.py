"""From the configuration to the parts' plain values: one function a part, pure but for reading the state directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import cast

from pydantic import SecretStr

from aegis import bootstrap
from aegis.adapters.docker import DockerEngine, RegistryCredentials
from aegis.adapters.llm.registry import Models
from aegis.adapters.llm.settings import ModelSettings
from aegis.adapters.mcp import McpServers, ServerSettings
from aegis.adapters.nfs import NfsGateway, Storage, handle_secret
from aegis.adapters.proxy import SystemResolver, is_own
from aegis.adapters.secrets import OpenBao, StoreSettings
from aegis.config.model import ModelAlias, NodeConfig, SecretStore, ToolServer
from aegis.config.references import SecretSource
from aegis.config.registry import load_registry
from aegis.domain.labels import NODE_ID
from aegis.domain.manifest import Runtime
from aegis.domain.mounts import MountProfile, mount_options
from aegis.errors import Refused, SecretUnavailable, WorldError
from aegis.ids import new_id
from aegis.logs import SHORTEST_SECRET
from aegis.ports import Clock, ModelTerms, Price
from aegis.services.admission import Limits
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.containers import ContainerSettings, Image, Place
from aegis.services.egress import EgressGate, EgressSettings
from aegis.services.egress.session import Rules
from aegis.services.pump import EventPump

NODE_ID_FILE = "node-id"
LOCK_FILE = "daemon.lock"
NFS_REPLIES_FILE = "nfs-replies"


def state_directory(config: NodeConfig) -> Path:
    """The state directory, made when missing. WorldError names it and what to do when it cannot be used."""
    path = Path(config.node.state_directory)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(f"user {os.getuid()} may not write there")
    except OSError as error:
        raise WorldError(
            f"the state directory {path} cannot be used: {error.strerror or error}",
            next_step=f"sudo install -d -o {os.getuid()} -m 700 {path}, or set node.state_directory",
            retryable=False,
        ) from error
    return path


def only_daemon(directory: Path, stack: AsyncExitStack) -> None:
    """Hold the state directory until `stack` is unwound, or the process ends however it does: a second daemon of the
    same node would go on with the same executions. WorldError names who has it."""
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise WorldError(
            f"the state directory {directory} is in use by another daemon (process {holder})",
            next_step="Stop that one, or give this one a node.state_directory of its own",
            retryable=False,
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def node_id(directory: Path) -> str:
    """Whose containers on a shared engine are ours: made once, kept in the state directory."""
    path = directory / NODE_ID_FILE
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(new_id() + "\n", "ascii")
        draft.rename(path)
        return path.read_text("ascii").strip()


def node_secret(directory: Path) -> bytes:
    """What everything is made from that a daemon has to know again after a restart, and nobody else."""
    return handle_secret(directory)


def models(config: NodeConfig) -> Models:
    settings = {name: _model(alias) for name, alias in config.models.items()}
    return Models(settings, {name: _terms(alias) for name, alias in config.models.items()})


def _model(alias: ModelAlias) -> ModelSettings:
    key = alias.api_key.get_secret_value() if alias.api_key is not None else None
    terms = {"api_key", "max_retries", "fallback", "price_per_million"}
    return ModelSettings(api_key=key, **alias.model_dump(exclude=terms))


def _terms(alias: ModelAlias) -> ModelTerms:
    price = alias.price_per_million
    return ModelTerms(
        attempts_max=alias.max_retries + 1,
        fallback=alias.fallback,
        price=None if price is None else Price(price.input, price.output),
    )


def open_secrets(settings: SecretStore) -> SecretSource:
    """The store that the configuration names, for reading it. SecretUnavailable when its login is not there."""
    return secret_store(settings).read


def agent_secrets(config: NodeConfig, stack: AsyncExitStack) -> AgentSecrets:
    """What manifests may ask for. A node whose store has no login has none for them."""
    settings = config.secrets
    if not settings.address or settings.role_id is None or settings.secret_id is None:
        return AgentSecrets()
    store = secret_store(settings)
    stack.callback(store.close)
    return AgentSecrets(store, settings.agent_paths)


def secret_store(settings: SecretStore) -> OpenBao:
    if not settings.address or settings.role_id is None or settings.secret_id is None:
        raise SecretUnavailable(
            "The secret store has no login", next_step="Set OPENBAO_ROLE_ID and OPENBAO_SECRET_ID", retryable=True
        )
    return OpenBao(
        StoreSettings(
            address=settings.address,
            role_id=settings.role_id.get_secret_value(),
            secret_id=settings.secret_id.get_secret_value(),
            namespace=settings.namespace,
            ca_file=settings.ca_file,
            mount=settings.mount,
            approle_mount=settings.approle_mount,
            timeout_seconds=settings.timeout_seconds,
        )
    )


def tool_servers(config: NodeConfig) -> McpServers:
    return McpServers(_tool_server(name, server) for name, server in config.mcp_servers.items())


def _tool_server(name: str, server: ToolServer) -> ServerSettings:
    return ServerSettings(
        name=name,
        command=server.command,
        args=server.args,
        environment={variable: _plain(value) for variable, value in server.env.items()},
        secrets=tuple(_secrets(server)),
        directory=server.cwd,
        timeout_seconds=server.timeout_seconds,
        tools=server.tools,
    )


def _secrets(server: ToolServer) -> list[str]:
    """What of its environment was said by reference; a short text would blank half of every result."""
    found = [value.get_secret_value() for value in server.env.values() if isinstance(value, SecretStr)]
    return [value for value in found if len(value) >= SHORTEST_SECRET]


def _plain(value: SecretStr | str) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def engine(config: NodeConfig, node: str) -> DockerEngine:
    credentials = {
        each.registry: RegistryCredentials(username=each.username, password=each.password.get_secret_value())
        for each in config.registry_credentials
    }
    return DockerEngine(
        config.runtime.docker_url,
        credentials,
        labels={NODE_ID: node},
        call_seconds=config.runtime.docker_timeout_seconds,
    )


def gateway(config: NodeConfig, directory: Path, pump: EventPump) -> NfsGateway:
    listen = config.storage.nfs_listen
    return NfsGateway(
        Storage(Path(config.storage.root)),
        listen=[(listen.host, listen.port)],
        allowed=config.storage.nfs_allowed_clients,
        secret=handle_secret(directory),
        replay_file=directory / NFS_REPLIES_FILE,
        on_events=pump.put,
        drained=pump.drained,
    )


def egress_gate(
    config: NodeConfig, directory: Path, resolver: SystemResolver, pump: EventPump, clock: Clock
) -> EgressGate:
    rules = Rules(
        resolve=resolver,
        is_own=is_own,
        opened=tuple(ip_network(each) for each in config.egress.allow_addresses),
        closed=(ip_network(config.runtime.network_subnet),),
        routes_max=config.egress.connections_per_execution,
    )
    settings = EgressSettings(rules=rules, secret=handle_secret(directory), put=pump.put, drained=pump.drained)
    return EgressGate(settings, clock)


def container_settings(
    config: NodeConfig, node: str, nfs_port: int, place: Callable[[str], Place], gate: EgressGate
) -> ContainerSettings:
    registry = load_registry(config.runtime.registry_path)

    def image_of(runtime: Runtime) -> Image:
        if runtime.image is not None:
            return Image(runtime.image)
        if runtime.language is None or runtime.version is None:
            raise Refused("the manifest names neither an image nor a language and its version")
        found = registry.resolve(runtime.language, runtime.version)
        return Image(found.image, found.environment)

    def options(profile: str | None) -> str:
        return mount_options(
            config.storage.mount_profile if profile is None else cast(MountProfile, profile),
            address=config.runtime.nfs_server_host,
            port=config.runtime.nfs_port or nfs_port,
            mountport=config.runtime.nfs_mountport,
            custom=config.storage.mount_options if profile is None else None,
        )

    return ContainerSettings(
        node_id=node,
        place=place,
        way_out=lambda execution, place: gate.environment(execution, place.proxy, place.orchestrator_url),
        nfs_host=config.runtime.nfs_server_host,
        nfs_port=config.runtime.nfs_port or nfs_port,
        mount_options=options,
        image_of=image_of,
        default_pull_policy=config.runtime.image_pull_policy,
        bootstrap=bootstrap.files_for_containers(),
        bootstrap_command=bootstrap.command_for,
    )


def admission_limits(config: NodeConfig) -> Limits:
    """How many executions run and wait, of all tenants and of one."""
    limits = config.limits
    return Limits(
        concurrent=limits.executions_concurrent,
        waiting=limits.executions_waiting,
        concurrent_per_tenant=limits.executions_concurrent_per_tenant,
        waiting_per_tenant=limits.executions_waiting_per_tenant,
    )


def secrets_of(config: NodeConfig) -> list[str]:
    """Every value that must not appear in a log."""
    found = [config.database.url, *config.api.tokens]
    found += [token for tenant in config.api.tenants.values() for token in tenant.tokens]
    found += [each for each in (config.secrets.role_id, config.secrets.secret_id) if each is not None]
    found += [alias.api_key for alias in config.models.values() if alias.api_key is not None]
    found += [each.password for each in config.registry_credentials]
    secrets = [secret.get_secret_value() for secret in found]
    return secrets + [secret for server in config.mcp_servers.values() for secret in _secrets(server)]
