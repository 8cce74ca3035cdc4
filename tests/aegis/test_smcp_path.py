"""The whole SMCP path with nothing faked in it: a command that bootstrap runs attests by HTTP and calls tools itself.

The client is `aegis.smcp_client` as a process, by its own command line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aegis import smcp_client
from aegis.domain.contexts import Capability, PathLists, SecurityContext
from aegis.domain.manifest import Security
from aegis.smcp_client import SmcpClient, SmcpError, ToolFailed
from tests.support.stage import TOKEN, Stage, open_stage

READING = Capability(tool_pattern="fs.read")
FILES = PathLists(read=("/workspace/**",), write=("/workspace/out/**",))
CONTEXT = SecurityContext(
    name="default",
    capabilities=(Capability(tool_pattern="fs.*", filesystem=FILES), Capability(tool_pattern="cmd.run")),
    deny=("fs.delete",),
)


def script(*clients: list[str]) -> str:
    """A model that has these command lines of the client run, and is done."""
    calls = [
        {
            "name": "cmd.run",
            "arguments": {"command": sys.executable, "cwd": "/", "args": [smcp_client.__file__, *words]},
        }
        for words in clients
    ]
    return json.dumps({"iterations": [{"turns": [{"tool_calls": calls}, {"content": "done"}]}]})


@asynccontextmanager
async def stage(directory: Path, *clients: list[str], smcp: bool = True) -> AsyncIterator[Stage]:
    async with open_stage(directory, script(*clients), [CONTEXT], security=Security(smcp=smcp)) as opened:
        yield opened


async def results(stage: Stage) -> list[str]:
    """What the model was told of its calls."""
    async with stage.loop.session(stage.execution, 1, "do it", stage.mounted) as session:
        code, log = await stage.bootstrap(AEGIS_AGENT_ID=stage.execution.agent_id)
        assert code == 0, log
        return [message.content for message in session.conversation.messages if message.role == "tool"]


async def test_a_command_in_the_container_attests_and_calls_tools_itself(tmp_path: Path) -> None:
    written = json.dumps({"path": "/workspace/out/a", "content": "grüße 😀"})
    async with stage(
        tmp_path,
        ["call", "fs.write", written],
        ["call", "fs.read", '{"path": "out/a"}'],
        ["call", "fs.write", '{"path": "elsewhere", "content": ""}'],
        ["call", "fs.delete", '{"path": "out/a"}'],
        ["call", "cmd.run", '{"command": "ls"}'],
        ["tools"],
    ) as opened:
        wrote, read, denied, deleted, run, tools = await results(opened)
        events = await opened.store.list_events(opened.execution.id)
        stored = await opened.store.load_inner_loop(opened.execution.id, 1)
    assert "eyJ" not in json.dumps([stored, [event.data for event in events]]), "no token is kept"
    assert "wrote 12 bytes to /workspace/out/a" in wrote
    assert "grüße 😀" in read
    assert "exit code: 1" in denied and "/workspace/elsewhere may not be written by fs.write" in denied
    assert "exit code: 1" in deleted and "default denies fs.delete" in deleted
    assert "you are in it: run the command yourself" in run
    assert '"name": "fs.read"' in tools
    assert "cmd.run" not in tools and "fs.delete" not in tools
    called = [event.data["name"] for event in events if event.kind == "tool.called" and event.data["caller"] == "agent"]
    assert called == ["fs.write", "fs.read", "fs.write", "fs.delete", "cmd.run"]
    denials = [event.data["rules"] for event in events if event.kind == "tool.denied"]
    assert denials == [["node: default.capabilities[0] (fs.*)"], ["node: default.deny_list (fs.delete)"], ["smcp"]]


async def test_a_client_with_nothing_of_ours_in_it_is_understood(tmp_path: Path) -> None:
    """The lab's, which runs in a container there: on the standard library, Ed25519 included."""
    agent = Path(__file__).parents[2] / "integration" / "smcp_agent.py"
    run = {"name": "cmd.run", "arguments": {"command": sys.executable, "cwd": "/", "args": [str(agent)]}}
    note = {"name": "fs.write", "arguments": {"path": "/workspace/note.txt", "content": "the note"}}
    turns = json.dumps({"iterations": [{"turns": [{"tool_calls": [note, run]}, {"content": "done"}]}]})
    capabilities = (Capability(tool_pattern="fs.write", filesystem=PathLists(write=("/workspace/note.txt",))),)
    context = CONTEXT.model_copy(update={"capabilities": (*capabilities, *CONTEXT.capabilities[1:], READING)})
    async with open_stage(tmp_path, turns, [context], security=Security(smcp=True)) as opened:
        _, result = await results(opened)
    assert [line.split(":")[1].strip() for line in result.split("stdout:\n")[1].splitlines()] == [
        "the note",
        "smcp_replayed",
        "error",
        "unauthorized",
        "False",
    ]


async def test_without_the_manifests_leave_a_command_has_nothing_to_attest_with(tmp_path: Path) -> None:
    async with stage(tmp_path, ["tools"], smcp=False) as opened:
        [result] = await results(opened)
    assert "AEGIS_SMCP_TOKEN is not set" in result


# ---- over HTTP, from this process ----


@asynccontextmanager
async def open_iteration(directory: Path) -> AsyncIterator[tuple[Stage, SmcpClient]]:
    async with stage(directory) as opened, opened.loop.session(opened.execution, 1, "do it", opened.mounted):
        yield opened, SmcpClient(f"http://127.0.0.1:{opened.port}", TOKEN, opened.execution.id, 1)


async def test_the_executions_own_token_attests_too_and_no_other(tmp_path: Path) -> None:
    async with open_iteration(tmp_path) as (opened, client):
        assert [tool["name"] for tool in await asyncio.to_thread(client.tools)][:2] == ["fs.read", "fs.write"]
        stranger = SmcpClient(f"http://127.0.0.1:{opened.port}", "somebody-elses", opened.execution.id, 1)
        with pytest.raises(SmcpError, match="unauthorized") as caught:
            await asyncio.to_thread(stranger.tools)
        assert caught.value.status == 401
        with pytest.raises(ToolFailed, match="missing does not exist"):
            await asyncio.to_thread(client.call, "fs.read", path="missing")


async def test_a_client_whose_token_is_over_attests_again_by_itself(tmp_path: Path) -> None:
    async with open_iteration(tmp_path) as (_, client):
        await asyncio.to_thread(client.attest)
        client._security_token = client._security_token[:-2] + "AA"
        assert await asyncio.to_thread(client.call, "fs.list", path="/workspace") == "the directory is empty"


async def test_a_client_whose_clock_is_wrong_is_told_so(tmp_path: Path) -> None:
    async with open_iteration(tmp_path) as (opened, _):
        late = SmcpClient(f"http://127.0.0.1:{opened.port}", TOKEN, opened.execution.id, 1, now=lambda: 1e9)
        with pytest.raises(SmcpError, match="this node's time") as caught:
            await asyncio.to_thread(late.tools)
        assert (caught.value.status, caught.value.code) == (401, "smcp_clock_skew")


class Recorder(SmcpClient):
    """Keeps what it sent."""

    sent: dict[str, Any]

    def _post(self, route: str, message: Any, token: str) -> dict[str, Any]:
        self.sent = dict(message)
        return super()._post(route, message, token)


async def test_problems_are_told_with_stable_codes(tmp_path: Path) -> None:
    async with open_iteration(tmp_path) as (opened, _):
        base = f"http://127.0.0.1:{opened.port}"
        client = Recorder(base, TOKEN, opened.execution.id, 1, key=Ed25519PrivateKey.generate())
        await asyncio.to_thread(client.tools)
        sent = client.sent
        cases: list[tuple[Any, str, tuple[int, str]]] = [
            (sent, sent["security_token"], (409, "smcp_replayed")),
            (sent, "", (401, "unauthorized")),
            (sent, "wrong", (401, "unauthorized")),
            ({**sent, "timestamp": sent["timestamp"] + 1}, sent["security_token"], (401, "unauthorized")),
            ({**sent, "protocol": "smcp/v2"}, sent["security_token"], (400, "smcp_protocol")),
            ({**sent, "timestamp": 1.5}, sent["security_token"], (400, "invalid_request")),
            ({**sent, "timestamp": str(sent["timestamp"])}, sent["security_token"], (400, "invalid_request")),
            ({**sent, "more": 1}, sent["security_token"], (400, "invalid_request")),
            ([], sent["security_token"], (400, "invalid_request")),
        ]
        async with aiohttp.ClientSession(base) as session:
            for body, token, wanted in cases:
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                async with session.post("/v1/smcp/invoke", json=body, headers=headers) as answer:
                    assert answer.content_type == "application/problem+json"
                    assert (answer.status, (await answer.json(content_type=None))["code"]) == wanted
            doubled = b'{"protocol": "smcp/v1", "protocol": "smcp/v1"}'
            headers = {"Authorization": f"Bearer {sent['security_token']}"}
            async with session.post("/v1/smcp/invoke", data=doubled, headers=headers) as answer:
                assert (answer.status, "a key is there twice" in await answer.text()) == (400, True)


async def test_when_the_iteration_is_over_so_are_its_tokens(tmp_path: Path) -> None:
    async with stage(tmp_path) as opened:
        client = SmcpClient(f"http://127.0.0.1:{opened.port}", TOKEN, opened.execution.id, 1)
        async with opened.loop.session(opened.execution, 1, "do it", opened.mounted):
            await asyncio.to_thread(client.tools)
        with pytest.raises(SmcpError) as caught:
            await asyncio.to_thread(client.tools)
        assert (caught.value.status, caught.value.code) == (409, "conflict")


def test_the_command_line_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert smcp_client.main([]) == 2
    assert smcp_client.main(["call", "fs.read"]) == 2
    assert "usage:" in capsys.readouterr().err
