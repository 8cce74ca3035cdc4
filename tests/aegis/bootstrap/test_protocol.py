"""bootstrap.py as a container runs it: a process of its own against a real server that is cut, slow, wrong or
restarted."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from aegis.bootstrap import source

TOKEN = "the-token-of-this-execution"
SCRIPT = Path(__file__).parents[3] / "aegis" / "bootstrap" / "bootstrap.py"


@dataclass
class Orchestrator:
    """An inner loop of two commands. `faults` are taken one a request; the work behind a lost reply has been done."""

    faults: list[str] = field(default_factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None
    commands: list[list[str]] = field(default_factory=lambda: [["echo", "one"], ["sh", "-c", "echo two; exit 2"]])
    cwd: str = "/"
    requests: int = 0
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)  # by dispatch id: exactly once
    generated: list[dict[str, Any]] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
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
        assert message.pop("type") == "dispatch_result"
        number = int(message["dispatch_id"].removeprefix("d-"))
        self.taken.setdefault(message["dispatch_id"], message)
        return await self.reply(request, self.step(number + 1))

    def step(self, number: int) -> dict[str, Any]:
        if number == len(self.commands):
            return {"type": "final", "content": "done", "tool_calls_executed": number, "conversation": []}
        command, *args = self.commands[number]
        return {
            "type": "dispatch",
            "dispatch_id": f"d-{number}",
            "action": "exec",
            "command": command,
            "args": args,
            "cwd": self.cwd,
            "env_additions": {},
            "timeout_secs": 60,
            "max_output_bytes": 524288,
        }

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


Run = Callable[..., Awaitable[Ended]]


async def listen(orchestrator: Orchestrator, port: int = 0) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(orchestrator.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    return runner, runner.addresses[0][1]


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
async def port(orchestrator: Orchestrator) -> AsyncIterator[int]:
    runner, port = await listen(orchestrator)
    yield port
    await runner.cleanup()


async def start(port: int, **changes: str) -> asyncio.subprocess.Process:
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
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-I",
        str(SCRIPT),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def run(port: int, **changes: str) -> Ended:
    process = await start(port, **changes)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode())


async def test_an_iteration_from_the_task_to_the_final_response(orchestrator: Orchestrator, port: int) -> None:
    ended = await run(port)
    assert ended.code == 0, ended.log
    (generated,) = orchestrator.generated
    assert generated == {
        "type": "generate",
        "agent_id": "a",
        "execution_id": "e-1",
        "iteration_number": 3,
        "prompt": "do it\n\u00e4",
        "model_alias": "fast",
        "messages": [],
    }
    assert [(r["exit_code"], r["stdout"]) for r in orchestrator.taken.values()] == [(0, "one\n"), (2, "two\n")]
    assert "final response after 2 tool calls" in ended.log


@pytest.mark.parametrize("fault", ["cut", "half", "garbage", "500", "503", "429", "408"])
@pytest.mark.parametrize("position", range(4))
async def test_a_lost_reply_changes_nothing(orchestrator: Orchestrator, port: int, fault: str, position: int) -> None:
    orchestrator.faults = [*[""] * position, fault]
    ended = await run(port)
    assert ended.code == 0, ended.log
    assert "trying again" in ended.log
    assert orchestrator.requests == 5
    assert list(orchestrator.taken) == ["d-0", "d-1"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413])
async def test_a_refusal_for_good_is_not_repeated(orchestrator: Orchestrator, port: int, status: int) -> None:
    orchestrator.refusal = (status, {"code": "execution_over", "detail": "it is over"})
    ended = await run(port)
    assert (ended.code, orchestrator.requests) == (1, 1)
    assert "execution_over: it is over" in ended.log


async def test_a_fault_that_says_it_will_stay_is_not_repeated(orchestrator: Orchestrator, port: int) -> None:
    orchestrator.refusal = (503, {"code": "model_failed", "detail": "wrong key", "retryable": False})
    ended = await run(port)
    assert (ended.code, orchestrator.requests) == (1, 1)


async def test_an_orchestrator_that_comes_back_is_found_again(orchestrator: Orchestrator) -> None:
    runner, port = await listen(orchestrator)
    await runner.cleanup()
    process = await start(port)
    assert process.stdout is not None
    first = await process.stdout.readline()
    assert b"trying again" in first
    runner, _ = await listen(orchestrator, port)
    await process.communicate()
    assert process.returncode == 0
    await runner.cleanup()


async def test_an_unknown_answer_ends_it(
    orchestrator: Orchestrator, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Orchestrator, "step", lambda self, number: {"type": "dance"})
    ended = await run(port)
    assert ended.code == 1
    assert "'dance'" in ended.log


async def test_a_stop_takes_the_command_with_it(orchestrator: Orchestrator, port: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    orchestrator.cwd = str(tmp_path)
    orchestrator.commands = [["sh", "-c", "exec 5> alive; echo up >&5; sleep 1000; true"]]
    process = await start(port)
    loop = asyncio.get_running_loop()
    alive = await loop.run_in_executor(None, open, tmp_path / "alive")
    assert await loop.run_in_executor(None, alive.readline) == "up\n"
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 1
    # The end of the pipe comes when nobody of the command's group holds it any more.
    assert await loop.run_in_executor(None, alive.readline) == ""
    alive.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"AEGIS_ORCHESTRATOR_URL": "ftp://x"}, "wanted http://HOST:PORT"),
        ({"AEGIS_ITERATION": "x"}, "invalid literal"),
    ],
)
async def test_a_wrong_environment_is_said_plainly(port: int, changes: dict[str, str], says: str) -> None:
    ended = await run(port, **changes)
    assert ended.code == 1
    assert says in ended.log
    assert "Traceback" not in ended.log


def test_it_is_one_file_of_the_standard_library_and_python_3_8() -> None:
    tree = ast.parse(source(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    assert len(source().splitlines()) < 350
