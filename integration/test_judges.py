"""Judges: models that do not agree, and an agent that reads what it judges and cannot change it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from integration.daemon import Daemon, agent, call, daemon_beside, say, shell
from integration.lab import DockerEngine, Lab
from integration.lab.preparation import PYTHON_IMAGE

pytestmark = pytest.mark.usefixtures("nothing_is_left")

REPORT = "/workspace/report.md"
WORKSPACE = {"name": "workspace", "mount_path": "/workspace"}


@pytest.fixture(scope="module")
def daemon(lab: Lab, docker_engine: DockerEngine) -> Iterator[Daemon]:
    with daemon_beside(docker_engine, lab.export_directory("judges")) as daemon:
        daemon.start()
        yield daemon
        daemon.stop()


def opinion(score: float, reasoning: str, around: str = "{}") -> dict[str, object]:
    return say(around.replace("{}", json.dumps({"score": score, "confidence": 0.9, "reasoning": reasoning})))


def told(daemon: Daemon, *arguments: str) -> str:
    result = daemon.cli(*arguments)
    assert result.returncode == 0, result.text + result.stderr.decode("utf-8", "replace")
    return result.text


def run(daemon: Daemon, manifest: dict[str, Any], input: str = "") -> dict[str, Any]:
    """Executed and waited for by the command line; the execution as the API shows it."""
    path = daemon.file(f"{manifest['metadata']['name']}.yaml", manifest)
    result = daemon.cli("task", "execute", path, input, "--wait", "--output", "json")
    view: dict[str, Any] = json.loads(result.stdout)
    return view


def test_two_of_three_judges_decide_and_the_third_is_heard_all_the_same(daemon: Daemon) -> None:
    write = [call("fs.write", path=REPORT, content="short"), say("written")]
    better = [call("fs.write", path=REPORT, content="long enough"), say("rewritten")]
    daemon.script("writer", write, better)
    daemon.script("strict", [opinion(0.1, "no source is named")], [opinion(0.2, "still no source")])
    daemon.script("fair", [opinion(0.4, "too short")], [opinion(0.9, "long enough now")])
    daemon.script("kind", [say("lovely, 10 of 10!"), opinion(0.9, "lovely", "```json\n{}\n```")], [opinion(1, "yes")])
    panel = {
        "type": "multi_judge",
        "consensus": "majority",
        "criteria": 'Is {{#each files}}"{{content}}"{{/each}} an answer to "{{input}}"?',
        "target": REPORT,
        "judges": [{"name": name, "model": "default"} for name in ("strict", "fair", "kind")],
    }
    plan = {"mode": "iterative", "max_iterations": 3, "validation": [panel]}
    view = run(daemon, agent("writer", PYTHON_IMAGE, volumes=[WORKSPACE], execution=plan), "What is a report?")

    assert (view["state"], view["output"]) == ("completed", "rewritten"), view
    first, second = view["iterations"]
    assert (first["state"], second["state"]) == ("refining", "success")
    for words in ("2 of 3 judges are against it", "no source is named", "too short", "kind is content"):
        assert words in first["feedback"]
    [judgement] = second["judgements"]
    assert (judgement["score"], judgement["passed"]) == (pytest.approx(0.95), True)
    assert "strict" in judgement["reason"] and "still no source" in judgement["reason"]
    assert [each["judge"] for each in judgement["opinions"]] == ["strict", "fair", "kind"]
    assert "fair (score 0.9, confidence 0.9, weight 1): long enough now" in told(daemon, "task", "status", view["id"])
    logs = told(daemon, "task", "logs", view["id"])
    assert "judge kind: its answer cannot be used: it holds no JSON object with a score" in logs
    assert "judge strict: score 0.20, confidence 0.90" in logs
    line = told(daemon, "task", "timeline", view["id"])
    assert "iteration 2 (success): 2 model turns" in line and "fs.write /workspace/report.md" in line
    daemon.file("writer.json", told(daemon, "task", "export", view["id"]))
    assert "decisions, all the same" in told(daemon, "task", "replay", view["id"])


def test_an_agent_that_judges_reads_the_workspace_and_its_writes_are_refused(daemon: Daemon) -> None:
    daemon.script("author", [call("fs.write", path=REPORT, content="as it was\n"), say("written")])
    tamper = shell(
        f"cat {REPORT}; if echo changed > {REPORT}; then exit 9; fi; if touch /workspace/new; then exit 9; fi"
    )
    daemon.script(
        "reviewer",
        [tamper, call("fs.write", path=REPORT, content="changed"), opinion(0.9, "as it was", "I think {}")],
    )
    reviewer = agent("reviewer", PYTHON_IMAGE, volumes=[{"name": "own", "mount_path": "/workspace"}])
    assert daemon.cli("agent", "deploy", daemon.file("reviewer.yaml", reviewer)).returncode == 0
    plan = {"mode": "one-shot", "validation": [{"type": "semantic", "judge_agent": "reviewer"}]}
    volumes = [{**WORKSPACE, "storage_class": "persistent"}]
    view = run(daemon, agent("author", PYTHON_IMAGE, volumes=volumes, execution=plan))

    assert view["state"] == "completed", view
    [judgement] = view["iterations"][0]["judgements"]
    assert judgement["opinions"][0]["reasoning"] == "as it was"
    listed = json.loads(told(daemon, "task", "list", "--output", "json"))
    [child] = [daemon.finished(each["id"]) for each in listed if each["parent_id"] == view["id"]]
    [command] = child.of("dispatch.completed")
    assert command["exit_code"] == 0, command
    assert command["stdout"] == "as it was\n" and command["stderr"].count("Read-only file system") == 2
    assert "changed" not in json.dumps(child.of("tool.completed"))
    assert child.of("volume.attached")[0]["mode"] == "read-only"
    [volume] = daemon.call("GET", "/v1/volumes").ok()["items"]
    [report] = daemon.volume_directory(volume).iterdir()
    assert (report.name, report.read_text()) == ("report.md", "as it was\n")
    assert f"judge reviewer: execution {child.id}" in told(daemon, "task", "logs", view["id"])
    changed = json.loads(told(daemon, "task", "diff", view["id"], "--output", "json"))
    assert [(each["status"], each["path"], each["iteration"]) for each in changed] == [("A", REPORT, 1)]
    line = json.loads(told(daemon, "task", "timeline", child.id, "--output", "json"))["entries"]
    assert [each["data"]["exit_code"] for each in line if each["what"] == "command"] == [0]
    assert [each["ok"] for each in line if each["text"] == f"fs.write {REPORT}"] == [False]
    for each in (view["id"], child.id):
        assert "all the same" in told(daemon, "task", "replay", each)
    assert daemon.cli("volume", "delete", "--yes", volume["id"]).returncode == 0


def test_a_judge_that_nobody_can_use_is_not_the_agents_fault(daemon: Daemon) -> None:
    daemon.script("innocent", [say("my best")])
    daemon.script("mad", [say("banana")])
    judge = {"type": "multi_judge", "judges": [{"name": "mad", "model": "default"}]}
    view = run(daemon, agent("innocent", PYTHON_IMAGE, execution={"max_iterations": 3, "validation": [judge]}))
    assert (view["state"], view["error_code"]) == ("failed", "judge_failed")
    assert "judge mad gave 2 answers that cannot be used" in view["error"]
    assert len(view["iterations"]) == 1


def test_an_agent_of_another_tenant_is_no_judge_and_its_executions_are_not_shown(daemon: Daemon) -> None:
    """The same database, and another tenant's daemon on it."""
    assert "reviewer" in told(daemon, "agent", "list")
    seen = json.loads(told(daemon, "task", "list", "--output", "json"))
    daemon.stop()
    assert "all the same" in told(daemon, "task", "replay", "--file", str(daemon.home / "writer.json"))
    daemon.configure("node", tenant_id="neighbour")
    daemon.start()
    try:
        assert json.loads(told(daemon, "agent", "list", "--output", "json")) == []
        assert json.loads(told(daemon, "task", "list", "--output", "json")) == []
        assert daemon.cli("task", "status", seen[0]["id"]).returncode == 3
        plan = {"mode": "one-shot", "validation": [{"type": "semantic", "judge_agent": "reviewer"}]}
        refused = daemon.cli(
            "task", "execute", daemon.file("author.yaml", agent("author", PYTHON_IMAGE, execution=plan))
        )
        assert refused.returncode == 3
        assert b"no agent reviewer" in refused.stderr
    finally:
        daemon.stop()
        daemon.configure("node", tenant_id="lab")
        daemon.start()
