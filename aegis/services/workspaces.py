"""An execution's files by the paths its containers see, over all its volumes, for the `fs.*` tools and the validators.

Every access goes through `Gateway.workspace` with the execution's attachment: the same audit, squash, policy and quota
as the container's own NFS traffic. Symlinks are not followed.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from aegis.domain.volume import Attachment, Volume
from aegis.errors import Denied, NotFound, Refused
from aegis.ports import FileEntry, Workspace
from aegis.services.volumes import MountedVolume, working_directory

ENTRIES_MAX: Final = 20_000  # of one walk; what lies beyond is not looked at, and the caller says so
DEPTH_MAX: Final = 64


class Files(Protocol):
    """`aegis.ports.Gateway`, as far as it is asked here."""

    def workspace(self, volume: Volume, attachment: Attachment | None = None) -> Workspace: ...


class Workspaces:
    def __init__(self, gateway: Files, mounted: Sequence[MountedVolume]) -> None:
        self._gateway = gateway
        self._mounted = sorted(mounted, key=lambda each: len(each.spec.mount_path), reverse=True)
        self.working_directory = working_directory(mounted)
        self.mount_paths = [each.spec.mount_path for each in mounted]

    def absolute(self, path: str) -> str:
        """The normal form of a path as the container sees it; relative ones start in the working directory."""
        if "\0" in path or not path:
            raise Refused("A path must not be empty and has no NUL byte")
        try:
            path.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise Refused("A path is text, or bytes as surrogate escapes") from None
        joined = posixpath.normpath(posixpath.join(self.working_directory, path))
        return "/" + joined.lstrip("/")  # normpath keeps two leading slashes, as POSIX lets it

    def locate(self, path: str) -> tuple[Workspace, str]:
        """The volume a path is on and the path in it ("" is its root). Denied: no volume is mounted there."""
        absolute = self.absolute(path)
        for each in self._mounted:
            mount = each.spec.mount_path
            if _inside(absolute, mount):
                return self._gateway.workspace(each.volume, each.attachment), absolute[len(mount) :].lstrip("/")
        where = ", ".join(self.mount_paths) or "nothing is mounted"
        raise Denied(f"{path} is not in a workspace; use cmd.run for other files of the container ({where})")

    def is_mounted(self, path: str) -> bool:
        """Whether an absolute path is on one of the volumes."""
        return any(_inside(path, mount) for mount in self.mount_paths)

    async def read(self, path: str, *, bytes_max: int) -> bytes:
        workspace, relative = self.locate(path)
        return await workspace.read(relative, bytes_max=bytes_max)

    async def walk(self, path: str) -> AsyncIterator[tuple[str, FileEntry]]:
        """Everything below `path`, directories before their contents, in order of names, at most `ENTRIES_MAX`; paths
        are absolute. A directory that disappears or may not be read is passed over, but not `path` itself."""
        workspace, top = self.locate(path)
        seen = 0
        waiting = [(top, 0)]
        while waiting:
            directory, depth = waiting.pop()
            try:
                entries = sorted(await workspace.list(directory), key=lambda entry: entry.name)
            except (NotFound, Denied):
                if directory == top:
                    raise
                continue
            below = []
            for entry in entries:
                seen += 1
                if seen > ENTRIES_MAX:
                    return
                relative = f"{directory}/{entry.name}" if directory else entry.name
                yield self._shown(path, top, relative), entry
                if entry.kind == "directory" and depth < DEPTH_MAX:
                    below.append((relative, depth + 1))
            waiting.extend(reversed(below))

    def _shown(self, path: str, top: str, relative: str) -> str:
        below = relative[len(top) :].lstrip("/") if top else relative
        return posixpath.join(self.absolute(path), below)


def _inside(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")
