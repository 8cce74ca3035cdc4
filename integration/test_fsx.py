"""Random operations on a file in a workspace, in the manner of fsx, through the kernel's NFS client.

A failure says the seed; the same operations come again with it. All 100,000 operations of each of the three ways, which
take minutes: `AEGIS_WORKLOADS=full .venv/bin/python -m pytest integration/test_fsx.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.lab import Lab
from integration.mounted import EXPORT, MOUNT, PYTHON, USER, Mounted, mounted
from integration.workloads.fsx import work
from integration.workloads.fsx_hands import Hands
from integration.workloads.fsx_trial import Trial, Wrong

FULL = os.environ.get("AEGIS_WORKLOADS") == "full"
OPERATIONS = 100_000 if FULL else 12_000
OPERATIONS_RESTARTED = 100_000 if FULL else 6_000  # quarters of it are told: see fsx.PROGRESS_OPERATIONS
OPERATIONS_LOCAL = 3_000
SECONDS_MAX = 1800.0
SEED = int(os.environ.get("AEGIS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
PARTIES = {"alone": (1, 1), "two-descriptors-and-two-processes": (2, 2)}


def command(workspace: Mounted, operations: int, descriptors: int, processes: int) -> list[str]:
    """The program in the guest, as root that works as the user: only root drops caches, and mounts."""
    return [
        *PYTHON, "fsx", "--directory", MOUNT, "--operations", str(operations), "--seed", str(SEED),
        "--descriptors", str(descriptors), "--processes", str(processes),
        "--user", str(USER), "--mount", EXPORT, workspace.options,
    ]  # fmt: skip


def the_host_has(workspace: Mounted, output: str) -> None:
    """What the program says it left is what lies on the server's disk, and nothing else does."""
    said: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert said["names"] == os.listdir(workspace.host) == [said["name"]]
    content = (workspace.host / said["name"]).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (said["size"], said["sha256"])


@pytest.mark.parametrize("party", PARTIES)
def test_a_file_holds_what_random_operations_put_there(lab: Lab, party: str) -> None:
    descriptors, processes = PARTIES[party]
    with mounted(lab, f"fsx-{party}", "--durability", "host") as workspace:
        argv = command(workspace, OPERATIONS, descriptors, processes)
        result = workspace.client.run(argv, cwd=workspace.program, timeout=SECONDS_MAX)
        assert result.returncode == 0, result.text
        the_host_has(workspace, result.text)


def test_it_does_so_while_the_server_is_killed_and_started_again(lab: Lab) -> None:
    with mounted(lab, "fsx-restarted") as workspace:
        argv = command(workspace, OPERATIONS_RESTARTED, 2, 2)
        program = workspace.client.popen(argv, cwd=workspace.program, name="fsx")
        for part in (1, 2, 3):
            program.wait_for_line(f"^fsx: {OPERATIONS_RESTARTED * part // 4} operations", SECONDS_MAX)
            assert program.poll() is None, "the work was over before the server was killed"
            workspace.kill()
            workspace.start()
        assert program.wait(SECONDS_MAX) == 0, program.output()
        the_host_has(workspace, program.output())


def test_the_local_disk_holds_it_too(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "integration.workloads", "fsx", "--directory", str(tmp_path), "--seed", str(SEED),
            "--operations", str(OPERATIONS_LOCAL), "--descriptors", "2", "--processes", "2"]  # fmt: skip
    result = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


class LeavesAByte(Hands):
    """A file system that cuts a file one byte too late."""

    def truncate(self, size: int) -> None:
        super().truncate(min(size + 1, self.size()[0]))


def test_a_wrong_byte_is_found_and_told_with_what_led_to_it(tmp_path: Path) -> None:
    trial = Trial(
        random.Random(7), str(tmp_path / "file.0"), [LeavesAByte(str(tmp_path / "file.0"))],
        remount=lambda: None, drop_caches=lambda: None,
    )  # fmt: skip
    trial.open()
    with pytest.raises(Wrong, match=r"size \(\d+, \d+\), seen by \[0\]"):
        work(trial, 1000)
    trial.close()
    assert "ftruncate" in trial.log[-1]


def test_a_seed_gives_the_same_operations_again(tmp_path: Path) -> None:
    logs = []
    for name in ("a", "b"):
        path = str(tmp_path / name / "file.0")
        os.mkdir(tmp_path / name)
        trial = Trial(random.Random(11), path, [Hands(path)], remount=lambda: None, drop_caches=lambda: None)
        trial.open()
        work(trial, 300)
        trial.close()
        logs.append(trial.log)
    assert logs[0] == logs[1]
