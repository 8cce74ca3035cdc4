"""The daemon killed, and dockerd killed under it, in the middle of an iteration: the execution goes on or has a true
end, what was written is there, nothing is left over, and the next execution works.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.daemon import (
    READY_POLL_SECONDS,
    READY_SECONDS,
    Daemon,
    agent,
    daemon_beside,
    left_over,
    say,
    shell,
)
from integration.lab import DockerEngine, Lab
from integration.lab.preparation import PYTHON_IMAGE

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture(scope="module")
def daemon(lab: Lab, docker_engine: DockerEngine) -> Iterator[Daemon]:
    with daemon_beside(docker_engine, lab.export_directory("crash")) as daemon:
        daemon.start()
        yield daemon
        daemon.stop()


@pytest.fixture(scope="module")
def workspace(daemon: Daemon) -> dict[str, Any]:
    """A manifest's entry for one volume that outlives its executions."""
    made = daemon.call("POST", "/v1/volumes", {"name": "kept", "storage_class": "persistent"}).ok()
    return {
        "name": "workspace", "mount_path": "/workspace", "storage_class": "persistent",
        "source": {"volume_id": made["id"]},
    }  # fmt: skip


def start_writer(daemon: Daemon, workspace: dict[str, Any], word: str) -> str:
    """An execution that has written and synced `word` into the workspace, and is now in a command without end."""
    daemon.script("writer", [shell(f"echo {word} >said; sync said"), shell("sleep 1000"), say("never")])
    execution = daemon.execute(agent("writer", PYTHON_IMAGE, volumes=[workspace]))
    daemon.wait_for(execution, "dispatch.completed")
    return execution


def read_back(daemon: Daemon, workspace: dict[str, Any]) -> str:
    """What a new execution's container reads of that; it has to complete."""
    daemon.script("reader", [shell("cat said"), say("done")])
    ended = daemon.run(agent("reader", PYTHON_IMAGE, volumes=[workspace]))
    assert ended.state == "completed", ended.said()
    return str(ended.of("dispatch.completed")[0]["stdout"]).strip()


COUNTS = """
echo begun >>effects
exec 3<effects                      # a handle from before the kill
touch started; sync started
while [ ! -e go ]; do sleep 0.2; done
cat <&3
echo ended >>effects
"""


def test_after_kill_9_a_command_that_was_running_ends_in_the_same_iteration_and_has_run_once(
    docker_engine: DockerEngine, daemon: Daemon, workspace: dict[str, Any]
) -> None:
    daemon.script("counter", [shell(COUNTS), shell("cat effects"), say("done")])
    execution = daemon.execute(agent("counter", PYTHON_IMAGE, volumes=[workspace]))
    dispatched = daemon.wait_for(execution, "dispatch.sent")
    container = daemon.wait_for(execution, "container.started")["container_id"]
    files = daemon.volume_directory(daemon.call("GET", f"/v1/volumes/{workspace['source']['volume_id']}").ok())
    appears(files / "started")
    daemon.kill()
    (files / "go").touch()  # nobody serves it now: the command sees it when the mount answers again
    daemon.start()
    ended = daemon.finished(execution)

    assert (ended.state, ended.view["output"]) == ("completed", "done"), ended.said()
    [iteration] = ended.iterations
    assert (iteration["number"], iteration["container_id"]) == (1, container)
    [resumed] = ended.of("iteration.resumed")
    assert (resumed["container"], resumed["dispatch_id"]) == ("left", dispatched["dispatch_id"])
    assert len([each for each in ended.of("dispatch.sent") if each["args"][-1] == COUNTS]) == 1
    waited, shown = ended.of("dispatch.completed")
    assert (waited["exit_code"], waited["stdout"], waited["stderr"]) == (0, "begun\n", ""), ended.said()
    assert shown["stdout"] == "begun\nended\n"
    assert left_over(docker_engine, daemon) == []
    replayed = daemon.cli("task", "replay", execution)
    assert replayed.returncode == 0, replayed.stdout
    assert b"resumed after a restart of the daemon" in daemon.cli("task", "timeline", execution).stdout


def appears(path: Path) -> None:
    """Returns when the file is there. AssertionError when it does not come."""
    deadline = time.monotonic() + READY_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was never written"
        time.sleep(READY_POLL_SECONDS)


def test_after_a_restart_of_dockerd_the_execution_has_an_end_and_the_next_one_works(
    docker_engine: DockerEngine, daemon: Daemon, workspace: dict[str, Any]
) -> None:
    if docker_engine.native:
        pytest.skip("this machine's own engine is not ours to restart")
    execution = start_writer(daemon, workspace, "before-the-restart")
    assert daemon.process is not None
    daemon.script("writer", [say("a second try")])
    docker_engine.restart_dockerd()
    ended = daemon.finished(execution)
    if ended.state == "failed":  # a dockerd that starts ends the containers it finds, and the agent with them
        assert ended.view["error_code"] and "container ended" in ended.view["error"], ended.said()
    else:
        assert ended.state == "completed" and "iteration.retried" in ended.kinds(), ended.said()
    assert daemon.process.poll() is None
    assert read_back(daemon, workspace) == "before-the-restart"
