"""The mapped layer against the kernel: several users do the same to a mapped volume and to a directory of the host.

The reference is real: the thread takes the caller's ids for file systems (setfsuid(2), which takes the superuser's
rights with it) and makes the system call an NFS procedure stands for. Error for error and attribute for attribute they
have to agree.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nfsd.vfs.conformance import settled
from nfsd.vfs.interface import (
    MAY_EXECUTE,
    MAY_READ,
    MAY_WRITE,
    NO_CHANGES,
    NOW,
    Caller,
    Changes,
    CreateHow,
    Node,
    Stability,
)
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.stack import MappedFor, build_stack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming other users takes the superuser")

CALLERS = st.sampled_from(
    [Caller(0, 0), Caller(1000, 1000), Caller(1001, 1001, (77,)), Caller(1002, 1002, (1001, 77)), Caller(1003, 1000)]
)
IDS = st.sampled_from([None, 0, 77, 1000, 1001, 1002])
MODES = st.sampled_from(
    [0o777, 0o755, 0o700, 0o070, 0o007, 0o300, 0o500, 0o000, 0o1777, 0o2775, 0o2711, 0o3777, 0o4755, 0o6755, 0o2644]
)
NAMES = st.sampled_from([b"a", b"b", b"c"])
PLACES = st.integers(0, 4)
TIMES = st.sampled_from([None, NOW, 10**18])
SYS_SETFSUID, SYS_SETFSGID, SYS_SETGROUPS = {"x86_64": (122, 123, 116), "aarch64": (151, 152, 159)}.get(
    os.uname().machine
) or (0, 0, 0)
syscall = ctypes.CDLL(None, use_errno=True).syscall
AT_FDCWD = -100
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2

Pair = tuple[Node, bytes]
"""A file of the volume, and the path of the same one in the reference."""


@contextmanager
def being(caller: Caller) -> Iterator[None]:
    """System calls of this thread on files are that user's."""
    _become(caller.uid, caller.gid, caller.groups)
    mask = os.umask(0)
    try:
        yield
    finally:
        os.umask(mask)
        _become(0, 0, ())


def _become(uid: int, gid: int, groups: tuple[int, ...]) -> None:
    # The calls themselves: the C library's setgroups is for all threads at once.
    if uid == 0:
        syscall(SYS_SETFSUID, 0)
    assert syscall(SYS_SETGROUPS, len(groups), (ctypes.c_uint32 * max(1, len(groups)))(*groups)) == 0
    syscall(SYS_SETFSGID, gid)
    if uid != 0:
        syscall(SYS_SETFSUID, uid)
    assert syscall(SYS_SETFSUID, -1) == uid  # setfsuid(2) cannot say that it failed


def utimensat(path: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
    def spec(time_ns: int | None) -> tuple[int, int]:
        return (0, UTIME_OMIT) if time_ns is None else (0, UTIME_NOW) if time_ns == NOW else divmod(time_ns, 10**9)

    times = (ctypes.c_int64 * 4)(*spec(atime_ns), *spec(mtime_ns))
    if ctypes.CDLL(None, use_errno=True).utimensat(AT_FDCWD, path, times, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class AsTheKernel(RuleBasedStateMachine):
    """The same calls to both. Directories of the reference are used by descriptors, as a handle is."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.base = tempfile.mkdtemp()
        os.chmod(self.base, 0o755)
        for name in ("volume", "reference"):
            os.mkdir(f"{self.base}/{name}")
        self.reference = os.fsencode(self.base) + b"/reference"
        os.chown(self.reference, 1000, 1000)
        self.fs = build_stack(self.backend(), identity=MappedFor(1000, 1000))
        os.chmod(self.reference, 0o777)
        self.answer(lambda: self.fs.setattr(Caller(1000, 1000), self.fs.root, Changes(mode=0o777)))
        self.directories: list[Pair] = [(self.fs.root, self.reference)]
        self.files: list[Pair] = []

    def backend(self) -> Any:
        return LocalFileSystem(f"{self.base}/volume", meta=f"{self.base}/meta", durability="host", descriptors_max=16)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.fs.close())
        self.loop.close()
        shutil.rmtree(self.base)

    def answer(self, act: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return await settled(act())

        return self.loop.run_until_complete(call())

    def both(self, caller: Caller, ours: Callable[[], Any], theirs: Callable[[], Any]) -> Any:
        """Our result, or None when both failed, which they have to with the same error."""
        try:
            with being(caller):
                theirs()
            wanted = 0
        except OSError as error:
            wanted = error.errno or -1
        try:
            result, got = self.answer(ours), 0
        except OSError as error:
            result, got = None, error.errno or -1
        assert got == wanted, (caller, f"ours: {os.strerror(got)}", f"the kernel's: {os.strerror(wanted)}")
        return result

    @contextmanager
    def at(self, path: bytes) -> Iterator[int]:
        """A directory of the reference, opened by root."""
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    def place(self, index: int) -> Pair:
        return self.directories[index % len(self.directories)]

    def any_file(self, index: int) -> Pair:
        both = self.directories + self.files
        return both[index % len(both)]

    def made(self, result: Any, directory: Pair, name: bytes) -> None:
        if result is not None:
            known = self.directories if result[0].kind == stat.S_IFDIR else self.files
            known.append((result[0], directory[1] + b"/" + name))

    # ---- making ----

    @rule(caller=CALLERS, place=PLACES, name=NAMES, mode=MODES)
    def create(self, caller: Caller, place: int, name: bytes, mode: int) -> None:
        directory, flags = self.place(place), os.O_CREAT | os.O_EXCL | os.O_WRONLY
        with self.at(directory[1]) as fd:
            result = self.both(
                caller,
                lambda: self.fs.create(caller, directory[0], name, CreateHow.GUARDED, Changes(mode=mode)),
                lambda: os.close(os.open(name, flags, mode, dir_fd=fd)),
            )
        self.made(result, directory, name)

    @rule(caller=CALLERS, place=PLACES, name=NAMES, mode=MODES)
    def mkdir(self, caller: Caller, place: int, name: bytes, mode: int) -> None:
        directory, mode = self.place(place), mode & 0o1777  # mkdir(2) of Linux takes no others
        with self.at(directory[1]) as fd:
            result = self.both(
                caller,
                lambda: self.fs.mkdir(caller, directory[0], name, Changes(mode=mode)),
                lambda: os.mkdir(name, mode, dir_fd=fd),
            )
        self.made(result, directory, name)

    @rule(caller=CALLERS, place=PLACES, name=NAMES)
    def symlink(self, caller: Caller, place: int, name: bytes) -> None:
        directory = self.place(place)
        with self.at(directory[1]) as fd:
            result = self.both(
                caller,
                lambda: self.fs.symlink(caller, directory[0], name, b"to", NO_CHANGES),
                lambda: os.symlink(b"to", name, dir_fd=fd),
            )
        self.made(result, directory, name)

    @rule(caller=CALLERS, place=PLACES, name=NAMES, mode=MODES)
    def mkfifo(self, caller: Caller, place: int, name: bytes, mode: int) -> None:
        directory = self.place(place)
        with self.at(directory[1]) as fd:
            result = self.both(
                caller,
                lambda: self.fs.mknod(caller, directory[0], name, stat.S_IFIFO, Changes(mode=mode)),
                lambda: os.mknod(name, stat.S_IFIFO | mode, dir_fd=fd),
            )
        self.made(result, directory, name)

    @rule(caller=CALLERS, index=st.integers(0, 20), place=PLACES, name=NAMES)
    def link(self, caller: Caller, index: int, place: int, name: bytes) -> None:
        file, directory = self.any_file(index), self.place(place)
        if file[0].kind == stat.S_IFDIR or caller.uid not in (0, os.lstat(file[1]).st_uid):
            return  # fs.protected_hardlinks is the client's affair
        with self.at(directory[1]) as fd:
            result = self._by_handle(
                file[1],
                lambda handle: self.both(
                    caller,
                    lambda: self.fs.link(caller, file[0], directory[0], name),
                    lambda: os.link(handle, name, dst_dir_fd=fd, follow_symlinks=True),
                ),
            )
        if result is not None:
            self.files.append((file[0], directory[1] + b"/" + name))

    # ---- taking away and moving ----

    def _forget(self, path: bytes) -> None:
        self.directories = [d for d in self.directories if d[1] != path and not d[1].startswith(path + b"/")]
        self.files = [f for f in self.files if f[1] != path and not f[1].startswith(path + b"/")]

    @rule(caller=CALLERS, place=PLACES, name=NAMES)
    def unlink(self, caller: Caller, place: int, name: bytes) -> None:
        directory = self.place(place)
        path = directory[1] + b"/" + name
        with self.at(directory[1]) as fd:
            self.both(
                caller,
                lambda: self.fs.remove(caller, directory[0], name),
                lambda: os.unlink(name, dir_fd=fd),
            )
        if not os.path.lexists(path):
            self._forget(path)

    @rule(caller=CALLERS, place=PLACES, name=NAMES)
    def rmdir(self, caller: Caller, place: int, name: bytes) -> None:
        directory = self.place(place)
        path = directory[1] + b"/" + name
        with self.at(directory[1]) as fd:
            self.both(
                caller,
                lambda: self.fs.rmdir(caller, directory[0], name),
                lambda: os.rmdir(name, dir_fd=fd),
            )
        if not os.path.lexists(path):
            self._forget(path)

    @rule(caller=CALLERS, place=PLACES, name=NAMES, to_place=PLACES, to_name=NAMES)
    def rename(self, caller: Caller, place: int, name: bytes, to_place: int, to_name: bytes) -> None:
        source, target = self.place(place), self.place(to_place)
        old, new = source[1] + b"/" + name, target[1] + b"/" + to_name
        if new.startswith(old + b"/") or old.startswith(new + b"/"):
            return  # into itself or over its parent: which of two errors comes first is another matter
        moved = os.lstat(old).st_ino if os.path.lexists(old) else None
        if os.path.lexists(new) and os.lstat(new).st_ino == moved:
            return  # two names of one file: rename(2) does nothing, whoever asks
        with self.at(source[1]) as from_fd, self.at(target[1]) as to_fd:
            self.both(
                caller,
                lambda: self.fs.rename(caller, source[0], name, target[0], to_name),
                lambda: os.rename(name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd),
            )
        if moved is not None and not os.path.lexists(old):
            self._forget(new)
            self.directories = [(node, self._moved(path, old, new)) for node, path in self.directories]
            self.files = [(node, self._moved(path, old, new)) for node, path in self.files]

    @staticmethod
    def _moved(path: bytes, old: bytes, new: bytes) -> bytes:
        return new + path[len(old) :] if path == old or path.startswith(old + b"/") else path

    # ---- attributes ----

    @staticmethod
    def _by_handle(path: bytes, act: Callable[[bytes], Any]) -> Any:
        """The call on the file itself, whoever may search its directories."""
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            return act(b"/proc/self/fd/%d" % fd)
        finally:
            os.close(fd)

    @rule(caller=CALLERS, index=st.integers(0, 20), mode=MODES)
    def chmod(self, caller: Caller, index: int, mode: int) -> None:
        node, path = self.any_file(index)
        if node.kind != stat.S_IFLNK:
            self._by_handle(
                path,
                lambda handle: self.both(
                    caller, lambda: self.fs.setattr(caller, node, Changes(mode=mode)), lambda: os.chmod(handle, mode)
                ),
            )

    @rule(caller=CALLERS, index=st.integers(0, 20), uid=IDS, gid=IDS)
    def chown(self, caller: Caller, index: int, uid: int | None, gid: int | None) -> None:
        node, path = self.any_file(index)
        if uid is gid is None:
            return
        numbers = (-1 if uid is None else uid, -1 if gid is None else gid)
        self._by_handle(
            path,
            lambda handle: self.both(
                caller,
                lambda: self.fs.setattr(caller, node, Changes(uid=uid, gid=gid)),
                lambda: os.chown(handle, *numbers),
            ),
        )

    @rule(caller=CALLERS, index=st.integers(0, 20), atime=TIMES, mtime=TIMES)
    def utime(self, caller: Caller, index: int, atime: int | None, mtime: int | None) -> None:
        node, path = self.any_file(index)
        if atime is mtime is None or node.kind == stat.S_IFLNK:
            return
        self._by_handle(
            path,
            lambda handle: self.both(
                caller,
                lambda: self.fs.setattr(caller, node, Changes(atime_ns=atime, mtime_ns=mtime)),
                lambda: utimensat(handle, atime, mtime),
            ),
        )

    # ---- contents: the owner is let through by us whatever the mode, so what he may not open is not compared ----

    @rule(caller=CALLERS, index=st.integers(0, 20), truncates=st.booleans())
    def write(self, caller: Caller, index: int, truncates: bool) -> None:
        node, path = self.any_file(index)
        owns = caller.uid == os.lstat(path).st_uid
        if node.kind != stat.S_IFREG or (owns and not self.fs.access(caller, node) & MAY_WRITE):
            return

        def pwrite(handle: bytes) -> None:
            fd = os.open(handle, os.O_WRONLY)
            try:
                os.pwrite(fd, b"x", 0)
            finally:
                os.close(fd)

        def ours() -> Any:
            if truncates:
                return self.fs.setattr(caller, node, Changes(size=1))
            return self.fs.write(caller, node, 0, b"x", Stability.UNSTABLE)

        self._by_handle(
            path,
            lambda handle: self.both(
                caller, ours, (lambda: os.truncate(handle, 1)) if truncates else (lambda: pwrite(handle))
            ),
        )

    # ---- looking ----

    @rule(caller=CALLERS, place=PLACES, name=NAMES)
    def lookup(self, caller: Caller, place: int, name: bytes) -> None:
        directory = self.place(place)
        with self.at(directory[1]) as fd:
            self.both(caller, lambda: self.fs.lookup(caller, directory[0], name), lambda: os.lstat(name, dir_fd=fd))

    @rule(caller=CALLERS, place=PLACES)
    def listdir(self, caller: Caller, place: int) -> None:
        directory = self.place(place)
        with self.at(directory[1]) as fd:
            self.both(
                caller,
                lambda: self.fs.readdir(caller, directory[0]),
                lambda: os.close(os.open(b"/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_DIRECTORY)),
            )

    @rule(caller=CALLERS, index=st.integers(0, 20))
    def access(self, caller: Caller, index: int) -> None:
        node, path = self.any_file(index)
        if node.kind == stat.S_IFLNK:
            return
        may = self.fs.access(caller, node)
        for bit, flag in ((MAY_READ, os.R_OK), (MAY_WRITE, os.W_OK), (MAY_EXECUTE, os.X_OK)):
            wanted = self._by_handle(path, partial(self._allows, caller, flag))
            assert bool(may & bit) == wanted, (caller, flag, oct(os.lstat(path).st_mode))

    @staticmethod
    def _allows(caller: Caller, flag: int, handle: bytes) -> bool:
        with being(caller):
            return os.access(handle, flag, effective_ids=True)

    @invariant()
    def owners_and_modes_are_the_same(self) -> None:
        for node, path in self.directories + self.files:
            ours, theirs = self.fs.getattr(node), os.lstat(path)
            got = (oct(ours.st_mode), ours.st_uid, ours.st_gid)
            assert got == (oct(theirs.st_mode), theirs.st_uid, theirs.st_gid), path
            assert stat.S_IMODE(node.mode) == stat.S_IMODE(theirs.st_mode)


class MemoryAsTheKernel(AsTheKernel):
    """The backend in memory keeps owners by itself."""

    def backend(self) -> Any:
        return MemoryFileSystem()


TestAsTheKernel = AsTheKernel.TestCase
TestMemoryAsTheKernel = MemoryAsTheKernel.TestCase
TestAsTheKernel.settings = TestMemoryAsTheKernel.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
