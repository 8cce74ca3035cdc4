"""NFS servers inside a lab network: ours, and nfs-ganesha to compare with.

Both listen on one port for NFS and MOUNT alike or on two that are told, so no client has to ask a portmapper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from integration.lab import debian
from integration.lab.network import GATEWAY, Network
from integration.lab.process import Process
from integration.lab.state import State
from integration.lab.user_python import UserPython

NFS_PORT = 2049
READY_SECONDS = 20.0
SERVER_UID = 990
LAB_ADDRESSES = "172.17.0.0/16"
PAGE_OPTIONS = "nfsvers=3,proto=tcp,soft,timeo=10,nolock"
ROBUST_OPTIONS = "nfsvers=3,proto=tcp,hard,timeo=50,retrans=3,nolock"


@dataclass
class NfsServer:
    """A running server, with the mount options that reach it."""

    process: Process
    address: str
    port: int
    mount_port: int

    def options(self, words: str = PAGE_OPTIONS) -> str:
        """The kernel's mount options (dockerd's `o=`) for this server; `words` are those that are not addresses."""
        return f"addr={self.address},{words},port={self.port},mountport={self.mount_port},mountproto=tcp"

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def stop(self) -> int:
        """SIGTERM, and its return code."""
        return self.process.stop()

    def close(self) -> None:
        """SIGKILL, and let go of the process. Safe to repeat."""
        self.process.close()


def start_nfsd(
    network: Network, python: UserPython, exports: Mapping[str, Path], *, arguments: Sequence[str] = (),
    address: str = GATEWAY, port: int = NFS_PORT, uid: int = SERVER_UID, allow: str = LAB_ADDRESSES,
) -> NfsServer:  # fmt: skip
    """`python -m nfsd` as an ordinary user, whose the exported directories must be: see `Lab.export_directory`."""
    words = [word for name, directory in exports.items() for word in ("--export", f"{name}={directory}")]
    process = network.popen(
        [*python.argv, "-m", "nfsd", "--listen", f"{address}:{port}", *words, "--allow", allow, *arguments],
        uid=uid, env=python.env, cwd=python.cwd,
    )  # fmt: skip
    network.wait_for_port(address, port, READY_SECONDS, process)
    server = NfsServer(process, address, port, port)
    network.on_close(server.close)
    return server


def start_ganesha(state: State, network: Network, exports: Mapping[str, Path], address: str = GATEWAY) -> NfsServer:
    """nfs-ganesha 4 as root, NFSv3 only. It keeps names cached: do not delete exported files behind its back.

    It will not start without an rpcbind to register with, so it gets one in a mount namespace of its own (the
    socket's path is fixed), which is stopped as soon as the server is up.
    """
    debian.ensure(state, debian.GANESHA)
    mount_port = 20048
    config = network.directory / "ganesha.conf"
    config.write_text(_ganesha_config(exports, NFS_PORT, mount_port), "utf-8")
    script = (
        "mount -t tmpfs tmpfs /run && mkdir /run/ganesha && rpcbind -w && "
        "while ! [ -S /run/rpcbind.sock ]; do sleep 0.05; done; "
        'exec ganesha.nfsd -F -f "$0" -L /dev/stdout -p /run/ganesha.pid -N EVENT'
    )
    process = network.popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(config)], name="ganesha"
    )
    network.wait_for_port(address, mount_port, READY_SECONDS, process)
    server = NfsServer(process, address, NFS_PORT, mount_port)
    network.on_close(server.close)
    return server


def _ganesha_config(exports: Mapping[str, Path], port: int, mount_port: int) -> str:
    blocks = [
        f"NFS_CORE_PARAM {{ Protocols = 3; NFS_Port = {port}; MNT_Port = {mount_port}; Enable_NLM = false; "
        "Enable_RQUOTA = false; Enable_UDP = false; mount_path_pseudo = true; }",
        "NFS_KRB5 { Active_krb5 = false; }",
    ]
    for number, (name, directory) in enumerate(exports.items(), start=1):
        blocks.append(
            f"EXPORT {{ Export_Id = {number}; Path = {directory}; Pseudo = {name}; Access_Type = RW; "
            "Squash = No_Root_Squash; SecType = sys; Protocols = 3; Transports = TCP; FSAL { Name = VFS; } }"
        )
    return "\n".join(blocks) + "\n"
