"""Everyday work and CPython's own tests in containers of a real Docker Engine, on a workspace that its kernel mounts:
what comes of it is what comes of it on a local disk, file by file.

The engine is emulated where the machine has none, ten times slower than the machine: here is the short form, and the
whole by `AEGIS_WORKLOADS=full .venv/bin/python -m pytest integration/test_everyday_in_containers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.lab import DockerEngine, Lab
from integration.local_disk import EXCHANGE, FULL, Local, local_disk, told
from integration.mounted import MOUNT, PYTHON, USER
from integration.test_cpython import listed_differences, outcomes, unlike
from integration.workloads.everyday import CHORES
from integration.workloads.everyday.chore import Chore
from integration.workloads.manifest import differences, manifest
from integration.workshop import Workshop, workshop

SHORT_CHORES = ("make",)
MODULES = ("test_os", "test_shutil", "test_pathlib", "test_tempfile")
SHORT_MODULES = ("test_shutil",)


@pytest.fixture(scope="module")
def work(lab: Lab, docker_engine: DockerEngine) -> Iterator[Workshop]:
    with workshop(lab, docker_engine, "workshop", "--durability", "host") as opened:
        yield opened


@pytest.fixture(scope="module")
def local(lab: Lab) -> Iterator[Local]:
    with local_disk(lab, "workshop") as local:
        yield local


CHOSEN = [chore for chore in CHORES if FULL or chore.name in SHORT_CHORES]


@pytest.mark.parametrize("chore", CHOSEN, ids=lambda chore: chore.name)
def test_a_container_and_a_local_disk_end_up_the_same(work: Workshop, local: Local, chore: Chore) -> None:
    local.network.run(["mkdir", chore.name], cwd=MOUNT, uid=USER, timeout=60).check()
    wanted = local.run(chore.script, f"{MOUNT}/{chore.name}")
    assert wanted.returncode == 0, f"on the local disk: {told(wanted)}\n{wanted.stderr[-3000:].decode()}"
    got = work.run(["bash", "-ec", f"mkdir {chore.name}; cd {chore.name}\n{chore.script}"])
    assert told(got) == told(wanted), got.stderr[-3000:].decode("utf-8", "replace")
    ours = work.manifest(chore.name)
    assert differences(ours, local.manifest(chore.name), chore.volatile) == []
    assert differences(manifest(str(work.host / chore.name)), ours, modes=False) == []


@pytest.mark.parametrize("module", MODULES if FULL else SHORT_MODULES)
def test_cpythons_tests_come_out_as_on_the_containers_own_disk_but_for_listed_differences(
    work: Workshop, module: str
) -> None:
    wanted, got = (
        outcomes(work.run([*PYTHON, "cpython", module, "--directory", place], cwd=f"{EXCHANGE}/program").stdout)
        for place in ("/tmp", MOUNT)
    )
    assert unlike(got, wanted) == listed_differences(module)
