"""A real Docker Engine whose kernel mounts NFS: this machine's own, or a QEMU guest loaded from a saved state.

Two topologies, of one saved state; they differ in where 172.17.0.1 is:

    beside        the daemon runs on the host side of the lab's network, 172.17.0.1; the engine is at 172.17.0.3
    all-in-one    the daemon runs in the guest, on the engine's own kernel, beside /run/docker.sock; so is 172.17.0.1

On a machine with an engine of its own both mean this machine, and the gateway is docker0's address.
"""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from integration.lab import images, kernel, machine, preparation, user_python
from integration.lab.docker_api import DockerApi
from integration.lab.errors import LabError
from integration.lab.guest import Guest
from integration.lab.network import CONTAINERS, ENGINE_NUMBER, GATEWAY, Network
from integration.lab.preparation import BOOT_SECONDS, ENGINE_PORT
from integration.lab.process import Result
from integration.lab.state import State
from integration.lab.user_python import UserPython

Topology = Literal["beside", "all-in-one"]

NATIVE_SOCKET = Path("/var/run/docker.sock")
LOAD_SECONDS = 60.0
CODE = "/opt/code"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class DockerEngine:
    """A Docker Engine with an NFS client, and images `aegis-lab/busybox` and `aegis-lab/python`.

    `network`      where programs beside the engine run: `network.popen(...)`, `network.run(...)`
    `guest`        where programs on the engine's own machine run, by the same calls (natively that is `network`)
    `docker_host`  the engine's address, for programs in `network`
    `socket`       the engine's Unix socket, for anybody on this machine
    `gateway`      the address under which the engine's kernel finds the daemon's NFS server
    `python`       the project's Python for the daemon of this topology
    """

    network: Network
    guest: Guest | Network
    api: DockerApi
    docker_host: str
    socket: Path
    gateway: str
    topology: Topology
    python: UserPython
    native: bool = False

    @property
    def daemon_host(self) -> Guest | Network:
        """Where the daemon of this topology runs: `daemon_host.popen([*engine.python.argv, "-m", "aegis", ...])`."""
        return self.guest if self.topology == "all-in-one" else self.network

    @property
    def daemon_docker_host(self) -> str:
        """The daemon's DOCKER_HOST."""
        return "unix:///var/run/docker.sock" if self.topology == "all-in-one" else self.docker_host

    def guest_shell(self, command: str, timeout: float = 60) -> Result:
        """Run a shell command as root on the engine's own machine."""
        return self.guest.run(["sh", "-c", command], timeout=timeout)

    def restart_dockerd(self, timeout: float = BOOT_SECONDS) -> None:
        """Kill dockerd (its containers end when the new one finds them) and start it again; returns when it answers."""
        if not isinstance(self.guest, Guest):
            raise LabError("this machine's own Docker Engine is not the lab's to restart")
        self.guest_shell("kill -9 $(cat /run/docker.pid) && rm -f /run/docker.pid", timeout=timeout).check()
        self.guest.popen(["/opt/lab/dockerd"], env={"LAB_ADDRESS": self.guest.address})
        self.api.wait_until_ready(timeout, self.guest.console)

    def dockerd_log(self) -> str:
        """What dockerd of the guest has said."""
        return self.guest_shell("cat /run/dockerd.log").text


def native_engine() -> Path | None:
    """The socket of this machine's own Docker Engine, if it is rootful and its kernel can mount NFS; else None."""
    if not NATIVE_SOCKET.is_socket() or not kernel.host_has_nfs():
        return None
    api = DockerApi(_connect_native)
    if not api.ready():
        return None
    options = api.call("GET", "/info").get("SecurityOptions") or []
    return None if "name=rootless" in options else NATIVE_SOCKET


def use_native(state: State, network: Network, topology: Topology, python: UserPython) -> DockerEngine:
    """This machine's engine. `network` has to be a public one; what tests make in the engine they have to remove."""
    api = DockerApi(_connect_native)
    preparation.import_images(api, preparation.prepare_images(state))
    gateway = api.call("GET", "/networks/bridge")["IPAM"]["Config"][0]["Gateway"]
    return DockerEngine(
        network, network, api, f"unix://{NATIVE_SOCKET}", NATIVE_SOCKET, gateway, topology, python, native=True
    )


@contextlib.contextmanager
def load_guest(
    state: State, network: Network, topology: Topology, python: UserPython, scratch: Path
) -> Iterator[DockerEngine]:
    """Load an engine into a private `network`. One for each network: its address is part of the saved state."""
    directory = preparation.prepare_guest(state, network)
    tap = network.tap(ENGINE_NUMBER)
    with machine.load(network, tap, directory) as running:
        guest = Guest(network, tap.address, running.console)
        network.ip(f"route replace {CONTAINERS} via {tap.address}")
        guest.wake()
        api = DockerApi(lambda: network.connect(tap.address, ENGINE_PORT))
        api.wait_until_ready(LOAD_SECONDS, running.console)
        path = _forward(network, tap.address, scratch)
        if topology == "all-in-one":
            _move_in(network, guest)
            python = UserPython((user_python.SYSTEM_PYTHON,), {"PYTHONPATH": f"{CODE}:{images.LIBRARIES}"}, "/")
        try:
            yield DockerEngine(
                network, guest, api, f"tcp://{guest.address}:{ENGINE_PORT}", path, GATEWAY, topology, python
            )
        finally:
            guest.close_processes()


def _forward(network: Network, address: str, scratch: Path) -> Path:
    path = Path(tempfile.mkdtemp(dir=scratch)) / "docker.sock"
    path.parent.chmod(0o755)
    script = str(_HERE / "forward.py")
    forwarder = network.popen([user_python.SYSTEM_PYTHON, "-I", "-S", script, str(path), address, str(ENGINE_PORT)])
    forwarder.wait_for_line("^forward: ready", LOAD_SECONDS)
    network.on_close(forwarder.close)
    return path


def _move_in(network: Network, guest: Guest) -> None:
    """Make the guest the host: its own 172.17.0.1, and the project's code as it is now."""
    network.move_gateway_to_guest()
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch) / "code"
        user_python.stage_code(code)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(code, ".")
    unpack = f"ip addr add {GATEWAY}/32 dev lo && mkdir -p {CODE} && tar -x -C {CODE} && chmod 755 {CODE}"
    guest.run(["sh", "-c", unpack], input=archive.getvalue(), timeout=LOAD_SECONDS).check()


def _connect_native() -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(NATIVE_SOCKET))
    return peer
