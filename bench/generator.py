"""The load generator: built from bench/nfsload when its source changed, and run inside the lab's network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.peers import Peer
from bench.rows import Load
from integration.lab import Network
from integration.lab.process import Process

SOURCE = Path(__file__).parent / "nfsload"
BUILD = Path(__file__).parent / ".build"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
BUILD_SECONDS = 120
EXTRA_SECONDS = 60.0
CLIENT_UID = 1000
SEED = 1813

Sample = Mapping[str, float]
"""What the generator reports: numbers by name; see `report` in bench/nfsload/main.c."""


def build() -> Path:
    """The program. BenchError with the compiler's words, or with what to install."""
    sources = sorted([*SOURCE.glob("*.c"), *SOURCE.glob("*.h")])
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for source in sources:
        digest.update(source.read_bytes())
    program = BUILD / f"nfsload-{digest.hexdigest()[:16]}"
    if program.exists():
        return program
    if shutil.which("gcc") is None or not Path("/usr/include/nfsc/libnfs-raw.h").exists():
        raise BenchError("the load generator needs a compiler and libnfs: sudo apt-get install gcc libnfs-dev")
    BUILD.mkdir(exist_ok=True)
    draft = program.with_suffix(f".{os.getpid()}")
    command = ["gcc", *FLAGS, "-o", str(draft), *(str(file) for file in sources if file.suffix == ".c"), "-lnfs"]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    if built.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{built.stderr}")
    for old in BUILD.glob("nfsload-*"):
        if not old.suffix:  # else it is a draft, of somebody who builds at the same time
            old.unlink(missing_ok=True)
    draft.rename(program)
    return program


class Generator:
    """Runs the program against a peer."""

    def __init__(self, network: Network, program: Path) -> None:
        self._network = network
        self._program = program

    def run(self, peer: Peer, load: Load, seconds: float, warmup: float) -> Sample:
        """One run. LabError with the generator's message when an answer was wrong or none came."""
        result = self._network.run(self._argv(peer, load, seconds, warmup), timeout=seconds + warmup + EXTRA_SECONDS)
        return parse(result.check().text)

    def start(self, peer: Peer, load: Load, seconds: float) -> Process:
        """One run beside others, whose figures nobody wants."""
        return self._network.popen(self._argv(peer, load, seconds, 0.0), name=f"beside-{peer.name}")

    def _argv(self, peer: Peer, load: Load, seconds: float, warmup: float) -> Sequence[str]:
        # A directory for each server: they cache names and sizes, and would not see what the other one changed.
        return [
            str(self._program), f"--host={peer.address}", f"--port={peer.port}", f"--mount-port={peer.mount_port}",
            f"--export=/bench/{load.place}", f"--directory={peer.name}", f"--pid={peer.pid}", f"--uid={CLIENT_UID}",
            f"--seed={SEED}", f"--seconds={seconds}", f"--warmup={warmup}", *load.words(),
        ]  # fmt: skip


def parse(line: str) -> Sample:
    """One line of the generator's output; BenchError when it is none."""
    try:
        report = json.loads(line)
        return {name: float(value) for name, value in report.items() if name != "operation"}
    except (ValueError, AttributeError, TypeError) as error:
        raise BenchError(f"the load generator said {line!r}: {error}") from error
