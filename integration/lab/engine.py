"""A real Docker Engine whose kernel mounts NFS: a throw-away QEMU guest loaded from a state saved once, or this
machine's.

Two topologies, of one saved state; they differ in where 172.17.0.1 is:

    beside        the daemon runs on the host side of the lab's network, which is 172.17.0.1; the engine is at
    172.17.0.3 all-in-one    the daemon runs in the guest, on the engine's own kernel, with /var/run/docker.sock;
    172.17.0.1 is there
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from integration.lab import debian, images, machine, user_python
from integration.lab.docker_api import DockerApi
from integration.lab.errors import LabError, tail
from integration.lab.guest import Guest
from integration.lab.network import CONTAINERS, ENGINE_NUMBER, GATEWAY, Network
from integration.lab.process import POLL_SECONDS, Result
from integration.lab.state import State
from integration.lab.user_python import UserPython

Topology = Literal["beside", "all-in-one"]

ENGINE_PORT = 2375
NATIVE_SOCKET = "/var/run/docker.sock"
PREPARE_SECONDS = 600.0
BOOT_SECONDS = 180.0
LOAD_SECONDS = 30.0
CODE = "/opt/code"
BUSYBOX_IMAGE = "aegis-lab/busybox"
PYTHON_IMAGE = "aegis-lab/python"
IMAGES = {BUSYBOX_IMAGE: "busybox.tar", PYTHON_IMAGE: "python.tar"}
IMAGE_CHANGES = (
    "ENV PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin",
    "ENV HOME=/tmp",
    "ENV LANG=C.UTF-8",
    "WORKDIR /tmp",
    'CMD ["/bin/sh"]',
)
_WARM_IN_CONTAINER = "import json, sqlite3, urllib.request, venv"
_WARM_IN_GUEST = (
    "import aiodocker, aiohttp.web, aiosqlite, alembic.command, anthropic, openai, pydantic, rich.console, "
    "sqlalchemy.ext.asyncio, typer, yaml"
)
_HERE = Path(__file__).parent
_SOURCES = (
    "agent.py", "engine.py", "images.py", "machine.py", "network.py", "tree.py", "user_python.py", "qemu_init.sh",
    "qemu_dockerd.sh",
)  # fmt: skip


class DockerEngine:
    """A Docker Engine with an NFS client.

    `docker_host` is for programs in `network`; `socket` is a Unix socket for anybody on this machine; `gateway` is the
    address under which the engine's kernel reaches the daemon's NFS server, wherever that runs.
    """

    def __init__(self, network: Network, guest: Guest, api: DockerApi, socket_path: Path, topology: Topology) -> None:
        self.network = network
        self.guest = guest
        self.api = api
        self.socket = socket_path
        self.topology = topology
        self.gateway = GATEWAY
        self.docker_host = f"tcp://{guest.address}:{ENGINE_PORT}"

    def guest_shell(self, command: str, timeout: float = 60) -> Result:
        """Run a shell command as root on the engine's own machine."""
        return self.guest.run(["sh", "-c", command], timeout=timeout)

    @property
    def python(self) -> UserPython:
        """How to run the project inside the all-in-one guest, as its user `aegis` (uid 990, in group docker)."""
        return UserPython((user_python.SYSTEM_PYTHON,), {"PYTHONPATH": f"{CODE}:{images.LIBRARIES}"}, "/")

    def restart_dockerd(self, timeout: float = BOOT_SECONDS) -> None:
        """Kill dockerd (containers go with it, as after a crash) and start it again; returns when it answers."""
        self.guest_shell("kill -9 $(cat /run/docker.pid); rm -f /run/docker.pid", timeout=timeout).check()
        self.guest.popen(["/opt/lab/dockerd"], env={"LAB_ADDRESS": self.guest.address}, name="dockerd")
        _wait_for_engine(self.api, self.guest.console, timeout)

    def dockerd_log(self) -> str:
        """What dockerd has said."""
        return self.guest_shell("cat /run/dockerd.log").text


def prepare(state: State, network: Network) -> Path:
    """The directory of the saved state; made now, in about a minute, if anything it depends on has changed."""
    debian.ensure(state, debian.DOCKER)
    kernel = debian.guest_kernel(state)
    return state.prepared("engine", _key(kernel), lambda target: _build(network, kernel, target), PREPARE_SECONDS)


@contextlib.contextmanager
def start_engine(state: State, network: Network, topology: Topology, scratch: Path) -> Iterator[DockerEngine]:
    """Load an engine into `network`. One engine for each network: its address is part of the saved state."""
    directory = prepare(state, network)
    tap = network.tap(ENGINE_NUMBER)
    with machine.load(network, tap, directory) as running:
        guest = Guest(network, tap.address, running.console)
        network.ip(f"route replace {CONTAINERS} via {tap.address}")
        guest.wake()
        api = DockerApi(lambda: network.connect(tap.address, ENGINE_PORT))
        _wait_for_engine(api, running.console, LOAD_SECONDS)
        socket_path = Path(tempfile.mkdtemp(dir=scratch)) / "docker.sock"
        socket_path.parent.chmod(0o755)
        forwarder = network.popen(
            [user_python.SYSTEM_PYTHON, "-I", "-S", str(_HERE / "forward.py"), str(socket_path), tap.address,
             str(ENGINE_PORT)],
            name=f"forward-{tap.name}",
        )  # fmt: skip
        forwarder.wait_for_line("^forward: ready", LOAD_SECONDS)
        engine = DockerEngine(network, guest, api, socket_path, topology)
        if topology == "all-in-one":
            _move_in(engine)
        try:
            yield engine
        finally:
            guest.close_processes()
            forwarder.close()


def _key(kernel: Path) -> str:
    """Everything the saved state was made of."""
    digest = hashlib.sha256()
    for word in (kernel.name, debian.versions(debian.DOCKER), user_python.library_versions()):
        digest.update(word.encode() + b"\0")
    for name in _SOURCES:
        digest.update((_HERE / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _build(network: Network, package: Path, target: Path) -> None:
    """Make the guest's files, boot it once, load the images, warm its caches, and freeze it."""
    with tempfile.TemporaryDirectory(dir=target) as scratch_name:
        scratch = Path(scratch_name)
        kernel = images.unpack_kernel(package, scratch / "kernel")
        images.build_boot_files(kernel, target / "vmlinuz", target / "initrd")
        images.build_guest_tree(scratch / "root", kernel)
        images.build_disk(network, scratch / "root", target / "disk")
        images.build_busybox_image(scratch / "busybox", scratch / IMAGES[BUSYBOX_IMAGE])
        images.build_python_image(scratch / "python", scratch / IMAGES[PYTHON_IMAGE])
        tap = network.tap(ENGINE_NUMBER)
        with machine.boot(network, tap, target) as running:
            guest = Guest(network, tap.address, running.console)
            api = DockerApi(lambda: network.connect(tap.address, ENGINE_PORT))
            _wait_for_engine(api, running.console, BOOT_SECONDS)
            for name, archive in IMAGES.items():
                api.import_image(name, scratch / archive, IMAGE_CHANGES)
            _warm_up(api, guest)
            running.save(target / "state")
        network.untap(tap)


def _warm_up(api: DockerApi, guest: Guest) -> None:
    """Have everything in the page cache that a first container, a first network and a first daemon would read."""
    for image in IMAGES:
        api.run(image, ["/bin/sh", "-c", "true"]).check()
    api.run(PYTHON_IMAGE, ["sh", "-c", f"git --version && python3 -c '{_WARM_IN_CONTAINER}'"]).check()
    network = api.call("POST", "/networks/create", {"Name": "warm-up", "Internal": True})
    api.run(BUSYBOX_IMAGE, ["true"], network="warm-up").check()
    api.call("DELETE", f"/networks/{network['Id']}")
    warm = [user_python.SYSTEM_PYTHON, "-c", _WARM_IN_GUEST]
    guest.run(warm, env={"PYTHONPATH": images.LIBRARIES}, timeout=BOOT_SECONDS).check()
    guest.run(["sync"], timeout=60).check()


def _move_in(engine: DockerEngine) -> None:
    """Make the guest the host: its own 172.17.0.1, and the project's code as it is now."""
    engine.network.move_gateway_to_guest()
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch) / "code"
        user_python.stage_code(code)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(code, ".")
    unpack = f"ip addr add {GATEWAY}/32 dev lo && mkdir -p {CODE} && chmod 755 {CODE} && tar -x -C {CODE}"
    engine.guest.run(["sh", "-c", unpack], input=archive.getvalue(), timeout=60).check()


def _wait_for_engine(api: DockerApi, console: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not api.ready():
        if time.monotonic() > deadline:
            raise LabError(f"the Docker Engine did not answer in {timeout:.0f} s\n{tail(console)}")
        time.sleep(POLL_SECONDS * 5)
