"""The whole server behind its sockets, for the fuzzers: every procedure, on a real stack, in sequences.

The claims. At each call: one well-formed reply, with a status that docs/nfs-support.md lists for the procedure, and
nothing raised that the dispatcher does not expect. At the end of a sequence: every operation that was answered with
success has been counted by the audit layer and told to its sink, with its bytes, exactly once; the ledger says what is
really there, though it was counted meanwhile; and no descriptor is left.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from nfsd.exports import Export, ExportTable
from nfsd.mount3.program import MountProcedures
from nfsd.mount3.types import MOUNT_PROGRAM, MOUNT_V3
from nfsd.nfs3.const import NFS_PROGRAM, NFS_V3, Nfsstat3, Proc
from nfsd.nfs3.restypes import unpack_result
from nfsd.nfs3.status import ALLOWED
from nfsd.procedures.counts import ProcedureCounts
from nfsd.procedures.parts import FilePart
from nfsd.procedures.replayed import NOT_REPEATABLE, ReplayGuard
from nfsd.procedures.table import nfs3_handlers
from nfsd.rpc.auth import AUTH_SYS
from nfsd.rpc.message import encode_call
from nfsd.rpc.program import CallName, Dispatcher, Pending
from nfsd.vfs.audit import Audit
from nfsd.vfs.interface import FileSystem
from nfsd.vfs.ledger import Ledger, measure
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.records import Record, Span
from nfsd.vfs.recount import Recount
from nfsd.vfs.stack import MappedFor, SquashTo, build_stack
from tests.nfsd.fuzz.choices import Choices, next_call, next_mount
from tests.nfsd.fuzz.target import check_reply

QUOTA_BYTES, QUOTA_FILES = 1 << 20, 40
CALLS_MAX = 200  # of one sequence
EXPORT = b"/t/v"
Identity = SquashTo | MappedFor
IDENTITIES: tuple[Identity, ...] = (
    SquashTo(1000, 1000),
    SquashTo(0, 0),
    MappedFor(1000, 1000),
    SquashTo(1000, 1000, "deny"),
)
COUNTED = {
    Proc.ACCESS: "access", Proc.READLINK: "readlink", Proc.READ: "read", Proc.WRITE: "write", Proc.CREATE: "create",
    Proc.MKDIR: "mkdir", Proc.SYMLINK: "symlink", Proc.MKNOD: "mknod", Proc.REMOVE: "remove", Proc.RMDIR: "rmdir",
    Proc.RENAME: "rename", Proc.LINK: "link", Proc.COMMIT: "commit",
}  # fmt: skip
"""Procedures that are one operation of the file system, always: GETATTR of `.` and an empty SETATTR are others."""
RECORDED = tuple(name for name in COUNTED.values() if name not in ("access", "readlink", "commit"))


class _Host:
    host, port = "127.0.0.1", 700


class Rig:
    """A dispatcher with a stack behind it, and the handles that became known."""

    def __init__(self, backend: FileSystem, ledger: Ledger, identity: Identity) -> None:
        self.ledger = ledger
        self._operations: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        stack = build_stack(
            backend, identity=identity, read=["/**"], write=["/a/**", "/*"], ledger=ledger,
            sink=self._told,
        )  # fmt: skip
        assert isinstance(stack, Audit)
        self.stack = stack
        exports = ExportTable(bytes(32))
        export = Export(EXPORT, b"export-1", stack, 7)
        exports.attach(export)
        counts = ProcedureCounts()
        self._dispatcher = Dispatcher(_ours)
        self._dispatcher.add(NFS_PROGRAM, NFS_V3, nfs3_handlers(exports, counts))
        self._dispatcher.guard(NFS_PROGRAM, NFS_V3, NOT_REPEATABLE, ReplayGuard(counts, lambda: 0.0))
        self._dispatcher.add(MOUNT_PROGRAM, MOUNT_V3, MountProcedures(exports).handlers())
        root = exports.handle(export, stack.root)
        self.handles = [root, root[:-1] + bytes([root[-1] ^ 1]), b"", bytes(32), bytes(64)]
        self.succeeded: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        """Bytes that READ and WRITE said they moved."""
        self._xid = 0

    def _told(self, batch: Sequence[Record]) -> None:
        """The audit's sink: what it would have stored, added up."""
        for record in batch:
            if isinstance(record, Span):
                self._operations[record.operation] += record.operations
                self._bytes[record.operation] += record.bytes
            elif record.result == 0:
                self._operations[record.operation] += 1

    async def call(self, prog: int, proc: int, arguments: bytes, credential: bytes) -> None:
        """One call and the claims about its reply."""
        self._xid += 1
        header = encode_call(self._xid, prog, 3, proc, arguments, flavor=AUTH_SYS, credential=credential)
        record = bytearray(header)
        reply = self._dispatcher.call(_Host(), record, 0, len(record))
        if isinstance(reply, Pending):
            reply = await reply
        assert reply is not None, "a call that was never sent before was taken for a repetition"
        whole = reply if isinstance(reply, bytes) else b"".join(_sent(part) for part in reply)
        check_reply(whole, bytes(record))
        if whole[24:28] != bytes(4):  # accept_stat: the arguments did not decode
            return
        if prog == NFS_PROGRAM and proc != Proc.NULL:
            self._check_results(Proc(proc), whole[28:])

    def _check_results(self, proc: Proc, results: bytes) -> None:
        status, body = unpack_result(proc, results)
        if status is not Nfsstat3.NFS3_OK:
            assert status in ALLOWED[proc], f"{proc.name} answered {status.name}, which is not documented"
            assert status is not Nfsstat3.NFS3ERR_SERVERFAULT
            return
        if proc in COUNTED:
            self.succeeded[COUNTED[proc]] += 1
        if proc in (Proc.READ, Proc.WRITE):
            self.moved[COUNTED[proc]] += body.count  # type: ignore[attr-defined]  # of Read3Ok and Write3Ok
        found = [getattr(body, "obj", None), getattr(body, "object", None)]
        found += [getattr(entry, "name_handle", None) for entry in getattr(body, "entries", ())]
        self.handles += [handle for handle in found if isinstance(handle, bytes) and handle not in self.handles]

    def check_counts(self) -> None:
        """Every operation that was answered with success has been counted, and recorded, once."""
        errors: Counter[str] = Counter()
        for (operation, _code), count in self.stack.errors.items():
            errors[operation] += count
        counted = {name: self.stack.counts[name] - errors[name] for name in COUNTED.values()}
        assert counted == {name: self.succeeded[name] for name in COUNTED.values()}
        self.stack.flush()
        assert {name: self._operations[name] for name in RECORDED} == {name: self.succeeded[name] for name in RECORDED}
        assert self._bytes == self.moved
        assert (self.stack.bytes_read, self.stack.bytes_written) == (self.moved["read"], self.moved["write"])


def _ours(_peer: object, name: CallName, error: Exception) -> None:
    raise AssertionError(f"{name} failed on our side") from error


def _sent(part: Any) -> bytes:
    """What a part of a reply becomes on the wire; gives it back."""
    if isinstance(part, bytes):
        return part
    try:
        if isinstance(part, FilePart):
            return os.pread(part.fd, len(part), part.offset).ljust(len(part), b"\0")
        return bytes(part.data)
    finally:
        part.release()


class _Counted:
    """The volume is counted before the sequence, so that its ledger is sure, and during it: from a call on, a step of a
    few entries after each."""

    def __init__(self, ledger: Ledger, root: str, data: bytes) -> None:
        self._ledger, self._root = ledger, root
        self._first, self._entries = sum(data[:4]) % 32, sum(data[4:8]) % 4 + 1
        self._count: Recount | None = ledger.begin(root)
        self.end()
        self._count = None

    def after(self, call: int) -> None:
        if call == self._first:
            self._count = self._ledger.begin(self._root)
        elif self._count is not None and self._ledger.counting is not None:
            self._ledger.merge(self._count.take(self._entries))

    def end(self) -> None:
        while self._count is not None and self._ledger.counting is not None:
            self._ledger.merge(self._count.take(self._entries))


async def _sequence(rig: Rig, data: bytes, counted: _Counted | None = None) -> None:
    choose = Choices(data)
    for number in range(CALLS_MAX):
        if choose.over:
            break
        if counted is not None:
            counted.after(number)
        if choose.number(16) == 15:
            await rig.call(MOUNT_PROGRAM, *next_mount(choose, EXPORT))
        else:
            await rig.call(NFS_PROGRAM, *next_call(choose, rig.handles))
    rig.check_counts()


async def on_memory(data: bytes, identity: Identity = IDENTITIES[0]) -> None:
    """A sequence on the memory backend."""
    rig = Rig(MemoryFileSystem(), Ledger(QUOTA_BYTES), identity)
    await _sequence(rig, data)
    await rig.stack.close()


async def on_disk(data: bytes, root: str, durability: str = "host", identity: Identity = IDENTITIES[0]) -> None:
    """A sequence on an empty directory of the host, which is left as the sequence left it."""
    open_before = len(os.listdir("/proc/self/fd"))
    ledger = Ledger(QUOTA_BYTES, QUOTA_FILES)
    rig = Rig(LocalFileSystem(root, durability=durability), ledger, identity)
    counted = _Counted(ledger, root, data)
    await _sequence(rig, data, counted)
    counted.end()
    await rig.stack.close()
    assert (ledger.bytes_used, ledger.files_used) == measure(root)
    assert len(os.listdir("/proc/self/fd")) == open_before
