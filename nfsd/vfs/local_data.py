"""The local backend's data: READ, WRITE, COMMIT.

A read first asks the kernel not to wait (RWF_NOWAIT, preadv2(2)); what is not in the page cache is read by the
pool. Large warm reads are handed out as a `FileRange`, to be sent from the page cache without passing through here.
Writes go into the page cache at once; what has to be durable waits for a flush it shares (flush.py).
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial

from nfsd.vfs.buffers import Buffers
from nfsd.vfs.failures import failure
from nfsd.vfs.interface import Attributes, Caller, FileRange, Later, Maybe, Node, ReadResult, Stability
from nfsd.vfs.local_attributes import LocalAttributes
from nfsd.vfs.local_base import OFFSET_MAX
from nfsd.vfs.nodes import OUR_OWN, LocalNode

FILE_RANGE_BYTES_MIN = 64 << 10
"""From here on sendfile is cheaper than a copy through user space (0.65-0.77 of the CPU time for 1 MiB)."""

_PROBE_STEP_BYTES = 128 << 10
"""The kernel's default readahead window: the page cache has holes between windows, seldom within one."""


def _read_fully(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill the buffer or reach the end of the file (in the pool)."""
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def _write_fully(fd: int, data: memoryview | bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(fd, rest, offset)
        rest = rest[count:]
        offset += count


class LocalData(LocalAttributes):
    """See `FileSystem`."""

    buffers: Buffers
    nowait = True
    """Whether the file system knows RWF_NOWAIT (tmpfs does not, and never has to wait for a disk)."""

    def read(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[ReadResult]:
        assert isinstance(node, LocalNode)
        fd = node.fd
        if fd < 0 or node.kind != stat.S_IFREG:
            fd = self.tree.file(node, writing=False)
        node.used = True
        if count >= FILE_RANGE_BYTES_MIN:
            st = self.tree.stat(node)
            count = max(0, min(count, st.st_size - offset))
            if count >= FILE_RANGE_BYTES_MIN and self._is_warm(fd, offset, count):
                return self._range(node, fd, st, offset, count)
        if offset > OFFSET_MAX - count:
            return ReadResult(b"", True, self.getattr(node))
        data: memoryview | bytes
        if self.nowait:
            buffer = bytearray(count)
            done = self._read_warm(fd, buffer, offset)
            if done < 0:
                return self._read_cold(node, fd, offset, count)
            data = memoryview(buffer)[:done]
        else:
            data = os.pread(fd, count, offset)
            done = len(data)
        attributes = self.getattr(node)
        end = offset + done
        if done < count and end < attributes.st_size:
            return self._read_cold(node, fd, offset, count)
        return ReadResult(data, end >= attributes.st_size, attributes)

    def _read_warm(self, fd: int, buffer: bytearray, offset: int) -> int:
        """How much of it is in the page cache; -1: nothing."""
        if self.nowait:
            try:
                return os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
            except BlockingIOError:
                return -1
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self.nowait = False
        return os.preadv(fd, [buffer], offset)

    def _is_warm(self, fd: int, offset: int, count: int) -> bool:
        """Ask for one byte of each readahead window, and the last: half a microsecond each."""
        byte = bytearray(1)
        for position in (*range(offset, offset + count, _PROBE_STEP_BYTES), offset + count - 1):
            if self._read_warm(fd, byte, position) < 0:
                return False
        return True

    def _range(self, node: LocalNode, fd: int, st: os.stat_result, offset: int, count: int) -> ReadResult:
        node.pins += 1
        release = partial(self.descriptors.unpin, node, fd)
        return ReadResult(FileRange(fd, offset, count, release), offset + count >= st.st_size, self.shown(node, st))

    def _read_cold(self, node: LocalNode, fd: int, offset: int, count: int) -> Later[ReadResult]:
        buffer = self.buffers.take(count)
        window = memoryview(buffer)[:count]
        release = partial(self.buffers.give, buffer)

        def done(length: int) -> ReadResult:
            try:
                attributes = self.getattr(node)
            except OSError:
                release()
                raise
            return ReadResult(window[:length], offset + length >= attributes.st_size, attributes, release)

        return self.pooled(node, _read_fully, fd, window, offset).then(done, lambda _error: release())

    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Maybe[Stability]:
        assert isinstance(node, LocalNode)
        fd = node.fd
        if fd < 0 or not node.writable:
            fd = self.tree.file(node, writing=True)
        node.used = True
        size = len(data)
        if offset > OFFSET_MAX - size:
            raise failure(errno.EFBIG)
        if node.kept is not None and size:
            self.drop_set_id(node, caller)
            node.kept_ctime = OUR_OWN
        parent = node.parent
        if parent is not None:
            parent.version += 1  # `LocalNode.touch`, without the call
        if os.pwrite(fd, data, offset) != size:
            _write_fully(fd, data, offset)  # a full disk, a file size limit, a signal: the next call says which
        if not self.stable:
            return Stability.FILE_SYNC
        if stability == Stability.UNSTABLE:
            return Stability.UNSTABLE
        flushed = self.flusher.flush(node, fd, metadata=stability == Stability.FILE_SYNC)
        return flushed.then(lambda _none: stability)

    def commit(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[None]:
        assert isinstance(node, LocalNode)
        if not self.stable:
            if node.kind != stat.S_IFREG or node.gone:
                raise self.tree.unfit(node, errno.EISDIR if node.kind == stat.S_IFDIR else errno.EINVAL)
            return None
        # The whole file: Linux can flush a range (sync_file_range) only without the metadata needed to find it again.
        return self.flusher.flush(node, self.tree.file(node, writing=False), metadata=False)

    @property
    def write_verifier(self) -> bytes:
        return self.verifier.value
