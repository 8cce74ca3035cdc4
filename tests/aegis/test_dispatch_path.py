"""The whole dispatch path with nothing faked in it: bootstrap.py as a process, HTTP, the inner loop, a script, SQLite.

Only the gateway's storage is in memory, and the container is this host.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aegis import bootstrap
from aegis.adapters.llm import Models, ModelSettings
from aegis.adapters.store.repository import open_store
from aegis.api import ApiServer, create_app, create_dispatch_app, token_hash
from aegis.domain.execution import Execution, ExecutionState
from aegis.domain.manifest import AgentManifest, Runtime, VolumeSpec
from aegis.ids import DEFAULT_TENANT, new_id
from aegis.ports import Store
from aegis.services.cmd_tool import CMD_RUN
from aegis.services.fs_tools import fs_tools
from aegis.services.inner_loop import InnerLoop
from aegis.services.judging.jobs import Jobs
from aegis.services.model_calls import ModelCalls
from aegis.services.recorder import EventRecorder
from aegis.services.timing import SystemClock
from aegis.services.tools import ToolBox
from aegis.services.volumes import MountedVolume, VolumeService
from tests.support.fakes_gateway import FakeGateway
from tests.support.small_world import API_TOKEN, load_manifest

BOOTSTRAP = str(Path(bootstrap.__file__).with_name("bootstrap.py"))
TOKEN = "a-dispatch-token-of-this-test"
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


@dataclass
class Stage:
    loop: InnerLoop
    store: Store
    gateway: FakeGateway
    execution: Execution
    mounted: list[MountedVolume]
    port: int

    async def bootstrap(self, **changes: str) -> tuple[int, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "AEGIS_ORCHESTRATOR_URL": f"http://127.0.0.1:{self.port}",
            "AEGIS_DISPATCH_TOKEN": TOKEN,
            "AEGIS_EXECUTION_ID": self.execution.id,
            "AEGIS_ITERATION": "1",
            "AEGIS_LLM_TIMEOUT_SECONDS": "30",
            **changes,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", BOOTSTRAP), env=environment, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()


def an_execution() -> Execution:
    volume = VolumeSpec(name="workspace", mount_path="/workspace")
    manifest = AgentManifest(name="hello", runtime=Runtime(image="busybox"), volumes=(volume,))
    return Execution(
        id=new_id(),
        tenant_id=DEFAULT_TENANT,
        agent_id=new_id(),
        agent_name=manifest.name,
        manifest=manifest,
        input="do it",
        container_uid=1000,
        container_gid=1000,
        state=ExecutionState.RUNNING,
        created_at=datetime.now(UTC),
        token_hash=token_hash(TOKEN),
    )


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    script = tmp_path / "script.yaml"
    await asyncio.to_thread(script.write_text, SCRIPT)
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/aegis.db")
    clock, gateway, events = SystemClock(), FakeGateway(), EventRecorder(store)
    jobs = Jobs()
    models = Models({"default": ModelSettings(provider="script", script=str(script))})
    tools = ToolBox([CMD_RUN, *fs_tools(jobs)])
    calls = ModelCalls(store=store, models=models, clock=clock)
    loop = InnerLoop(store=store, models=calls, tools=tools, gateway=gateway, events=events, clock=clock)
    volumes = VolumeService(store, gateway, events, clock)
    execution = an_execution()
    await store.add_execution(execution)
    mounted = [await volumes.attach(execution, spec) for spec in execution.manifest.volumes]
    whole = create_app(
        store=store,
        events=events,
        clock=clock,
        supervisor=None,  # type: ignore[arg-type] - no route of this test starts an execution
        inner_loop=loop,
        volumes=volumes,
        gateway=gateway,
        load_manifest=load_manifest,
        health_checks={},
        api_tokens=[API_TOKEN],
        version="0",
    )
    server = ApiServer(create_dispatch_app(whole), "127.0.0.1", 0)
    await server.start()
    yield Stage(loop, store, gateway, execution, mounted, server.port)
    await server.close()
    events.close()
    await store.close()


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
