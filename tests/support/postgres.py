"""A private PostgreSQL: its own cluster in a temporary directory, on a unix socket only, run by an ordinary user.

PostgreSQL refuses to run as root, so for root the server is started as `nobody`. Nothing is shared with a server that
may run on the machine already.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

SETTINGS = {
    "listen_addresses": "''",
    "fsync": "off",  # the cluster lives as long as the tests
    "shared_buffers": "16MB",
    "max_connections": "60",
}


def binaries() -> Path | None:
    """The directory that has `initdb`: on PATH, or where Debian keeps it (newest version first)."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return debian[0].parent if debian else None


class Cluster:
    def __init__(self, programs: Path, directory: Path) -> None:
        self._programs = programs
        self._directory = directory
        self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._databases = 0

    async def new_database_url(self) -> str:
        self._databases += 1
        name = f"test_{self._databases}"
        connection = await asyncpg.connect(host=str(self._directory), user="aegis", database="postgres")
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return f"postgresql://aegis@/{name}?host={self._directory}"

    def start(self) -> None:
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        options += f" -c unix_socket_directories={self._directory}"
        self._run(
            "pg_ctl",
            "-D",
            str(self._data),
            "-w",
            "-t",
            "60",
            "-l",
            str(self._directory / "log"),
            "-o",
            options,
            "start",
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-m", "immediate", "stop")

    def initialise(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self._directory, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "aegis", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _run(self, program: str, *arguments: str) -> None:
        as_user = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            **(as_user if os.geteuid() == 0 else {}),
        )
        if done.returncode:
            log = self._directory / "log"
            raise RuntimeError(f"{program}: {done.stdout!r}\n{log.read_text() if log.exists() else ''}")


@contextmanager
def private_cluster(programs: Path) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="aegis-pg-", dir="/tmp") as name:  # a socket's path is short (108 bytes)
        cluster = Cluster(programs, Path(name))
        cluster.initialise()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
