"""Images that know nothing of us, on a real engine: the agent's side starts in each, as its user, and speaks HTTP.

The orchestrator runs in the engine's network namespace, and the containers share that.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aegis import bootstrap
from aegis.adapters.docker import DockerEngine
from aegis.domain.manifest import PullPolicy
from aegis.ports import ContainerExit
from tests.aegis.adapters.docker.test_containers import run
from tests.support.bootstraps import TOKEN
from tests.support.host_docker import BUSYBOX, BUSYBOX_PATH, HostDocker
from tests.support.specs import container_spec

ROOT = Path(__file__).parents[4]
PORT = 8099
COMMANDS = [["/bin/sh", "-c", "id -u; pwd; echo $COLOUR"], ["/busybox", "echo", "no shell"], ["nothing"]]
FOREIGN_PROGRAMS = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


@pytest.fixture
def taken(docker_host: HostDocker, tmp_path: Path) -> Iterator[Path]:
    """Where the results of `COMMANDS` stand after a container has run, a line each."""
    log = tmp_path / "taken"
    argv = [sys.executable, "-m", "tests.support.bootstraps", str(PORT), str(log), json.dumps(COMMANDS)]
    program = subprocess.Popen(docker_host.in_its_network(argv), cwd=ROOT)
    yield log
    program.kill()
    program.wait()


def archive(*names: str) -> bytes:
    """A static busybox under each of the names, and no other file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("marker"))
        for name in names:
            tar.add(BUSYBOX_PATH, name)
    return buffer.getvalue()


async def start(engine: DockerEngine, image: str) -> tuple[ContainerExit, str]:
    """How the agent's container of this image ended, and what it wrote."""
    present = await engine.ensure_image(image, PullPolicy.NEVER)
    spec = container_spec(
        image=present.id,
        command=bootstrap.command_for(present.architecture),
        files=bootstrap.files_for_containers(),
        network="host",
        environment={
            "AEGIS_ORCHESTRATOR_URL": f"http://localhost:{PORT}",
            "AEGIS_DISPATCH_TOKEN": TOKEN,
            "AEGIS_EXECUTION_ID": "e-1",
            "AEGIS_ITERATION": "3",
        },
    )
    end, out, err = await run(engine, spec)
    return end, out + err


def results(taken: Path) -> list[tuple[int, str]]:
    lines = map(json.loads, taken.read_text().splitlines())
    return [(each["exit_code"], each["stdout"]) for each in lines]


async def test_an_image_without_any_program_runs_and_its_commands_are_not_found(
    engine: DockerEngine, docker_host: HostDocker, taken: Path
) -> None:
    docker_host.import_image("aegis-test/scratch:1", archive())
    end, log = await start(engine, "aegis-test/scratch:1")
    assert end == ContainerExit(0), log
    assert results(taken) == [(127, ""), (127, ""), (127, "")]


async def test_an_image_of_one_static_program_runs_that(
    engine: DockerEngine, docker_host: HostDocker, taken: Path
) -> None:
    docker_host.import_image("aegis-test/one:1", archive("busybox"))
    end, log = await start(engine, "aegis-test/one:1")
    assert end == ContainerExit(0), log
    assert results(taken) == [(127, ""), (0, "no shell\n"), (127, "")]


async def test_what_an_image_would_start_as_whom_and_where_is_not_what_runs(
    engine: DockerEngine, docker_host: HostDocker, taken: Path
) -> None:
    """ENV stands, and the anonymous volume goes with the container."""
    lines = ('ENTRYPOINT ["/nonsense"]', 'CMD ["/more"]', "USER 4711", "WORKDIR /elsewhere", "VOLUME /data")
    docker_host.import_image("aegis-test/opinionated:1", archive("bin/sh", "bin/id"), *lines, "ENV COLOUR=blue")
    end, log = await start(engine, "aegis-test/opinionated:1")
    assert end == ContainerExit(0), log
    assert results(taken)[0] == (0, "1000\n/\nblue\n")
    volumes = docker_host.api("GET", "/volumes")["Volumes"] or []
    assert [each["Name"] for each in volumes if not each["Name"].startswith("aegis-files-")] == []


async def test_an_image_for_another_architecture_says_so(engine: DockerEngine, docker_host: HostDocker) -> None:
    if FOREIGN_PROGRAMS.exists():  # noqa: ASYNC240 - of procfs
        pytest.skip("this host runs programs for arm64")
    docker_host.load_image("aegis-test/foreign:1", archive(), "arm64")
    assert (await engine.ensure_image("aegis-test/foreign:1", PullPolicy.NEVER)).architecture == "arm64"
    end, _ = await start(engine, "aegis-test/foreign:1")
    assert end.exit_code in (126, 127)
    assert "'/aegis/agent-arm64' is a program for another architecture" in end.error


async def test_a_busybox_image_needs_nothing_either(engine: DockerEngine, taken: Path) -> None:
    end, log = await start(engine, BUSYBOX)
    assert end == ContainerExit(0), log
    assert results(taken)[0] == (0, "1000\n/\n\n")
    assert "final response after 3 tool calls" in log
