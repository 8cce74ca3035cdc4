"""Random sequences of operations give the same answers in memory and on disk: attributes, errors, contents, names."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nfsd.vfs.conformance import contents, settled
from nfsd.vfs.interface import Attributes, Caller, Changes, CreateHow, FileSystem, Node, Stability
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.mapped import Mapped
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.squash import Squash

CALLER = Caller(1000, 1000)
NAMES = st.sampled_from([b"a", b"b", b"c", b"\xff"])
PLACES = st.integers(0, 5)
MODES = st.sampled_from([None, 0, 0o400, 0o555, 0o644, 0o777, 0o1777, 0o2755, 0o4711])
SIZES = st.sampled_from([None, 0, 1, 10, 5000])
OFFSETS = st.sampled_from([0, 1, 100, 4096])
TIMES = st.sampled_from([None, 10**9 + 1, 2 * 10**9 + 999])
DATA = st.binary(max_size=40)

IDS = st.sampled_from([None, 0, 77, 1000, 1001])

Both = tuple[Node, Node]


def visible(attributes: Attributes) -> tuple[object, ...]:
    """What two file systems must agree on; a directory's own size and link count are the file system's affair."""
    kind = stat.S_IFMT(attributes.st_mode)
    if kind == stat.S_IFDIR:
        return (attributes.st_mode,)
    return (attributes.st_mode, attributes.st_nlink, attributes.st_size)


class Twins(RuleBasedStateMachine):
    """The same calls to both; nodes are kept in pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = tempfile.mkdtemp()
        os.chmod(self.root, 0o755)  # what a volume in memory has
        self.caller = CALLER
        self.memory = self.layered(MemoryFileSystem())
        self.local = self.layered(LocalFileSystem(self.root, durability="host", descriptors_max=16))
        self.directories: list[Both] = [(self.memory.root, self.local.root)]
        self.files: list[Both] = []

    def layered(self, backend: FileSystem) -> FileSystem:
        return Squash(backend, 1000, 1000)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.local.close())
        self.loop.close()
        shutil.rmtree(self.root)

    def one(self, act: Callable[[], Any]) -> Any:
        async def call() -> Any:
            try:
                return await settled(act())
            except OSError as error:
                return error.errno

        return self.loop.run_until_complete(call())

    def both(self, act: Callable[[FileSystem, int], Any]) -> tuple[Any, Any]:
        """Call both and hold the errors equal; `act` gets the file system and which of a pair is its."""
        first, second = self.one(lambda: act(self.memory, 0)), self.one(lambda: act(self.local, 1))
        if isinstance(first, int) or isinstance(second, int):
            names = [os.strerror(r) if isinstance(r, int) else r for r in (first, second)]
            assert first == second, names
        return first, second

    def made(self, results: tuple[Any, Any]) -> None:
        """Both made or found a node."""
        if isinstance(results[0], int):
            return
        pair = (results[0][0], results[1][0])
        assert visible(results[0][1]) == visible(results[1][1])
        known = self.directories if pair[0].kind == stat.S_IFDIR else self.files
        if pair not in known:
            known.append(pair)

    def directory(self, index: int) -> Both:
        return self.directories[index % len(self.directories)]

    def any_node(self, index: int) -> Both:
        nodes = self.directories + self.files
        return nodes[index % len(nodes)]

    @rule(place=PLACES, name=NAMES, how=st.sampled_from(CreateHow), mode=MODES, size=SIZES, mtime=TIMES)
    def create(self, place: int, name: bytes, how: CreateHow, mode: int | None, size: int | None, mtime: Any) -> None:
        directory, changes = self.directory(place), Changes(mode=mode, size=size, mtime_ns=mtime)
        self.made(self.both(lambda fs, i: fs.create(self.caller, directory[i], name, how, changes, b"verifier")))

    @rule(place=PLACES, name=NAMES, mode=MODES)
    def mkdir(self, place: int, name: bytes, mode: int | None) -> None:
        directory = self.directory(place)
        self.made(self.both(lambda fs, i: fs.mkdir(self.caller, directory[i], name, Changes(mode=mode))))

    @rule(place=PLACES, name=NAMES, to=st.sampled_from([b"a", b"", b"../..", b"\xff", b"x" * 5000]))
    def symlink(self, place: int, name: bytes, to: bytes) -> None:
        directory = self.directory(place)
        self.made(self.both(lambda fs, i: fs.symlink(self.caller, directory[i], name, to, Changes())))

    @rule(place=PLACES, name=NAMES, kind=st.sampled_from([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR]), mode=MODES)
    def mknod(self, place: int, name: bytes, kind: int, mode: int | None) -> None:
        directory = self.directory(place)
        self.made(self.both(lambda fs, i: fs.mknod(self.caller, directory[i], name, kind, Changes(mode=mode))))

    @rule(place=PLACES, name=NAMES)
    def lookup(self, place: int, name: bytes) -> None:
        directory = self.directory(place)
        self.made(self.both(lambda fs, i: fs.lookup(self.caller, directory[i], name)))

    @rule(index=st.integers(0, 20), place=PLACES, name=NAMES)
    def link(self, index: int, place: int, name: bytes) -> None:
        node, directory = self.any_node(index), self.directory(place)
        self.both(lambda fs, i: fs.link(self.caller, node[i], directory[i], name))

    @rule(place=PLACES, name=NAMES)
    def remove(self, place: int, name: bytes) -> None:
        directory = self.directory(place)
        first, second = self.both(lambda fs, i: fs.remove(self.caller, directory[i], name))
        assert (first is None) == (second is None)

    @rule(place=PLACES, name=NAMES)
    def rmdir(self, place: int, name: bytes) -> None:
        directory = self.directory(place)
        self.both(lambda fs, i: fs.rmdir(self.caller, directory[i], name))

    @rule(place=PLACES, name=NAMES, to_place=PLACES, to_name=NAMES)
    def rename(self, place: int, name: bytes, to_place: int, to_name: bytes) -> None:
        source, target = self.directory(place), self.directory(to_place)
        first, second = self.both(lambda fs, i: fs.rename(self.caller, source[i], name, target[i], to_name))
        assert (first is None) == (second is None)

    @rule(index=st.integers(0, 20), offset=OFFSETS, data=DATA)
    def write(self, index: int, offset: int, data: bytes) -> None:
        node = self.any_node(index)
        self.both(lambda fs, i: fs.write(self.caller, node[i], offset, data, Stability.UNSTABLE))

    @rule(index=st.integers(0, 20), offset=OFFSETS, count=st.sampled_from([0, 1, 4096, 70000]))
    def read(self, index: int, offset: int, count: int) -> None:
        node = self.any_node(index)
        first, second = self.both(lambda fs, i: fs.read(self.caller, node[i], offset, count))
        if not isinstance(first, int):
            assert (contents(first), first.eof) == (contents(second), second.eof)

    @rule(index=st.integers(0, 20), mode=MODES, size=SIZES, atime=TIMES, mtime=TIMES)
    def setattr(self, index: int, mode: Any, size: Any, atime: Any, mtime: Any) -> None:
        node, changes = self.any_node(index), Changes(mode=mode, size=size, atime_ns=atime, mtime_ns=mtime)
        first, second = self.both(lambda fs, i: fs.setattr(self.caller, node[i], changes))
        if not isinstance(first, int):
            for found in (first, second):
                assert atime in (None, found.st_atime_ns)
                assert mtime in (None, found.st_mtime_ns)

    @rule(index=st.integers(0, 20))
    def readlink(self, index: int) -> None:
        node = self.any_node(index)
        first, second = self.both(lambda fs, i: fs.readlink(self.caller, node[i]))
        assert first == second

    @staticmethod
    def _getattr(node: Both, fs: FileSystem, i: int) -> Attributes:
        return fs.getattr(node[i])

    @staticmethod
    def _readdir(node: Both, fs: FileSystem, i: int) -> Any:
        return fs.readdir(Caller(0, 0), node[i])

    @invariant()
    def everything_known_looks_the_same(self) -> None:
        for node in self.directories + self.files:
            first, second = self.both(partial(self._getattr, node))
            if not isinstance(first, int):
                assert visible(first) == visible(second)
                assert node[0].owner_access == node[1].owner_access
            if node[0].kind == stat.S_IFDIR:
                first, second = self.both(partial(self._readdir, node))
                if not isinstance(first, int):
                    assert [e.name for e in first.entries(0)] == [e.name for e in second.entries(0)]


class MappedTwins(Twins):
    """Several users do it, and give files away."""

    def layered(self, backend: FileSystem) -> FileSystem:
        return Mapped(backend, 1000, 1000)

    @rule(caller=st.sampled_from([Caller(0, 0), CALLER, Caller(1001, 1001, (77,)), Caller(1002, 1000)]))
    def becomes(self, caller: Caller) -> None:
        self.caller = caller

    @rule(index=st.integers(0, 20), uid=IDS, gid=IDS, mode=MODES)
    def chown(self, index: int, uid: int | None, gid: int | None, mode: int | None) -> None:
        node, changes = self.any_node(index), Changes(mode=mode, uid=uid, gid=gid)
        self.both(lambda fs, i: fs.setattr(self.caller, node[i], changes))

    @invariant()
    def owners_are_the_same(self) -> None:
        for node in self.directories + self.files:
            first, second = self.both(partial(self._getattr, node))
            if not isinstance(first, int):
                assert (first.st_uid, first.st_gid) == (second.st_uid, second.st_gid)
                assert node[0].ids == node[1].ids


TestTwins = Twins.TestCase
TestMappedTwins = MappedTwins.TestCase
TestTwins.settings = TestMappedTwins.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
