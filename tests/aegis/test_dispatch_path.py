"""The whole dispatch path with nothing faked in it: each bootstrap as a process, HTTP, inner loop, script, SQLite.

Only the gateway's storage is in memory, and the container is this host.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aegis.api import ApiServer, create_dispatch_app
from tests.support.bootstraps import PROGRAMS, missing
from tests.support.stage import Stage, open_stage

SCRIPT = """
iterations:
  - turns:
      - tool_calls:
          - {name: fs.write, arguments: {path: /workspace/note.txt, content: "from the tool"}}
          - {name: cmd.run, arguments: {command: sh, args: [-c, "echo from the container; exit 3"], cwd: /}}
          - {name: cmd.run, arguments: {command: no-such-command, cwd: /}}
          - {name: fs.read, arguments: {path: /workspace/note.txt}}
          - {name: made.up, arguments: {}}
      - content: all done
"""


@pytest.fixture(params=["python", "native"])
async def stage(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    if reason := missing(request.param):
        pytest.skip(reason)
    async with open_stage(tmp_path, SCRIPT) as opened:
        opened.program = PROGRAMS[request.param]
        yield opened


async def test_a_script_runs_its_tools_in_their_places_and_ends_the_iteration(stage: Stage) -> None:
    async with stage.loop.session(stage.execution, 1, "do it", stage.mounted) as session:
        code, log = await stage.bootstrap()
        assert code == 0, log
        final = await asyncio.wait_for(stage.loop.wait_final(stage.execution, 1), 10)
        results = [message.content for message in session.conversation.messages if message.role == "tool"]
    assert (final.content, final.tool_calls_executed) == ("all done", 5)
    (files,) = stage.gateway.storage.values()
    assert files["note.txt"] == b"from the tool"
    assert "exit code: 3" in results[1]
    assert "from the container" in results[1]
    assert "exit code: 127" in results[2]
    assert "from the tool" in results[3]
    assert "made.up" in results[4]
    kinds = [event.kind for event in await stage.store.list_events(stage.execution.id)]
    assert kinds.count("tool.called") == 5
    assert kinds.count("dispatch.completed") == 2


async def test_a_container_of_a_finished_iteration_is_sent_away(stage: Stage) -> None:
    async with stage.loop.session(stage.execution, 1, "do it", stage.mounted):
        pass
    code, log = await stage.bootstrap()
    assert code == 1
    assert "HTTP 409" in log


async def test_a_container_with_another_token_is_sent_away(stage: Stage) -> None:
    async with stage.loop.session(stage.execution, 1, "do it", stage.mounted):
        code, log = await stage.bootstrap(AEGIS_DISPATCH_TOKEN="somebody-elses-token")
    assert code == 1
    assert "HTTP 401" in log


async def test_a_restart_in_the_middle_of_a_dispatch_runs_it_once_and_goes_on(stage: Stage, tmp_path: Path) -> None:
    """The daemon goes while the command runs and comes back when it has ended: its result is taken then."""
    runs, up, go = tmp_path / "runs", tmp_path / "up", tmp_path / "go"
    os.mkfifo(up)
    os.mkfifo(go)
    line = f"echo run >> {runs}; echo up > {up}; read x < {go}; echo the end"
    turn = {"tool_calls": [{"name": "cmd.run", "arguments": {"command": "sh", "args": ["-c", line], "cwd": "/"}}]}
    script = {"iterations": [{"turns": [turn, {"content": "all done"}]}]}
    await asyncio.to_thread((tmp_path / "script.yaml").write_text, json.dumps(script))  # JSON is YAML
    async with stage.loop.session(stage.execution, 1, "do it", stage.mounted):
        program = asyncio.create_task(stage.bootstrap())
        assert await asyncio.wait_for(asyncio.to_thread(up.read_text), 30) == "up\n"
        port = stage.port
        await stage.server.close()
    await asyncio.to_thread(go.write_text, "now\n")
    async with stage.loop.session(stage.execution, 1, "do it", stage.mounted, resume=True) as session:
        again = ApiServer(create_dispatch_app(stage.whole), "127.0.0.1", port)
        await again.start()
        try:
            code, log = await asyncio.wait_for(program, 60)
        finally:
            await again.close()
        assert code == 0, log
        assert session.ended.result().content == "all done"
        assert [message.content for message in session.conversation.messages if message.role == "tool"] == [
            "exit code: 0\nstdout:\nthe end\n"
        ]
    assert runs.read_text() == "run\n"
