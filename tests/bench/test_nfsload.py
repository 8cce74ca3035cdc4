"""The load generator against a real server: it counts what is right, and what is wrong ends it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench import generator

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or not Path("/usr/include/nfsc/libnfs-raw.h").exists(),
    reason="the generator is built with gcc and libnfs-dev, which only `make bench` needs",
)
PATIENCE_SECONDS = 60
OPERATIONS = ("null", "getattr", "lookup", "access", "setattr", "read", "write", "create", "readdirplus")


@dataclass
class Served:
    """An exported directory, as this host sees it, and the port it is served on."""

    directory: Path
    port: int

    def load(self, *words: str) -> subprocess.CompletedProcess[str]:
        common = [f"--port={self.port}", "--export=/data", "--warmup=0", "--seconds=0.1", "--file-mib=1", "--seed=7"]
        argv = [str(generator.build()), *common, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served") / "data"
    directory.mkdir()
    state = tmp_path_factory.mktemp("state")
    argv = [sys.executable, "-m", "nfsd", "--listen=127.0.0.1:0", f"--state-dir={state}", "--durability=host"]
    argv += [*(["--allow-root"] if os.geteuid() == 0 else []), str(directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = re.search(r"on 127\.0\.0\.1:(\d+)", server.stdout.readline())
            assert port is not None
            yield Served(directory, int(port[1]))
        finally:
            server.terminate()
            server.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_right_answers_are_counted_on_every_connection(served: Served, operation: str) -> None:
    done = served.load("--connections=3", "--outstanding=4", "--entries=300", f"--pid={os.getpid()}", operation)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["operation"] == operation
    assert report["calls"] > 0
    assert 0 < report["p50_us"] <= report["p99_us"] <= report["max_us"]


def test_names_that_were_made_are_removed_again(served: Served) -> None:
    assert served.load("--directory=empty", "--outstanding=8", "create").returncode == 0
    assert list((served.directory / "empty").iterdir()) == []


def test_commits_are_counted_and_what_was_written_is_read_back(served: Served) -> None:
    done = served.load("--outstanding=4", "--io-bytes=65536", "--commit-mib=1", "--directory=committed", "write")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commits"] > 0


def test_one_wrong_byte_in_what_is_read_ends_the_run(served: Served) -> None:
    assert served.load("--directory=spoilt", "read").returncode == 0
    with (served.directory / "spoilt" / "read").open("r+b") as file:
        file.seek(512 * 1023)
        file.write(b"!")
    done = served.load("--directory=spoilt", "read")
    assert done.returncode == 1
    assert "READ: wrong contents" in done.stderr


def test_a_block_of_another_run_is_a_wrong_one(served: Served) -> None:
    assert served.load("--directory=seeded", "read").returncode == 0
    done = served.load("--directory=seeded", "--seed=8", "read")
    assert done.returncode == 1
    assert "READ: wrong contents" in done.stderr


def test_a_name_too_many_in_a_listing_ends_the_run(served: Served) -> None:
    assert served.load("--directory=listed", "--entries=5", "readdirplus").returncode == 0
    (served.directory / "listed" / "listed-5" / "another").touch()
    done = served.load("--directory=listed", "--entries=5", "readdirplus")
    assert done.returncode == 1
    assert "READDIRPLUS: a listing with other names" in done.stderr


def test_a_file_of_another_size_is_noticed_by_its_attributes(served: Served) -> None:
    assert served.load("--directory=longer", "getattr").returncode == 0
    os.truncate(served.directory / "longer" / "read", 3 << 20)
    done = served.load("--directory=longer", "getattr")
    assert done.returncode == 1
    assert "GETATTR: attributes of some other file" in done.stderr


def test_an_export_that_is_not_there_is_named(served: Served) -> None:
    done = served.load("--export=/nothing", "getattr")
    assert done.returncode == 1
    assert "/nothing: " in done.stderr


@pytest.mark.parametrize("words", [[], ["dance"], ["--io-bytes=5", "read"], ["--connections=0", "null"], ["--x"]])
def test_wrong_use_is_answered_with_the_usage(served: Served, words: list[str]) -> None:
    done = served.load(*words)
    assert done.returncode == 2
    assert "Usage: nfsload" in done.stderr
