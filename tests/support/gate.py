"""A layer that makes calls wait until a test lets them go, and one that raises: for what a disk does on a bad day."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from nfsd.vfs.interface import Caller, FileSystem, Later, Maybe, Node
from nfsd.vfs.layer import Layer

T = TypeVar("T")


class Gate(Layer):
    """`hold(name)`: calls of that method do their work and come back Later; `release(name)` ends their wait.

    Methods: commit, remove, read, mkdir. To be used on the loop's thread.
    """

    def __init__(self, inner: FileSystem) -> None:
        super().__init__(inner)
        self._held: dict[str, list[asyncio.Future[Any]]] = {}
        self.calls: dict[str, int] = {}
        self.broken: Exception | None = None

    def hold(self, name: str) -> None:
        self._held.setdefault(name, [])

    def release(self, name: str, error: OSError | None = None) -> None:
        for future in self._held.pop(name, []):
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def waiting(self, name: str) -> int:
        return len(self._held.get(name, []))

    def _through(self, name: str, result: Maybe[T]) -> Maybe[T]:
        self.calls[name] = self.calls.get(name, 0) + 1
        if name not in self._held:
            return result
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._held[name].append(future)
        return Later(future).then(lambda _: result)  # type: ignore[arg-type,return-value]  # the tests' results are there

    def getattr(self, node: Node) -> Any:
        if self.broken is not None:
            raise self.broken
        return self.inner.getattr(node)

    def commit(self, caller: Caller, node: Node, offset: int, count: int) -> Any:
        return self._through("commit", self.inner.commit(caller, node, offset, count))

    def remove(self, caller: Caller, directory: Node, name: bytes) -> Any:
        return self._through("remove", self.inner.remove(caller, directory, name))

    def read(self, caller: Caller, node: Node, offset: int, count: int) -> Any:
        return self._through("read", self.inner.read(caller, node, offset, count))

    def mkdir(self, caller: Caller, directory: Node, name: bytes, changes: Any) -> Any:
        return self._through("mkdir", self.inner.mkdir(caller, directory, name, changes))
