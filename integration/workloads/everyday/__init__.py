"""Everyday work: scripts that agents' programs are tried by, on a workspace and beside it on a local disk.

`CHORES` is all of them. A chore's script runs in an empty directory; what it prints, and the tree that it leaves, must
be the same on both.
"""

from __future__ import annotations

from integration.workloads.everyday import archives, building, databases, editing, git, packages
from integration.workloads.everyday.chore import Chore

CHORES: tuple[Chore, ...] = (
    *git.CHORES, *packages.CHORES, *databases.CHORES, *archives.CHORES, *building.CHORES, *editing.CHORES,
)  # fmt: skip
