"""File trees made of this machine's own programs: the root of the Docker guest, and the container images in it.

A program comes with the libraries that ldd names, so nothing is downloaded and nothing has to be installed in the
guest.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from integration.lab.errors import LabError

BUSYBOX = Path("/usr/bin/busybox")
SYSTEM_PYTHON = Path("/usr/bin/python3")
LDD_SECONDS = 60
_LIBRARY = re.compile(r"(/(?:usr/)?lib\S*) \(0x")  # not what a wheel brings along
# What a Debian Python has and a guest never reads: tests, tk, the static library.
_PYTHON_IGNORED = ("__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "config-3*", "*.a")


class Tree:
    """A directory that becomes a root file system. Paths given are absolute, as they will be seen inside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            self.directory(f"/usr/{name}")
            (root / name).symlink_to(f"usr/{name}")
        for name in ("dev", "etc", "mnt", "opt", "proc", "root", "run", "sys", "var"):
            self.directory(f"/{name}")
        self.directory("/tmp", 0o1777)
        self.directory("/var/tmp", 0o1777)
        (root / "var/run").symlink_to("../run")
        self.write("/etc/hosts", "127.0.0.1 localhost\n")
        self.write("/etc/os-release", 'ID=debian\nPRETTY_NAME="aegis lab"\n')

    def path(self, inside: str | Path) -> Path:
        """Where an inside path lies out here."""
        return self.root / str(inside).lstrip("/")

    def directory(self, inside: str, mode: int = 0o755) -> None:
        path = self.path(inside)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(mode)

    def link(self, inside: str, to: str) -> None:
        self.path(inside).symlink_to(to)

    def users(self, **uids: int) -> None:
        """root, and one user with a group of his own for each name."""
        lines = ["root:x:0:0::/root:/bin/sh", *(f"{name}:x:{uid}:{uid}::/tmp:/bin/sh" for name, uid in uids.items())]
        self.write("/etc/passwd", "\n".join(lines) + "\n")
        self.write("/etc/group", "root:x:0:\n" + "".join(f"{name}:x:{uid}:\n" for name, uid in uids.items()))

    def programs(self, *sources: str | Path) -> None:
        """Copy programs (symlinks followed, names kept) and every library they need."""
        copied = []
        for source in sources:
            found = shutil.which(str(source), path="/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin")
            if found is None:
                raise LabError(f"this machine has no {source}; the lab copies it into its guest")
            place = "/usr/sbin" if Path(found).parent.name == "sbin" else "/usr/bin"
            self._copy(Path(found), self.path(place) / Path(found).name)
            copied.append(Path(found))
        self.libraries(copied)

    def libraries(self, binaries: Iterable[Path]) -> None:
        """Copy what the dynamic linker would load for these programs and shared objects."""
        listing = subprocess.run(
            ["ldd", *map(str, binaries)], capture_output=True, text=True, check=False, timeout=LDD_SECONDS
        ).stdout
        for library in sorted(set(_LIBRARY.findall(listing))):
            self._copy(Path(library), self.path(library))

    def copy_tree(self, source: Path, inside: str, ignored: Iterable[str] = ()) -> None:
        shutil.copytree(
            source, self.path(inside), symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*ignored)
        )

    def python(self) -> None:
        """Debian's Python with its standard library, able to make virtual environments offline."""
        binary = SYSTEM_PYTHON.resolve()
        library = Path("/usr/lib") / binary.name
        self._copy(binary, self.path("/usr/bin") / binary.name)
        for name in ("python3", "python"):
            self.link(f"/usr/bin/{name}", binary.name)
        self.copy_tree(library, str(library), _PYTHON_IGNORED)
        wheels = Path("/usr/share/python-wheels")
        self.copy_tree(wheels, str(wheels))
        self.libraries([binary, *(library / "lib-dynload").glob("*.so")])

    def busybox(self) -> None:
        """busybox, under every name that no real program has taken. Call it last."""
        self._copy(BUSYBOX, self.path("/usr/bin/busybox"))
        applets = subprocess.run(
            [str(BUSYBOX), "--list"], capture_output=True, text=True, check=True, timeout=LDD_SECONDS
        ).stdout.split()
        for applet in applets:
            places = [self.path(f"/usr/{place}/{applet}") for place in ("bin", "sbin")]
            if not any(place.is_symlink() or place.exists() for place in places):
                places[0].symlink_to("busybox")

    def tar(self, target: Path) -> None:
        """Pack it for `docker import`: everything root's, whoever built it."""
        with tarfile.open(target, "w") as archive:
            for path in sorted(self.root.iterdir()):
                archive.add(path, path.name, filter=_as_root)

    def _copy(self, source: Path, target: Path) -> None:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
            target.chmod(target.stat().st_mode | 0o444)


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
