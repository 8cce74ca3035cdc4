"""What a chore is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chore:
    """`script` is run by `bash -ec` in an empty directory of the chore's name, on both sides under the same path.

    In its environment: `MATERIAL`, what `material.make` made, read-only; `PROGRAM`, from where Python imports this
    package; `FILES`, how many files a large repository has;
    `ENTRIES`, how many names a large directory. `volatile` are patterns of paths whose contents are not the
    same twice, on one disk either: they say why, at the chore.
    """

    name: str
    script: str
    volatile: tuple[str, ...] = ()
