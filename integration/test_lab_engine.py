"""The lab's Docker Engine: that it is real, mounts NFS, isolates networks, and is a new one each time it is loaded."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.lab import DockerEngine, Lab, LabError, NfsMount, NfsServer
from integration.lab.network import GATEWAY, HOST
from integration.lab.preparation import BUSYBOX_IMAGE, PYTHON_IMAGE
from integration.lab.servers import start_ganesha

AGENT_USER = 1000

# What agents do in a workspace, in one container, because a container start is seconds in an emulated guest.
WORKSPACE_SCRIPT = """
set -e
git init -q origin
echo one >origin/f
git -C origin add f
git -C origin -c user.email=a@b.c -c user.name=n commit -qm one
git clone -q origin copy
git -C copy status --porcelain
python -m venv --without-pip venv
venv/bin/python -c 'import sys; print(sys.prefix)'
python - <<EOF
import sqlite3
with sqlite3.connect("db") as db:
    db.execute("create table t (n)")
    db.executemany("insert into t values (?)", [(n,) for n in range(100)])
print(db.execute("select count(*) from t").fetchone()[0])
db.close()
EOF
tar cf a.tar copy
mkdir out
tar xf a.tar -C out
cat out/copy/f
stat -c %u a.tar
"""

PROBE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close(); print('connected')"


@pytest.fixture(scope="module")
def workspace(lab: Lab) -> Path:
    directory = lab.export_directory("engine-workspace")
    directory.chmod(0o777)
    return directory


@pytest.fixture(scope="module")
def server(lab: Lab, docker_engine: DockerEngine, workspace: Path) -> Iterator[NfsServer]:
    """nfs-ganesha beside the engine, under the address that the engine calls its gateway."""
    running = start_ganesha(lab.state, docker_engine.network, {"/t/v": workspace}, docker_engine.gateway)
    yield running
    running.close()


def test_a_container_works_in_an_nfs_volume_as_uid_1000(
    docker_engine: DockerEngine, server: NfsServer, workspace: Path
) -> None:
    mount = NfsMount("/t/v", server.options())
    result = docker_engine.api.run(PYTHON_IMAGE, ["bash", "-c", WORKSPACE_SCRIPT], mounts=[mount], timeout=300).check()
    assert result.text.splitlines() == ["/workspace/venv", "100", "one", str(AGENT_USER)]
    assert (workspace / "out/copy/f").read_text() == "one\n"
    assert (workspace / "db").stat().st_uid == AGENT_USER


def test_a_read_only_mount_of_an_unknown_export_fails_at_start_with_the_kernels_word(
    docker_engine: DockerEngine, server: NfsServer
) -> None:
    with pytest.raises(LabError, match="failed to mount local volume"):
        docker_engine.api.run(BUSYBOX_IMAGE, ["true"], mounts=[NfsMount("/nope", server.options(), read_only=True)])


def test_the_unix_socket_reaches_the_engine_from_outside_its_network(docker_engine: DockerEngine) -> None:
    script = f"import socket; s = socket.socket(1); s.connect({str(docker_engine.socket)!r})\n"
    script += "s.sendall(b'GET /_ping HTTP/1.0\\r\\n\\r\\n'); print(s.recv(4096))"
    done = subprocess.run(["python3", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert "200 OK" in done.stdout


def test_a_loaded_guest_has_todays_clock_and_random_numbers_of_its_own(lab: Lab, docker_engine: DockerEngine) -> None:
    if docker_engine.native:
        pytest.skip("this machine's own engine is not loaded from a saved state")
    with lab.docker_engine() as other:
        seen = [engine.guest_shell("date +%s; cat /proc/sys/kernel/random/uuid") for engine in (docker_engine, other)]
        clocks, uuids = zip(*(result.check().text.split() for result in seen), strict=True)
    assert uuids[0] != uuids[1]
    assert all(abs(int(clock) - time.time()) < 60 for clock in clocks)


def test_what_one_engine_makes_is_not_in_the_next(lab: Lab) -> None:
    for _ in range(2):
        with lab.docker_engine() as engine:
            if engine.native:
                pytest.skip("this machine's own engine is one for all")
            names = [volume["Name"] for volume in engine.api.call("GET", "/volumes")["Volumes"] or []]
            assert names == []
            engine.api.call("POST", "/volumes/create", {"Name": "left-over"})


def test_all_in_one_the_daemon_runs_as_user_aegis_and_speaks_to_docker(all_in_one: DockerEngine) -> None:
    script = (
        "import os, socket, nfsd; s = socket.socket(socket.AF_UNIX); s.connect('/var/run/docker.sock')\n"
        "s.sendall(b'GET /_ping HTTP/1.0\\r\\n\\r\\n'); print(os.getuid(), s.recv(4096).split()[1].decode())"
    )
    python = all_in_one.python
    result = all_in_one.daemon_host.run(
        [*python.argv, "-c", script], uid=990, groups=[999], env=python.env, timeout=60
    ).check()
    assert result.text == "990 200"


def test_all_in_one_the_gateway_is_the_engines_own_address_and_an_internal_network_does_not_reach_out(
    all_in_one: DockerEngine,
) -> None:
    serve = f"import socket; s = socket.create_server(('{all_in_one.gateway}', 2049)); print('up', flush=True)\n"
    serve += "while True: s.accept()[0].close()"
    server = all_in_one.daemon_host.popen([*all_in_one.python.argv, "-c", serve])
    server.wait_for_line("^up", 60)
    inside = all_in_one.api.call("POST", "/networks/create", {"Name": "inside", "Internal": True})["Id"]
    try:
        with all_in_one.network.listen(HOST, 8080):  # beyond the engine's machine
            outside_reached = all_in_one.api.run(PYTHON_IMAGE, ["python", "-c", PROBE, HOST, "8080"], network="bridge")
            gateway_reached = all_in_one.api.run(
                PYTHON_IMAGE, ["python", "-c", PROBE, all_in_one.gateway, "2049"], network="bridge"
            )
            refused = all_in_one.api.run(PYTHON_IMAGE, ["python", "-c", PROBE, HOST, "8080"], network=inside)
    finally:
        all_in_one.api.call("DELETE", f"/networks/{inside}")
        server.close()
    assert (outside_reached.text, gateway_reached.text) == ("connected", "connected")
    assert refused.returncode == 1 and b"connected" not in refused.stdout


def test_a_restarted_dockerd_answers_again(all_in_one: DockerEngine) -> None:
    if all_in_one.native:
        pytest.skip("this machine's own engine is not ours to restart")
    before = all_in_one.guest_shell("cat /run/docker.pid").text
    all_in_one.restart_dockerd()
    assert all_in_one.guest_shell("cat /run/docker.pid").text != before
    assert all_in_one.gateway == GATEWAY
