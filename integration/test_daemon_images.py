"""Agents in images that know nothing of us: no Python, one binary, their own ENTRYPOINT, USER, WORKDIR and VOLUME.

Through the command line of a real daemon. The model's words are a script; containers, mounts and dispatches are real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from integration.daemon import Daemon, agent, daemon_beside, say
from integration.lab import DockerEngine, Lab
from integration.lab.preparation import BUSYBOX_IMAGE, PYTHON_IMAGE

pytestmark = pytest.mark.usefixtures("nothing_is_left")

WORKSPACE = {"name": "workspace", "mount_path": "/workspace"}
# Begins, waits until somebody has seen that, and ends: bounded, should nobody come. The file is there from the start:
# a kernel asks again about a file it opens, and remembers for half a minute that there was none.
SEEN = "/workspace/seen"
WAITING = f"echo begun; n=0; until grep -q yes {SEEN} || [ $n = 300 ]; do sleep 0.2; n=$((n+1)); done; echo ended"
PROBE = "id -u; pwd; which python3 || echo no python; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /aegis/x"


@pytest.fixture(scope="module")
def daemon(lab: Lab, docker_engine: DockerEngine) -> Iterator[Daemon]:
    with daemon_beside(docker_engine, lab.export_directory("images")) as daemon:
        daemon.start()
        yield daemon
        daemon.stop()


def sh(script: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "cmd.run", "arguments": {"command": "sh", "args": ["-c", script], **arguments}}


def several(*calls: dict[str, Any]) -> dict[str, Any]:
    """One answer of the model that calls several tools."""
    return {"content": "", "tool_calls": list(calls)}


def test_an_agent_in_busybox_does_all_that_one_with_python_does(daemon: Daemon) -> None:
    calls = [
        {"name": "fs.write", "arguments": {"path": "/workspace/note", "content": "from the daemon"}},
        sh("cat note; printf '\\377\\000'; exit 3", cwd="/workspace"),
        sh(PROBE),
        sh("echo so far; sleep 1000 & sleep 1000", timeout_seconds=1),
        {"name": "cmd.run", "arguments": {"command": "no-such-program"}},
        {"name": "cmd.run", "arguments": {"command": "cat", "args": ["$HOME", "a b"]}},
    ]
    daemon.script("small", [several(*calls), say("done")])
    manifest = daemon.file("small.yaml", agent("small", BUSYBOX_IMAGE, volumes=[WORKSPACE]))
    told = daemon.cli("task", "execute", manifest, "--follow", "--output", "json")
    assert told.returncode == 0, told.stderr
    lines = told.text.splitlines(keepends=True)
    events = [json.loads(line) for line in lines if line.startswith('{"')]
    execution = json.loads("".join(lines[len(events) :]))  # the last document, for people too
    assert (execution["state"], execution["output"]) == ("completed", "done")
    assert [each["tool_calls"] for each in execution["iterations"]] == [len(calls)]
    of = {kind: [e["data"] for e in events if e["kind"] == kind] for kind in {e["kind"] for e in events}}
    [pulled] = of["image.pulled"]
    assert pulled["image_id"].startswith("sha256:") and pulled["architecture"] == "amd64"
    results = [(each["exit_code"], each["stdout"], each["stderr"]) for each in of["dispatch.completed"]]
    assert results[0] == (3, "from the daemon\ufffd\ufffd", "")
    code, seen, refused = results[1]
    assert seen.split("\n")[:3] == ["1000", "/workspace", "no python"]
    assert "CapEff:\t0000000000000000" in seen and "NoNewPrivs:\t1" in seen
    assert code == 1 and "Read-only file system" in refused
    assert results[2] == (-1, "so far\n", "timed out after 1 s and was killed")
    assert results[3] == (127, "", "no-such-program: command not found")
    assert results[4][0] == 1 and "$HOME" in results[4][2] and "a b" in results[4][2]


@pytest.mark.parametrize("image", [BUSYBOX_IMAGE, PYTHON_IMAGE])
def test_what_a_command_writes_is_seen_while_it_runs(daemon: Daemon, image: str) -> None:
    name = image.rpartition("/")[2].partition(":")[0]
    not_yet = {"name": "fs.write", "arguments": {"path": SEEN, "content": "not yet"}}
    daemon.script(name, [several(not_yet, sh(WAITING)), say("done")])
    execution = daemon.execute(agent(name, image, volumes=[WORKSPACE]))
    first = daemon.wait_for(execution, "dispatch.output")
    assert first["stdout"] == "begun\n"
    volume = daemon.wait_for(execution, "volume.attached")["volume_id"]
    daemon.call("PUT", f"/v1/volumes/{volume}/files/seen", b"yes").ok()
    ended = daemon.finished(execution)
    assert ended.state == "completed", ended.said()
    [completed] = ended.of("dispatch.completed")
    assert (completed["exit_code"], completed["stdout"]) == (0, "begun\nended\n")
    told = [line.strip() for line in daemon.cli("task", "logs", execution).text.splitlines()]
    assert told.count("begun") == 1 and told.count("ended") == 1


def test_a_bundle_goes_out_and_comes_in_by_the_command_line(daemon: Daemon) -> None:
    daemon.script("carried", [say("arrived")])
    daemon.deploy(agent("carried", BUSYBOX_IMAGE))
    file = str(daemon.home / "carried.tar")
    assert daemon.cli("bundle", "save", file, "carried").returncode == 0
    assert daemon.cli("agent", "remove", "carried").returncode == 0
    loaded = daemon.cli("bundle", "load", file, "--output", "json")
    assert loaded.returncode == 0, loaded.stderr
    view = json.loads(loaded.text)
    assert [each["reference"] for each in view["images"]] == [BUSYBOX_IMAGE]
    assert [each["name"] for each in view["agents"]] == ["carried"]
    assert daemon.cli("task", "execute", "carried", "--wait").returncode == 0
