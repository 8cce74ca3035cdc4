"""The local backend as an ordinary user: what the superuser is never refused shows only here.

The same tests again, in a child process that gave its rights up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_the_local_backend_passes_its_tests_as_an_ordinary_user() -> None:
    with tempfile.TemporaryDirectory() as base:  # pytest's own directories are closed to others
        os.chown(base, NOBODY, NOBODY)
        run = run_as_nobody(base)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-1000:]
    assert " passed" in run.stdout


def run_as_nobody(base: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--basetemp={base}/tests",
            "-k",
            "not memory",
            str(HERE / "test_local.py"),
            str(HERE / "test_contract.py"),
        ],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "HOME": base, "PYTHONDONTWRITEBYTECODE": "1"},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
