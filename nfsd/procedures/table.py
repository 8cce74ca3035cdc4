"""The 22 rows of NFSv3 (RFC 1813 section 3.3), and what is the same for all of them.

A procedure is `(caller, buf, offset, end) -> results`, or a `Later` of them. It decodes its arguments, resolves its
handles, does its work, and lets errors pass: here they become its status, here a call waits, here it is counted.

The rules:
- No `OSError` and no `Nfs3Error` leaves this file; any other exception does: it is our own mistake and the
  dispatcher's business.
- A procedure resolves all its handles before it does anything. `Searching` and `Misplaced` therefore mean "nothing is
  done yet": the search is awaited and the procedure runs again, on a copy of its arguments.
- What comes back `Later` holds nothing of the receive buffer (the contract of `FileSystem.write`), so nobody has to
  keep that buffer for it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from nfsd.errors import Nfs3Error
from nfsd.exports import ExportTable, Searching
from nfsd.limits import SEARCHES_PER_CALL_MAX
from nfsd.nfs3.const import Nfsstat3, Proc
from nfsd.procedures.attributes import AttributeProcedures
from nfsd.procedures.counts import LATENCY_UNIT_NS, ProcedureCounts
from nfsd.procedures.data import DataProcedures
from nfsd.procedures.directory import DirectoryProcedures
from nfsd.procedures.failures import Failures, objects, status_of
from nfsd.procedures.info import InfoProcedures
from nfsd.procedures.lookup import LookupProcedures
from nfsd.procedures.namespace import NamespaceProcedures
from nfsd.procedures.replayed import Waiting
from nfsd.rpc.auth import Credentials
from nfsd.rpc.program import Body, Handler
from nfsd.vfs.interface import Caller, Later, Misplaced, Node
from nfsd.xdr import Buffer

Procedure: TypeAlias = Callable[[Caller, Buffer, int, int], Body | Later[Any]]

_LATENCY_SHIFT = LATENCY_UNIT_NS.bit_length() - 1


def nfs3_handlers(exports: ExportTable, counts: ProcedureCounts) -> dict[int, Handler]:
    """Procedure number to handler, for `rpc.program.Dispatcher.add(NFS_PROGRAM, NFS_V3, ...)`."""
    attributes = AttributeProcedures(exports)
    lookup = LookupProcedures(exports)
    data = DataProcedures(exports, counts)
    namespace = NamespaceProcedures(exports)
    directory = DirectoryProcedures(exports)
    info = InfoProcedures(exports)
    procedures: dict[Proc, Procedure] = {
        Proc.GETATTR: attributes.getattr,
        Proc.SETATTR: attributes.setattr,
        Proc.LOOKUP: lookup.lookup,
        Proc.ACCESS: attributes.access,
        Proc.READLINK: lookup.readlink,
        Proc.READ: data.read,
        Proc.WRITE: data.write,
        Proc.CREATE: namespace.create,
        Proc.MKDIR: namespace.mkdir,
        Proc.SYMLINK: namespace.symlink,
        Proc.MKNOD: namespace.mknod,
        Proc.REMOVE: namespace.remove,
        Proc.RMDIR: namespace.rmdir,
        Proc.RENAME: namespace.rename,
        Proc.LINK: namespace.link,
        Proc.READDIR: directory.readdir,
        Proc.READDIRPLUS: directory.readdirplus,
        Proc.FSSTAT: info.fsstat,
        Proc.FSINFO: info.fsinfo,
        Proc.PATHCONF: info.pathconf,
        Proc.COMMIT: data.commit,
    }
    failures = Failures(exports)
    handlers: dict[int, Handler] = {Proc.NULL: _null_handler(counts)}
    for proc, procedure in procedures.items():
        handlers[proc] = _handler(_Row(proc, procedure, exports, failures, counts))
    return handlers


@dataclass(frozen=True, slots=True)
class _Row:
    """One procedure and what its calls need besides their arguments."""

    proc: Proc
    procedure: Procedure
    exports: ExportTable
    failures: Failures
    counts: ProcedureCounts

    def failed(self, error: OSError | Nfs3Error, handles: tuple[bytes, ...], *, at_once: bool) -> bytes:
        status = status_of(self.proc, error)
        self.counts.count_failure(self.proc, status)
        return self.failures.encode(self.proc, status, handles, at_once=at_once)

    async def waited(self, began: int, later: Later[Body], handles: tuple[bytes, ...]) -> Body:
        """The results of a call whose work is under way."""
        try:
            return await later
        except (OSError, Nfs3Error) as error:
            return self.failed(error, handles, at_once=False)
        finally:
            self.count(began)

    async def searched(
        self, began: int, caller: Caller, arguments: bytes, search: Later[Node], waiting: Waiting
    ) -> Body:
        """The results of a call that has to wait for a handle's node first, then for its own work perhaps, which
        `waiting` is told of."""
        end = len(arguments)
        try:
            for _ in range(SEARCHES_PER_CALL_MAX):
                try:
                    await search
                    body = self.procedure(caller, arguments, 0, end)
                    if isinstance(body, Later):
                        waiting.effect()
                        results: Body = await body
                        return results
                    return body
                except Searching as again:
                    search = again.node
                except Misplaced as again:
                    search = self.search_again(again, arguments, 0, end)
            raise Nfs3Error(Nfsstat3.NFS3ERR_JUKEBOX, "its files move faster than they are found")
        except (OSError, Nfs3Error) as error:
            return self.failed(error, objects(self.proc, arguments, 0, end), at_once=False)
        finally:
            self.count(began)

    def search_again(self, error: Misplaced, buf: Buffer, offset: int, end: int) -> Later[Node]:
        """Look for a node that the host moved. Raises `error` when it was found at once, and moved all the same."""
        handle = objects(self.proc, buf, offset, end)[0]
        found = self.exports.search(handle, error.fileid, error.generation)
        if not isinstance(found, Later):
            raise error
        return found

    def count(self, began: int) -> None:
        latency = time.perf_counter_ns() - began
        self.counts.latency[self.proc][(latency >> _LATENCY_SHIFT).bit_length()] += 1


def _after_search(row: _Row, began: int, caller: Caller, arguments: bytes, search: Later[Node]) -> Waiting:
    waiting = Waiting()
    waiting.awaitable = row.searched(began, caller, arguments, search, waiting)
    return waiting


def _handler(row: _Row) -> Handler:
    procedure = row.procedure
    latency = row.counts.latency[row.proc]
    clock = time.perf_counter_ns
    # A client repeats its credentials on each call, and the dispatcher hands out one object for them.
    known: Credentials | None = None
    caller = Caller(0, 0)

    def handle(
        _peer: object, credentials: Credentials, buf: bytearray, offset: int, end: int
    ) -> Body | Awaitable[Body]:
        nonlocal known, caller
        began = clock()
        if credentials is not known:
            known, caller = credentials, Caller(credentials.uid, credentials.gid, credentials.gids)
        try:
            body = procedure(caller, buf, offset, end)
        except Searching as detour:
            return _after_search(row, began, caller, bytes(memoryview(buf)[offset:end]), detour.node)
        except (OSError, Nfs3Error) as error:
            if isinstance(error, Misplaced):
                try:
                    search = row.search_again(error, buf, offset, end)
                except (OSError, Nfs3Error):
                    pass
                else:
                    return _after_search(row, began, caller, bytes(memoryview(buf)[offset:end]), search)
            body = row.failed(error, objects(row.proc, buf, offset, end), at_once=True)
        if type(body) is Later:
            waiting = Waiting()
            waiting.awaitable = row.waited(began, body, objects(row.proc, buf, offset, end))
            waiting.executed = True
            return waiting
        latency[((clock() - began) >> _LATENCY_SHIFT).bit_length()] += 1
        return body

    return handle


def _null_handler(counts: ProcedureCounts) -> Handler:
    """NULL (section 3.3.0): no arguments, no results, for anybody."""

    def null(_peer: object, _credentials: Credentials, _buf: bytearray, _offset: int, _end: int) -> bytes:
        counts.latency[Proc.NULL][0] += 1
        return b""

    return null
