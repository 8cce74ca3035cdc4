"""Tool servers as they are met: real processes with the SDK's own server in them, which behave well and badly."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aegis.adapters.mcp import McpServers, Patience, ServerSettings
from aegis.adapters.mcp.process import STDERR_LINES_MAX
from aegis.errors import ToolServerFailed
from aegis.ports import ToolAnswer

ROOT = str(Path(__file__).parents[4])
QUICK = Patience(start_seconds=60, ping_seconds=30, answer_seconds=30, pause_seconds=0.01)
SECRET = "s3cret-of-the-tool-server"


def settings(name: str = "tests", *arguments: str, **changes: Any) -> ServerSettings:
    values: dict[str, Any] = {
        "command": sys.executable,
        "args": ("-m", "tests.support.tool_server", *arguments),
        "directory": ROOT,
        **changes,
    }
    return ServerSettings(name=name, **values)


@asynccontextmanager
async def running(*wanted: ServerSettings, patience: Patience = QUICK) -> AsyncIterator[McpServers]:
    servers = McpServers(wanted or [settings()], patience)
    async with servers.running():
        yield servers


async def until(condition: Callable[[], bool]) -> None:
    """Something in another process: looked at until it is so, for at most a minute."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never happened")


async def up(servers: McpServers, name: str = "tests", starts: int = 1) -> None:
    server = servers.server(name)
    await until(lambda: server.trouble is None and server.starts >= starts)


async def call(servers: McpServers, tool: str, **arguments: Any) -> ToolAnswer:
    return await servers.call(f"tests.{tool}", arguments)


def arguments_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def alive(pid: int) -> bool:
    """Running, and no zombie that nobody has waited for."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


# ---- what it offers, and what comes back ----


async def test_tools_have_the_servers_name_before_theirs_and_its_own_schema() -> None:
    async with running() as servers:
        await up(servers)
        [add] = [tool for tool in servers.tools() if tool.name == "tests.add"]
        assert add.description == "Add two numbers."
        assert add.parameters["properties"]["a"] == {"title": "A", "type": "integer", "description": "The first"}
        assert await call(servers, "add", a=40, b=2) == ToolAnswer("42")


async def test_only_the_tools_that_are_wanted_are_offered() -> None:
    async with running(settings(tools=("a*", "point"))) as servers:
        await up(servers)
        assert [tool.name for tool in servers.tools()] == ["tests.add", "tests.point"]


async def test_structure_is_said_once_and_of_a_picture_what_it_is() -> None:
    async with running() as servers:
        await up(servers)
        assert json.loads((await call(servers, "point")).text) == {"x": 1, "y": 2}
        assert (await call(servers, "picture")).text == "[image, image/png, 100 bytes: not shown]"


async def test_what_a_tool_refuses_and_what_it_does_not_understand_is_told() -> None:
    async with running() as servers:
        await up(servers)
        failed = await call(servers, "fail", why="the moon is full")
        assert failed.failed and "the moon is full" in failed.text
        wrong = await call(servers, "add", a="many", b=1)
        assert wrong.failed and "valid integer" in wrong.text
        unknown = await call(servers, "nothing_of_the_kind")
        assert unknown.failed and "nothing_of_the_kind" in unknown.text


async def test_a_large_result_is_bounded() -> None:
    async with running() as servers:
        await up(servers)
        assert len((await call(servers, "big", characters=1_000_000)).text) == 200_000


async def test_new_tools_are_noticed() -> None:
    async with running() as servers:
        await up(servers)
        await call(servers, "learn", name="swim")
        await until(lambda: any(tool.name == "tests.swim" for tool in servers.tools()))
        assert "swim was called" in (await call(servers, "swim")).text


async def test_calls_at_once_are_answered_each_by_its_own() -> None:
    async with running() as servers:
        await up(servers)
        answers = await asyncio.gather(*(call(servers, "add", a=n, b=0) for n in range(40)))
        assert [answer.text for answer in answers] == [str(n) for n in range(40)]


# ---- its surroundings ----


async def test_it_knows_its_own_environment_and_nothing_of_the_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-daemon")
    wanted = settings(environment={"TOKEN": SECRET, "ROOM": "blue"}, secrets=(SECRET,))
    async with running(wanted) as servers:
        await up(servers)
        told = (await call(servers, "environment")).text.splitlines()
        names = {line.partition("=")[0] for line in told}
        assert names <= {
            "PATH",
            "HOME",
            "LANG",
            "LC_ALL",
            "LC_CTYPE",
            "TZ",
            "TMPDIR",
            "USER",
            "LOGNAME",
            "TOKEN",
            "ROOM",
        }
        assert "ROOM=blue" in told
        assert "TOKEN=***" in told, "its secret does not come back"
        pid = servers.server("tests").pid
        assert pid is not None and SECRET not in arguments_of(pid)


async def test_what_it_says_on_its_standard_error_is_logged_bounded_and_without_its_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with running(settings(environment={"TOKEN": SECRET}, secrets=(SECRET,))) as servers:
        await up(servers)
        await call(servers, "say", text=f"using {SECRET} " + "x" * 5000)
        await call(servers, "say", text="line\n" * 1000)
        await until(lambda: "it is not logged" in caplog.text)
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("mcp.process")]
    assert any("using *** x" in line for line in lines)
    assert SECRET not in caplog.text
    assert len(lines) <= STDERR_LINES_MAX + 1
    assert max(map(len, lines)) < 1100


# ---- when it does not do what it should ----


async def test_a_call_has_its_time_and_the_server_is_told_that_nobody_waits() -> None:
    async with running(settings(timeout_seconds=0.5)) as servers:
        await up(servers)
        late = await call(servers, "sleep", seconds=1000)
        assert late == ToolAnswer(
            "tool server tests has not answered within 0.5 s; whether it did it is unknown", failed=True
        )
        assert (await call(servers, "add", a=1, b=1)).text == "2", "it answers the others"
        assert servers.server("tests").starts == 1


async def test_a_caller_that_goes_away_is_told_to_the_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with running() as servers:
        await up(servers)
        waiting = asyncio.create_task(call(servers, "sleep", seconds=1000))
        await until(lambda: "tool server tests: sleeping" in caplog.text)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await until(lambda: "tool server tests: cancelled" in caplog.text)


async def test_a_server_that_is_silent_is_begun_anew() -> None:
    patience = Patience(answer_seconds=0.3, pause_seconds=0.01)
    async with running(settings(timeout_seconds=0.3), patience=patience) as servers:
        await up(servers)
        assert (await call(servers, "block", seconds=1000)).failed
        await until(lambda: servers.server("tests").starts >= 2)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("die", "has ended (exit code 3; its last words: no more)"),
        ("kill", "has ended (signal 9)"),
        ("endless line", "wrote a line longer than 4194304 bytes"),
        ("flood", "sent 10001 messages that nobody asked for"),
        ("close output", "has ended (it closed its output)"),
    ],
)
async def test_a_server_that_breaks_in_the_middle_says_how_and_is_begun_anew(how: str, why: str) -> None:
    async with running() as servers:
        await up(servers)
        pid = servers.server("tests").pid
        assert pid is not None
        broken = await call(servers, "misbehave", how=how)
        assert broken.failed
        assert f"Tool server tests {why}" in broken.text
        assert "whether it did it is unknown" in broken.text
        await up(servers, starts=2)
        assert (await call(servers, "add", a=1, b=1)).text == "2"
        assert not alive(pid)


async def test_a_few_lines_that_are_no_messages_are_passed_over_and_many_are_too_many() -> None:
    async with running() as servers:
        await up(servers)
        assert (await call(servers, "misbehave", how="garbage")).text == "done"
        assert (await call(servers, "misbehave", how="garbage")).text == "done"
        assert "101 lines to its output that are no messages" in (await call(servers, "misbehave", how="garbage")).text
        await up(servers, starts=2)


async def test_while_it_is_away_its_tools_stay_and_a_call_says_why() -> None:
    async with running(patience=Patience(pause_seconds=1000, pause_max_seconds=1000)) as servers:
        await up(servers)
        offered = servers.tools()
        await call(servers, "misbehave", how="die")
        server = servers.server("tests")
        await until(lambda: server.trouble is not None)
        assert servers.tools() == offered
        away = await call(servers, "add", a=1, b=1)
        assert away.failed and "has ended (exit code 3" in away.text and "started again" in away.text
        with pytest.raises(ToolServerFailed, match="exit code 3"):
            await servers.checks()["tool server tests"]()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"command": "no-such-program"}, "there is no program no-such-program.*mcp_servers.tests.command"),
        ({"directory": "/nowhere"}, "cannot be started: No such file or directory: /nowhere"),
        ({"args": ("-c", "print('hello')")}, r"has ended \(exit code 0\)"),
        ({"args": ("-c", "import sys; sys.exit('no token')")}, r"exit code 1; its last words: no token"),
        ({"args": ("-c", "import time; time.sleep(1000)")}, r"has not begun to answer within 2 s"),
    ],
)
async def test_a_server_that_cannot_begin_says_why_and_holds_up_nobody(changes: dict[str, Any], says: str) -> None:
    patience = Patience(start_seconds=2, pause_seconds=1000, pause_max_seconds=1000)
    async with running(settings(**changes), patience=patience) as servers:
        server = servers.server("tests")
        await until(lambda: server.trouble is not None and "is starting" not in str(server.trouble))
        with pytest.raises(ToolServerFailed, match=says):
            await server.check()
        assert servers.tools() == []


def test_pauses_double_up_to_a_bound() -> None:
    patience = Patience(pause_seconds=1, pause_max_seconds=60)
    for failures, longest in ((1, 1), (2, 2), (5, 16), (7, 60), (1000, 60)):
        assert longest / 2 <= patience.pause(failures) <= longest


# ---- the end ----


async def test_nothing_of_a_server_is_left_neither_itself_nor_what_it_started() -> None:
    async with running(settings("tests", "--deaf")) as servers:
        await up(servers)
        child = int((await call(servers, "spawn")).text)
        pid = servers.server("tests").pid
        assert pid is not None and alive(pid) and alive(child)
    assert not alive(pid)
    await until(lambda: not alive(child))


DAEMON = """
import asyncio, sys
from aegis.adapters.mcp import McpServers, ServerSettings
async def main():
    command = ("-m", "tests.support.tool_server", "--deaf")
    servers = McpServers([ServerSettings(name="tests", command=sys.executable, args=command)])
    async with servers.running():
        while servers.server("tests").pid is None:
            await asyncio.sleep(0.01)
        print(servers.server("tests").pid, flush=True)
        await asyncio.sleep(1000)
asyncio.run(main())
"""


async def test_a_server_does_not_outlive_a_daemon_that_was_killed() -> None:
    daemon = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DAEMON),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert daemon.stdout is not None
    pid = int(await daemon.stdout.readline())
    assert alive(pid)
    daemon.kill()
    await daemon.wait()
    await until(lambda: not alive(pid))
