"""What an agent may do, as pure questions: which tools, and which files under which mount.

The rule to know: a pattern list of None allows everything, an empty one nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from aegis.domain.manifest import FilesystemPolicy

ANYTHING_BELOW = "**"


def tool_allowed(patterns: Iterable[str], tool: str) -> bool:
    """Patterns as in the manifest's `tools`: `fs.*`, `cmd.run`; case counts."""
    return any(fnmatchcase(tool, pattern) for pattern in patterns)


def paths_below(patterns: Sequence[str] | None, mount_path: str) -> tuple[str, ...] | None:
    """Container path patterns (`/workspace/src/**`) as patterns relative to the root of the volume mounted at
    `mount_path` (`src/**`). A pattern that reaches no file of this volume is left out; a relative one counts in every
    volume."""
    if patterns is None:
        return None
    mount = _components(mount_path)
    return tuple(rest for pattern in patterns if (rest := _below(pattern, mount)) is not None)


def mount_rules(policy: FilesystemPolicy, mount_path: str) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The read and the write patterns of one volume."""
    return paths_below(policy.read, mount_path), paths_below(policy.write, mount_path)


def _below(pattern: str, mount: Sequence[str]) -> str | None:
    if not pattern.startswith("/"):
        return pattern
    parts = _components(pattern)
    for index, component in enumerate(mount):
        if index >= len(parts):
            return None  # names a directory above the mount, and nothing in it
        if parts[index] == ANYTHING_BELOW:
            # `**` may stop at the mount or go on below it: with a rest (`/**/x`) both are meant by `**/x`.
            return "/".join(parts[index:])
        if not fnmatchcase(component, parts[index]):
            return None
    rest = parts[len(mount) :]
    return "/".join(rest) if rest else ANYTHING_BELOW  # the mount itself means all of it


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
