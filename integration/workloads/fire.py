"""Everyday work of several kinds at once, until it is told to stop: what goes on while somebody kills the server.

Each kind is a process of its own in a directory of its own. It checks what it reads at every step, and an error of any
system call is its failure: the claim is that a server that dies and comes back costs time and nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import random
import sqlite3
import subprocess
import tarfile
import traceback
from collections.abc import Callable
from pathlib import Path

RECORD = 64
LOG_RECORDS_MAX = 200_000  # the log of a fast disk would fill it
ARCHIVE_FILES = 150


class Wrong(Exception):
    """A file was not what it should have been."""


def same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Wrong(f"{what}: found {found!r:.200}, wanted {wanted!r:.200}")


Going = Callable[[], bool]


def unpacking(home: Path, going: Going, dice: random.Random) -> int:
    """tar: trees of small files, compared whole, and removed."""
    contents = {f"d{n % 9}/e{n % 4}/f{n}": dice.randbytes(dice.randrange(0, 6000)) for n in range(ARCHIVE_FILES)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), 1_000_000_000, 0o640
            entry.uid, entry.gid = os.getuid(), os.getgid()
            tar.addfile(entry, io.BytesIO(content))
    rounds = 0
    while going():
        tree = home / f"tree{rounds}"
        tree.mkdir()
        for command in (["tar", "xpf", "-"], ["tar", "df", "-"]):
            done = subprocess.run(command, cwd=tree, input=packed.getvalue(), capture_output=True)
            same((done.returncode, done.stdout + done.stderr), (0, b""), " ".join(command))
        subprocess.run(["rm", "-r", str(tree)], check=True)
        rounds += 1
    return rounds


def durable(home: Path, going: Going, dice: random.Random) -> int:
    """A journal: a record, fsync, and now and then all of it read again through a new descriptor."""
    path, written = home / "journal", 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    while going():
        os.write(fd, record(written))
        os.fsync(fd)
        written += 1
        if written % 40 == 0:
            check_records(path, written)
            os.close(fd)
            fd = os.open(path, os.O_WRONLY)
            os.lseek(fd, 0, os.SEEK_END)
    os.close(fd)
    check_records(path, written)
    return written


def appended(home: Path, going: Going, dice: random.Random) -> int:
    """A log: O_APPEND, no fsync, opened anew every few lines."""
    path, written = home / "log", 0
    while going():
        with open(path, "ab") as log:
            for _ in range(dice.randrange(1, 30) if written < LOG_RECORDS_MAX else 0):
                log.write(record(written))
                written += 1
        same(path.stat().st_size, written * RECORD, "the size of the log")
    check_records(path, written)
    return written


def record(number: int) -> bytes:
    text = f"{number:010} {hashlib.sha256(str(number).encode()).hexdigest()}"
    return text[: RECORD - 1].encode().ljust(RECORD - 1) + b"\n"


def check_records(path: Path, count: int) -> None:
    same(path.read_bytes(), b"".join(record(number) for number in range(count)), str(path))


def database(home: Path, going: Going, dice: random.Random) -> int:
    """sqlite with a rollback journal: created, synced and deleted for each transaction."""
    db = sqlite3.connect(home / "data.db")
    db.execute("pragma synchronous=full")
    db.execute("create table t (n integer primary key, b blob)")
    rows = 0
    while going():
        with db:
            for _ in range(3):
                db.execute("insert into t values (?, ?)", (rows, dice.randbytes(dice.randrange(2000))))
                rows += 1
        same(db.execute("select count(*), max(n) from t").fetchone(), (rows, rows - 1), "rows")
    same(db.execute("pragma integrity_check").fetchone(), ("ok",), "integrity_check")
    db.close()
    return rows


def replaced(home: Path, going: Going, dice: random.Random) -> int:
    """An editor: a new file is written beside the old one and renamed over it."""
    path, number = home / "document", 0
    path.write_bytes(record(0))
    while going():
        number += 1
        new = home / "document.new"
        with open(new, "xb") as file:
            file.write(record(number) * dice.randrange(1, 50))
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
        same(path.read_bytes()[:RECORD], record(number), "the document")
        same(sorted(os.listdir(home)), ["document"], "the editor's directory")
    return number


def names(home: Path, going: Going, dice: random.Random) -> int:
    """Everything that makes and removes names; each of them fails when it is done twice."""
    rounds = 0
    while going():
        directory = home / f"r{rounds}"
        directory.mkdir()
        (directory / "sub").mkdir(0o700)
        (directory / "file").write_bytes(b"x")
        os.link(directory / "file", directory / "sub" / "link")
        os.symlink("file", directory / "soft")
        os.mkfifo(directory / "fifo")
        same((directory / "file").stat().st_nlink, 2, "links")
        os.rename(directory / "file", directory / "sub" / "moved")
        os.rename(directory / "sub", directory / "other")
        same(sorted(os.listdir(directory)), ["fifo", "other", "soft"], "names")
        for name in ("fifo", "soft", "other/link", "other/moved"):
            os.unlink(directory / name)
        os.rmdir(directory / "other")
        os.rmdir(directory)
        rounds += 1
    same(os.listdir(home), [], "what is left")
    return rounds


def orphaned(home: Path, going: Going, dice: random.Random) -> int:
    """A temporary file that is unlinked while it is open, and goes on being written and read."""
    rounds = 0
    while going():
        path = home / f"orphan{rounds}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(path)
        content = bytearray()
        for _ in range(dice.randrange(3, 12)):
            part = dice.randbytes(dice.randrange(1, 9000))
            os.write(fd, part)
            content += part
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            same(os.pread(fd, len(content) + 1, 0), bytes(content), "the orphan")
        os.close(fd)
        rounds += 1
    same(os.listdir(home), [], "what is left of the orphans")
    return rounds


KINDS: dict[str, Callable[[Path, Going, random.Random], int]] = {
    "unpacking": unpacking, "durable": durable, "appended": appended, "database": database, "replaced": replaced,
    "names": names, "orphaned": orphaned,
}  # fmt: skip


def work(directory: Path, stop: Path, seed: int) -> int:
    """All kinds at once until the file `stop` is there. Prints a JSON object: how often each did its round, or what
    went wrong. Exit status 1 when anything did."""
    with multiprocessing.get_context("fork").Pool(len(KINDS)) as pool:
        under_way = {kind: pool.apply_async(one, (kind, directory, stop, seed)) for kind in KINDS}
        results = {kind: result.get() for kind, result in under_way.items()}
    print(json.dumps(results))
    return int(any(isinstance(result, str) for result in results.values()))


def one(kind: str, directory: Path, stop: Path, seed: int) -> int | str:
    """The rounds that one kind did, or its failure as text."""
    home = directory / kind
    try:
        home.mkdir()
        return KINDS[kind](home, lambda: not stop.exists(), random.Random(f"{kind} {seed}"))
    except Exception:  # the report's boundary: whatever it was is told, with the place
        return traceback.format_exc()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the command `fire`."""
    parser.add_argument("--directory", type=Path, required=True, help="an empty directory to work in")
    parser.add_argument("--stop", type=Path, required=True, help="work until this file exists; not in the directory")
    parser.add_argument("--seed", type=int, default=1)
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """work of seven kinds at once, until told to stop"""
    return work(arguments.directory, arguments.stop, arguments.seed)
