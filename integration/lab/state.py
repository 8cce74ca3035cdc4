"""Where the lab keeps things: a cache that outlives runs, and one run directory for each live lab.

Everything is below one directory: `.lab` in the project, or `$AEGIS_LAB_DIR`.

    cache/<name>-<hash>   finished preparations; appear by rename, so one that is there is complete
    run/<pid>-<n>         logs, sockets and images of one lab; removed when it closes
    *.lock                serialise preparations and installations between processes

A run directory is owned by an flock on its `owner` file. The kernel drops the lock with the owning process, however it
ends, so a directory whose lock can be taken is a leftover and `sweep` removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from integration.lab.errors import LabError

PROJECT = Path(__file__).resolve().parents[2]
LOCK_POLL_SECONDS = 0.2
SCRATCH_PREFIX = "aegis-lab-"
_BAD_CHARACTERS = frozenset(" \t\n,'\"\\")


class State:
    """The lab's directory on disk. Several processes may use one at the same time."""

    def __init__(self, root: Path | None = None) -> None:
        chosen = root or Path(os.environ.get("AEGIS_LAB_DIR") or PROJECT / ".lab")
        self.root = chosen.absolute()
        if _BAD_CHARACTERS & set(str(self.root)):
            # The path travels in kernel command lines and QEMU options, which split at blanks and commas.
            raise LabError(f"the lab directory {str(self.root)!r} contains a blank, comma or quote; set AEGIS_LAB_DIR")
        self.cache = self.root / "cache"
        self.runs = self.root / "run"
        for directory in (self.root, self.cache, self.runs):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)

    @contextmanager
    def lock(self, name: str, timeout_seconds: float) -> Iterator[None]:
        """Hold a named lock against every other process; `LabError` when it stays taken for `timeout_seconds`."""
        with (self.root / f"{name}.lock").open("a") as stream:
            deadline = time.monotonic() + timeout_seconds
            while not _try_lock(stream):
                if time.monotonic() > deadline:
                    raise LabError(f"{stream.name} has been held by another process for {timeout_seconds:.0f} s")
                time.sleep(LOCK_POLL_SECONDS)
            yield

    def prepared(self, name: str, key: str, build: Callable[[Path], None], timeout_seconds: float) -> Path:
        """The directory that `build` filled for this `key`, built now if it is not there.

        `build` gets an empty directory. It becomes visible by rename when `build` returns, so a crash leaves nothing
        half made, and of two processes that want the same one the second waits. Older keys of the name are removed:
        open files of theirs live on until their users end.
        """
        target = self.cache / f"{name}-{key}"
        if target.is_dir():
            return target
        with self.lock(name, timeout_seconds):
            if target.is_dir():
                return target
            building = self.cache / f".{name}-building"
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            build(building)
            for old in self.cache.glob(f"{name}-*"):
                shutil.rmtree(old, ignore_errors=True)
            building.rename(target)
        return target

    @contextmanager
    def run_directory(self) -> Iterator[Path]:
        """A directory of our own, removed on leaving. Leftovers of dead processes are swept on the way in.

        In it `scratch` leads to a second one that any user can walk to, which a checkout in a home directory need not
        be: for what ordinary users are to read or export.
        """
        self.sweep()
        with self.lock("run", timeout_seconds=30):
            number = 0
            while (path := self.runs / f"{os.getpid()}-{number}").exists():
                number += 1
            path.mkdir(mode=0o755)
            owner = (path / "owner").open("a")
            fcntl.flock(owner, fcntl.LOCK_EX)
            scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=_open_directory()))
            scratch.chmod(0o755)
            (path / "scratch").symlink_to(scratch)
        try:
            yield path
        finally:
            _remove_run(path)
            owner.close()

    def sweep(self) -> list[Path]:
        """Remove the run directories whose owners are dead; returns them."""
        swept = []
        with self.lock("run", timeout_seconds=30):
            for path in self.runs.iterdir():
                if _is_abandoned(path):
                    _remove_run(path)
                    swept.append(path)
        return swept


def readable_by_anybody(path: Path) -> bool:
    """Whether every directory on the way can be entered by anybody, and the end read."""
    *ways, end = [*reversed(path.resolve().parents), path.resolve()]
    if not all(way.stat().st_mode & stat.S_IXOTH for way in ways):
        return False
    return bool(end.stat().st_mode & stat.S_IROTH)


def _open_directory() -> str:
    candidates = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    for directory in candidates:
        if readable_by_anybody(Path(directory)):
            return directory
    raise LabError(f"no temporary directory that every user can enter: tried {', '.join(candidates)}; set TMPDIR")


def _remove_run(path: Path) -> None:
    scratch = Path(os.path.realpath(path / "scratch"))
    if scratch.name.startswith(SCRATCH_PREFIX):
        shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


def _try_lock(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_abandoned(path: Path) -> bool:
    try:
        with (path / "owner").open("a") as stream:
            return _try_lock(stream)
    except OSError:
        return True
