"""`python -m nfsd` killed between its work and the client's knowing of it: the next one answers as the first would."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import NFS_PROGRAM, NFS_V3, Createmode3, Ftype3, Nfsstat3, Proc
from nfsd.nfs3.restypes import unpack_result
from nfsd.rpc.replay import replay_key
from nfsd.server.replay_file import ReplayFile
from nfsd.xdr import Struct
from tests.support.command import Nfsd, give
from tests.support.peer import Peer

XID = 0x7E57


class Place:
    """A directory that is served, killed and served again on one port."""

    def __init__(self, home: Path, durability: str) -> None:
        self.home = home
        self.data = home / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.arguments = ["--listen", f"127.0.0.1:{self.port}", "--durability", durability, "--state-dir", home / "s"]

    def serve(self) -> Nfsd:
        nfsd = Nfsd(*self.arguments, self.data, home=self.home)
        assert nfsd.port == self.port, nfsd.stop()
        return nfsd


@pytest.fixture(params=["host", "stable"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    give(home)
    give(home / "data")
    yield Place(home, request.param)


def _calls(root: bytes, file: bytes, guard: t.Nfstime3) -> dict[str, tuple[Proc, Struct]]:
    new = t.Diropargs3(root, b"new")
    return {
        "guarded create": (Proc.CREATE, t.Create3Args(new, (Createmode3.GUARDED, t.Sattr3(mode=0o644), None))),
        "mkdir": (Proc.MKDIR, t.Mkdir3Args(new, t.Sattr3())),
        "symlink": (Proc.SYMLINK, t.Symlink3Args(new, t.Sattr3(), b"there")),
        "mknod": (Proc.MKNOD, t.Mknod3Args(new, (Ftype3.NF3FIFO, t.Sattr3(), None))),
        "remove": (Proc.REMOVE, t.Diropargs3Args(t.Diropargs3(root, b"file"))),
        "rmdir": (Proc.RMDIR, t.Diropargs3Args(t.Diropargs3(root, b"empty"))),
        "rename": (Proc.RENAME, t.Rename3Args(t.Diropargs3(root, b"file"), new)),
        "link": (Proc.LINK, t.Link3Args(file, new)),
        "guarded setattr": (Proc.SETATTR, t.Setattr3Args(file, t.Sattr3(mode=0o600), guard)),
    }


@pytest.mark.parametrize("what", list(_calls(b"", b"", t.Nfstime3(0, 0))))
def test_a_call_repeated_to_the_next_process_is_done_once_and_answered_alike(place: Place, what: str) -> None:
    with place.serve() as nfsd, Peer(("127.0.0.1", place.port)) as peer:
        root = peer.mount(b"/data")
        file = peer.create(root, b"file")
        peer.mkdir(root, b"empty")
        proc, arguments = _calls(root, file, peer.getattr(file).ctime)[what]
        first = peer.call(proc, bytes(arguments), xid=XID)
        assert unpack_result(proc, first)[0] is Nfsstat3.NFS3_OK
        nfsd.stop(signal.SIGKILL)
    there = sorted(os.listdir(place.data))
    with place.serve(), Peer(("127.0.0.1", place.port), xid=5000) as peer:
        assert peer.call(proc, bytes(arguments), xid=XID) == first
        again = peer.nfs(proc, arguments)[0]  # another transaction of the same content
        assert again is not Nfsstat3.NFS3_OK, "it can be done twice, so this test says nothing"
    assert sorted(os.listdir(place.data)) == there


@pytest.mark.parametrize("how", [Createmode3.EXCLUSIVE, Createmode3.GUARDED])
def test_a_create_that_was_cut_off_in_the_middle_is_answered_when_it_is_repeated(
    place: Place, how: Createmode3
) -> None:
    """As a SIGKILL leaves it between the two steps of an EXCLUSIVE create: the file is there, its verifier is not."""
    with place.serve(), Peer(("127.0.0.1", place.port)) as peer:
        root = peer.mount(b"/data")
        user = peer.uid
    exclusive = how is Createmode3.EXCLUSIVE
    new = t.Create3Args(
        t.Diropargs3(root, b"new"),
        (how, None if exclusive else t.Sattr3(mode=0o600), b"verifier" if exclusive else None),
    )
    arguments = bytes(new)
    journal = ReplayFile(place.home / "s" / f"replies-{place.port}")
    journal.intended(replay_key("127.0.0.1", user, XID, NFS_PROGRAM, NFS_V3, Proc.CREATE, arguments, 0, len(arguments)))
    journal.close()
    (place.data / "new").touch(0o600)
    give(place.data / "new")
    with place.serve(), Peer(("127.0.0.1", place.port), xid=5000) as peer:
        again = peer.call(Proc.CREATE, arguments, xid=XID)
        assert unpack_result(Proc.CREATE, again)[0] is Nfsstat3.NFS3_OK
        assert peer.call(Proc.CREATE, arguments, xid=XID) == again
        peer.setattr(peer.lookup(root, b"new"), t.Sattr3(mode=0o644))  # the client goes on so
        assert peer.nfs(Proc.CREATE, new)[0] is Nfsstat3.NFS3ERR_EXIST, "another call is another matter"
    assert os.listdir(place.data) == ["new"]
