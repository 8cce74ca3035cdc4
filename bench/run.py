"""The commands: put the parts together, say what is going on, leave the results."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

from bench import chores, generator, kernel, machine, peers, results, rows, table
from bench.generator import Generator
from bench.plot import Bar, svg
from bench.production import TURNS_FILE
from bench.protocol import Measured, Pace, measure
from integration.lab import Lab

QUICK = Pace(seconds=1.0, warmup=0.3, repetitions=3)
FULL = Pace(seconds=2.0, warmup=0.5, repetitions=5)
PROFILE_SECONDS = 5.0
PREPARE_SECONDS = 0.1
KERNEL_REPETITIONS = 3
SUBTITLE = "ratio nfsd / ganesha of paired runs: the dot is the median, the bar all pairs, the tick the goal"


def protocol(options: argparse.Namespace) -> int:
    """`python -m bench`."""
    wanted = rows.chosen(options.rows, options.quick)
    usual = QUICK if options.quick else FULL
    pace = Pace(options.seconds or usual.seconds, usual.warmup, options.repetitions or usual.repetitions)
    _warn_if_busy()
    facts = machine.describe(options.loop)
    program = generator.build()
    with Lab.open() as lab, peers.places() as places, lab.network() as network:
        facts |= {f"{place} is on": peers.filesystem_of(directory) for place, directory in places.items()}
        with peers.both(lab, network, places, loop=options.loop) as running:
            measured = measure(Generator(network, program), running, wanted, pace, _say)
        facts |= turns(running)
    _say("")
    shown = table.protocol_table(measured)
    remark = table.disturbance(measured)
    if remark:
        shown += "\n\n" + remark
    name = _name("protocol", options, partly=options.rows is not None)
    settings = {"seconds": pace.seconds, "warmup": pace.warmup, "repetitions": pace.repetitions}
    picture = svg("Rate against nfs-ganesha (more is better)", SUBTITLE, _bars(measured))
    written = results.write(name, facts, settings, [_as_json(result) for result in measured], shown, picture)
    _finish(facts, shown, written)
    return _failures([result.failure for result in measured])


def turns(running: peers.Peers) -> dict[str, str]:
    """How long our server's loop was busy at a time, once the server has ended."""
    found = turns_of_state(running.state)
    return {"longest turn of the loop": found} if found else {}


def turns_of_state(state: Path) -> str:
    """The same, from the directory the server had for itself; empty where nobody counted (uvloop)."""
    written = state / TURNS_FILE
    if not written.exists():
        return ""
    found = json.loads(written.read_text("ascii"))
    total, seen = sum(found["counts"]), 0
    for power, count in enumerate(found["counts"]):
        seen += count
        if seen >= total * 0.9999:
            rare_ms = (found["unit_ns"] << power) / 1e6
            return f"{found['longest_ns'] / 1e6:.1f} ms; 99.99 % below {rare_ms:.1f} ms"
    return ""


def kernel_command(options: argparse.Namespace) -> int:
    """`python -m bench kernel`."""
    wanted = chores.chosen(options.scenes, options.quick)
    _warn_if_busy()
    facts = machine.describe(options.loop)
    with Lab.open() as lab, peers.places() as places, lab.network() as network:
        place = {"tmpfs": places["tmpfs"]}
        with peers.both(lab, network, place, loop=options.loop) as running, lab.kernel_client(network) as client:
            repetitions = options.repetitions or (1 if options.quick else KERNEL_REPETITIONS)
            measured = kernel.measure(client, running, wanted, repetitions, _say)
    _say("")
    shown = kernel.table(measured)
    picture = svg("Everyday work: time against nfs-ganesha, inverted (more is better)", SUBTITLE, kernel.bars(measured))
    name = _name("kernel", options, partly=options.scenes is not None)
    facts["mount options"] = kernel.OPTIONS
    written = results.write(name, facts, {"repetitions": repetitions}, kernel.as_json(measured), shown, picture)
    _finish(facts, shown, written)
    return _failures([result.failure for result in measured])


def profile(options: argparse.Namespace) -> int:
    """`python -m bench profile`: for each row a fresh server, sampled while the generator drives it."""
    program = generator.build()
    with Lab.open() as lab, peers.places() as places:
        for row in rows.chosen(options.rows, quick=True):
            with lab.network() as network:
                sample = lab.export_directory(f"sample-{row.name}") / "lines"
                exports = {f"/bench/{place}": directory for place, directory in places.items()}
                state = lab.export_directory(f"state-of-{row.name}")
                server = peers.start_ours(lab, network, exports, state, loop=options.loop, sample=sample)
                driver, ours = Generator(network, program), peers.peer(peers.OURS, server)
                driver.run(ours, row.load, PREPARE_SECONDS, 0.0)  # makes the files: not a part of the row
                server.process.send_signal(signal.SIGUSR1)
                load = replace(row.load, verified=False)  # what reads back is not either
                seen = driver.run(ours, load, options.seconds or PROFILE_SECONDS, 0.0)
                server.stop()
                print(f"== {row.title}: {seen['calls_per_second']:,.0f} calls/s, "
                      f"{seen['server_cpu_us_per_call']:.1f} us of CPU each, {sample.read_text('utf-8')}")  # fmt: skip
    return 0


def _name(command: str, options: argparse.Namespace, partly: bool) -> str:
    """Of the result files: a short or partial run does not replace a full one."""
    words = [command, "partly" if partly else "quick" if options.quick else "", options.loop.replace("asyncio", "")]
    return "-".join(word for word in words if word)


def _bars(measured: list[Measured]) -> list[Bar]:
    return [Bar(result.row.title, ratio, result.row.goal) for result in measured if (ratio := result.ratio())]


def _as_json(result: Measured) -> dict[str, object]:
    row = result.row
    return {
        "name": row.name, "title": row.title, "goal": row.goal, "rate": row.rate, "failure": result.failure,
        "ratio": result.ratio(), "cpu": result.cpu(), "p50": result.latency("p50_us"), "p99": result.latency("p99_us"),
        "pairs": [{"nfsd": dict(ours), "ganesha": dict(theirs)} for ours, theirs in result.pairs],
    }  # fmt: skip


def _warn_if_busy() -> None:
    warning = machine.busy()
    if warning is not None:
        print(f"bench: {warning}", file=sys.stderr)


def _say(text: str) -> None:
    """Progress, on one line of the terminal; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _finish(facts: dict[str, str], shown: str, written: list[Path]) -> None:
    for key, value in facts.items():
        print(f"{key:20} {value}")
    print(f"\n{shown}\n")
    for path in written:
        print(path)


def _failures(failures: list[str | None]) -> int:
    found = [failure for failure in failures if failure is not None]
    for failure in found:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if found else 0
