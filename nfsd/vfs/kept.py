"""What is kept beside a file, mode and owner, and the table for files that cannot carry it themselves.

A file's own copy is the extended attribute `user.nfsd.mode` (sidecar.py). FIFOs, sockets and symbolic links have no
user attributes, and some file systems have none at all: for them there is this table, by inode number and generation,
kept in the volume's `meta` directory if it has one, else lost with the process. As text, in both places: the mode in
octal, and behind it, when the file was given an owner, uid and gid: `4755`, `640 1001 1001`.

The table's file is a log, a line a change, rewritten when it is opened. A symbolic link has no bits on the host that
could say "look beside" while it is being made, so a line is written before it (`intended`): should the process end in
between, that line is the last, and the link that is found under that name gets what it says. Lines are

    INODE GENERATION KEPT     keep this; `-` for KEPT: forget
    + DIRECTORY... NAME       a link is about to be made; void as soon as another line follows
    ? DIRECTORY... NAME       the same, from an earlier life: until the link is found
    / DIRECTORY... NAME       found, or made anew by somebody else
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nfsd.vfs.nodes import LocalNode


class Kept(NamedTuple):
    """`mode`: the true permission bits, 0..0o7777. `ids`: (uid, gid), None for the volume's owner."""

    mode: int
    ids: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{self.mode:o}" if self.ids is None else f"{self.mode:o} {self.ids[0]} {self.ids[1]}"

    @classmethod
    def parse(cls, text: str) -> Kept:
        """What `str` made. ValueError for anything else."""
        mode, *ids = text.split()
        if len(ids) not in (0, 2):
            raise ValueError(text)
        return cls(int(mode, 8) & 0o7777, (int(ids[0]), int(ids[1])) if ids else None)


class _Intent(NamedTuple):
    """A symbolic link about to be made: in the directory of that inode number and generation, for these ids."""

    fileid: int
    born: int
    name: bytes
    ids: tuple[int, int]

    def line(self, sign: str) -> str:
        return f"{sign} {self.fileid} {self.born} {self.ids[0]} {self.ids[1]} {self.name.hex()}\n"

    @classmethod
    def parse(cls, text: str) -> _Intent:
        fileid, born, uid, gid, name = text.split()
        return cls(int(fileid), int(born), bytes.fromhex(name), (int(uid), int(gid)))


class KeptTable:
    """`Kept` by (fileid, generation)."""

    def __init__(self, meta: str | bytes | os.PathLike[str] | None) -> None:
        self._kept: dict[tuple[int, int], Kept] = {}
        self._unfulfilled: dict[tuple[int, int, bytes], _Intent] = {}  # at most one for each crash
        self._log = None
        if meta is not None:
            os.makedirs(meta, mode=0o700, exist_ok=True)
            path = Path(os.fsdecode(meta)) / "modes"
            self._load(path)
            self._log = path.open("a", encoding="ascii", buffering=1)

    def _load(self, path: Path) -> None:
        if not path.exists():
            return
        last = ""
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            try:
                self._read(line)
            except ValueError:
                continue  # the last line of a process that was killed
            last = line
        if last.startswith("+"):
            self._read("?" + last[1:])
        fresh = path.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as file:
            file.writelines(f"{ino} {born} {kept}\n" for (ino, born), kept in self._kept.items())
            file.writelines(intent.line("?") for intent in self._unfulfilled.values())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def _read(self, line: str) -> None:
        if line[0:1] in ("?", "/", "+"):
            intent = _Intent.parse(line[1:])
            if line[0] == "?":
                self._unfulfilled[intent[:3]] = intent
            elif line[0] == "/":
                self._unfulfilled.pop(intent[:3], None)
            return
        fileid, born, kept = line.split(maxsplit=2)
        self._apply((int(fileid), int(born)), None if kept == "-" else Kept.parse(kept))

    def _apply(self, key: tuple[int, int], kept: Kept | None) -> None:
        if kept is None:
            self._kept.pop(key, None)
        else:
            self._kept[key] = kept

    def _write(self, line: str) -> None:
        if self._log is not None:
            self._log.write(line)

    def get(self, node: LocalNode) -> Kept | None:
        """What is kept for this file."""
        kept = self._kept.get((node.fileid, node.generation))
        if kept is None and self._unfulfilled and node.kind == stat.S_IFLNK and node.parent is not None:
            intent = self._take_back(node.parent, node.name)
            if intent is not None:
                kept = Kept(0o777, intent.ids)
                self.set(node, kept)
        return kept

    def set(self, node: LocalNode, kept: Kept | None) -> None:
        """Keep or (None) forget; written to the file before this returns, which a crash of the process survives."""
        key = (node.fileid, node.generation)
        if self._kept.get(key) == kept:
            return
        self._apply(key, kept)
        self._write(f"{key[0]} {key[1]} {'-' if kept is None else kept}\n")

    @contextmanager
    def intended(self, directory: LocalNode, name: bytes, ids: tuple[int, int] | None) -> Iterator[None]:
        """In it a symbolic link is made, for these ids (None: the volume's owner); `set` has to follow, if any."""
        if self._unfulfilled:
            self._take_back(directory, name)
        if ids is None:
            yield
            return
        intent = _Intent(directory.fileid, directory.generation, name, ids)
        self._write(intent.line("+"))
        try:
            yield
        except OSError:
            self._write(intent.line("/"))  # any line behind it makes it void
            raise

    def _take_back(self, directory: LocalNode, name: bytes) -> _Intent | None:
        intent = self._unfulfilled.pop((directory.fileid, directory.generation, name), None)
        if intent is not None:
            self._write(intent.line("/"))
        return intent

    def close(self) -> None:
        """Safe to call twice."""
        if self._log is not None:
            self._log.close()
