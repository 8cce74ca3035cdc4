"""`kind: Agent`: every key of both dialects and what it means here (docs/manifest.md is checked against it).

`PAGE` rows are the specification page's words, `DOCUMENTS` rows those of the current documents; what both say is
`BOTH`. A key that would enforce something we do not have is refused as "not available in this version", never taken in
silence; a key that only describes is accepted, and noted.
"""

from __future__ import annotations

from typing import Any

from aegis.documents.agent_validation_table import VALIDATION, template
from aegis.documents.contexts import TOOL_PATTERN, context_rows
from aegis.documents.names import (
    HOST,
    IMAGE,
    MANIFEST_VARIABLE,
    MOUNT_PATH,
    NAME,
    PATH_PATTERN,
    VOLUME_ID,
    check_label,
    check_variable,
)
from aegis.documents.nodes import Node, Scalar, is_null, to_python
from aegis.documents.readers import (
    BOOLEAN,
    CORES,
    DURATION,
    INTEGER,
    MEGABYTES,
    MEMORY,
    MILLICORES,
    NUMBER,
    TEXT,
    VOLUME_SIZE,
    Mistake,
    Reader,
    choice,
    list_of,
    matching,
)
from aegis.documents.table import Dialect, Field, Table
from aegis.domain.manifest import AccessMode, ExecutionMode, NetworkMode, PullPolicy, StorageClass

PAGE, DOCUMENTS = Dialect.PAGE, Dialect.DOCUMENTS
API_VERSION = "100monkeys.ai/v1"


def not_yet(what: str, *, unless: tuple[Any, ...] = ()) -> Reader:
    """A key whose effect we do not have. `unless`: values that ask for nothing and are therefore fine."""
    wanted = "the key left out" if not unless else " or ".join(str(value).lower() for value in unless)

    def read(node: Node) -> Any:
        value = to_python(node)
        if is_null(node) or value in unless or (not value and not isinstance(node, Scalar)):
            return value
        raise Mistake(wanted, f"{what} is understood, and not available in this version")

    return Reader(wanted, read)


_SEMVER = matching(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:[-+][0-9A-Za-z.+-]{1,64})?", 'a version ("1.0.0")')
_RUNTIME_VERSION = matching(r"[0-9A-Za-z][0-9A-Za-z._-]{0,31}", 'a version in quotes ("3.11")')

_IDENTITY = (
    Field("apiVersion", "~apiVersion", choice([API_VERSION]), "Which manifest format this is."),
    Field("kind", "~kind", choice(["Agent"]), "What is described."),
    Field("metadata.name", "name", NAME, "The agent's name. Deploying it again replaces the agent."),
    Field("metadata.version", "version", _SEMVER, "The version of this agent."),
    Field("metadata.description", "description", TEXT, "For people."),
    Field("metadata.labels.*", "labels.*", TEXT, "For finding agents.", key=check_label),
    Field("metadata.annotations.*", "annotations.*", TEXT, "For tools; not for finding.", key=check_label),
)

_RUNTIME = (
    Field("spec.runtime.image", "runtime.image", IMAGE, "The container's image. Excludes `language`."),
    Field("spec.runtime.language", "runtime.language", NAME, "With `version`: an image by `runtime-registry.yaml`."),
    Field("spec.runtime.version", "runtime.version", _RUNTIME_VERSION, "The language's version, in quotes."),
    Field(
        "spec.runtime.image_pull_policy",
        "runtime.image_pull_policy",
        choice(PullPolicy),
        "When the image is pulled; the node's default when left out.",
    ),
    Field("spec.runtime.model", "runtime.model_alias", TEXT, "The alias of a model of the node."),
    Field(
        "spec.runtime.isolation",
        "",
        not_yet("isolation other than docker", unless=("docker", "inherit")),
        "Containers are always Docker's.",
        DOCUMENTS,
    ),
    Field("spec.runtime.temperature", "", not_yet("temperature"), "Not available in this version.", DOCUMENTS),
    Field("spec.task.instruction", "instruction", TEXT, "The agent's standing task."),
    Field("spec.task.prompt_template", "prompt_template", template(), "How the prompt is put together.", DOCUMENTS),
    Field("spec.task.agentskills", "", not_yet("agentskills"), "Not available in this version.", DOCUMENTS),
    Field("spec.task.input_data", "", not_yet("input_data"), "Not available in this version.", DOCUMENTS),
    Field(
        "spec.environment.*",
        "environment.*",
        MANIFEST_VARIABLE,
        "The container's environment.",
        PAGE,
        key=check_variable,
    ),
    Field(
        "spec.env.*", "environment.*", MANIFEST_VARIABLE, "The container's environment.", DOCUMENTS, key=check_variable
    ),
)

_RESOURCES = (
    Field("spec.resources.cpu_quota", "resources.cpu_quota", CORES, "Processor time.", PAGE),
    Field("spec.security.resources.cpu", "resources.cpu_quota", MILLICORES, "Processor time.", DOCUMENTS),
    Field("spec.resources.memory_bytes", "resources.memory_bytes", MEMORY, "Memory, without swap.", PAGE),
    Field("spec.security.resources.memory", "resources.memory_bytes", MEMORY, "Memory, without swap.", DOCUMENTS),
    Field("spec.resources.pids_limit", "resources.pids_limit", INTEGER, "Processes and threads at once.", PAGE),
    Field(
        "spec.resources.timeout_secs",
        "resources.timeout_seconds",
        DURATION,
        "One iteration; then the container is killed and the iteration failed.",
        PAGE,
    ),
    Field("spec.execution.iteration_timeout", "resources.timeout_seconds", DURATION, "One iteration.", DOCUMENTS),
    Field(
        "spec.security.resources.timeout",
        "resources.execution_timeout_seconds",
        DURATION,
        "The execution: all iterations together.",
        DOCUMENTS,
    ),
    Field(
        "spec.security.resources.disk",
        "~disk",
        VOLUME_SIZE,
        "`size_limit` of ephemeral volumes that have none of their own.",
        DOCUMENTS,
    ),
)

_NETWORK_WORDS = (("spec.security.network_policy", PAGE), ("spec.security.network", DOCUMENTS))
_SECURITY = (
    *(
        row
        for path, dialect in _NETWORK_WORDS
        for row in (
            Field(f"{path}.mode", "security.network.mode", choice(NetworkMode), "Who may be spoken to.", dialect),
            Field(f"{path}.allowlist", "security.network.allowlist", list_of(HOST), "With mode allow: these.", dialect),
            Field(f"{path}.denylist", "security.network.denylist", list_of(HOST), "These never.", dialect),
        )
    ),
    Field("spec.security.filesystem.read", "security.filesystem.read", list_of(PATH_PATTERN), "What may be read."),
    Field("spec.security.filesystem.write", "security.filesystem.write", list_of(PATH_PATTERN), "What may be written."),
    Field("spec.security.filesystem.read_only", "~read_only", BOOLEAN, "true: every volume is read-only.", DOCUMENTS),
    Field("spec.security.smcp", "security.smcp", BOOLEAN, "true: commands in the container may call tools themselves."),
    Field("spec.security.container_uid", "security.container_uid", INTEGER, "The user the container runs as."),
    Field("spec.security.container_gid", "security.container_gid", INTEGER, "The group the container runs as."),
)

_VOLUMES = (
    Field("spec.volumes[].name", "volumes[].name", NAME, "Unique in the manifest."),
    Field("spec.volumes[].mount_path", "volumes[].mount_path", MOUNT_PATH, "Where the container has it."),
    Field("spec.volumes[].mount_point", "volumes[].mount_path", MOUNT_PATH, "Older word of `mount_path`.", DOCUMENTS),
    Field(
        "spec.volumes[].storage_class",
        "volumes[].storage_class",
        choice(StorageClass),
        "ephemeral goes with the execution; persistent stays until it is deleted.",
    ),
    Field("spec.volumes[].access_mode", "volumes[].access_mode", choice(AccessMode), "May it be written?"),
    Field(
        "spec.volumes[].ttl_hours", "volumes[].ttl_hours", NUMBER, "An ephemeral volume goes after this at the latest."
    ),
    Field("spec.volumes[].size_limit", "volumes[].size_limit_bytes", VOLUME_SIZE, "Over it: no space left."),
    Field(
        "spec.volumes[].size_limit_mb",
        "volumes[].size_limit_bytes",
        MEGABYTES,
        "Older word of `size_limit`.",
        DOCUMENTS,
    ),
    Field("spec.volumes[].source.volume_id", "volumes[].source_volume_id", VOLUME_ID, "Attach this existing volume."),
    Field(
        "spec.volumes[].mount_profile",
        "volumes[].mount_profile",
        choice(["robust", "compat"]),
        "How the kernel mounts it; the node's default when left out.",
    ),
    Field(
        "spec.volumes[].identity",
        "volumes[].identity",
        choice(["squash", "mapped"]),
        "squash: every file is the container's user's. mapped: several users, with files and permissions of their own.",
    ),
    Field(
        "spec.volumes[].type",
        "",
        not_yet("a storage backend other than the node's own", unless=("local", "local_host", "seaweedfs")),
        "Volumes are always in the node's own storage.",
        DOCUMENTS,
    ),
    Field("spec.volumes[].provider", "", not_yet("a storage provider"), "Not available in this version.", DOCUMENTS),
    Field("spec.volumes[].config", "", not_yet("a storage provider"), "Not available in this version.", DOCUMENTS),
)

_EXECUTION = (
    Field("spec.execution.mode", "execution.mode", choice(ExecutionMode), "one-shot: the first verdict is the last."),
    Field("spec.execution.max_iterations", "execution.max_iterations", INTEGER, "1 to 20."),
    Field(
        "spec.execution.llm_timeout_seconds",
        "execution.llm_timeout_seconds",
        DURATION,
        "How long the container waits for one answer of the daemon.",
        DOCUMENTS,
    ),
    Field("spec.execution.memory", "", not_yet("memory", unless=(False,)), "Not available in this version.", DOCUMENTS),
    Field("spec.execution.delivery", "", not_yet("delivery"), "Not available in this version.", DOCUMENTS),
    Field(
        "spec.execution.tool_validation", "", not_yet("tool_validation"), "Not available in this version.", DOCUMENTS
    ),
)

_TOOLS = (
    Field("spec.tools[]", "~tools[]", TOOL_PATTERN, "Tools the model may call, or patterns of them."),
    Field("spec.tools[].name", "~tools[].name", TEXT, "The local name of a tool binding.", DOCUMENTS),
    Field("spec.tools[].server", "~tools[].server", TEXT, "mcp:filesystem is `fs.*`.", DOCUMENTS),
    Field(
        "spec.tools[].executor", "~tools[].executor", choice(["builtin:cmd"]), "builtin:cmd is `cmd.run`.", DOCUMENTS
    ),
    Field("spec.tools[].config", "", not_yet("a tool's own config"), "Not available in this version.", DOCUMENTS),
    Field(
        "spec.security_context",
        "security_context",
        NAME,
        "The security context that holds beside `tools`: one of the node's, or of `security_contexts`.",
    ),
    *context_rows("spec.security_contexts"),
)

_LATER = (
    *(
        Field(f"spec.{key}", "", not_yet(key), "Not available in this version.", DOCUMENTS)
        for key in ("context", "delivery", "advanced", "input_schema", "output_handler")
    ),
    Field("spec.schedule.type", "~schedule.type", choice(["cron", "interval", "manual"]), "Only manual.", DOCUMENTS),
    Field("spec.schedule.enabled", "~schedule.enabled", BOOLEAN, "Only false, or with `type: manual`.", DOCUMENTS),
    Field("spec.schedule.cron", "~schedule.cron", TEXT, "Not available in this version.", DOCUMENTS),
    Field("spec.schedule.interval", "~schedule.interval", TEXT, "Not available in this version.", DOCUMENTS),
    Field("spec.schedule.timezone", "~schedule.timezone", TEXT, "Not available in this version.", DOCUMENTS),
)

AGENT_TABLE = Table(
    (*_IDENTITY, *_RUNTIME, *_RESOURCES, *_SECURITY, *_VOLUMES, *_EXECUTION, *VALIDATION, *_TOOLS, *_LATER)
)
# What stands behind a value that a manifest leaves to the node (`explain` says so).
FROM_CONFIG = {
    "runtime.image_pull_policy": "the node's runtime.image_pull_policy",
    "volumes[].mount_profile": "the node's storage.mount_profile",
    "volumes[].size_limit_bytes": "the node's storage.default_size_limit",
    "volumes[].ttl_hours": "the node's storage.default_ttl_hours",
}
