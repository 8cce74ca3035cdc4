"""Running what a dispatch says: real commands, and whatever goes wrong with them is a result the model can read."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aegis.api.wire import DISPATCH_MESSAGE
from tests.support.bootstraps import LEFT_OUT, TOKEN, Bootstrap, Orchestrator

Run = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def run(bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, tmp_path: Path) -> Run:
    async def run(program: object, *args: object, **changes: object) -> dict[str, Any]:
        """The result of one dispatch, as the daemon would take it."""
        orchestrator.commands = [[program, *args]]  # type: ignore[list-item]
        orchestrator.changes = {"cwd": str(tmp_path), **changes}
        orchestrator.taken.clear()
        ended = await bootstrap.run(port)
        assert ended.code == 0, ended.log
        (result,) = orchestrator.taken.values()
        DISPATCH_MESSAGE.validate_python({"type": "dispatch_result", **result})
        return result

    return run


def shell(text: str) -> tuple[str, str, str]:
    return "sh", "-c", text


async def test_output_and_exit_code_come_back(run: Run) -> None:
    result = await run(*shell("echo out; echo err >&2; exit 3"))
    assert (result["exit_code"], result["stdout"], result["stderr"]) == (3, "out\n", "err\n")
    assert result["truncated"] is False
    assert result["duration_ms"] >= 0


async def test_arguments_are_never_a_shells_and_any_text(run: Run, tmp_path: Path) -> None:
    result = await run("printf", "%s|", "$HOME; touch x", "*", "", 'a"b\\c\n\t', "\u00e4\u20ac\U0001f412", 7)
    assert result["stdout"] == '$HOME; touch x|*||a"b\\c\n\t|\u00e4\u20ac\U0001f412|7|'
    assert os.listdir(tmp_path) == []


async def test_a_name_that_is_no_text_is_the_bytes_it_stands_for(run: Run) -> None:
    result = await run("printf", "%s", b"\xff\xfe".decode("utf-8", "surrogateescape"))
    assert result["stdout"] == "\ufffd\ufffd"


async def test_arguments_come_as_they_were_sent(bootstrap: Bootstrap, orchestrator: Orchestrator, port: int) -> None:
    """Fifty of them, of everything JSON escapes: controls, quotes, backslashes, two to four bytes of UTF-8."""
    dice = random.Random(8259)
    alphabet = [
        *map(chr, range(1, 0x80)),
        *'"\\/',
        "\u0080",
        "\u07ff",
        "\u0800",
        "\ud7ff",
        "\ufffd",
        "\U00010000",
        "\U0010ffff",
    ]
    words = ["".join(dice.choices(alphabet, k=dice.randrange(60))) for _ in range(50)]
    orchestrator.commands = [["printf", "%s", word] for word in words]
    ended = await bootstrap.run(port)
    assert ended.code == 0, ended.log
    assert [result["stdout"] for result in orchestrator.taken.values()] == words


async def test_a_signal_is_told_as_shells_do(run: Run) -> None:
    assert (await run(*shell("kill -KILL $$")))["exit_code"] == 137


async def test_a_command_that_is_not_there_is_127(run: Run) -> None:
    result = await run("no-such-command")
    assert (result["exit_code"], result["stderr"]) == (127, "no-such-command: command not found")


@pytest.mark.parametrize(
    ("command", "args", "mode"),
    [("./data", [], 0o600), ("./data", [], 0o700), ("echo", ["a\0b"], 0o600), ("echo", ["x" * 200_000], 0o600)],
)
async def test_what_cannot_be_run_is_126(run: Run, tmp_path: Path, command: str, args: list[str], mode: int) -> None:
    (tmp_path / "data").write_text("x")
    (tmp_path / "data").chmod(mode)
    result = await run(command, *args)
    assert result["exit_code"] == 126
    assert result["stderr"].startswith(f"{command}: cannot be run: ")


async def test_a_path_is_from_the_working_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "tool").chmod(stat.S_IRWXU)
    assert (await run("./tool"))["stdout"] == f"{tmp_path}\n"
    assert (await run("tool", env_additions={"PATH": f"/nowhere:{tmp_path}:/bin:/usr/bin"}))["exit_code"] == 0


async def test_a_directory_that_is_not_there_is_named(run: Run) -> None:
    result = await run("true", cwd="/no/such")
    assert (result["exit_code"], "/no/such" in result["stderr"]) == (-1, True)


@pytest.mark.parametrize("action", ["reboot", None, 7])
async def test_an_unknown_action_is_told_by_name(run: Run, action: object) -> None:
    result = await run("true", action=action)
    assert (result["exit_code"], result["stderr"]) == (-1, f"unknown_action:{action}")


@pytest.mark.parametrize(("command", "args"), [(None, []), (["ls"], []), ("ls", "-l"), (LEFT_OUT, [])])
async def test_a_malformed_dispatch_is_a_result_too(run: Run, command: object, args: object) -> None:
    assert (await run("true", command=command, args=args))["exit_code"] == -1


async def test_a_dispatch_of_the_least_runs_with_what_is_usual(run: Run, tmp_path: Path) -> None:
    least = {"args": LEFT_OUT, "env_additions": LEFT_OUT, "timeout_secs": LEFT_OUT, "max_output_bytes": LEFT_OUT}
    assert (await run("pwd", **least))["stdout"] == f"{tmp_path}\n"


async def test_a_timeout_kills_the_whole_group_and_keeps_what_was_said(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    reader = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    grandchild = "exec 5> held; echo up >&5; sleep 1000; true"
    result = await run(*shell(f"echo before; sh -c '{grandchild}' & wait"), timeout_secs=1.5)
    assert (result["exit_code"], result["stdout"]) == (-1, "before\n")
    assert result["stderr"] == "timed out after 1.5 s and was killed"
    assert os.read(reader, 10) == b"up\n"
    assert os.read(reader, 10) == b""  # the end: nobody holds the other side any more; a blocked read would be EAGAIN
    os.close(reader)


async def test_the_note_of_a_timeout_stands_under_what_was_said(run: Run) -> None:
    result = await run(*shell("echo so far >&2; sleep 1000"), timeout_secs=1)
    assert result["stderr"] == "so far\ntimed out after 1 s and was killed"


async def test_output_is_bounded_while_it_is_read_and_keeps_the_tail(run: Run) -> None:
    text = "yes x | head -c 50000000; echo end; echo fine >&2"
    result = await run(*shell(text), max_output_bytes=1000, timeout_secs=60)
    assert len(result["stdout"]) == 1000
    assert result["stdout"].endswith("x\nend\n")
    assert (result["stderr"], result["truncated"]) == ("fine\n", True)


async def test_output_of_just_the_bound_is_not_cut(run: Run) -> None:
    result = await run(*shell("yes x | head -c 1000"), max_output_bytes=1000)
    assert (len(result["stdout"]), result["truncated"]) == (1000, False)


async def test_a_dispatch_cannot_ask_for_boundless_output(run: Run) -> None:
    result = await run(*shell("yes x | head -c 9000000"), max_output_bytes=10**12, timeout_secs=60)
    assert len(result["stdout"]) == 4 * 1024 * 1024


async def test_bytes_that_are_no_text_are_replaced(run: Run) -> None:
    assert (await run("printf", r"a\377b\000c"))["stdout"] == "a\ufffdb\ufffdc"


async def test_any_bytes_come_out_as_python_would_replace_them(run: Run, tmp_path: Path) -> None:
    """Bytes of which many begin a character and few end one."""
    dice = random.Random(3629)
    likely = [*range(0x60), *range(0x80, 0xC4), 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF]
    content = bytes(dice.choices(likely, k=50_000))
    (tmp_path / "any").write_bytes(content)
    assert (await run("cat", "any"))["stdout"] == content.decode("utf-8", "replace").replace("\0", "\ufffd")


async def test_additions_reach_the_command_and_the_token_does_not(run: Run) -> None:
    result = await run("env", env_additions={"EXTRA": "a=1", "AEGIS_AGENT_ID": "changed", "NUMBER": 5})
    lines = result["stdout"].splitlines()
    assert {"EXTRA=a=1", "AEGIS_AGENT_ID=changed", "NUMBER=5", "AEGIS_ITERATION=3"} <= set(lines)
    assert "AEGIS_AGENT_ID=a" not in lines
    assert TOKEN not in result["stdout"]


async def test_standard_input_is_empty_and_no_descriptor_is_inherited(run: Run) -> None:
    assert (await run("cat"))["exit_code"] == 0
    result = await run("sh", "-c", "ls /proc/$$/fd | tr '\\n' ' '")
    assert result["stdout"] == "0 1 2 "


async def test_signals_are_as_a_program_expects_them(run: Run) -> None:
    result = await run("sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/$$/status | cut -f2")
    assert [int(mask, 16) & 0x7FFF for mask in result["stdout"].split()] == [0, 0]


async def test_a_process_left_behind_neither_holds_the_result_nor_dies_of_its_pipe(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    os.mkfifo(tmp_path / "done")
    left = "(read x < go; yes line | head -100000; echo $? > done) & echo started"
    orchestrator.cwd = str(tmp_path)
    orchestrator.commands = [["sh", "-c", left], ["sh", "-c", "echo now > go; cat done"]]
    ended = await asyncio.wait_for(bootstrap.run(port), 60)
    assert ended.code == 0, ended.log
    first, second = orchestrator.taken.values()
    assert (first["exit_code"], first["stdout"], second["stdout"]) == (0, "started\n", "0\n")


async def test_no_descriptor_and_no_child_is_left(
    bootstrap: Bootstrap, orchestrator: Orchestrator, port: int, tmp_path: Path
) -> None:
    """Asked of the parent by its own command, early and late."""
    look = ["sh", "-c", "ls /proc/$PPID/fd | wc -l; cat /proc/$PPID/task/*/children | wc -w"]
    orchestrator.commands = [["true"], look, *[["true"]] * 15, look]
    ended = await bootstrap.run(port)
    assert ended.code == 0, ended.log
    results = list(orchestrator.taken.values())
    (early, _), (late, children) = (map(int, results[at]["stdout"].split()) for at in (1, -1))
    assert late <= early + 2  # a start's own pipe may be seen; fifteen commands' pipes may not
    assert children == 1
