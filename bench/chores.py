"""Everyday work, as scripts for a kernel client: each scene a directory, each chore in it a line of the table.

A scene runs as uid 1000 in a directory of the mount that is empty at first. What comes from outside (an archive, a
repository, a wheel) is made once in the client's own memory by `MATERIAL`: no script touches a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import BenchError

MATERIAL_DIRECTORY = "/tmp/material"  # noqa: S108  # of the guest, which has one user

MATERIAL = r"""
import io, os, subprocess, tarfile, zipfile
os.makedirs("/tmp/material", exist_ok=True); os.chdir("/tmp/material")
with tarfile.open("small.tar", "w") as tar:
    for number in range(10000):
        info = tarfile.TarInfo(f"tree/d{number // 100:03}/f{number:05}.txt")
        data = (b"%08d " % number) * 200
        info.size, info.mtime, info.mode = len(data), 1_000_000_000 + number, 0o644
        tar.addfile(info, io.BytesIO(data))
with zipfile.ZipFile("material-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
    names = [f"material/p{n // 20:02}/m{n:03}.py" for n in range(600)]
    for name in names:
        wheel.writestr(name, "".join(f"def function_{i}(argument):\n    return argument + {i}\n\n" for i in range(60)))
    wheel.writestr("material-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: material\nVersion: 1.0\n")
    tags = "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    wheel.writestr("material-1.0.dist-info/WHEEL", tags)
    names += [f"material-1.0.dist-info/{n}" for n in ("METADATA", "WHEEL", "RECORD")]
    wheel.writestr("material-1.0.dist-info/RECORD", "".join(f"{n},,\n" for n in names))
git = dict(os.environ, GIT_AUTHOR_NAME="a", GIT_AUTHOR_EMAIL="a@b", GIT_COMMITTER_NAME="a", GIT_COMMITTER_EMAIL="a@b")
os.makedirs("origin"); run = lambda *words: subprocess.run(["git", *words], cwd="origin", env=git, check=True)
run("init", "-q", "-b", "main")
for number in range(3000):
    directory = f"origin/d{number // 50:02}"; os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/f{number:04}", "w") as file: file.write(f"line of {number}\n" * 100)
run("add", "."); run("commit", "-q", "-m", "first"); run("gc", "-q")
"""

_SQLITE = r"""
import sqlite3
db = sqlite3.connect("data.db", isolation_level=None)
db.execute("pragma journal_mode=delete"); db.execute("pragma synchronous=full")
db.execute("create table t (a integer primary key, b text)")
for n in range(500):
    db.execute("insert into t (b) values (?)", ("x" * 100,))
assert db.execute("select count(*) from t").fetchone() == (500,)
assert db.execute("pragma integrity_check").fetchone() == ("ok",)
"""


@dataclass(frozen=True)
class Chore:
    """One line of the table. `cold`: the client forgets what it has cached before."""

    name: str
    title: str
    script: str
    cold: bool = False


@dataclass(frozen=True)
class Scene:
    """Chores that follow each other in one directory, each finding what the one before left."""

    name: str
    chores: tuple[Chore, ...]
    quick: bool = True


SCENES = (
    Scene("tree", (
        Chore("untar", "untar 10,000 small files", f"tar xf {MATERIAL_DIRECTORY}/small.tar"),
        Chore("find", "find over 10,000 files, cold", "test $(find . -type f -size +0 | wc -l) = 10000", cold=True),
        Chore("rm", "rm -rf of 10,000 files", "rm -rf tree"),
    )),
    Scene("git", (
        Chore("git-clone", "git clone, 3,000 files", f"git clone -q {MATERIAL_DIRECTORY}/origin copy"),
        Chore("git-status", "git status, cold", 'cd copy; test -z "$(git status --short)"', cold=True),
    )),
    Scene("python", (
        Chore("venv", "python -m venv", "/usr/bin/python3 -m venv ve"),
        Chore("pip", "pip install of a wheel, 600 modules",
              f"ve/bin/pip install -q --no-index --disable-pip-version-check {MATERIAL_DIRECTORY}/*.whl"),
    ), quick=False),
    Scene("sqlite", (
        Chore("sqlite", "sqlite, 500 transactions, FULL", f"/usr/bin/python3 -c '{_SQLITE}'"),
    )),
    Scene("big", (
        Chore("write", "write 256 MiB + fsync", "dd if=/dev/zero of=big bs=1M count=256 conv=fsync status=none"),
        Chore("read", "read 256 MiB, cold", "test $(cat big | wc -c) = 268435456", cold=True),
    )),
)  # fmt: skip


def chosen(names: str | None, quick: bool) -> Sequence[Scene]:
    """As `rows.chosen`, of scenes."""
    if names is None:
        return [scene for scene in SCENES if scene.quick or not quick]
    known = {scene.name: scene for scene in SCENES}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise BenchError(f"unknown scene {', '.join(unknown) or names!r}; there are: {', '.join(known)}")
    return [known[name] for name in wanted]
