"""Where and with what something was measured: without it a figure says nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from integration.lab import debian
from integration.lab.errors import LabError
from integration.lab.state import PROJECT


def busy() -> str | None:
    """A warning when others use the machine; None when it is quiet enough."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load < 0.25 * cores:
        return None
    return (
        f"load average {load:.1f} on {cores} cores: others are at work here. A server of one thread loses more to them "
        "than one of many, so the rates are unfair to ours; the CPU column is not. Measure again when it is quiet."
    )


def describe(loop: str) -> dict[str, str]:
    """By name, for people; kept in each result."""
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 30} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "?"),
        "interpreter": interpreter(),
        "loop": _loop(loop),
        "ganesha": _package("nfs-ganesha"),
        "generator": f"nfsload on libnfs {_package('libnfs13') or _package('libnfs-dev')}",
        "commit": _commit(),
        "load average before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def interpreter() -> str:
    """The build decides as much as the version: 15 % lie between one with profile-guided optimisation and one without.

    Debian applies it outside of the configure line (debian/rules), so its build is only named.
    """
    configured = sysconfig.get_config_var("CONFIG_ARGS") or ""
    if sys.base_prefix == "/usr" and Path("/etc/debian_version").exists():
        build = "Debian's build"
    else:
        words = [word for word in ("--enable-optimizations", "--with-lto") if word in configured]
        build = f"{sys.base_prefix}, {' '.join(words) or 'not optimised'}"
    return f"{platform.python_implementation()} {platform.python_version()} ({build})"


def _loop(name: str) -> str:
    if name == "uvloop":
        import importlib.metadata

        return f"uvloop {importlib.metadata.version('uvloop')}"
    return "asyncio (selector, epoll)"


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else platform.machine()


def _package(name: str) -> str:
    try:
        return debian.versions((name,)).strip().partition("=")[2]
    except (LabError, OSError, subprocess.CalledProcessError):
        return ""


def _commit() -> str:
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() or "unknown"
