"""The audit layer: every operation is counted, none is lost; what happened to files is told to a sink.

Operations that change names or attributes, and refusals, are single `Event`s; reads and writes of one file are
drawn together into a `Span`, closed when it is large, when it is old (`tick`), or at `flush` and `close`. Everything
else is a counter: a GETATTR costs one increment. What is recorded is recorded with the time it took, two looks at the
clock; how long calls take as clients see them is the server's to measure.

Memory is bounded by back-pressure: when the batch is full the sink is called at once, in the caller's turn; a sink
that raises makes the operation fail with EIO before it is done. So nothing is dropped and nothing goes unrecorded.
"""

from __future__ import annotations

import errno
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from time import perf_counter_ns as _clock
from typing import TypeVar

from nfsd.vfs.failures import failure
from nfsd.vfs.interface import (
    Attributes,
    Caller,
    Changes,
    CreateHow,
    FileRange,
    FileSystem,
    Later,
    Listing,
    Maybe,
    Misplaced,
    Node,
    ReadResult,
    Stability,
)
from nfsd.vfs.layer import OPERATIONS, Layer
from nfsd.vfs.records import Event, Record, Sink, Span

T = TypeVar("T")

BATCH_RECORDS_MAX = 256
"""Records given to the sink at once; up to this many, and the open spans, are lost when the process is killed."""

SPANS_OPEN_MAX = 1024
"""Files being read or written at a time; the longest untouched span is closed to make room."""

SPAN_BYTES_MAX = 64 << 20
"""A span that grew to this is closed, so that a file written for ever shows."""

SPAN_AGE_SECONDS_MAX = 10.0
"""Default for how old (in the unit of `tick`) an open span may get."""

_REFUSALS = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT))


class _OpenSpan:
    __slots__ = ("at", "bytes", "nanoseconds", "node", "offset_end", "offset_min", "operation", "operations", "path")

    def __init__(self, at: float, operation: str, node: Node, path: bytes, offset: int) -> None:
        self.at = at
        self.operation = operation
        self.node = node
        self.path = path
        self.operations = 0
        self.bytes = 0
        self.nanoseconds = 0
        self.offset_min = self.offset_end = offset

    def closed(self) -> Span:
        return Span(
            self.at,
            self.operation,
            self.node.fileid,
            self.path,
            self.operations,
            self.bytes,
            self.offset_min,
            self.offset_end,
            self.nanoseconds,
        )


class Audit(Layer):
    """Outermost layer. `counts` and `errors` are totals since the start."""

    def __init__(
        self,
        inner: FileSystem,
        sink: Sink,
        *,
        span_age_max: float = SPAN_AGE_SECONDS_MAX,
        span_bytes_max: int = SPAN_BYTES_MAX,
        batch_records_max: int = BATCH_RECORDS_MAX,
    ) -> None:
        super().__init__(inner)
        self._sink = sink
        self._span_age_max = span_age_max
        self._span_bytes_max = span_bytes_max
        self._batch_records_max = batch_records_max
        self._now = 0.0
        self._batch: list[Record] = []
        self._read_spans: OrderedDict[Node, _OpenSpan] = OrderedDict()
        self._write_spans: OrderedDict[Node, _OpenSpan] = OrderedDict()
        self._getattrs = self._lookups = self._accesses = self._reads = self._writes = 0
        self._others = dict.fromkeys(OPERATIONS, 0)  # a Counter takes six times as long to count
        self.errors: Counter[tuple[str, int]] = Counter()
        """How often an operation failed, by (operation, errno)."""
        self.bytes_read = 0
        self.bytes_written = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each operation was done, failures included."""
        hot = {
            "getattr": self._getattrs,
            "lookup": self._lookups,
            "access": self._accesses,
            "read": self._reads,
            "write": self._writes,
        }
        total = Counter({name: count for name, count in hot.items() if count})
        total.update({name: count for name, count in self._others.items() if count})
        for (operation, _code), count in self.errors.items():
            total[operation] += count
        return total

    # ---- telling the sink ----

    def tick(self, now: float) -> None:
        """The embedder's clock, called every second or so: closes old spans and gives the sink what there is. An
        exception of the sink comes through; nothing is lost by it."""
        self._now = now
        for spans in (self._read_spans, self._write_spans):
            for node, span in list(spans.items()):
                if now - span.at >= self._span_age_max:
                    self._batch.append(span.closed())
                    del spans[node]
        self._deliver()

    def flush(self) -> None:
        """Close all spans and give the sink everything: at detach."""
        for spans in (self._read_spans, self._write_spans):
            while spans:
                self._batch.append(spans.popitem(last=False)[1].closed())
        self._deliver()

    def _deliver(self) -> None:
        if self._batch:
            self._sink(tuple(self._batch))
            self._batch.clear()

    def _make_room(self) -> None:
        """Before anything is done that will have to be recorded."""
        if len(self._batch) >= self._batch_records_max:
            try:
                self._deliver()
            except Exception as error:  # the sink's, of whatever kind: the world is wrong, and the caller must hear it
                raise failure(errno.EIO) from error

    async def close(self) -> None:
        try:
            self.flush()
        finally:
            await super().close()

    # ---- counting ----

    def _failed(self, operation: str, error: BaseException, node: Node, name: bytes | None = None) -> None:
        if isinstance(error, Misplaced):
            return  # the front end searches and does it again
        code = getattr(error, "errno", None) or errno.EIO
        self.errors[operation, code] += 1
        if code in _REFUSALS:
            self._make_room()
            self._batch.append(Event(self._now, operation, node.fileid, self._path(node, name), None, code))

    def _path(self, node: Node, name: bytes | None = None) -> bytes:
        try:
            path = self.inner.path(node)
        except OSError:
            path = b"?"
        if name is None:
            return path
        return path + b"/" + name if path else name

    def _counted(self, operation: str, node: Node, name: bytes | None, act: Callable[[], T]) -> T:
        """An operation whose refusal is recorded and whose success is only counted."""
        self._make_room()
        try:
            result = act()
        except BaseException as error:
            self._failed(operation, error, node, name)
            raise
        self._others[operation] += 1
        return result

    def _recorded(
        self,
        operation: str,
        node: Node,
        name: bytes | None,
        to_path: bytes | None,
        act: Callable[..., Maybe[T]],
        *arguments: object,
    ) -> Maybe[T]:
        """`act(*arguments)`, an operation that is recorded when it has its result."""
        if len(self._batch) >= self._batch_records_max:
            self._make_room()
        path = self._path(node, name)
        began = _clock()
        try:
            result = act(*arguments)
        except BaseException as error:
            self._record(operation, node, path, to_path, error, began)
            raise
        if type(result) is Later:

            def done(value: T) -> T:
                self._record(operation, node, path, to_path, None, began)
                return value

            return result.then(done, lambda error: self._record(operation, node, path, to_path, error, began))
        self._others[operation] += 1
        self._batch.append(Event(self._now, operation, node.fileid, path, to_path, 0, _clock() - began))
        return result

    def _record(
        self, operation: str, node: Node, path: bytes, to_path: bytes | None, error: BaseException | None, began: int
    ) -> None:
        code = 0
        if error is None:
            self._others[operation] += 1
        elif isinstance(error, Misplaced):
            return
        else:
            code = getattr(error, "errno", None) or errno.EIO
            self.errors[operation, code] += 1
        self._batch.append(Event(self._now, operation, node.fileid, path, to_path, code, _clock() - began))

    # ---- reading ----

    def getattr(self, node: Node) -> Attributes:
        try:
            result = self.inner.getattr(node)
        except OSError as error:
            self._failed("getattr", error, node)
            raise
        self._getattrs += 1
        return result

    def lookup(self, caller: Caller, directory: Node, name: bytes) -> tuple[Node, Attributes]:
        try:
            result = self.inner.lookup(caller, directory, name)
        except OSError as error:
            self._failed("lookup", error, directory, name)
            raise
        self._lookups += 1
        return result

    def access(self, caller: Caller, node: Node) -> int:
        try:
            result = self.inner.access(caller, node)
        except OSError as error:
            self._failed("access", error, node)
            raise
        self._accesses += 1
        return result

    def parent(self, caller: Caller, directory: Node) -> tuple[Node, Attributes]:
        return self._counted("parent", directory, None, lambda: self.inner.parent(caller, directory))

    def readlink(self, caller: Caller, node: Node) -> bytes:
        return self._counted("readlink", node, None, lambda: self.inner.readlink(caller, node))

    def readdir(self, caller: Caller, directory: Node) -> Maybe[Listing]:
        return self._counted("readdir", directory, None, lambda: self.inner.readdir(caller, directory))

    def read(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[ReadResult]:
        if len(self._batch) >= self._batch_records_max:
            self._make_room()
        began = _clock()
        try:
            result = self.inner.read(caller, node, offset, count)
        except OSError as error:
            self._failed("read", error, node)
            raise
        if type(result) is Later:
            return result.then(
                lambda done: self._was_read(node, offset, done, began), lambda e: self._failed("read", e, node)
            )
        return self._was_read(node, offset, result, began)  # type: ignore[arg-type]  # mypy does not narrow by `type() is`

    def _was_read(self, node: Node, offset: int, result: ReadResult, began: int) -> ReadResult:
        data = result.data
        size = data.length if type(data) is FileRange else len(data)
        self._reads += 1
        self.bytes_read += size
        self._extend("read", self._read_spans, node, offset, size, began)
        return result

    # ---- writing ----

    def write(
        self,
        caller: Caller,
        node: Node,
        offset: int,
        data: memoryview | bytes,
        stability: Stability,
        before: Attributes | None = None,
    ) -> Maybe[Stability]:
        if len(self._batch) >= self._batch_records_max:
            self._make_room()
        size = len(data)
        began = _clock()
        try:
            result = self.inner.write(caller, node, offset, data, stability, before)
        except OSError as error:
            self._failed("write", error, node)
            raise
        # Also when a flush is waited for: the file has been written to, whatever becomes of the flush.
        self._writes += 1
        self.bytes_written += size
        span = self._extend("write", self._write_spans, node, offset, size, began)
        if type(result) is Later:
            return _timed(result, span)
        return result

    def _extend(
        self, operation: str, spans: OrderedDict[Node, _OpenSpan], node: Node, offset: int, size: int, began: int
    ) -> _OpenSpan:
        span = spans.get(node)
        if span is None:
            if len(spans) >= SPANS_OPEN_MAX:
                self._batch.append(spans.popitem(last=False)[1].closed())
            span = spans[node] = _OpenSpan(self._now, operation, node, self._path(node), offset)
        span.operations += 1
        span.bytes += size
        span.nanoseconds += _clock() - began
        if offset < span.offset_min:
            span.offset_min = offset
        if offset + size > span.offset_end:
            span.offset_end = offset + size
        if span.bytes >= self._span_bytes_max:
            self._batch.append(span.closed())
            del spans[node]
        return span

    def commit(self, caller: Caller, node: Node, offset: int, count: int) -> Maybe[None]:
        return self._counted("commit", node, None, lambda: self.inner.commit(caller, node, offset, count))

    def setattr(self, caller: Caller, node: Node, changes: Changes) -> Maybe[Attributes]:
        return self._recorded("setattr", node, None, None, self.inner.setattr, caller, node, changes)

    # ---- names ----

    def create(
        self, caller: Caller, directory: Node, name: bytes, how: CreateHow, changes: Changes, verifier: bytes = b""
    ) -> Maybe[tuple[Node, Attributes]]:
        create = self.inner.create
        return self._recorded("create", directory, name, None, create, caller, directory, name, how, changes, verifier)

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Changes) -> Maybe[tuple[Node, Attributes]]:
        return self._recorded("mkdir", directory, name, None, self.inner.mkdir, caller, directory, name, changes)

    def symlink(
        self, caller: Caller, directory: Node, name: bytes, target: bytes, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        symlink = self.inner.symlink
        return self._recorded("symlink", directory, name, target, symlink, caller, directory, name, target, changes)

    def mknod(
        self, caller: Caller, directory: Node, name: bytes, kind: int, changes: Changes
    ) -> Maybe[tuple[Node, Attributes]]:
        return self._recorded("mknod", directory, name, None, self.inner.mknod, caller, directory, name, kind, changes)

    def link(self, caller: Caller, node: Node, directory: Node, name: bytes) -> Maybe[Attributes]:
        to_path = self._path(directory, name)
        return self._recorded("link", node, None, to_path, self.inner.link, caller, node, directory, name)

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Maybe[Attributes | None]:
        return self._recorded("remove", directory, name, None, self.inner.remove, caller, directory, name)

    def rmdir(self, caller: Caller, directory: Node, name: bytes) -> Maybe[None]:
        return self._recorded("rmdir", directory, name, None, self.inner.rmdir, caller, directory, name)

    def rename(
        self, caller: Caller, from_directory: Node, from_name: bytes, to_directory: Node, to_name: bytes
    ) -> Maybe[Attributes | None]:
        to_path = self._path(to_directory, to_name)
        arguments = (caller, from_directory, from_name, to_directory, to_name)
        return self._recorded("rename", from_directory, from_name, to_path, self.inner.rename, *arguments)


def _timed(result: Later[T], span: _OpenSpan) -> Later[T]:
    """The wait that begins now counts for the span, as long as it is open."""
    began = _clock()

    def add() -> None:
        span.nanoseconds += _clock() - began

    def done(value: T) -> T:
        add()
        return value

    return result.then(done, lambda _error: add())
