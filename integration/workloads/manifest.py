"""What a tree is, file by file: type, mode, size, contents, targets, which names are one file, and times somebody set.

    python3 -m integration.workloads manifest --directory /mnt/workspace/git

A line of JSON a name, sorted. Times are in it where they are older than this program's own year: work that takes place
now stamps what it makes with now, which is never the same twice; who sets a time, in these tests, sets an old one.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

SET_BEFORE_NS = 1_700_000_000 * 10**9
READ_BYTES = 1 << 20
KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One name. `content` is a file's hash, or a symlink's target; `first` the first name of the same file, if it has
    several; 0 is a time that nobody set."""

    path: str
    kind: str
    mode: int
    size: int
    content: str
    first: str
    mtime_ns: int


def manifest(directory: str) -> list[Entry]:
    """Of everything below, sorted; names that are no UTF-8 are escaped as Python does."""
    entries = []
    first: dict[int, str] = {}
    for path in sorted(paths(directory)):
        whole = os.path.join(directory, path)
        st = os.lstat(whole)
        kind = KINDS.get(stat.S_IFMT(st.st_mode), "device")
        alone = kind == "directory" or st.st_nlink == 1
        entries.append(Entry(
            path, kind, stat.S_IMODE(st.st_mode), 0 if kind == "directory" else st.st_size, _content(whole, kind),
            "" if alone else first.setdefault(st.st_ino, path), st.st_mtime_ns if st.st_mtime_ns < SET_BEFORE_NS else 0,
        ))  # fmt: skip
    return entries


def paths(base: str, below: str = "") -> Iterator[str]:
    """Every name below, relative to `base`; no symlink is followed."""
    with os.scandir(os.path.join(base, below)) as listing:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
    for name, is_directory in entries:
        path = os.path.join(below, name)
        yield path
        if is_directory:
            yield from paths(base, path)


def _content(path: str, kind: str) -> str:
    if kind == "symlink":
        return os.readlink(path)
    if kind != "file":
        return ""
    hashed = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(READ_BYTES):
            hashed.update(piece)
    return hashed.hexdigest()


def differences(
    got: Sequence[Entry], wanted: Sequence[Entry], volatile: Iterable[str] = (), modes: bool = True, times: bool = True
) -> list[str]:
    """What is not the same, a line each. Of names that match a pattern of `volatile` only the kind and mode count."""
    ours, theirs = ({entry.path: _asked(entry, volatile, modes, times) for entry in each} for each in (got, wanted))
    found = [f"{path}: is not there" for path in theirs if path not in ours]
    found += [f"{path}: is there, and should not" for path in ours if path not in theirs]
    for path in ours:
        if path in theirs and ours[path] != theirs[path]:
            unlike = [key for key, value in ours[path].items() if value != theirs[path][key]]
            found.append(f"{path}: " + ", ".join(f"{key} {ours[path][key]}, not {theirs[path][key]}" for key in unlike))
    return found


def _asked(entry: Entry, volatile: Iterable[str], modes: bool, times: bool) -> dict[str, object]:
    facts = asdict(entry)
    facts["mode"] = oct(entry.mode)
    if not modes:
        del facts["mode"]
    if not times:
        del facts["mtime_ns"]
    if any(fnmatch.fnmatchcase(entry.path, pattern) for pattern in volatile):
        del facts["size"], facts["content"]
    return facts


def of_lines(lines: Iterable[str]) -> list[Entry]:
    """What the command printed."""
    return [Entry(**json.loads(line)) for line in lines]


def show(arguments: argparse.Namespace) -> int:
    """Print what lies below a directory, a line of JSON a name."""
    for entry in manifest(arguments.directory):
        print(json.dumps(asdict(entry)))
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own."""
    parser.add_argument("--directory", default=".")
    parser.set_defaults(function=show)
