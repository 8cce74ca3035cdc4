"""Processes that each work at random in a tree of their own; each call has to do, or refuse, what the model does."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

from integration.workloads.manifest import differences, manifest
from integration.workloads.trees_model import Path, Tree

NAMES = ("a", "b", "c", "dd", "e" * 60, "ö", "g.h")
DEPTH_MAX = 6
ENTRIES_MAX = 120
FILE_MODES = (0o644, 0o600, 0o755, 0o444, 0o400, 0o4755, 0o2711)
DIRECTORY_MODES = (0o755, 0o700, 0o1777, 0o711)
LISTED_EACH = 20


class Wrong(Exception):
    """The tree is not, or a call did not do, what the model says."""


class Worker:
    """One process's work below `base`, an existing empty directory."""

    def __init__(self, base: str, seed: str) -> None:
        self.base = base
        self.random = random.Random(seed)
        self.model = Tree()
        self.log: list[str] = []

    def work(self, operations: int, progress: Callable[[int], None] = lambda _calls: None) -> None:
        """That many calls, then the whole tree compared."""
        for number in range(operations):
            progress(number)
            self.call(*self.draw())
            if number % LISTED_EACH == 0:
                self.look()
        unlike = differences(manifest(self.base), self.model.manifest(), times=False)
        if unlike:
            raise Wrong("\n".join(["the tree is not the model's:", *unlike]))

    def call(self, name: str, *arguments: Any) -> None:
        """Do it on both, and compare the answers."""
        self.log.append(f"{name} {arguments}"[:300])
        wanted = _answer(getattr(self.model, name), *arguments)
        got = _answer(getattr(self, f"do_{name}"), *arguments)
        if got != wanted:
            raise Wrong(f"{name} {arguments} answered {got}, wanted {wanted}")

    def draw(self) -> tuple[Any, ...]:
        """A random call on names that are there, and on such that are not."""
        choose = self.random.random()
        entries = sum(1 for _ in self.model.walk())
        if entries > ENTRIES_MAX or choose < 0.25:
            kind = self.random.choices(("unlink", "rmdir", "rename"), (6, 3, 1))[0]
            return (kind, self.path()) if kind != "rename" else (kind, self.path(), self.new_path())
        if choose < 0.45:
            return "rename", self.path(), self.random.choice((self.path, self.new_path))()
        if choose < 0.60:
            return "create", self.new_path(), self.random.randbytes(self.random.randrange(3000))
        if choose < 0.72:
            return "mkdir", self.new_path()
        if choose < 0.80:
            return "link", self.path(), self.new_path()
        if choose < 0.85:
            return "symlink", self.random.choice(("nowhere", "../up", "/absolute", "x" * 300)), self.new_path()
        path = self.path()
        kind = self.kind(path)
        if kind == "symlink":  # chmod and open would follow it
            return "unlink", path
        if choose < 0.93:
            return "chmod", path, self.random.choice(DIRECTORY_MODES if kind == "directory" else FILE_MODES)
        return "append", path, self.random.randbytes(self.random.randrange(1, 500))

    def path(self) -> Path:
        """Mostly one that is there."""
        there = [path for path, _node in self.model.walk()]
        return self.random.choice(there) if there and self.random.random() < 0.9 else self.new_path()

    def new_path(self) -> Path:
        """A name in a directory; sometimes in something that is none. It may be taken."""
        parents: list[Path] = [()]
        for path, node in self.model.walk():
            if len(path) < DEPTH_MAX and (node.kind == "directory" or (node.kind == "file" and len(path) == 1)):
                parents.append(path)
        return (*self.random.choice(parents), self.random.choice(NAMES))

    def kind(self, path: Path) -> str:
        try:
            return self.model.find(path).kind
        except OSError:
            return ""

    def look(self) -> None:
        """A directory's names, all of them."""
        path = self.random.choice([(), *(path for path, node in self.model.walk() if node.kind == "directory")])
        directory = self.model.find(path) if path else self.model.root
        got = sorted(os.listdir(self.at(path)))
        if got != sorted(directory.children):
            raise Wrong(f"{'/'.join(path)} lists {got}, wanted {sorted(directory.children)}")

    # ---- the real calls ----

    def at(self, path: Path) -> str:
        return os.path.join(self.base, *path)

    def do_create(self, path: Path, content: bytes) -> None:
        fd = os.open(self.at(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)

    def do_append(self, path: Path, content: bytes) -> None:
        fd = os.open(self.at(path), os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)

    def do_mkdir(self, path: Path) -> None:
        os.mkdir(self.at(path), 0o755)

    def do_symlink(self, target: str, path: Path) -> None:
        os.symlink(target, self.at(path))

    def do_link(self, old: Path, new: Path) -> None:
        os.link(self.at(old), self.at(new), follow_symlinks=False)

    def do_chmod(self, path: Path, mode: int) -> None:
        os.chmod(self.at(path), mode)

    def do_unlink(self, path: Path) -> None:
        os.unlink(self.at(path))

    def do_rmdir(self, path: Path) -> None:
        os.rmdir(self.at(path))

    def do_rename(self, old: Path, new: Path) -> None:
        os.rename(self.at(old), self.at(new))


def _answer(call: Callable[..., None], *arguments: Any) -> int:
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0
