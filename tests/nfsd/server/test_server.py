"""The server's life: start, restart, drain, and what an operator reads when it cannot start."""

import asyncio
import gc
import os
import socket
import struct
from pathlib import Path

import pytest

from nfsd.exports import ExportTable
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Proc
from nfsd.nfs3.restypes import unpack_result
from nfsd.server.listen import ListenError, bind
from nfsd.server.server import NfsServer
from tests.support.gate import Gate
from tests.support.peer import Peer
from tests.support.served import SECRET, Served, local


def test_a_handle_outlives_the_server(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"content")
    with Served() as served:
        served.attach(lambda: local(tmp_path))
        peer = served.peer()
        handle = peer.walk(peer.mount(b"/t/v"), b"deep/file")
        address = served.address
    with Served(listen=[address]) as served:
        served.attach(lambda: local(tmp_path))
        assert served.peer().read(handle, 0, 100).data == b"content"


def test_another_secret_makes_every_handle_stale(tmp_path: Path) -> None:
    with Served() as served:
        served.attach(lambda: local(tmp_path))
        root = served.peer().mount(b"/t/v")
    with Served(secret=SECRET[::-1]) as served:
        served.attach(lambda: local(tmp_path))
        assert served.peer().status(Proc.GETATTR, t.Object3Args(root)).name == "NFS3ERR_STALE"


def test_a_restarted_server_has_its_port_at_once(tmp_path: Path) -> None:
    with Served() as served:
        served.attach(lambda: local(tmp_path))
        address = served.address
        served.peer().mount(b"/t/v")
    with Served(listen=[address]) as served:
        assert served.peer().call(Proc.NULL) == b""


def test_it_listens_on_several_addresses(tmp_path: Path) -> None:
    with Served(listen=[("127.0.0.1", 0), ("127.0.0.2", 0)]) as served:
        assert [host for host, _ in served.server.addresses] == ["127.0.0.1", "127.0.0.2"]
        for address in served.server.addresses:
            with Peer(address) as peer:
                assert peer.call(Proc.NULL) == b""


async def test_a_taken_port_is_named_with_the_next_step_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = NfsServer(ExportTable(SECRET), listen=[("127.0.0.1", 0), ("127.0.0.1", port)])
        with pytest.raises(ListenError, match=rf"127.0.0.1:{port} is in use.*ss -ltnp 'sport = :{port}'"):
            await server.start()
        assert server.addresses == []
        await server.close()


def test_an_address_that_is_not_the_hosts_is_named() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.77:0 is no address of this host"):
        bind([("192.0.2.77", 0)])


def test_closing_answers_what_was_received_and_takes_no_more(tmp_path: Path) -> None:
    with Served() as served:
        export = served.attach(lambda: Gate(local(tmp_path)))
        gate = export.fs
        assert isinstance(gate, Gate)
        peer = served.peer()
        file = peer.create(peer.mount(b"/t/v"), b"file")
        served.do(lambda: gate.hold("commit"))
        xid = peer.send(Proc.COMMIT, bytes(t.Commit3Args(file, 0, 0)))

        while not served.do(lambda: gate.waiting("commit")):
            served.peer().call(Proc.NULL)

        async def close() -> None:
            closing = asyncio.create_task(served.server.close())
            await asyncio.sleep(0)
            assert not closing.done()
            gate.release("commit")
            await closing

        served.run(close)
        assert unpack_result(Proc.COMMIT, peer.reply(xid))[0].name == "NFS3_OK"
        with pytest.raises((EOFError, ConnectionError)):
            peer.receive_record()


def test_closing_does_not_wait_for_ever(tmp_path: Path) -> None:
    with Served() as served:
        export = served.attach(lambda: Gate(local(tmp_path)))
        gate = export.fs
        assert isinstance(gate, Gate)
        peer = served.peer()
        file = peer.create(peer.mount(b"/t/v"), b"file")
        served.do(lambda: gate.hold("commit"))
        peer.send(Proc.COMMIT, bytes(t.Commit3Args(file, 0, 0)))
        assert peer.getattr(file).size == 0
        served.run(lambda: served.server.close(drain_seconds=0.01))
        with pytest.raises((EOFError, ConnectionError)):
            peer.receive_record()
        served.do(lambda: gate.release("commit"))


def test_no_descriptor_is_left_after_a_thousand_connections_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    with Served() as served:
        served.attach(lambda: local(tmp_path))
        keeper = served.peer()
        big = keeper.lookup(keeper.mount(b"/t/v"), b"big")
        keeper.read(big, 0, 100)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(300):
            with Peer(served.address) as peer:
                match number % 3:
                    case 0:
                        peer.send(Proc.READ, bytes(t.Read3Args(big, 0, 1 << 20)))
                    case 1:
                        peer.socket.sendall(struct.pack(">I", 1 << 31 | 100) + b"half")
                    case _:
                        peer.socket.sendall(b"\xff" * 10)
        assert keeper.call(Proc.NULL) == b""
        while served.do(lambda: served.server.stats.connections) > 1:
            keeper.call(Proc.NULL)
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        assert served.server.stats.connections_accepted == 301


def test_when_it_is_full_the_next_one_is_refused_and_there_is_room_again(tmp_path: Path) -> None:
    with Served(connections_max=2) as served:
        first, second = served.peer(), served.peer()
        assert (first.call(Proc.NULL), second.call(Proc.NULL)) == (b"", b"")
        with pytest.raises((EOFError, ConnectionError)), Peer(served.address) as third:
            third.call(Proc.NULL)
        second.close()
        while served.do(lambda: served.server.stats.connections) > 1:
            first.call(Proc.NULL)
        assert served.peer().call(Proc.NULL) == b""
