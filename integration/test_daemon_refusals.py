"""What the daemon and its command line say when something is wrong: to whom, with which exit code, and that nothing is
lost or half made. No engine is needed for that: Docker is what is missing in most of it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from integration.daemon import Daemon, agent, say, unfinished
from integration.lab import Lab, Network
from integration.lab.servers import SERVER_UID

ADDRESS = "172.17.0.1"
IMAGE = "aegis-lab/busybox"

FIVE_MISTAKES = """\
apiVersion: 100monkeys.ai/v1
kind: Agent
metadata:
  name: five
spec:
  runtme: {}
  runtime:
    image: [python]
  resources:
    cpu_quota: 1000
  volumes:
    - name: workspace
      mount_path: /proc/here
  execution:
    max_iterations: 99
"""


@pytest.fixture(scope="module")
def own_network(lab: Lab) -> Iterator[Network]:
    with lab.network() as network:
        yield network


@pytest.fixture
def home(lab: Lab, request: pytest.FixtureRequest) -> Path:
    return lab.export_directory(f"{request.node.name}-{id(request.node)}"[-60:])


def config(api_port: int = 8081, nfs_port: int = 2050, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A node without Docker; `sections` are merged in."""
    plain: dict[str, dict[str, Any]] = {
        "storage": {"nfs_listen_addr": f"{ADDRESS}:{nfs_port}"},
        "runtime": {"docker_url": "unix:///nowhere/docker.sock", "image_pull_policy": "Never"},
        "api": {"listen": [f"{ADDRESS}:{api_port}"], "listen_on_bridge": False},
    }
    for name, values in sections.items():
        plain[name] = {**plain.get(name, {}), **values}
    return plain


@pytest.fixture(scope="module")
def lonely(lab: Lab, own_network: Network) -> Iterator[Daemon]:
    """A daemon whose Docker socket does not exist."""
    with Daemon(own_network, lab.python, lab.export_directory("lonely"), config(8080, 2049)) as daemon:
        daemon.start(ready=503)
        yield daemon
        daemon.stop()


@pytest.fixture(autouse=True)
def every_execution_has_an_end(lonely: Daemon) -> Iterator[None]:
    yield
    assert unfinished(lonely) == []


# ---- manifests ----


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one(lonely: Daemon) -> None:
    manifest = lonely.file("typo.yaml", FIVE_MISTAKES[: FIVE_MISTAKES.index("  runtime:")])
    done = lonely.cli("agent", "deploy", manifest)
    assert done.returncode == 4
    said = done.stderr.decode()
    assert "typo.yaml:6" in said and "spec.runtme" in said and "runtime" in said
    assert lonely.call("GET", "/v1/agents").ok()["items"] == []


def test_five_mistakes_are_reported_all_at_once_each_with_line_path_found_and_wanted(lonely: Daemon) -> None:
    answer = lonely.call("POST", "/v1/agents", FIVE_MISTAKES.encode(), query={"source": "five.yaml"})
    assert answer.status == 422
    assert answer.document["code"] == "invalid_manifest"
    problems = answer.document["problems"]
    assert {(each["line"], each["path"]) for each in problems} == {
        (6, "spec.runtme"),
        (8, "spec.runtime.image"),
        (10, "spec.resources.cpu_quota"),
        (13, "spec.volumes[0].mount_path"),
        (15, "spec.execution.max_iterations"),
    }
    assert all(each["found"] and each["wanted"] for each in problems)
    told = lonely.cli("agent", "deploy", lonely.file("five.yaml", FIVE_MISTAKES))
    explained = lonely.cli("agent", "explain", lonely.file("five.yaml", FIVE_MISTAKES))
    assert told.returncode == 4 and explained.returncode != 0
    for line, path in ((each["line"], each["path"]) for each in problems):
        assert f"five.yaml:{line}:" in told.stderr.decode() and path in told.stderr.decode()
        assert f"five.yaml:{line}:" in explained.stderr.decode()
    assert lonely.call("GET", "/v1/agents").ok()["items"] == []


def test_what_is_not_there_is_told_apart_from_what_is_refused_and_from_nobody_there(lonely: Daemon) -> None:
    assert lonely.cli("task", "execute", "nobody").returncode == 3
    assert lonely.cli("task", "status", "00000000-0000-4000-8000-000000000000").returncode == 3
    assert lonely.cli("--url", f"http://{ADDRESS}:9", "task", "list").returncode == 5
    assert lonely.call("GET", "/v1/agents", token=False).status == 401


# ---- Docker ----


def test_without_a_docker_socket_the_daemon_lives_and_says_what_is_missing(lonely: Daemon) -> None:
    assert lonely.call("GET", "/health/live", token=False).status == 200
    ready = lonely.call("GET", "/health/ready")
    assert ready.status == 503
    found = {each["dependency"]: each for each in map(json.loads, ready.body.splitlines())}
    assert {name for name, each in found.items() if not each["ok"]} == {"docker"}
    assert found["docker"]["code"] == "docker_unavailable"
    assert "/nowhere/docker.sock" in found["docker"]["detail"] and found["docker"]["next_step"]
    told = lonely.cli("daemon", "status")
    assert told.returncode == 1 and b"/nowhere/docker.sock" in told.stdout


def test_strangers_learn_which_dependency_is_down_and_no_path(lonely: Daemon) -> None:
    ready = lonely.call("GET", "/health/ready", token=False)
    assert ready.status == 503 and b"docker_unavailable" in ready.body and b"/nowhere" not in ready.body


def test_without_docker_an_execution_ends_with_docker_unavailable(lonely: Daemon) -> None:
    ended = lonely.run(agent("stranded", IMAGE, volumes=[{"name": "workspace", "mount_path": "/workspace"}]))
    assert (ended.state, ended.view["error_code"]) == ("failed", "docker_unavailable")
    assert "/nowhere/docker.sock" in ended.view["error"]
    assert lonely.call("GET", "/v1/volumes").ok()["items"] == []


def test_a_docker_socket_that_refuses_us_is_named_with_the_way_out(lab: Lab, own_network: Network, home: Path) -> None:
    path = lab.scratch / "closed.sock"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(path))
        closed.listen()
        path.chmod(0)
        with Daemon(own_network, lab.python, home, config(runtime={"docker_url": f"unix://{path}"})) as daemon:
            daemon.start(ready=503)
            detail = json.loads(daemon.call("GET", "/health/ready").body.splitlines()[0])
            assert detail["code"] == "docker_unavailable"
            assert str(path) in detail["detail"] and f"User {SERVER_UID}" in detail["detail"]
            assert "usermod" in detail["next_step"]
            daemon.stop()


# ---- what prevents the start ----


@pytest.mark.parametrize(("port", "setting"), [(2050, "storage.nfs_listen_addr"), (8081, "api.listen")])
def test_a_port_that_is_taken_ends_the_start_with_its_address_and_what_to_do(
    lab: Lab, own_network: Network, home: Path, port: int, setting: str
) -> None:
    with (
        own_network.listen(ADDRESS, port),
        Daemon(own_network, lab.python, home, config(api_port=8081, nfs_port=2050)) as daemon,
    ):
        said = daemon.refused()
    assert f"{ADDRESS}:{port}" in said and setting in said


def test_a_database_that_is_down_ends_the_start_without_telling_the_password(
    lab: Lab, own_network: Network, home: Path
) -> None:
    url = f"postgresql://aegis:hunter2-secret@{ADDRESS}:5432/aegis"
    database = {"url": url, "connect_timeout_seconds": 1}
    with Daemon(own_network, lab.python, home, config(database=database)) as daemon:
        said = daemon.refused()
    assert f"{ADDRESS}:5432" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("section", ["node", "storage"])
def test_a_directory_that_cannot_be_written_ends_the_start_with_its_path_and_what_to_do(
    lab: Lab, own_network: Network, home: Path, section: str
) -> None:
    closed = home / "closed"
    closed.mkdir()
    if os.geteuid() == 0:
        os.chown(closed, SERVER_UID, SERVER_UID)
    closed.chmod(0o500)
    key = {"node": "state_directory", "storage": "root"}[section]
    changed: dict[str, Any] = {section: {key: str(closed / "inner")}}
    with Daemon(own_network, lab.python, home, config(**changed)) as daemon:
        said = daemon.refused()
    assert str(closed / "inner") in said
    assert key in said, "the setting that would change it is not named"


def test_a_configuration_with_an_unknown_key_ends_the_start_with_its_line(
    lab: Lab, own_network: Network, home: Path
) -> None:
    with Daemon(own_network, lab.python, home, config(storage={"nfs_listen_adr": "127.0.0.1:2049"})) as daemon:
        said = daemon.refused()
        validated = daemon.cli("config", "validate", str(home / "config.yaml"))
    assert "storage.nfs_listen_adr" in said and "nfs_listen_addr" in said and "config.yaml:" in said
    assert validated.returncode != 0 and b"nfs_listen_adr" in validated.stderr + validated.stdout


def test_the_daemon_does_not_run_as_root(lonely: Daemon, own_network: Network, lab: Lab) -> None:
    command = [*lab.python.argv, "-m", "aegis", "daemon", "--config", str(lonely.home / "config.yaml")]
    done = own_network.run(command, timeout=60, env=lab.python.env, cwd=lab.python.cwd)
    assert done.returncode == 4 and b"root" in done.stderr
    assert lonely.call("GET", "/health/live", token=False).status == 200


def test_nothing_that_was_deployed_is_lost_over_a_restart(lonely: Daemon) -> None:
    lonely.script("kept", [say("done")])
    kept = lonely.deploy(agent("kept", IMAGE))
    volume = lonely.call("POST", "/v1/volumes", {"name": "kept", "storage_class": "persistent"}).ok()
    lonely.call("PUT", f"/v1/volumes/{volume['id']}/files/note", b"still there").ok()
    before = lonely.call("GET", "/v1/executions").ok()["items"]
    lonely.kill()
    lonely.start(ready=503)
    assert kept in [each["id"] for each in lonely.call("GET", "/v1/agents").ok()["items"]]
    assert lonely.call("GET", f"/v1/volumes/{volume['id']}/files/note").body == b"still there"
    assert lonely.call("GET", "/v1/executions").ok()["items"] == before
    assert lonely.call("DELETE", f"/v1/volumes/{volume['id']}").status < 300
