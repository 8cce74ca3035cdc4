"""What has to be true of an agent as a whole: rules over more than one key of a manifest.

Every check looks at what was said, not at the finished model, so that a manifest with a bad memory size and two volumes
of one name reports both. A value that could not be read is left alone: it has been reported.
"""

from __future__ import annotations

import posixpath

from aegis.documents import agent_judges
from aegis.documents.contexts import check_contexts
from aegis.documents.problems import Note, Path, show_path
from aegis.documents.table import Reading, Said
from aegis.domain.contexts import DEFAULT_CONTEXT
from aegis.domain.manifest import AccessMode, ExecutionMode, NetworkMode, StorageClass

_LATER = "is understood, and not available in this version"


def check(reading: Reading) -> None:
    _envelope(reading)
    _runtime(reading)
    _times(reading)
    _network(reading)
    _volumes(reading)
    _execution(reading)
    agent_judges.check(reading)
    _contexts(reading)
    _later(reading)


def _envelope(reading: Reading) -> None:
    for key, wanted in (("apiVersion", "100monkeys.ai/v1"), ("kind", "Agent")):
        if not reading.knows((f"~{key}",)):
            reading.missing((key,), wanted)


def _runtime(reading: Reading) -> None:
    image, language, version = (reading.said.get(("runtime", key)) for key in ("image", "language", "version"))
    has_image, has_language, has_version = (reading.knows(("runtime", key)) for key in ("image", "language", "version"))
    place: Path = ("spec", "runtime")
    if image and (language or version):
        other = language or version
        assert other is not None
        reading.problem(other, f"either an image or a language, and line {image.node.line} names an image")
    elif has_language and not has_version:
        reading.missing((*place, "version"), "the language's version", 'version: "3.11" (in quotes)')
    elif has_version and not has_language and not has_image:
        reading.missing((*place, "language"), "the language this version is of")
    elif not has_image and not has_language:
        reading.missing((*place, "image"), "an image, or language and version")


def _times(reading: Reading) -> None:
    iteration = reading.said.get(("resources", "timeout_seconds"))
    execution = reading.said.get(("resources", "execution_timeout_seconds"))
    if iteration and execution and iteration.value > execution.value:
        wanted = f"at most {execution.value:g} s, which line {execution.node.line} gives all iterations together"
        reading.problem(iteration, wanted)


def _network(reading: Reading) -> None:
    mode = reading.get(("security", "network", "mode"), NetworkMode.ALLOW)
    idle = {NetworkMode.NONE: ("allowlist", "denylist"), NetworkMode.DENY: ("allowlist",)}.get(mode, ())
    for key in idle:
        said = reading.said.get(("security", "network", key))
        if said is not None and said.value:
            reading.problem(said, f"no {key} with mode {mode}", f"mode {mode} never looks at it", found=f"a {key}")


def _volumes(reading: Reading) -> None:
    names: dict[str, Said] = {}
    paths: dict[str, tuple[Said, int]] = {}
    for index in reading.indices(("volumes",)):
        name = reading.said.get(("volumes", index, "name"))
        path = reading.said.get(("volumes", index, "mount_path"))
        if name and names.setdefault(name.value, name) is not name:
            reading.problem(name, f"another name than the volume in line {names[name.value].node.line}")
        if path and path.value in paths:
            reading.problem(path, f"another path than the volume in line {paths[path.value][0].node.line}")
        elif path:
            paths[path.value] = (path, index)
        _one_volume(reading, index)
    for mount_path, (said, _) in paths.items():
        _nesting(reading, mount_path, said, paths)


def _one_volume(reading: Reading, index: int) -> None:
    volume = ("volumes", index)
    storage_class = reading.get((*volume, "storage_class"))
    ttl = reading.said.get((*volume, "ttl_hours"))
    source = reading.said.get((*volume, "source_volume_id"))
    if ttl and storage_class == StorageClass.PERSISTENT:
        reading.problem(ttl, "no ttl_hours for a persistent volume", "it stays until it is deleted")
    if source and storage_class == StorageClass.EPHEMERAL:
        said = reading.said[(*volume, "storage_class")]
        reading.problem(said, "persistent: source.volume_id attaches a volume that is there already")
    size = reading.said.get((*volume, "size_limit_bytes"))
    if source and size:
        text = "the volume is there already and keeps the limit it was made with"
        reading.notes.append(Note(show_path(size.path), size.node.line, text))


def _nesting(reading: Reading, mount_path: str, said: Said, paths: dict[str, tuple[Said, int]]) -> None:
    """The container engine makes the mount point of the inner volume in the outer one, which must be writable."""
    outer = posixpath.dirname(mount_path)
    while outer != "/":
        if outer in paths:
            index = paths[outer][1]
            if reading.get(("volumes", index, "access_mode")) == AccessMode.READ_ONLY:
                wanted = f"a path outside of {outer}, which is read-only: its mount point cannot be made there"
                reading.problem(said, wanted)
            return
        outer = posixpath.dirname(outer)


def _execution(reading: Reading) -> None:
    iterations = reading.said.get(("execution", "max_iterations"))
    one_shot = reading.get(("execution", "mode")) == ExecutionMode.ONE_SHOT
    if one_shot and iterations and iterations.value > 1:
        reading.problem(iterations, "1 with mode one-shot", "mode: iterative tries again")
    schema = reading.said.get(("~output", "schema"))
    if schema and reading.get(("~output", "format"), "json") != "json":
        reading.problem(schema, "no schema unless the format is json", found="a schema")
    timeout = reading.said.get(("~script", "timeout_seconds"))
    if timeout and not reading.knows(("~script", "path")):
        reading.missing((*timeout.path[:-1], "path"), "the path of the script")


def _contexts(reading: Reading) -> None:
    check_contexts(reading, ("spec",))
    used = reading.get(("security_context",), DEFAULT_CONTEXT)
    for index in reading.indices(("security_contexts",)):
        name = reading.said.get(("security_contexts", index, "name"))
        if name is not None and name.value != used:
            text = f"nothing names this context; spec.security_context: {name.value} would"
            reading.notes.append(Note(show_path(name.path), name.node.line, text))


def _later(reading: Reading) -> None:
    scheduled = reading.said.get(("~schedule", "type"))
    if scheduled and scheduled.value != "manual" and reading.get(("~schedule", "enabled"), True):
        reading.problem(scheduled, "manual, or schedule.enabled: false", f"schedule {_LATER}")
