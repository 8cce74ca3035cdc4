"""`kind: NodeConfig`: every key and what it means here; the same rows without the envelope are the bare page form.

Every row without `[]` or `*` can also be set by an environment variable: `AEGIS_` and its path in capitals, dots as
underscores (`storage.nfs_listen_addr`: `AEGIS_STORAGE_NFS_LISTEN_ADDR`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from aegis.config.readers import (
    ADDRESS,
    ARGUMENT,
    COMMAND,
    DATABASE_URL,
    DOCKER_URL,
    FILE_PATH,
    HOST_NAME,
    MOUNT_OPTIONS,
    NETWORK,
    REGISTRY,
    SECRET,
    SUBNET,
    URL,
    VARIABLE,
    check_alias,
    check_tenant,
    check_tool_server,
)
from aegis.documents.agent_table import API_VERSION, not_yet
from aegis.documents.contexts import context_rows
from aegis.documents.names import NAME, check_variable
from aegis.documents.readers import (
    ANYTHING,
    BOOLEAN,
    DURATION,
    INTEGER,
    MEGABYTES,
    NUMBER,
    SIZE,
    TEXT,
    VOLUME_SIZE,
    Reader,
    choice,
    list_of,
    matching,
)
from aegis.documents.table import Dialect, Field, Table
from aegis.domain.manifest import PullPolicy
from aegis.ids import TENANT_PATTERN

PAGE, DOCUMENTS = Dialect.PAGE, Dialect.DOCUMENTS
_PULL = choice(PullPolicy)
_LEVEL = choice(["debug", "info", "warning", "error"])
_LOG_FORMAT = choice(["text", "json"])
_TENANT = matching(TENANT_PATTERN.pattern, "a tenant (lower-case letters, digits, '_', '-')")


def _documents(path: str, target: str, reader: Reader, about: str) -> Field:
    return Field(path, target, reader, about, DOCUMENTS)


def _unused(*paths: str) -> tuple[Field, ...]:
    """They describe or tune what we do not have: accepted and noted."""
    about = "it has no effect in this version"
    return tuple(Field(path, "", ANYTHING, about, DOCUMENTS, noted=True) for path in paths)


def _later(*paths: str) -> tuple[Field, ...]:
    """They would enforce or promise what we do not have: refused."""
    return tuple(Field(path, "", not_yet(path), "Not available in this version.", DOCUMENTS) for path in paths)


_NODE = (
    Field("node.name", "node.name", TEXT, "What this node is called."),
    Field("node.state_directory", "node.state_directory", FILE_PATH, "The database, keys, and the volumes."),
    Field("node.tenant_id", "node.tenant_id", _TENANT, "The tenant of everything that is made here."),
    *_unused("node.id", "node.type", "node.region", "node.tags", "node.resources"),
)

_STORAGE = (
    Field("storage.root", "storage.root", FILE_PATH, "Where the volumes' data is."),
    Field("storage.nfs_listen_addr", "storage.nfs_listen", ADDRESS, "Where the gateway listens.", PAGE),
    _documents("storage.nfs_port", "~nfs_port", INTEGER, "The gateway's port, on every address."),
    Field(
        "storage.nfs_allowed_clients",
        "storage.nfs_allowed_clients",
        list_of(NETWORK),
        "Who may speak to the gateway beside the host's own addresses.",
    ),
    Field(
        "storage.nfs_busy_poll_microseconds",
        "storage.nfs_busy_poll_microseconds",
        INTEGER,
        "How long the gateway looks for the next call before it sleeps, while calls come that quickly; 0: never.",
    ),
    Field(
        "storage.mount_profile",
        "storage.mount_profile",
        choice(["robust", "compat"]),
        "robust: a restart of the daemon of up to 60 s is no error; compat: the specification page's options.",
    ),
    Field("storage.mount_options", "storage.mount_options", MOUNT_OPTIONS, "In the profile's place."),
    Field(
        "storage.default_size_limit",
        "storage.default_size_limit_bytes",
        VOLUME_SIZE,
        "Of volumes whose manifest names none.",
    ),
    Field(
        "storage.default_ttl_hours",
        "storage.default_ttl_hours",
        NUMBER,
        "Of ephemeral volumes whose manifest names none.",
    ),
    _documents("storage.local_host.mount_point", "storage.root", FILE_PATH, "As `storage.root`."),
    _documents("storage.local_host.default_ttl_hours", "storage.default_ttl_hours", NUMBER, "As above."),
    _documents("storage.local_host.default_size_limit_mb", "storage.default_size_limit_bytes", MEGABYTES, "As above."),
    _documents(
        "storage.backend",
        "",
        not_yet("a storage backend other than local_host", unless=("local_host",)),
        "Volumes are directories of the host.",
    ),
    *_unused("storage.fallback_to_local", "storage.seaweedfs", "storage.opendal"),
)

_RUNTIME = (
    Field("runtime.docker_url", "runtime.docker_url", DOCKER_URL, "Docker Engine. Else `DOCKER_HOST`."),
    _documents("runtime.docker_socket_path", "runtime.docker_url", DOCKER_URL, "As `docker_url`."),
    Field("runtime.docker_timeout", "runtime.docker_timeout_seconds", DURATION, "For one call to the engine."),
    Field(
        "runtime.nfs_server_host",
        "runtime.nfs_server_host",
        HOST_NAME,
        "The gateway as the engine's host reaches it: the host mounts, not the container.",
    ),
    Field("runtime.nfs_port", "runtime.nfs_port", INTEGER, "Its port, where that differs from the gateway's own."),
    Field("runtime.nfs_mountport", "runtime.nfs_mountport", INTEGER, "The MOUNT service's port, if it differs."),
    Field("runtime.image_pull_policy", "runtime.image_pull_policy", _PULL, "Where the manifest names none."),
    Field("image_pull_policy", "runtime.image_pull_policy", _PULL, "As `runtime.image_pull_policy`.", PAGE),
    Field("runtime.image_pull_timeout", "runtime.image_pull_timeout_seconds", DURATION, "For one pull."),
    Field(
        "runtime.orchestrator_url",
        "runtime.orchestrator_url",
        URL,
        "The API as containers reach it; else the gateway of their network.",
    ),
    Field("runtime.network_name", "runtime.network_name", NAME, "The containers' first network."),
    _documents("runtime.docker_network_mode", "runtime.network_name", NAME, "As `network_name`."),
    Field("runtime.network_subnet", "runtime.network_subnet", SUBNET, "What the networks' addresses are taken from."),
    Field(
        "runtime.network_internal",
        "runtime.network_internal",
        BOOLEAN,
        "false: containers reach what the host does; policies hold for tools, and for who uses the proxy.",
    ),
    Field("runtime.registry_path", "runtime.registry_path", FILE_PATH, "The table of languages and images."),
    _documents("runtime.runtime_registry_path", "runtime.registry_path", FILE_PATH, "As `registry_path`."),
    Field("runtime_registry", "runtime.registry_path", FILE_PATH, "As `runtime.registry_path`."),
    Field("runtime.log_size", "runtime.log_bytes_max", SIZE, "Of each of a container's two log files."),
    _documents(
        "runtime.default_isolation",
        "",
        not_yet("isolation other than docker", unless=("docker", "inherit")),
        "Containers are always Docker's.",
    ),
    *_unused("runtime.bootstrap_script"),
)

_API = (
    Field("api.listen", "api.listen", list_of(ADDRESS), "Where the API listens."),
    Field("api.listen_on_bridge", "api.listen_on_bridge", BOOLEAN, "Also where the containers' network reaches us."),
    Field("api.tokens", "api.tokens", list_of(SECRET), "Who may call the API as the node's tenant.", secret=True),
    Field(
        "api.tenants.*.tokens",
        "api.tenants.*.tokens",
        list_of(SECRET),
        "Who may call it as another tenant, and sees nothing but that tenant's.",
        key=check_tenant,
        secret=True,
    ),
    _documents("network.bind_address", "~bind_address", HOST_NAME, "As `api.listen`, without the port."),
    _documents("network.port", "~port", INTEGER, "As `api.listen`, the port."),
    *_unused("network.grpc_port", "network.orchestrator_endpoint", "network.heartbeat_interval_seconds"),
    *_later("network.tls"),
)

_EGRESS = (
    Field("egress.listen", "egress.listen", ADDRESS, "Where agents' proxy listens; else on their networks' gateways."),
    Field("egress.port", "egress.port", INTEGER, "Its port there."),
    Field(
        "egress.allow_addresses",
        "egress.allow_addresses",
        list_of(NETWORK),
        "Private and other special addresses that a host's name may lead agents to.",
    ),
    Field(
        "egress.connections_per_execution", "egress.connections_per_execution", INTEGER, "Through the proxy, at once."
    ),
    Field("egress.idle_timeout", "egress.idle_timeout_seconds", DURATION, "Then a silent connection is cut."),
)

_DATABASE = (
    Field("database.url", "database.url", DATABASE_URL, "Else `DATABASE_URL`, else SQLite.", secret=True),
    Field("database.max_connections", "database.max_connections", INTEGER, "Open at once."),
    Field("database.connect_timeout_seconds", "database.connect_timeout_seconds", DURATION, "For one connection."),
)

_MODELS = (
    Field(
        "models.*.provider",
        "models.*.provider",
        choice(["openai", "anthropic", "script"]),
        "openai is everything that speaks its protocol.",
        key=check_alias,
    ),
    Field("models.*.model", "models.*.model", TEXT, "The provider's name of the model."),
    Field("models.*.base_url", "models.*.base_url", URL, "Where it is, unless at the provider's."),
    Field("models.*.api_key", "models.*.api_key", SECRET, "Else the provider's usual variable.", secret=True),
    Field("models.*.script", "models.*.script", FILE_PATH, "script: the file with the answers."),
    Field("models.*.timeout", "models.*.timeout_seconds", DURATION, "For one answer."),
    Field("models.*.max_retries", "models.*.max_retries", INTEGER, "After failures that may pass."),
    Field("models.*.max_tokens", "models.*.max_tokens", INTEGER, "Of one answer."),
    Field("models.*.temperature", "models.*.temperature", NUMBER, "0 to 2."),
    Field("models.*.stream", "models.*.stream", BOOLEAN, "false: for servers that cannot stream their answers."),
    Field("models.*.fallback", "models.*.fallback", TEXT, "The alias that answers when this one does not."),
    Field("models.*.price_per_million.input", "models.*.price_per_million.input", NUMBER, "Of input tokens."),
    Field("models.*.price_per_million.output", "models.*.price_per_million.output", NUMBER, "Of output tokens."),
    _documents("llm_providers[].name", "~llm[].name", TEXT, "A provider; its models become `models`."),
    _documents(
        "llm_providers[].type",
        "~llm[].type",
        choice(["openai", "anthropic", "ollama", "openai-compatible"]),
        "ollama and openai-compatible are openai with their own address.",
    ),
    _documents("llm_providers[].endpoint", "~llm[].endpoint", URL, "As `base_url`."),
    Field("llm_providers[].api_key", "~llm[].api_key", SECRET, "As `api_key`.", DOCUMENTS, secret=True),
    _documents("llm_providers[].enabled", "~llm[].enabled", BOOLEAN, "false: as if it were not there."),
    _documents("llm_providers[].models[].alias", "~llm[].models[].alias", NAME, "The alias."),
    _documents("llm_providers[].models[].model", "~llm[].models[].model", TEXT, "The provider's name of it."),
    *(
        Field(f"llm_providers[].models[].{key}", "", ANYTHING, "It describes; it has no effect.", DOCUMENTS)
        for key in ("capabilities", "context_window", "cost_per_1k_tokens")
    ),
    _documents("llm_selection.default_provider", "~default_provider", TEXT, "Whose alias counts, of several."),
    _documents("llm_selection.max_retries", "~max_retries", INTEGER, "As `max_retries` of every model."),
    *_unused("llm_selection.strategy", "llm_selection.fallback_provider", "llm_selection.retry_delay_ms"),
)

_SECRETS = (
    Field("secrets.address", "secrets.address", URL, "OpenBao or Vault. Else `OPENBAO_ADDR`, `VAULT_ADDR`."),
    Field("secrets.role_id", "secrets.role_id", SECRET, "Of its AppRole. Else `OPENBAO_ROLE_ID`.", secret=True),
    Field("secrets.secret_id", "secrets.secret_id", SECRET, "Of its AppRole. Else `OPENBAO_SECRET_ID`.", secret=True),
    Field("secrets.namespace", "secrets.namespace", TEXT, "Else `OPENBAO_NAMESPACE`, `VAULT_NAMESPACE`."),
    Field("secrets.ca_file", "secrets.ca_file", FILE_PATH, "Its authority. Else `OPENBAO_CACERT`, `VAULT_CACERT`."),
    Field("secrets.mount", "secrets.mount", TEXT, "Of the KV engine, version 2: `secret`."),
    Field("secrets.approle_mount", "secrets.approle_mount", TEXT, "Of the login: `approle`."),
    Field("secrets.timeout", "secrets.timeout_seconds", DURATION, "For one call."),
    Field("secrets.agent_paths", "secrets.agent_paths", list_of(TEXT), "Patterns of what manifests may ask for."),
    _documents("secrets.backend.address", "secrets.address", URL, "As `secrets.address`."),
    _documents("secrets.backend.namespace", "secrets.namespace", TEXT, "As `secrets.namespace`."),
    _documents("secrets.backend.auth_method", "", choice(["approle"]), "It is always that."),
)

_TOOL_SERVERS = (
    Field(
        "mcp_servers.*.command",
        "mcp_servers.*.command",
        COMMAND,
        "The program: a path, or a name on the daemon's PATH.",
        key=check_tool_server,
    ),
    Field("mcp_servers.*.args", "mcp_servers.*.args", list_of(ARGUMENT), "Its arguments. Everybody here can see them."),
    Field(
        "mcp_servers.*.env.*",
        "mcp_servers.*.env.*",
        VARIABLE,
        "A variable of its environment, which is for secrets.",
        secret=True,
        key=check_variable,
    ),
    Field("mcp_servers.*.cwd", "mcp_servers.*.cwd", FILE_PATH, "Where it runs; else where the daemon does."),
    Field("mcp_servers.*.timeout", "mcp_servers.*.timeout_seconds", DURATION, "For one call."),
    Field("mcp_servers.*.tools", "mcp_servers.*.tools", list_of(TEXT), "Patterns of its tools' names; else all."),
)

_REST = (
    Field(
        "registry_credentials[].registry", "registry_credentials[].registry", REGISTRY, "As images name it (ghcr.io)."
    ),
    Field("registry_credentials[].username", "registry_credentials[].username", TEXT, "Its user."),
    Field("registry_credentials[].password", "registry_credentials[].password", SECRET, "Its password.", secret=True),
    Field("logging.level", "logging.level", _LEVEL, "What is logged."),
    Field("logging.format", "logging.format", _LOG_FORMAT, "text for people, json for programs."),
    _documents("observability.logging.level", "logging.level", _LEVEL, "As `logging.level`."),
    _documents("observability.logging.format", "logging.format", _LOG_FORMAT, "As `logging.format`."),
    *_unused("observability.metrics", "observability.tracing"),
    Field("limits.executions_concurrent", "limits.executions_concurrent", INTEGER, "Running at once."),
    Field("limits.executions_waiting", "limits.executions_waiting", INTEGER, "Waiting for their turn; then refused."),
    Field(
        "limits.executions_concurrent_per_tenant",
        "limits.executions_concurrent_per_tenant",
        INTEGER,
        "Running at once, of one tenant; as many as of all when it is not set.",
    ),
    Field(
        "limits.executions_waiting_per_tenant",
        "limits.executions_waiting_per_tenant",
        INTEGER,
        "Waiting, of one tenant; likewise.",
    ),
    Field("limits.tool_rounds", "limits.tool_rounds", INTEGER, "Of one iteration."),
    Field("limits.shutdown_seconds", "limits.shutdown_seconds", DURATION, "For running work when the daemon stops."),
    *_unused("temporal", "cortex", "builtin_dispatchers", "smcp_gateway", "max_execution_list_limit"),
    *_later("smcp", "iam", "grpc_auth", "cluster"),
)

_CONTEXTS = context_rows("security_contexts")

ROWS = (
    *_NODE,
    *_STORAGE,
    *_RUNTIME,
    *_API,
    *_EGRESS,
    *_DATABASE,
    *_MODELS,
    *_SECRETS,
    *_TOOL_SERVERS,
    *_CONTEXTS,
    *_REST,
)
BARE_TABLE = Table(ROWS)
ENVELOPE_TABLE = Table(
    (
        Field("apiVersion", "~apiVersion", choice([API_VERSION]), "Which format this is."),
        Field("kind", "~kind", choice(["NodeConfig"]), "What is described."),
        Field("metadata.name", "node.name", TEXT, "What this node is called."),
        *_unused("metadata.version", "metadata.labels"),
        *(dataclasses.replace(row, path=f"spec.{row.path}") for row in ROWS),
    )
)


def variable_of(row: Field) -> str | None:
    """The environment variable that sets this row, if one can."""
    if not row.target or "[]" in row.path or "*" in row.path:
        return None
    return "AEGIS_" + row.path.replace(".", "_").upper()


VARIABLES: Mapping[str, Field] = {name: row for row in ROWS if (name := variable_of(row))}
