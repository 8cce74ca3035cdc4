"""`python -m bench first-command`: from the request for an execution to the end of its agent's first command, beside a
bare container of the same image with the same mount on the same engine.

Both are measured to the end of the command `true`: ours from the POST to the event that tells it ended; the bare one,
made with the Docker API as `docker run` makes it, to the engine's word that it exited. In turn, pair by pair. With
`--at-once N` each is asked for N times at the same moment, and the slowest is what p99 means here.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

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
    """Seconds, of each repetition those of all that were asked for at once."""

    image: str
    at_once: int
    ours: list[list[float]]
    bare: list[list[float]]

    def ratio(self) -> Spread | None:
        """Of the medians, pair by pair."""
        pairs = zip(self.ours, self.bare, strict=True)
        return spread([statistics.median(one) / statistics.median(other) for one, other in pairs])


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


def together(work: Callable[[], float], times: int) -> list[float]:
    """What each of them took, begun at the same moment."""
    with ThreadPoolExecutor(times) as pool:
        return [each.result() for each in [pool.submit(work) for _ in range(times)]]


def measure(repetitions: int, at_once: Sequence[int], say_so: Callable[[str], None]) -> list[Series]:
    """Each image in turn, each time ours and then bare."""
    found = []
    with Lab.open() as lab, lab.docker_engine() as engine, prepared(lab, engine) as (daemon, run_bare):
        for image in IMAGES:
            volumes = [{"name": "workspace", "mount_path": "/workspace"}]
            agent_id = daemon.deploy(agent("first", image, volumes=volumes))
            ours(daemon, agent_id)  # the first of each is colder than all that follow
            run_bare(image)
            for times in at_once:
                series = Series(image, times, [], [])
                for number in range(repetitions):
                    say_so(f"{image}, {times} at once: {number + 1} of {repetitions}")
                    series.ours.append(together(partial(ours, daemon, agent_id), times))
                    series.bare.append(together(partial(run_bare, image), times))
                found.append(series)
    return found


def command(options: argparse.Namespace) -> int:
    """`python -m bench first-command`."""
    facts = machine.describe("asyncio")
    measured = measure(options.repetitions or REPETITIONS, options.at_once, lambda text: print(text, flush=True))
    head = ("image", "at once", "ours p50", "ours p99", "bare p50", "bare p99", "ours / bare", "goal")
    rows = [head, *(_cells(series) for series in measured)]
    bars = [Bar(f"{each.image}, {each.at_once} at once", ratio, GOAL) for each in measured if (ratio := each.ratio())]
    picture = svg("Request to first command, against a bare container (less is better)", "ratio of paired runs", bars)
    as_json = [asdict(each) for each in measured]
    shown = markdown(rows)
    name = "first-command" if list(options.at_once) == [1] else "first-command-at-once"
    written = results.write(name, facts, {"command": COMMAND}, as_json, shown, picture)
    print(f"\n{shown}\n", *written, sep="\n")
    return 0


def _cells(series: Series) -> tuple[str, ...]:
    ratio = series.ratio()
    met = "met" if ratio is not None and ratio.median <= GOAL else "missed"
    both = [[seconds for each in runs for seconds in each] for runs in (series.ours, series.bare)]
    times = [f"{pick(values):.2f} s" for values in both for pick in (statistics.median, max)]
    return (series.image, str(series.at_once), *times, ratio_cell(ratio), f"{GOAL} {met}")
