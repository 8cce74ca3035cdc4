"""Containers of the Docker Engine in which this machine's own programs work on a volume.

A container's image has next to nothing; its `/usr` is this machine's, read-only and served as the workspace is: so npm,
gcc and CPython's tests are the very files that the comparison runs on the local disk, and nothing has to be packed,
imported or downloaded. The containers have no capabilities and get no new privileges, as agents'; no init either, which
the engine would put into `/usr`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aegis.domain.mounts import mount_options
from integration.lab import DockerEngine, Lab, NfsMount, Result
from integration.lab.guest import Guest
from integration.lab.preparation import PYTHON_IMAGE
from integration.lab.servers import start_nfsd
from integration.local_disk import ENVIRONMENT, EXCHANGE, fill_exchange
from integration.mounted import MOUNT, PYTHON, USER
from integration.workloads.manifest import Entry, of_lines

SECONDS_MAX = 1800.0  # git with 5,000 files takes 13 minutes in an emulated engine
WORKSPACE_PORT, TOOLS_PORT = 2049, 2050
WORKSPACE_EXPORT = "/t/v"
# Under a path of their own: what is read-only has a server of its own, whose word for it is the command line's.
TOOLS = {"/tools/usr": "/usr", "/tools/alternatives": "/etc/alternatives"}
EXCHANGE_EXPORT = "/tools/exchange"
# Programs do not change while the lab runs: the client need not ask again and again.
STEADY = "nocto,actimeo=3600"


@dataclass(frozen=True)
class Workshop:
    """`host` is the workspace on the server's disk."""

    engine: DockerEngine
    host: Path
    workspace: NfsMount
    tools: Sequence[NfsMount]

    def run(self, argv: Sequence[str], *, cwd: str = MOUNT, env: Mapping[str, str] = ENVIRONMENT) -> Result:
        """One command in one new container, as the user; what it prints comes when it has ended."""
        mounts = [self.workspace, *self.tools]
        if isinstance(self.engine.guest, Guest):
            self.engine.guest.wake()  # an emulated clock drifts, and times of files are the server's
        return self.engine.api.run(
            PYTHON_IMAGE, list(argv), uid=USER, mounts=mounts, cwd=cwd, env=env, locked_down=True, timeout=SECONDS_MAX
        )

    def manifest(self, name: str) -> list[Entry]:
        """What lies in the directory `name`, as a new container sees it: what the server says, since a mount of one's
        own begins with an empty cache."""
        argv = [*PYTHON, "manifest", "--directory", f"{MOUNT}/{name}"]
        return of_lines(self.run(argv, cwd=f"{EXCHANGE}/program").check().text.splitlines())


@contextmanager
def workshop(lab: Lab, engine: DockerEngine, name: str, *arguments: str) -> Iterator[Workshop]:
    """Two servers beside the engine, one of them with `arguments`, for this `with`."""
    address, user = engine.gateway, ("--uid", str(USER), "--gid", str(USER))
    exchange, host = lab.scratch / f"{name}-container-exchange", lab.export_directory(name)
    fill_exchange(exchange)
    states = [str(lab.export_directory(f"{name}-state-{number}")) for number in range(2)]
    shown = {export: Path(directory) for export, directory in TOOLS.items() if os.path.isdir(directory)}
    shown[EXCHANGE_EXPORT] = exchange
    own = start_nfsd(
        engine.network, lab.python, {WORKSPACE_EXPORT: host}, address=address, port=WORKSPACE_PORT,
        arguments=(*user, "--state-dir", states[0], *arguments),
    )  # fmt: skip
    tools = start_nfsd(
        engine.network, lab.python, shown, address=address, port=TOOLS_PORT,
        arguments=("--read-only", "--uid", "0", "--gid", "0", "--state-dir", states[1]),
    )  # fmt: skip
    try:
        options = [mount_options("robust", address=address, port=port, mountport=port)
                   for port in (WORKSPACE_PORT, TOOLS_PORT)]  # fmt: skip
        targets = {**TOOLS, EXCHANGE_EXPORT: EXCHANGE}
        yield Workshop(
            engine, host, NfsMount(WORKSPACE_EXPORT, options[0], MOUNT),
            [NfsMount(export, f"{options[1]},{STEADY}", targets[export], read_only=True) for export in shown],
        )  # fmt: skip
    finally:
        own.close()
        tools.close()
