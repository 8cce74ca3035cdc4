"""`python -m integration.lab prepare|doctor|shell kernel|shell docker|clean`: the lab by hand."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable

from integration.lab import debian, doctor, engine, preparation
from integration.lab.errors import LabError
from integration.lab.guest import Guest
from integration.lab.lab import Lab
from integration.lab.network import Network
from integration.lab.servers import start_ganesha
from integration.lab.state import State

COMMAND_SECONDS = 3600.0


def prepare(_arguments: argparse.Namespace) -> int:
    """Install what is missing, and make the Docker guest's saved state if it is not there."""
    with Lab.open() as lab:
        debian.ensure(lab.state, debian.EVERYTHING)
        if engine.native_engine() is not None:
            print("this machine has a Docker Engine and an NFS client; nothing to prepare")
            return 0
        with lab.network() as network:
            started = time.monotonic()
            directory = preparation.prepare_guest(lab.state, network)
            print(f"Docker guest ready in {directory} ({time.monotonic() - started:.1f} s)")
    return 0


def examine(_arguments: argparse.Namespace) -> int:
    """Say what the lab would use here and what is missing; exit 1 when something is."""
    findings = doctor.examine(State())
    for finding in findings:
        print(f"{'ok     ' if finding.good else 'MISSING'}  {finding.what}")
        if finding.repair:
            print(f"         {finding.repair}")
    return 0 if all(finding.good for finding in findings) else 1


def shell(arguments: argparse.Namespace) -> int:
    """A shell, line by line, in a guest with an NFS mount on /mnt/nfs, or on a Docker Engine's machine."""
    with Lab.open() as lab:
        if arguments.machine == "docker":
            with lab.docker_engine() as running:
                print(f"DOCKER_HOST=unix://{running.socket} is this engine while the shell lasts")
                return _read_and_run(running.guest, "/")
        export = lab.export_directory("shell")
        export.chmod(0o777)
        with lab.network() as network, lab.kernel_client(network) as client:
            server = start_ganesha(lab.state, network, {"/t/v": export})
            client.mount("/mnt/nfs", export="/t/v", options=server.options())
            print(f"/mnt/nfs is {export} here, through nfs-ganesha")
            return _read_and_run(client, "/mnt/nfs")


def clean(_arguments: argparse.Namespace) -> int:
    """Remove the cache and what dead processes left; running labs keep theirs."""
    state = State()
    state.sweep()
    shutil.rmtree(state.cache, ignore_errors=True)
    return 0


def _read_and_run(guest: Guest | Network, cwd: str) -> int:
    print("one command a line; end with Ctrl-D")
    for line in sys.stdin:
        result = guest.run(["sh", "-c", line], cwd=cwd, timeout=COMMAND_SECONDS)
        sys.stdout.write(result.stdout.decode("utf-8", "replace") + result.stderr.decode("utf-8", "replace"))
        if result.returncode:
            print(f"[{result.returncode}]")
        sys.stdout.flush()
    return 0


def main() -> int:
    """Exit status: 0 done, 1 something is missing or failed, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m integration.lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    table: dict[str, Callable[[argparse.Namespace], int]] = {
        "prepare": prepare, "doctor": examine, "shell": shell, "clean": clean,
    }  # fmt: skip
    for name, function in table.items():
        command = commands.add_parser(name, help=(function.__doc__ or "").strip())
        command.set_defaults(function=function)
        if function is shell:
            command.add_argument("machine", choices=["kernel", "docker"])
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s lab[{os.getpid()}]: %(message)s", datefmt="%H:%M:%S")
    try:
        return int(arguments.function(arguments))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
