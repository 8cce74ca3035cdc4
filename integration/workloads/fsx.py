"""Random operations on one file, its contents compared with a model after each: in the manner of fsx.

    python3 -m integration.workloads fsx --directory /mnt/workspace --operations 100000 --processes 2

It ends with one line of JSON: what the file holds at the end, for a comparison from the server's side. When something
is wrong it says the seed, what is wrong and the last operations, and exits with 1; the same seed and arguments do the
same operations again. Started as root with `--user`, it works as that user, and drops caches and mounts again as root.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import random
from collections.abc import Iterator

from integration.workloads.fsx_hands import Elsewhere, Hands
from integration.workloads.fsx_trial import CHANGES_NOTHING, OPERATIONS, Trial, check

LOG_LINES_SHOWN = 200
PROGRESS_OPERATIONS = 500
NAME = "file.0"

_libc = ctypes.CDLL(None, use_errno=True)


def run(arguments: argparse.Namespace) -> int:
    """Work on one file at random, and check it after each operation; exit 1 when it is wrong."""
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"fsx: seed {seed}", flush=True)
    become(arguments.user)
    path = os.path.join(os.path.abspath(arguments.directory), NAME)
    os.chdir("/")
    others = [Elsewhere(path) for _ in range(arguments.processes - 1)]
    trial = Trial(
        random.Random(seed), path, [*(Hands(path) for _ in range(arguments.descriptors)), *others],
        remount=lambda: remount(arguments) if arguments.mount else None,
        drop_caches=lambda: drop_caches() if arguments.user is not None else None,
    )  # fmt: skip
    try:
        trial.open()
        work(trial, arguments.operations)
        trial.close()
    except Exception as error:
        complain(trial, seed, error)
        return 1
    finally:
        for each in others:
            each.end()
    directory = os.path.dirname(trial.path)
    print(json.dumps({
        "seed": seed, "operations": arguments.operations, "name": os.path.basename(trial.path),
        "size": len(trial.model), "sha256": hashlib.sha256(trial.model).hexdigest(), "names": os.listdir(directory),
    }))  # fmt: skip
    return 0


def work(trial: Trial, operations: int) -> None:
    """That many operations, each with its check."""
    kinds, weights = list(OPERATIONS), list(OPERATIONS.values())
    for number in range(1, operations + 1):
        operation = trial.random.choices(kinds, weights)[0]
        operation(trial)
        if operation not in CHANGES_NOTHING:
            check(trial)
        if number % PROGRESS_OPERATIONS == 0:
            print(f"fsx: {number} operations", flush=True)


def complain(trial: Trial, seed: int, error: Exception) -> None:
    """What is wrong, and what led to it."""
    print(f"fsx: the last operations, of {len(trial.log)}:")
    print("\n".join(trial.log[-LOG_LINES_SHOWN:]))
    print(f"fsx: seed {seed}, {type(error).__name__}: {error}", flush=True)


def become(uid: int | None) -> None:
    """Be this user, and keep the way back to root."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, 0)
        os.setresuid(uid, uid, 0)


@contextlib.contextmanager
def as_root() -> Iterator[None]:
    """For one call that only root may make."""
    user = os.geteuid()
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(user)


def drop_caches() -> None:
    os.sync()
    with as_root(), open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("3")


def remount(arguments: argparse.Namespace) -> None:
    """Unmount, which writes everything back, and mount again with the very same options."""
    export, options = arguments.mount
    target = os.path.abspath(arguments.directory).encode()
    with as_root():
        _check(_libc.umount2(target, 0), "umount")
        _check(_libc.mount(f":{export}".encode(), target, b"nfs", ctypes.c_ulong(0), options.encode()), "mount")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own."""
    parser.add_argument("--directory", default=".", help="an empty directory on the file system (default: here)")
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, help="the one that a failure told (default: a new one)")
    parser.add_argument("--descriptors", type=int, default=1, help="how many descriptors take turns (default: 1)")
    parser.add_argument("--processes", type=int, default=1, help="how many processes take turns (default: 1)")
    parser.add_argument("--user", type=int, metavar="UID", help="for root: work as this user, drop caches as root")
    parser.add_argument(
        "--mount", nargs=2, metavar=("EXPORT", "OPTIONS"), help="with --user: unmount and mount again in between"
    )
    parser.set_defaults(function=run)
