"""A real Linux kernel NFS client: this machine's own where it has one and we are root, else a User Mode Linux guest.

A UML guest is one process on the host, with this machine's root read-only as its own (hostfs), so every program of
the host is in it. It is up in about a second, and stays until closed. The native client is the same agent in a
network and mount namespace of its own, wired to the lab's bridge by a veth pair, so that two clients are two clients
there too: the kernel shares superblocks and caches only within one network namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from integration.lab import agent, debian, wide_state
from integration.lab.errors import LabError
from integration.lab.guest import AGENT_PORT, Guest
from integration.lab.network import HOST, Network
from integration.lab.process import Process
from integration.lab.state import State

UML = "/usr/bin/linux.uml"
UML_MEMORY_MIB = 512
BOOT_SECONDS = 60.0
STOP_SECONDS = 5.0
_HERE = Path(__file__).parent


def host_has_nfs() -> bool:
    """Whether this machine's kernel can mount NFS, for us: the file system is there (or loads), and we are root."""
    if os.geteuid() != 0:
        return False
    if not _nfs_registered() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "nfsv3"], capture_output=True, check=False, timeout=30)
    return _nfs_registered()


class KernelClient(Guest):
    """A guest that mounts. `exchange` here is `/mnt/exchange` there: one writable directory for files both see."""

    def __init__(self, network: Network, address: str, process: Process, exchange: Path) -> None:
        super().__init__(network, address, process.log)
        self.exchange = exchange
        self.guest_exchange = "/mnt/exchange"
        self._process = process

    @property
    def alive(self) -> bool:
        """Whether the guest still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Pull the plug: nothing is written back, nothing is unmounted, the server hears nothing more."""
        self._process.kill()
        self.close_processes()

    def close(self) -> None:
        """End the guest. Mounts go with it; a hanging server cannot hold it up. Safe to repeat."""
        self.close_processes()
        self._process.close()
        # The network stops its guests too, so this may be the second call, when the directory is gone already.
        shutil.rmtree(self.exchange, ignore_errors=True)

    def __enter__(self) -> KernelClient:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def start_client(state: State, network: Network, native: bool | None = None) -> KernelClient:
    """A kernel client on `network`; `native` forces one kind, by default the machine decides."""
    if native if native is not None else host_has_nfs():
        client = _start_native(network)
    else:
        client = _start_uml(state, network)
    network.on_close(client.close)
    return client


def _start_uml(state: State, network: Network) -> KernelClient:
    debian.ensure(state, debian.KERNEL_CLIENT)
    tap = network.tap()
    exchange = _exchange(network, tap.name)
    shutil.copy(_HERE / "uml_init.sh", exchange / "init")
    (exchange / "init").chmod(0o755)
    process = network.popen(
        [
            UML, f"mem={UML_MEMORY_MIB}M", f"umid={tap.name}", f"uml_dir={network.directory}/", "root=/dev/root",
            "rootfstype=hostfs", "rootflags=/", "ro", f"init={exchange / 'init'}", "con=null", "con0=null,fd:1",
            "quiet", "panic=-1",
            "initcall_blacklist=raid6_select_algo",  # measures RAID algorithms for a second that nobody here uses
            f"vec0:transport=tap,ifname={tap.name},depth=64,gro=1", f"LAB_ADDRESS={tap.address}", f"LAB_GATEWAY={HOST}",
            f"LAB_EXCHANGE={exchange}", f"LAB_PORT={AGENT_PORT}",
        ],
        env={"TMPDIR": _room_for_memory(state), **wide_state.environment(state)}, name=f"uml-{tap.name}",
    )  # fmt: skip
    return _ready(KernelClient(network, tap.address, process, exchange), process)


def _start_native(network: Network) -> KernelClient:
    tap = network.veth()
    exchange = _exchange(network, tap.name)
    script = str(_HERE / "native_init.sh")
    process = network.popen(
        ["unshare", "--net", "--mount", "--propagation", "private", "sh", script, tap.name, tap.address, HOST,
         str(exchange), str(AGENT_PORT)],
        name=f"native-{tap.name}",
    )  # fmt: skip
    process.wait_for_line("^lab native: waiting", BOOT_SECONDS)
    network.ip(f"link set {tap.name} netns {process.lab_pid}")
    return _ready(KernelClient(network, tap.address, process, exchange), process)


def _ready(client: KernelClient, process: Process) -> KernelClient:
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(client.close)
        process.wait_for_line("^lab agent: ready", BOOT_SECONDS)
        cleanup.pop_all()
    return client


def _exchange(network: Network, name: str) -> Path:
    directory = network.directory / f"{name}-exchange"
    directory.mkdir()
    directory.chmod(0o1777)  # any user of the guest may put files there
    shutil.copy(agent.__file__, directory / "agent.py")
    return directory


def _room_for_memory(state: State) -> str:
    """Where UML may keep its memory, a file it unlinks at once: the /dev/shm of a CI container is often 64 MiB."""
    wanted = UML_MEMORY_MIB << 20
    candidates = ["/dev/shm", os.environ.get("TMPDIR", "/tmp"), str(state.root)]
    for directory in candidates:
        if Path(directory).is_dir() and shutil.disk_usage(directory).free >= wanted:
            return directory
    raise LabError(f"a UML guest needs {UML_MEMORY_MIB} MiB free in one of {', '.join(candidates)}; none has it")


def _nfs_registered() -> bool:
    return any(line.split()[-1] == "nfs" for line in Path("/proc/filesystems").read_text("ascii").splitlines())
