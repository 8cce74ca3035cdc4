"""The loop: a fresh container for each iteration, a verdict after each, and the reason when there is no good one.

Through the HTTP API and the command line of a real daemon, with real containers; only the model's words are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.daemon import Daemon, agent, call, daemon_beside, say, shell
from integration.lab import DockerEngine, Lab
from integration.lab.preparation import PYTHON_IMAGE

pytestmark = pytest.mark.usefixtures("nothing_is_left")

WORKSPACE = {"name": "workspace", "mount_path": "/workspace"}
RESULT = "/workspace/result.json"
GUARDED = {
    "name": "guarded",
    "deny_list": ["fs.delete"],
    "capabilities": [
        {"tool_pattern": "fs.write", "filesystem": {"write": ["/workspace/note.txt", "/workspace/agent.py"]}},
        {"tool_pattern": "fs.read"},
        {"tool_pattern": "fs.list", "rate_limit": {"calls_per_execution": 1}},
        {"tool_pattern": "cmd.run", "subcommand_allowlist": {"python3": ["/workspace/agent.py"], "git": ["status"]}},
    ],
}
VALIDATION = [
    {"type": "exit_code"},
    {"type": "script", "command": ["sh", "-c", f"grep -q 42 {RESULT} || {{ echo wanted was 42; exit 3; }}"]},
    {"type": "regex", "pattern": r"^answer: \d+$", "target": "stdout"},
    {
        "type": "json_schema", "target": RESULT,
        "schema": {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]},
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def daemon(lab: Lab, docker_engine: DockerEngine) -> Iterator[Daemon]:
    with daemon_beside(docker_engine, lab.export_directory("loop"), security_contexts=[GUARDED]) as daemon:
        daemon.start()
        yield daemon
        daemon.stop()


def last_opinion(iteration: dict[str, Any]) -> tuple[str, bool]:
    """Which kind of validator was asked last, and whether it passed."""
    judgement = iteration["judgements"][-1]
    return judgement["validator"].partition("[")[0], judgement["passed"]


def answer(value: str, words: str) -> list[dict[str, object]]:
    return [call("fs.write", path=RESULT, content=f'{{"answer": {value}}}'), say(words)]


def test_a_wrong_answer_is_told_why_and_a_fresh_container_gets_it_right(daemon: Daemon) -> None:
    daemon.script("refiner", answer('"many"', "answer: 41"), answer("42", "answer: 42"))
    plan = {"mode": "iterative", "max_iterations": 6, "validation": VALIDATION}
    ended = daemon.run(agent("refiner", PYTHON_IMAGE, volumes=[WORKSPACE], execution=plan))

    assert (ended.state, ended.view["output"]) == ("completed", "answer: 42"), ended.said()
    first, second = ended.iterations
    assert (first["state"], second["state"]) == ("refining", "success")
    assert last_opinion(first) == ("json_schema", False)
    assert "'many' is not of type 'integer'" in first["judgements"][-1]["reason"]
    assert "'many' is not of type 'integer'" in first["feedback"]  # which is what the second was told
    assert [each["passed"] for each in second["judgements"]] == [True] * 4
    agents = [each for each in ended.of("container.started") if each["name"].startswith("aegis-agent-")]
    assert [each["container_id"] for each in agents] == [first["container_id"], second["container_id"]]
    assert first["container_id"] != second["container_id"]


def test_when_no_iteration_passes_the_execution_fails_with_the_last_verdict(daemon: Daemon) -> None:
    daemon.script("hopeless", [say("I do not know")], answer("41", "answer: 41"))
    plan = {"mode": "iterative", "max_iterations": 2, "validation": VALIDATION}
    manifest = agent("hopeless", PYTHON_IMAGE, volumes=[WORKSPACE], execution=plan)
    told = daemon.cli("task", "execute", daemon.file("hopeless.yaml", manifest), "--wait", "--output", "json")
    assert told.returncode == 1
    view = json.loads(told.stdout)
    assert (view["state"], view["error_code"]) == ("failed", "validation_failed")
    assert "wanted was 42" in view["error"]
    assert [each["state"] for each in view["iterations"]] == ["refining", "refining"]
    assert [last_opinion(each) for each in view["iterations"]] == [("regex", False), ("script", False)]


def test_an_iteration_over_its_time_is_killed_and_one_shot_does_not_try_again(daemon: Daemon) -> None:
    daemon.script("sleeper", [shell("sleep 1000")])
    manifest = agent("sleeper", PYTHON_IMAGE, volumes=[WORKSPACE], resources={"timeout_secs": 15})
    ended = daemon.run(manifest)
    assert (ended.state, ended.view["error_code"]) == ("failed", "iteration_timeout"), ended.said()
    assert "15 s" in ended.view["error"]
    assert [each["state"] for each in ended.iterations] == ["failed"]
    assert "dispatch.sent" in ended.kinds() and "container.killed" in ended.kinds()


def test_a_tool_that_the_manifest_does_not_list_is_denied_and_the_model_told(daemon: Daemon) -> None:
    daemon.script(
        "careful", [shell("touch /workspace/never"), call("fs.write", path="/workspace/may", content="x"), say("done")]
    )
    volumes = [{**WORKSPACE, "storage_class": "persistent"}]
    ended = daemon.run(agent("careful", PYTHON_IMAGE, volumes=volumes, tools=["fs.*"]))
    assert ended.state == "completed", ended.said()
    [denied] = ended.of("tool.denied")
    assert denied["name"] == "cmd.run" and "cmd.run" in denied["reason"]
    assert "dispatch.sent" not in ended.kinds()
    [volume] = daemon.call("GET", "/v1/volumes").ok()["items"]
    assert [path.name for path in daemon.volume_directory(volume).iterdir()] == ["may"]
    assert daemon.cli("volume", "delete", "--yes", volume["id"]).returncode == 0


def test_what_the_security_context_denies_is_told_and_an_agent_that_calls_tools_itself_meets_the_same_rules(
    daemon: Daemon,
) -> None:
    agent_itself = (Path(__file__).parent / "smcp_agent.py").read_text()
    daemon.script(
        "guarded",
        [
            call("fs.write", path="/workspace/note.txt", content="the note"),
            call("fs.write", path="/workspace/secret", content="x"),
            call("fs.delete", path="/workspace/note.txt"),
            call("fs.list", path="/workspace"),
            call("fs.list", path="/workspace"),
            call("cmd.run", command="git", args=["push"]),
            call("cmd.run", command="sh", args=["-c", "git push"]),
            call("fs.write", path="/workspace/agent.py", content=agent_itself),
            call("cmd.run", command="python3", args=["/workspace/agent.py"]),
            say("done"),
        ],
    )
    manifest = agent("guarded", PYTHON_IMAGE, volumes=[WORKSPACE], security={"smcp": True}, security_context="guarded")
    told = daemon.cli("task", "execute", daemon.file("guarded.yaml", manifest), "--wait", "--output", "json")
    assert told.returncode == 0, told.stderr
    ended = daemon.finished(json.loads(told.stdout)["id"])

    wanted = [
        "wrote 8 bytes",
        "error: /workspace/secret may not be written by fs.write (allowed: /workspace/note.txt, /workspace/agent.py)",
        "error: the security context guarded denies fs.delete",
        "file",
        "error: fs.list may be called once in an execution, and has been",
        "error: the command git is not allowed with the first argument 'push', only with one of these first: status",
        "error: the command 'sh' is not allowed (allowed, as they are written: python3, git)",
        f"wrote {len(agent_itself.encode())} bytes",
        "exit code: 0",
    ]
    results = daemon.told_to_the_model(ended.id)
    for result, start in zip(results, wanted, strict=True):
        assert result.startswith(start), result
    assert results[-1].split("stdout:\n")[1].splitlines() == [
        "read: the note",
        "again: smcp_replayed",
        f"write: {wanted[1]} (security context guarded)",
        "tampered: unauthorized",
        "dispatch token here: False",
    ]
    denied = [(each["name"], each["rules"][0].partition(" ")[2]) for each in ended.of("tool.denied")]
    assert denied == [
        ("fs.write", "guarded.capabilities[0] (fs.write)"),
        ("fs.delete", "guarded.deny_list (fs.delete)"),
        ("fs.list", "guarded.capabilities[2] (fs.list)"),
        ("cmd.run", "guarded.capabilities[3] (cmd.run)"),
        ("cmd.run", "guarded.capabilities[3] (cmd.run)"),
        ("fs.write", "guarded.capabilities[0] (fs.write)"),
    ]
    by_itself = [each["name"] for each in ended.of("tool.called") if each["caller"] == "agent"]
    assert by_itself == ["fs.read", "fs.write"]
    logs = daemon.cli("task", "logs", ended.id)
    assert "denied: the security context guarded denies fs.delete" in logs.stdout.decode()


def test_a_providers_failure_is_not_counted_as_an_iteration(daemon: Daemon) -> None:
    daemon.script("patient", [{"error": "rate_limit"}])
    execution = daemon.execute(agent("patient", PYTHON_IMAGE))
    daemon.wait_for(execution, "model.failed")
    daemon.script("patient", [say("now it answers")])
    ended = daemon.finished(execution)
    assert (ended.state, ended.view["output"]) == ("completed", "now it answers"), ended.said()
    assert [each["number"] for each in ended.iterations] == [1]


def test_a_container_that_somebody_else_removes_is_noticed_at_once(daemon: Daemon, docker_engine: DockerEngine) -> None:
    daemon.script("victim", [shell("sleep 1000")])
    execution = daemon.execute(agent("victim", PYTHON_IMAGE, volumes=[WORKSPACE]))
    daemon.wait_for(execution, "dispatch.sent")
    daemon.script("victim", [say("second try")])
    container = daemon.wait_for(execution, "container.started")["container_id"]
    docker_engine.api.call("DELETE", f"/containers/{container}", query={"force": "1"})
    ended = daemon.finished(execution)
    if ended.state == "failed":  # the engine told how it ended before it was gone
        assert "ended with exit code 137" in ended.view["error"], ended.said()
    else:
        assert ended.state == "completed" and "iteration.retried" in ended.kinds(), ended.said()


def test_an_image_that_is_not_there_and_may_not_be_pulled_is_named(daemon: Daemon) -> None:
    runtime = {"image": "registry.invalid/nobody/nothing:1", "image_pull_policy": "Never"}
    manifest = daemon.file("missing.yaml", agent("missing", "", runtime=runtime))
    told = daemon.cli("task", "execute", manifest, "--wait", "--output", "json")
    assert told.returncode == 1
    view = json.loads(told.stdout)
    assert (view["state"], view["error_code"]) == ("failed", "image_not_found")
    assert "registry.invalid/nobody/nothing:1" in view["error"]
    assert view["iterations"] == []
    assert b"registry.invalid/nobody/nothing:1" in told.stderr
