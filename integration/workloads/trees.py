"""Random work on trees by several processes: each in a tree of its own, held to a model, or all in one.

    python3 -m integration.workloads trees --directory /mnt/workspace --operations 2000 --processes 4
    python3 -m integration.workloads trees --directory /mnt/workspace --operations 2000 --processes 4 --shared

One tree may be shared by several clients. Each runs a part, the first one last (only its first process moves
directories, so the others have opened theirs by then), after one of them has made the tree:

    python3 -m integration.workloads trees --directory /mnt/workspace --shared --prepare
    python3 -m integration.workloads trees --directory /mnt/workspace --shared --part 1 --parts 2
    python3 -m integration.workloads trees --directory /mnt/workspace --shared --part 0 --parts 2

Prints what is wrong, with the seed, and exits with 1; or nothing but how many calls ended how. With one seed each
process draws the same calls again; in a shared tree what they do also hangs on who comes first.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from integration.workloads import trees_disjoint, trees_shared
from integration.workloads.manifest import manifest

LOG_LINES_SHOWN = 50
PROGRESS_CALLS = 100
REPORT = "trees: did "


def run(arguments: argparse.Namespace) -> int:
    """Work on trees at random in several processes; exit 1 when one is wrong."""
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    base = os.path.abspath(arguments.directory)
    os.umask(0o022)
    if arguments.prepare:
        prepare(base)
        return 0
    if arguments.parts > 1:
        return part(base, seed, arguments)
    work = shared if arguments.shared else disjoint
    problems = work(base, seed, arguments.processes, arguments.operations)
    for each in problems:
        print(each)
    print(f"trees: seed {seed}, {len(problems)} problems")
    return 1 if problems else 0


def disjoint(base: str, seed: int, processes: int, operations: int) -> list[str]:
    """Each in a tree of its own."""

    def work(number: int) -> str:
        directory = os.path.join(base, f"own{number}")
        os.mkdir(directory)
        worker = trees_disjoint.Worker(directory, f"{seed}.{number}")
        try:
            worker.work(operations, progress(number))
        except Exception as error:
            return "\n".join([*worker.log[-LOG_LINES_SHOWN:], f"process {number}, call {len(worker.log)}: {error!r}"])
        return ""

    return [problem for problem in together(work, processes) if problem]


def shared(base: str, seed: int, processes: int, operations: int) -> list[str]:
    """All in one tree."""
    directory = prepare(base)
    ends = worked(directory, seed, range(processes), operations)
    problems = [end for end in ends if isinstance(end, str)]
    done = [end for end in ends if isinstance(end, trees_shared.Done)]
    if not problems:
        problems = trees_shared.judge(directory, manifest(directory), done)
        calls: Counter[str] = sum((each.calls for each in done), Counter())
        print(", ".join(f"{what} {count}" for what, count in sorted(calls.items())))
    return problems


def prepare(base: str) -> str:
    """The tree they share, with nothing done to it yet."""
    directory = os.path.join(base, "shared")
    os.mkdir(directory)
    trees_shared.prepare(directory)
    return directory


def worked(
    directory: str, seed: int, numbers: range, operations: int, clients: int = 1
) -> list[trees_shared.Done | str]:
    """What each of these processes did, or what went wrong in it."""
    # Made before any of them works: later a directory may be elsewhere.
    workers = [trees_shared.Worker(directory, number, f"{seed}.{number}", clients) for number in numbers]
    print("trees: ready", flush=True)

    def work(index: int) -> trees_shared.Done | str:
        try:
            return workers[index].work(operations, progress(numbers[index]))
        except Exception:
            return f"process {numbers[index]}: {traceback.format_exc()}"

    return together(work, len(numbers))


def part(base: str, seed: int, arguments: argparse.Namespace) -> int:
    """A client's part in a tree that several share: prints what its processes did."""
    first = arguments.part * arguments.processes
    numbers = range(first, first + arguments.processes)
    ends = worked(os.path.join(base, "shared"), seed, numbers, arguments.operations, arguments.parts)
    for end in ends:
        print(end if isinstance(end, str) else REPORT + pickle.dumps(end).hex(), flush=True)
    return 1 if any(isinstance(end, str) for end in ends) else 0


def reported(output: str) -> list[trees_shared.Done]:
    """What the processes of a part did, from its output."""
    lines = [line for line in output.splitlines() if line.startswith(REPORT)]
    return [pickle.loads(bytes.fromhex(line.removeprefix(REPORT))) for line in lines]


def progress(process: int) -> Callable[[int], None]:
    """Tells how far it has got, for who wants to do something in the middle of the work."""

    def tell(calls: int) -> None:
        if calls % PROGRESS_CALLS == 0:
            print(f"trees: process {process}: {calls} calls", flush=True)

    return tell


def together(work: Callable[[int], Any], processes: int) -> list[Any]:
    """What it returned for each number, called in a process each, all at the same time."""
    children = []
    for number in range(processes):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                with open(writing, "wb") as pipe:
                    pickle.dump(work(number), pipe)
            finally:
                os._exit(0)
        os.close(writing)
        children.append((child, reading))
    answers = []
    for child, reading in children:
        with open(reading, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        answers.append(pickle.loads(answer) if answer else "a process ended without a word")
    return answers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own."""
    parser.add_argument("--directory", default=".", help="an empty directory on the file system (default: here)")
    parser.add_argument("--operations", type=int, default=2000, help="of each process")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--prepare", action="store_true", help="make the shared tree, and nothing else")
    parser.add_argument("--part", type=int, default=0, help="which part of the processes this is, from 0")
    parser.add_argument("--parts", type=int, default=1, help="clients that share the tree, each with its part")
    parser.add_argument("--seed", type=int, help="the one that a failure told (default: a new one)")
    parser.add_argument("--shared", action="store_true", help="all in one tree, on the same names")
    parser.set_defaults(function=run)
