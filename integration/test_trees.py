"""Random work on trees by several processes at once, through the kernel's NFS client: what is there at the end is what
a model says, on the client and on the server's disk, and the quota has counted it.

A failure says the seed. 20,000 calls of each process: `AEGIS_WORKLOADS=full .venv/bin/python -m pytest
integration/test_trees.py`.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.lab import Lab
from integration.mounted import EXPORT, MOUNT, PYTHON, USER, Mounted, copy_program, mounted
from integration.workloads import trees, trees_shared
from integration.workloads.manifest import differences, manifest, of_lines
from integration.workloads.trees_disjoint import Worker, Wrong
from integration.workloads.trees_model import Path as ModelPath
from nfsd.vfs.ledger import measure

FULL = os.environ.get("AEGIS_WORKLOADS") == "full"
OPERATIONS = 20_000 if FULL else 1_000
OPERATIONS_RESTARTED = 2_000 if FULL else 600
PROCESSES = 4
SECONDS_MAX = 1800.0
SEED = int(os.environ.get("AEGIS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
QUOTA_BYTES = 64 << 20
TREES = (*PYTHON, "trees", "--directory", MOUNT, "--seed", str(SEED), "--processes", str(PROCESSES))
WAYS: dict[str, list[str]] = {"each-in-its-own": [], "all-in-one": ["--shared"]}


@pytest.fixture(scope="module")
def workspace(lab: Lab) -> Iterator[Mounted]:
    with mounted(lab, "trees", "--durability", "host", "--quota", str(QUOTA_BYTES)) as workspace:
        yield workspace


def the_quota_has_counted(workspace: Mounted, used: int) -> None:
    """df says it, in the client's blocks of a mebibyte; and exactly what is left can still be had."""
    argv = ["/usr/bin/stat", "-f", "-c", "%S %b %f", MOUNT]
    block, total, free = map(int, workspace.client.run(argv, timeout=60).check().text.split())
    assert block * total == QUOTA_BYTES
    assert total - free == used // block  # the client rounds what is free up (nfs_statfs)
    left = QUOTA_BYTES - used
    script = f"truncate -s {left} fill; truncate -s {left + 1} fill; rm fill"
    result = workspace.client.run(["sh", "-c", script], cwd=MOUNT, uid=USER, timeout=60)
    assert result.stderr.decode().splitlines() == [
        f"truncate: failed to truncate 'fill' at {left + 1} bytes: No space left on device"
    ]  # fmt: skip


def the_host_has_it_too(workspace: Mounted) -> None:
    """What the client sees, and the quota has counted, is what lies on the server's disk."""
    workspace.client.drop_caches()
    argv = [*PYTHON, "manifest", "--directory", MOUNT]
    seen = workspace.client.run(argv, cwd=workspace.program, uid=USER, timeout=SECONDS_MAX).check().text
    on_host = manifest(str(workspace.host))
    assert differences(on_host, of_lines(seen.splitlines()), modes=False) == []
    assert not [entry.path for entry in on_host if os.path.basename(entry.path).startswith(".nfs")]
    the_quota_has_counted(workspace, measure(workspace.host)[0])


@pytest.mark.parametrize("way", WAYS)
def test_processes_that_work_at_random_leave_the_tree_that_a_model_says(workspace: Mounted, way: str) -> None:
    argv = [*TREES, "--operations", str(OPERATIONS), *WAYS[way]]
    result = workspace.client.run(argv, cwd=workspace.program, uid=USER, timeout=SECONDS_MAX)
    assert result.returncode == 0, result.text
    the_host_has_it_too(workspace)


def test_processes_of_two_clients_that_work_in_one_tree_leave_what_their_calls_say(workspace: Mounted) -> None:
    """Directories move under the other client, which has them by the handles of before."""
    with workspace.lab.kernel_client(workspace.network) as second:
        copy_program(second.exchange / "program")
        second.mount(MOUNT, export=EXPORT, options=workspace.options)
        base = f"{MOUNT}/both"
        run = [*PYTHON, "trees", "--directory", base, "--seed", str(SEED), "--shared"]
        workspace.client.run(["mkdir", base], uid=USER, timeout=60).check()
        workspace.client.run([*run, "--prepare"], cwd=workspace.program, uid=USER, timeout=60).check()
        run += ["--operations", str(OPERATIONS), "--processes", "2", "--parts", "2"]
        parts = []
        for number, client in ((1, second), (0, workspace.client)):
            argv = [*run, "--part", str(number)]
            parts.append(client.popen(argv, cwd=workspace.program, uid=USER, name=f"trees-part{number}"))
            parts[-1].wait_for_line("^trees: ready", SECONDS_MAX)
        for part in parts:
            assert part.wait(SECONDS_MAX) == 0, part.output()
    done = [each for part in parts for each in trees.reported(part.output())]
    assert len(done) == 4
    there = [entry for entry in manifest(f"{workspace.host}/both/shared") if ".nfs" not in entry.path]
    assert trees_shared.judge(f"{base}/shared", there, done) == []
    the_quota_has_counted(workspace, measure(workspace.host)[0])


def test_what_is_removed_is_given_back(workspace: Mounted) -> None:
    workspace.client.run(["sh", "-c", f"chmod -R u+rwx {MOUNT}/*; rm -rf {MOUNT}/*"], uid=USER, timeout=300).check()
    assert os.listdir(workspace.host) == []
    the_quota_has_counted(workspace, 0)


def test_they_do_so_while_the_server_is_killed_and_started_again(workspace: Mounted) -> None:
    kills = range(100, OPERATIONS_RESTARTED, 100)
    argv = [*TREES, "--operations", str(OPERATIONS_RESTARTED)]
    program = workspace.client.popen(argv, cwd=workspace.program, uid=USER, name="trees")
    for calls in kills:
        program.wait_for_line(f"^trees: process 0: {calls} calls", SECONDS_MAX)
        assert program.poll() is None, "the work was over before the server was killed"
        workspace.kill()
        workspace.start()
    assert program.wait(SECONDS_MAX) == 0, program.output()
    the_host_has_it_too(workspace)


def test_a_local_disk_does_what_the_model_says(lab: Lab) -> None:
    copy_program(lab.scratch / "trees-program")
    base = lab.export_directory("trees-local", USER)
    argv = [*PYTHON, "trees", "--directory", str(base), "--seed", str(SEED), "--operations", "2000"]
    with lab.network() as network:
        for more in ([], ["--shared"]):
            result = network.run([*argv, *more], uid=USER, cwd=lab.scratch / "trees-program", timeout=120)
            assert result.returncode == 0, result.text


class ReplacesNothing(Worker):
    """A file system whose rename refuses a taken name."""

    def do_rename(self, old: ModelPath, new: ModelPath) -> None:
        if os.path.lexists(self.at(new)):
            raise FileExistsError(errno.EEXIST, "taken")
        super().do_rename(old, new)


class WritesOver(Worker):
    """A file system whose O_APPEND begins at the start."""

    def do_append(self, path: ModelPath, content: bytes) -> None:
        with open(self.at(path), "r+b", buffering=0) as file:
            file.write(content)


def test_a_wrong_answer_and_a_wrong_file_are_found(tmp_path: Path) -> None:
    for kind, complaint in ((ReplacesNothing, r"rename .* answered 17, wanted 0"), (WritesOver, "content")):
        base = tmp_path / kind.__name__
        base.mkdir()
        worker = kind(str(base), "5")
        worker.model.chmod = lambda path, mode: None  # type: ignore[method-assign]  # root may append to any file
        worker.do_chmod = lambda path, mode: None  # type: ignore[method-assign]
        with pytest.raises(Wrong, match=complaint):
            worker.work(600)


def test_a_name_that_two_made_is_found_and_so_is_one_that_got_lost(tmp_path: Path) -> None:
    trees_shared.prepare(str(tmp_path))
    os.mkdir(tmp_path / "w0")
    (tmp_path / "d1/n1").write_bytes(trees_shared.version(b"0.1;"))
    (tmp_path / "d1/n2").write_bytes(b"torn")
    done = trees_shared.Done(made=Counter({(1, "n1"): 2, (2, "n3"): 1, (1, "n2"): 1}), tokens={b"0.1;"})
    assert trees_shared.judge(str(tmp_path), manifest(str(tmp_path)), [done]) == [
        "d1/n1: made 2 times, taken 0 times", "d2/n3: is not there", "d1/n1: is there, and should not",
        "d1/n2: holds nothing that was written",
    ]  # fmt: skip
