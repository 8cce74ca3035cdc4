"""Whatever a client asks of the whole server, it gets a well-formed answer, and nothing of ours breaks.

The arguments are any values of the right types, on handles that exist, do not exist any more, or never did. `Served`
fails the test when a handler raised what it should not have.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.nfs3.restypes import SIGNATURES, unpack_result
from nfsd.nfs3.types import Diropargs3, Sattr3
from nfsd.vfs.interface import FileSystem
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.stack import SquashTo, build_stack
from nfsd.xdr import Struct
from tests.nfsd.nfs3.strategies import structs
from tests.support.peer import Peer, Refused
from tests.support.served import Served

NAMES = (b"a", b"b", b"dir", b"link", b"fifo", b".", b"..", b"", b"x" * 256, b"\xff/", b"new")
GARBAGE_ARGS = (0, 0, 0, 4)


def _file_system(kind: str, root: Path) -> FileSystem:
    backend = MemoryFileSystem() if kind == "memory" else LocalFileSystem(str(root), durability=kind)
    # The quota keeps a write at the far end of a file from filling the disk of the machine that runs the tests.
    return build_stack(backend, identity=SquashTo(1000, 1000), ledger=Ledger(1 << 20), sink=lambda _records: None)


def _handles(peer: Peer, root: bytes) -> list[bytes]:
    """Some of every type, one stale, one forged, one that is none."""
    directory = peer.mkdir(root, b"dir")
    file, gone = peer.create(root, b"a"), peer.create(root, b"b")
    peer.write(file, 0, b"content")
    peer.remove(root, b"b")
    return [root, directory, file, gone, file[:-1] + bytes([file[-1] ^ 1]), b"", bytes(64)]


def _aimed(arguments: Any, draw: Callable[..., Any], known: list[bytes]) -> Any:
    """The same arguments, on handles and names that mean something most of the time, by a caller who may."""
    handles = some.sampled_from(known[:3]) | some.sampled_from(known)

    def aimed(name: str, value: Any) -> Any:
        if isinstance(value, Diropargs3):
            return Diropargs3(draw(handles), draw(some.sampled_from(NAMES) | some.just(value.name)))
        if isinstance(value, Sattr3):
            size = draw(some.sampled_from((None, 0, 5000, value.size)))
            return dataclasses.replace(value, uid=draw(some.sampled_from((None, 1000, value.uid))), gid=None, size=size)
        if isinstance(value, tuple):
            return tuple(aimed(name, part) for part in value)
        if name in ("object", "file", "dir"):
            return draw(handles)
        if name in ("offset", "cookie"):
            return draw(some.sampled_from((0, 3, value)))
        return value

    changes = {field.name: aimed(field.name, getattr(arguments, field.name)) for field in dataclasses.fields(arguments)}
    return dataclasses.replace(arguments, **changes)


@pytest.mark.parametrize("kind", ["memory", "host", "stable"])
def test_any_call_gets_a_well_formed_answer(tmp_path: Path, kind: str) -> None:
    with Served() as served:
        served.attach(lambda: _file_system(kind, tmp_path))
        peer = served.peer()
        known = _handles(peer, peer.mount(b"/t/v"))

        @settings(max_examples=300, suppress_health_check=list(HealthCheck))
        @given(some.data(), some.sampled_from(sorted(SIGNATURES)))
        def ask(data: some.DataObject, proc: Proc) -> None:
            arguments: Struct = _aimed(data.draw(structs(SIGNATURES[proc].arguments)), data.draw, known)
            try:
                status, _ = unpack_result(proc, peer.call(proc, bytes(arguments)))
            except Refused as refused:
                assert refused.words == GARBAGE_ARGS
            else:
                assert status is not Nfsstat3.NFS3ERR_SERVERFAULT

        ask()
        assert peer.getattr(known[0]).fsid == 7
    assert all(not name.startswith("x" * 256) for name in os.listdir(tmp_path))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(some.lists(some.binary(max_size=200), max_size=8))
def test_any_bytes_end_in_answers_or_a_closed_connection(pieces: list[bytes]) -> None:
    with Served() as served:
        peer = served.peer()
        try:
            for piece in pieces:
                peer.socket.sendall(piece)
            peer.socket.shutdown(1)
            while True:
                assert peer.receive_record()
        except (EOFError, OSError):
            pass
        assert served.peer().call(Proc.NULL) == b""
