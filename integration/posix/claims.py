"""What a claim is, and the list of all of them.

    @claim()
    def rmdir_of_a_directory_with_an_entry_is_refused() -> None:
        make_directory("d/e")
        refused(ENOTEMPTY, os.rmdir, "d")

The rule: a claim speaks of what POSIX or Linux promises on a local disk, never of how our server does it, so that the
same suite is its own reference. It uses relative names only: its process starts in an empty directory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ROOT = "root"
"""Run by uid 0."""
ORDINARY = "ordinary"
"""Run by anybody but uid 0, whom permissions hold."""
USERS = "users"
"""Run by uid 0, on a file system that tells users apart: the claim works as several of them."""
PEER = "peer"
"""Another process, on another client if there is one, works in the same directory: the claim takes a `Peer`."""

NEEDS = {
    ROOT: "is about the superuser",
    ORDINARY: "is about a user whom permissions hold",
    USERS: "needs several users whom the file system tells apart",
    PEER: "needs a second process in the directory (--peer)",
}

Body = Callable[..., None]


class NotHere(Exception):
    """Raised by a claim that does not apply: the machine lacks what it is about. The message says what."""


@dataclass(frozen=True)
class Claim:
    """`name` is `area.function`, and the identity in reports and in the list of differences."""

    name: str
    body: Body
    needs: frozenset[str]


_claims: dict[str, Claim] = {}


def claim(*needs: str) -> Callable[[Body], Body]:
    """Add the decorated function to the list."""

    def add(body: Body) -> Body:
        register(body.__module__, body.__name__, body, *needs)
        return body

    return add


def register(module: str, what: str, body: Body, *needs: str) -> None:
    """Add a claim of a family: one that a table makes, not a `def`. `what` is its name without the area."""
    name = f"{module.rpartition('.')[2]}.{what}"
    if name in _claims:
        raise ValueError(f"two claims are called {name}")
    _claims[name] = Claim(name, body, frozenset(needs))


def every_claim() -> list[Claim]:
    """All of them, area by area, in the order they are written."""
    from integration.posix import areas

    areas.load()
    return list(_claims.values())
