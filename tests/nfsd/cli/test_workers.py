"""`python -m nfsd --workers 3`: three processes behind one port are one server to every client."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.limits import HANDOVER_CALLS_MIN
from nfsd.mount3.types import MOUNT_PROGRAM, MOUNT_V3, Exports, MountList, MountProc
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.xdr import Packer
from tests.support.command import Nfsd, give
from tests.support.peer import Peer

VOLUMES = ("a", "b", "c")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    give(home)
    for name in VOLUMES:
        (home / name).mkdir()
        give(home / name)
    return home


def _serve(home: Path, *more: str, workers: int = 3, port: int = 0) -> Nfsd:
    return Nfsd(
        "--listen", f"127.0.0.1:{port}", "--workers", str(workers), "--state-dir", home / "state", "--quota", "10Mi",
        *more, *(home / name for name in VOLUMES), home=home,
    )  # fmt: skip


@pytest.fixture(params=[1, 3])
def nfsd(home: Path, request: pytest.FixtureRequest) -> Iterator[Nfsd]:
    with _serve(home, workers=request.param) as nfsd:
        yield nfsd
        code, said = nfsd.stop()
        assert code == 0, said
        assert "ERROR" not in said
        assert "WARNING" not in said


@pytest.fixture
def peer(nfsd: Nfsd) -> Iterator[Peer]:
    with Peer(("127.0.0.1", nfsd.port)) as peer:
        yield peer


def _roots(peer: Peer) -> list[bytes]:
    return [peer.mount(f"/{name}".encode()) for name in VOLUMES]


def _workers(nfsd: Nfsd) -> list[int]:
    children = Path(f"/proc/{nfsd.process.pid}/task/{nfsd.process.pid}/children").read_text().split()
    return [int(child) for child in children]


def test_one_connection_works_in_every_volume(peer: Peer, home: Path) -> None:
    for name, root in zip(VOLUMES, _roots(peer), strict=True):
        data = name.encode() * 300_000
        peer.write(peer.create(root, b"file"), 0, data)
        assert (home / name / "file").read_bytes() == data
        assert peer.read(peer.lookup(root, b"file"), 0, len(data)).data == data


def test_handles_made_on_one_connection_are_good_on_every_other(peer: Peer, nfsd: Nfsd) -> None:
    handles = [peer.create(root, b"file") for root in _roots(peer)]
    for _ in range(4):
        with Peer(("127.0.0.1", nfsd.port)) as other:
            assert [other.getattr(handle).fileid for handle in handles] == [
                peer.getattr(handle).fileid for handle in handles
            ]


def test_a_connection_loses_no_call_when_it_moves_to_the_owner(peer: Peer) -> None:
    """Each volume in turn for longer than a move takes, as fast as they can be sent, cut anywhere by TCP."""
    files = [peer.create(root, b"file") for root in _roots(peer)]
    sent: list[tuple[int, int, bytes]] = []
    calls = bytearray()
    for turn in range(6):
        for number in range(2 * HANDOVER_CALLS_MIN):
            xid, data = 10_000 + len(sent), b"%8d" % len(sent)
            arguments = t.Write3Args(files[turn % 3], 8 * number, 8, 2, data)  # type: ignore[arg-type]
            record = peer.call_bytes(100003, 3, Proc.WRITE, bytes(arguments), xid)
            calls += (0x80000000 | len(record)).to_bytes(4, "big") + record
            sent.append((xid, turn, data))
    sender = threading.Thread(target=peer.socket.sendall, args=(calls,))
    sender.start()
    for xid, _turn, _data in sent:
        assert peer.reply(xid)[:4] == bytes(4)
    sender.join()
    for volume, file in enumerate(files):
        last = b"".join(data for _xid, turn, data in sent if turn == volume + 3)
        assert peer.read(file, 0, len(last)).data == last


def test_the_quota_is_exact_whoever_carries_the_calls(nfsd: Nfsd) -> None:
    peers = [Peer(("127.0.0.1", nfsd.port), uid=os.getuid()) for _ in range(4)]
    root = _roots(peers[0])[1]
    written = 0
    for number, peer in enumerate(peers):
        file = peer.create(root, b"file%d" % number)
        status, _ = peer.nfs(Proc.WRITE, t.Write3Args(file, 0, 1 << 20, 2, bytes(1 << 20)))  # type: ignore[arg-type]
        for offset in range(0, 4 << 20, 1 << 20):
            arguments = t.Write3Args(file, offset, 1 << 20, 2, bytes(1 << 20))  # type: ignore[arg-type]
            status, _ = peer.nfs(Proc.WRITE, arguments)
            written += status is Nfsstat3.NFS3_OK
            assert status in (Nfsstat3.NFS3_OK, Nfsstat3.NFS3ERR_NOSPC)
    assert 8 <= written <= 10
    for peer in peers:
        peer.close()


def test_rename_and_link_between_volumes_are_between_devices(peer: Peer, home: Path) -> None:
    one, other, _ = _roots(peer)
    file = peer.create(one, b"file")
    renamed = t.Rename3Args(t.Diropargs3(one, b"file"), t.Diropargs3(other, b"file"))
    assert peer.status(Proc.RENAME, renamed) is Nfsstat3.NFS3ERR_XDEV
    assert peer.status(Proc.LINK, t.Link3Args(file, t.Diropargs3(other, b"f"))) is Nfsstat3.NFS3ERR_XDEV
    assert os.listdir(home / "a") == ["file"]


def test_mount_speaks_of_all_volumes(peer: Peer) -> None:
    _roots(peer)
    exports = Exports.from_bytes(peer.call(MountProc.EXPORT, prog=MOUNT_PROGRAM, vers=MOUNT_V3))
    assert sorted(export.ex_dir for export in exports.exports) == [b"/a", b"/b", b"/c"]
    mounted = MountList.from_bytes(peer.call(MountProc.DUMP, prog=MOUNT_PROGRAM, vers=MOUNT_V3)).mounts
    assert sorted(mount.ml_directory for mount in mounted) == [b"/a", b"/b", b"/c"]
    path = Packer()
    path.opaque(b"/b")
    peer.call(MountProc.UMNT, bytes(path), prog=MOUNT_PROGRAM, vers=MOUNT_V3)
    mounted = MountList.from_bytes(peer.call(MountProc.DUMP, prog=MOUNT_PROGRAM, vers=MOUNT_V3)).mounts
    assert sorted(mount.ml_directory for mount in mounted) == [b"/a", b"/c"]


def test_handles_survive_another_number_of_workers(home: Path) -> None:
    with _serve(home, workers=3) as nfsd, Peer(("127.0.0.1", nfsd.port)) as peer:
        handles = [peer.create(root, b"file") for root in _roots(peer)]
        assert nfsd.stop()[0] == 0
    with _serve(home, workers=2) as nfsd, Peer(("127.0.0.1", nfsd.port)) as peer:
        assert all(peer.getattr(handle).size == 0 for handle in handles)


class _Persistent:
    """A client as the kernel's: what was not answered is sent again with its xid, on a new connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reconnected = 0
        self._peer: Peer | None = None

    def call(self, proc: Proc, arguments: bytes, xid: int) -> bytes:
        while True:
            try:
                if self._peer is None:
                    self._peer = Peer(("127.0.0.1", self.port))
                return self._peer.call(proc, arguments, xid=xid)
            except (OSError, EOFError):
                self.reconnected += 1
                if self._peer is not None:
                    self._peer.close()
                self._peer = None

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()


@pytest.mark.parametrize("durability", ["host", "stable"])
def test_a_worker_killed_under_load_does_nothing_twice_and_answers_everything(home: Path, durability: str) -> None:
    """GUARDED creates and removes: one that is done twice is answered EXIST or NOENT."""
    with socket.socket() as probe:  # answers are kept for a port that was named, and not for one the kernel chose
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with _serve(home, "--durability", durability, port=port) as nfsd:
        with Peer(("127.0.0.1", nfsd.port)) as peer:
            roots = _roots(peer)
        failures: list[str] = []
        enough = threading.Event()
        counts = [0, 0, 0]

        def load(volume: int) -> None:
            client, number = _Persistent(nfsd.port), 0
            while not enough.is_set() or number < 50:
                where = t.Diropargs3(roots[(volume + number) % 3], b"%d-%d" % (volume, number))
                create = bytes(t.Create3Args(where, (1, t.Sattr3(mode=0o644), None)))  # type: ignore[arg-type]
                remove = bytes(t.Diropargs3Args(where))
                for offset, (proc, arguments) in enumerate(((Proc.CREATE, create), (Proc.REMOVE, remove))):
                    xid = (volume + 1) * 1_000_000 + 2 * number + offset
                    status = int.from_bytes(client.call(proc, arguments, xid)[:4], "big")
                    if status:
                        failures.append(f"{proc.name} {where.name!r}: {Nfsstat3(status).name}")
                number += 1
                counts[volume] = number
            client.close()

        threads = [threading.Thread(target=load, args=(volume,)) for volume in range(3)]
        for thread in threads:
            thread.start()
        killed = 0
        for victim in (0, 1, 2, 1):
            at = min(counts)
            while min(counts) < at + 20:
                threads[0].join(0.01)
            os.kill(_workers(nfsd)[victim % len(_workers(nfsd))], signal.SIGKILL)
            killed += 1
        at = max(counts)
        while min(counts) < at + 20:
            threads[0].join(0.01)
        enough.set()
        for thread in threads:
            thread.join()
        code, said = nfsd.stop()
    assert failures == []
    assert [os.listdir(home / name) for name in VOLUMES] == [[], [], []]
    assert code == 0
    assert said.count("it is started again") == killed


def test_workers_end_with_their_supervisor(home: Path) -> None:
    with _serve(home) as nfsd:
        workers = _workers(nfsd)
        assert len(workers) == 3
        pidfds = [os.pidfd_open(worker) for worker in workers]
        nfsd.stop(signal.SIGKILL)
        with _serve(home, port=nfsd.port) as again, Peer(("127.0.0.1", again.port)) as peer:
            _roots(peer)  # the lock of the first was free: every worker of it had ended
        for pidfd in pidfds:
            assert select.select([pidfd], [], [], 20)[0], "a worker outlived its supervisor"
            os.close(pidfd)


def test_a_worker_that_cannot_serve_is_the_servers_error(home: Path) -> None:
    (home / "state" / "meta").mkdir(parents=True, mode=0o700)
    give(home / "state")
    with _serve(home, "--export", f"/gone={home / 'gone'}") as nfsd:
        code, said = nfsd.stop()
    assert code == 1
    assert "does not exist" in said
