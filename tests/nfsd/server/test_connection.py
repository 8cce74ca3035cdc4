"""One connection: what it answers, what it waits for, what ends it, and that it ends alone."""

import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from nfsd.limits import CALLS_IN_FLIGHT_MAX, MIB, RECORD_BYTES_MAX, SEND_BUFFER_BYTES_MAX
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.nfs3.restypes import unpack_result
from nfsd.vfs.interface import Caller, FileRange, Maybe, Node, ReadResult
from nfsd.vfs.layer import Layer
from tests.support.gate import Gate
from tests.support.peer import LAST_FRAGMENT, Peer, Refused
from tests.support.served import Served, local


def _wait(served: Served, condition: object) -> None:
    """Let the server's loop turn until something is so."""
    turned = threading.Event()
    for _ in range(2000):
        if served.do(condition):  # type: ignore[arg-type]
            return
        turned.wait(0.002)
    raise AssertionError("it never became so")


@pytest.fixture
def gate(served: Served, tmp_path: Path) -> Gate:
    (tmp_path / "gated").mkdir()
    export = served.attach(lambda: Gate(local(tmp_path / "gated")), b"/gated", b"export-g")
    assert isinstance(export.fs, Gate)
    return export.fs


def test_pipelined_calls_are_answered_in_one_stream(served: Served) -> None:
    peer = served.peer()
    root = peer.mount(b"/t/v")
    xids = [peer.send(Proc.GETATTR, bytes(t.Object3Args(root))) for _ in range(1000)]
    assert len({peer.reply(xid) for xid in xids}) == 1


def test_a_call_cut_anywhere_is_one_call(served: Served) -> None:
    peer = served.peer()
    root = peer.mount(b"/t/v")
    record = peer.call_bytes(100003, 3, Proc.GETATTR, bytes(t.Object3Args(root)), 77)
    whole = struct.pack(">I", LAST_FRAGMENT | len(record)) + record
    for cut in range(1, len(whole), 7):
        peer.socket.sendall(whole[:cut])
        peer.socket.sendall(whole[cut:])
        assert peer.reply(77)
    fragments = struct.pack(">I", 20) + record[:20] + struct.pack(">I", LAST_FRAGMENT | len(record) - 20) + record[20:]
    peer.socket.sendall(fragments)
    assert peer.reply(77)


def test_a_call_that_waits_holds_up_no_other(served: Served, gate: Gate) -> None:
    peer = served.peer()
    root = peer.mount(b"/gated")
    file = peer.create(root, b"file")
    served.do(lambda: gate.hold("commit"))
    waiting = peer.send(Proc.COMMIT, bytes(t.Commit3Args(file, 0, 0)))
    assert peer.getattr(file).size == 0
    assert served.peer().mount(b"/gated") == root
    served.do(lambda: gate.release("commit"))
    assert unpack_result(Proc.COMMIT, peer.reply(waiting))[0] is Nfsstat3.NFS3_OK


def test_a_call_that_fails_after_waiting_has_its_status(served: Served, gate: Gate) -> None:
    peer = served.peer()
    file = peer.create(peer.mount(b"/gated"), b"file")
    served.do(lambda: gate.hold("commit"))
    waiting = peer.send(Proc.COMMIT, bytes(t.Commit3Args(file, 0, 0)))
    _wait(served, lambda: gate.waiting("commit"))
    served.do(lambda: gate.release("commit", OSError(28, "disk full")))
    status, body = unpack_result(Proc.COMMIT, peer.reply(waiting))
    assert status is Nfsstat3.NFS3ERR_NOSPC
    assert body.wcc == t.WccData(None, peer.getattr(file))  # type: ignore[attr-defined]


def test_a_connection_with_too_many_waiting_calls_is_not_read(served: Served, gate: Gate) -> None:
    peer = served.peer()
    file = peer.create(peer.mount(b"/gated"), b"file")
    served.do(lambda: gate.hold("commit"))
    count = CALLS_IN_FLIGHT_MAX + 50
    xids = [peer.send(Proc.COMMIT, bytes(t.Commit3Args(file, 0, 0))) for _ in range(count)]
    _wait(served, lambda: gate.waiting("commit") == CALLS_IN_FLIGHT_MAX)
    last = peer.send(Proc.GETATTR, bytes(t.Object3Args(file)))
    assert served.peer().call(Proc.NULL) == b""
    assert served.do(lambda: gate.calls["commit"]) == CALLS_IN_FLIGHT_MAX
    served.do(lambda: gate.release("commit"))
    for xid in xids:
        assert unpack_result(Proc.COMMIT, peer.reply(xid))[0] is Nfsstat3.NFS3_OK
    assert unpack_result(Proc.GETATTR, peer.reply(last))[0] is Nfsstat3.NFS3_OK


def test_a_peer_that_does_not_read_is_not_read_either_and_loses_nothing(served: Served, volume: Path) -> None:
    data = os.urandom(MIB)
    (volume / "big").write_bytes(data)
    peer = served.peer()
    big = peer.lookup(peer.mount(b"/t/v"), b"big")
    xids = [peer.send(Proc.READ, bytes(t.Read3Args(big, 0, MIB))) for _ in range(100)]
    bystander = served.peer()
    for _ in range(50):
        assert bystander.call(Proc.NULL) == b""
    held = served.do(lambda: max(connection.pending_bytes for connection in served.server._connections))
    assert 0 < held <= 2 * SEND_BUFFER_BYTES_MAX + MIB
    for xid in xids:
        assert peer.reply(xid)[-MIB:] == data


def test_a_file_that_shrinks_while_it_is_sent_is_padded_with_zeros(served: Served, volume: Path) -> None:
    (volume / "big").write_bytes(b"x" * MIB)
    peer = served.peer()
    big = peer.lookup(peer.mount(b"/t/v"), b"big")
    xids = [peer.send(Proc.READ, bytes(t.Read3Args(big, 0, MIB))) for _ in range(24)]
    served.peer().call(Proc.NULL)
    os.truncate(volume / "big", 1)
    for xid in xids:
        status, body = unpack_result(Proc.READ, peer.reply(xid))
        assert status is Nfsstat3.NFS3_OK
        assert set(body.data) <= {0, ord("x")}  # type: ignore[attr-defined]
    assert peer.getattr(big).size == 1


class Lending(Layer):
    """Counts the file ranges that were lent to the server and not given back."""

    lent = 0

    def read(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[ReadResult]:
        result = self.inner.read(caller, node, offset, count)
        assert isinstance(result, ReadResult)
        assert isinstance(result.data, FileRange)
        release = result.data.release
        self.lent += 1

        def give_back() -> None:
            self.lent -= 1
            release()

        return result._replace(data=result.data._replace(release=give_back))


def test_a_peer_that_leaves_with_replies_unsent_leaves_no_file_pinned(served: Served, tmp_path: Path) -> None:
    (tmp_path / "lending").mkdir()
    (tmp_path / "lending" / "big").write_bytes(bytes(MIB))
    export = served.attach(lambda: Lending(local(tmp_path / "lending")), b"/lending", b"export-l")
    lending = export.fs
    assert isinstance(lending, Lending)
    peer = served.peer()
    big = peer.lookup(peer.mount(b"/lending"), b"big")
    for _ in range(40):
        peer.send(Proc.READ, bytes(t.Read3Args(big, 0, MIB)))
    _wait(served, lambda: lending.lent > 1)
    peer.close()
    _wait(served, lambda: served.server.stats.connections == 0)
    assert lending.lent == 0


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack(">I", LAST_FRAGMENT | (RECORD_BYTES_MAX + 1)),
        struct.pack(">I", LAST_FRAGMENT | 4) + b"abcd",
        struct.pack(">I", LAST_FRAGMENT | 40) + bytes(4) + b"\0\0\0\1" + bytes(32),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 64,
    ],
)
def test_a_peer_that_breaks_the_protocol_loses_this_connection_only(served: Served, garbage: bytes) -> None:
    bystander = served.peer()
    peer = served.peer()
    peer.socket.sendall(garbage)
    with pytest.raises((EOFError, ConnectionResetError)):
        peer.receive_record()
    assert bystander.call(Proc.NULL) == b""
    assert served.server.stats.connections_broken == 1
    _wait(served, lambda: served.server.stats.connections == 1)


@pytest.mark.parametrize(
    ("prog", "vers", "proc", "words"),
    [
        (100003, 3, 22, (0, 0, 0, 3)),
        (100003, 4, 0, (0, 0, 0, 2, 3, 3)),
        (100005, 1, 0, (0, 0, 0, 2, 3, 3)),
        (100227, 3, 0, (0, 0, 0, 1)),
        (100000, 2, 0, (0, 0, 0, 1)),
    ],
)
def test_what_is_not_served_is_said_so(served: Served, prog: int, vers: int, proc: int, words: tuple[int, ...]) -> None:
    peer = served.peer()
    with pytest.raises(Refused) as refused:
        peer.call(proc, prog=prog, vers=vers)
    assert refused.value.words == words


def test_our_own_mistake_is_a_system_error_for_one_call(
    served: Served, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    peer = served.peer()
    root = peer.mount(b"/gated")

    def set_broken(error: Exception | None) -> None:
        gate.broken = error

    served.do(lambda: set_broken(ZeroDivisionError("planted")))
    with pytest.raises(Refused) as refused:
        peer.getattr(root)
    assert refused.value.words == (0, 0, 0, 5)
    served.do(lambda: set_broken(None))
    assert peer.getattr(root).nlink >= 2
    assert "ZeroDivisionError: planted" in caplog.text
    served.handler_errors_expected = 1


def test_a_peer_that_leaves_while_its_calls_wait_disturbs_nobody(served: Served, gate: Gate) -> None:
    peer = served.peer()
    root = peer.mount(b"/gated")
    served.do(lambda: gate.hold("mkdir"))
    peer.send(Proc.MKDIR, bytes(t.Mkdir3Args(t.Diropargs3(root, b"made"), t.Sattr3())))
    _wait(served, lambda: gate.waiting("mkdir"))
    peer.close()
    other = served.peer()
    served.do(lambda: gate.release("mkdir"))
    assert other.lookup(root, b"made")
    _wait(served, lambda: served.server.stats.connections == 1)


def test_a_half_closed_connection_gets_its_answers(served: Served, gate: Gate) -> None:
    peer = served.peer()
    file = peer.create(peer.mount(b"/gated"), b"file")
    served.do(lambda: gate.hold("commit"))
    xid = peer.send(Proc.COMMIT, bytes(t.Commit3Args(file, 0, 0)))
    peer.socket.shutdown(socket.SHUT_WR)
    _wait(served, lambda: gate.waiting("commit"))
    served.do(lambda: gate.release("commit"))
    assert unpack_result(Proc.COMMIT, peer.reply(xid))[0] is Nfsstat3.NFS3_OK
    with pytest.raises(EOFError):
        peer.receive_record()


def test_connections_that_stall_lose_their_place(served: Served) -> None:
    silent, partial, fine = served.peer(), served.peer(), served.peer()
    partial.call(Proc.NULL)
    partial.socket.sendall(b"\x80\0")
    fine.call(Proc.NULL)

    def overdue(seconds: float) -> dict[str, str | None]:
        server = served.server
        now = server._shared.loop.time()  # type: ignore[union-attr]
        return {str(c.peer.port): c.overdue(now + seconds) for c in server._connections}

    ports = {name: str(peer.socket.getsockname()[1]) for name, peer in (("s", silent), ("p", partial), ("f", fine))}
    _wait(served, lambda: len(served.server._connections) == 3 and set(overdue(1).values()) == {None})
    after_a_minute = served.do(lambda: overdue(62.5))
    assert "no call" in str(after_a_minute[ports["s"]])
    assert "not complete" in str(after_a_minute[ports["p"]])
    assert after_a_minute[ports["f"]] is None
    assert "nothing moved" in str(served.do(lambda: overdue(601))[ports["f"]])


def test_one_busy_connection_leaves_turns_to_the_others(served: Served) -> None:
    busy, other = served.peer(), served.peer()
    root = busy.mount(b"/t/v")
    record = busy.call_bytes(100003, 3, Proc.GETATTR, bytes(t.Object3Args(root)), 9)
    flood = (struct.pack(">I", LAST_FRAGMENT | len(record)) + record) * 200
    stop = threading.Event()

    def drain(peer: Peer) -> None:
        try:
            while not stop.is_set():
                peer.socket.recv(1 << 20)
        except OSError:
            pass

    def send(peer: Peer) -> None:
        try:
            while not stop.is_set():
                peer.socket.sendall(flood)
        except OSError:
            pass

    threads = [threading.Thread(target=drain, args=(busy,)), threading.Thread(target=send, args=(busy,))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert other.getattr(root).nlink >= 2
    finally:
        stop.set()
        busy.socket.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
