"""Everyday work in a workspace and on a local disk: what it prints is the same, and so is what it leaves, file by file.

Each chore of `integration/workloads/everyday` runs twice under one path, as uid 1000: in the kernel client's guest on a
mounted volume, and on this machine's disk, bound to the same path in namespaces of its own. The volume is compared as
the client sees it and as it lies on the server's disk.

With `AEGIS_WORKLOADS=full` the git repository has 5,000 files, and a directory 100,000.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.lab import Lab, Result
from integration.local_disk import ENVIRONMENT, SECONDS_MAX, Local, local_disk, told
from integration.mounted import MOUNT, PYTHON, USER, Mounted, mounted
from integration.workloads import material
from integration.workloads.everyday import CHORES
from integration.workloads.everyday.chore import Chore
from integration.workloads.manifest import Entry, differences, manifest, of_lines, paths


@pytest.fixture(scope="module")
def workspace(lab: Lab) -> Iterator[Mounted]:
    with mounted(lab, "everyday", "--durability", "host") as workspace:
        material.make(workspace.client.exchange / "material")
        yield workspace


@pytest.fixture(scope="module")
def local(lab: Lab) -> Iterator[Local]:
    with local_disk(lab, "everyday") as local:
        yield local


def in_workspace(workspace: Mounted, chore: Chore) -> Result:
    argv = ["bash", "-ec", chore.script]
    return workspace.client.run(argv, cwd=f"{MOUNT}/{chore.name}", uid=USER, env=ENVIRONMENT, timeout=SECONDS_MAX)


def as_seen(workspace: Mounted, chore: Chore) -> list[Entry]:
    """By the client, which has forgotten what it knew: so it is what the server says."""
    workspace.client.drop_caches()
    argv = [*PYTHON, "manifest", "--directory", f"{MOUNT}/{chore.name}"]
    result = workspace.client.run(argv, cwd=workspace.program, uid=USER, timeout=SECONDS_MAX)
    return of_lines(result.check().text.splitlines())


@pytest.mark.parametrize("chore", CHORES, ids=lambda chore: chore.name)
def test_a_workspace_and_a_local_disk_end_up_the_same(workspace: Mounted, local: Local, chore: Chore) -> None:
    for make in (workspace.client.run, local.network.run):
        make(["mkdir", chore.name], cwd=MOUNT, uid=USER, timeout=60).check()
    wanted = local.run(chore.script, f"{MOUNT}/{chore.name}")
    assert wanted.returncode == 0, f"on the local disk: {told(wanted)}\n{wanted.stderr[-3000:].decode()}"
    got = in_workspace(workspace, chore)
    assert told(got) == told(wanted), got.stderr[-3000:].decode("utf-8", "replace")
    theirs, ours = local.manifest(chore.name), as_seen(workspace, chore)
    assert differences(ours, theirs, chore.volatile) == []
    # The host's modes may be others (the daemon is an ordinary user), and the file that has the first name with them.
    on_host = manifest(str(workspace.host / chore.name))
    assert differences(on_host, ours, modes=False) == []


def test_nothing_of_the_work_is_left_open(workspace: Mounted) -> None:
    """No `.nfs` name, by which a client keeps a file that was removed while it was open."""
    assert [path for path in paths(str(workspace.host)) if os.path.basename(path).startswith(".nfs")] == []


def test_a_manifest_tells_what_is_not_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        material.tree(tmp_path / name)
    (tmp_path / "b" / "d3/e3/file3").chmod(0o600)
    (tmp_path / "b" / "sparse").write_bytes(b"no hole")
    os.utime(tmp_path / "b" / "empty", ns=(1, 1))
    (tmp_path / "b" / "fifo").unlink()
    (tmp_path / "b" / "fifo").write_text("a file")
    (tmp_path / "b" / "hard").unlink()
    (tmp_path / "b" / "dangling").unlink()
    (tmp_path / "b" / "dangling").symlink_to("elsewhere")
    (tmp_path / "b" / "more").touch()
    found = differences(manifest(str(tmp_path / "b")), manifest(str(tmp_path / "a")), volatile=["more"])
    assert [line.partition(":")[0] for line in found] == [
        "hard", "more", "d3/e3/file3", "dangling", "empty", "fifo", "sparse"
    ]  # fmt: skip
