"""User Mode Linux on a CPU whose registers are more than it knows of: a shim that it is started with.

Needed where the CPU has AMX; `uml_wide_state.c` says why. Anywhere else nothing is built and nothing preloaded.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from integration.lab import debian
from integration.lab.errors import LabError
from integration.lab.state import State

SOURCE = Path(__file__).with_name("uml_wide_state.c")
BUILD_SECONDS = 120
COMPILER = ("gcc", "libc6-dev")


def cpu_is_wide() -> bool:
    """Whether this machine's extended registers outgrow UML's buffer."""
    return "amx_tile" in Path("/proc/cpuinfo").read_text("ascii").partition("\n\n")[0].split()


def environment(state: State) -> dict[str, str]:
    """What UML's environment needs here; the shim is compiled at the first time."""
    if not cpu_is_wide():
        return {}
    debian.ensure(state, COMPILER)
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    return {"LD_PRELOAD": str(state.prepared("uml-wide-state", key, _build, BUILD_SECONDS) / "shim.so")}


def _build(directory: Path) -> None:
    argv = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(directory / "shim.so"), str(SOURCE)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    if done.returncode:
        raise LabError(f"cannot build the shim for User Mode Linux: {' '.join(argv)}\n{done.stderr}")
