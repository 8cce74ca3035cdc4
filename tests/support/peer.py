"""An NFS client for tests: a blocking socket, the plain codec of `nfs3.types`, and nothing of the server's hot path.

It says what a test tells it to say, also what no sane client would. Convenience methods demand NFS3_OK; `nfs` does not.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Self

from nfsd.mount3.types import MOUNT_PROGRAM, MOUNT_V3, MountProc, Mountres3, Mountstat3
from nfsd.nfs3 import restypes as r
from nfsd.nfs3 import types as t
from nfsd.nfs3.const import NFS_PROGRAM, NFS_V3, Createmode3, Nfsstat3, Proc, StableHow
from nfsd.xdr import Packer, Struct

OK = Nfsstat3.NFS3_OK
LAST_FRAGMENT = 0x80000000


class Refused(Exception):
    """An RPC-level refusal: `words` is the reply behind xid and msg_type."""

    def __init__(self, words: tuple[int, ...]) -> None:
        super().__init__(words)
        self.words = words


class Peer:
    """One connection. Calls may be sent without waiting (`send`) and their replies taken in any order (`reply`)."""

    def __init__(
        self, address: tuple[str, int], *, uid: int = 1000, gid: int = 1000, gids: tuple[int, ...] = (), xid: int = 1
    ) -> None:
        self.socket = socket.create_connection(address, timeout=20)
        # What is sent is on its way, not waiting for an acknowledgement (Nagle) that the server delays.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.uid, self.gid, self.gids = uid, gid, gids
        self.next_xid = xid
        self._replies: dict[int, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    # ---- records and RPC ----

    def call_bytes(self, prog: int, vers: int, proc: int, arguments: bytes, xid: int) -> bytes:
        """A call with AUTH_SYS credentials, without its mark."""
        credential = Packer()
        credential.uint32(0)
        credential.opaque(b"test")
        credential.uint32(self.uid)
        credential.uint32(self.gid)
        credential.array(credential.uint32, self.gids)
        packer = Packer()
        for word in (xid, 0, 2, prog, vers, proc, 1):
            packer.uint32(word)
        packer.opaque(bytes(credential))
        packer.uint32(0)
        packer.uint32(0)
        return bytes(packer) + arguments

    def send_record(self, record: bytes) -> None:
        self.socket.sendall(struct.pack(">I", LAST_FRAGMENT | len(record)) + record)

    def send(
        self, proc: int, arguments: bytes, *, prog: int = NFS_PROGRAM, vers: int = NFS_V3, xid: int | None = None
    ) -> int:
        """Send a call and return its xid."""
        if xid is None:
            xid, self.next_xid = self.next_xid, self.next_xid + 1
        self.send_record(self.call_bytes(prog, vers, proc, arguments, xid))
        return xid

    def receive_record(self) -> bytes:
        """The next record, whatever it is. EOFError: the server closed the connection."""
        out = b""
        while True:
            (mark,) = struct.unpack(">I", self._exactly(4))
            out += self._exactly(mark & ~LAST_FRAGMENT)
            if mark & LAST_FRAGMENT:
                return out

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def reply(self, xid: int) -> bytes:
        """The results of one call; replies to other calls are kept for when they are asked for."""
        while xid not in self._replies:
            record = self.receive_record()
            (got,) = struct.unpack_from(">I", record)
            self._replies[got] = record
        record = self._replies.pop(xid)
        words = struct.unpack_from(f">{len(record) // 4}I", record)
        if words[1:6] != (1, 0, 0, 0, 0):
            raise Refused(words[2:])
        return record[24:]

    def call(self, proc: int, arguments: bytes = b"", **how: Any) -> bytes:
        return self.reply(self.send(proc, arguments, **how))

    # ---- MOUNT ----

    def mount(self, path: bytes) -> bytes:
        """The handle of an export."""
        result = self.mnt(path)
        assert result.fhs_status is Mountstat3.MNT3_OK, result
        assert result.mountinfo is not None
        return result.mountinfo.fhandle

    def mnt(self, path: bytes) -> Mountres3:
        packer = Packer()
        packer.opaque(path)
        return Mountres3.from_bytes(self.call(MountProc.MNT, bytes(packer), prog=MOUNT_PROGRAM, vers=MOUNT_V3))

    # ---- NFS ----

    def nfs(self, proc: Proc, arguments: Struct, *, xid: int | None = None) -> tuple[Nfsstat3, Any]:
        return r.unpack_result(proc, self.call(proc, bytes(arguments), xid=xid))

    def status(self, proc: Proc, arguments: Struct) -> Nfsstat3:
        return self.nfs(proc, arguments)[0]

    def ok(self, proc: Proc, arguments: Struct) -> Any:
        status, body = self.nfs(proc, arguments)
        assert status is OK, f"{proc.name}: {status.name}"
        return body

    def getattr(self, handle: bytes) -> t.Fattr3:
        return self.ok(Proc.GETATTR, t.Object3Args(handle)).obj_attributes  # type: ignore[no-any-return]

    def setattr(self, handle: bytes, attributes: t.Sattr3, guard: t.Nfstime3 | None = None) -> t.WccData:
        return self.ok(Proc.SETATTR, t.Setattr3Args(handle, attributes, guard)).wcc  # type: ignore[no-any-return]

    def lookup(self, directory: bytes, name: bytes) -> bytes:
        return self.ok(Proc.LOOKUP, t.Diropargs3Args(t.Diropargs3(directory, name))).object  # type: ignore[no-any-return]

    def walk(self, directory: bytes, path: bytes) -> bytes:
        for name in path.split(b"/"):
            directory = self.lookup(directory, name)
        return directory

    def create(self, directory: bytes, name: bytes, mode: int = 0o644, how: Createmode3 = Createmode3.GUARDED) -> bytes:
        arguments = t.Create3Args(t.Diropargs3(directory, name), (how, t.Sattr3(mode=mode), None))
        handle = self.ok(Proc.CREATE, arguments).obj
        assert handle is not None
        return handle  # type: ignore[no-any-return]

    def mkdir(self, directory: bytes, name: bytes, mode: int = 0o755) -> bytes:
        arguments = t.Mkdir3Args(t.Diropargs3(directory, name), t.Sattr3(mode=mode))
        handle = self.ok(Proc.MKDIR, arguments).obj
        assert handle is not None
        return handle  # type: ignore[no-any-return]

    def read(self, handle: bytes, offset: int, count: int) -> r.Read3Ok:
        return self.ok(Proc.READ, t.Read3Args(handle, offset, count))  # type: ignore[no-any-return]

    def write(self, handle: bytes, offset: int, data: bytes, stable: StableHow = StableHow.FILE_SYNC) -> r.Write3Ok:
        return self.ok(Proc.WRITE, t.Write3Args(handle, offset, len(data), stable, data))  # type: ignore[no-any-return]

    def remove(self, directory: bytes, name: bytes) -> Nfsstat3:
        return self.status(Proc.REMOVE, t.Diropargs3Args(t.Diropargs3(directory, name)))

    def names(self, directory: bytes, count: int = 8192) -> list[bytes]:
        """A whole listing by READDIR, in its order."""
        names: list[bytes] = []
        cookie, verifier, eof = 0, bytes(8), False
        while not eof:
            page = self.ok(Proc.READDIR, t.Readdir3Args(directory, cookie, verifier, count))
            names += [entry.name for entry in page.entries]
            cookie = page.entries[-1].cookie if page.entries else cookie
            verifier, eof = page.cookieverf, page.eof
        return names
