"""CPython's own tests, with their files in a workspace: they come out as on a local disk, but for what is listed here.

Those that are slow in the guest: `AEGIS_WORKLOADS=full .venv/bin/python -m pytest integration/test_cpython.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.lab import Lab
from integration.mounted import MOUNT, PYTHON, USER, Mounted, copy_program, mounted

FULL = os.environ.get("AEGIS_WORKLOADS") == "full"
SECONDS_MAX = 600.0
MODULES = (
    "test_os", "test_shutil", "test_pathlib", "test_tempfile", "test_posix", "test_glob", "test_fileio", "test_mmap",
    "test_fcntl", "test_filecmp", "test_fileinput", "test_zipimport", "test_dbm",
)  # fmt: skip
# Not among them: test_logging, which is about networks too (the guest has no IPv6), and test_compileall, two of whose
# tests fail now and then on a local disk.
SLOW_MODULES = (
    "test_posixpath", "test_genericpath", "test_file", "test_stat", "test_shelve", "test_mailbox", "test_unicode_file",
    "test_unicode_file_functions", "test_zipfile", "test_tarfile", "test_io", "test_largefile", "test_venv",
    "test_py_compile", "test_linecache", "test_bufio", "test_zipapp",
)  # fmt: skip

CHOWN = "chown to another user succeeds in appearance: a squashed volume has one owner (docs/posix-differences.md)"
NO_ATTRIBUTES = "NFSv3 has no extended attributes (docs/posix-differences.md)"
TIMES_END = "times end in 2106: nfstime3 has 32 bits of seconds (docs/nfs-support.md)"
SILLY_RENAME = "a file that is open and was deleted keeps a name in its directory (docs/posix-differences.md)"

DIFFERENCES: dict[str, dict[str, tuple[str, str]]] = {
    "test_os": {
        "ChownFileTests.test_chown_without_permission": ("failed", CHOWN),
        **{f"ExtendedAttributeTests.test_{name}": ("skipped", NO_ATTRIBUTES) for name in ("simple", "lpath", "fds")},
    },
    "test_posix": {f"PosixTester.test_{name}": ("failed", CHOWN) for name in ("chown", "fchown", "lchown")},
    "test_tempfile": {
        "TestTemporaryFile.test_has_no_name": ("error", SILLY_RENAME),
        "TestTemporaryDirectory.test_explict_cleanup_ignore_errors": ("failed", SILLY_RENAME),
        "TestTemporaryDirectory.test_del_on_collection_ignore_errors": ("failed", SILLY_RENAME),
        "TestTemporaryDirectory.test_del_on_shutdown_ignore_errors": ("failed", SILLY_RENAME),
    },
    "test_zipfile": {"StoredTestsWithSourceFile.test_add_file_after_2107": ("skipped", TIMES_END)},
}
"""By module: each test that does not come out as on a local disk, what comes of it instead, and why."""


@pytest.fixture(scope="module")
def workspace(lab: Lab) -> Iterator[Mounted]:
    with mounted(lab, "cpython", "--durability", "host") as workspace:
        yield workspace


def on_local_disk(lab: Lab, module: str) -> dict[str, str]:
    directory = lab.export_directory(f"cpython-{module}", USER)
    program = lab.scratch / f"program-{module}"
    copy_program(program)
    with lab.network() as network:
        argv = [*PYTHON, "cpython", module, "--directory", str(directory)]
        return outcomes(network.run(argv, cwd=program, uid=USER, env={"HOME": "/tmp"}, timeout=SECONDS_MAX).stdout)


def in_workspace(workspace: Mounted, module: str) -> tuple[dict[str, str], dict[str, str]]:
    argv = [*PYTHON, "cpython", module, "--directory", MOUNT]
    said = workspace.client.run(argv, cwd=workspace.program, uid=USER, env={"HOME": "/tmp"}, timeout=SECONDS_MAX).stdout
    return outcomes(said), json.loads(said.splitlines()[-1])["details"]


def outcomes(output: bytes) -> dict[str, str]:
    """Of the tests that did not pass; that some ran at all is sure then."""
    said = json.loads(output.splitlines()[-1])
    assert said["ran"] > 0, output
    return dict(said["outcomes"])


def unlike(got: dict[str, str], wanted: dict[str, str]) -> dict[str, str]:
    """What came of each test that did not come out as wanted."""
    return {name: got.get(name, "passed") for name in got.keys() | wanted if got.get(name) != wanted.get(name)}


def listed_differences(module: str) -> dict[str, str]:
    """What has to come of the tests that are listed."""
    return {name: outcome for name, (outcome, _reason) in DIFFERENCES.get(module, {}).items()}


@pytest.mark.parametrize("module", [*MODULES, *(SLOW_MODULES if FULL else ())])
def test_they_come_out_as_on_a_local_disk_but_for_listed_differences(lab: Lab, workspace: Mounted, module: str) -> None:
    wanted = on_local_disk(lab, module)
    got, details = in_workspace(workspace, module)
    listed, differing = listed_differences(module), unlike(got, wanted)
    problems = [
        f"{name}: {differing.get(name, 'as on a local disk')}, listed as {listed.get(name, 'no difference')}\n"
        f"{details.get(name, '')}"
        for name in sorted(differing.keys() | listed)
        if differing.get(name) != listed.get(name)
    ]
    assert not problems, "\n".join(problems)


def test_every_listed_difference_is_of_a_module_that_is_run() -> None:
    assert set(DIFFERENCES) <= {*MODULES, *SLOW_MODULES}


SAMPLE = """
import unittest
class Tests(unittest.TestCase):
    def test_good(self): pass
    def test_bad(self): self.fail("as it should")
    def test_broken(self): raise OSError("as it should")
    def test_parts(self):
        for n in (1, 2):
            with self.subTest(n): self.assertEqual(n, 1)
    @unittest.skip("why not")
    def test_not(self): pass
"""


def test_what_came_of_each_test_is_told(tmp_path: Path) -> None:
    copy_program(tmp_path / "program")
    (tmp_path / "program" / "sample.py").write_text(SAMPLE)
    script = (
        "import sys, sample, test; sys.modules['test.sample'] = test.sample = sample; "
        "from integration.workloads.__main__ import main; sys.argv = ['w', 'cpython', 'sample', '--directory', '..']; "
        "main()"
    )
    argv = ["/usr/bin/python3", "-B", "-s", "-c", script]
    said = subprocess.run(argv, cwd=tmp_path / "program", capture_output=True, check=True, timeout=60).stdout
    assert {name.removeprefix("sample."): outcome for name, outcome in outcomes(said).items()} == {
        "Tests.test_bad": "failed", "Tests.test_broken": "error", "Tests.test_parts": "failed",
        "Tests.test_not": "skipped",
    }  # fmt: skip
