"""CPython's own tests, run with their temporary files and their working directory where the file system under test is.

    python3 -B -s -m integration.workloads cpython test_os --directory /mnt/workspace

One module a process, with the tests of the Python that runs (Debian: libpython3.11-testsuite). The last line of output
is JSON: each test that did not pass with what came of it, and how many passed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import unittest

FAILED, ERROR, SKIPPED = "failed", "error", "skipped"


class Outcomes(unittest.TestResult):
    """The worst that came of each test. Its name is the id without the module; a module or class that cannot be set up
    is a test of that name."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.prefix = f"test.{module}."
        self.found: dict[str, str] = {}
        self.details: dict[str, str] = {}

    def note(self, test: unittest.TestCase, outcome: str, detail: str = "") -> None:
        name = test.id().removeprefix(self.prefix).partition(" (")[0] if test.id() else str(test)
        if self.found.get(name) in (None, SKIPPED):
            self.found[name], self.details[name] = outcome, detail

    def addFailure(self, test, err):  # type: ignore[no-untyped-def]
        super().addFailure(test, err)
        self.note(test, FAILED, self._exc_info_to_string(err, test))

    def addError(self, test, err):  # type: ignore[no-untyped-def]
        super().addError(test, err)
        self.note(test, ERROR, self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):  # type: ignore[no-untyped-def]
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, FAILED, self._exc_info_to_string(err, test))

    def addUnexpectedSuccess(self, test):  # type: ignore[no-untyped-def]
        super().addUnexpectedSuccess(test)
        self.note(test, FAILED, "succeeded unexpectedly")

    def addSkip(self, test, reason):  # type: ignore[no-untyped-def]
        super().addSkip(test, reason)
        self.note(test, SKIPPED, reason)


def run(arguments: argparse.Namespace) -> int:
    """Run one module of CPython's tests."""
    directory = os.path.join(os.path.abspath(arguments.directory), arguments.module)
    os.makedirs(os.path.join(directory, "tmp"))
    os.chdir(directory)
    os.environ["TMPDIR"] = tempfile.tempdir = os.path.join(directory, "tmp")

    from test.support import os_helper

    # The probe for extended attributes leaves a file open that it unlinks, and then removes the directory: on NFS that
    # is ENOTEMPTY, and no module that asks could be imported at all.
    os_helper._can_xattr = False
    outcomes = Outcomes(arguments.module)
    suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{arguments.module}")
    suite.run(outcomes)
    print("\n" + json.dumps({
        "module": arguments.module, "ran": outcomes.testsRun, "outcomes": outcomes.found, "details": outcomes.details,
    }))  # fmt: skip
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own."""
    parser.add_argument("module", help="as test_os")
    parser.add_argument("--directory", default=".", help="on the file system under test (default: here)")
    parser.set_defaults(function=run)
