"""Clients that move directories into each other and out from under one another, on connections of their own, each with
the handles it has had from the beginning.

What every call did is written down where it reaches the file system, in the order in which it did; a model of a tree
is led through the same calls in the same order and has to refuse the same ones, for the same reasons, find the same
files, and be the same tree at the end: on the disk, where nothing beside the volume may have changed.
"""

from __future__ import annotations

import errno
import os
import random
import stat
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Nfsstat3, Proc
from nfsd.vfs.interface import Attributes, Caller, Changes, CreateHow, FileSystem, Maybe, Misplaced, Node
from nfsd.vfs.layer import Layer
from nfsd.vfs.ledger import Ledger, measure
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.stack import SquashTo, build_stack
from tests.nfsd.server.test_escape import _state
from tests.support.peer import Peer
from tests.support.served import GID, UID, Served

CLIENTS, CALLS = 4, 250
DIRECTORIES = tuple(b"d%d" % number for number in range(6))
ANCHOR = b"anchor"  # in each of them, and never moved
TAKEN = b"taken"  # another, which only another file may replace
FILES = tuple(b"f%d" % number for number in range(5))  # names that come and go everywhere
Step = tuple[str, tuple[Any, ...], int]
"""An operation, what it was about (file numbers and names), and its errno, 0 for success."""


class Noting(Layer):
    """Writes down the changes and look-ups in the order in which they had their effect."""

    def __init__(self, inner: FileSystem, steps: list[Step]) -> None:
        super().__init__(inner)
        self._steps = steps

    def _noted(self, what: str, about: tuple[Any, ...], act: Any, *, finds: bool = False) -> Any:
        try:
            result = act()
        except Misplaced:
            raise  # nothing was done; the front end comes again
        except OSError as error:
            self._steps.append((what, about, error.errno or 0))
            raise
        self._steps.append((what, (*about, result[0].fileid) if finds else about, 0))
        return result

    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        about = (directory.fileid, name)
        return self._noted("lookup", about, lambda: self.inner.lookup(caller, directory, name), finds=True)  # type: ignore[no-any-return]

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        result = self._noted(
            "create", (directory.fileid, name), lambda: self.inner.create(caller, directory, name, how, changes)
        )
        found = self.inner.peek(directory, name)  # in the same turn: `result` may have to wait for a flush
        assert found is not None
        self._steps[-1] = ("create", (directory.fileid, name, found[0].fileid), 0)
        return result  # type: ignore[no-any-return]

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        return self._noted(  # type: ignore[no-any-return]
            "remove", (directory.fileid, name), lambda: self.inner.remove(caller, directory, name)
        )

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        return self._noted(  # type: ignore[no-any-return]
            "rmdir", (directory.fileid, name), lambda: self.inner.rmdir(caller, directory, name)
        )

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        return self._noted(  # type: ignore[no-any-return]
            "rename",
            (from_directory.fileid, from_name, to_directory.fileid, to_name),
            lambda: self.inner.rename(caller, from_directory, from_name, to_directory, to_name),
        )


class Model:
    """A tree of file numbers, and what POSIX says of changing it."""

    def __init__(self, root: Path) -> None:
        self.root = root.stat().st_ino
        self.directories: dict[int, dict[bytes, int]] = {self.root: {}}
        for above, _directories, _names in os.walk(root):
            here = self.directories.setdefault(os.stat(above).st_ino, {})
            for entry in os.scandir(above):
                here[os.fsencode(entry.name)] = entry.inode()
                if entry.is_dir(follow_symlinks=False):
                    self.directories[entry.inode()] = {}

    def below(self, ancestor: int, number: int) -> bool:
        """Whether it is that directory, or somewhere in it."""
        return ancestor == number or any(
            self.below(child, number) for child in self.directories[ancestor].values() if child in self.directories
        )

    def reached(self) -> Counter[int]:
        """How often each file number is found from the root."""
        found: Counter[int] = Counter()

        def walk(directory: int) -> None:
            for number in self.directories[directory].values():
                found[number] += 1
                if number in self.directories:
                    walk(number)

        walk(self.root)
        return found

    def do(self, what: str, about: tuple[Any, ...]) -> set[int]:
        """The errnos it may answer; {0}: it was done."""
        return getattr(self, f"do_{what}")(*about)  # type: ignore[no-any-return]

    def do_lookup(self, directory: int, name: bytes, found: int | None = None) -> set[int]:
        number = self.directories[directory].get(name)
        return {errno.ENOENT} if number is None else {0} if number == found else {-1}

    def do_create(self, directory: int, name: bytes, made: int | None = None) -> set[int]:
        if name in self.directories[directory]:
            return {errno.EEXIST}
        assert made is not None and made not in self.reached()
        self.directories[directory][name] = made
        return {0}

    def do_remove(self, directory: int, name: bytes) -> set[int]:
        number = self.directories[directory].get(name)
        if number is None:
            return {errno.ENOENT}
        if number in self.directories:
            return {errno.EISDIR}
        del self.directories[directory][name]
        return {0}

    def do_rmdir(self, directory: int, name: bytes) -> set[int]:
        number = self.directories[directory].get(name)
        if number is None:
            return {errno.ENOENT}
        return {errno.ENOTEMPTY} if number in self.directories else {errno.ENOTDIR}  # each has its anchor

    def do_rename(self, source: int, name: bytes, target: int, new_name: bytes) -> set[int]:
        number, replaced = self.directories[source].get(name), self.directories[target].get(new_name)
        if number is None:
            return {errno.ENOENT}
        if number == replaced:
            return {0}
        refused = set()
        if number in self.directories and self.below(number, target):
            refused.add(errno.EINVAL)
        if replaced is not None and replaced in self.directories:
            refused.add(errno.ENOTEMPTY)
            if number not in self.directories:
                refused.add(errno.EISDIR)
        elif replaced is not None and number in self.directories:
            refused.add(errno.ENOTDIR)
        if refused:
            return refused
        del self.directories[source][name]
        self.directories[target][new_name] = number
        return {0}


class Client:
    """One connection, and the handles of all directories from before anything moved."""

    def __init__(self, peer: Peer, seed: int) -> None:
        self.peer = peer
        self.random = random.Random(seed)
        self.root = peer.mount(b"/t/v")
        self.handles = [peer.lookup(self.root, name) for name in DIRECTORIES]
        self.anchors = [peer.lookup(handle, ANCHOR) for handle in self.handles]
        self.answers: Counter[tuple[str, Nfsstat3]] = Counter()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for _ in range(CALLS):
                self.random.choice((self.move, self.move, self.file, self.move_file, self.look, self.list))()
        except BaseException as error:
            self.failure = error

    def place(self) -> bytes:
        return self.random.choice((self.root, *self.handles))

    def told(self, what: str, proc: Proc, arguments: Any) -> Nfsstat3:
        status = self.peer.status(proc, arguments)
        self.answers[what, status] += 1
        return status

    def move(self) -> None:
        """A directory, from where it was a moment ago; sometimes into itself or below, onto a file or onto another."""
        number, other = self.random.sample(range(len(DIRECTORIES)), 2)
        above = self.peer.lookup(self.handles[number], b"..")
        target = self.random.choice([
            t.Diropargs3(self.place(), DIRECTORIES[number]),
            t.Diropargs3(self.place(), DIRECTORIES[number]),
            t.Diropargs3(self.place(), DIRECTORIES[number]),
            t.Diropargs3(self.handles[other], TAKEN),
            t.Diropargs3(self.peer.lookup(self.handles[other], b".."), DIRECTORIES[other]),
        ])  # fmt: skip
        self.told("rename", Proc.RENAME, t.Rename3Args(t.Diropargs3(above, DIRECTORIES[number]), target))

    def file(self) -> None:
        entry = t.Diropargs3(self.place(), self.random.choice(FILES))
        if self.random.random() < 0.6:
            self.told("create", Proc.CREATE, t.Create3Args(entry, (Createmode3.GUARDED, t.Sattr3(mode=0o600), None)))
        else:
            self.told("remove", Proc.REMOVE, t.Diropargs3Args(entry))

    def move_file(self) -> None:
        name = self.random.choice((*FILES, *FILES, *DIRECTORIES))
        source = t.Diropargs3(self.place(), self.random.choice(FILES))
        self.told("rename", Proc.RENAME, t.Rename3Args(source, t.Diropargs3(self.place(), name)))
        self.told("rmdir", Proc.RMDIR, t.Diropargs3Args(t.Diropargs3(self.place(), self.random.choice(DIRECTORIES))))

    def look(self) -> None:
        """Wherever it is: a handle leads to its directory, and its own name in it to its file."""
        number = self.random.randrange(len(DIRECTORIES))
        assert self.peer.lookup(self.handles[number], ANCHOR) == self.anchors[number]
        assert self.peer.getattr(self.handles[number]).type is t.Ftype3.NF3DIR
        assert self.peer.read(self.anchors[number], 0, 100).data == DIRECTORIES[number]

    def list(self) -> None:
        """In pieces of a few names: no name twice, and the one that never moved once."""
        names = self.peer.names(self.random.choice(self.handles), count=256)
        assert names.count(ANCHOR) == 1
        assert {b".", b".."} <= set(names)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """With directories and files of the same names beside it, so that a step out of it would find something."""
    for place in (tmp_path, tmp_path / "volume"):
        place.mkdir(exist_ok=True)
        for name in DIRECTORIES:
            directory = place / os.fsdecode(name)
            directory.mkdir()
            (directory / "anchor").write_bytes(name)
            (directory / "taken").touch()
    return tmp_path / "volume"


def outside(volume: Path) -> list[Any]:
    return [_state(volume.parent / os.fsdecode(name)) for name in DIRECTORIES] + [sorted(os.listdir(volume.parent))]


@pytest.mark.parametrize("durability", ["host", "stable"])
@pytest.mark.parametrize("seed", range(3))
def test_directories_moved_by_several_clients_are_moved_in_some_order(volume: Path, durability: str, seed: int) -> None:
    before, model, ledger = outside(volume), Model(volume), Ledger(1 << 30, 1000)
    steps: list[Step] = []
    with Served() as served:
        served.run(lambda: ledger.recount(volume))
        backend = served.do(lambda: LocalFileSystem(volume, durability=durability))
        served.attach(lambda: build_stack(Noting(backend, steps), identity=SquashTo(UID, GID), ledger=ledger))
        # As real clients' do, their xids begin apart: two equal calls of one address and xid are one call repeated.
        peers = [served.peer(xid=number << 20) for number in range(CLIENTS)]
        clients = [Client(peer, seed * 100 + number) for number, peer in enumerate(peers)]
        steps.clear()
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for client in clients:
            if client.failure is not None:
                raise client.failure
    told = sum((client.answers for client in clients), Counter())
    done: Counter[str] = Counter()
    for number, (what, about, code) in enumerate(steps):
        assert code in model.do(what, about), f"step {number} of {len(steps)}: {what}{about} answered {code}"
        done[what] += code == 0
    for what in ("rename", "create", "remove", "rmdir"):
        assert told[what, Nfsstat3.NFS3_OK] == done[what], f"{what}: the clients were told of others than were done"
    assert Model(volume).directories == model.directories
    found = model.reached()
    assert set(found.values()) == {1}, "a file lost or doubled"
    assert set(model.directories) - {model.root} <= set(found), "a directory that no path leads to"
    assert (ledger.bytes_used, ledger.files_used) == measure(volume)
    assert outside(volume) == before
    for status in (Nfsstat3.NFS3_OK, Nfsstat3.NFS3ERR_NOENT, Nfsstat3.NFS3ERR_INVAL, Nfsstat3.NFS3ERR_NOTEMPTY):
        assert told["rename", status], f"no rename answered {status.name}"


@pytest.mark.parametrize("durability", ["host", "stable"])
def test_of_two_directories_moved_into_each_other_at_once_one_stays(volume: Path, durability: str) -> None:
    """Both done would be a ring that no path leads to. Each round the two calls are under way at the same time."""
    before = outside(volume)
    with Served() as served:
        backend = served.do(lambda: LocalFileSystem(volume, durability=durability))
        served.attach(lambda: build_stack(backend, identity=SquashTo(UID, GID)))
        one, other, watcher = served.peer(), served.peer(), served.peer()
        root = one.mount(b"/t/v")
        a, b = one.lookup(root, b"d0"), one.lookup(root, b"d1")
        into_b = t.Rename3Args(t.Diropargs3(root, b"d0"), t.Diropargs3(b, b"d0"))
        into_a = t.Rename3Args(t.Diropargs3(root, b"d1"), t.Diropargs3(a, b"d1"))
        for number in range(50):
            pair = ((one, into_b), (other, into_a))
            sent = [
                (peer, peer.send(Proc.RENAME, bytes(arguments))) for peer, arguments in pair[:: 1 - 2 * (number % 2)]
            ]
            for handle, name in ((a, b"d0"), (b, b"d1")):
                assert watcher.read(watcher.lookup(handle, ANCHOR), 0, 10).data == name
            answers = [peer.reply(xid)[:4] for peer, xid in sent]
            assert sorted(answers) == [bytes(4), Nfsstat3.NFS3ERR_INVAL.to_bytes(4, "big")]
            inner, outer = (b"d0", b) if not (volume / "d0").exists() else (b"d1", a)
            back = t.Rename3Args(t.Diropargs3(outer, inner), t.Diropargs3(root, inner))
            assert watcher.status(Proc.RENAME, back) is Nfsstat3.NFS3_OK
    assert sorted(os.listdir(volume)) == sorted(map(os.fsdecode, DIRECTORIES))
    assert [stat.S_ISDIR((volume / os.fsdecode(name)).stat().st_mode) for name in DIRECTORIES] == [True] * 6
    assert outside(volume) == before


def test_the_model_finds_a_wrong_order(volume: Path) -> None:
    model = Model(volume)
    root, a, b = model.root, (volume / "d0").stat().st_ino, (volume / "d1").stat().st_ino
    assert model.do("rename", (root, b"d0", b, b"d0")) == {0}
    assert model.do("rename", (root, b"d1", a, b"d1")) == {errno.EINVAL}
    assert model.do("rename", (root, b"d2", b, b"d0")) == {errno.ENOTEMPTY}
    assert model.do("rename", (a, ANCHOR, root, b"d3")) == {errno.EISDIR, errno.ENOTEMPTY}
    assert model.do("rename", (b, b"d0", a, ANCHOR)) == {errno.EINVAL, errno.ENOTDIR}
    assert model.do("lookup", (root, b"d0")) == {errno.ENOENT}
    assert model.do("lookup", (b, b"d0", b)) == {-1}
