"""Everyday work through the kernel's own NFS client: each chore on a mount of ours and on one of nfs-ganesha, in turn.

Times are taken in the client, by the shell that runs the script: what a person would wait. The lab's client may be a
User Mode Linux guest, in which system calls are slow, so the client's own share is large and equal on both sides: these
ratios are nearer to 1 than a native client's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.chores import MATERIAL, Chore
from bench.peers import GANESHA, OURS, Peers
from bench.plot import Bar
from bench.ratios import Spread, spread
from bench.table import markdown, ratio_cell
from integration.lab import KernelClient
from integration.lab.errors import LabError

USER = 1000
OPTIONS = "nfsvers=3,proto=tcp,soft,timeo=100,retrans=5,nolock"
CHORE_SECONDS = 300.0
_TIMED = "set -e; began=$(date +%s%N); {{ {script}\n}} >&2; ended=$(date +%s%N); echo $(( (ended - began) / 1000 ))"


@dataclass
class Measured:
    """A chore with the seconds it took, (ours, theirs) of each repetition."""

    chore: Chore
    pairs: list[tuple[float, float]] = field(default_factory=list)
    failure: str | None = None

    def seconds(self, index: int) -> Spread | None:
        return spread([pair[index] for pair in self.pairs])

    def ratio(self) -> Spread | None:
        """Of speeds, theirs / ours in seconds: more is better, as everywhere here."""
        return spread([theirs / ours for ours, theirs in self.pairs])


def measure(
    client: KernelClient, peers: Peers, chores: Sequence[Chore], repetitions: int, told: Callable[[str], None]
) -> list[Measured]:
    """Mounts both servers, and does every chore on each in turn."""
    told("making the material")
    client.run(["/usr/bin/python3", "-c", MATERIAL], uid=USER, timeout=CHORE_SECONDS).check()
    for name, server in peers.servers.items():
        client.mount(f"/mnt/{name}", export="/bench/tmpfs", options=server.options(OPTIONS))
    results = [Measured(chore) for chore in chores]
    for repetition in range(repetitions):
        for result in results:
            if result.failure is None:
                told(f"{repetition + 1}/{repetitions} {result.chore.title}")
                _pair(client, result, repetition)
    return results


def _pair(client: KernelClient, result: Measured, repetition: int) -> None:
    try:
        ours, theirs = (_once(client, name, result.chore, repetition) for name in (OURS, GANESHA))
    except LabError as error:
        result.failure = f"{result.chore.name}: {error}"
    else:
        result.pairs.append((ours, theirs))


def _once(client: KernelClient, server: str, chore: Chore, repetition: int) -> float:
    directory = f"/mnt/{server}/{server}-{chore.name}-{repetition}"
    _run(client, f"mkdir {directory}", "/")
    _run(client, f"set -e\n{chore.before}", directory)
    if chore.cold:
        client.drop_caches()
    output = _run(client, _TIMED.format(script=chore.script), directory)
    _run(client, f"rm -rf {directory}", "/")
    return int(output.split()[-1]) / 1e6


def _run(client: KernelClient, script: str, directory: str) -> str:
    # Not by `cwd`: the agent would enter it as root, before it becomes the user.
    words = ["bash", "-c", 'cd "$0" && eval "$1"', directory, script]
    return client.run(words, uid=USER, timeout=CHORE_SECONDS, env={"HOME": "/tmp"}).check().text  # noqa: S108


def table(results: Sequence[Measured]) -> str:
    """Seconds, and the ratio of speeds."""
    rows = [("chore", "nfsd", "ganesha", "speed")]
    for result in results:
        ours, theirs = result.seconds(0), result.seconds(1)
        if result.failure is not None or ours is None or theirs is None:
            rows.append((result.chore.title, "failed", "", ""))
        else:
            times = (f"{ours.median:.2f} s", f"{theirs.median:.2f} s")
            rows.append((result.chore.title, *times, ratio_cell(result.ratio())))
    return markdown(rows)


def bars(results: Sequence[Measured]) -> list[Bar]:
    """For the picture; the goal is to be ahead."""
    return [Bar(result.chore.title, ratio, 1.0) for result in results if (ratio := result.ratio())]


def as_json(results: Sequence[Measured]) -> list[dict[str, Any]]:
    """Every time that was taken."""
    return [
        {"name": result.chore.name, "title": result.chore.title, "failure": result.failure, "speed": result.ratio(),
         "seconds": [{OURS: ours, GANESHA: theirs} for ours, theirs in result.pairs]}
        for result in results
    ]  # fmt: skip
