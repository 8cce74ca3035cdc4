"""A real `python -m nfsd`, and peers that mean it harm: an honest client goes on being answered, and memory is bounded.

The crowd comes from other loopback addresses than the honest client, as other hosts would; what it does is written down
one function an attack. The bounds of memory are the sums of docs/limits.md, with room for the allocator.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from nfsd.limits import CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, MIB, RECORD_FRAGMENTS_MAX, SEND_BUFFER_BYTES_MAX
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc
from tests.support.command import Nfsd, give
from tests.support.peer import LAST_FRAGMENT, Peer

FILE_BYTES = 1 << 20
CROWD = 1000
_XIDS = count(1_000_000, 1_000_000)


def resident_bytes(pid: int) -> int:
    """VmRSS (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


class Field:
    """The server, the honest client with its file, and sockets for the crowd, all closed at the end."""

    def __init__(self, nfsd: Nfsd, cleanup: ExitStack) -> None:
        self.nfsd = nfsd
        self.address = ("127.0.0.1", nfsd.port)
        self._cleanup = cleanup
        # Transaction ids of its own: the same CREATE under the same id is a retransmission, also from the next test.
        self.honest = cleanup.enter_context(Peer(self.address, xid=next(_XIDS)))
        self.root = self.honest.mount(b"/data")
        self.file = self.honest.lookup(self.root, b"file")
        self.quiet_bytes = resident_bytes(nfsd.process.pid)

    def join(self, number: int) -> socket.socket:
        """A hostile connection; hundreds of them come from one address."""
        enemy = socket.socket()
        self._cleanup.callback(enemy.close)
        enemy.settimeout(20)
        enemy.bind((f"127.0.0.{2 + number % 4}", 0))
        enemy.connect(self.address)
        return enemy

    def serves_others(self) -> None:
        """The honest client works, on the connection it has."""
        assert self.honest.getattr(self.file).size == FILE_BYTES
        made = self.honest.create(self.root, b"new")
        assert self.honest.write(made, 0, b"content").count == 7
        assert self.honest.remove(self.root, b"new") is Nfsstat3.NFS3_OK
        assert len(self.honest.read(self.file, 0, FILE_BYTES).data) == FILE_BYTES

    def grown_bytes(self) -> int:
        return resident_bytes(self.nfsd.process.pid) - self.quiet_bytes


@pytest.fixture(scope="module")
def nfsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nfsd]:
    home = tmp_path_factory.mktemp("crowd") / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "file").write_bytes(bytes(FILE_BYTES))
    give(home)
    give(home / "data")
    give(home / "data" / "file")
    with Nfsd("--listen", "127.0.0.1:0", home / "data", home=home) as nfsd:
        yield nfsd
        code, said = nfsd.stop()
        assert code == 0 and "Traceback" not in said, said[-2000:]


@pytest.fixture
def field(nfsd: Nfsd) -> Iterator[Field]:
    with ExitStack() as cleanup:
        yield Field(nfsd, cleanup)


def idle(_field: Field, _enemy: socket.socket) -> None:
    """Says nothing at all."""


def one_byte(_field: Field, enemy: socket.socket) -> None:
    """Begins a record's mark, and stops."""
    enemy.send(b"\x80")


def a_gigabyte_announced(_field: Field, enemy: socket.socket) -> None:
    """Promises a record of 1 GiB and sends the beginning of it."""
    enemy.send(struct.pack(">I", LAST_FRAGMENT | 1 << 30) + bytes(1000))


def half_a_write(_field: Field, enemy: socket.socket) -> None:
    """A record of an allowed size of which most never comes."""
    enemy.send(struct.pack(">I", LAST_FRAGMENT | 900_000) + bytes(1000))


def not_rpc(_field: Field, enemy: socket.socket) -> None:
    """Speaks HTTP."""
    enemy.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize(
    ("attack", "each_bytes"),
    [(idle, 96 << 10), (one_byte, 96 << 10), (a_gigabyte_announced, 96 << 10), (half_a_write, 96 << 10),
     (not_rpc, 96 << 10)],
)  # fmt: skip
def test_a_thousand_hostile_connections_leave_the_others_served(
    field: Field, attack: Callable[[Field, socket.socket], None], each_bytes: int
) -> None:
    assert CROWD < CONNECTIONS_MAX and CROWD / 4 < CONNECTIONS_PER_ADDRESS_MAX
    for number in range(CROWD):
        try:
            attack(field, field.join(number))
        except ConnectionError:
            pass  # it was thrown out while it spoke
        if number % 250 == 0:
            field.serves_others()
    field.serves_others()
    assert field.grown_bytes() < CROWD * each_bytes
    with Peer(field.address) as newcomer:
        assert newcomer.call(Proc.NULL) == b""


def test_one_address_cannot_take_every_place(field: Field) -> None:
    for _ in range(CONNECTIONS_PER_ADDRESS_MAX):
        field.join(0)
    closed = 0
    for _ in range(50):
        try:
            closed += field.join(0).recv(1) == b""
        except ConnectionError:  # the server may be so quick that it is connect(2) already that says so
            closed += 1
    assert closed == 50
    with Peer(field.address) as newcomer:
        assert newcomer.call(Proc.NULL) == b""


def test_endless_fragments_end_the_connection_that_sends_them(field: Field) -> None:
    enemy = field.join(0)
    with pytest.raises(ConnectionError):
        for _ in range(RECORD_FRAGMENTS_MAX):
            enemy.sendall(struct.pack(">I", 0) * 64)  # fragments of nothing, none of them the last
        while enemy.recv(1):
            pass
        raise ConnectionResetError  # closed in order: as good
    field.serves_others()


def test_replies_that_nobody_fetches_are_bounded(field: Field) -> None:
    """A peer that asks for a gigabyte and reads none of it is not read any more; files go out by sendfile, uncopied."""
    enemies = [field.join(number) for number in range(20)]
    read = bytes(t.Read3Args(field.file, 0, FILE_BYTES))
    for enemy in enemies:
        enemy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        enemy.setblocking(False)
        call = field.honest.call_bytes(100003, 3, Proc.READ, read, 1)
        record = struct.pack(">I", LAST_FRAGMENT | len(call)) + call
        try:
            for _ in range(1000):
                enemy.send(record)
        except BlockingIOError:
            pass  # TCP holds it back
    field.serves_others()
    assert field.grown_bytes() < len(enemies) * (SEND_BUFFER_BYTES_MAX + MIB)


def test_a_flood_of_creations_takes_turns_with_the_others(field: Field) -> None:
    """Pipelined without end, it is answered in its turns only."""
    enemy = Peer(field.address)
    arguments = [
        bytes(t.Mkdir3Args(t.Diropargs3(field.root, f"flood{number}".encode()), t.Sattr3(mode=0o755)))
        for number in range(2000)
    ]
    xids = [enemy.send(Proc.MKDIR, each) for each in arguments]
    field.serves_others()
    assert {enemy.reply(xid)[:4] for xid in xids} == {bytes(4)}
    for number in range(2000):
        enemy.send(Proc.RMDIR, bytes(t.Diropargs3Args(t.Diropargs3(field.root, f"flood{number}".encode()))))
    field.serves_others()
    enemy.close()
