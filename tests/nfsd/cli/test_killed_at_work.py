"""`python -m nfsd` killed in the middle of many calls, and started again: the account of the quota is exact, and a
listing of a very large directory goes on where it was.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Nfsstat3, Proc, StableHow
from nfsd.xdr import Struct
from tests.support.command import Nfsd, give
from tests.support.peer import Peer

QUOTA_BYTES = 1_000_000
CLIENTS = 4
CALLS = 120  # of each client, in turns, all sent before the first answer is read
ENTRIES = 100_000
NAMES = tuple(b"%d" % number for number in range(12))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    give(home)
    give(home / "data")
    yield home


def _serve(home: Path, *options: str) -> Nfsd:
    """On whatever port: what is kept is in the state directory."""
    return Nfsd("--listen", "127.0.0.1:0", "--state-dir", home / "s", *options, home / "data", home=home)


def net_bytes(directory: Path) -> int:
    """Lengths of files and of symlinks' targets; several names of one file count once."""
    sizes = {}
    for path in directory.iterdir():
        st = path.lstat()
        sizes[st.st_ino] = st.st_size
    return sum(sizes.values())


def _call(dice: random.Random, root: bytes, files: list[bytes]) -> tuple[Proc, Struct]:
    """Anything that takes from the account or gives back."""
    entry, other = t.Diropargs3(root, dice.choice(NAMES)), t.Diropargs3(root, dice.choice(NAMES))
    file, data = dice.choice(files), bytes(dice.randrange(1, 9000))
    sparse = dice.randrange(0, 200_000)
    return dice.choice([
        (Proc.WRITE, t.Write3Args(file, sparse, len(data), StableHow.UNSTABLE, data)),
        (Proc.WRITE, t.Write3Args(file, 0, len(data), StableHow.FILE_SYNC, data)),
        (Proc.SETATTR, t.Setattr3Args(file, t.Sattr3(size=sparse))),
        (Proc.CREATE, t.Create3Args(entry, (Createmode3.UNCHECKED, t.Sattr3(size=sparse // 8), None))),
        (Proc.SYMLINK, t.Symlink3Args(entry, t.Sattr3(), b"x" * (1 + sparse % 1000))),
        (Proc.LINK, t.Link3Args(file, entry)),
        (Proc.RENAME, t.Rename3Args(entry, other)),
        (Proc.REMOVE, t.Diropargs3Args(entry)),
    ])  # fmt: skip


def _account(peer: Peer, root: bytes) -> int:
    """What is used of the quota, as `df` shows it."""
    found = peer.ok(Proc.FSSTAT, t.Object3Args(root))
    assert found.tbytes == QUOTA_BYTES
    return int(found.tbytes - found.fbytes)


def test_the_quotas_account_is_exact_after_many_clients_and_after_a_kill(home: Path) -> None:
    dice = random.Random(11)
    data = home / "data"
    for kills in range(3):
        with _serve(home, "--quota", str(QUOTA_BYTES)) as nfsd:
            address = ("127.0.0.1", nfsd.port)
            peers = [Peer(address, xid=1_000_000 * (kills + 1) + 10_000 * number) for number in range(CLIENTS)]
            root = peers[0].mount(b"/data")
            assert _account(peers[0], root) == net_bytes(data)
            files = [peers[0].create(root, b"kept %d %d" % (kills, number)) for number in range(3)]
            sent = [(peer, peer.send(*_one(dice, root, files))) for _ in range(CALLS) for peer in peers]
            for peer, xid in sent:
                peer.reply(xid)
            assert _account(peers[0], root) == net_bytes(data)
            for peer in peers:  # and once more, without waiting for any answer
                for _ in range(CALLS):
                    peer.send(*_one(dice, root, files))
            nfsd.stop(signal.SIGKILL)
            for peer in peers:
                peer.close()
    with _serve(home, "--quota", str(QUOTA_BYTES)) as nfsd, Peer(("127.0.0.1", nfsd.port)) as peer:
        root = peer.mount(b"/data")
        used = net_bytes(data)
        assert _account(peer, root) == used
        left = QUOTA_BYTES - used
        last = peer.create(root, b"last")
        too_much = t.Setattr3Args(last, t.Sattr3(size=left + 1))
        assert peer.status(Proc.SETATTR, too_much) is Nfsstat3.NFS3ERR_NOSPC
        peer.setattr(last, t.Sattr3(size=left))
        assert peer.status(Proc.WRITE, t.Write3Args(last, left, 1, StableHow.UNSTABLE, b"x")) is Nfsstat3.NFS3ERR_NOSPC
        assert _account(peer, root) == net_bytes(data) == QUOTA_BYTES


def _one(dice: random.Random, root: bytes, files: list[bytes]) -> tuple[Proc, bytes]:
    proc, arguments = _call(dice, root, files)
    return proc, bytes(arguments)


def test_a_listing_of_100000_names_goes_on_over_a_kill_while_names_come_and_go(home: Path) -> None:
    directory = home / "data" / "large"
    directory.mkdir()
    for number in range(ENTRIES):
        os.close(os.open(directory / f"{number:06}", os.O_CREAT | os.O_WRONLY))
    give(directory)
    seen: list[bytes] = []
    cookie, verifier, eof, page = 0, bytes(8), False, 0
    nfsd = _serve(home)
    with nfsd:
        peer = Peer(("127.0.0.1", nfsd.port))
        large = peer.lookup(peer.mount(b"/data"), b"large")
        while not eof:
            listed = peer.ok(Proc.READDIR, t.Readdir3Args(large, cookie, verifier, 65536))
            seen += [entry.name for entry in listed.entries]
            cookie, verifier, eof = listed.entries[-1].cookie, listed.cookieverf, listed.eof
            page += 1
            assert peer.remove(large, b"%06d" % (page * 100 + 1)) is Nfsstat3.NFS3_OK
            peer.create(large, b"new %d" % page)
            if page == 10:
                peer.close()
                nfsd.stop(signal.SIGKILL)
                nfsd = _serve(home)
                peer = Peer(("127.0.0.1", nfsd.port), xid=50_000)
        peer.close()
    with nfsd:
        stayed = {b"%06d" % number for number in range(ENTRIES)} - {b"%06d" % (n * 100 + 1) for n in range(1, page + 1)}
        assert stayed <= set(seen), "what was there all the time is listed"
        assert len(seen) == len(set(seen)), "nothing is listed twice"
