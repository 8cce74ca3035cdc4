"""The two servers that are compared, both running, on the same directories."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from integration.lab import Lab, Network
from integration.lab.network import GATEWAY
from integration.lab.servers import LAB_ADDRESSES, READY_SECONDS, SERVER_UID, NfsServer, start_ganesha
from integration.lab.state import PROJECT

OURS = "nfsd"
GANESHA = "ganesha"
OUR_PORT = 2050
_MEMORY = ("/dev/shm", "/run/user/0")  # noqa: S108  # a tmpfs is what is looked for
_DISKS = ("/var/tmp", "/srv", str(PROJECT))  # noqa: S108  # never a tmpfs by the FHS, unlike /tmp


@dataclass(frozen=True)
class Peer:
    """A server as the generator sees it; `pid` as processes of its network count."""

    name: str
    address: str
    port: int
    mount_port: int
    pid: int


@dataclass(frozen=True)
class Peers:
    """Both, ours first, with their handles for mounting."""

    ours: Peer
    ganesha: Peer
    servers: Mapping[str, NfsServer]
    state: Path
    """Our server's own directory, to be read when it has ended."""

    def __iter__(self) -> Iterator[Peer]:
        return iter((self.ours, self.ganesha))


@contextlib.contextmanager
def places() -> Iterator[dict[str, Path]]:
    """Directories that the servers' users may write to, by `bench.rows.Place`; removed afterwards."""
    with contextlib.ExitStack() as cleanup:
        memory = _temporary(cleanup, _MEMORY, wanted="tmpfs")
        disk = _temporary(cleanup, _DISKS, wanted="disk")
        chosen = {"tmpfs": memory / "tmpfs", "disk": disk / "disk", "durable": disk / "durable"}
        for directory in chosen.values():
            directory.mkdir()
            if os.geteuid() == 0:
                os.chown(directory, SERVER_UID, SERVER_UID)
            directory.chmod(0o777)
        yield chosen


@contextlib.contextmanager
def both(
    lab: Lab, network: Network, directories: Mapping[str, Path], *, loop: str = "asyncio", sample: Path | None = None
) -> Iterator[Peers]:
    """Both servers, exporting each place as /bench/<place>; ended afterwards. LabError when one does not start."""
    exports = {f"/bench/{place}": directory for place, directory in directories.items()}
    ganesha = start_ganesha(lab.state, network, exports)
    state = lab.export_directory(f"state-of-{network.directory.name}")
    ours = start_ours(lab, network, exports, state, loop=loop, sample=sample)
    servers = {OURS: ours, GANESHA: ganesha}
    try:
        yield Peers(peer(OURS, ours), peer(GANESHA, ganesha), servers, state)
    finally:
        ours.stop()
        ganesha.stop()


def start_ours(
    lab: Lab,
    network: Network,
    exports: Mapping[str, Path],
    state: Path,
    *,
    loop: str = "asyncio",
    sample: Path | None = None,
) -> NfsServer:
    """`bench.production` as an ordinary user, who owns `state` (`Lab.export_directory`)."""
    python = lab.python
    code = Path(python.env["PYTHONPATH"].partition(":")[0])
    if not (code / "bench").exists():  # the lab made a copy of the packages that its users may read
        shutil.copytree(PROJECT / "bench", code / "bench", ignore=shutil.ignore_patterns("__pycache__", ".build"))
    words = [f"--export={path}={directory}={_durability(path)}" for path, directory in exports.items()]
    words += [f"--loop={loop}", f"--state-dir={state}", f"--audit-file={state / 'audit'}", f"--allow={LAB_ADDRESSES}"]
    if sample is not None:
        words.append(f"--sample={sample}")
    process = network.popen(
        [*python.argv, "-m", "bench.production", f"--listen={GATEWAY}:{OUR_PORT}", *words],
        uid=SERVER_UID, env=python.env, cwd=python.cwd, name=OURS,
    )  # fmt: skip
    network.wait_for_port(GATEWAY, OUR_PORT, READY_SECONDS, process)
    server = NfsServer(process, GATEWAY, OUR_PORT, OUR_PORT)
    network.on_close(server.close)
    return server


def _durability(export: str) -> str:
    return "stable" if export.endswith("/durable") else "host"


def peer(name: str, server: NfsServer) -> Peer:
    """Of a running server."""
    return Peer(name, server.address, server.port, server.mount_port, server.process.lab_pid)


def filesystem_of(directory: str | Path) -> str:
    """Its type, as stat(1) names it."""
    command = ["stat", "--file-system", "--format=%T", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _temporary(cleanup: contextlib.ExitStack, candidates: Sequence[str], wanted: str) -> Path:
    for candidate in candidates:
        if os.access(candidate, os.W_OK | os.X_OK) and (filesystem_of(candidate) == "tmpfs") == (wanted == "tmpfs"):
            path = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="nfsd-bench-", dir=candidate)))
            path.chmod(0o755)
            return path
    raise BenchError(f"no writable {wanted} directory among {', '.join(candidates)}")
