"""The gateway: nfsd in the daemon's own event loop, and the volumes it serves. Implements `aegis.ports.Gateway`.

A volume's backend (one node table, one account of bytes) is opened with its first attachment or workspace and closed
after its last; every attachment has a stack of its own on it (audit > identity > policy > quota). The rules: no other
module of `aegis` imports nfsd, and nothing here reaches a backend except through `build_stack`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aegis.adapters.nfs.figures import GatewayFigures
from aegis.adapters.nfs.records import file_events
from aegis.adapters.nfs.storage import Storage
from aegis.adapters.nfs.workspace import VolumeFiles
from aegis.domain.events import Event
from aegis.domain.manifest import StorageClass
from aegis.domain.volume import Attachment, Volume
from aegis.errors import Conflict, WorldError
from aegis.ports import FileRules, VolumeUsage, Workspace
from nfsd.exports import Export, ExportTable
from nfsd.handles import derived_export_key
from nfsd.probe import ProbeError, probe
from nfsd.server.listen import ListenError
from nfsd.server.server import NfsServer
from nfsd.vfs.audit import Audit
from nfsd.vfs.interface import Caller, FileSystem
from nfsd.vfs.ledger import Ledger, measure
from nfsd.vfs.local import LocalFileSystem
from nfsd.vfs.memory import MemoryFileSystem
from nfsd.vfs.stack import MappedFor, SquashTo, build_stack

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
PROBE_EXPORT = b"/.probe/root"
"""An empty read-only file system in memory that the self-probe mounts: no tenant's name starts with a dot."""

OnEvents = Callable[[Sequence[Event]], None]


@dataclass
class _Attached:
    attachment: Attachment
    stack: FileSystem
    export_path: bytes


@dataclass
class _OpenVolume:
    """A volume in use. `users` counts attachments and workspaces; at 0 the backend is closed."""

    backend: LocalFileSystem
    ledger: Ledger | None
    users: int = 0
    attached: dict[str, _Attached] = field(default_factory=dict)

    async def close(self) -> None:
        await self.backend.close()
        if self.ledger is not None:  # last: what the backend had under way is in the account
            await self.ledger.close()


class NfsGateway:
    """One per daemon. `start` once; `close` detaches everything and drains."""

    def __init__(
        self,
        storage: Storage,
        *,
        listen: Sequence[tuple[str, int]],
        allowed: Sequence[str] = (),
        secret: bytes,
        on_events: OnEvents,
        drained: Callable[[], Awaitable[None]] | None = None,
        chown: str = "accept",
        replay_file: Path | None = None,
    ) -> None:
        """`listen`: numeric addresses and ports. `allowed`: addresses and networks beside the host's own.

        `secret` signs the file handles and must be the same after a restart. `on_events` takes what happened to files,
        at once, without blocking or failing; `drained` returns when it is stored, which a detach waits for.
        `replay_file`: where answers to calls that must not be done twice are kept for the daemon after this one.
        ValueError when `allowed` names no network.
        """
        self._storage = storage
        self._exports = ExportTable(secret)
        self._server = NfsServer(
            self._exports, listen=listen, allowed=allowed, list_exports=False, replay_file=replay_file
        )
        self._on_events = on_events
        self._drained = drained
        self._chown = chown
        self._open: dict[str, _OpenVolume] = {}
        self._opening: dict[str, asyncio.Lock] = {}  # until the volume is deleted: others may wait for a lock
        self._ticker: asyncio.Task[None] | None = None
        self._probe_export = Export(
            path=PROBE_EXPORT,
            key=derived_export_key(secret, PROBE_EXPORT),
            fs=build_stack(MemoryFileSystem(), identity=SquashTo(65534, 65534), read_only=True),
            fsid=secrets.randbits(64),
            read_only=True,
        )

    async def start(self) -> None:
        """Volumes can be mounted when this returns. WorldError names the address that cannot be had."""
        self._storage.prepare()
        try:
            await self._server.start()
        except ListenError as error:
            raise WorldError(
                f"The NFS gateway cannot listen: {error}",
                next_step="Or set another storage.nfs_listen_addr",
                retryable=False,
            ) from error
        self._exports.attach(self._probe_export)
        self._ticker = asyncio.create_task(self._tick(), name="nfs-gateway-tick")
        await self._storage.sweep()

    async def close(self) -> None:
        """Answer what was received, then detach everything. Safe to call twice."""
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
            self._ticker = None
        await self._server.close()
        for volume_id in list(self._open):
            opened = self._open.pop(volume_id)
            for attached in opened.attached.values():
                self._exports.detach(attached.export_path)
                _flush(attached.stack)
            await opened.close()

    @property
    def figures(self) -> GatewayFigures:
        """What was served since the start; to be read on the event loop."""
        return GatewayFigures(self._server.stats, len(self._exports) - 1)  # the probe's is nobody's

    @property
    def port(self) -> int:
        """Of NFS and MOUNT alike."""
        return self._server.addresses[0][1]

    # ---- volumes ----

    async def create_storage(self, volume: Volume) -> None:
        await self._storage.create(volume)

    async def delete_storage(self, volume: Volume) -> None:
        if volume.id in self._open:
            raise Conflict(f"volume {volume.id} is in use; detach it first")
        await self._storage.delete(volume)
        self._opening.pop(volume.id, None)

    async def attach(self, volume: Volume, attachment: Attachment, rules: FileRules) -> str:
        """Export it; returns the path to mount.

        That is the volume's own, `/<tenant_id>/<volume_id>`, for its first attachment; a further one at the same time
        (read-only, or of another user) has `+` and the start of its id appended: MOUNT tells apart by path alone.
        Safe to repeat, and before `start`: an attachment of an earlier daemon is there from the first call on.
        """
        opened = self._open.get(volume.id)
        if opened is not None and attachment.id in opened.attached:
            return opened.attached[attachment.id].export_path.decode()
        opened = await self._acquire(volume)
        try:
            stack = self._stack(opened, attachment, rules)
            _tell_time(stack, time.time())
            path = volume.export_path.encode()
            if any(attached.export_path == path for attached in opened.attached.values()):
                path += b"+" + attachment.id[:8].encode()
            self._exports.attach(
                Export(
                    path=path,
                    key=bytes.fromhex(attachment.export_key),
                    fs=stack,
                    fsid=volume.fsid,
                    read_only=rules.read_only,
                )
            )
        except BaseException:
            await self._release(volume)
            raise
        opened.attached[attachment.id] = _Attached(attachment, stack, path)
        return path.decode()

    async def detach(self, volume: Volume, attachment: Attachment) -> None:
        """Every handle given out for it is stale when this returns. One that is not attached is no error."""
        opened = self._open.get(volume.id)
        attached = opened.attached.pop(attachment.id, None) if opened is not None else None
        if attached is None:
            return
        self._exports.detach(attached.export_path)
        _flush(attached.stack)
        await self._release(volume)
        if self._drained is not None:
            await self._drained()

    def workspace(self, volume: Volume, attachment: Attachment | None = None) -> Workspace:
        """Its files by path; see the port. The attachment must be attached; without one the volume may be idle."""
        if attachment is None:
            return VolumeFiles(lambda: self._operators_view(volume), Caller(0, 0))
        opened = self._open.get(volume.id)
        attached = opened.attached.get(attachment.id) if opened is not None else None
        if attached is None:
            raise Conflict(f"attachment {attachment.id} of volume {volume.id} is not attached")
        stack = attached.stack
        return VolumeFiles(lambda: contextlib.nullcontext(stack), Caller(attachment.uid, attachment.gid))

    async def usage(self, volume: Volume) -> VolumeUsage:
        """What it holds, in net bytes: from the account where there is one, else counted."""
        opened = self._open.get(volume.id)
        size, files = await asyncio.to_thread(measure, str(self._storage.data(volume)))
        if opened is not None and opened.ledger is not None:
            size, _files = opened.ledger.shown  # exact also while files are being written, once it is counted
        return VolumeUsage(size, volume.size_limit_bytes, files)

    async def probe(self) -> None:
        """MOUNT, NULL and GETATTR over TCP, as a client; WorldError when that does not work."""
        host, port = self._server.addresses[0]
        try:
            await probe("127.0.0.1" if host == "0.0.0.0" else host, port, PROBE_EXPORT)  # noqa: S104 - a comparison
        except ProbeError as error:
            raise WorldError(f"the NFS gateway does not answer its own probe: {error}") from error

    # ---- inside ----

    def _stack(self, opened: _OpenVolume, attachment: Attachment, rules: FileRules) -> FileSystem:
        ids = (attachment.uid, attachment.gid)
        return build_stack(
            opened.backend,
            identity=MappedFor(*ids) if rules.identity == "mapped" else SquashTo(*ids, self._chown),
            read_only=rules.read_only,
            read=rules.read,
            write=rules.write,
            ledger=opened.ledger,
            sink=lambda batch: self._on_events(file_events(attachment, batch)),
        )

    async def _acquire(self, volume: Volume) -> _OpenVolume:
        """The open volume with one more user; opened when it is idle."""
        lock = self._opening.setdefault(volume.id, asyncio.Lock())
        async with lock:
            opened = self._open.get(volume.id)
            if opened is None:
                opened = await self._opened(volume, self._storage.data(volume))
                self._open[volume.id] = opened
            opened.users += 1
        return opened

    async def _opened(self, volume: Volume, data: Path) -> _OpenVolume:
        meta = self._storage.meta(volume)
        durability = "stable" if volume.storage_class is StorageClass.PERSISTENT else "host"
        try:
            backend = LocalFileSystem(str(data), meta=str(meta), durability=durability)
            ledger = None
            if volume.size_limit_bytes is not None:
                ledger = Ledger(volume.size_limit_bytes)
                await ledger.open(str(data), meta / "account")
        except OSError as error:
            raise WorldError(f"volume {volume.id}: {data}: {error.strerror}", retryable=False) from error
        return _OpenVolume(backend, ledger)

    async def _release(self, volume: Volume) -> None:
        async with self._opening[volume.id]:
            opened = self._open[volume.id]
            opened.users -= 1
            if not opened.users:
                del self._open[volume.id]
                await opened.close()

    @contextlib.asynccontextmanager
    async def _operators_view(self, volume: Volume) -> AsyncIterator[FileSystem]:
        """The volume's files as root of the volume, for one operation."""
        opened = await self._acquire(volume)
        try:
            yield build_stack(opened.backend, identity=SquashTo(0, 0), ledger=opened.ledger)
        finally:
            await self._release(volume)

    async def _tick(self) -> None:
        """Give the audit layers the time, so that a quiet file's span is told too."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.time()
            for opened in list(self._open.values()):
                for attached in list(opened.attached.values()):
                    _tell_time(attached.stack, now)


def _tell_time(stack: FileSystem, now: float) -> None:
    if isinstance(stack, Audit):
        stack.tick(now)


def _flush(stack: FileSystem) -> None:
    if isinstance(stack, Audit):
        stack.flush()
