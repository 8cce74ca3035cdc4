"""The services with the real API, the real bootstrap as a process, and SQLite; only engine and NFS are fakes.

What the unit tests assume of each other's words, said once in earnest.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from aegis.adapters.store import open_store
from aegis.api import ApiServer, create_app
from aegis.domain.execution import Execution, ExecutionState
from aegis.domain.manifest import ConsensusMode, ExecutionPlan, Judge, MultiJudgeValidator, ScriptValidator
from aegis.ids import DEFAULT_TENANT
from aegis.services.agent_secrets import AgentSecrets
from aegis.services.timing import SystemClock
from tests.support.fakes_gateway import FakeGateway
from tests.support.fakes_model import FakeModel, answer, call
from tests.support.fakes_runtime import FakeContainer, FakeRuntime
from tests.support.small_world import NobodysToolCalls
from tests.support.world import Daemon, Life, World

BOOTSTRAP = Path(__file__).parents[3] / "aegis" / "bootstrap" / "bootstrap.py"
TOKEN = "an-api-token-of-the-tests"
PLAN = ExecutionPlan(max_iterations=3, validators=(ScriptValidator(command=("check",)),))


class Node:
    """One daemon on a loopback port. `files` is what its containers see as their workspace, on this host."""

    def __init__(self, world: World, files: Path, url: str) -> None:
        self.world, self.files, self.url = world, files, url

    def write(self, text: str) -> Any:
        return call("cmd.run", command="sh", args=["-c", f"printf {text} > out.txt"], cwd=str(self.files))

    async def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession() as session, session.get(self.url + path, headers=headers) as response:
            return await response.json()

    async def aegis(self, *arguments: str, url: str = "") -> str:
        """What the command prints; it has to end well."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aegis", *arguments),
            env={"PATH": os.environ["PATH"], "AEGIS_API_URL": url or self.url, "AEGIS_API_TOKEN": TOKEN, "HOME": "/"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()


@asynccontextmanager
async def node(tmp_path: Path, model: FakeModel, *, secrets: AgentSecrets | None = None) -> AsyncIterator[Node]:
    files = tmp_path / "files"
    files.mkdir()
    store = await open_store(f"sqlite:///{tmp_path}/aegis.db")

    async def agent(container: FakeContainer) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(BOOTSTRAP),
            env={**container.spec.environment, "AEGIS_ORCHESTRATOR_URL": here.url, "PATH": os.environ["PATH"]},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
            container.output.append(output)
            return process.returncode or 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def validator(container: FakeContainer) -> int:
        found = (files / "out.txt").read_text()
        container.output.append(f"found {found}".encode())
        return 0 if found == "right" else 1

    gateway = FakeGateway()
    world = World.__new__(World)
    world.secrets = secrets
    world.clock, world.store, world.gateway, world.model = SystemClock(), store, gateway, model  # type: ignore[assignment]
    world.runtime = FakeRuntime(gateway, agent, validator)
    daemon = world.daemon = Daemon(world, Life())
    app = create_app(
        store=store,
        events=daemon.events,
        clock=world.clock,
        supervisor=daemon.supervisor,
        inner_loop=daemon.inner_loop,
        tool_calls=NobodysToolCalls(),
        volumes=daemon.volumes,
        bundles=None,  # type: ignore[arg-type] - no route of this test is theirs
        gateway=gateway,
        load_manifest=lambda text, source: None,  # type: ignore[arg-type, return-value]
        health_checks={},
        api_tokens=[TOKEN],
        version="test",
    )
    server = ApiServer(app, "127.0.0.1", 0)
    await server.start()
    here = Node(world, files, f"http://127.0.0.1:{server.port}")
    try:
        yield here
    finally:
        await daemon.supervisor.close()
        daemon.events.close()
        await server.close()
        await world.runtime.close()
        await store.close()


async def run(here: Node) -> Execution:
    agent = here.world.agent(plan=PLAN)
    execution = await here.world.daemon.supervisor.start(agent, "do it", DEFAULT_TENANT)
    return await here.world.daemon.supervisor.wait(execution.id)


async def test_wrong_then_right_with_the_real_bootstrap_over_http(tmp_path: Path) -> None:
    model = FakeModel()
    async with node(tmp_path, model) as here:
        model.iterations = (
            [answer("", here.write("wrong")), answer("done")],
            [answer("", here.write("right"), call("fs.write", path="/workspace/note", content="x")), answer("done")],
        )
        execution = await run(here)
        assert (execution.state, execution.error) == (ExecutionState.COMPLETED, None)
        shown = await here.get(f"/v1/executions/{execution.id}")
        assert [each["state"] for each in shown["iterations"]] == ["refining", "success"]
        assert "found wrong" in shown["iterations"][0]["feedback"]
        assert [each["exit_code"] for each in shown["iterations"]] == [0, 0]
        kinds = [each["kind"] for each in (await here.get(f"/v1/executions/{execution.id}/events"))["items"]]
        assert kinds.count("dispatch.completed") == 2
        assert await here.world.leftovers() == []


async def test_what_it_did_can_be_shown_and_replayed_by_the_command_line(tmp_path: Path) -> None:
    """Three judges, one of whom is a child execution; from a database, over HTTP, by processes of their own."""
    model = FakeModel()
    opinions = [answer(f'{{"score": {score}, "confidence": 0.9, "reasoning": "so"}}') for score in (0.9, 0.8, 0.1)]
    model.agents = {name: [[opinion]] for name, opinion in zip(("ada", "reviewer", "cyd"), opinions, strict=True)}
    panel = MultiJudgeValidator(
        judges=(Judge(name="ada"), Judge(agent="reviewer"), Judge(name="cyd")), consensus=ConsensusMode.MAJORITY
    )
    async with node(tmp_path, model) as here:
        model.iterations = ([answer("", here.write("right"), call("fs.list", path="/workspace")), answer("done")],)
        await here.world.store.add_agent(here.world.agent(name="reviewer", plan=ExecutionPlan(max_iterations=1)))
        agent = here.world.agent(plan=ExecutionPlan(max_iterations=2, validators=(panel,)))
        started = await here.world.daemon.supervisor.start(agent, "do it", DEFAULT_TENANT)
        execution = await here.world.daemon.supervisor.wait(started.id)
        assert execution.state is ExecutionState.COMPLETED, execution.error
        [child] = [each for each in await here.world.store.list_executions() if each.parent_id == execution.id]
        for each in (execution, child):
            assert "decisions, all the same" in await here.aegis("task", "replay", each.id)
        (tmp_path / "record.json").write_text(await here.aegis("task", "export", execution.id))
        line = json.loads(await here.aegis("task", "timeline", execution.id, "--output", "json"))
        assert [each["text"] for each in line["entries"] if each["what"] == "tool"][1] == "fs.list /workspace"
        assert [each["data"]["exit_code"] for each in line["entries"] if each["what"] == "command"] == [0]
        assert line["iterations"][0]["judges"] == 3
        logs = await here.aegis("task", "logs", execution.id)
        assert f"judge reviewer: execution {child.id}" in logs and "against 1 of 3 judges" in logs
        replayed = await here.aegis("task", "replay", "--file", str(tmp_path / "record.json"), url="http://127.0.0.1:9")
        assert "decisions, all the same" in replayed


async def test_many_executions_at_once_all_complete(tmp_path: Path) -> None:
    model = FakeModel()
    async with node(tmp_path, model) as here:
        model.iterations = ([answer("", here.write("right")), answer("done")],)
        done = await asyncio.gather(*(run(here) for _ in range(12)))
        assert {execution.state for execution in done} == {ExecutionState.COMPLETED}
        assert await here.world.leftovers() == []


async def test_a_token_of_another_execution_opens_nothing(tmp_path: Path) -> None:
    model = FakeModel([answer("done")])
    async with node(tmp_path, model) as here:
        execution = await run(here)
        stored = await here.world.store.get_execution(execution.id)
        token = here.world.runtime.created[0].environment["AEGIS_DISPATCH_TOKEN"]
        assert hashlib.sha256(token.encode()).hexdigest() == stored.token_hash
        message = {"type": "generate", "execution_id": "other", "agent_id": "", "iteration_number": 1}
        message |= {"prompt": "", "model_alias": "", "messages": []}
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{here.url}/v1/dispatch-gateway"
        async with aiohttp.ClientSession() as session:
            async with session.post(url, json=message, headers=headers) as response:
                assert response.status == 401
            async with session.post(url, json={**message, "execution_id": execution.id}, headers=headers) as response:
                assert response.status == 409, "its own, but over"
