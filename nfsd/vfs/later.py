"""A result that may not be there yet: what a method of `FileSystem` returns when it has to wait for the disk.

The rule: the work is under way when a `Later` is made, and nobody who stops waiting stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")
R = TypeVar("R")


class Later(Generic[T]):
    """A result that is not there yet. The work is already under way and ends whether or not anybody awaits it.

    Cancelling the task that awaits does not cancel the work, nor what `then` does after it: a reservation is
    settled also when the connection that asked is gone. Made from a future of the running loop, which nobody else
    awaits. The front end tests `type(result) is Later`, so this class is final by contract.
    """

    __slots__ = ("_future",)

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, T]:
        return self.then(lambda value: value)._future.__await__()

    def then(
        self, done: Callable[[T], R | Later[R]], failed: Callable[[BaseException], None] | None = None
    ) -> Later[R]:
        """Map the result when it comes, to another `Later` if there is more to wait for; `failed` sees the exception
        before it goes on its way (settle, undo)."""
        mapped: Future[R] = self._future.get_loop().create_future()

        def settle(source: Future[T]) -> None:
            try:
                try:
                    value = source.result()
                except BaseException as error:
                    if failed is not None:
                        failed(error)
                    raise
                result = done(value)
            except BaseException as error:
                _conclude(mapped, error)
            else:
                if isinstance(result, Later):
                    result._future.add_done_callback(lambda inner: _follow(mapped, inner))
                elif not mapped.done():
                    mapped.set_result(result)

        self._future.add_done_callback(settle)
        return Later(mapped)


def _conclude(future: Future[T], error: BaseException) -> None:
    if not future.done():  # who awaited was cancelled
        future.set_exception(error)


def _follow(future: Future[T], other: Future[T]) -> None:
    try:
        result = other.result()
    except BaseException as error:
        _conclude(future, error)
    else:
        if not future.done():
            future.set_result(result)


Maybe: TypeAlias = T | Later[T]
