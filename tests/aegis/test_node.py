"""A whole node without volumes: the daemon as an ordinary user and its command line, a real Docker Engine, a tool
server, and a model behind a fallback; unique secrets in all of it, looked for in everything that came out.

This machine's kernel need not mount NFS for it: what needs a workspace is in integration/.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host_docker
from tests.support.host_docker import BUSYBOX, HostDocker

ROOT = Path(__file__).parents[2]
AS_USER = ("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups")
SECRETS = {
    "tool server": "planted-token-of-the-tool-server",
    "model": "sk-planted-key-of-the-model",
    "api": "planted-token-of-the-api",
    "registry": "planted-password-of-the-registry",
}
TURNS = [
    {"tool_calls": [{"name": "tests.add", "arguments": {"a": 40, "b": 2}}, {"name": "tests.environment"}]},
    {"tool_calls": [{"name": "tests.fail", "arguments_text": '{"why": "the moon'}]},
    {"tool_calls": [{"name": "tests.big", "arguments": {"characters": 1}}]},
    {"tool_calls": [{"name": "cmd.run", "arguments": {"command": "sh", "args": ["-c", "env; sleep 5"], "cwd": "/"}}]},
    {"tool_calls": [{"name": "tests.misbehave", "arguments": {"how": "die"}}]},
    {"content": "done", "usage": {"input_tokens": 1000, "output_tokens": 1}},
]


class Node:
    """One daemon in the engine's own network, where its containers reach it."""

    def __init__(self, directory: Path, engine: HostDocker) -> None:
        self.engine, self.home = engine, directory
        self.log = directory.parent / "node.log"
        self._write("config.json", self._config())
        self._write("script.json", {"iterations": [{"turns": TURNS}]})
        self._write("agent.json", agent("cmd.run", "tests.*"))
        self._daemon: subprocess.Popen[bytes] | None = None

    def _config(self) -> dict[str, Any]:
        server = {
            "command": sys.executable,
            "args": ["-m", "tests.support.tool_server"],
            "cwd": str(ROOT),
            "env": {"TOKEN": "env:TOOL_SERVER_TOKEN"},
            "tools": ["add", "environment", "fail", "misbehave"],
        }
        unreachable = {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1", "max_retries": 0}
        script = {"provider": "script", "script": "script.json", "price_per_million": {"input": 2, "output": 0}}
        return {
            "node": {"state_directory": str(self.home / "state")},
            "api": {"tokens": [SECRETS["api"]]},
            "runtime": {"docker_url": f"unix://{self.engine.socket_path}", "image_pull_policy": "Never"},
            "registry_credentials": [{"registry": "ghcr.io", "username": "u", "password": SECRETS["registry"]}],
            "models": {
                "default": {**unreachable, "api_key": SECRETS["model"], "fallback": "rehearsal"},
                "rehearsal": script,
            },
            "mcp_servers": {"tests": server},
        }

    def _write(self, name: str, document: Any) -> None:
        path = self.home / name
        path.write_text(json.dumps(document))
        os.chown(path, 1000, 1000)

    def command(self, *arguments: str) -> list[str]:
        return self.engine.in_its_network([*AS_USER, sys.executable, "-m", "aegis", *arguments])

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "TOOL_SERVER_TOKEN": SECRETS["tool server"],
            "AEGIS_API_TOKEN": SECRETS["api"],
        }

    def start(self) -> None:
        with self.log.open("wb") as log:
            command = self.command("daemon", "--config", str(self.home / "config.json"))
            self._daemon = subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        until(lambda: "containers can run" in self.said() and "tool server tests offers 4 tools" in self.said())

    def said(self) -> str:
        assert self._daemon is not None and self._daemon.poll() is None, self.log.read_text()
        return self.log.read_text()

    def stop(self) -> int:
        assert self._daemon is not None
        self._daemon.terminate()
        return self._daemon.wait(60)

    def aegis(self, *arguments: str) -> str:
        """What the command line says; it has to succeed."""
        ended = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return ended.stdout + ended.stderr


def agent(*tools: str) -> dict[str, Any]:
    spec = {
        "runtime": {"image": BUSYBOX},
        "task": {"instruction": "Add"},
        "execution": {"mode": "one-shot"},
        "tools": list(tools),
    }
    return {"apiVersion": "100monkeys.ai/v1", "kind": "Agent", "metadata": {"name": "adder"}, "spec": spec}


def until(condition: Callable[[], bool]) -> None:
    """Something in another process: looked at until it is so, for at most two minutes."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never happened")


def unreadable() -> str | None:
    """Why an ordinary user cannot run what is checked out here; None: he can."""
    command = [*AS_USER, sys.executable, "-c", "import aegis, tests.support.tool_server"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    if subprocess.run(command, env=environment, capture_output=True, cwd="/").returncode == 0:
        return None
    return f"an ordinary user, as whom the daemon runs, may not read {ROOT} or {sys.executable}"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    reason = host_docker.missing() or unreadable()
    if reason is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("node")
    for path in (directory, *directory.parents[:2]):  # the daemon is another user
        path.chmod(0o755)
    (directory / "home").mkdir()
    os.chown(directory / "home", 1000, 1000)
    engine = HostDocker(directory)
    try:
        engine.start()
        engine.import_busybox()
        engine.socket_path.chmod(0o666)
        found = Node(directory / "home", engine)
        found.start()
        yield found
        assert found.stop() == 0
        assert "Traceback" not in found.log.read_text()
    finally:
        engine.stop()


def test_an_agent_uses_a_tool_server_that_dies_behind_a_model_that_is_away_and_no_secret_leaves(node: Node) -> None:
    execution = node.aegis("task", "execute", str(node.home / "agent.json")).split()[-1]
    until(lambda: "dispatch.sent" in kinds(node, execution))
    [container] = [each["Id"] for each in node.engine.api("GET", "/containers/json")]
    said = {"docker inspect": json.dumps(node.engine.api("GET", f"/containers/{container}/json")), "ps": arguments()}
    followed = node.aegis("task", "logs", execution, "--follow")
    events = node.aegis("task", "logs", execution, "--output", "json")
    view = json.loads(node.aegis("task", "status", execution, "--output", "json"))
    assert (view["state"], view["output"]) == ("completed", "done"), followed

    results = [
        each["data"]["result"] for each in map(json.loads, events.splitlines()) if each["kind"] == "tool.completed"
    ]
    assert results[0] == "42"
    assert "TOKEN=***" in results[1]
    assert "the arguments of tests.fail cannot be read: the arguments are no JSON" in results[2]
    assert "has ended (exit code 3; its last words: no more)" in results[-1]
    assert "there is no tool 'tests.big'" in events, "the node's configuration does not want it"
    assert "model default is given up, rehearsal answers" in followed
    assert (view["usage"]["calls"], view["usage"]["cost"]) == (6, view["usage"]["input_tokens"] * 2 / 1_000_000)

    said |= {
        "the log": node.said(),
        "task logs": followed,
        "events": events,
        "task status": json.dumps(view) + node.aegis("task", "status", execution),
        "config explain": node.aegis("config", "explain", str(node.home / "config.json")),
        "the database": "".join(p.read_bytes().decode("latin-1") for p in (node.home / "state").glob("aegis.db*")),
    }
    assert said["config explain"].count("********") >= 4
    assert [f"{name} in {place}" for place, text in said.items() for name, one in SECRETS.items() if one in text] == []
    until(lambda: node.said().count("tool server tests offers 4 tools") == 2)


def kinds(node: Node, execution: str) -> list[str]:
    lines = node.aegis("task", "logs", execution, "--output", "json").splitlines()
    return [json.loads(line)["kind"] for line in lines]


def arguments() -> str:
    """What every user of this host sees of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode("utf-8", "replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return "\n".join(found)
