"""`kind: Agent`: every key of both dialects and what it means here (docs/manifest.md is checked against it).

`PAGE` rows are the specification page's words, `DOCUMENTS` rows those of the current documents; what both say is
`BOTH`. A key that would enforce something we do not have is refused as "not available in this version", never taken in
silence; a key that only describes is accepted, and noted.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import jsonschema
from jsonschema.exceptions import SchemaError

from aegis.documents.names import (
    CONTAINER_PATH,
    HOST,
    IMAGE,
    MOUNT_PATH,
    NAME,
    PATH_PATTERN,
    VARIABLE_VALUE,
    VOLUME_ID,
    check_label,
    check_variable,
)
from aegis.documents.nodes import Node, Scalar, is_null, to_python
from aegis.documents.readers import (
    ANYTHING,
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
    text,
)
from aegis.documents.table import Dialect, Field, Table
from aegis.domain.manifest import AccessMode, ExecutionMode, NetworkMode, PullPolicy, StorageClass
from aegis.domain.prompt import check_template

PAGE, DOCUMENTS = Dialect.PAGE, Dialect.DOCUMENTS
API_VERSION = "100monkeys.ai/v1"
PATTERN_CHARACTERS_MAX = 4096


def not_yet(what: str, *, unless: tuple[Any, ...] = ()) -> Reader:
    """A key whose effect we do not have. `unless`: values that ask for nothing and are therefore fine."""
    wanted = "the key left out" if not unless else " or ".join(str(value).lower() for value in unless)

    def read(node: Node) -> Any:
        value = to_python(node)
        if is_null(node) or value in unless or (not value and not isinstance(node, Scalar)):
            return value
        raise Mistake(wanted, f"{what} is understood, and not available in this version")

    return Reader(wanted, read)


def _schema(node: Node) -> dict[str, Any] | bool:
    wanted = "a JSON Schema (draft 2020-12)"
    if isinstance(node, Scalar) and node.kind != "boolean":
        raise Mistake(wanted)
    schema = to_python(node)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "".join(f"[{part!r}]" for part in error.absolute_path)
        raise Mistake(wanted, f"{place or 'the schema'}: {error.message[:200]}") from None
    except (RecursionError, re.error, OverflowError) as error:
        raise Mistake(wanted, f"{type(error).__name__}: {error}"[:200]) from None
    if not isinstance(schema, dict):
        raise Mistake(wanted, "write {} for any JSON")
    return schema


def _regex(value: str) -> str:
    wanted = "a regular expression (Python's re)"
    if len(value) > PATTERN_CHARACTERS_MAX:
        raise Mistake(wanted, f"at most {PATTERN_CHARACTERS_MAX} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set": a remark about the pattern, not a refusal
            re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise Mistake(wanted, str(error)[:200]) from None
    return value


def _template(value: str) -> str:
    wrong = check_template(value)
    if wrong:
        raise Mistake("a template", wrong)
    return value


def _command(value: str) -> str:
    if not value or "\0" in value:
        raise Mistake("a program or an argument")
    return value


_ARGV = list_of(text("arguments", _command))


def _argv(node: Node) -> tuple[str, ...]:
    """Never a shell string: what is one word may stand alone."""
    if isinstance(node, Scalar) and node.kind == "string":
        if len(node.text.split()) != 1:
            words = ", ".join(f'"{word}"' for word in node.text.split()[:8])
            raise Mistake("a list of arguments", f"commands are not run by a shell: [{words}]")
        return (node.text,)
    arguments: tuple[str, ...] = _ARGV.read(node)
    if not arguments:
        raise Mistake("a program and its arguments")
    return arguments


def _target(value: str) -> str | None:
    """What a validator looks at: the final response (`stdout` in the documents), or a file of the workspace."""
    if value == "stdout":
        return None
    if value == "stderr":
        raise Mistake("stdout or a path", "a validator of stderr is understood, and not available in this version")
    path: str = CONTAINER_PATH.read(Scalar(value, value, "string", 0, 0))
    return path


SCHEMA = Reader("a JSON Schema", _schema)
TEMPLATE = text("a template", _template)
REGEX = text("a regular expression", _regex)
ARGV = Reader('a list of arguments (["python3", "check.py"])', _argv)
TARGET = Reader("stdout or a path", lambda node: _target(text("stdout or a path").read(node)))
SCORE = NUMBER
_SEMVER = matching(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:[-+][0-9A-Za-z.+-]{1,64})?", 'a version ("1.0.0")')
_RUNTIME_VERSION = matching(r"[0-9A-Za-z][0-9A-Za-z._-]{0,31}", 'a version in quotes ("3.11")')
_VALIDATORS = ("exit_code", "json_schema", "regex", "script")
_TOOL = matching(r"[A-Za-z0-9_*-]+(?:[.:][A-Za-z0-9_*-]+)*", "a tool or a pattern of tools (cmd.run, fs.*)")

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
    Field("spec.task.prompt_template", "prompt_template", TEMPLATE, "How the prompt is put together.", DOCUMENTS),
    Field("spec.task.agentskills", "", not_yet("agentskills"), "Not available in this version.", DOCUMENTS),
    Field("spec.task.input_data", "", not_yet("input_data"), "Not available in this version.", DOCUMENTS),
    Field(
        "spec.environment.*", "environment.*", VARIABLE_VALUE, "The container's environment.", PAGE, key=check_variable
    ),
    Field("spec.env.*", "environment.*", VARIABLE_VALUE, "The container's environment.", DOCUMENTS, key=check_variable),
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
        choice(["squash"], not_yet=["mapped"]),
        "squash: every file is the container's user's. mapped (several users): not available in this version.",
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

_V = "spec.execution.validation"
_VALIDATION = (
    Field(
        f"{_V}[].type",
        "execution.validators[].type",
        choice(_VALIDATORS, not_yet=("semantic", "multi_judge")),
        "Which validator; they are asked in this order.",
    ),
    Field(f"{_V}[].min_score", "execution.validators[].min_score", SCORE, "The score it takes to pass, 0 to 1."),
    Field(f"{_V}[].expected", "execution.validators[].expected", INTEGER, "exit_code: the code that passes."),
    Field(f"{_V}[].schema", "execution.validators[].json_schema", SCHEMA, "json_schema: what the JSON must satisfy."),
    Field(f"{_V}[].pattern", "execution.validators[].pattern", REGEX, "regex: what is searched."),
    Field(f"{_V}[].must_match", "execution.validators[].must_match", BOOLEAN, "regex: false: must not be found."),
    Field(
        f"{_V}[].target",
        "execution.validators[].target",
        TARGET,
        "json_schema, regex: stdout (the final response) or the path of a file.",
    ),
    Field(f"{_V}[].command", "execution.validators[].command", ARGV, "script: run in a fresh container; 0 passes."),
    Field(f"{_V}[].timeout_seconds", "execution.validators[].timeout_seconds", DURATION, "script: at most this long."),
    *(
        Field(
            f"{_V}[].{key}", "", ANYTHING, "Of `semantic` and `multi_judge`: not available in this version.", DOCUMENTS
        )
        for key in ("judge_agent", "judges", "criteria", "consensus", "min_confidence", "min_judges_required")
    ),
    Field(f"{_V}.system.must_succeed", "~system.must_succeed", BOOLEAN, "true: as exit_code with 0.", DOCUMENTS),
    Field(
        f"{_V}.system.allow_stderr",
        "",
        BOOLEAN,
        "stderr is not judged: commands run by dispatch, and the model reads what they write",
        DOCUMENTS,
        noted=True,
    ),
    Field(
        f"{_V}.system.timeout_seconds",
        "~system.timeout_seconds",
        DURATION,
        "One iteration; the smaller one counts where the iteration's own limit is given too.",
        DOCUMENTS,
    ),
    Field(
        f"{_V}.output.format",
        "~output.format",
        choice(["json", "text"], not_yet=("yaml", "csv", "pdf")),
        "json: as json_schema.",
        DOCUMENTS,
    ),
    Field(f"{_V}.output.schema", "~output.schema", SCHEMA, "As json_schema.", DOCUMENTS),
    Field(f"{_V}.output.regex", "~output.regex", REGEX, "As regex.", DOCUMENTS),
    Field(f"{_V}.script.path", "~script.path", CONTAINER_PATH, "As script.", DOCUMENTS),
    Field(f"{_V}.script.description", "", TEXT, "For people.", DOCUMENTS),
    Field(f"{_V}.script.timeout_seconds", "~script.timeout_seconds", DURATION, "At most this long.", DOCUMENTS),
    Field(f"{_V}.semantic.enabled", "~semantic.enabled", BOOLEAN, "Only false in this version.", DOCUMENTS),
    *(
        Field(f"{_V}.semantic.{key}", f"~semantic.{key}", ANYTHING, "Not available in this version.", DOCUMENTS)
        for key in ("model", "prompt", "threshold", "timeout_seconds", "fallback_on_unavailable")
    ),
)

_TOOLS = (
    Field("spec.tools[]", "~tools[]", _TOOL, "Tools the model may call, or patterns of them."),
    Field("spec.tools[].name", "~tools[].name", TEXT, "The local name of a tool binding.", DOCUMENTS),
    Field("spec.tools[].server", "~tools[].server", TEXT, "mcp:filesystem is `fs.*`.", DOCUMENTS),
    Field(
        "spec.tools[].executor", "~tools[].executor", choice(["builtin:cmd"]), "builtin:cmd is `cmd.run`.", DOCUMENTS
    ),
    Field("spec.tools[].config", "", not_yet("a tool's own config"), "Not available in this version.", DOCUMENTS),
)

_LATER = (
    *(
        Field(f"spec.{key}", "", not_yet(key), "Not available in this version.", DOCUMENTS)
        for key in ("context", "delivery", "advanced", "input_schema", "security_context", "output_handler")
    ),
    Field("spec.schedule.type", "~schedule.type", choice(["cron", "interval", "manual"]), "Only manual.", DOCUMENTS),
    Field("spec.schedule.enabled", "~schedule.enabled", BOOLEAN, "Only false, or with `type: manual`.", DOCUMENTS),
    Field("spec.schedule.cron", "~schedule.cron", TEXT, "Not available in this version.", DOCUMENTS),
    Field("spec.schedule.interval", "~schedule.interval", TEXT, "Not available in this version.", DOCUMENTS),
    Field("spec.schedule.timezone", "~schedule.timezone", TEXT, "Not available in this version.", DOCUMENTS),
)

AGENT_TABLE = Table(
    (*_IDENTITY, *_RUNTIME, *_RESOURCES, *_SECURITY, *_VOLUMES, *_EXECUTION, *_VALIDATION, *_TOOLS, *_LATER)
)
# What stands behind a value that a manifest leaves to the node (`explain` says so).
FROM_CONFIG = {
    "runtime.image_pull_policy": "the node's runtime.image_pull_policy",
    "volumes[].mount_profile": "the node's storage.mount_profile",
    "volumes[].size_limit_bytes": "the node's storage.default_size_limit",
    "volumes[].ttl_hours": "the node's storage.default_ttl_hours",
}
