"""`python -m bench`: the command line. What is measured is in `rows` and `chores`, how in `protocol` and `kernel`."""

from __future__ import annotations

import argparse
import sys

from bench import curves, first_command, isolation, replay, run
from bench.chores import SCENES
from bench.errors import BenchError
from bench.rows import ROWS
from integration.lab.errors import LabError

_DESCRIPTION = """\
Measure the NFS server against nfs-ganesha, side by side on this machine.

Without a command: the protocol benchmark. A load generator speaks NFSv3 to both servers in turn and checks every
answer. Both serve the same directories, in a network of their own; ours runs as an ordinary user with squash, policy,
quota and audit, as in production.

  kernel    everyday work (untar, git, pip, sqlite, ...) through the kernel's own NFS client
  profile   which lines of ours the processor time goes to, for each row
  replay    what the duplicate request cache costs a call, and in memory
  curves    rates and memory as files, entries, volumes and connections grow
  isolation what other clients' work does to the latency of one client's GETATTR
  first-command   from the request for an execution to its agent's first command, beside a bare container"""

_EPILOG = """\
examples:
  python -m bench --quick                       the daily form: the goal table in under 3 minutes
  python -m bench --rows getattr,lookup         two rows, with five repetitions
  python -m bench --loop uvloop
  python -m bench kernel --scenes tree,git
  python -m bench profile --rows create

Results go to bench/results: JSON with every sample, a table, an SVG picture. Ratios are nfsd / ganesha of two runs that
followed each other: rate more is better; CPU, p50 and p99 less is better. Differences under 15 % mean nothing on a
shared machine. Exit status: 0 measured, 1 an answer was wrong or something is missing, 2 wrong use.

rows: """


COMMANDS = {
    "protocol": run.protocol, "kernel": run.kernel_command, "profile": run.profile,
    "first-command": first_command.command, "replay": replay.command,
    "curves": curves.command, "isolation": isolation.command,
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Everything that can be said, with what it means."""
    result = argparse.ArgumentParser(
        prog="python -m bench", description=_DESCRIPTION, epilog=_EPILOG + ", ".join(row.name for row in ROWS),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    result.add_argument("command", nargs="?", choices=list(COMMANDS), default="protocol")
    result.add_argument("--quick", action="store_true", help="the goal table's rows, short, three times")
    result.add_argument("--rows", metavar="NAME,...", help="only these rows (protocol, profile)")
    result.add_argument(
        "--scenes", metavar="NAME,...", help="only these: " + ", ".join(scene.name for scene in SCENES) + " (kernel)"
    )
    result.add_argument("--repetitions", type=count, metavar="N", help="pairs of runs (5; quick and kernel: 3)")
    result.add_argument(
        "--at-once",
        type=counts,
        default=[1],
        metavar="N,...",
        help="so many executions at the same moment (first-command; 1)",
    )
    result.add_argument("--seconds", type=duration, metavar="S", help="measured in each run (2; quick: 1)")
    result.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio", help="our server's event loop")
    return result


def count(text: str) -> int:
    """A number of repetitions, 1 to 1000."""
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a number from 1 to 1000")
    return int(text)


def counts(text: str) -> list[int]:
    """Several of them, separated by commas."""
    return [count(each.strip()) for each in text.split(",")]


def duration(text: str) -> float:
    """Seconds, 0.1 to 600."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 600:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted seconds from 0.1 to 600")
    return value


def main() -> int:
    """The exit status."""
    options = parser().parse_args()
    try:
        return COMMANDS[options.command](options)
    except (BenchError, LabError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
