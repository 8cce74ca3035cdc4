"""The one place where layers are put on a backend: audit > identity > policy > quota > backend.

The order is the meaning. Audit is outside, so refusals are recorded too. Identity decides before the policy, so that a
policy's refusal is about a caller who had the right. Quota is next to the backend, so what is refused further out
claims nothing. A test holds that nobody else composes them, so there is no second way to a backend.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from nfsd.vfs.audit import Audit
from nfsd.vfs.interface import FileSystem
from nfsd.vfs.ledger import Ledger
from nfsd.vfs.mapped import Mapped
from nfsd.vfs.policy import OnDenied, Policy
from nfsd.vfs.quota import Quota
from nfsd.vfs.records import Sink
from nfsd.vfs.squash import Squash


class MappedFor(NamedTuple):
    """Users are told apart; files that none of them made or was given are `uid`:`gid`'s: at first, all there are."""

    uid: int
    gid: int


class SquashTo(NamedTuple):
    """Everybody is this user; `chown` to others: "accept" (as if done: a `tar x` by root goes on) or "deny" (EPERM)."""

    uid: int
    gid: int
    chown: str = "accept"


def build_stack(
    backend: FileSystem,
    *,
    identity: SquashTo | MappedFor,
    read_only: bool = False,
    read: Iterable[str | bytes] | None = None,
    write: Iterable[str | bytes] | None = None,
    on_denied: OnDenied | None = None,
    ledger: Ledger | None = None,
    sink: Sink | None = None,
) -> FileSystem:
    """The backend with its layers; those with nothing to do are left out. Closing the stack closes the backend.

    `read`, `write`: path patterns, None for everything. ValueError for a pattern that is none. With a `sink` the result
    is an `Audit`, whose `tick` the embedder calls.
    """
    stack = backend
    if ledger is not None:
        stack = Quota(stack, ledger)
    if read_only or read is not None or write is not None:
        stack = Policy(
            stack,
            read_only=read_only,
            read=read,
            write=write,
            on_denied=on_denied if on_denied is not None else _unheard,
        )
    if isinstance(identity, MappedFor):
        stack = Mapped(stack, identity.uid, identity.gid)
    else:
        stack = Squash(stack, identity.uid, identity.gid, identity.chown)
    return stack if sink is None else Audit(stack, sink)


def _unheard(_operation: str, _path: bytes, _code: int) -> None:
    pass
