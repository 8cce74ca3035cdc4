"""A workspace that a test works in: one of our servers, and a kernel client that has it mounted as agents have it.

The client's user is uid 1000, whom the volume is squashed to; the server's is another one, whose the files on the host
are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aegis.domain.mounts import mount_options
from integration.lab import KernelClient, Lab, Network, NfsServer
from integration.lab.servers import start_nfsd

USER = 1000
MOUNT = "/mnt/workspace"
EXPORT = "/t/v"
PYTHON = ("/usr/bin/python3", "-B", "-s", "-m", "integration.workloads")


@dataclass
class Mounted:
    """`host` is the directory on the server; `server` the one that serves it now."""

    lab: Lab
    network: Network
    client: KernelClient
    host: Path
    arguments: Sequence[str]
    server: NfsServer = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start the server; again after a `kill`, with the key and on the port it had."""
        self.server = start_nfsd(self.network, self.lab.python, {EXPORT: self.host}, arguments=self.arguments)

    def kill(self) -> None:
        """SIGKILL."""
        self.server.kill()
        self.server.close()

    @property
    def options(self) -> str:
        """Of the mount: what agents get by default."""
        server = self.server
        return mount_options("robust", address=server.address, port=server.port, mountport=server.mount_port)

    @property
    def program(self) -> str:
        """The directory in the guest from which `PYTHON` finds the workloads."""
        return f"{self.client.guest_exchange}/program"


@contextmanager
def mounted(lab: Lab, name: str, *arguments: str) -> Iterator[Mounted]:
    """A server with `arguments` beside the user's, and a client that has mounted it on `MOUNT`, for this `with`."""
    with lab.network() as network, lab.kernel_client(network) as client:
        state = lab.export_directory(f"{name}-state")
        given = ("--state-dir", str(state), "--uid", str(USER), "--gid", str(USER), *arguments)
        workspace = Mounted(lab, network, client, lab.export_directory(name), given)
        copy_program(client.exchange / "program")
        client.mount(MOUNT, export=EXPORT, options=workspace.options)
        yield workspace


def copy_program(directory: Path) -> None:
    """Put the workloads, and nothing else, where a guest or another user can read them."""
    here = Path(__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(here / "workloads", directory / "integration" / "workloads", ignore=ignored)
    shutil.copy(here / "__init__.py", directory / "integration")
