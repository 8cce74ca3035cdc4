"""Nothing leads out of a volume: not a handle that was made up, not a name, and not a host that swaps directories for
symlinks while calls are under way.

The outside is a directory beside the volume with the same names in it, so that every wrong step would find something:
what it holds must neither be seen in a reply nor be changed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from nfsd.mount3.types import Mountstat3
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Nfsstat3, Proc, StableHow
from nfsd.nfs3.restypes import unpack_result
from nfsd.xdr import Struct
from tests.support.peer import Peer
from tests.support.served import Served, local

SECRET_TEXT = b"what is outside"
NAMES = ("file", "other", "sub")
ROUNDS = 150  # of all calls; a swap is a few microseconds, a call about a hundred


def _fill(directory: Path, content: bytes) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "sub").mkdir()
    for name in ("file", "other", "sub/file"):
        (directory / name).write_bytes(content)


def _state(directory: Path) -> list[tuple[str, int, int, int, int]]:
    """Everything a change would move, access times but for reading's own."""
    found = []
    for path in sorted([directory, *directory.rglob("*")]):
        st = path.lstat()
        found.append((str(path), st.st_ino, st.st_mode, st.st_mtime_ns, st.st_ctime_ns))
    return found


class Swapper:
    """The host: turns `inside` into a symlink to `outside` and back, as fast as it can."""

    def __init__(self, volume: Path, outside: Path) -> None:
        self._volume, self._outside = volume, outside
        self._stop = threading.Event()
        self.swaps = 0
        self._thread = threading.Thread(target=self._run, name="swapper")

    def __enter__(self) -> Swapper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        inside, aside, link = (str(self._volume / name) for name in ("inside", "aside", "link"))
        os.symlink(self._outside, link)
        while not self._stop.is_set():
            os.rename(inside, aside)
            os.rename(link, inside)
            os.rename(inside, link)
            os.rename(aside, inside)
            self.swaps += 1


def _calls(directory: bytes, file: bytes, number: int) -> list[tuple[Proc, Struct]]:
    """Every procedure, on the directory that is being swapped and on what is in it."""
    entry = t.Diropargs3(directory, b"file")
    new = t.Diropargs3(directory, b"new%d" % number)
    text = b"written"
    return [
        (Proc.GETATTR, t.Object3Args(directory)),
        (Proc.LOOKUP, t.Diropargs3Args(entry)),
        (Proc.LOOKUP, t.Diropargs3Args(t.Diropargs3(directory, b".."))),
        (Proc.ACCESS, t.Access3Args(file, 63)),
        (Proc.READ, t.Read3Args(file, 0, 4096)),
        (Proc.WRITE, t.Write3Args(file, 0, len(text), StableHow.FILE_SYNC, text)),
        (Proc.SETATTR, t.Setattr3Args(file, t.Sattr3(mode=0o600))),
        (Proc.SETATTR, t.Setattr3Args(directory, t.Sattr3(mode=0o700))),
        (Proc.CREATE, t.Create3Args(new, (Createmode3.GUARDED, t.Sattr3(mode=0o644), None))),
        (Proc.LINK, t.Link3Args(file, t.Diropargs3(directory, b"link%d" % number))),
        (Proc.RENAME, t.Rename3Args(new, t.Diropargs3(directory, b"moved%d" % number))),
        (Proc.REMOVE, t.Diropargs3Args(t.Diropargs3(directory, b"moved%d" % number))),
        (Proc.REMOVE, t.Diropargs3Args(t.Diropargs3(directory, b"link%d" % number))),
        (Proc.SYMLINK, t.Symlink3Args(new, t.Sattr3(), b"/")),
        (Proc.REMOVE, t.Diropargs3Args(new)),
        (Proc.MKDIR, t.Mkdir3Args(new, t.Sattr3(mode=0o755))),
        (Proc.RMDIR, t.Diropargs3Args(new)),
        (Proc.MKNOD, t.Mknod3Args(new, (Ftype3.NF3FIFO, t.Sattr3(mode=0o644), None))),
        (Proc.REMOVE, t.Diropargs3Args(new)),
        (Proc.READDIR, t.Readdir3Args(directory, 0, bytes(8), 8192)),
        (Proc.READDIRPLUS, t.Readdirplus3Args(directory, 0, bytes(8), 8192, 32768)),
        (Proc.COMMIT, t.Commit3Args(file, 0, 0)),
    ]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The volume, and the outside."""
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    volume.mkdir()
    _fill(outside, SECRET_TEXT)
    _fill(volume / "inside", b"what is inside!")
    return volume, outside


def test_a_host_that_swaps_a_directory_for_a_symlink_opens_no_way_out(places: tuple[Path, Path]) -> None:
    volume, outside = places
    before = _state(outside)
    numbers = {path.lstat().st_ino for path in [outside, *outside.rglob("*")]}
    statuses: set[Nfsstat3] = set()
    with Served() as served:
        served.attach(lambda: local(volume))
        peer = served.peer()
        root = peer.mount(b"/t/v")
        directory = peer.lookup(root, b"inside")
        file = peer.lookup(directory, b"file")
        with Swapper(volume, outside) as swapper:
            for number in range(ROUNDS):
                for proc, arguments in _calls(directory, file, number):
                    results = peer.call(proc, bytes(arguments))
                    assert SECRET_TEXT not in results, f"{proc.name} read a file outside"
                    status, body = unpack_result(proc, results)
                    statuses.add(status)
                    assert not numbers & set(_fileids(body)), f"{proc.name} showed a file outside"
                # By name, from the root: what is a symlink at that moment is a symlink and is not followed.
                found, body = peer.nfs(Proc.LOOKUP, t.Diropargs3Args(t.Diropargs3(root, b"inside")))
                assert not numbers & set(_fileids(body)), "LOOKUP followed a symlink"
                statuses.add(found)
        assert swapper.swaps > ROUNDS
    assert _state(outside) == before
    assert Nfsstat3.NFS3_OK in statuses and len(statuses) > 1, "the swaps came between, and calls went through"


def _fileids(value: object) -> Iterator[int]:
    """Every file number anywhere in a decoded result."""
    if isinstance(value, t.Fattr3):
        yield value.fileid
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _fileids(each)
    elif isinstance(value, Struct):
        if isinstance(fileid := getattr(value, "fileid", None), int):
            yield fileid
        for name in type(value).__slots__:
            yield from _fileids(getattr(value, name))


# ---- handles ----


@pytest.fixture
def served(places: tuple[Path, Path]) -> Iterator[Served]:
    volume, outside = places
    with Served() as served:
        served.attach(lambda: local(volume), b"/tenant/volume", b"export-1", 1)
        served.attach(lambda: local(outside), b"/other/volume", b"export-2", 2)
        served.attach(lambda: local(volume), b"/tenant/volume+again", b"export-3", 1)
        yield served


def _on_handle(handle: bytes, known: bytes) -> list[tuple[Proc, Struct]]:
    """Calls in which a bad handle stands in each place a handle can stand in."""
    numbers = count()
    both = [
        (Proc.RENAME, t.Rename3Args(t.Diropargs3(handle, b"file"), t.Diropargs3(known, b"stolen"))),
        (Proc.RENAME, t.Rename3Args(t.Diropargs3(known, b"file"), t.Diropargs3(handle, b"given"))),
        (Proc.LINK, t.Link3Args(handle, t.Diropargs3(known, b"stolen"))),
        (Proc.LINK, t.Link3Args(known, t.Diropargs3(handle, b"given"))),
    ]
    return [*_calls(handle, handle, next(numbers)), *both]


def _altered(handle: bytes) -> list[bytes]:
    """Each byte of it changed."""
    return [handle[:at] + bytes([handle[at] ^ 0x5A]) + handle[at + 1 :] for at in range(len(handle))]


def _statuses(peer: Peer, handle: bytes, known: bytes) -> set[Nfsstat3]:
    return {peer.nfs(proc, arguments)[0] for proc, arguments in _on_handle(handle, known)}


STALE, BAD = {Nfsstat3.NFS3ERR_STALE}, {Nfsstat3.NFS3ERR_BADHANDLE}


def test_every_altered_handle_is_stale_in_every_call(served: Served, places: tuple[Path, Path]) -> None:
    before = [_state(place) for place in places]
    peer = served.peer()
    root = peer.mount(b"/tenant/volume")
    directory = peer.lookup(root, b"inside")
    for altered in _altered(directory):
        assert _statuses(peer, altered, directory) == STALE
    for number in range(64):  # guesses: what stands for the file is counted up, the rest is kept
        guess = directory[:8] + (number + 2).to_bytes(8, "big") + directory[16:]
        assert _statuses(peer, guess, directory) == STALE
    assert [_state(place) for place in places] == before


@pytest.mark.parametrize("length", [1, 8, 31, 33, 64])
def test_a_handle_of_another_length_is_none_of_ours(served: Served, length: int) -> None:
    peer = served.peer()
    directory = peer.lookup(peer.mount(b"/tenant/volume"), b"inside")
    assert _statuses(peer, (directory * 2)[:length], directory) == BAD


def test_a_handle_of_one_attachment_means_nothing_in_another(served: Served) -> None:
    peer = served.peer()
    mine = peer.lookup(peer.mount(b"/tenant/volume"), b"inside")
    again = peer.lookup(peer.mount(b"/tenant/volume+again"), b"inside")
    theirs = peer.mount(b"/other/volume")
    assert mine[8:20] == again[8:20] and mine != again  # the same file, under two keys
    for transplanted in (again[:8] + mine[8:], theirs[:8] + mine[8:], mine[:20] + theirs[20:]):
        assert _statuses(peer, transplanted, mine) == STALE
    for one, other in ((mine, again), (mine, theirs), (theirs, mine)):  # real handles of two exports in one call
        rename = t.Rename3Args(t.Diropargs3(one, b"file"), t.Diropargs3(other, b"there"))
        assert peer.status(Proc.RENAME, rename) is Nfsstat3.NFS3ERR_XDEV
        assert peer.status(Proc.LINK, t.Link3Args(one, t.Diropargs3(other, b"there"))) is Nfsstat3.NFS3ERR_XDEV


def test_a_handle_of_a_server_with_another_secret_is_stale(served: Served, places: tuple[Path, Path]) -> None:
    with Served(secret=bytes(reversed(range(32)))) as foreign:
        foreign.attach(lambda: local(places[0]), b"/tenant/volume", b"export-1", 1)
        theirs = foreign.peer().mount(b"/tenant/volume")
    peer = served.peer()
    assert _statuses(peer, theirs, peer.mount(b"/tenant/volume")) == STALE


def test_after_detach_every_handle_is_stale_and_attached_again_they_stay_so(
    served: Served, places: tuple[Path, Path]
) -> None:
    peer = served.peer()
    directory = peer.lookup(peer.mount(b"/tenant/volume"), b"inside")
    other = peer.lookup(peer.mount(b"/tenant/volume+again"), b"inside")
    served.do(lambda: served.exports.detach(b"/tenant/volume"))
    assert _statuses(peer, directory, other) == STALE
    assert peer.mnt(b"/tenant/volume").fhs_status is Mountstat3.MNT3ERR_NOENT
    served.attach(lambda: local(places[0]), b"/tenant/volume", b"export-9", 1)
    assert _statuses(peer, directory, other) == STALE
    assert peer.getattr(peer.mount(b"/tenant/volume")).fsid == 1


# ---- names and mount paths ----


@pytest.mark.parametrize("name", [b"../outside", b"inside/../../outside", b"/etc", b"a\0b", b"", b"inside/file"])
def test_a_name_is_one_component_or_refused(served: Served, places: tuple[Path, Path], name: bytes) -> None:
    before = [_state(place) for place in places]
    peer = served.peer()
    root = peer.mount(b"/tenant/volume")
    entry, good = t.Diropargs3(root, name), t.Diropargs3(root, b"good")
    calls: list[tuple[Proc, Struct]] = [
        (Proc.LOOKUP, t.Diropargs3Args(entry)),
        (Proc.CREATE, t.Create3Args(entry, (Createmode3.UNCHECKED, t.Sattr3(), None))),
        (Proc.MKDIR, t.Mkdir3Args(entry, t.Sattr3())),
        (Proc.SYMLINK, t.Symlink3Args(entry, t.Sattr3(), b"x")),
        (Proc.MKNOD, t.Mknod3Args(entry, (Ftype3.NF3FIFO, t.Sattr3(), None))),
        (Proc.REMOVE, t.Diropargs3Args(entry)),
        (Proc.RMDIR, t.Diropargs3Args(entry)),
        (Proc.RENAME, t.Rename3Args(entry, good)),
        (Proc.RENAME, t.Rename3Args(t.Diropargs3(root, b"inside"), entry)),
        (Proc.LINK, t.Link3Args(peer.walk(root, b"inside/file"), entry)),
    ]
    assert {peer.status(proc, arguments) for proc, arguments in calls} == {Nfsstat3.NFS3ERR_ACCES}
    assert [_state(place) for place in places] == before


def test_the_parent_of_the_root_is_the_root(served: Served) -> None:
    peer = served.peer()
    root = peer.mount(b"/tenant/volume")
    assert peer.lookup(root, b"..") == root


@pytest.mark.parametrize(
    "path",
    [b"/tenant/volume/../volume", b"/tenant/volume/..", b"/tenant", b"/", b"", b"tenant",
     b"/tenant/volume/inside/../..",
     b"/other/../tenant/volume", b"/tenant/volume\0", b"/TENANT/volume", b"/tenant/volume+", b"/" + b"x" * 1023],
)  # fmt: skip
def test_a_mount_path_that_is_not_exported_does_not_exist(served: Served, path: bytes) -> None:
    status = served.peer().mnt(path).fhs_status
    assert status in (Mountstat3.MNT3ERR_NOENT, Mountstat3.MNT3ERR_ACCES, Mountstat3.MNT3ERR_NAMETOOLONG), status


def test_a_symlink_in_a_mount_path_is_not_followed(served: Served, places: tuple[Path, Path]) -> None:
    volume, outside = places
    os.symlink(outside, volume / "out")
    status = served.peer().mnt(b"/tenant/volume/out/sub").fhs_status
    assert status in (Mountstat3.MNT3ERR_NOENT, Mountstat3.MNT3ERR_NOTDIR, Mountstat3.MNT3ERR_ACCES)
    assert served.peer().mnt(b"/tenant/volume/out").fhs_status is Mountstat3.MNT3ERR_NOTDIR
