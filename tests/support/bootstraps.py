"""What the two bootstraps are tested against: a real server that speaks the protocol and can be cut, slow or wrong.

Each program runs as a container would run it, as a process of its own with nothing but its environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from aegis import bootstrap

LEFT_OUT = object()
TOKEN = "the-token-of-this-execution"
DIRECTORY = Path(bootstrap.__file__).parent
SCRIPT = DIRECTORY / "bootstrap.py"

PROGRAMS: Mapping[str, list[str]] = {
    "python": [sys.executable, "-W", "error", "-I", str(SCRIPT)],
    "native": [str(DIRECTORY / "agent-amd64")],
    "arm64": ["qemu-aarch64", str(DIRECTORY / "agent-arm64")],
}


def missing(program: str) -> str | None:
    """Why a program cannot run on this machine."""
    if program == "native" and os.uname().machine != "x86_64":
        return f"agent-amd64 does not run on {os.uname().machine}"
    if program == "arm64" and shutil.which("qemu-aarch64") is None:
        return "agent-arm64 needs qemu-aarch64 here: apt-get install qemu-user"
    return None


@dataclass
class Orchestrator:
    """An inner loop of two commands. `faults` are taken one a request; the work behind a lost reply has been done."""

    faults: list[str] = field(default_factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None
    commands: list[list[str]] = field(default_factory=lambda: [["echo", "one"], ["sh", "-c", "echo two; exit 2"]])
    cwd: str = "/"
    changes: dict[str, Any] = field(default_factory=dict)  # to every dispatch; LEFT_OUT leaves a member out
    outputs: list[dict[str, Any]] = field(default_factory=list)
    refuses_output: bool = False
    log: Path | None = None
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)  # by dispatch id: exactly once
    generated: list[dict[str, Any]] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/v1/dispatch-gateway/task", self.task)
        app.router.add_post("/v1/dispatch-gateway", self.post)
        return app

    async def task(self, request: web.Request) -> web.StreamResponse:
        query = {"execution_id": "e-1", "iteration": "3"}
        assert dict(request.query) == query
        return await self.reply(
            request, {"prompt": "do it\n\u00e4", "messages": [], "agent_id": "a", "model_alias": "fast"}
        )

    async def post(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if message["type"] == "generate":
            self.generated.append(message)
            return await self.reply(request, self.step(0))
        if message["type"] == "dispatch_output":
            return self.output(message)
        assert message.pop("type") == "dispatch_result"
        number = int(message["dispatch_id"].removeprefix("d-"))
        self.taken.setdefault(message["dispatch_id"], message)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(json.dumps(message) + "\n")
        return await self.reply(request, self.step(number + 1))

    def output(self, message: dict[str, Any]) -> web.StreamResponse:
        self.outputs.append(message)
        self.heard.set()
        if self.refuses_output:
            return web.json_response({"code": "conflict", "detail": "not now"}, status=409)
        return web.json_response({"type": "noted"})

    def step(self, number: int) -> dict[str, Any]:
        if number == len(self.commands):
            return {"type": "final", "content": "done", "tool_calls_executed": number, "conversation": []}
        command, *args = self.commands[number]
        dispatch = {
            "type": "dispatch",
            "dispatch_id": f"d-{number}",
            "action": "exec",
            "command": command,
            "args": args,
            "cwd": self.cwd,
            "env_additions": {},
            "timeout_secs": 60,
            "max_output_bytes": 524288,
            **self.changes,
        }
        return {key: value for key, value in dispatch.items() if value is not LEFT_OUT}

    async def reply(self, request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
        self.requests += 1
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert request.headers["X-Aegis-Execution"] == "e-1"
        if self.refusal is not None:
            return web.json_response(self.refusal[1], status=self.refusal[0])
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
        elif fault == "half":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b'{"type": "final"')
            assert request.transport is not None
            request.transport.close()
            return response
        elif fault == "garbage":
            return web.Response(text="<html>a proxy's page</html>", content_type="text/html")
        elif fault:
            return web.json_response({"code": "x", "detail": "y"}, status=int(fault), headers={"Retry-After": "0"})
        return web.json_response(answer)


@dataclass
class Ended:
    code: int
    log: str


async def listen(orchestrator: Orchestrator, port: int = 0, host: str = "127.0.0.1") -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(orchestrator.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_address=True).start()
    return runner, runner.addresses[0][1]


@dataclass
class Bootstrap:
    """One of the programs, to be started against an orchestrator at a port."""

    argv: list[str]

    async def start(self, port: int, **changes: str) -> asyncio.subprocess.Process:
        environment = {
            "PATH": os.environ["PATH"],
            "AEGIS_ORCHESTRATOR_URL": f"http://127.0.0.1:{port}",
            "AEGIS_DISPATCH_TOKEN": TOKEN,
            "AEGIS_EXECUTION_ID": "e-1",
            "AEGIS_ITERATION": "3",
            "AEGIS_AGENT_ID": "a",
            "AEGIS_LLM_TIMEOUT_SECONDS": "30",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "http_proxy": "http://127.0.0.1:9",
            "ALL_PROXY": "http://127.0.0.1:9",
            **changes,
        }
        pipe, same = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        return await asyncio.create_subprocess_exec(*self.argv, env=environment, stdout=pipe, stderr=same)

    async def run(self, port: int, **changes: str) -> Ended:
        process = await self.start(port, **changes)
        out, _ = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode())


async def serve(port: int, log: Path, commands: list[list[str]]) -> None:
    """For containers, in a process of its own, until killed: what is taken is appended to a file, a line each."""
    orchestrator = Orchestrator(commands=commands, log=log)
    await listen(orchestrator, port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])))
