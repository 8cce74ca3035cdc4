"""Everyday work through the kernel's own NFS client: each scene on a mount of ours and on one of nfs-ganesha, in turn.

Times are taken in the client, by the shell that runs the script: what a person would wait. The lab's client may be a
User Mode Linux guest, in which system calls are slow, so the client's own share is large and equal on both sides: these
ratios are nearer to 1 than a native client's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.chores import MATERIAL, Chore, Scene
from bench.peers import GANESHA, OURS, Peers
from bench.plot import Bar
from bench.ratios import Spread, spread
from bench.table import markdown, ratio_cell
from integration.lab import KernelClient, NfsServer
from integration.lab.errors import LabError

USER = 1000
OPTIONS = "nfsvers=3,proto=tcp,soft,timeo=100,retrans=5,nolock"
CHORE_SECONDS = 300.0
_TIMED = "set -e; began=$(date +%s%N); {{ {script}\n}} >&2; ended=$(date +%s%N); echo $(( (ended - began) / 1000 ))"


class Cost(NamedTuple):
    """Of one chore on one server: what a person waited, and what the server computed."""

    seconds: float
    cpu_seconds: float


@dataclass
class Measured:
    """A chore with what it cost, (ours, theirs) of each repetition."""

    chore: Chore
    pairs: list[tuple[Cost, Cost]] = field(default_factory=list)
    failure: str | None = None

    def seconds(self, index: int) -> Spread | None:
        """What was waited for one server: 0 ours, 1 theirs."""
        return spread([pair[index].seconds for pair in self.pairs])

    def ratio(self) -> Spread | None:
        """Of speeds, theirs / ours in seconds: more is better, as everywhere here."""
        return spread([theirs.seconds / ours.seconds for ours, theirs in self.pairs])

    def cpu(self) -> Spread | None:
        """Of the servers' processor time, ours / theirs: less is better. No value where theirs was not measurable."""
        return spread([ours.cpu_seconds / theirs.cpu_seconds for ours, theirs in self.pairs if theirs.cpu_seconds])


def measure(
    client: KernelClient, peers: Peers, scenes: Sequence[Scene], repetitions: int, told: Callable[[str], None]
) -> list[Measured]:
    """Mounts both servers, and plays every scene on each in turn."""
    told("making the material")
    client.run(["/usr/bin/python3", "-c", MATERIAL], uid=USER, timeout=CHORE_SECONDS).check()
    for name, server in peers.servers.items():
        client.mount(f"/mnt/{name}", export="/bench/tmpfs", options=server.options(OPTIONS))
    results = {chore.name: Measured(chore) for scene in scenes for chore in scene.chores}
    for repetition in range(repetitions):
        for scene in scenes:
            if not any(results[chore.name].failure for chore in scene.chores):
                told(f"{repetition + 1}/{repetitions} {scene.name}")
                _pair(client, peers, scene, results)
    return list(results.values())


def _pair(client: KernelClient, peers: Peers, scene: Scene, results: Mapping[str, Measured]) -> None:
    at = scene.chores[0]
    played: list[list[Cost]] = []
    for name, server in peers.servers.items():
        costs: list[Cost] = []
        directory = f"/mnt/{name}/{name}-{scene.name}"
        try:
            _run(client, f"mkdir {directory}", "/")
            for at in scene.chores:
                costs.append(_once(client, server, at, directory))
            _run(client, f"rm -rf {directory}", "/")
        except LabError as error:
            results[at.name].failure = f"{at.name} on {name}: {error}"
            return
        played.append(costs)
    for chore, ours, theirs in zip(scene.chores, *played, strict=True):
        results[chore.name].pairs.append((ours, theirs))


def _once(client: KernelClient, server: NfsServer, chore: Chore, directory: str) -> Cost:
    if chore.cold:
        client.drop_caches()
    before = cpu_seconds(server.process.pid)
    output = _run(client, _TIMED.format(script=chore.script), directory)
    return Cost(int(output.split()[-1]) / 1e6, cpu_seconds(server.process.pid) - before)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all of its threads (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(client: KernelClient, script: str, directory: str) -> str:
    # Not by `cwd`: the agent would enter it as root, before it becomes the user.
    words = ["bash", "-c", 'cd "$0" && eval "$1"', directory, script]
    return client.run(words, uid=USER, timeout=CHORE_SECONDS, env={"HOME": "/tmp"}).check().text  # noqa: S108


def table(results: Sequence[Measured]) -> str:
    """Seconds, the ratio of speeds, and that of the servers' processor time."""
    rows = [("chore", "nfsd", "ganesha", "speed", "CPU")]
    for result in results:
        ours, theirs = result.seconds(0), result.seconds(1)
        if result.failure is not None or ours is None or theirs is None:
            rows.append((result.chore.title, "failed", "", "", ""))
        else:
            times = (f"{ours.median:.2f} s", f"{theirs.median:.2f} s")
            rows.append((result.chore.title, *times, ratio_cell(result.ratio()), ratio_cell(result.cpu())))
    return markdown(rows)


def bars(results: Sequence[Measured]) -> list[Bar]:
    """For the picture; the goal is to be ahead."""
    return [Bar(result.chore.title, ratio, 1.0) for result in results if (ratio := result.ratio())]


def as_json(results: Sequence[Measured]) -> list[dict[str, Any]]:
    """Every time that was taken."""
    return [
        {"name": result.chore.name, "title": result.chore.title, "failure": result.failure,
         "speed": result.ratio(), "cpu": result.cpu(),
         "pairs": [{OURS: ours._asdict(), GANESHA: theirs._asdict()} for ours, theirs in result.pairs]}
        for result in results
    ]  # fmt: skip
