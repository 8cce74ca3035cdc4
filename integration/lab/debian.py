"""Which Debian packages the lab needs, and how they get here.

Root installs what is missing, once, under a lock. Anybody else gets the exact command. Nothing else is ever fetched:
the guest kernel of the Docker lab is a Debian package too, unpacked but not installed (installing one would touch
/boot).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from integration.lab.errors import LabError, MissingPackages
from integration.lab.state import State

KERNEL_CLIENT = ("busybox-static", "iproute2", "user-mode-linux")
DOCKER = (
    "busybox-static", "containerd", "crun", "docker.io", "e2fsprogs", "git", "iproute2", "iptables", "python3-venv",
    "qemu-system-x86", "runc",
)  # fmt: skip
GANESHA = ("nfs-ganesha", "nfs-ganesha-vfs", "rpcbind")
EVERYTHING = tuple(sorted({*KERNEL_CLIENT, *DOCKER, *GANESHA}))

GUEST_KERNEL = "linux-image-cloud-amd64"
APT_ARCHIVES = Path("/var/cache/apt/archives")
INSTALL_SECONDS = 600
_KERNEL_FILE = re.compile(r"linux-image-(\d[^_]*-cloud-amd64)_([^_]+)_amd64\.deb")


def missing(packages: tuple[str, ...]) -> list[str]:
    """Those of `packages` that are not installed (all of them on a machine without dpkg)."""
    try:
        query = subprocess.run(
            ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", *packages],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    except FileNotFoundError:
        return list(packages)
    installed = {line.split()[0] for line in query.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def install_command(packages: list[str]) -> str:
    """What a user who may become root has to type."""
    names = shlex.join(packages)
    return f"sudo apt-get update && sudo apt-get install -y --no-install-recommends {names}"


def ensure(state: State, packages: tuple[str, ...]) -> None:
    """Make sure that `packages` are installed; `MissingPackages` with the command where we may not install them."""
    if not missing(packages):
        return
    with state.lock("apt", timeout_seconds=INSTALL_SECONDS):
        wanted = missing(packages)
        if not wanted:
            return
        if os.geteuid() != 0:
            raise MissingPackages(wanted, install_command(wanted))
        _apt("update", "-q")
        _apt("install", "-y", "-q", "--no-install-recommends", *wanted)


def versions(packages: tuple[str, ...]) -> str:
    """`package=version` of each, for cache keys: a security update of one makes a new guest."""
    return subprocess.run(
        ["dpkg-query", "-W", "-f=${Package}=${Version}\n", *packages],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


def guest_kernel(state: State) -> Path:
    """The .deb of a Debian cloud kernel: one we have, else one apt has, else downloaded (27 MB)."""
    for directory in (state.cache, APT_ARCHIVES):
        found = sorted(path for path in directory.glob("linux-image-*.deb") if _KERNEL_FILE.fullmatch(path.name))
        if found:
            return found[-1]
    with state.lock("apt", timeout_seconds=INSTALL_SECONDS):
        depends = subprocess.run(
            ["apt-cache", "depends", GUEST_KERNEL], capture_output=True, text=True, check=False, timeout=60
        ).stdout
        name = re.search(r"Depends: (linux-image-\S+)", depends)
        if name is None:
            raise LabError(f"apt knows no package {GUEST_KERNEL}; run: sudo apt-get update")
        _apt("download", "-q", name[1], cwd=state.cache)
    return guest_kernel(state)


def _apt(*arguments: str, cwd: Path | None = None) -> None:
    # RUNLEVEL=1 keeps invoke-rc.d from starting dockerd and ganesha on a machine that only wants their programs.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    done = subprocess.run(
        ["apt-get", *arguments], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=INSTALL_SECONDS,
    )  # fmt: skip
    if done.returncode:
        raise LabError(f"apt-get {shlex.join(arguments)} failed with {done.returncode}:\n{done.stdout[-2000:]}")
