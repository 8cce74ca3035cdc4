"""`make demo`: `aegis demo` on this machine if it has what that needs, else in the lab.

Run as root, the demo itself runs as an ordinary user all the same: the daemon refuses to be root.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import yaml

from integration.beside import node_config
from integration.lab import DockerEngine, Lab, LabError, MissingPackages
from integration.lab.engine import native_engine
from integration.lab.preparation import PYTHON_IMAGE
from integration.lab.process import Process
from integration.lab.servers import SERVER_UID

DEMO_SECONDS = 300.0
LOOK_SECONDS = 0.1
WHY_THE_LAB = """\
No rootful Docker Engine answers here, or this kernel has no NFS client. So the demo runs in the lab, a small virtual
machine with both (docs/lab.md). It is prepared once, which takes about a minute."""


def main() -> int:
    """The exit code of the demo."""
    logging.basicConfig(format="lab: %(message)s", level=logging.INFO)
    if native_engine() is not None and os.geteuid() != 0:
        return os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-m", "aegis", "demo"])
    try:
        with Lab.open() as lab:
            if native_engine() is None:
                print(WHY_THE_LAB, flush=True)
            with lab.docker_engine() as engine:
                return run_demo(lab, engine)
    except (LabError, MissingPackages) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def run_demo(lab: Lab, engine: DockerEngine) -> int:
    """`aegis demo` as an ordinary user who may speak to the engine, its output shown as it comes."""
    arguments = ["--image", PYTHON_IMAGE]
    groups: list[int] = []
    if engine.native:
        groups.append(engine.socket.stat().st_gid)
    else:
        config = lab.scratch / "demo-config.yaml"
        config.write_text(yaml.safe_dump(node_config(engine)))
        config.chmod(0o644)
        arguments += ["--config", str(config)]
    process = engine.daemon_host.popen(
        [*engine.python.argv, "-m", "aegis", "demo", *arguments],
        uid=SERVER_UID,
        groups=groups,
        env={**engine.python.env, "PYTHONUNBUFFERED": "1"},
        cwd=engine.python.cwd,
        name="demo",
    )
    assert isinstance(process, Process)
    return shown(process)


def shown(process: Process) -> int:
    """Copy what it writes to our own output until it ends; its exit code."""
    deadline = time.monotonic() + DEMO_SECONDS
    with Path(process.log).open("rb") as log:
        while True:
            ended = process.poll() is not None
            sys.stdout.buffer.write(log.read())
            sys.stdout.flush()
            if ended:
                return process.wait(0)
            if time.monotonic() > deadline:
                raise LabError(f"the demo has not ended after {DEMO_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
