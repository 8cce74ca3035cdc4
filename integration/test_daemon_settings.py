"""The daemon with other settings than the default's: PostgreSQL in SQLite's place, an address that containers cannot
reach, and a gateway that the engine cannot mount from. Each has a daemon of its own, one after the other, on one
engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from integration.daemon import Daemon, agent, call, daemon_beside, left_over, say, shell, unfinished
from integration.lab import DockerEngine, Lab
from integration.lab.preparation import PYTHON_IMAGE
from tests.support.postgres import binaries, private_cluster

WORKSPACE = {"name": "workspace", "mount_path": "/workspace"}
Started = Callable[..., AbstractContextManager[Daemon]]


@pytest.fixture
def started(lab: Lab, docker_engine: DockerEngine, request: pytest.FixtureRequest) -> Started:
    """`with started(runtime={...}) as daemon`: ready, and afterwards ended in order, leaving nothing."""

    @contextmanager
    def start(**changes: Mapping[str, Any]) -> Iterator[Daemon]:
        with daemon_beside(docker_engine, lab.export_directory(f"settings-{id(request.node)}"), **changes) as daemon:
            daemon.start()
            yield daemon
            assert left_over(docker_engine, daemon) == []
            assert unfinished(daemon) == []
            daemon.stop()

    return start


def test_a_whole_run_on_postgresql(started: Started) -> None:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with private_cluster(programs) as cluster:
        url = asyncio.run(cluster.new_database_url())
        Path(parse_qs(urlsplit(url).query)["host"][0]).chmod(0o711)  # the daemon is another user than the cluster
        with started(database={"url": url}) as daemon:
            assert not (daemon.state / "aegis.db").exists()
            daemon.script(
                "pg",
                [call("fs.write", path="/workspace/a", content="wrong"), say("first")],
                [shell("cat a; echo -n right >a"), say("second")],
            )
            validation = [{"type": "regex", "pattern": "^right$", "target": "/workspace/a"}]
            plan = {"mode": "iterative", "max_iterations": 3, "validation": validation}
            ended = daemon.run(agent("pg", PYTHON_IMAGE, volumes=[WORKSPACE], execution=plan))
            assert (ended.state, ended.view["output"]) == ("completed", "second"), ended.said()
            assert [each["state"] for each in ended.iterations] == ["refining", "success"]
            assert [each["sequence"] for each in ended.events] == sorted(each["sequence"] for each in ended.events)
            assert daemon.cli("task", "list").text.count(ended.id) == 1


def test_a_container_that_cannot_reach_us_ends_the_execution_with_the_address(started: Started) -> None:
    url = "http://172.17.255.254:9"  # nothing listens there
    with started(runtime={"orchestrator_url": url}) as daemon:
        resources = {"timeout_secs": 15}
        ended = daemon.run(agent("unheard", PYTHON_IMAGE, volumes=[WORKSPACE], resources=resources))
        assert ended.state == "failed", ended.said()
        assert ended.view["error_code"] == "container_failed" and url in ended.view["error"], ended.said()


def test_a_gateway_that_the_engine_cannot_reach_fails_the_mount_and_no_agent_is_started(
    docker_engine: DockerEngine, started: Started
) -> None:
    storage, runtime = {"mount_profile": "compat"}, {"nfs_port": 2999}  # nothing listens there
    with started(storage=storage, runtime=runtime) as daemon:
        ended = daemon.run(agent("unmounted", PYTHON_IMAGE, volumes=[WORKSPACE]))
        assert (ended.state, ended.view["error_code"]) == ("failed", "mount_failed"), ended.said()
        assert docker_engine.gateway in ended.view["error"]
        assert "container.started" not in ended.kinds()
        assert daemon.call("GET", "/v1/volumes").ok()["items"] == []
