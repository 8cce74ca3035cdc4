"""A real Linux kernel NFS client and a real Docker Engine, on any machine that runs Debian. See docs/lab.md.

    with Lab.open() as lab, lab.network() as network, lab.kernel_client(network) as client:
        client.mount("/mnt/a", export="/t/v", options="addr=172.17.0.1,nfsvers=3,...")
        client.run(["tar", "x"], cwd="/mnt/a", uid=1000, timeout=60, input=archive).check()

Nothing of it touches the machine: networks, mounts and processes live in namespaces that end with the test process.
"""

from integration.lab.docker_api import NfsMount
from integration.lab.engine import DockerEngine
from integration.lab.errors import LabError, MissingPackages
from integration.lab.guest import Guest, GuestProcess
from integration.lab.kernel import KernelClient
from integration.lab.lab import Lab
from integration.lab.network import Network
from integration.lab.process import CommandTimeout, Process, Result
from integration.lab.servers import NfsServer

__all__ = [
    "Lab", "Network", "Guest", "KernelClient", "DockerEngine", "NfsMount", "NfsServer",
    "Process", "GuestProcess", "Result",
    "LabError", "MissingPackages", "CommandTimeout",
]  # fmt: skip
