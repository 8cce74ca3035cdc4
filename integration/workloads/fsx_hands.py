"""One process's hands on the file: every way in which a program reads and changes it, each one method.

Hands hold one open descriptor and, from `map_keep` to `map_drop`, one shared mapping. They know nothing of what the
file should hold. `Elsewhere` is hands in another process, with the same methods.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import multiprocessing.connection
import os
from collections.abc import Callable
from typing import Any

PAGE_BYTES = mmap.PAGESIZE
DIRECT_BYTES = 4096
"""O_DIRECT wants offset, length and memory in multiples of this on every local disk; NFS takes anything."""
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


class Hands:
    """`path` is the file's name at the moment; `moved` tells of a new one."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.mapping: mmap.mmap | None = None

    # ---- descriptors ----

    def open(self) -> None:
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)

    def close(self) -> None:
        """Close the descriptor and the mapping: on NFS, everything is on the server then."""
        self.map_drop()
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def moved(self, path: str) -> None:
        self.path = path

    # ---- reading ----

    def size(self) -> tuple[int, int]:
        """By descriptor and by name."""
        return os.fstat(self.fd).st_size, os.stat(self.path).st_size

    def read(self, offset: int, size: int) -> bytes:
        return _whole(lambda at, left: os.pread(self.fd, left, at), offset, size)

    def read_direct(self, offset: int, size: int) -> bytes:
        """Past the page cache; both in multiples of `DIRECT_BYTES`."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, max(size, 1)) as memory:
                got = os.preadv(fd, [memoryview(memory)[:size]], offset) if size else 0
                return memory[:got]
        finally:
            os.close(fd)

    def read_fresh(self, offset: int, size: int) -> bytes:
        """As a program that opens the file to look at it."""
        with open(self.path, "rb", buffering=0) as file:
            return _whole(lambda at, left: os.pread(file.fileno(), left, at), offset, size)

    def map_read(self, offset: int, size: int) -> bytes:
        start = offset // PAGE_BYTES * PAGE_BYTES
        with mmap.mmap(self.fd, offset + size - start, mmap.MAP_SHARED, mmap.PROT_READ, offset=start) as mapping:
            return mapping[offset - start :]

    def read_kept(self, offset: int, size: int) -> bytes:
        """Through the mapping that is kept."""
        assert self.mapping is not None
        return self.mapping[offset : offset + size]

    def forget(self) -> None:
        """Give up cached pages (those that are clean)."""
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    # ---- writing ----

    def write(self, offset: int, data: bytes) -> None:
        _whole_write(lambda at, rest: os.pwrite(self.fd, rest, at), offset, data)

    def write_vector(self, offset: int, *pieces: bytes) -> None:
        wanted = sum(map(len, pieces))
        if (done := os.pwritev(self.fd, list(pieces), offset)) != wanted:
            self.write(offset + done, b"".join(pieces)[done:])

    def write_direct(self, offset: int, data: bytes) -> None:
        """Past the page cache; both in multiples of `DIRECT_BYTES`."""
        fd = os.open(self.path, os.O_WRONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, len(data)) as memory:
                memory[:] = data
                os.pwritev(fd, [memory], offset)
        finally:
            os.close(fd)

    def write_synchronous(self, offset: int, data: bytes) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_DSYNC)
        try:
            _whole_write(lambda at, rest: os.pwrite(fd, rest, at), offset, data)
        finally:
            os.close(fd)

    def write_without_permission(self, offset: int, data: bytes) -> None:
        """Through a descriptor that was open before the mode was taken away."""
        os.fchmod(self.fd, 0)
        try:
            self.write(offset, data)
        finally:
            os.fchmod(self.fd, 0o644)

    def append(self, data: bytes) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            _whole_write(lambda _at, rest: os.write(fd, rest), 0, data)
        finally:
            os.close(fd)

    def map_write(self, offset: int, data: bytes, flush: bool) -> None:
        start = offset // PAGE_BYTES * PAGE_BYTES
        with mmap.mmap(self.fd, offset + len(data) - start, mmap.MAP_SHARED, offset=start) as mapping:
            mapping[offset - start :] = data
            if flush:
                mapping.flush()

    def map_keep(self, size: int) -> None:
        """Map the first `size` bytes, and keep the mapping over what comes: writes, truncations, the close."""
        self.map_drop()
        self.mapping = mmap.mmap(self.fd, size, mmap.MAP_SHARED)

    def map_drop(self) -> None:
        if self.mapping is not None:
            self.mapping.close()
        self.mapping = None

    def write_kept(self, offset: int, data: bytes) -> None:
        """Through the mapping that is kept."""
        assert self.mapping is not None
        self.mapping[offset : offset + len(data)] = data

    def copy(self, source: int, size: int, target: int) -> None:
        """copy_file_range(2), and where it is refused read and write, as cp does."""
        while size:
            try:
                done = os.copy_file_range(self.fd, self.fd, size, source, target)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS):
                    raise
                self.write(target, self.read(source, size))
                return
            source, size, target = source + done, size - done, target + done

    def send(self, source: int, size: int, target: int) -> None:
        """sendfile(2) within the file."""
        fd = os.open(self.path, os.O_WRONLY)
        try:
            os.lseek(fd, target, os.SEEK_SET)
            while size:
                done = os.sendfile(fd, self.fd, source, size)
                source, size = source + done, size - done
        finally:
            os.close(fd)

    # ---- size and space ----

    def truncate(self, size: int) -> None:
        os.ftruncate(self.fd, size)

    def truncate_by_name(self, size: int) -> None:
        os.truncate(self.path, size)

    def empty(self) -> None:
        """As a shell's `>file`."""
        os.close(os.open(self.path, os.O_WRONLY | os.O_TRUNC))

    def punch(self, offset: int, size: int) -> None:
        """Punch a hole; where the file system cannot, write the zeros, as programs do. `offset + size` is in the
        file."""
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        if _libc.fallocate(self.fd, mode, ctypes.c_int64(offset), ctypes.c_int64(size)) == 0:
            return
        if ctypes.get_errno() != errno.EOPNOTSUPP:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.write(offset, bytes(size))

    def reserve(self, offset: int, size: int) -> None:
        """posix_fallocate(3): the C library does it by hand where the file system cannot."""
        os.posix_fallocate(self.fd, offset, size)

    def sync(self, data_only: bool) -> None:
        (os.fdatasync if data_only else os.fsync)(self.fd)


def _whole(read: Callable[[int, int], bytes], offset: int, size: int) -> bytes:
    pieces = []
    while size and (piece := read(offset, size)):
        pieces.append(piece)
        offset, size = offset + len(piece), size - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _whole_write(write: Callable[[int, memoryview], int], offset: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        done = write(offset, rest)
        offset, rest = offset + done, rest[done:]


class Elsewhere:
    """The same hands in a process of their own, forked here; what fails there is raised here."""

    def __init__(self, path: str) -> None:
        self._ours, theirs = multiprocessing.connection.Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._ours.close()
            _serve(Hands(path), theirs)
        theirs.close()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._ours.send((method, arguments))
            good, value = self._ours.recv()
            if good:
                return value
            raise value

        return call

    def end(self) -> None:
        """End the process."""
        self._ours.close()
        os.waitpid(self._pid, 0)


def _serve(hands: Hands, peer: multiprocessing.connection.Connection) -> None:
    try:
        while True:
            method, arguments = peer.recv()
            try:
                answer: tuple[bool, Any] = True, getattr(hands, method)(*arguments)
            except Exception as error:
                answer = False, error
            peer.send(answer)
    except EOFError:
        pass
    finally:
        os._exit(0)
