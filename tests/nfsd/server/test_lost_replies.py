"""Answers that get lost on the way: a client that repeats its calls sees each of them done once.

The client is the simplest there can be: one call at a time, and when the connection breaks, the same call again on a
new one. The way between is tests/support/lossy.py. What the client was told is compared with a model, at each step.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Nfsstat3, Proc
from nfsd.nfs3.restypes import unpack_result
from nfsd.xdr import Struct
from tests.support import lossy
from tests.support.peer import Peer
from tests.support.served import Served

STEPS = 600
NAMES = tuple(b"%d" % number for number in range(6))
OK, NOENT, EXIST = Nfsstat3.NFS3_OK, Nfsstat3.NFS3ERR_NOENT, Nfsstat3.NFS3ERR_EXIST
WRONG_KIND = {Proc.REMOVE: Nfsstat3.NFS3ERR_ISDIR, Proc.RMDIR: Nfsstat3.NFS3ERR_NOTDIR}
FILE = b"file"
MADE: dict[Proc, Callable[[t.Diropargs3], Struct]] = {
    Proc.CREATE: lambda entry: t.Create3Args(entry, (Createmode3.GUARDED, t.Sattr3(mode=0o644), None)),
    Proc.MKDIR: lambda entry: t.Mkdir3Args(entry, t.Sattr3(mode=0o755)),
    Proc.SYMLINK: lambda entry: t.Symlink3Args(entry, t.Sattr3(), b"to"),
    Proc.MKNOD: lambda entry: t.Mknod3Args(entry, (Ftype3.NF3FIFO, t.Sattr3(mode=0o600), None)),
}


class Client:
    """Repeats a call, with its xid, until it is answered."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._peer = Peer(self._address)
        self._xid = 1000
        self.repeated = 0
        self.root = self._peer.mount(b"/t/v")

    def call(self, proc: Proc, arguments: Struct) -> Nfsstat3:
        self._xid += 1
        while True:
            try:
                return unpack_result(proc, self._peer.call(proc, bytes(arguments), xid=self._xid))[0]
            except (EOFError, ConnectionError):
                self._peer.close()
                self._peer = Peer(self._address)
                self.repeated += 1
                assert self.repeated <= STEPS

    def lookup(self, name: bytes) -> bytes:
        return self._peer.lookup(self.root, name)

    def close(self) -> None:
        self._peer.close()


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    host, port = served.address
    command = [sys.executable, lossy.__file__, "127.0.0.1", "0", host, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as way:
        assert way.stdout is not None
        client = Client(int(way.stdout.readline().removeprefix("ready ")))
        yield client
        client.close()
        way.kill()


def test_every_call_that_must_not_be_done_twice_is_answered_as_if_nothing_was_lost(
    client: Client, volume: Path
) -> None:
    dice = random.Random(3)
    model: dict[bytes, Proc] = {}  # name: what made it
    assert client.call(Proc.CREATE, MADE[Proc.CREATE](t.Diropargs3(client.root, FILE))) is OK
    handle = client.lookup(FILE)
    for _ in range(STEPS):
        name, other = dice.choice(NAMES), dice.choice(NAMES)
        entry = t.Diropargs3(client.root, name)
        proc = dice.choice([*MADE, *MADE, Proc.LINK, Proc.REMOVE, Proc.RMDIR, Proc.RENAME])
        if proc in MADE:
            wanted = EXIST if name in model else OK
            model.setdefault(name, proc)
            found = client.call(proc, MADE[proc](entry))
        elif proc is Proc.LINK:
            wanted = EXIST if name in model else OK
            model.setdefault(name, proc)
            found = client.call(proc, t.Link3Args(handle, entry))
        elif proc is Proc.RENAME:
            found = client.call(proc, t.Rename3Args(entry, t.Diropargs3(client.root, b"new " + other)))
            wanted = OK if name in model else NOENT
            if found is OK:
                back = t.Rename3Args(t.Diropargs3(client.root, b"new " + other), entry)
                assert client.call(proc, back) is OK
        else:
            directory = model.get(name) is Proc.MKDIR
            wanted = NOENT
            if name in model:
                wanted = OK if directory == (proc is Proc.RMDIR) else WRONG_KIND[proc]
            if wanted is OK:
                del model[name]
            found = client.call(proc, t.Diropargs3Args(entry))
        assert found is wanted, f"{proc.name} {name!r}: {found.name}, wanted {wanted.name}; there are {model}"
    assert {path.name.encode() for path in volume.iterdir()} == {*model, FILE}
    assert client.repeated > len(lossy.PROCEDURES)
