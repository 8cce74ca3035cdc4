"""What follows from what a manifest said: the documents' shorter forms turned into the model's.

Runs between the walk and the checks. Everything it adds says "derived from" in `explain`, with the line it came from.
"""

from __future__ import annotations

from typing import Any

from aegis.documents.contexts import KNOWN_TOOLS, derive_contexts
from aegis.documents.names import SecretReference
from aegis.documents.problems import Note, show_path
from aegis.documents.table import Reading, Said
from aegis.domain.manifest import AccessMode, StorageClass

_SERVERS = {"mcp:filesystem": "fs.*", "builtin:cmd": "cmd.run"}
VALIDATORS = ("execution", "validators")


SEMANTIC: dict[str, tuple[str, ...]] = {
    "model": ("judge", "model_alias"),
    "prompt": ("criteria",),
    "threshold": ("min_score",),
    "timeout_seconds": ("timeout_seconds",),
    "fallback_on_unavailable": ("fallback_on_unavailable",),
}


def derive(reading: Reading) -> None:
    _timeout(reading)
    _volumes(reading)
    _validators(reading)
    _judges(reading)
    _tools(reading)
    _secrets(reading)
    derive_contexts(reading, ("spec",))


def _timeout(reading: Reading) -> None:
    """`validation.system.timeout_seconds` bounds an iteration as well; of two bounds the smaller one holds."""
    target = ("resources", "timeout_seconds")
    said = reading.said.get(("~system", "timeout_seconds"))
    if said is not None and said.value < reading.get(target, float("inf")):
        reading.derive(target, said.value, said)


def _volumes(reading: Reading) -> None:
    read_only = reading.said.get(("~read_only",))
    disk = reading.said.get(("~disk",))
    for index in reading.indices(("volumes",)):
        volume = ("volumes", index)
        source = reading.said.get((*volume, "source_volume_id"))
        if source is not None and not reading.knows((*volume, "storage_class")):
            reading.derive((*volume, "storage_class"), StorageClass.PERSISTENT.value, source)
        if read_only is not None and read_only.value:
            reading.derive((*volume, "access_mode"), AccessMode.READ_ONLY.value, read_only)
        ephemeral = reading.get((*volume, "storage_class"), "ephemeral") == StorageClass.EPHEMERAL
        if disk is not None and ephemeral and not reading.knows((*volume, "size_limit_bytes")):
            reading.derive((*volume, "size_limit_bytes"), disk.value, disk)


def _validators(reading: Reading) -> None:
    """The map form, in the order cheapest first."""
    found: list[tuple[Said, dict[str, Any]]] = []
    succeed = reading.said.get(("~system", "must_succeed"))
    if succeed is not None and succeed.value:
        found.append((succeed, {"type": "exit_code"}))
    said = reading.said.get(("~output", "schema")) or reading.said.get(("~output", "format"))
    if said is not None and reading.get(("~output", "format"), "json") == "json":
        found.append((said, {"type": "json_schema", "json_schema": reading.get(("~output", "schema"), {})}))
    regex = reading.said.get(("~output", "regex"))
    if regex is not None:
        found.append((regex, {"type": "regex", "pattern": regex.value}))
    script = reading.said.get(("~script", "path"))
    if script is not None:
        seconds = reading.get(("~script", "timeout_seconds"), 30.0)
        found.append((script, {"type": "script", "command": (script.value,), "timeout_seconds": seconds}))
    semantic = next((said for target, said in reading.said.items() if target[0] == "~semantic"), None)
    if semantic is not None and reading.get(("~semantic", "enabled"), True):
        found.append((semantic, {"type": "semantic"}))
        for word, target in SEMANTIC.items():
            said = reading.said.get(("~semantic", word))
            if said is not None:
                reading.derive((*VALIDATORS, len(found) - 1, *target), said.value, said)
    for index, (origin, values) in enumerate(found):
        for key, value in values.items():
            reading.derive((*VALIDATORS, index, key), value, origin)


def _judges(reading: Reading) -> None:
    """A judge that is one word is an agent; the one target of a validator with judges is their only one."""
    for index in reading.indices(("~judges",)):
        for number in reading.indices(("~judges", index)):
            said = reading.said.get(("~judges", index, number))
            if said is not None:
                reading.derive((*VALIDATORS, index, "judges", number, "agent"), said.value, said)
    for index in reading.indices(VALIDATORS):
        validator = (*VALIDATORS, index)
        if reading.get((*validator, "type")) in ("semantic", "multi_judge"):
            one = reading.said.pop((*validator, "target"), None)
            if one is not None and reading.knows((*validator, "targets")):
                reading.problem(one, "either target or targets")
            elif one is not None and one.value is not None:
                reading.derive((*validator, "targets"), (one.value,), one)


def _tools(reading: Reading) -> None:
    patterns: list[str] = []
    origin: Said | None = None
    for index in reading.indices(("~tools",)):
        said = next(
            (reading.said[path] for path in _tool_paths(index) if path in reading.said),
            None,
        )
        if said is None:
            continue
        origin = origin or said
        pattern = _SERVERS.get(said.value, said.value)
        if pattern.startswith("mcp:"):  # a tool server of the node's configuration
            pattern = f"{pattern.removeprefix('mcp:')}.*"
        if pattern not in patterns:
            patterns.append(pattern)
            _note_unknown(reading, said, pattern)
    if origin is not None:
        where = origin.where.rsplit(" ", 1)[0] + " spec.tools"
        reading.said[("tools",)] = Said(tuple(patterns), origin.path, origin.node, where)


def _secrets(reading: Reading) -> None:
    """Variables whose values are somewhere else are kept apart: only where they are is stored."""
    for target, said in list(reading.said.items()):
        if target[0] == "environment" and isinstance(said.value, SecretReference):
            del reading.said[target]
            reading.derive(("secret_environment", *target[1:]), str(said.value), said)


def _tool_paths(index: int) -> tuple[tuple[str | int, ...], ...]:
    """Of a tool binding, what says which tool it is: the server before the local name."""
    tool = ("~tools", index)
    return (tool, (*tool, "executor"), (*tool, "server"), (*tool, "name"))


def _note_unknown(reading: Reading, said: Said, pattern: str) -> None:
    stem = pattern.rstrip("*")
    known = pattern in KNOWN_TOOLS or (pattern.endswith("*") and any(tool.startswith(stem) for tool in KNOWN_TOOLS))
    if not known:
        text = f"no tool of this version is called {pattern}; there are {', '.join(KNOWN_TOOLS)}"
        reading.notes.append(Note(show_path(said.path), said.node.line, text))
