"""Several users over the wire: what the ids of an AUTH_SYS credential decide, and the statuses that say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import ACCESS3_ALL, ACCESS3_MODIFY, ACCESS3_READ, Createmode3, Nfsstat3, Proc
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.stack import MappedFor, build_stack
from tests.support.peer import Peer
from tests.support.served import Served

ANNA, BERT = 1001, 1002
SHARED = 77
OK, PERM, ACCES = Nfsstat3.NFS3_OK, Nfsstat3.NFS3ERR_PERM, Nfsstat3.NFS3ERR_ACCES


class Users:
    """A mapped volume that everybody may write, and a connection for each user."""

    def __init__(self, served: Served, volume: Path, durability: str) -> None:
        def stack() -> object:
            backend = LocalFileSystem(volume, meta=volume.parent / "meta", durability=durability)
            return build_stack(backend, identity=MappedFor(1000, 1000))

        served.attach(stack)
        self._served = served
        self.superuser = self.peer(0)
        self.root = self.superuser.mount(b"/t/v")
        self.superuser.setattr(self.root, t.Sattr3(mode=0o777))
        self.anna, self.bert = self.peer(ANNA), self.peer(BERT, SHARED)

    def peer(self, uid: int, *groups: int) -> Peer:
        return self._served.peer(uid=uid, gid=uid, gids=groups)


@pytest.fixture(params=["host", "stable"])
def users(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Users]:
    (tmp_path / "volume").mkdir()
    with Served() as served:
        yield Users(served, tmp_path / "volume", request.param)


def setattr_of(peer: Peer, handle: bytes, **changes: object) -> Nfsstat3:
    return peer.status(Proc.SETATTR, t.Setattr3Args(handle, t.Sattr3(**changes), None))  # type: ignore[arg-type]


def test_attributes_show_whose_a_file_is_to_everybody(users: Users) -> None:
    made = [peer.create(users.root, b"%d" % peer.uid) for peer in (users.superuser, users.anna, users.bert)]
    for peer in (users.superuser, users.anna, users.bert):
        shown = [(peer.getattr(handle).uid, peer.getattr(handle).gid) for handle in made]
        assert shown == [(0, 0), (ANNA, ANNA), (BERT, BERT)]


def test_access_is_the_callers_own(users: Users) -> None:
    handle = users.anna.create(users.root, b"f")
    users.superuser.setattr(handle, t.Sattr3(gid=SHARED))
    users.anna.setattr(handle, t.Sattr3(mode=0o640))

    def access(peer: Peer) -> int:
        granted: int = peer.ok(Proc.ACCESS, t.Access3Args(handle, ACCESS3_ALL)).access
        return granted & (ACCESS3_READ | ACCESS3_MODIFY)

    stranger = users.peer(BERT)
    assert access(users.superuser) == access(users.anna) == ACCESS3_READ | ACCESS3_MODIFY
    assert access(users.bert) == ACCESS3_READ, "a supplementary group counts"
    assert access(stranger) == 0


def test_what_takes_the_owner_is_perm_and_what_takes_a_bit_is_acces(users: Users) -> None:
    handle = users.anna.create(users.root, b"f", 0o644)
    assert setattr_of(users.bert, handle, mode=0o777) is PERM
    assert setattr_of(users.bert, handle, uid=BERT) is PERM
    assert setattr_of(users.bert, handle, mtime_ns=1) is PERM
    assert setattr_of(users.bert, handle, size=0) is ACCES
    assert setattr_of(users.anna, handle, uid=BERT) is PERM
    assert setattr_of(users.anna, handle, gid=SHARED) is PERM
    assert setattr_of(users.superuser, handle, uid=BERT, gid=BERT) is OK
    assert setattr_of(users.anna, handle, mode=0o600) is PERM
    assert users.bert.getattr(handle).uid == BERT


def test_a_sticky_directory_keeps_names_for_their_owners(users: Users) -> None:
    users.superuser.setattr(users.root, t.Sattr3(mode=0o1777))
    users.anna.create(users.root, b"annas")
    users.bert.create(users.root, b"berts")
    assert users.bert.remove(users.root, b"annas") is PERM
    renamed = t.Rename3Args(t.Diropargs3(users.root, b"berts"), t.Diropargs3(users.root, b"annas"))
    assert users.bert.status(Proc.RENAME, renamed) is PERM
    assert users.anna.remove(users.root, b"annas") is OK
    assert users.bert.status(Proc.RENAME, renamed) is OK


def test_a_private_directory_is_neither_searched_nor_listed_by_others(users: Users) -> None:
    private = users.anna.mkdir(users.root, b"private", 0o700)
    users.anna.create(private, b"f")
    assert users.anna.names(private) == [b".", b"..", b"f"]
    assert users.bert.status(Proc.LOOKUP, t.Diropargs3Args(t.Diropargs3(private, b"f"))) is ACCES
    assert users.bert.status(Proc.READDIR, t.Readdir3Args(private, 0, bytes(8), 4096)) is ACCES
    assert users.superuser.lookup(private, b"f")


def test_an_owner_goes_on_with_a_file_he_closed_and_others_do_not(users: Users) -> None:
    handle = users.anna.create(users.root, b"f", 0o666)
    users.bert.write(handle, 0, b"berts")
    users.anna.setattr(handle, t.Sattr3(mode=0))
    users.anna.write(handle, 0, b"annas")
    assert users.anna.read(handle, 0, 10).data == b"annas"
    assert users.bert.status(Proc.READ, t.Read3Args(handle, 0, 10)) is ACCES


def test_an_exclusive_create_is_its_makers(users: Users) -> None:
    how = (Createmode3.EXCLUSIVE, None, bytes(8))
    handle = users.anna.ok(Proc.CREATE, t.Create3Args(t.Diropargs3(users.root, b"x"), how)).obj
    assert users.bert.getattr(handle).uid == ANNA
    assert setattr_of(users.bert, handle, mode=0o666) is PERM
    assert setattr_of(users.anna, handle, mode=0o666) is OK


def test_what_one_user_was_answered_is_no_answer_to_another_of_the_same_xid(users: Users) -> None:
    users.superuser.setattr(users.root, t.Sattr3(mode=0o1777))
    users.anna.create(users.root, b"f")
    arguments = t.Diropargs3Args(t.Diropargs3(users.root, b"f"))
    assert users.bert.nfs(Proc.REMOVE, arguments, xid=4711)[0] is PERM
    assert users.anna.nfs(Proc.REMOVE, arguments, xid=4711)[0] is OK
    assert users.anna.nfs(Proc.REMOVE, arguments, xid=4711)[0] is OK, "the same call again"
