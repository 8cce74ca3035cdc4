"""This machine's disk, seen where a guest or a container has the volume: the other side of each comparison."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.lab import Lab, Network, Result
from integration.mounted import MOUNT, PYTHON, USER, copy_program
from integration.workloads import material
from integration.workloads.manifest import Entry, of_lines

FULL = os.environ.get("AEGIS_WORKLOADS") == "full"
FILES = 5000 if FULL else 800
ENTRIES = 100_000 if FULL else 1_000
SECONDS_MAX = 900.0
EXCHANGE = "/mnt/exchange"
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC", "FILES": str(FILES),
    "ENTRIES": str(ENTRIES), "MATERIAL": f"{EXCHANGE}/material", "PROGRAM": f"{EXCHANGE}/program",
}  # fmt: skip


@dataclass
class Local:
    """`host` of this machine's disk, on `MOUNT` in a mount namespace of its own."""

    network: Network
    host: Path

    def run(self, script: str, cwd: str) -> Result:
        """A bash script, as the user."""
        argv = ["bash", "-ec", script]
        return self.network.run(argv, cwd=cwd, uid=USER, env=ENVIRONMENT, timeout=SECONDS_MAX)

    def manifest(self, name: str) -> list[Entry]:
        """What lies in the directory `name`."""
        argv = [*PYTHON, "manifest", "--directory", f"{MOUNT}/{name}"]
        result = self.network.run(argv, cwd=f"{EXCHANGE}/program", uid=USER, timeout=SECONDS_MAX)
        return of_lines(result.check().text.splitlines())


@contextmanager
def local_disk(lab: Lab, name: str) -> Iterator[Local]:
    """An empty directory of the user's, and the chores' material, under the paths they have in a guest."""
    with lab.network() as network:
        host = lab.export_directory(f"{name}-local", USER)
        exchange = lab.scratch / f"{name}-exchange"
        fill_exchange(exchange)
        # The network's own mount namespace: nobody else's /mnt is covered.
        script = (
            f"mount -t tmpfs tmpfs /mnt; mkdir {MOUNT} {EXCHANGE}; mount --bind $0 {MOUNT}; mount --bind $1 {EXCHANGE}"
        )
        network.run(["sh", "-ec", script, str(host), str(exchange)], timeout=30).check()
        yield Local(network, host)


def fill_exchange(directory: Path) -> None:
    """What chores work on and the programs that look at the outcome, for any user to read."""
    directory.mkdir()
    material.make(directory / "material")
    copy_program(directory / "program")


def told(result: Result) -> str:
    """What a chore printed and how it ended: the same on both sides."""
    return f"exit status {result.returncode}\n{result.text}"
