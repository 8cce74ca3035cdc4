"""The agent's side of the protocol as a container runs it: a process of its own against a real server that is cut,
slow, wrong or restarted. Every claim holds for each of the programs."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.bootstraps import SCRIPT, Bootstrap, Orchestrator, listen


async def test_an_iteration_from_the_task_to_the_final_response(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int
) -> None:
    ended = await bootstrap.run(port)
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
async def test_a_lost_reply_changes_nothing(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, fault: str, position: int
) -> None:
    orchestrator.faults = [*[""] * position, fault]
    ended = await bootstrap.run(port)
    assert ended.code == 0, ended.log
    assert "trying again" in ended.log
    assert orchestrator.requests == 5
    assert list(orchestrator.taken) == ["d-0", "d-1"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413])
async def test_a_refusal_for_good_is_not_repeated(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, status: int
) -> None:
    orchestrator.refusal = (status, {"code": "execution_over", "detail": "it is over"})
    ended = await bootstrap.run(port)
    assert (ended.code, orchestrator.requests) == (1, 1)
    assert "execution_over: it is over" in ended.log


async def test_a_fault_that_says_it_will_stay_is_not_repeated(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int
) -> None:
    orchestrator.refusal = (503, {"code": "model_failed", "detail": "wrong key", "retryable": False})
    ended = await bootstrap.run(port)
    assert (ended.code, orchestrator.requests) == (1, 1)


async def test_an_orchestrator_that_comes_back_is_found_again(bootstrap: Bootstrap, orchestrator: Orchestrator) -> None:
    runner, port = await listen(orchestrator)
    await runner.cleanup()
    process = await bootstrap.start(port)
    assert process.stdout is not None
    first = await process.stdout.readline()
    assert b"trying again" in first
    runner, _ = await listen(orchestrator, port)
    await process.communicate()
    assert process.returncode == 0
    await runner.cleanup()


async def test_an_unknown_answer_ends_it(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Orchestrator, "step", lambda self, number: {"type": "dance"})
    ended = await bootstrap.run(port)
    assert ended.code == 1
    assert "'dance'" in ended.log


async def test_a_stop_takes_the_command_with_it(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "alive")
    orchestrator.cwd = str(tmp_path)
    orchestrator.commands = [["sh", "-c", "exec 5> alive; echo up >&5; sleep 1000; true"]]
    process = await bootstrap.start(port)
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
        ({"AEGIS_ITERATION": "x"}, "AEGIS_ITERATION is 'x', wanted a number"),
    ],
)
async def test_a_wrong_environment_is_said_plainly(
    bootstrap: Bootstrap, port: int, changes: dict[str, str], says: str
) -> None:
    ended = await bootstrap.run(port, **changes)
    assert ended.code == 1
    assert says in ended.log
    assert "Traceback" not in ended.log


def test_it_is_one_file_of_the_standard_library_and_python_3_8() -> None:
    tree = ast.parse(SCRIPT.read_bytes(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    assert len(SCRIPT.read_bytes().splitlines()) < 430
