"""Finding a file by its inode number: a walk of the tree, for handles that the node table has forgotten.

After a restart of the daemon, and when the host moved something, a handle is all there is: inode number and
generation. Directory entries carry the inode number, so a walk needs no stat (d_ino, readdir(3)); breadth first,
since what clients hold open is seldom deep. One walk serves everybody who waits; who comes while it runs gets the
next one, since his file may lie behind it already. In the pool; no symlink is followed, nothing above the root is
opened, other file systems mounted in the volume are not entered.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nfsd.vfs.failures import failure
from nfsd.vfs.nodes import DIRECTORY_FLAGS
from nfsd.vfs.offload import Pool

Path = tuple[bytes, ...]


class _Directory(NamedTuple):
    parent: _Directory | None
    name: bytes
    fileid: int

    def path(self) -> Path:
        parts: list[bytes] = []
        step: _Directory | None = self
        while step is not None and step.parent is not None:
            parts.append(step.name)
            step = step.parent
        return tuple(reversed(parts))


def open_directory(root_fd: int, path: Path) -> int:
    """The directory at that path, opened component by component: none may have become a symlink. The descriptor is the
    caller's, as is the position in it."""
    fd = os.open(b".", DIRECTORY_FLAGS, dir_fd=root_fd)
    for name in path:
        try:
            child = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
        finally:
            os.close(fd)
        fd = child
    return fd


@contextmanager
def _opened(root_fd: int, path: Path) -> Iterator[int]:
    fd = open_directory(root_fd, path)
    try:
        yield fd
    finally:
        os.close(fd)


def walk(root_fd: int, wanted: Collection[int]) -> dict[int, Path]:
    """One path for each wanted inode number that was found; directories that vanish or are closed to us are skipped."""
    missing = set(wanted)
    found: dict[int, Path] = {}
    device = os.fstat(root_fd).st_dev
    queue = deque([_Directory(None, b"", 0)])
    while queue and missing:
        directory = queue.popleft()
        path = directory.path()
        try:
            with _opened(root_fd, path) as fd:
                if os.fstat(fd).st_dev != device:
                    continue
                with os.scandir(fd) as entries:
                    for entry in entries:
                        fileid = entry.inode()
                        name = os.fsencode(entry.name)
                        if fileid in missing:
                            missing.discard(fileid)
                            found[fileid] = (*path, name)
                        if entry.is_dir(follow_symlinks=False):
                            queue.append(_Directory(directory, name, fileid))
        except OSError:
            continue
    return found


class Searches:
    """Walks shared by their callers: at most one runs and one waits."""

    def __init__(self, pool: Pool, root_fd: int) -> None:
        self._pool = pool
        self._root_fd = root_fd
        self._waiting: dict[int, asyncio.Future[Path]] = {}
        self._running = False

    def find(self, fileid: int) -> asyncio.Future[Path]:
        """The path of an inode number, shared by those who ask for it. ESTALE when it is nowhere in the tree."""
        future = self._waiting.get(fileid)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            if not self._running:
                self._start({fileid: future})
            else:
                self._waiting[fileid] = future
        return future

    def _start(self, wanted: dict[int, asyncio.Future[Path]]) -> None:
        work = self._pool.run(walk, self._root_fd, frozenset(wanted))
        self._running = True
        work.add_done_callback(lambda done: self._ended(wanted, done))

    def _ended(self, wanted: dict[int, asyncio.Future[Path]], done: asyncio.Future[dict[int, Path]]) -> None:
        self._running = False
        error = done.exception()
        paths = {} if error is not None else done.result()
        for fileid, future in wanted.items():
            if fileid in paths:
                future.set_result(paths[fileid])
            else:
                _refuse(future, error or failure(errno.ESTALE))
        if self._waiting:
            following, self._waiting = self._waiting, {}
            try:
                self._start(following)
            except OSError as refused:  # the pool is closed or full
                for future in following.values():
                    _refuse(future, refused)


def _refuse(future: asyncio.Future[Path], error: BaseException) -> None:
    future.set_exception(error)
    future.exception()  # who asked may be gone: that is no lost error
