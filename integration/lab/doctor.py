"""What the lab finds on this machine: which kind of client and engine it would use, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from integration.lab import debian, engine, kernel, machine, wide_state
from integration.lab.state import State

CACHE_BYTES = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report; `repair` is the command or setting that mends it."""

    good: bool
    what: str
    repair: str = ""


def examine(state: State) -> list[Finding]:
    """Look at everything the lab depends on. Changes nothing."""
    return [
        _machine(), _packages("kernel client", debian.KERNEL_CLIENT), _packages("Docker guest", debian.DOCKER),
        _packages("nfs-ganesha", debian.GANESHA), _tun(), _client(), _engine(), _room("cache", state.root, CACHE_BYTES),
        _room("overlay of the guest's disk", Path("/var/tmp"), 512 << 20), _memory(),
    ]  # fmt: skip


def _machine() -> Finding:
    good = platform.machine() == "x86_64"
    return Finding(good, f"machine is {platform.machine()}", "" if good else "the guests are x86_64 only")


def _packages(what: str, packages: tuple[str, ...]) -> Finding:
    missing = debian.missing(packages)
    if not missing:
        return Finding(True, f"Debian packages for the {what}")
    return Finding(False, f"Debian packages for the {what}: {' '.join(missing)}", debian.install_command(missing))


def _tun() -> Finding:
    good = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    return Finding(good, "/dev/net/tun", "" if good else "sudo modprobe tun; sudo chmod 0666 /dev/net/tun")


def _client() -> Finding:
    if kernel.host_has_nfs():
        return Finding(True, "kernel NFS client: this machine's kernel")
    if not wide_state.cpu_is_wide():
        return Finding(True, "kernel NFS client: User Mode Linux")
    return _packages("kernel NFS client, User Mode Linux with a shim for AMX", wide_state.COMPILER)


def _engine() -> Finding:
    native = engine.native_engine()
    return Finding(True, f"Docker Engine: {native or 'QEMU guest with a saved state'}")


def _room(what: str, directory: Path, wanted: int) -> Finding:
    free = shutil.disk_usage(directory).free
    good = free >= wanted
    text = f"{free >> 20} MiB free in {directory} for the {what}"
    return Finding(good, text, "" if good else f"needs {wanted >> 20} MiB; set AEGIS_LAB_DIR or TMPDIR")


def _memory() -> Finding:
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    free_mib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) >> 10
    wanted = machine.MEMORY_MIB + kernel.UML_MEMORY_MIB
    good = free_mib >= wanted
    return Finding(
        good, f"{free_mib} MiB of memory available", "" if good else f"a pair of guests may use {wanted} MiB"
    )
