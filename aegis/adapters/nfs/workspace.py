"""A volume's files by path, for the `fs.*` tools and the API: `aegis.ports.Workspace` on an nfsd `FileSystem`.

The rule: everything goes through the stack it is given (audit > identity > policy > quota > backend), the very one NFS
clients go through when there is an attachment. A path is walked one name at a time and no symbolic link is followed,
also not the last one: what a container linked to is resolved in the container, never here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Literal, TypeVar

from aegis.adapters.nfs.failures import explained
from aegis.errors import NotFound, Refused
from aegis.ids import new_id
from aegis.ports import FileEntry
from nfsd.vfs.interface import (
    Attributes,
    Caller,
    Changes,
    CreateHow,
    FileRange,
    FileSystem,
    Later,
    Maybe,
    Misplaced,
    Node,
    ReadResult,
    Stability,
)

T = TypeVar("T")

Session = Callable[[], AbstractAsyncContextManager[FileSystem]]

CHUNK_BYTES = 1 << 20
MISPLACED_RETRIES_MAX = 3
DEPTH_MAX = 256
"""Directories below directories that a recursive deletion follows: far beyond what PATH_MAX lets a client name."""

_KINDS: dict[int, Literal["file", "directory", "symlink"]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
}


def split_path(path: str) -> list[bytes]:
    """The names of a path, "" and "/" being the root. Refused for "..": nothing leads out of a volume."""
    names = [os.fsencode(part) for part in path.split("/") if part not in ("", ".")]
    if b".." in names:
        raise Refused(f"{path}: a path may not contain '..'")
    return names


class VolumeFiles:
    """One volume (or one attachment of it), seen by `caller`; `session` gives its file system for one operation.

    Every method may raise NotFound, Denied, Conflict, Refused (over the size limit, a symbolic link on the way) and
    WorldError.
    """

    def __init__(self, session: Session, caller: Caller) -> None:
        self._session = session
        self._caller = caller

    async def read(self, path: str, *, bytes_max: int) -> bytes:
        """The whole file. Refused when it is larger than `bytes_max`: nothing is cut silently."""
        return await self._named(path, lambda files: files.read(path, bytes_max))

    async def write(self, path: str, content: bytes) -> None:
        """Make the file's content `content`, whole or not at all; its mode stays, missing parents are an error.

        Written beside and renamed over, so readers see the old or the new. Where a policy allows this name only, and on
        a mapped volume another user's file, it is written in place: then a crash of the host in between can leave a
        mixture.
        """
        await self._named(path, lambda files: files.write(path, content))

    async def list(self, path: str) -> Sequence[FileEntry]:
        """The directory's entries by name, without `.` and `..`."""
        return await self._named(path, lambda files: files.list(path))

    async def make_directory(self, path: str) -> None:
        """Make it and what is missing above it; one that is there is no error."""
        await self._named(path, lambda files: files.make_directory(path))

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, an empty directory or, with `recursive`, a directory and all below it."""
        await self._named(path, lambda files: files.delete(path, recursive))

    async def stat(self, path: str) -> FileEntry:
        return await self._named(path, lambda files: files.stat(path))

    async def _named(self, path: str, operation: Callable[[_Files], Awaitable[T]]) -> T:
        """Run one operation; a file that the host moved meanwhile is searched for and the operation run again."""
        async with self._session() as fs:
            for _ in range(MISPLACED_RETRIES_MAX):
                try:
                    try:
                        return await operation(_Files(fs, self._caller))
                    except Misplaced as moved:
                        await settled(fs.find(moved.fileid, moved.generation))
                except OSError as error:
                    raise explained(error, path) from error
        raise NotFound(f"{path}: it keeps being moved by somebody on the host")


class _Files:
    """One try of each operation; failures are OSError."""

    def __init__(self, fs: FileSystem, caller: Caller) -> None:
        self._fs = fs
        self._caller = caller

    async def read(self, path: str, bytes_max: int) -> bytes:
        node, attributes = self._walk(split_path(path))
        self._want(attributes, stat.S_IFREG)
        if attributes.st_size > bytes_max:
            raise Refused(f"{path}: the file has {attributes.st_size} bytes; at most {bytes_max} can be read here")
        parts: list[bytes] = []
        offset = 0
        while offset <= bytes_max:
            result = await settled(self._fs.read(self._caller, node, offset, CHUNK_BYTES))
            data = taken(result)
            parts.append(data)
            offset += len(data)
            if result.eof or not data:
                break
        return b"".join(parts)

    async def write(self, path: str, content: bytes) -> None:
        *parents, name = split_path(path) or [b""]
        if not name:
            raise IsADirectoryError(errno.EISDIR, "the root")
        directory = self._directory(parents)
        mode, foreign = 0o644, False
        try:
            _, existing = self._fs.lookup(self._caller, directory, name)
        except FileNotFoundError:
            pass
        else:
            self._want(existing, stat.S_IFREG)
            mode = stat.S_IMODE(existing.st_mode)
            foreign = self._fs.shown_uid is None and existing.st_uid != self._caller.uid
        if foreign:  # on a mapped volume: it stays its owner's, so it takes the right to write it
            await self._write_in_place(directory, name, content, mode)
            return
        beside = b".%b.%b" % (name[:200], new_id()[:8].encode())
        try:
            node = await self._create(directory, beside, CreateHow.GUARDED, mode)
        except PermissionError:
            await self._write_in_place(directory, name, content, mode)
            return
        try:
            await self._fill(node, content)
            await settled(self._fs.rename(self._caller, directory, beside, directory, name))
        except BaseException:
            await settled(self._fs.remove(self._caller, directory, beside))
            raise

    async def _write_in_place(self, directory: Node, name: bytes, content: bytes, mode: int) -> None:
        node = await self._create(directory, name, CreateHow.UNCHECKED, mode)
        await self._fill(node, content)
        await settled(self._fs.setattr(self._caller, node, Changes(size=len(content))))

    async def _create(self, directory: Node, name: bytes, how: CreateHow, mode: int) -> Node:
        node, _ = await settled(self._fs.create(self._caller, directory, name, how, Changes(mode=mode)))
        return node

    async def _fill(self, node: Node, content: bytes) -> None:
        view = memoryview(content)
        for offset in range(0, len(view), CHUNK_BYTES):
            part = view[offset : offset + CHUNK_BYTES]
            await settled(self._fs.write(self._caller, node, offset, part, Stability.UNSTABLE))
        await settled(self._fs.commit(self._caller, node, 0, 0))

    async def list(self, path: str) -> Sequence[FileEntry]:
        node = self._directory(split_path(path))
        listing = await settled(self._fs.readdir(self._caller, node))
        found = []
        for entry in listing.entries(0):
            if entry.name not in (b".", b".."):
                child = self._fs.peek(node, entry.name)
                if child is not None:
                    found.append(file_entry(entry.name, child[1]))
        return sorted(found, key=lambda entry: entry.name)

    async def make_directory(self, path: str) -> None:
        node = self._fs.root
        for name in split_path(path):
            try:
                node, attributes = self._fs.lookup(self._caller, node, name)
            except FileNotFoundError:
                made = self._fs.mkdir(self._caller, node, name, Changes(mode=0o755))
                node, _ = await settled(made)
            else:
                self._want(attributes, stat.S_IFDIR)

    async def delete(self, path: str, recursive: bool) -> None:
        *parents, name = split_path(path) or [b""]
        if not name:
            raise Refused(f"{path}: the root of a volume cannot be deleted; delete the volume")
        directory = self._directory(parents)
        await self._remove(directory, name, recursive, DEPTH_MAX)

    async def _remove(self, directory: Node, name: bytes, recursive: bool, depth: int) -> None:
        node, attributes = self._fs.lookup(self._caller, directory, name)
        if not stat.S_ISDIR(attributes.st_mode):
            await settled(self._fs.remove(self._caller, directory, name))
            return
        if recursive:
            if not depth:
                raise OSError(errno.ENAMETOOLONG, "too deep")
            listing = await settled(self._fs.readdir(self._caller, node))
            for entry in list(listing.entries(0)):
                if entry.name not in (b".", b".."):
                    await self._remove(node, entry.name, recursive, depth - 1)
        await settled(self._fs.rmdir(self._caller, directory, name))

    async def stat(self, path: str) -> FileEntry:
        names = split_path(path)
        _, attributes = self._walk(names)
        return file_entry(names[-1] if names else b"", attributes)

    def _directory(self, names: Sequence[bytes]) -> Node:
        node, attributes = self._walk(names)
        self._want(attributes, stat.S_IFDIR)
        return node

    def _walk(self, names: Sequence[bytes]) -> tuple[Node, Attributes]:
        node = self._fs.root
        attributes = self._fs.getattr(node)
        for name in names:
            if stat.S_ISLNK(attributes.st_mode):
                raise OSError(errno.ELOOP, "symbolic link")
            node, attributes = self._fs.lookup(self._caller, node, name)
        return node, attributes

    def _want(self, attributes: Attributes, kind: int) -> None:
        found = stat.S_IFMT(attributes.st_mode)
        if found == kind:
            return
        if found == stat.S_IFLNK:
            raise OSError(errno.ELOOP, "symbolic link")
        if kind == stat.S_IFDIR:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        raise OSError(errno.EISDIR if found == stat.S_IFDIR else errno.EPERM, "not a regular file")


async def settled(result: Maybe[T]) -> T:
    """The value, waited for where it is not there yet."""
    return await result if isinstance(result, Later) else result


def taken(result: ReadResult) -> bytes:
    """A read's bytes as our own; what the file system lent is given back."""
    data = result.data
    try:
        if isinstance(data, FileRange):
            return os.pread(data.fd, data.length, data.offset)
        return bytes(data)
    finally:
        if isinstance(data, FileRange):
            data.release()
        if result.release is not None:
            result.release()


def file_entry(name: bytes, attributes: Attributes) -> FileEntry:
    return FileEntry(
        name=os.fsdecode(name),
        kind=_KINDS.get(stat.S_IFMT(attributes.st_mode), "other"),
        size_bytes=attributes.st_size,
        mode=stat.S_IMODE(attributes.st_mode),
        modified_at=datetime.fromtimestamp(attributes.st_mtime_ns / 1e9, UTC),
    )
