"""`python -m bench first-command`: from the request for an execution to the end of its agent's first command, beside a
bare container of the same image with the same mount on the same engine.

Both are measured to the end of the command `true`: ours from the POST to the event that tells it ended; the bare one,
made with the Docker API as `docker run` makes it, to the engine's word that it exited. In turn, pair by pair.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench import machine, results
from bench.plot import Bar, svg
from bench.ratios import Spread, spread
from bench.table import markdown, ratio_cell
from integration.daemon import Daemon, agent, call, daemon_beside, say
from integration.lab import DockerEngine, Lab
from integration.lab.preparation import BUSYBOX_IMAGE, PYTHON_IMAGE
from integration.lab.servers import start_nfsd

IMAGES = (BUSYBOX_IMAGE, PYTHON_IMAGE)
BARE_PORT = 2050
REPETITIONS = 5
GOAL = 1.3
COMMAND = "true"


@dataclass
class Series:
    """Seconds, pair by pair."""

    image: str
    ours: list[float]
    bare: list[float]

    def ratio(self) -> Spread | None:
        return spread([one / other for one, other in zip(self.ours, self.bare, strict=True)])


@contextmanager
def prepared(lab: Lab, engine: DockerEngine) -> Iterator[tuple[Daemon, Callable[[str], float]]]:
    """The daemon, and what runs one bare container of an image and says how long that took."""
    home = lab.export_directory("first-command")
    bare_volume = lab.export_directory("first-command-bare")
    bare_state = lab.export_directory("first-command-state")
    server = start_nfsd(
        engine.network, lab.python, {"/bare/volume": bare_volume}, port=BARE_PORT,
        arguments=["--state-dir", str(bare_state), "--uid", "1000", "--gid", "1000", "--durability", "host"],
    )  # fmt: skip
    options = f"addr={engine.gateway},{server.options()}"
    with daemon_beside(engine, home) as daemon:
        daemon.start()
        daemon.script("first", [call("cmd.run", command=COMMAND), say("done")])
        yield daemon, lambda image: bare(engine, image, options)
        daemon.stop()


def bare(engine: DockerEngine, image: str, options: str) -> float:
    """Seconds from the request for a container to its end; then it is removed."""
    volume = {
        "Type": "volume", "Source": f"lab-{secrets.token_hex(8)}", "Target": "/workspace",
        "VolumeOptions": {"NoCopy": True, "DriverConfig": {"Name": "local", "Options": {
            "type": "nfs", "o": options, "device": ":/bare/volume"}}},
    }  # fmt: skip
    host = {"NetworkMode": "aegis", "Mounts": [volume], "CapDrop": ["ALL"], "Init": True}
    began = time.monotonic()
    config = {"Image": image, "Cmd": [COMMAND], "User": "1000:1000", "HostConfig": host}
    created = engine.api.call("POST", "/containers/create", config)["Id"]
    try:
        engine.api.call("POST", f"/containers/{created}/start")
        status = engine.api.call("POST", f"/containers/{created}/wait")["StatusCode"]
        seconds = time.monotonic() - began
        assert status == 0, f"{COMMAND} ended with {status} in a bare container"
        return seconds
    finally:
        engine.api.call("DELETE", f"/containers/{created}", query={"force": "1"})
        engine.api.call("DELETE", f"/volumes/{volume['Source']}")


def ours(daemon: Daemon, agent_id: str) -> float:
    """Seconds from the request for an execution to the end of its first command; then it has ended."""
    began = time.monotonic()
    execution = daemon.call("POST", "/v1/executions", {"agent": agent_id, "input": ""}).ok()["id"]
    done = daemon.wait_for(execution, "dispatch.completed")
    seconds = time.monotonic() - began
    assert done["exit_code"] == 0, done
    assert daemon.finished(execution).state == "completed"
    return seconds


def measure(repetitions: int, say_so: Callable[[str], None]) -> list[Series]:
    """Each image in turn, each time ours and then bare."""
    found = []
    with Lab.open() as lab, lab.docker_engine() as engine, prepared(lab, engine) as (daemon, run_bare):
        for image in IMAGES:
            volumes = [{"name": "workspace", "mount_path": "/workspace"}]
            agent_id = daemon.deploy(agent("first", image, volumes=volumes))
            series = Series(image, [], [])
            ours(daemon, agent_id)  # the first of each is colder than all that follow
            run_bare(image)
            for number in range(repetitions):
                say_so(f"{image}: {number + 1} of {repetitions}")
                series.ours.append(ours(daemon, agent_id))
                series.bare.append(run_bare(image))
            found.append(series)
    return found


def command(options: argparse.Namespace) -> int:
    """`python -m bench first-command`."""
    facts = machine.describe("asyncio")
    measured = measure(options.repetitions or REPETITIONS, lambda text: print(text, flush=True))
    head = ("image", "ours p50", "ours p99", "bare p50", "bare p99", "ours / bare", "goal")
    rows = [head, *(_cells(series) for series in measured)]
    bars = [Bar(series.image, ratio, GOAL) for series in measured if (ratio := series.ratio())]
    picture = svg("Request to first command, against a bare container (less is better)", "ratio of paired runs", bars)
    as_json = [{"image": each.image, "ours": each.ours, "bare": each.bare} for each in measured]
    shown = markdown(rows)
    written = results.write("first-command", facts, {"command": COMMAND}, as_json, shown, picture)
    print(f"\n{shown}\n", *written, sep="\n")
    return 0


def _cells(series: Series) -> tuple[str, ...]:
    ratio = series.ratio()
    met = "met" if ratio is not None and ratio.median <= GOAL else "missed"
    times = [f"{pick(values):.2f} s" for values in (series.ours, series.bare) for pick in (statistics.median, max)]
    return (series.image, *times, ratio_cell(ratio), f"{GOAL} {met}")
