"""The whole dispatch path with nothing faked in it: bootstrap.py as a process, HTTP, the inner loop, a script, SQLite.

Only the gateway's storage is in memory, and the container is this host.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, SCRIPT) as opened:
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
