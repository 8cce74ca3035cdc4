"""Following an execution on a terminal and off it: interrupts, answers, and a daemon that goes away meanwhile."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from aegis.api import ApiServer
from aegis.cli import client as client_module
from aegis.domain.execution import ExecutionState
from tests.support.small_world import API_TOKEN, World


async def read_until(descriptor: int, text: str) -> str:
    """From a terminal's other side; its end (EIO) is the end of the text."""
    loop = asyncio.get_running_loop()
    seen = ""
    while text not in seen:
        try:
            chunk = await loop.run_in_executor(None, os.read, descriptor, 4096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk.decode()
    return seen


@pytest.mark.parametrize(
    ("answer", "state", "says"),
    [("y\n", ExecutionState.CANCELLED, "is cancelled"), ("n\n", ExecutionState.RUNNING, "goes on running")],
)
async def test_an_interrupt_on_a_terminal_asks_and_does_what_it_is_told(
    world: World, environment: dict[str, str], tmp_path: Path, answer: str, state: ExecutionState, says: str
) -> None:
    execution = await world.running_execution()
    await world.supervisor.say(execution.id, "iteration.started", 1)
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aegis", "task", "logs", "--follow", execution.id),
        env={**environment, "TERM": "dumb"},
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert "iteration 1" in await read_until(ours, "iteration 1")
    await world.events.followed.wait()
    process.send_signal(signal.SIGINT)
    await read_until(ours, "[y/N]")
    os.write(ours, answer.encode())
    rest = await read_until(ours, "\0")
    assert await process.wait() == 130
    os.close(ours)
    assert says in rest
    assert world.store.executions[execution.id].state is state


async def test_an_interrupt_without_a_terminal_leaves_it_running(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    execution = await world.running_execution()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aegis", "task", "logs", "--follow", execution.id),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await world.events.followed.wait()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"goes on running" in err
    assert world.store.executions[execution.id].state is ExecutionState.RUNNING


async def test_a_daemon_that_restarts_while_followed_costs_no_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "RECONNECT_SECONDS", 0.02)
    execution = await world.running_execution()
    first = ApiServer(world.create(), "127.0.0.1", 0)
    await first.start()
    client = client_module.Client(f"http://127.0.0.1:{first.port}", API_TOKEN)
    seen: list[int] = []

    def follow() -> None:
        seen.extend(event["sequence"] for event in client.follow(execution.id))

    following = asyncio.get_running_loop().run_in_executor(None, follow)
    await world.events.followed.wait()
    await first.close()
    await world.supervisor.run_wrong_then_right(execution.id)
    second = ApiServer(world.create(), "127.0.0.1", first.port)
    await second.start()
    await following
    assert seen == list(range(1, 11))
    await second.close()


async def test_a_pull_is_one_line_on_a_terminal(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    execution = await world.running_execution()
    for done in (0, 50, 100):
        await world.supervisor.say(execution.id, "image.progress", image="busybox", bytes_done=done, bytes_total=100)
    await world.supervisor.end(execution.id, ExecutionState.FAILED, error="no")
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aegis", "task", "logs", execution.id),
        env={**environment, "TERM": "xterm"},
        cwd=tmp_path,
        stdout=theirs,
    )
    os.close(theirs)
    shown = await read_until(ours, "\0")
    await process.wait()
    os.close(ours)
    assert shown.count("pulling busybox") == 3
    assert shown.count("\n") == 1  # of the last event alone
    assert "100%" in shown
