"""A node's inner loop over real HTTP, with a script for a model, SQLite, and bootstrap.py as a process of this host.

Only the gateway's storage is in memory, and the container is this host.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from aegis.adapters.llm import Models, ModelSettings
from aegis.adapters.signing import SigningKeys
from aegis.adapters.store.repository import open_store
from aegis.api import ApiServer, create_app, create_dispatch_app, token_hash
from aegis.domain.contexts import SecurityContext
from aegis.domain.execution import Execution, ExecutionState
from aegis.domain.manifest import AgentManifest, Runtime, VolumeSpec
from aegis.ids import DEFAULT_TENANT, new_id
from aegis.ports import Store
from aegis.services.attesting import AttestTokens
from aegis.services.cmd_tool import CMD_RUN
from aegis.services.fs_tools import fs_tools
from aegis.services.inner_loop import InnerLoop
from aegis.services.judging.jobs import Jobs
from aegis.services.model_calls import ModelCalls
from aegis.services.policy import ToolPolicy
from aegis.services.recorder import EventRecorder
from aegis.services.smcp import Smcp
from aegis.services.timing import SystemClock
from aegis.services.tools import ToolBox
from aegis.services.volumes import MountedVolume, VolumeService
from tests.support.bootstraps import PROGRAMS
from tests.support.fakes_gateway import FakeGateway
from tests.support.small_world import API_TOKEN, load_manifest

TOKEN = "a-dispatch-token-of-this-test"


@dataclass
class Stage:
    loop: InnerLoop
    store: Store
    gateway: FakeGateway
    execution: Execution
    mounted: list[MountedVolume]
    whole: web.Application
    server: ApiServer
    program: list[str]  # what runs as the container

    @property
    def port(self) -> int:
        return self.server.port

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
        process = await asyncio.create_subprocess_exec(*self.program, env=environment, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()


def an_execution(**manifest: Any) -> Execution:
    volume = VolumeSpec(name="workspace", mount_path="/workspace")
    plain = AgentManifest(name="hello", runtime=Runtime(image="busybox"), volumes=(volume,))
    return Execution(
        id=new_id(),
        tenant_id=DEFAULT_TENANT,
        agent_id=new_id(),
        agent_name=plain.name,
        manifest=plain.model_copy(update=manifest),
        input="do it",
        container_uid=1000,
        container_gid=1000,
        state=ExecutionState.RUNNING,
        created_at=datetime.now(UTC),
        token_hash=token_hash(TOKEN),
    )


@asynccontextmanager
async def open_stage(
    directory: Path, script: str, contexts: Iterable[SecurityContext] = (), **manifest: Any
) -> AsyncIterator[Stage]:
    """`contexts`: the node's; `manifest`: what the agent's differs in."""
    path = directory / "script.yaml"
    await asyncio.to_thread(path.write_text, script)
    store = await open_store(f"sqlite+aiosqlite:///{directory}/aegis.db")
    clock, gateway, events = SystemClock(), FakeGateway(), EventRecorder(store)
    models = Models({"default": ModelSettings(provider="script", script=str(path))})
    signer = SigningKeys(directory, clock)
    attest_tokens = AttestTokens(signer, clock)
    loop = InnerLoop(
        store=store,
        models=ModelCalls(store=store, models=models, clock=clock),
        tools=ToolBox([CMD_RUN, *fs_tools(Jobs())], ToolPolicy(contexts)),
        gateway=gateway,
        events=events,
        clock=clock,
        command_environment=attest_tokens.environment,
    )
    volumes = VolumeService(store, gateway, events, clock)
    execution = an_execution(**manifest)
    await store.add_execution(execution)
    mounted = [await volumes.attach(execution, spec) for spec in execution.manifest.volumes]
    whole = create_app(
        store=store,
        events=events,
        clock=clock,
        supervisor=None,  # type: ignore[arg-type] - no route of these tests starts an execution
        inner_loop=loop,
        tool_calls=Smcp(signer=signer, attest_tokens=attest_tokens, sessions=loop, clock=clock),
        volumes=volumes,
        bundles=None,  # type: ignore[arg-type] - no route of these tests is theirs
        gateway=gateway,
        load_manifest=load_manifest,
        health_checks={},
        api_tokens=[API_TOKEN],
        version="0",
    )
    server = ApiServer(create_dispatch_app(whole), "127.0.0.1", 0)
    await server.start()
    try:
        yield Stage(loop, store, gateway, execution, mounted, whole, server, PROGRAMS["python"])
    finally:
        await server.close()
        events.close()
        await store.close()
