"""The server killed again and again in the middle of everyday work: no program hears of it, and nothing is lost.

Where the kills fall is chance, from a seed that a failure prints; `AEGIS_SEED` repeats it. More of them, which takes
minutes: `AEGIS_WORKLOADS=full .venv/bin/python -m pytest integration/test_kills.py`.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from integration.lab import Lab
from integration.mounted import MOUNT, PYTHON, USER, Mounted, mounted
from integration.test_restart import wait_until
from integration.workloads.fire import KINDS, work

FULL = os.environ.get("AEGIS_WORKLOADS") == "full"
KILLS = 40 if FULL else 10
QUIET_SECONDS_MAX = 4.0  # between a restart and the next kill; the client has noticed, or is about to
DOWN_SECONDS_MAX = 2.0
AGAIN_SECONDS = 120.0  # for the client to come back: it tries after 3, 6, 12 ... seconds
SEED = int(os.environ.get("AEGIS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


def said(output: str) -> dict[str, Any]:
    """What each kind of work did."""
    results: dict[str, Any] = json.loads(output.splitlines()[-1])
    return results


def newest(directory: Path) -> float:
    """When the journal was last written to: that somebody is at work."""
    try:
        return (directory / "durable" / "journal").stat().st_mtime
    except FileNotFoundError:
        return 0.0


def kill_and_restart(workspace: Mounted, dice: random.Random) -> None:
    workspace.kill()
    time.sleep(dice.uniform(0.0, DOWN_SECONDS_MAX))  # the outage itself: nothing is waited for
    workspace.start()
    back = time.time()
    wait_until(lambda: newest(workspace.host) > back, AGAIN_SECONDS)
    time.sleep(dice.uniform(0.0, QUIET_SECONDS_MAX))  # where in the work the next kill falls is chance


@pytest.mark.parametrize("durability", ["stable", "host"] if FULL else ["stable"])
def test_ten_kills_in_the_middle_of_everyday_work_are_seen_by_no_program(lab: Lab, durability: str) -> None:
    dice = random.Random(SEED)
    with mounted(lab, f"kills-{durability}", "--durability", durability, "--quota", "1g") as workspace:
        client = workspace.client
        stop = client.exchange / "stop"
        working = client.popen(
            [*PYTHON, "fire", "--directory", MOUNT, "--stop", f"{client.guest_exchange}/stop", "--seed", str(SEED)],
            cwd=workspace.program, uid=USER, name="fire",
        )  # fmt: skip
        wait_until(lambda: newest(workspace.host) > 0, 60)
        for _ in range(KILLS):
            assert working.poll() is None, f"seed {SEED}: {working.output()}"
            kill_and_restart(workspace, dice)
        stop.touch()
        status = working.wait(300)
        results = said(working.output())
        assert status == 0 and results.keys() == KINDS.keys(), f"seed {SEED}:\n" + "\n".join(
            f"{kind}: {result}" for kind, result in results.items() if isinstance(result, str)
        )
        assert all(results.values()), f"seed {SEED}: some kind of work did nothing: {results}"
        check_host(workspace.host, results)


def check_host(host: Path, results: dict[str, Any]) -> None:
    """What lies on the server's disk is what the programs were told."""
    for kind, name in (("durable", "journal"), ("appended", "log")):
        assert len((host / kind / name).read_bytes().splitlines()) == results[kind]
    assert [path.name for path in host.rglob(".nfs*")] == []
    for kind in ("names", "orphaned", "unpacking"):
        assert os.listdir(host / kind) == []


def test_the_work_itself_is_right_on_a_local_disk(tmp_path: Path) -> None:
    """So what fails above is the mount's."""
    stop, home = tmp_path / "stop", tmp_path / "work"
    home.mkdir()

    def when_all_are_at_work() -> None:
        wait_until(lambda: all((home / kind).is_dir() for kind in KINDS) and newest(home) > 0, 60)
        wait_until((home / "appended" / "log").exists, 60)
        stop.touch()

    watching = threading.Thread(target=when_all_are_at_work)
    watching.start()
    try:
        assert work(home, stop, 1) == 0
    finally:
        watching.join()
