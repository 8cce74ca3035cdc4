"""What was answered is on the disk: the system calls of a real server, between one reply and the next.

The client sends one call at a time, so the flushes that the trace shows between two replies belong to the second. What
a flush is worth is the kernel's affair; that it was asked for, of the right file, before the answer left, is ours.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.nfs3 import types as t
from nfsd.nfs3.const import Createmode3, Ftype3, Proc, StableHow
from nfsd.xdr import Struct
from tests.support.command import Nfsd, give
from tests.support.peer import Peer

_FLUSH = re.compile(r"(?P<thread>\d+) +(?P<call>fsync|fdatasync)\(\d+<(?P<path>[^>]*)>(?P<done>\) += 0)?")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?:fsync|fdatasync) resumed>.*= 0")
_REPLY = re.compile(r"\d+ +(sendmsg|sendto|writev|write|send)\(\d+<(TCP|socket)[^>]*>")


class Traced:
    """A server under strace(1), its directory, and a client of it."""

    def __init__(self, home: Path, durability: str) -> None:
        self.data = home / "data"
        self.data.mkdir(parents=True)
        self._trace = home / "trace"
        give(home)
        give(self.data)
        strace = ["strace", "-D", "-f", "-yy", "-o", str(self._trace)]
        strace += ["-e", "trace=fsync,fdatasync,sync_file_range,sendmsg,sendto,write,writev"]
        self.nfsd = Nfsd(
            "--listen", "127.0.0.1:0", "--durability", durability, self.data, home=home, under=strace
        )  # fmt: skip
        self.peer = Peer(("127.0.0.1", self.nfsd.port))
        self.replies = 0

    def ok(self, proc: Proc, arguments: Struct) -> int:
        """A call that succeeds; the number of its reply."""
        self.peer.ok(proc, arguments)
        self.replies += 1
        return self.replies - 1

    def flushed(self) -> list[set[str]]:
        """For each reply, which paths below the data were flushed after the reply before it. Ends the server."""
        self.peer.close()
        assert self.nfsd.stop(signal.SIGTERM)[0] == 0
        found: list[set[Path]] = [set()]
        waiting: dict[str, str] = {}
        for line in self._trace.read_text("utf-8", "replace").splitlines():
            flush, resumed = _FLUSH.match(line), _RESUMED.match(line)
            if flush and flush["done"]:
                found[-1].add(Path(flush["path"]))
            elif flush:
                waiting[flush["thread"]] = flush["path"]
            elif resumed:
                found[-1].add(Path(waiting.pop(resumed["thread"])))
            elif _REPLY.match(line):
                found.append(set())
        return [
            {str(path.relative_to(self.data)) for path in paths if path.is_relative_to(self.data)} for paths in found
        ]


@pytest.fixture(params=["stable", "host"])
def traced(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Traced]:
    traced = Traced(tmp_path / "home", request.param)
    with traced.nfsd:
        yield traced


def test_every_answer_that_promises_durability_leaves_after_the_flush(
    traced: Traced, request: pytest.FixtureRequest
) -> None:
    peer = traced.peer
    root = peer.mount(b"/data")
    traced.replies = 1
    wanted: dict[int, tuple[str, set[str]]] = {0: ("MNT", set())}

    def call(proc: Proc, arguments: Struct, *flushed: str) -> None:
        number = traced.ok(proc, arguments)
        wanted[number] = (f"{proc.name} {arguments}", set(flushed))

    def handle(directory: bytes, name: bytes) -> bytes:
        found = peer.lookup(directory, name)
        wanted[traced.replies] = ("LOOKUP", set())
        traced.replies += 1
        return found

    def at(name: bytes, directory: bytes = root) -> t.Diropargs3:
        return t.Diropargs3(directory, name)

    def write(file: bytes, how: StableHow) -> Struct:
        return t.Write3Args(file, 0, 9, how, b"some data")

    call(Proc.CREATE, t.Create3Args(at(b"f"), (Createmode3.GUARDED, t.Sattr3(mode=0o644), None)), ".")
    file = handle(root, b"f")
    call(Proc.WRITE, write(file, StableHow.UNSTABLE))
    call(Proc.COMMIT, t.Commit3Args(file, 0, 0), "f")
    call(Proc.WRITE, write(file, StableHow.DATA_SYNC), "f")
    call(Proc.WRITE, write(file, StableHow.FILE_SYNC), "f")
    call(Proc.SETATTR, t.Setattr3Args(file, t.Sattr3(mode=0o600), None), "f")
    call(Proc.SETATTR, t.Setattr3Args(file, t.Sattr3(size=3), None), "f")
    call(Proc.MKDIR, t.Mkdir3Args(at(b"d"), t.Sattr3(mode=0o755)), ".")
    directory = handle(root, b"d")
    call(Proc.RENAME, t.Rename3Args(at(b"f"), at(b"g", directory)), ".", "d")
    call(Proc.LINK, t.Link3Args(file, at(b"h")), ".")
    call(Proc.SYMLINK, t.Symlink3Args(at(b"s"), t.Sattr3(), b"to"), ".")
    call(Proc.MKNOD, t.Mknod3Args(at(b"p"), (Ftype3.NF3FIFO, t.Sattr3(mode=0o600), None)), ".")
    call(Proc.CREATE, t.Create3Args(at(b"x"), (Createmode3.EXCLUSIVE, None, b"verifier")), ".")
    call(Proc.REMOVE, t.Diropargs3Args(at(b"h")), ".")
    call(Proc.REMOVE, t.Diropargs3Args(at(b"g", directory)), "d")
    call(Proc.RMDIR, t.Diropargs3Args(at(b"d")), ".")

    flushed = traced.flushed()
    assert len(flushed) == traced.replies + 1, "one send for each reply"
    for number, (what, names) in wanted.items():
        if "host" in request.node.name:
            assert flushed[number] == set(), f"{what}: nothing has to be flushed"
        else:
            assert names <= flushed[number], f"{what}: flushed {flushed[number]}, wanted {names}"
